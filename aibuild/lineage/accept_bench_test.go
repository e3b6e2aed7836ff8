package lineage

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/privatedb"
)

// pushPayload is like a push of 20 commits, GitLab's cap: about 11 KB.
func pushPayload(n uint64) []byte {
	rnd := rand.New(rand.NewPCG(n, 1))
	sha := func() string {
		return fmt.Sprintf("%016x%016x%08x", rnd.Uint64(), rnd.Uint64(), rnd.Uint32())
	}
	words := []string{"fix", "the", "template", "of", "debian", "kernel", "adds", "a", "test", "for", "cloud-init", "mirror", "and", "network", "boots", "again"}
	sentence := func(n int) string {
		s := ""
		for range n {
			s += words[rnd.IntN(len(words))] + " "
		}
		return s
	}
	var commits []map[string]any
	for range 20 {
		id := sha()
		commits = append(commits, map[string]any{
			"id": id, "message": sentence(12) + "\n", "title": sentence(8), "timestamp": time.Unix(int64(1.7e9)+int64(rnd.IntN(1e7)), 0).Format(time.RFC3339),
			"url":    "https://gitlab.example.org/ops/images/-/commit/" + id,
			"author": map[string]any{"name": "Ann Example", "email": "ann@example.org"},
			"added":  []string{"images/debian-12/tests/" + words[rnd.IntN(16)] + ".sh"}, "modified": []string{"images/debian-12/aibuild.yaml"}, "removed": []string{},
		})
	}
	b, err := json.Marshal(map[string]any{
		"object_kind": "push", "event_name": "push", "before": sha(), "after": sha(), "ref": "refs/heads/main", "ref_protected": true, "checkout_sha": sha(),
		"user_id": 4, "user_name": "Ann Example", "user_username": "ann", "project_id": 15, "total_commits_count": 20, "commits": commits,
		"project": map[string]any{"id": 15, "name": "images", "path_with_namespace": "ops/images", "web_url": "https://gitlab.example.org/ops/images", "default_branch": "main"},
	})
	if err != nil {
		panic(err)
	}
	return b
}

// shared is how callers of AcceptEvents share calls: while some wait for the
// disk, those that come gather for the next one.
type shared struct {
	s     *Store
	queue chan waiter
}

type waiter struct {
	event HookEvent
	done  chan error
}

func share(s *Store, flushers int) *shared {
	b := &shared{s: s, queue: make(chan waiter)}
	for range flushers {
		go b.flush()
	}
	return b
}

func (b *shared) flush() {
	for first := range b.queue {
		batch := []waiter{first}
	gather:
		for len(batch) < 64 {
			select {
			case w := <-b.queue:
				batch = append(batch, w)
			default:
				break gather
			}
		}
		events := make([]HookEvent, len(batch))
		for i, w := range batch {
			events[i] = w.event
		}
		_, err := b.s.AcceptEvents(context.Background(), events)
		for _, w := range batch {
			w.done <- err
		}
	}
}

func (b *shared) accept(e HookEvent) error {
	w := waiter{e, make(chan error, 1)}
	b.queue <- w
	return <-w.done
}

const callers = 32

type result struct {
	rate float64 // calls per second
	cpu  float64 // microseconds of processor time per call
}

// race runs do from all callers for a second.
func race(b *testing.B, pid string, do func(n uint64) error) result {
	b.Helper()
	var calls atomic.Uint64
	var wg sync.WaitGroup
	cpu, start := cpuSeconds(b, pid), time.Now()
	for range callers {
		wg.Go(func() {
			for time.Since(start) < time.Second {
				if err := do(calls.Add(1)); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	n := float64(calls.Load())
	return result{n / time.Since(start).Seconds(), (cpuSeconds(b, pid) - cpu) * 1e6 / n}
}

// BenchmarkAccept compares durable acceptance with bare INSERTs of the same raw
// payload into the same server, in pairs: the median of the ratios of their
// rates, and of the processor time that each takes (this process and the server).
func BenchmarkAccept(b *testing.B) {
	s, pid := diskStore(b)
	insert := bareInsert(b, s)
	payloads := make([][]byte, 64)
	for i := range payloads {
		payloads[i] = pushPayload(uint64(i))
	}
	gather := share(s, 1)
	defer close(gather.queue)
	var ratio, acceptCPU, insertCPU, accepts []float64
	for round := 0; b.Loop(); round++ {
		bare := race(b, pid, func(n uint64) error {
			_, err := insert.Exec(fmt.Sprintf("%d-%d", round, n), payloads[n%64])
			return err
		})
		durable := race(b, pid, func(n uint64) error {
			e := push(fmt.Sprintf("%d-%d", round, n), zeros, commitA)
			e.Ref = fmt.Sprintf("refs/heads/b%d", n%20)
			e.Payload = payloads[n%64]
			if err := e.Pack(); err != nil {
				return err
			}
			return gather.accept(e)
		})
		ratio = append(ratio, durable.rate/bare.rate)
		accepts = append(accepts, durable.rate)
		acceptCPU, insertCPU = append(acceptCPU, durable.cpu), append(insertCPU, bare.cpu)
	}
	b.ReportMetric(median(ratio), "accept/insert")
	b.ReportMetric(median(accepts), "accepts/s")
	b.ReportMetric(median(acceptCPU), "cpu-us/accept")
	b.ReportMetric(median(insertCPU), "cpu-us/insert")
}

func median(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// diskStore is a store on a disk, as the tests' own is in memory, and the
// process of its server.
func diskStore(b *testing.B) (*Store, string) {
	b.Helper()
	dir := b.TempDir()
	db, err := privatedb.Open(b.Context(), privatedb.Config{Dir: dir, Linger: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
		if err := privatedb.Stop(context.Background(), dir); err != nil {
			b.Error(err)
		}
	})
	s := openStore(b, db.DSN())
	if err := s.Migrate(b.Context()); err != nil {
		b.Fatal(err)
	}
	pid, err := os.ReadFile(filepath.Join(dir, "db", "data", "server.pid"))
	if err != nil {
		b.Fatal(err)
	}
	return s, strings.TrimSpace(string(pid))
}

func bareInsert(b *testing.B, s *Store) *sql.Stmt {
	b.Helper()
	db, err := sql.Open("mysql", s.cfg.FormatDSN())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	db.SetMaxOpenConns(callers)
	db.SetMaxIdleConns(callers)
	if _, err := db.Exec("CREATE TABLE bare (id BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY, k VARCHAR(64) NOT NULL UNIQUE, payload LONGBLOB NOT NULL) ENGINE=InnoDB"); err != nil {
		b.Fatal(err)
	}
	insert, err := db.Prepare("INSERT INTO bare (k, payload) VALUES (?, ?)")
	if err != nil {
		b.Fatal(err)
	}
	return insert
}

// cpuSeconds is the processor time of this process and of another.
func cpuSeconds(b *testing.B, pid string) (seconds float64) {
	b.Helper()
	for _, p := range []string{"self", pid} {
		stat, err := os.ReadFile(filepath.Join("/proc", p, "stat"))
		if err != nil {
			b.Fatal(err)
		}
		fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
		for _, f := range fields[11:13] { // in user and in kernel mode, in 1/100 s
			ticks, err := strconv.Atoi(f)
			if err != nil {
				b.Fatal(err)
			}
			seconds += float64(ticks) / 100
		}
	}
	return seconds
}
