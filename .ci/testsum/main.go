// Command testsum reads `go test -json` from the files that it is given, all at
// the same time, and prints what a person wants to see: failures in full, a table of packages with their
// seconds, and one last line `N passed, N failed, N skipped`. A test that was
// skipped fails the whole, as does a package that did not build.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
	"sync"
	"time"
)

// event is one line of `go test -json` (go doc test2json).
type event struct {
	Action     string
	Package    string
	ImportPath string
	Test       string
	Output     string
	Elapsed    float64
}

type pkg struct {
	passed, failed, skipped int
	seconds                 float64
	result                  string
}

type summary struct {
	out      io.Writer
	packages map[string]*pkg
	output   map[string][]string // of tests under way, by package and test
	skipped  []string
	stray    int // packages that did not build
	exits    int // runs of go test that ended badly
}

func main() {
	s := &summary{out: os.Stdout, packages: map[string]*pkg{}, output: map[string][]string{}}
	if err := s.read(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	}
	if !s.close() {
		os.Exit(1)
	}
}

// read takes the files' lines as they come.
func (s *summary) read(files []string) error {
	var mu sync.Mutex
	errs := make([]error, len(files))
	var group sync.WaitGroup
	for i, name := range files {
		group.Go(func() {
			file, err := os.Open(name)
			if err != nil {
				errs[i] = err
				return
			}
			defer file.Close()
			in := bufio.NewScanner(file)
			in.Buffer(nil, 64<<20)
			for in.Scan() {
				mu.Lock()
				s.line(in.Bytes())
				mu.Unlock()
			}
			errs[i] = in.Err()
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *summary) line(b []byte) {
	var e event
	if err := json.Unmarshal(b, &e); err != nil {
		fmt.Fprintf(s.out, "%s\n", b) // go itself has something to say
		return
	}
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		s.output[key] = append(s.output[key], e.Output)
	case "build-output":
		fmt.Fprint(s.out, e.Output)
	case "build-fail":
		s.stray++
	case "exit":
		s.exits++
	case "pass", "fail", "skip":
		s.ended(e, key)
	}
}

func (s *summary) ended(e event, key string) {
	p := s.packages[e.Package]
	if p == nil {
		p = &pkg{}
		s.packages[e.Package] = p
	}
	if e.Test == "" {
		p.seconds += e.Elapsed // a package may be run more than once, as for fuzzing
		if p.result != "fail" {
			p.result = e.Action
		}
		fmt.Fprintf(s.out, "%s  %-6s %6.1f s  %s\n", time.Now().UTC().Format("15:04:05"), e.Action, e.Elapsed, e.Package)
		if e.Action == "fail" {
			s.print(key)
		}
		return
	}
	switch e.Action {
	case "pass":
		p.passed++
	case "fail":
		p.failed++
		fmt.Fprintf(s.out, "--- failed: %s %s\n", e.Package, e.Test)
		s.print(key)
	case "skip":
		p.skipped++
		s.skipped = append(s.skipped, e.Package+" "+e.Test)
	}
	delete(s.output, key)
}

func (s *summary) print(key string) {
	for _, text := range s.output[key] {
		fmt.Fprint(s.out, "    ", text)
	}
}

// close prints table and last line; false means that the run is not good.
func (s *summary) close() bool {
	names := make([]string, 0, len(s.packages))
	for name := range s.packages {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool { return s.packages[names[i]].seconds > s.packages[names[j]].seconds })
	var passed, failed, skipped int
	fmt.Fprintf(s.out, "\n%9s %7s %7s %8s  %s\n", "seconds", "passed", "failed", "skipped", "package")
	for _, name := range names {
		p := s.packages[name]
		if p.passed+p.failed+p.skipped == 0 && p.result != "fail" {
			continue // no test files
		}
		if p.result == "fail" && p.failed == 0 {
			p.failed++ // did not build, panicked, or TestMain failed
		}
		passed, failed, skipped = passed+p.passed, failed+p.failed, skipped+p.skipped
		fmt.Fprintf(s.out, "%9.1f %7d %7d %8d  %s\n", p.seconds, p.passed, p.failed, p.skipped, strings.TrimPrefix(name, "github.com/guestos/aibuild"))
	}
	for _, name := range s.skipped {
		fmt.Fprintln(s.out, "skipped, which counts as a failure:", name)
	}
	if failed == 0 {
		failed += s.stray
	}
	if failed == 0 && s.exits > 0 {
		failed += s.exits
		fmt.Fprintln(s.out, "go test itself ended badly: a package was cut off before its result")
	}
	fmt.Fprintf(s.out, "\n%d passed, %d failed, %d skipped\n", passed, failed, skipped)
	return failed == 0 && skipped == 0 && passed > 0
}
