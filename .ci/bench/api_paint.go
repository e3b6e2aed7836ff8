package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/chromedp/chromedp"
)

// paintOf is when a page showed something first, in milliseconds.
const paintOf = `performance.getEntriesByName('first-contentful-paint').map(e => e.startTime)[0] ?? 0`

// paints compares the overview with a page of 1 KiB of text, in the same browser: when something is seen first.
func (s *hookSite) paints(ctx context.Context) ([]line, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	static := &http.Server{ReadHeaderTimeout: 10 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, "<!doctype html><title>x</title><p>%s", strings.Repeat("text ", 200)) // the browser says what it misses
	})}
	go func() { _ = static.Serve(listener) }() // until it is closed
	defer static.Close()
	dir, err := os.MkdirTemp(s.b.dir, "browser-")
	if err != nil {
		return nil, err
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Env("TMPDIR="+dir), chromedp.NoSandbox, chromedp.UserDataDir(dir), chromedp.WindowSize(1280, 900))
	allocator, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	browser, cancel := chromedp.NewContext(allocator)
	defer cancel()
	if err := chromedp.Do(browser); err != nil { // starts it, for as long as its context lives
		return nil, fmt.Errorf("browser: %w", err)
	}
	paint := func(address string) (float64, error) {
		within, cancel := context.WithTimeout(browser, time.Minute)
		defer cancel()
		if err := chromedp.Do(within, chromedp.Navigate(address)); err != nil {
			return 0, fmt.Errorf("browser: %s: %w", address, err)
		}
		for within.Err() == nil {
			ms, err := chromedp.Run(within, chromedp.Evaluate[float64](paintOf))
			if err != nil || ms > 0 {
				return ms, err
			}
			time.Sleep(5 * time.Millisecond)
		}
		return 0, within.Err()
	}
	l := line{what: "overview: first contentful paint", against: "a static page of 1 KiB", unit: "x", bound: 2}
	own := line{what: "the same by itself", unit: "ms"}
	for i := range 2*enough + 1 {
		ours, err := paint("http://" + s.address + "/")
		if err != nil {
			return nil, err
		}
		theirs, err := paint("http://" + listener.Addr().String() + "/")
		if err != nil {
			return nil, err
		}
		if i > 0 { // the first fills the browser's caches
			l.samples, own.samples = append(l.samples, ours/theirs), append(own.samples, ours)
		}
	}
	return []line{l, own}, nil
}
