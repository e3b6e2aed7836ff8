package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	ackFor = 500 * time.Millisecond // one time of sending
	ackIn  = 8                      // times, in turn, that are one sample
)

// hooksAckPart: how fast a push is durably acknowledged, beside what the same
// database does with bare INSERTs of the same payload, and beside a receiver of
// webhooks that stores nothing.
func hooksAckPart(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := newHookSite(ctx, b, "ack")
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
	other, err := startWebhook(ctx, b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.Stop(10*time.Second)) }()
	if _, err := s.db.ExecContext(ctx, "CREATE TABLE bench_raw (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, body MEDIUMBLOB NOT NULL) ENGINE=InnoDB"); err != nil {
		return nil, err
	}
	size := fmt.Sprintf("a push of %d bytes", len(push.body))
	insert := line{what: "acks/s of " + size, against: "bare INSERTs of it", unit: "x", bound: 1, least: true}
	webhook := line{what: "acks/s of " + size, against: "webhook, which stores nothing", unit: "x", bound: 1.3, least: true}
	p99 := line{what: "p99 of an ack", against: "p99 of the INSERT", unit: "x", bound: 2}
	cpu := line{what: "CPU of server and database per ack", unit: "us", bound: 300}
	rates := []line{{what: "acks", unit: "1/s"}, {what: "bare INSERTs", unit: "1/s"}, {what: "webhook", unit: "1/s"}, {what: "p99 of an ack", unit: "ms"},
		{what: "CPU of the server alone per ack", unit: "us"}, {what: "CPU of database per INSERT", unit: "us"}, {what: "CPU of webhook and its programs per delivery", unit: "us"},
		{what: "what else used the processors just before", unit: "cores"}}
	kept := leftovers{site: s}
	err = b.repeat(ctx, func(i int) error {
		var ours, theirs, plain sent
		calm, err := b.calm(ctx)
		if err != nil {
			return err
		}
		for turn := range ackIn {
			label := fmt.Sprintf("%d %d", i, turn)
			got, err := s.inserts(ctx, push.body)
			if err != nil {
				return fmt.Errorf("bare INSERTs: %w", err)
			}
			theirs.add(got)
			if got, err = s.acks(ctx, push, "ack "+label); err != nil {
				return fmt.Errorf("acks: %w", err)
			}
			ours.add(got)
			if got, err = other.deliver(ctx, push, "webhook "+label); err != nil {
				return fmt.Errorf("webhook: %w", err)
			}
			plain.add(got)
		}
		insert.samples = append(insert.samples, ours.rate()/theirs.rate())
		webhook.samples = append(webhook.samples, ours.rate()/plain.rate())
		p99.samples = append(p99.samples, ratio(ours.quantile(0.99), theirs.quantile(0.99)))
		cpu.samples = append(cpu.samples, ours.each(0)+ours.each(1))
		for i, v := range []float64{
			ours.rate(), theirs.rate(), plain.rate(), float64(ours.quantile(0.99)) / 1e6, ours.each(0), theirs.each(0), plain.each(0), calm,
		} {
			rates[i].samples = append(rates[i].samples, v)
		}
		return kept.look(ctx, ours.done)
	})
	return append(append([]line{insert, webhook, p99, cpu}, kept.lines()...), rates...), err
}

// leftovers is what a daemon still has after many deliveries, beside what it had after the first thousands.
type leftovers struct {
	site       *hookSite
	deliveries int // between the two
	goroutines []float64
	files      []float64
}

func (k *leftovers) look(ctx context.Context, deliveries int) error {
	select { // closed connections are let go of meanwhile
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(2 * time.Second):
	}
	goroutines, err := k.site.metric("go_goroutines")
	if err != nil {
		return err
	}
	files, err := k.site.metric("process_open_fds")
	if err != nil {
		return err
	}
	if len(k.files) > 0 {
		k.deliveries += deliveries
	}
	k.goroutines, k.files = append(k.goroutines, goroutines), append(k.files, files)
	return nil
}

func (k *leftovers) lines() []line {
	n := len(k.files)
	if n < 2 {
		return nil
	}
	what := fmt.Sprintf(" after %d deliveries more", k.deliveries)
	return []line{
		{what: "goroutines" + what, against: "those before", unit: "x", samples: []float64{k.goroutines[n-1] / k.goroutines[0]}, bound: 1.2, exact: true},
		{what: "open files" + what, against: "those before", unit: "x", samples: []float64{k.files[n-1] / k.files[0]}, bound: 1.2, exact: true},
	}
}

