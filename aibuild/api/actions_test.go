package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// helper does nothing but remember what was asked for.
type helper struct {
	mu    sync.Mutex
	asked []lineage.Action
	err   error
	slow  chan struct{} // where set, Do waits for it or for its context
	ended chan error
}

func (h *helper) Do(ctx context.Context, a lineage.Action) error {
	h.mu.Lock()
	h.asked = append(h.asked, a)
	err, slow := h.err, h.slow
	h.mu.Unlock()
	if slow != nil {
		select {
		case <-slow:
		case <-ctx.Done():
			err = ctx.Err()
		}
		h.ended <- err
	}
	return err
}

func (h *helper) last() lineage.Action {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.asked) == 0 {
		return lineage.Action{}
	}
	return h.asked[len(h.asked)-1]
}

func TestImageActions(t *testing.T) {
	hand := &helper{}
	l := newLab(t, func(c *Config) { c.Actor = hand })
	run := l.run(nil)
	l.stored(builtRecord(run.ID, "tiny", project), testedRecord(run.ID, lineage.Passed), publishedRecord(run.ID))
	c := l.client(l.token(RoleReleaser))
	for what, want := range map[string]lineage.Action{
		"tiny release": {Verb: lineage.VerbReleased, Image: run.ID}, "tiny@1 rollback": {Verb: lineage.VerbRolled, Image: run.ID}, "tiny rollback": {Verb: lineage.VerbRolled},
		"tiny revoke": {Verb: lineage.VerbRevoked, Image: run.ID}, "tiny restore": {Verb: lineage.VerbRestored, Image: run.ID}, "tiny hold": {Verb: lineage.VerbHeld, Image: run.ID},
	} {
		ref, action, _ := strings.Cut(what, " ")
		img, done, err := c.ChangeImage(t.Context(), ref, action, ImageChange{Reason: " the mirror was bad ", Clusters: []string{"alpha"}})
		got := hand.last()
		if err != nil || !done || img.UUID != run.ID || got.Verb != want.Verb || got.Image != want.Image || got.Name != "tiny" || got.Reason != "the mirror was bad" || got.Actor != RoleReleaser || len(got.Clusters) != 1 {
			t.Errorf("%s: %+v, %v, %v", what, got, done, err)
		}
	}
	if _, _, err := c.ChangeImage(t.Context(), "tiny", "hold", ImageChange{Reason: "x", Off: true}); err != nil || hand.last().Verb != lineage.VerbUnheld {
		t.Errorf("let go: %+v, %v", hand.last(), err)
	}
	asked := len(hand.asked)
	for _, bad := range []ImageChange{{}, {Reason: "   "}} {
		if _, _, err := c.ChangeImage(t.Context(), "tiny", "revoke", bad); err == nil {
			t.Error("without a reason it is done")
		}
	}
	if got := l.send("POST", "/api/v1/images/nothing/revoke", c.Token, ImageChange{Reason: "x"}); got.code(t) != CodeNotFound {
		t.Errorf("of nothing: HTTP %d", got.status)
	}
	if got := l.send("POST", "/api/v1/images/tiny/revoke", l.token(RoleReleaser, other), ImageChange{Reason: "x"}); got.code(t) != CodeNotFound {
		t.Errorf("of another project: HTTP %d %s", got.status, got.body)
	}
	if len(hand.asked) != asked {
		t.Errorf("done all the same: %+v", hand.asked[asked:])
	}
	for _, told := range []struct {
		err  error
		code string
	}{
		{&lineage.Locked{Name: "tiny", Host: "h", PID: 7}, CodeLocked}, {&Problem{Code: CodeRefused, Detail: "it was revoked"}, CodeRefused},
		{&Problem{Code: CodeCluster, Detail: "beta does not answer"}, CodeCluster}, {errors.New("secret"), CodeInternal},
	} {
		hand.err = told.err
		if got := l.send("POST", "/api/v1/images/tiny/release", c.Token, ImageChange{Reason: "x"}); got.code(t) != told.code || strings.Contains(string(got.body), "secret") {
			t.Errorf("%v is told as HTTP %d %s", told.err, got.status, got.body)
		}
	}
	none := labOn(t, l.store, nil)
	if got := none.send("POST", "/api/v1/images/tiny/release", c.Token, ImageChange{Reason: "x"}); got.code(t) != CodeUnavailable {
		t.Errorf("where nobody does anything: HTTP %d", got.status)
	}
}

