// Command bench measures aibuild against programs that do the same work, and
// against limits, and prints one table:
//
//	go run ./.ci/bench [-pairs N] [PART...]
//
// Without PART all parts run: packer, poststeps, memory, publish, promote,
// release, rollback, boot, isolated, cli, jenkins, api, and hooks, which stands for hooks-ack,
// hooks-trigger, hooks-memory, hooks-pass and hooks-crash. It runs in the
// repository's root and needs bin/aibuild (make build) and the packages of
// `.ci/deps bench`.
//
// A ratio is our time divided by the other's, both taken in turn (A B A B), so
// that a machine that becomes slower makes both slower. A line shows the median
// and the interval that order statistics give for it at 95 %; of five pairs that
// is the whole range (93.75 %), as it is for a bootstrap. The verdicts are met;
// unclear, when the median is beyond the bound and the interval is not; and
// MISSED, when all of it is: only that, and a part that ends in an error, makes
// the exit status 1. Fewer than five samples are never a miss.
//
// Nothing is left behind: all files lie in one folder in TMPDIR, with servers of
// its own, and go at the end. What a killed bench left, the next one removes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// part is one subject. It returns what it could measure also with an error.
type part struct {
	name string
	run  func(context.Context, *bench) ([]line, error)
}

func parts() []part {
	return []part{
		{"packer", packerPart}, {"poststeps", poststepsPart}, {"memory", memoryPart},
		{"publish", publishPart}, {"promote", promotePart},
		{"release", releasePart}, {"rollback", rollbackPart},
		{"boot", bootPart}, {"isolated", isolatedPart}, {"cli", cliPart}, {"jenkins", jenkinsPart}, {"api", apiPart},
		{"hooks-ack", hooksAckPart}, {"hooks-trigger", hooksTriggerPart}, {"hooks-memory", hooksMemoryPart}, {"hooks-pass", hooksPassPart}, {"hooks-crash", hooksCrashPart},
	}
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := run(ctx)
	stop()
	os.Exit(code)
}

func run(ctx context.Context) int {
	pairs := flag.Int("pairs", 5, "pairs of each comparison; fewer than 5 only show that it runs")
	child := flag.String("child", "", "for bench itself: do this one thing and print what it took")
	flag.Parse()
	if *child != "" {
		return report(childMain(ctx, *child, os.Stdin, os.Stdout))
	}
	chosen, err := choose(flag.Args())
	if err == nil && *pairs < 1 {
		err = errors.New("-pairs: at least 1")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		return 2
	}
	b, err := newBench(*pairs)
	if err != nil {
		return report(err)
	}
	busy := load()
	lines, err := b.measure(ctx, chosen)
	printTable(os.Stdout, lines)
	fmt.Printf("The load average was %s on %d cores before. Times suffer from what else runs, ours more where we use more cores.\n", busy, runtime.NumCPU())
	err = errors.Join(err, b.close())
	if slices.ContainsFunc(lines, func(l line) bool { return l.verdict() == missed }) {
		err = errors.Join(err, errors.New("at least one bound is missed"))
	}
	return report(err)
}

func report(err error) int {
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	return 1
}

func choose(names []string) ([]part, error) {
	all := parts()
	if len(names) == 0 {
		return all, nil
	}
	var chosen []part
	for _, name := range names {
		before := len(chosen)
		for _, p := range all {
			if p.name == name || strings.HasPrefix(p.name, name+"-") {
				chosen = append(chosen, p)
			}
		}
		if len(chosen) == before {
			var known []string
			for _, p := range all {
				known = append(known, p.name)
			}
			return nil, fmt.Errorf("part %q is unknown; there are %s", name, strings.Join(known, ", "))
		}
	}
	return chosen, nil
}

// measure runs the parts one after the other. One that fails does not keep the
// others from being measured.
func (b *bench) measure(ctx context.Context, chosen []part) ([]line, error) {
	var lines []line
	var errs []error
	for _, p := range chosen {
		b.say("%s …", p.name)
		got, err := p.run(ctx, b)
		for i := range got {
			got[i].part, got[i].load = p.name, load()
			b.say("  %s", got[i])
		}
		lines = append(lines, got...)
		if ctx.Err() != nil {
			return lines, errors.Join(append(errs, context.Cause(ctx))...)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
			b.say("  %v", errs[len(errs)-1])
		}
	}
	return lines, errors.Join(errs...)
}
