package hooks

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// keeps is an inbox that takes everything.
type keeps struct{ events []lineage.HookEvent }

func (k *keeps) AcceptEvents(_ context.Context, events []lineage.HookEvent) (taken []lineage.Accepted, err error) {
	for _, e := range events {
		k.events = append(k.events, e)
		taken = append(taken, lineage.Accepted{ID: int64(len(k.events))})
	}
	return taken, nil
}

// logged is a Handler without a network, and its log.
func logged(h *Handler) *bytes.Buffer {
	var log bytes.Buffer
	h.Log = hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})
	h.GitLabURL = "https://gitlab.example.org:8443"
	h.Secrets = func() []Secret { return []Secret{{Value: fixed(secretCanary)}} }
	return &log
}

// deliver gives a Handler one delivery.
func deliver(h *Handler, body []byte, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, "/hooks/gitlab", bytes.NewReader(body))
	r.RemoteAddr = "192.0.2.7:4711"
	r.Header.Set("X-Gitlab-Token", secretCanary)
	r.Header.Set("X-Gitlab-Event", "Push Hook")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// A delivery that is not taken leaves a line, one a minute for each class, which holds nothing of it.
func TestWhatIsNotTakenIsLogged(t *testing.T) {
	now := time.Now()
	h := &Handler{Inbox: &keeps{}, Now: func() time.Time { return now }, Known: func(p string) bool { return p == "cloud/images" }}
	log := logged(h)
	const wrong = "wr0ng-t0ken"
	for range 5 {
		deliver(h, goodBody(), "X-Gitlab-Token", wrong, "webhook-signature", "v1,c2lnbmF0dXJl")
		deliver(h, []byte(`{"n0t json`))
		deliver(h, pushBody("other/images", "refs/heads/s3cret-ref", commitA, commitB, 1))
		deliver(h, []byte(`{"object_kind":"note"}`))
	}
	for _, class := range []string{"secret", "malformed", "project", "event"} {
		if n := strings.Count(log.String(), "class="+class+" "); n != 1 {
			t.Errorf("%d lines of the class %s:\n%s", n, class, log)
		}
	}
	if n := strings.Count(log.String(), "remote=192.0.2.7 "); n != 4 {
		t.Errorf("%d lines name the sender:\n%s", n, log)
	}
	now = now.Add(time.Minute)
	deliver(h, goodBody(), "X-Gitlab-Token", wrong)
	if n := strings.Count(log.String(), "class=secret "); n != 2 || !strings.Contains(log.String(), "left_out=4") {
		t.Errorf("a minute later there are %d lines:\n%s", n, log)
	}
	before := log.Len()
	if w := deliver(h, goodBody()); w.Code != http.StatusAccepted || log.Len() != before {
		t.Errorf("%d %s; log:\n%s", w.Code, w.Body, log.String()[before:])
	}
	for _, never := range []string{wrong, secretCanary, "n0t json", "s3cret-ref", "c2lnbmF0dXJl"} {
		if strings.Contains(log.String(), never) {
			t.Errorf("the log holds %q:\n%s", never, log)
		}
	}
}

// Who has proven to be ours is taken though GitLab calls itself otherwise than we do, with a word to whoever reads the log.
func TestAnotherHostIsNamed(t *testing.T) {
	in := &keeps{}
	h := &Handler{Inbox: in}
	log := logged(h)
	const words = "names another gitlab than gitlab.url"
	for i, name := range []string{"https://gitlab.example.org:8443", "HTTPS://GITLAB.example.org:8443/", "", "https://gitlab.example.org:8443/sub"} {
		if w := deliver(h, goodBody(), "X-Gitlab-Instance", name, "Idempotency-Key", fmt.Sprint(i)); w.Code != http.StatusAccepted {
			t.Errorf("%q: %d %s", name, w.Code, w.Body)
		}
	}
	if w := deliver(h, goodBody(), "X-Gitlab-Instance", "https://evil.example", "X-Gitlab-Token", "wrong"); w.Code != http.StatusUnauthorized || strings.Contains(log.String(), words) {
		t.Fatalf("unproven: %d %s; log:\n%s", w.Code, w.Body, log)
	}
	for i := range 200 {
		name := fmt.Sprintf("https://other-%d.example\x1b[31m", i/2)
		if i < 4 {
			name = "http://gitlab.example.org"
		}
		if w := deliver(h, goodBody(), "X-Gitlab-Instance", name, "Idempotency-Key", fmt.Sprint("other", i)); w.Code != http.StatusAccepted {
			t.Fatalf("%q: %d %s", name, w.Code, w.Body)
		}
	}
	if n := strings.Count(log.String(), "named=gitlab.example.org "); n != 1 || !strings.Contains(log.String(), "gitlab.url=gitlab.example.org:8443") {
		t.Errorf("%d warnings of one host:\n%s", n, log)
	}
	if n := strings.Count(log.String(), words); n > mostHosts || strings.Contains(log.String(), "\x1b") {
		t.Errorf("%d warnings:\n%s", n, log)
	}
	if len(in.events) != 204 || slices.ContainsFunc(in.events, func(e lineage.HookEvent) bool { return e.Instance != h.GitLabURL }) {
		t.Errorf("%d events are stored, or of another instance", len(in.events))
	}
}

