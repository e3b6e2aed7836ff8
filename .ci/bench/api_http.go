package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	readRate    = 200 // requests a second, whatever becomes of those before
	readConns   = 16
	readFor     = 20 * time.Second
	kibibyte    = 1 << 10
	weightBound = 150 // KiB
)

// apiHTTP starts the daemon on the story and reads it: a steady load on the API, pages one after the other.
func apiHTTP(ctx context.Context, s *hookSite, store *lineage.Store, images int) (lines []line, err error) {
	if err := s.openDoors(ctx, store); err != nil {
		return nil, err
	}
	newest := fmt.Sprintf("01900000-0000-7000-8000-%012d", images-1)
	middle := fmt.Sprintf("01900000-0000-7000-8000-%012d", images/2+1)
	health, err := s.steady(ctx, 8*time.Second, []string{"/healthz"})
	if err != nil {
		return nil, err
	}
	load, err := s.steady(ctx, readFor, []string{
		"/api/v1/images?limit=50", "/api/v1/images?name=hot", "/api/v1/images?state=test_failed", "/api/v1/images/image-7/history?limit=50", "/api/v1/images/" + middle,
		"/api/v1/runs", "/api/v1/runs?image=hot", "/api/v1/runs/" + middle, "/api/v1/events?image=hot", "/api/v1/events?image_uuid=" + newest,
	})
	if err != nil {
		return nil, err
	}
	healthy := inMS(quantile(health, 0.99))
	lines = []line{
		quantileLine(fmt.Sprintf("HTTP, %d requests/s on %d connections: p99", readRate, readConns), load, 0.99, max(15, 2*healthy)),
		quantileLine("the same of /healthz alone: p99", health, 0.99, 0),
		quantileLine("the same: p50", load, 0.5, 0),
	}
	overview, err := timed(ctx, 200, func(ctx context.Context) error { _, err := s.page(ctx, "/", false); return err })
	if err != nil {
		return lines, err
	}
	lines = append(lines, quantileLine("overview page: p99", overview, 0.99, 50))
	for _, path := range []string{"/", "/images", "/images/hot", "/images/" + newest, "/runs", "/runs/" + middle, "/clusters", "/audit?image=hot", "/packages"} {
		weight, err := s.weight(ctx, path)
		if err != nil {
			return lines, err
		}
		lines = append(lines, line{what: "weight of page " + strings.NewReplacer(newest, "UUID", middle, "ID").Replace(path), unit: "KiB", samples: []float64{weight / kibibyte}, bound: weightBound, exact: true})
	}
	painted, err := s.paints(ctx)
	lines = append(lines, painted...)
	if err != nil {
		return lines, err
	}
	most, err := highWater(strconv.Itoa(s.daemon.Pid()))
	return append(lines, line{what: "memory of the daemon under that load", unit: "MiB", samples: []float64{float64(most) / mebibyte}, bound: 96, exact: true}), err
}

// openDoors starts the daemon with pages for everybody and a token for the API.
func (s *hookSite) openDoors(ctx context.Context, store *lineage.Store) error {
	token, hash := api.NewToken()
	if _, err := store.CreateToken(ctx, lineage.Token{Name: "bench", Role: api.RoleViewer, CreatedBy: "bench"}, hash); err != nil {
		return err
	}
	s.token = string(token)
	builds, err := startJenkins(s.b.path("api-jenkins"), talkative, 2, hookJob)
	if err != nil {
		return err
	}
	s.builds, s.jenkins = builds, builds.url
	if err := s.configure("max_runs: 8"); err != nil {
		return err
	}
	config, err := os.OpenFile(s.config, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := config.WriteString("pages: {public: true}\n"); err != nil {
		return errors.Join(err, config.Close())
	}
	return errors.Join(config.Close(), s.start(ctx))
}

// steady asks for paths in turn at a steady rate, and gives how long each answer took from when it was due, sorted.
func (s *hookSite) steady(ctx context.Context, long time.Duration, paths []string) ([]time.Duration, error) {
	client := &http.Client{Transport: &http.Transport{MaxConnsPerHost: readConns, MaxIdleConnsPerHost: readConns}, Timeout: time.Minute}
	defer client.CloseIdleConnections()
	type due struct {
		at   time.Time
		path string
	}
	all := make(chan due, int(long.Seconds())*readRate)
	var mu sync.Mutex
	var times []time.Duration
	var errs []error
	var wg sync.WaitGroup
	for range readConns {
		wg.Go(func() {
			for d := range all {
				_, err := s.get(ctx, client, d.path, false)
				took := time.Since(d.at)
				mu.Lock()
				times, errs = append(times, took), append(errs, err)
				mu.Unlock()
			}
		})
	}
	start := time.Now()
	for i := range int(long.Seconds()) * readRate {
		at := start.Add(time.Duration(i) * time.Second / readRate)
		time.Sleep(time.Until(at))
		all <- due{at, paths[i%len(paths)]}
	}
	close(all)
	wg.Wait()
	slices.Sort(times)
	return times, errors.Join(errs...)
}

// get reads one answer to its end, and gives its bytes, as they came over the wire where packed is set.
func (s *hookSite) get(ctx context.Context, client *http.Client, path string, packed bool) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.address+path, nil)
	if err != nil {
		return nil, err
	}
	if strings.HasPrefix(path, "/api/") {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	if packed {
		request.Header.Set("Accept-Encoding", "gzip")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: HTTP %d: %.200s", path, response.StatusCode, body)
	}
	return body, err
}

func (s *hookSite) page(ctx context.Context, path string, packed bool) ([]byte, error) {
	return s.get(ctx, http.DefaultClient, path, packed)
}

// weight is what a browser loads for a page that it has never seen.
func (s *hookSite) weight(ctx context.Context, path string) (float64, error) {
	page, err := s.page(ctx, path, false)
	if err != nil {
		return 0, err
	}
	total := 0
	for _, part := range append(loaded(string(page)), path) {
		body, err := s.page(ctx, part, true)
		if err != nil {
			return 0, err
		}
		total += len(body)
	}
	return float64(total), nil
}

// loaded are the styles, scripts and pictures of a page.
func loaded(page string) (paths []string) {
	for _, before := range []string{`src="/static/`, `href="/static/`} {
		for rest := page; ; {
			_, after, found := strings.Cut(rest, before)
			if !found {
				break
			}
			file, _, _ := strings.Cut(after, `"`)
			paths, rest = append(paths, "/static/"+file), after
		}
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}