// What takes longer than an answer goes on without it, and ends with the server.
func TestLongAction(t *testing.T) {
	hand := &helper{slow: make(chan struct{}), ended: make(chan error, 2)}
	l := newLab(t, func(c *Config) { c.Actor = hand; c.Timeout = 1500 * time.Millisecond })
	run := l.run(nil)
	l.stored(builtRecord(run.ID, "tiny", project))
	got := l.send("POST", "/api/v1/images/tiny/release", l.token(RoleReleaser), ImageChange{Reason: "x"})
	if got.status != http.StatusAccepted || !strings.Contains(string(got.body), `"under_way"`) {
		t.Errorf("HTTP %d %s", got.status, got.body)
	}
	select {
	case err := <-hand.ended:
		t.Errorf("it ended with its answer: %v", err)
	default:
	}
	close(hand.slow)
	if err := <-hand.ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
	hand.slow = make(chan struct{})
	if got := l.send("POST", "/api/v1/images/tiny/release", l.token(RoleReleaser), ImageChange{Reason: "x"}); got.status != http.StatusAccepted {
		t.Errorf("HTTP %d %s", got.status, got.body)
	}
	l.api.acts.close()
	if err := <-hand.ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the server has closed, and it ended with %v", err)
	}
	if !strings.Contains(l.log.String(), "an action went wrong") {
		t.Error("its end is not in the log")
	}
}

func TestImageForms(t *testing.T) {
	hand := &helper{}
	l := newLab(t, func(c *Config) { c.Actor = hand })
	run := l.run(nil)
	l.stored(builtRecord(run.ID, "tiny", project), testedRecord(run.ID, lineage.Passed), publishedRecord(run.ID),
		releasedRecord(run.ID, "alpha", lineage.TargetVisible, newID()), releasedRecord(run.ID, "beta", lineage.TargetVisible, newID()))
	b := l.browser()
	b.signIn(l.token(RoleReleaser))
	page := string(b.do("GET", "/images/"+run.ID, nil).body)
	for _, action := range []string{"release", "rollback", "revoke", "hold"} {
		if !strings.Contains(page, `href="/images/`+run.ID+"/"+action) {
			t.Errorf("the page lacks the button for %s", action)
		}
	}
	ask := string(b.do("GET", "/images/"+run.ID+"/rollback", nil).body)
	if !strings.Contains(ask, "Roll back to tiny@1") || !strings.Contains(ask, `value="beta" checked`) {
		t.Errorf("the page that asks: %s", ask)
	}
	got := b.do("POST", "/images/"+run.ID+"/rollback", url.Values{"reason": {"beta is broken"}, "cluster": {"beta"}})
	if a := hand.last(); got.status != http.StatusSeeOther || got.header.Get("Location") != "/images/"+run.ID+"?said=rolled-back" || a.Image != run.ID || len(a.Clusters) != 1 || a.Clusters[0] != "beta" {
		t.Errorf("HTTP %d to %s: %+v", got.status, got.header.Get("Location"), a)
	}
	if b.do("POST", "/images/tiny/rollback", url.Values{"reason": {"x"}, "cluster": {"alpha", "beta"}}); hand.last().Image != "" || hand.last().Clusters != nil {
		t.Errorf("of the name: %+v", hand.last())
	}
	hand.err = &lineage.Locked{Name: "tiny", Host: "h", PID: 7, Since: time.Now()}
	second := b.do("POST", "/images/tiny/revoke", url.Values{"reason": {"<b>x</b>"}})
	if second.status != http.StatusLocked || !strings.Contains(string(second.body), "tiny") || strings.Contains(string(second.body), "<b>x") {
		t.Errorf("somebody else works on it: HTTP %d %s", second.status, second.body)
	}
	viewer := l.browser()
	viewer.signIn(l.token(RoleViewer))
	if strings.Contains(string(viewer.do("GET", "/images/"+run.ID, nil).body), "/revoke") {
		t.Error("a viewer sees the button to revoke")
	}
}
