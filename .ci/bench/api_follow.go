package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	followers = 100
	followFor = 20 * time.Second
	// talkative is a build that says ten lines a second.
	talkative = "i=0; while :; do i=$((i+1)); echo \"line $i of a build that says ten lines a second, as long as lines of Packer are\"; sleep 0.1; done\n"
)

// apiFollow: what it costs the daemon that a hundred follow the log of one build.
func apiFollow(ctx context.Context, s *hookSite, _ *lineage.Store, _ int) ([]line, error) {
	if err := s.seed(ctx, hookProject, hookJob, 2); err != nil {
		return nil, err
	}
	var run string
	if err := s.await(ctx, "a build has begun", func() (bool, error) {
		err := s.db.QueryRowContext(ctx, "SELECT COALESCE(MAX(id), '') FROM run WHERE state = 'building' AND jenkins_build IS NOT NULL").Scan(&run)
		return run != "", err
	}); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var lines atomic.Int64
	var mu sync.Mutex
	var errs []error
	var wg sync.WaitGroup
	for range followers {
		wg.Go(func() {
			err := s.followOne(ctx, run, &lines)
			mu.Lock()
			defer mu.Unlock()
			errs = append(errs, err)
		})
	}
	time.Sleep(3 * time.Second) // all are there, and have what was said before
	pid := strconv.Itoa(s.daemon.Pid())
	before, err := cpuOfPid(pid)
	if err != nil {
		return nil, err
	}
	began, had := time.Now(), lines.Load()
	time.Sleep(followFor)
	after, err := cpuOfPid(pid)
	if err != nil {
		return nil, err
	}
	took, got := time.Since(began), lines.Load()-had
	cancel()
	wg.Wait()
	if rate := float64(got) / took.Seconds() / followers; rate < 7 {
		errs = append(errs, fmt.Errorf("each follower got %.1f lines a second, not ten", rate))
	}
	share := 100 * float64(after-before) / float64(took)
	return []line{{what: fmt.Sprintf("%d follow a log of 10 lines/s: processor", followers), unit: "% of a core", samples: []float64{share}, bound: 10, exact: true}}, errors.Join(errs...)
}

// followOne counts the lines that come until the context ends.
func (s *hookSite) followOne(ctx context.Context, run string, lines *atomic.Int64) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+"/api/v1/runs/"+run+"/log/follow", nil)
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+s.token)
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("follow: HTTP %d", response.StatusCode)
	}
	for text := bufio.NewScanner(response.Body); text.Scan(); {
		if strings.HasPrefix(text.Text(), "data: line ") {
			lines.Add(1)
		}
	}
	return nil
}
