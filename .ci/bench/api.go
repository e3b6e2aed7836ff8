package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// storySize is how many images are generated, with five times as many events; BENCH_IMAGES says otherwise, such as
// 10000000. A million took twelve minutes and 5 GiB in TMPDIR.
func storySize() (int, error) {
	text := os.Getenv("BENCH_IMAGES")
	if text == "" {
		return 1_000_000, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 10_000 {
		return 0, fmt.Errorf("BENCH_IMAGES is %q; at least 10000 images show something", text)
	}
	return n, nil
}

// apiPart: how fast the story is read: by SQL on one connection, over HTTP under a steady load, on pages, and while a
// hundred follow a log.
func apiPart(ctx context.Context, b *bench) (lines []line, err error) {
	images, err := storySize()
	if err != nil {
		return nil, err
	}
	s, err := newHookSite(ctx, b, "api")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	store, err := lineage.Open(ctx, lineage.Config{DSN: s.dsn})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := store.Migrate(ctx); err != nil {
		return nil, err
	}
	b.say("  %d images and %d events are made", images, 5*images)
	if err := s.fillStory(ctx, images); err != nil {
		return nil, err
	}
	for _, part := range []func(context.Context, *hookSite, *lineage.Store, int) ([]line, error){apiSQL, apiHTTP, apiFollow} {
		got, err := part(ctx, s, store, images)
		lines = append(lines, got...)
		if err != nil {
			return lines, err
		}
	}
	return lines, nil
}

// question is one page of a list or a history.
type question struct {
	what string
	ask  func(context.Context) error
}

// apiSQL asks one thing after the other, which keeps one connection busy.
func apiSQL(ctx context.Context, s *hookSite, store *lineage.Store, images int) (lines []line, err error) {
	const page, each = 50, 300
	deep, deepest, err := deepCursor(ctx, store, images)
	if err != nil {
		return nil, err
	}
	uuid := func(n int) string { return fmt.Sprintf("01900000-0000-7000-8000-%012d", n) }
	list := func(f lineage.Filter) func(context.Context) error {
		return func(ctx context.Context) error { f.Limit = page; _, _, err := store.Images(ctx, f); return err }
	}
	history := func(name string, limit int) func(context.Context) error {
		return func(ctx context.Context) error { _, err := store.History(ctx, name, limit); return err }
	}
	long := fmt.Sprintf("history of a name, %d images of %d cases", page, storyCases)
	var first, last []time.Duration
	for _, q := range []question{
		{"images", list(lineage.Filter{})}, {"images, page " + strconv.Itoa(deepest/page), list(lineage.Filter{Cursor: deep})},
		{"images of a name", list(lineage.Filter{Name: hotName})}, {"images of a project", list(lineage.Filter{Project: "team-7/images"})}, {"images in a state", list(lineage.Filter{State: "test_failed"})},
		{"runs", func(ctx context.Context) error {
			_, _, err := store.Runs(ctx, lineage.RunFilter{Limit: page})
			return err
		}},
		{"runs of an image", func(ctx context.Context) error {
			_, _, err := store.Runs(ctx, lineage.RunFilter{Image: hotName, Limit: page})
			return err
		}},
		{"events", func(ctx context.Context) error {
			_, _, err := store.Events(ctx, lineage.EventFilter{Limit: page})
			return err
		}},
		{"events of a name", func(ctx context.Context) error {
			_, _, err := store.Events(ctx, lineage.EventFilter{Image: hotName, Limit: page})
			return err
		}},
		{"events of an image", func(ctx context.Context) error {
			_, _, err := store.Events(ctx, lineage.EventFilter{ImageUUID: uuid(images / 3), Limit: page})
			return err
		}},
		{"events by somebody", func(ctx context.Context) error {
			_, _, err := store.Events(ctx, lineage.EventFilter{Actor: "bob", Limit: page})
			return err
		}},
		{"history of a name", history("image-7", page)},
		{fmt.Sprintf("history of a name, 10 images of %d cases", storyCases), history(testedName, 10)},
		{long, history(testedName, page)},
	} {
		half, most := line{what: "SQL, " + q.what + ": p50", unit: "ms", bound: 1}, line{what: "SQL, " + q.what + ": p99", unit: "ms", bound: 10}
		if q.what == long { // 1,800 rows: for information
			half.bound, most.bound = 0, 0
		}
		var times []time.Duration
		if err := s.b.repeat(ctx, func(int) (err error) {
			if times, err = timed(ctx, each, q.ask); err == nil {
				half.samples, most.samples = append(half.samples, inMS(quantile(times, 0.5))), append(most.samples, inMS(quantile(times, 0.99)))
			}
			return err
		}); err != nil {
			return lines, fmt.Errorf("%s: %w", q.what, err)
		}
		lines = append(lines, half, most)
		switch {
		case len(first) == 0:
			first = times
		case len(last) == 0:
			last = times
		}
	}
	depth := line{what: fmt.Sprintf("page %d of images", deepest/page), against: "page 1", unit: "x", samples: []float64{ratio(quantile(last, 0.5), quantile(first, 0.5))}, bound: 2, exact: true}
	naive, err := timed(ctx, 5, func(ctx context.Context) error { return offsetPage(ctx, s.db, page, deepest) })
	offset := line{what: fmt.Sprintf("page %d by OFFSET", deepest/page), against: "our page there", unit: "x", samples: []float64{ratio(quantile(naive, 0.5), quantile(last, 0.5))}}
	return append(lines, depth, offset), err
}

// deepCursor leads to the middle of all images.
func deepCursor(ctx context.Context, store *lineage.Store, images int) (cursor string, position int, err error) {
	const step = 1000
	for position = 0; position+step <= images/2; position += step {
		if _, cursor, err = store.Images(ctx, lineage.Filter{Limit: step, Cursor: cursor}); err != nil {
			return "", 0, err
		}
	}
	return cursor, position, nil
}

// timed asks once to warm up, and then n times; the times are sorted.
func timed(ctx context.Context, n int, ask func(context.Context) error) ([]time.Duration, error) {
	if err := ask(ctx); err != nil {
		return nil, err
	}
	times := make([]time.Duration, n)
	for i := range times {
		began := time.Now()
		if err := ask(ctx); err != nil {
			return nil, err
		}
		times[i] = time.Since(began)
	}
	slices.Sort(times)
	return times, nil
}

func quantile(sorted []time.Duration, q float64) time.Duration {
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

func quantileLine(what string, sorted []time.Duration, q, bound float64) line {
	return line{what: what, unit: "ms", samples: []float64{inMS(quantile(sorted, q))}, bound: bound, exact: true}
}
