package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// console is Jenkins' console of one build.
type console struct {
	mu    sync.Mutex
	text  []byte
	ended bool
	down  bool
	asked atomic.Int64
}

func (c *console) write(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.text = append(c.text, text...)
}
func (c *console) end()          { c.mu.Lock(); defer c.mu.Unlock(); c.ended = true }
func (c *console) set(down bool) { c.mu.Lock(); defer c.mu.Unlock(); c.down = down }

func (c *console) Console(_ context.Context, _ lineage.Run, start int64) ([]byte, int64, bool, error) {
	c.asked.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return nil, 0, false, errors.New("jenkins is restarting")
	}
	return bytes.Clone(c.text[start:]), int64(len(c.text)), !c.ended, nil
}

// following is a lab with a run that is built, whose console is followed quickly. Its address is not checked against the
// description, as that reads answers whole.
func following(t *testing.T, c *console) (*lab, lineage.Run, string) {
	t.Helper()
	l := newLab(t, func(config *Config) { config.Consoles = c })
	l.api.follows.every = 5 * time.Millisecond
	run := l.run(nil)
	l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: run.ID, Verb: lineage.VerbMoved,
		Run: &lineage.Run{ID: run.ID, State: lineage.RunBuilding, JenkinsJob: "aibuild/build", Build: 7, BuildURL: "http://jenkins/job/x/7/"}})
	server := httptest.NewServer(l.api.Handler())
	t.Cleanup(func() { l.api.StopFollowing(); server.Close() })
	return l, run, server.URL
}

// written is a writer that tells of what came.
type written struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *written) String() string { w.mu.Lock(); defer w.mu.Unlock(); return w.b.String() }

func (w *written) wait(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(w.String(), text); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%q does not come: %q", text, w)
		}
	}
}

// follower starts to follow, and gives what comes and how it ends.
func (l *lab) follower(address, run string) (*written, <-chan string) {
	c := &Client{URL: address, Token: l.token(RoleViewer)}
	l.t.Cleanup(func() {
		if err := c.Close(); err != nil {
			l.t.Error(err)
		}
	})
	w, ended := &written{}, make(chan string, 1)
	go func() {
		state, err := c.FollowLog(l.t.Context(), run, w)
		ended <- fmt.Sprint(state, " ", err)
	}()
	return w, ended
}

func TestFollow(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	c.write("one\ntwo\nhalf")
	w, ended := l.follower(address, run.ID)
	w.wait(t, "one\ntwo\n")
	if strings.Contains(w.String(), "half") {
		t.Errorf("a line that is not whole is shown: %q", w)
	}
	c.set(true)
	c.write(" of it\n\x1b[31mred\x1b[0m\x07 \xff\n")
	time.Sleep(20 * time.Millisecond)
	c.set(false)
	w.wait(t, "half of it\nred �\n")
	c.write("the end")
	c.end()
	if got := <-ended; got != lineage.RunBuilding+" <nil>" {
		t.Errorf("it ended with %s", got)
	}
	if got := w.String(); got != "one\ntwo\nhalf of it\nred �\nthe end\n" {
		t.Errorf("all that came: %q", got)
	}
}

// Who was cut off goes on where he was; who asks for the middle gets the rest.
func TestFollowResumes(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	var all strings.Builder
	for i := range 200 {
		fmt.Fprintf(&all, "line %d of the log\n", i)
	}
	c.write(all.String()[:1000])
	cut := atomic.Int64{}
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), r.Method, address+r.URL.Path, nil)
		if err != nil {
			t.Error(err)
			return
		}
		req.Header = r.Header
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		defer resp.Body.Close()
		w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
		var from io.Reader = resp.Body
		if cut.Add(1) == 1 {
			from = io.LimitReader(resp.Body, 1100) // in the middle of the second event, or before
		}
		buffer := make([]byte, 64)
		for {
			n, err := from.Read(buffer)
			if _, writeErr := w.Write(buffer[:n]); err != nil || writeErr != nil || http.NewResponseController(w).Flush() != nil {
				return
			}
		}
	}))
	defer door.Close()
	w, ended := l.follower(door.URL, run.ID)
	w.wait(t, "line 0 of")
	c.write(all.String()[1000:])
	c.end()
	if got := <-ended; got != lineage.RunBuilding+" <nil>" || w.String() != all.String() {
		t.Errorf("it ended with %s after %d connections, %d of %d bytes", got, cut.Load(), len(w.String()), all.Len())
	}
	if cut.Load() < 2 {
		t.Error("the connection was not cut")
	}
	l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: run.ID, Verb: lineage.VerbEnded, Run: &lineage.Run{ID: run.ID, State: lineage.RunSuccess}})
	l.api.config.Logs = fstest.MapFS{run.ID + ".log": {Data: []byte(all.String())}}
	kept := l.stream(address, run.ID, "1000")
	if !strings.HasPrefix(kept, "event: log\ndata: "+strings.SplitN(all.String()[1000:], "\n", 2)[0]+"\n") || !strings.HasSuffix(kept, fmt.Sprintf("id: %d\n\nevent: end\ndata: success\n\n", all.Len())) {
		t.Errorf("the rest of a log that is kept: %.200q … %q", kept, kept[max(0, len(kept)-100):])
	}
}

// stream is all of a stream that ends.
func (l *lab) stream(address, run, last string) string {
	l.t.Helper()
	req := l.request("GET", "/", l.token(RoleViewer), nil)
	req.URL.Host, req.URL.Path, req.Host = strings.TrimPrefix(address, "http://"), "/api/v1/runs/"+run+"/log/follow", ""
	req.Header.Set("Last-Event-ID", last)
	got := l.do(req)
	return string(got.body)
}

