package jenkinstest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// model is what a test knows of a queue: which ids it was given, and which of them must never become a build.
type model struct {
	s         *Server
	ids       map[int64]string // id -> job and parameter
	last      int64
	cancelled map[int64]bool
}

func (m *model) post(path, form string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(DefaultUser, DefaultToken)
	w := httptest.NewRecorder()
	m.s.ServeHTTP(w, r)
	return w
}

var stateJobs = []Job{
	{Path: "single", Parameters: []Parameter{{Name: "A"}}},
	{Path: "side", Concurrent: true, Command: "sleep 0.01", Parameters: []Parameter{{Name: "A"}}},
	{Path: "pipe", Kind: Pipeline, Command: "true", Parameters: []Parameter{{Name: "A"}}},
}

func (m *model) trigger(t *rapid.T) {
	job := rapid.SampledFrom(stateJobs).Draw(t, "job").Path
	value := rapid.SampledFrom([]string{"1", "2"}).Draw(t, "value")
	delay := rapid.SampledFrom([]string{"0sec", "600sec"}).Draw(t, "delay")
	got := m.post("/job/"+job+"/buildWithParameters?delay="+delay, url.Values{"A": {value}}.Encode())
	what := job + "=" + value
	switch got.Code {
	case http.StatusConflict, http.StatusServiceUnavailable:
		return
	case http.StatusCreated:
		id := locationID(t, got)
		if id <= m.last {
			t.Fatalf("id %d after %d", id, m.last)
		}
		m.last, m.ids[id] = id, what
	case http.StatusSeeOther:
		if id := locationID(t, got); m.ids[id] != what {
			t.Fatalf("%s is folded into item %d, which is %s", what, id, m.ids[id])
		}
	default:
		t.Fatalf("trigger: %d %s", got.Code, got.Body)
	}
}

func locationID(t *rapid.T, got *httptest.ResponseRecorder) int64 {
	parts := strings.Split(strings.TrimSuffix(got.Header().Get("Location"), "/"), "/")
	id, err := strconv.ParseInt(parts[len(parts)-1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func (m *model) cancel(t *rapid.T) {
	id := rapid.Int64Range(1, 20).Draw(t, "id")
	if m.post("/queue/cancelItem?id="+strconv.FormatInt(id, 10), "").Code == http.StatusNoContent && m.ids[id] != "" {
		m.cancelled[id] = true
	}
}

// check is what holds at every moment.
func (m *model) check(t *rapid.T) {
	s := m.s
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range s.queue {
		if e.phase == left || s.left[e.id] != nil {
			t.Fatalf("item %d is in the queue and has left it", e.id)
		}
		key := e.item.name + fmt.Sprint(e.params)
		if e.step == nil && e.phase != pending {
			if seen[key] {
				t.Fatalf("twice in the queue: %s", key)
			}
			seen[key] = true
		}
	}
	s.root.walk(func(it *item) {
		active, byID := 0, map[int64]bool{}
		for i, b := range it.builds {
			if b.number != i+1 || byID[b.queueID] || m.cancelled[b.queueID] {
				t.Fatalf("build %d of item %d at place %d", b.number, b.queueID, i)
			}
			byID[b.queueID] = true
			if b.logUpdated() {
				active++
			}
		}
		if active != it.active || active > 1 && !it.job.Concurrent {
			t.Fatalf("%s: %d builds are active, %d are counted", it.name, active, it.active)
		}
	})
}

// settle lets everything end that can, and then nothing may be missing.
func (m *model) settle(t *rapid.T) {
	for _, job := range stateJobs {
		if err := m.s.DisableJob(job.Path, false); err != nil {
			t.Fatal(err)
		}
	}
	m.s.QuietDown(false)
	m.s.mu.Lock()
	for _, e := range m.s.queue {
		e.due = m.s.now()
	}
	m.s.maintain()
	m.s.mu.Unlock()
	deadline := time.Now().Add(20 * time.Second)
	for !m.idle() {
		if time.Now().After(deadline) {
			t.Fatal("the queue never empties")
		}
		time.Sleep(time.Millisecond)
	}
	built := map[int64]bool{}
	m.s.root.walk(func(it *item) {
		for _, b := range it.builds {
			built[b.queueID] = true
		}
	})
	for id, what := range m.ids {
		e := m.s.left[id]
		if e == nil || e.cancelled == built[id] || e.cancelled != (e.build == nil) || m.cancelled[id] && built[id] {
			t.Fatalf("item %d (%s): %+v, built: %t", id, what, e, built[id])
		}
	}
}

func (m *model) idle() bool {
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	active := 0
	m.s.root.walk(func(it *item) { active += it.active })
	return len(m.s.queue) == 0 && active == 0
}

// TestQueueStates: whatever is done to a queue in whatever order, no trigger is lost or built twice.
func TestQueueStates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := Start(Options{Executors: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}()
		for _, job := range stateJobs {
			if err := s.AddJob(job); err != nil {
				t.Fatal(err)
			}
		}
		m := &model{s: s, ids: map[int64]string{}, cancelled: map[int64]bool{}}
		t.Repeat(map[string]func(*rapid.T){
			"trigger": m.trigger, "trigger more": m.trigger, "cancel": m.cancel, "": m.check,
			"quiet": func(t *rapid.T) { s.QuietDown(rapid.Bool().Draw(t, "quiet")) },
			"disable": func(t *rapid.T) {
				if err := s.DisableJob(rapid.SampledFrom(stateJobs).Draw(t, "job").Path, rapid.Bool().Draw(t, "disabled")); err != nil {
					t.Fatal(err)
				}
			},
			"wait": func(*rapid.T) { time.Sleep(time.Millisecond) },
		})
		m.settle(t)
	})
}