// Nothing is fetched from the addresses that a delivery names, proven as it is.
func TestNamedAddressesAreNotAsked(t *testing.T) {
	f := newFactory(t, "")
	var asked atomic.Int64
	trap := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked.Add(1); w.WriteHeader(http.StatusNotFound) }))
	defer trap.Close()
	server := httptest.NewServer(&Handler{Inbox: f.in, GitLabURL: f.URL(), Secrets: func() []Secret { return []Secret{{Value: fixed("x")}} }})
	defer server.Close()
	f.send("one", library, head)
	sent := f.Deliveries(1)
	if len(sent) == 0 {
		t.Fatal("gitlab sent nothing")
	}
	body := bytes.ReplaceAll(sent[len(sent)-1].Body, []byte(f.URL()), []byte(trap.URL))
	if !bytes.Contains(body, []byte(trap.URL)) {
		t.Fatalf("it names no address: %s", body)
	}
	got := send(t, server.URL, body, "X-Gitlab-Token", "x", "X-Gitlab-Instance", trap.URL, "Idempotency-Key", "elsewhere")
	if got.code != http.StatusAccepted || got.Event == 0 {
		t.Fatalf("%d %s", got.code, got.body)
	}
	if got := states(f.ended()); got != "a:success b:success" || asked.Load() != 0 {
		t.Errorf("%s; the named address was asked %d times", got, asked.Load())
	}
}

// What the disk does not take any more is to be sent again, and is counted.
func TestFullSpoolAnswers(t *testing.T) {
	spool, err := OpenSpool(t.TempDir(), 4<<10)
	if err != nil {
		t.Fatal(err)
	}
	h := &Handler{Inbox: nowhere{}, Spool: spool}
	log := logged(h)
	for i := range 20 {
		w := deliver(h, goodBody(), "Idempotency-Key", fmt.Sprint(i))
		stats := h.Stats().Answers
		if got := stats["spooled"] + stats["unstored"]; got != int64(i+1) {
			t.Errorf("%d deliveries are counted after %d: %v", got, i+1, stats)
		}
		if w.Code == http.StatusAccepted {
			continue
		}
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "30" || stats["unstored"] == 0 || !strings.Contains(w.Body.String(), "send it again later") {
			t.Errorf("%d %v %s; counted: %v", w.Code, w.Header(), w.Body, stats)
		}
	}
	stats := h.Stats().Answers
	if stats["spooled"] == 0 || stats["unstored"] == 0 || int64(spool.Stats().Events) != stats["spooled"] || !strings.Contains(log.String(), "reached its quota") {
		t.Errorf("%v, %+v, log:\n%s", stats, spool.Stats(), log)
	}
}

// Names from outside grow neither the counters nor the log.
func TestNamesFromOutsideAreNotCounted(t *testing.T) {
	h := &Handler{Inbox: &keeps{}, Known: func(p string) bool { return !strings.HasPrefix(p, "other/") }}
	log := logged(h)
	const all = 10_000
	for i := range all {
		name := fmt.Sprintf("n%d", i)
		body, header := pushBody("cloud/"+name, "refs/heads/"+name, commitA, commitB, 0), []string{"Idempotency-Key", name}
		switch i % 4 {
		case 1:
			body = pushBody("other/"+name, "refs/heads/"+name, commitA, commitB, 0)
		case 2:
			body = []byte(`{"object_kind":"` + name + `","event_name":"` + name + `"}`)
		case 3:
			header = []string{"X-Gitlab-Event", name, "X-Gitlab-Instance", "https://" + name + ".example", "X-Gitlab-Token", secretCanary + name}
		}
		deliver(h, body, header...)
	}
	stats, sum := h.Stats().Answers, int64(0)
	for _, n := range stats {
		sum += n
	}
	if len(stats) != 4 || sum != all || stats["accepted"] != all/4 || stats["project"] != all/4 || stats["event"] != all/4 || stats["secret"] != all/4 {
		t.Errorf("counted: %v", stats)
	}
	if lines := strings.Count(log.String(), "\n"); lines > 40 { // one a minute of three classes
		t.Errorf("%d lines were logged:\n%.2000s", lines, log)
	}
}