// Of a console that is longer than what is kept, the beginning is left out, and that is said.
func TestFollowLongLog(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	line := strings.Repeat("x", 99) + "\n"
	c.write(strings.Repeat(line, 3*followKept/100) + strings.Repeat("y", 3*followLine) + "\nlast\n")
	c.end()
	w, ended := l.follower(address, run.ID)
	if got := <-ended; got != lineage.RunBuilding+" <nil>" {
		t.Fatalf("it ended with %s", got)
	}
	text := w.String()
	if !strings.HasPrefix(text, "[aibuild: ") || !strings.Contains(text[:100], "bytes are left out here]\n"+line[:20]) || !strings.HasSuffix(text, "y\n\nlast\n") || len(text) > followKept+followLine {
		t.Errorf("%d bytes: %.100q … %q", len(text), text, text[len(text)-20:])
	}
}

// A hundred follow one console, which is read once for all, and no longer than anybody follows.
func TestManyFollow(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	c.write("first\n")
	var all []*written
	var ends []<-chan string
	for range 100 {
		w, ended := l.follower(address, run.ID)
		all, ends = append(all, w), append(ends, ended)
	}
	for _, w := range all {
		w.wait(t, "first\n")
	}
	c.write("second\n")
	for _, w := range all {
		w.wait(t, "second\n")
	}
	l.api.follows.mu.Lock()
	readers, users := len(l.api.follows.of), l.api.follows.users
	l.api.follows.mu.Unlock()
	if readers != 1 || users != 100 {
		t.Errorf("%d readers for %d followers", readers, users)
	}
	c.end()
	for _, ended := range ends {
		if got := <-ended; got != lineage.RunBuilding+" <nil>" {
			t.Errorf("it ended with %s", got)
		}
	}
	time.Sleep(20 * time.Millisecond)
	asked := c.asked.Load()
	time.Sleep(50 * time.Millisecond)
	if c.asked.Load() != asked {
		t.Error("the console is read, and nobody follows")
	}
}

// What a console says at the very end is not lost, though its run has ended before anybody read it.
func TestFollowTheLastLines(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	c.write("first\n")
	w, ended := l.follower(address, run.ID)
	w.wait(t, "first\n")
	c.set(true) // Jenkins is away in the moment in which the build ends
	l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: run.ID, Verb: lineage.VerbEnded, Run: &lineage.Run{ID: run.ID, State: lineage.RunSuccess}})
	if got := <-ended; got != lineage.RunSuccess+" <nil>" || !strings.HasSuffix(w.String(), "the rest could not be read]\n") {
		t.Errorf("it ended with %s: %q", got, w)
	}
	c = &console{}
	l, other, address := following(t, c)
	c.write("first\n")
	w, ended = l.follower(address, other.ID)
	w.wait(t, "first\n")
	c.mu.Lock() // both at once, between two looks
	c.text, c.ended = append(c.text, "the last line\n"...), true
	l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "daemon", Channel: lineage.ChannelDaemon, RunID: other.ID, Verb: lineage.VerbEnded, Run: &lineage.Run{ID: other.ID, State: lineage.RunSuccess}})
	c.mu.Unlock()
	if got := <-ended; got != lineage.RunSuccess+" <nil>" || w.String() != "first\nthe last line\n" {
		t.Errorf("it ended with %s: %q", got, w)
	}
}

// More than a server takes are told so, with a code, and may come later.
func TestTooManyFollow(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	l.api.follows.most = 1
	c.write("a line\n")
	w, _ := l.follower(address, run.ID)
	w.wait(t, "a line\n")
	if got := l.stream(address, run.ID, ""); !strings.Contains(got, `"code":"busy"`) {
		t.Errorf("the second follower gets %s", got)
	}
	head := l.request("HEAD", "/api/v1/runs/"+run.ID+"/log/follow", l.token(RoleViewer), nil)
	l.api.follows.mu.Lock()
	l.api.follows.most = 2
	l.api.follows.mu.Unlock()
	if got := l.do(head); got.status != 200 || len(got.body) != 0 {
		t.Errorf("HEAD: HTTP %d %s", got.status, got.body)
	}
}

func TestFollowRefusals(t *testing.T) {
	c := &console{}
	l, run, address := following(t, c)
	ended, local := l.run(nil), newID()
	l.end(ended.ID, lineage.RunSuccess)
	l.stored(lineage.Record{ID: newID(), At: time.Now(), Actor: "ann", Channel: "cli", RunID: local, Verb: lineage.VerbOpened, Run: &lineage.Run{ID: local, Image: "tiny", State: lineage.RunBuilding}})
	for _, x := range []struct {
		run, last, says string
	}{
		{newID(), "", "not found"}, {ended.ID, "", "not found"}, {local, "", "only where it was started"}, {run.ID, "x", "is not the id of an event"}, {run.ID, "-1", "is not the id of an event"},
	} {
		if got := l.stream(address, x.run, x.last); !strings.Contains(got, x.says) {
			t.Errorf("run %s after %q: %s, want %q", x.run, x.last, got, x.says)
		}
	}
	w, done := l.follower(address, run.ID)
	c.write("a line\n")
	w.wait(t, "a line\n")
	l.api.StopFollowing()
	l.http.Close()
	select {
	case got := <-done:
		t.Errorf("a server that stops ends its followers with %s; they are to come back", got)
	case <-time.After(50 * time.Millisecond):
	}
}