// acks sends pushes to the daemon, whose processor time is the first.
func (s *hookSite) acks(ctx context.Context, push delivered, label string) (sent, error) {
	maria, err := s.mariadb()
	if err != nil {
		return sent{}, err
	}
	// The dispatcher would go through those of before for long: they are not what is measured now.
	if _, err := s.db.ExecContext(ctx, "TRUNCATE TABLE hook_event"); err != nil {
		return sent{}, err
	}
	l, err := watchedCPU(func() (sent, error) {
		return posts(ctx, push, s.address, "/hooks/gitlab", http.StatusAccepted, label)
	}, strconv.Itoa(s.daemon.Pid()), maria)
	if err != nil {
		return l, err
	}
	stored, err := s.number(ctx, "SELECT COUNT(*) FROM hook_event WHERE idempotency_key LIKE 'ack-%'")
	if err == nil && stored != int64(l.done) {
		err = fmt.Errorf("%d deliveries were acknowledged, and %d are in the database", l.done, stored)
	}
	_, cleared := s.db.ExecContext(ctx, "TRUNCATE TABLE hook_event")
	return l, errors.Join(err, cleared)
}

// watchedCPU also gives the processor time that each of these processes has used meanwhile.
func watchedCPU(do func() (sent, error), pids ...string) (sent, error) {
	used := make([]time.Duration, len(pids))
	for i, pid := range pids {
		d, err := cpuOfPid(pid)
		if err != nil {
			return sent{}, err
		}
		used[i] = d
	}
	l, err := do()
	if err != nil {
		return l, err
	}
	for i, pid := range pids {
		d, err := cpuOfPid(pid)
		if err != nil {
			return l, err
		}
		l.cpu = append(l.cpu, d-used[i])
	}
	return l, nil
}

// posts sends pushes to an HTTP server, which has to answer each with this status.
func posts(ctx context.Context, push delivered, address, path string, want int, label string) (sent, error) {
	return send(ctx, ackFor, func() (func(uint64) error, func() error, error) {
		to, err := push.sender(address, path)
		if err != nil {
			return nil, nil, err
		}
		return func(n uint64) error {
			status, body, err := to.post(eventKey(label, n))
			if err == nil && status != want {
				err = fmt.Errorf("status %d: %s", status, body)
			}
			return err
		}, to.wire.conn.Close, nil
	})
}

// inserts puts the payload into a table of its own, as it is.
func (s *hookSite) inserts(ctx context.Context, body []byte) (sent, error) {
	if _, err := s.db.ExecContext(ctx, "TRUNCATE TABLE bench_raw"); err != nil {
		return sent{}, err
	}
	maria, err := s.mariadb()
	if err != nil {
		return sent{}, err
	}
	l, err := watchedCPU(func() (sent, error) {
		return send(ctx, ackFor, func() (func(uint64) error, func() error, error) { return s.inserter(ctx, body) })
	}, maria)
	_, cleared := s.db.ExecContext(ctx, "TRUNCATE TABLE bench_raw")
	return l, errors.Join(err, cleared)
}

func (s *hookSite) inserter(ctx context.Context, body []byte) (do func(uint64) error, closeIt func() error, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	insert, err := conn.PrepareContext(ctx, "INSERT INTO bench_raw (body) VALUES (?)")
	if err != nil {
		return nil, nil, errors.Join(err, conn.Close())
	}
	return func(uint64) error {
		_, err := insert.ExecContext(ctx, body)
		return err
	}, func() error { return errors.Join(insert.Close(), conn.Close()) }, nil
}

// webhookServer is Debian's webhook, which starts a program for each delivery.
type webhookServer struct {
	*process.Process
	address string
}

func (w *webhookServer) deliver(ctx context.Context, push delivered, label string) (sent, error) {
	return watchedCPU(func() (sent, error) { return posts(ctx, push, w.address, "/hooks/bench", http.StatusOK, label) }, strconv.Itoa(w.Pid()))
}

func startWebhook(ctx context.Context, b *bench) (*webhookServer, error) {
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	hooks := b.path("webhook.json")
	if err := os.WriteFile(hooks, []byte(`[{"id": "bench", "execute-command": "/bin/true", "response-message": "ok"}]`), 0o600); err != nil {
		return nil, err
	}
	p, err := process.Cmd{Path: "webhook", Args: []string{"-hooks", hooks, "-ip", "127.0.0.1", "-port", strconv.Itoa(port)}, Dir: b.dir}.Start(ctx)
	if err != nil {
		return nil, err
	}
	w := &webhookServer{p, "127.0.0.1:" + strconv.Itoa(port)}
	for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		conn, err := dialWire(w.address)
		if err == nil {
			return w, conn.conn.Close()
		}
		if time.Now().After(end) {
			return nil, errors.Join(err, w.Stop(time.Second))
		}
	}
}
