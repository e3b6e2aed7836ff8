package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	crashRounds  = 20
	crashClients = 8
	crashLoad    = 600 * time.Millisecond // of sending before each kill
)

// promises are what the daemon has answered: each key that was acknowledged,
// with the event's number where the answer had one. Clients that got no answer
// send the same key again, as GitLab's Resend does.
type promises struct {
	mu    sync.Mutex
	acked map[string]int64 // 0: the answer named no event, as it was spooled
}

func (p *promises) ack(key string, event int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if before := p.acked[key]; before != 0 && event != 0 && before != event {
		return fmt.Errorf("%s was event %d, and is event %d", key, before, event)
	}
	p.acked[key] = max(p.acked[key], event)
	return nil
}

func (p *promises) len() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.acked)
}

// broken compares the promises with what is in the database: how many are not
// there or under another number, and how many events are there twice.
func (p *promises) broken(stored map[string][]int64) (lost, doubled int) {
	for key, event := range p.acked {
		events := stored[key]
		switch {
		case len(events) == 0 || event != 0 && events[0] != event:
			lost++
		case len(events) > 1:
			doubled++
		}
	}
	return lost, doubled
}

// stored reads the keys of all events in the table.
func (s *hookSite) stored(ctx context.Context) (map[string][]int64, error) {
	rows, err := s.db.QueryContext(ctx, "SELECT idempotency_key, id FROM hook_event ORDER BY id")
	if err != nil {
		return nil, err
	}
	defer rows.Close() // read to its end
	found := map[string][]int64{}
	for rows.Next() {
		var key string
		var id int64
		if err := rows.Scan(&key, &id); err != nil {
			return nil, err
		}
		found[key] = append(found[key], id)
	}
	return found, rows.Err()
}

// hooksCrashPart: what was acknowledged is there, whatever is killed meanwhile.
func hooksCrashPart(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := newHookSite(ctx, b, "crash")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	push, err := s.payload(ctx)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(s.configure(""), s.start(ctx)); err != nil {
		return nil, err
	}
	p := &promises{acked: map[string]int64{}}
	lost := line{what: fmt.Sprintf("acknowledged events lost in %d rounds of kill -9, each of the daemon, then of MariaDB", crashRounds), unit: "events", bound: none, exact: true}
	doubled := line{what: "events that are there twice", unit: "events", bound: none, exact: true}
	for round := range crashRounds {
		if err := s.crash(ctx, p, push, round, s.killDaemon, s.killMariaDB); err != nil {
			return nil, fmt.Errorf("round %d: %w", round, err)
		}
	}
	stored, err := s.settled(ctx)
	if err != nil {
		return nil, err
	}
	gone, twice := p.broken(stored)
	lost.samples, doubled.samples = []float64{float64(gone)}, []float64{float64(twice)}
	acked := line{what: "events acknowledged in them", unit: "events", samples: []float64{float64(p.len())}, exact: true}
	if err := p.controls(stored); err != nil {
		return []line{lost, doubled, acked}, err
	}
	seen, err := s.unsafe(ctx, push)
	return []line{lost, doubled, acked, seen}, err
}

// crash lets clients send, kills one thing after the other under them and starts
// it again, and lets them go on until each has its last answer.
func (s *hookSite) crash(ctx context.Context, p *promises, push delivered, round int, kills ...func(context.Context) error) error {
	before := p.len()
	stop := make(chan struct{})
	var all sync.WaitGroup
	errs := make([]error, crashClients)
	for i := range crashClients {
		all.Go(func() { errs[i] = s.client(ctx, p, push, fmt.Sprintf("crash %d %d", round, i), stop) })
	}
	var killed error
	for _, kill := range kills {
		if killed = s.pause(ctx, crashLoad); killed == nil {
			killed = kill(ctx)
		}
		if killed != nil {
			break
		}
	}
	if killed == nil {
		killed = s.pause(ctx, crashLoad/2)
	}
	close(stop)
	all.Wait()
	if err := errors.Join(append(errs, killed)...); err != nil {
		return err
	}
	if p.len() == before {
		return errors.New("nothing was acknowledged, so that nothing could be lost")
	}
	return nil
}

func (s *hookSite) pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}

