package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

const (
	idleClients = 1000
	queuedRuns  = 10_000
	openRuns    = 1000
	busy        = "exec sleep 3600\n" // a build that goes on
)

// hooksMemoryPart: the most memory that the daemon has with many silent clients
// and many runs that wait for their turn.
func hooksMemoryPart(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := newHookSite(ctx, b, "memory")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	builds, err := startJenkins(b.path("memory-jenkins"), busy, 8, hookJob)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, builds.Close()) }()
	s.jenkins = builds.url
	if err := errors.Join(s.configure("max_runs: 32"), s.start(ctx)); err != nil {
		return nil, err
	}
	if err := s.seed(ctx, hookProject, hookJob, queuedRuns); err != nil {
		return nil, err
	}
	if err := s.await(ctx, "every run was looked at, and eight are built", func() (bool, error) {
		n, err := s.number(ctx, "SELECT COUNT(*) FROM run WHERE reason = ? OR state NOT IN ('queued', 'building') OR (SELECT COUNT(*) FROM run WHERE state = 'building') < 8", seeded)
		return n == 0, err
	}); err != nil {
		return nil, err
	}
	wires, err := idle(s.address)
	defer func() {
		for _, w := range wires {
			err = errors.Join(err, w.conn.Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	passes, err := s.metric("aibuild_dispatcher_passes_total")
	if err != nil {
		return nil, err
	}
	if err := s.await(ctx, "some passes more", func() (bool, error) {
		now, err := s.metric("aibuild_dispatcher_passes_total")
		return now >= passes+10, err
	}); err != nil {
		return nil, err
	}
	for _, w := range wires { // they were there all the time
		if status, _, err := w.post(healthz(s.address)); err != nil || status != 200 {
			return nil, fmt.Errorf("a silent client was dropped: %d, %w", status, err)
		}
	}
	most, err := highWater(strconv.Itoa(s.daemon.Pid()))
	what := fmt.Sprintf("memory of the daemon: %d idle clients, %d queued runs", idleClients, queuedRuns)
	return []line{{what: what, unit: "MiB", samples: []float64{float64(most) / mebibyte}, bound: 64, exact: true}}, err
}

func healthz(address string) []byte {
	return []byte("GET /healthz HTTP/1.1\r\nHost: " + address + "\r\n\r\n")
}

// idle opens connections, each of which was used once and then says nothing.
func idle(address string) (wires []*wire, err error) {
	for range idleClients {
		w, err := dialWire(address)
		if err != nil {
			return wires, err
		}
		wires = append(wires, w)
		if status, _, err := w.post(healthz(address)); err != nil || status != 200 {
			return wires, fmt.Errorf("healthz: %d, %w", status, err)
		}
	}
	return wires, nil
}

// seeded is the reason of runs that nobody has looked at yet.
const seeded = "seeded"

// seed makes runs of as many images, as so many pushes would: one is opened as
// the dispatcher opens it, and the others are copies.
func (s *hookSite) seed(ctx context.Context, project, job string, n int) error {
	store, err := lineage.Open(ctx, lineage.Config{DSN: s.dsn})
	if err != nil {
		return err
	}
	defer store.Close() // nothing is written after OpenRun
	if err := store.Migrate(ctx); err != nil {
		return err
	}
	label := strings.NewReplacer("/", "-").Replace(project)
	first, err := store.OpenRun(ctx, lineage.Run{
		Image: label + "-0", Project: project, Ref: "refs/heads/main", Commit: strings.Repeat("ab", 20), Folder: "images/" + label + "-0", From: "build", State: lineage.RunReceived,
	}, "bench", lineage.ChannelHook, "opened for the bench")
	if err != nil {
		return err
	}
	// Not due until all are there.
	if _, err := s.db.ExecContext(ctx, "UPDATE run SET state = 'queued', reason = ?, head_seq = 1, jenkins_job = ?, next_at = NOW(6) + INTERVAL 1 HOUR WHERE id = ?", seeded, job, first.ID); err != nil {
		return err
	}
	columns, values, err := s.copied(ctx, label)
	if err != nil {
		return err
	}
	insert := "INSERT INTO run (" + columns + ") SELECT " + values + " FROM run t JOIN seq_1_to_" + strconv.Itoa(n-1) + " n WHERE t.id = ?"
	if _, err := s.db.ExecContext(ctx, insert, first.ID); err != nil {
		return fmt.Errorf("seed runs: %w", err)
	}
	_, err = s.db.ExecContext(ctx, "UPDATE run SET next_at = NOW(6) WHERE project = ?", project)
	return err
}

// copied lists the columns of run, and what a copy of the row t with the number n.seq has in them.
func (s *hookSite) copied(ctx context.Context, label string) (columns, values string, err error) {
	rows, err := s.db.QueryContext(ctx, "SELECT column_name FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'run' AND column_name <> 'seq' ORDER BY ordinal_position")
	if err != nil {
		return "", "", err
	}
	defer rows.Close() // read to its end
	id := "CONCAT(LEFT(t.id, 24), LPAD(LOWER(HEX(n.seq)), 12, '0'))"
	own := map[string]string{
		"id": id, "first_run": id, "head_seq": "n.seq + 1", "image": "CONCAT('" + label + "-', n.seq)", "folder": "CONCAT('images/" + label + "-', n.seq)",
		"commit_sha": "SHA1(n.seq)",
	}
	var names, exprs []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return "", "", err
		}
		names = append(names, name)
		if expr, ok := own[name]; ok {
			exprs = append(exprs, expr)
		} else {
			exprs = append(exprs, "t."+name)
		}
	}
	return strings.Join(names, ", "), strings.Join(exprs, ", "), rows.Err()
}

