package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// stepPairs is how many pairs one JVM measures, after the first that only warms it up.
const stepPairs = 4

// stepScript calls a step of the shared library, and what it calls by hand, in turn.
const stepScript = `
for (int i = 0; i <= %d; i++) {
    long began = System.nanoTime()
    aibuildGate(image: 'bench-0', fail: false, databaseCredentialsId: 'aibuild-dsn')
    long between = System.nanoTime()
    withCredentials([string(credentialsId: 'aibuild-dsn', variable: 'AIBUILD_DSN')]) {
        sh(returnStatus: true, script: '"$AIBUILD_BIN" gate bench-0')
    }
    if (i > 0) {
        echo 'PAIR ' + (between - began) + ' ' + (System.nanoTime() - between)
    }
}
`

// jenkinsPart: what a step of the shared library costs beside the program that it calls. The JVM's start is not in it, nor
// what a real Jenkins adds to each sh, which is there by hand too.
func jenkinsPart(ctx context.Context, b *bench) ([]line, error) {
	if err := b.prepareCommand(ctx); err != nil {
		return nil, err
	}
	if err := tellStory(ctx, b.db.DSN()); err != nil {
		return nil, err
	}
	over := line{what: "aibuildGate under Groovy", against: "the same command by hand in sh", unit: "ms more", bound: 300}
	hand := line{what: "the command by hand", unit: "ms"}
	err := b.repeat(ctx, func(i int) error {
		pairs, err := b.stepPairs(ctx, i)
		for _, p := range pairs {
			over.samples = append(over.samples, inMS(p[0]-p[1]))
			hand.samples = append(hand.samples, inMS(p[1]))
		}
		return err
	})
	return []line{over, hand}, err
}

func inMS(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// stepPairs is how long the step took, and the command by hand.
func (b *bench) stepPairs(ctx context.Context, i int) (pairs [][2]time.Duration, err error) {
	dir := b.path(fmt.Sprintf("jenkins-%d", i))
	credentials, script := filepath.Join(dir, "credentials"), filepath.Join(dir, "Jenkinsfile")
	err = errors.Join(os.MkdirAll(credentials, 0o700), os.MkdirAll(filepath.Join(dir, "workspace"), 0o755),
		os.WriteFile(filepath.Join(credentials, "aibuild-dsn"), []byte(b.db.DSN()), 0o600),
		os.WriteFile(script, fmt.Appendf(nil, stepScript, stepPairs), 0o644))
	if err != nil {
		return nil, err
	}
	c := b.command()
	res, err := process.Cmd{
		Path: filepath.Join(b.repo, "jenkins", "test", "run"), Args: []string{"--credentials", credentials, script}, Dir: dir, Timeout: 2 * time.Minute,
		Env: append(c.Env, "AIBUILD_BIN="+b.aibuild(), "AIBUILD_DSN=", "WORKSPACE="+filepath.Join(dir, "workspace"), "JAVA_HOME="+os.Getenv("JAVA_HOME")),
	}.Run(ctx)
	if err != nil {
		return nil, err
	}
	for lines := bufio.NewScanner(bytes.NewReader(res.Stdout)); lines.Scan(); {
		var step, hand int64
		if n, _ := fmt.Sscanf(lines.Text(), "PAIR %d %d", &step, &hand); n == 2 {
			pairs = append(pairs, [2]time.Duration{time.Duration(step), time.Duration(hand)})
		}
	}
	if len(pairs) != stepPairs {
		return nil, fmt.Errorf("%d pairs, not %d: %s", len(pairs), stepPairs, res.Stdout)
	}
	return pairs, nil
}
