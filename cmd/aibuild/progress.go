package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"

	"github.com/guestos/aibuild/aibuild"
)

// progress shows what the stages do: a bar on a terminal where bytes move, else
// one calm line per 10 % or 30 s, and a line for everything else.
func (w *world) progress() func(aibuild.Event) {
	s := &screen{out: w.stderr, terminal: w.terminal()}
	if !s.terminal {
		w.closers = append(w.closers, s.beat(heartbeat))
	}
	return s.show
}

// heartbeat is how long nothing is said at most: people end builds that say
// nothing.
const heartbeat = 30 * time.Second

// beat says now and then what is still under way, until stop is called.
func (s *screen) beat(every time.Duration) (stop func() error) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(every / 4)
		defer tick.Stop()
		for {
			select {
			case <-quit:
				return
			case now := <-tick.C:
				s.still(now, every)
			}
		}
	}()
	return func() error {
		close(quit)
		<-done
		return nil
	}
}

// still repeats the last line where nothing was said since.
func (s *screen) still(now time.Time, every time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last.Text != "" && now.Sub(s.spoke) >= every {
		s.line(aibuild.Event{At: now, Stage: s.last.Stage}, "still at it: "+s.last.Text)
	}
}

type screen struct {
	mu       sync.Mutex
	out      io.Writer
	terminal bool
	started  time.Time
	spoke    time.Time     // when the last line was written
	last     aibuild.Event // that was told

	bar   *progressbar.ProgressBar
	title string            // of the bar
	told  map[string]*share // of what moves, by its title
}

// share is how much of something was told, and when.
type share struct {
	percent int64
	at      time.Time
}

func (s *screen) show(e aibuild.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started.IsZero() {
		s.started = e.At
	}
	if e.Total > 0 {
		s.last = aibuild.Event{Stage: e.Stage, Text: e.Text}
		s.bytes(e)
		return
	}
	s.clear()
	if first, _, _ := strings.Cut(strings.TrimSpace(e.Text), "\n"); first != "" {
		s.last = aibuild.Event{Stage: e.Stage, Text: first}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(e.Text), "\n") {
		if line != "" {
			s.line(e, line)
		}
	}
}

func (s *screen) line(e aibuild.Event, text string) {
	s.spoke = time.Now()
	fmt.Fprintf(s.out, "[%6.1f s] %s: %s\n", e.At.Sub(s.started).Seconds(), e.Stage, text)
}

func (s *screen) bytes(e aibuild.Event) {
	if s.terminal {
		s.draw(e)
		return
	}
	last := s.told[e.Text]
	if last == nil || e.Done == 0 {
		if s.told == nil {
			s.told = map[string]*share{}
		}
		last = &share{at: e.At}
		s.told[e.Text] = last
	}
	percent := e.Done * 100 / e.Total
	if percent/10 > last.percent/10 || e.At.Sub(last.at) >= 30*time.Second {
		last.percent, last.at = percent, e.At
		s.line(e, fmt.Sprintf("%s: %d %% of %s", e.Text, percent, size(e.Total)))
	}
}

func (s *screen) draw(e aibuild.Event) {
	if e.Text != s.title {
		s.clear()
		s.title = e.Text
	}
	if s.bar == nil {
		s.bar = progressbar.NewOptions64(e.Total, progressbar.OptionSetWriter(s.out), progressbar.OptionSetDescription(e.Text),
			progressbar.OptionShowBytes(true), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
	}
	// A bar that cannot be drawn is no reason to stop.
	_ = s.bar.Set64(e.Done)
	if e.Done >= e.Total {
		s.clear()
	}
}

func (s *screen) clear() {
	if s.bar != nil {
		_ = s.bar.Clear()
		s.bar = nil
	}
}