// jobsOf are the jobs of the projects of hooksPassPart.
func jobsOf(n int) (jobs []string) {
	for i := range n {
		jobs = append(jobs, fmt.Sprintf("team-%d/build", i))
	}
	return jobs
}

const passJobs = 4

// hooksPassPart: one look at all runs that have not ended, where as many are
// with Jenkins as the caps allow.
func hooksPassPart(ctx context.Context, b *bench) (lines []line, err error) {
	s, err := newHookSite(ctx, b, "pass")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	jobs := jobsOf(passJobs)
	builds, err := startJenkins(b.path("pass-jenkins"), busy, 8*passJobs, jobs...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, builds.Close()) }()
	d, closeStore, err := s.dispatcher(ctx, builds, jobs)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeStore()) }()
	for i := range jobs {
		if err := s.seed(ctx, "ops/images-"+strconv.Itoa(i), jobs[i], openRuns/passJobs); err != nil {
			return nil, err
		}
	}
	if err := s.await(ctx, "all executors are busy", func() (bool, error) {
		if err := s.due(ctx); err != nil {
			return false, err
		}
		if _, err := d.Pass(ctx); err != nil {
			return false, err
		}
		n, err := s.number(ctx, "SELECT COUNT(*) FROM run WHERE state = 'building'")
		return n == 8*passJobs, err
	}); err != nil {
		return nil, err
	}
	took := line{what: fmt.Sprintf("one pass over %d open runs, %d of them in Jenkins", openRuns, 8*passJobs), unit: "s", bound: 1}
	asked := line{what: fmt.Sprintf("its requests to Jenkins, for %d jobs", passJobs), unit: "requests", bound: 3 + passJobs}
	err = b.repeat(ctx, func(int) error {
		if err := s.due(ctx); err != nil {
			return err
		}
		before := len(builds.Requests())
		began := time.Now()
		if _, err := d.Pass(ctx); err != nil {
			return err
		}
		took.samples = append(took.samples, time.Since(began).Seconds())
		asked.samples = append(asked.samples, float64(len(builds.Requests())-before))
		left, err := s.number(ctx, "SELECT COUNT(*) FROM run WHERE finished = 0 AND next_at <= NOW(6)")
		if open, openErr := s.number(ctx, "SELECT COUNT(*) FROM run WHERE finished = 0"); err != nil || openErr != nil || left != 0 || open != openRuns {
			return fmt.Errorf("after the pass %d of %d open runs are still due: %w", left, open, errors.Join(err, openErr))
		}
		return nil
	})
	return []line{took, asked}, err
}

// due makes every run one that the next pass looks at.
func (s *hookSite) due(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, "UPDATE run SET next_at = NOW(6) - INTERVAL 1 SECOND WHERE finished = 0")
	return err
}

// dispatcher is the daemon's, with a project for each job, whose passes are ours to count.
func (s *hookSite) dispatcher(ctx context.Context, builds *jenkinsSite, jobs []string) (*hooks.Dispatcher, func() error, error) {
	store, err := lineage.Open(ctx, lineage.Config{DSN: s.dsn})
	if err != nil {
		return nil, nil, err
	}
	if err := store.Migrate(ctx); err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	var watched []hooks.Watched
	for i, job := range jobs {
		project := "ops/images-" + strconv.Itoa(i)
		watched = append(watched, hooks.Watched{Job: job, Mirror: hooks.Mirror{Dir: s.b.path("pass-mirrors"), URL: s.gitlab.URL(), Project: project, Token: s.gitlab.RootToken()}})
		if err := s.project(ctx, project); err != nil {
			return nil, nil, errors.Join(err, store.Close())
		}
	}
	owner, err := uuid.NewV7()
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return &hooks.Dispatcher{
		Store: store, Projects: func() []hooks.Watched { return watched }, Owner: fmt.Sprintf("bench/%d/%s", os.Getpid(), owner),
		Jenkins: &jenkins.Client{URL: builds.url, User: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Slots: make(chan struct{}, 4)},
	}, store.Close, nil
}