// client sends one event after the other until stop, each of them until it is
// acknowledged.
func (s *hookSite) client(ctx context.Context, p *promises, push delivered, label string, stop <-chan struct{}) error {
	var to *sender
	defer func() {
		if to != nil {
			_ = to.wire.conn.Close() // it has served
		}
	}()
	for n := uint64(1); ; n++ {
		select {
		case <-stop:
			return nil
		default:
		}
		name := eventKey(label, n)
		for end := time.Now().Add(patience); ; {
			event, ok := s.attempt(&to, push, name)
			if ok {
				if err := p.ack(name, event); err != nil {
					return err
				}
				break
			}
			if time.Now().After(end) || ctx.Err() != nil {
				return fmt.Errorf("%s is not acknowledged", name)
			}
			if err := s.pause(ctx, 5*time.Millisecond); err != nil {
				return err
			}
		}
	}
}

// attempt sends an event once, on the client's connection or a new one.
func (s *hookSite) attempt(to **sender, push delivered, name string) (event int64, acked bool) {
	if *to == nil {
		fresh, err := push.sender(s.address, "/hooks/gitlab")
		if err != nil {
			return 0, false
		}
		*to = fresh
	}
	status, body, err := (*to).post(name)
	if err != nil {
		_ = (*to).wire.conn.Close() // it is broken
		*to = nil
		return 0, false
	}
	var answer struct{ Event int64 }
	if status != http.StatusAccepted || json.Unmarshal(body, &answer) != nil {
		return 0, false
	}
	return answer.Event, true
}

func (s *hookSite) killDaemon(ctx context.Context) error {
	if err := s.daemon.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	<-s.daemon.Done()
	return s.start(ctx)
}

func (s *hookSite) killMariaDB(ctx context.Context) error {
	if err := s.stack(ctx, "down", "mariadb", "--signal", "KILL"); err != nil {
		return err
	}
	return s.stack(ctx, "up", "--only", "mariadb")
}

// settled waits until what was spooled is in the database, and reads that.
func (s *hookSite) settled(ctx context.Context) (map[string][]int64, error) {
	if err := s.await(ctx, "the spool is empty", func() (bool, error) {
		n, err := s.metric("aibuild_spool_deliveries")
		return n == 0, err
	}); err != nil {
		return nil, err
	}
	if err := s.await(ctx, "the database is back", func() (bool, error) { return s.db.PingContext(ctx) == nil, nil }); err != nil {
		return nil, err
	}
	return s.stored(ctx)
}

// controls prove that broken sees what it looks for: an acknowledged event taken
// away, one more under the same key, and one under another number.
func (p *promises) controls(stored map[string][]int64) error {
	var one string
	for key, event := range p.acked {
		if event != 0 {
			one = key
			break
		}
	}
	if one == "" {
		return errors.New("no answer had an event's number")
	}
	lost, doubled := p.broken(stored)
	for what, change := range map[string]struct {
		events        []int64
		lost, doubled int
	}{
		"one event less":             {nil, 1, 0},
		"one event twice":            {append([]int64{stored[one][0]}, -1), 0, 1},
		"one event's number differs": {[]int64{-1}, 1, 0},
	} {
		copied := maps.Clone(stored)
		copied[one] = change.events
		if l, d := p.broken(copied); l != lost+change.lost || d != doubled+change.doubled {
			return fmt.Errorf("the check is blind: %s, and it says %d lost, %d doubled", what, l, d)
		}
	}
	return nil
}

// unsafe shows that real loss is seen: MariaDB, told not to write each commit to
// the disk, is killed, and what it had acknowledged is missed.
func (s *hookSite) unsafe(ctx context.Context, push delivered) (line, error) {
	seen := line{what: "negative control: lost where MariaDB does not flush", unit: "events", bound: 1, least: true, exact: true}
	p := &promises{acked: map[string]int64{}}
	for round := range 10 { // it flushes by itself once a second: one kill may come right after
		if _, err := s.admin.ExecContext(ctx, "SET GLOBAL innodb_flush_log_at_trx_commit = 0"); err != nil {
			return seen, err
		}
		if err := s.crash(ctx, p, push, crashRounds+round, s.killMariaDB); err != nil && !strings.Contains(err.Error(), "was event") {
			return seen, err // that a number is given twice is loss, too
		}
		stored, err := s.settled(ctx)
		if err != nil {
			return seen, err
		}
		if lost, _ := p.broken(stored); lost > 0 {
			seen.samples = []float64{float64(lost)}
			return seen, nil
		}
	}
	seen.samples = []float64{0}
	return seen, nil
}
