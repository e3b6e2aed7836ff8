package harness

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

//go:embed facts.sh
var factsScript string

// settleScript waits until the guest has finished starting.
const settleScript = `command -v cloud-init >/dev/null 2>&1 && cloud-init status --wait </dev/null
[ -d /run/systemd/system ] && systemctl is-system-running --wait </dev/null
true`

// asRoot runs the script on standard input as root if the login may become root.
const asRoot = `if [ "$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then exec sudo -n sh -s; fi; exec sh -s`

// facts is what facts.sh printed: for each key the values of its lines.
type facts map[string][][]string

const factsMarker = "aibuild-facts-1"

// parseFacts reads the output of facts.sh. Anything may stand before it (a
// greeting of the login shell); that it came to its end is checked.
func parseFacts(out []byte) (facts, error) {
	f := facts{}
	for _, line := range nonEmptyLines(out) {
		key, rest, ok := strings.Cut(line, "\t")
		if !ok || (len(f) == 0 && line != "marker\t"+factsMarker) {
			continue
		}
		f[key] = append(f[key], strings.Split(printable([]byte(rest)), "\t"))
	}
	if len(f) == 0 {
		return nil, fmt.Errorf("the login runs no shell command; it says %q", lastLine(printable(out)))
	}
	if f["end"] == nil {
		return nil, errors.New("the guest's shell stopped in the middle of looking around")
	}
	return f, nil
}

// one is the first value of a key that stands once, or "".
func (f facts) one(key string) string {
	if len(f[key]) == 0 {
		return ""
	}
	return f[key][0][0]
}

func (f facts) isRoot() bool { return f.one("uid") == "0" }

// olderThanBoot says whether a file of that age (seconds, as facts.sh printed it)
// was there before the guest was powered on, so that it came with the image.
func (f facts) olderThanBoot(age string) (older, known bool) {
	const slack = 3 // ages are whole seconds, and clocks are set a little while starting
	a, errAge := strconv.ParseFloat(age, 64)
	up, errUp := strconv.ParseFloat(f.one("uptime"), 64)
	if errAge != nil || errUp != nil {
		return false, false
	}
	return a > up+slack, true
}

// settle waits until cloud-init and systemd say that the guest has started. If
// they do not in time the facts will show it.
func (m *machine) settle(ctx context.Context) error {
	limited, cancel := context.WithTimeoutCause(ctx, m.boot, errLate)
	defer cancel()
	_, err := m.shell.output(limited, "exec sh -s", strings.NewReader(settleScript))
	var exit *exitError
	if errors.Is(err, errLate) || errors.As(err, &exit) {
		return nil
	}
	return m.explain(ctx, err)
}

// look asks the guest about itself. What it said is kept in the evidence folder.
func (m *machine) look(ctx context.Context, evidence string) (facts, error) {
	const limit = time.Minute
	limited, cancel := context.WithTimeoutCause(ctx, m.scaled(limit), errLate)
	defer cancel()
	out, err := m.shell.output(limited, "exec sh -c "+quote(asRoot), strings.NewReader(factsScript))
	if werr := os.WriteFile(filepath.Join(evidence, "facts.txt"), []byte(printable(out)), 0o644); werr != nil {
		return nil, &untold{werr}
	}
	var exit *exitError
	if err != nil && !errors.As(err, &exit) {
		return nil, m.explain(ctx, err)
	}
	f, err := parseFacts(bytes.TrimSpace(out))
	if err != nil {
		return nil, newFault(KeyRefused, fmt.Sprintf("user %s can log in, but not work: %v", m.login.user, err), time.Since(m.started))
	}
	return f, nil
}

// explain finds out why the connection to the guest broke. Signs of death take a
// moment to arrive; without one, a guest that can be logged in to lives.
func (m *machine) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	const signsArrive = 3 * time.Second
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(signsArrive):
	}
	m.shell.close()
	if again := m.reconnect(ctx); again != nil {
		return again
	}
	return &brokenError{err}
}

// brokenError is a connection that broke though the guest lives.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return "the SSH connection broke: " + e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// nonEmptyLines splits text into lines and leaves out empty ones.
func nonEmptyLines(b []byte) []string {
	var lines []string
	for line := range bytes.SplitSeq(b, []byte("\n")) {
		if line = bytes.TrimRight(line, "\r"); len(line) > 0 {
			lines = append(lines, string(line))
		}
	}
	return lines
}
