package harness

import (
	"archive/tar"
	"context"
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

//go:embed case.sh
var caseScript string

//go:embed kill.sh
var killScript string

// Exit status with which a case says that it does not apply here.
const exitSkip = 77

// clockNotSet is what case.sh says of a clock that it may not set.
const clockNotSet = "clock not set"

// lingering is how long the output of a case that has ended may stay open.
const lingering = 2 * time.Second

var (
	errCaseLate  = errors.New("the case ran out of time")
	errLingering = errors.New("the case left something behind that holds its output")
)

// runCases runs the definition's cases, those that want a guest of their own
// last. Its error is the guest's or our end; cases that fail are no error.
func (c *cellRun) runCases(ctx context.Context) error {
	if len(c.plan.Cases) == 0 {
		return nil
	}
	c.begin(c.plan.Cases[0].Name)
	dir, err := c.sendCases(ctx)
	if err != nil {
		return err
	}
	isolated := 0
	for _, k := range c.plan.Cases {
		if k.Isolated {
			isolated++
		}
	}
	if isolated > 0 {
		if err := c.m.freeze(ctx); err != nil {
			return err
		}
	}
	fresh := true // the guest is as freeze left it
	for _, alone := range []bool{false, true} {
		for i, k := range c.plan.Cases {
			if k.Isolated != alone {
				continue
			}
			c.begin(k.Name)
			if err := c.runCase(ctx, caseRun{Case: k, index: i, dir: dir, fresh: fresh}); err != nil {
				return err
			}
			fresh = false
		}
	}
	return nil
}

// sendCases copies the cases and the folder around them into the guest.
func (c *cellRun) sendCases(ctx context.Context) (dir string, err error) {
	const limit = 2 * time.Minute
	limited, cancel := context.WithTimeoutCause(ctx, c.m.scaled(limit), errLate)
	defer cancel()
	var packing error // of this machine's files: no fault of the guest's
	dir, err = c.m.shell.upload(limited, ".aibuild-"+strings.ToLower(rand.Text()[:8]), func(t *tar.Writer) error {
		packing = c.pack(t)
		return packing
	})
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case packing != nil && err == nil, packing != nil && !strings.Contains(packing.Error(), "closed pipe"):
		return "", &untold{fmt.Errorf("pack the cases: %w", packing)}
	case err == nil && dir == "":
		err = errors.New("copy the tests into the guest: it does not say where they are")
	}
	if err != nil {
		return "", newFault(StoppedReply, err.Error(), time.Since(c.m.started))
	}
	return dir, nil
}

func (c *cellRun) pack(t *tar.Writer) error {
	head := fmt.Sprintf("HEAD=%d TAIL=%d\n", keepHead, keepTail)
	if err := errors.Join(packFile(t, "run", []byte(head+caseScript)), packFile(t, "kill", []byte(killScript)), packDir(t, "files"), packDir(t, "cases")); err != nil {
		return err
	}
	if c.plan.Files != nil {
		if err := packTree(t, c.plan.Files, "files"); err != nil {
			return err
		}
	}
	for i, k := range c.plan.Cases {
		content, err := k.content(c.plan.Files)
		if err != nil {
			return fmt.Errorf("case %s: %w", k.Name, err)
		}
		if err := packFile(t, k.place(c.plan.Files, i), content); err != nil {
			return err
		}
	}
	return nil
}

func (k Case) content(files fs.FS) ([]byte, error) {
	switch {
	case k.Script != nil:
		return k.Script, nil
	case files != nil:
		return fs.ReadFile(files, path.Clean(k.Path))
	}
	return os.ReadFile(k.Path)
}

// place is where the case's executable lies in the guest: among the files it
// belongs to, else by itself. It is packed even if it is in the tree already: not
// every file system knows what is executable.
func (k Case) place(files fs.FS, index int) string {
	if k.Script == nil && files != nil {
		return "files/" + path.Clean(k.Path)
	}
	return "cases/" + strconv.Itoa(index)
}

// caseRun is one case in one guest.
type caseRun struct {
	Case
	index   int
	dir     string // in the guest
	fresh   bool   // nothing has changed the guest since it was frozen
	attempt int
	log     string // evidence file
}

// runCase runs a case until it passes or skips or its retries are used up, and
// records the result.
func (c *cellRun) runCase(ctx context.Context, k caseRun) error {
	name := fmt.Sprintf("%02d-%s.log", k.index+1, fileName(k.Name))
	k.log = filepath.Join(c.evidence, name)
	for k.attempt = 1; ; k.attempt++ {
		if k.Isolated && !k.fresh {
			c.heed(c.m.vm.Console().Warnings()) // a restore forgets them
			if err := c.m.thaw(ctx); err != nil {
				return err
			}
		}
		k.fresh = false
		f, err := c.tryCase(ctx, k)
		if err != nil {
			return err
		}
		if f.result == Failed && k.attempt <= k.Retries {
			continue
		}
		if f.result == Passed && k.attempt > 1 {
			f = finding{Flaky, fmt.Sprintf("passed at attempt %d", k.attempt)}
		}
		c.end(CaseResult{Result: f.result, Message: f.message, Attempt: k.attempt, Evidence: filepath.Join(c.folder, name)})
		return nil
	}
}

// fileName makes a file's name of a case's.
func fileName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '_'
	}, name)
	const most = 100
	return clean[:min(len(clean), most)]
}

// tryCase runs a case once.
func (c *cellRun) tryCase(ctx context.Context, k caseRun) (finding, error) {
	timeout := c.m.scaled(k.Timeout)
	limited, cancelTimeout := context.WithTimeoutCause(ctx, timeout, errCaseLate)
	defer cancelTimeout()
	limited, cancel := context.WithCancelCause(limited)
	defer cancel(nil)
	var output capture
	status := &statusLine{ended: func() { time.AfterFunc(lingering, func() { cancel(errLingering) }) }}
	err := c.m.shell.run(limited, c.command(k), nil, &output, status)
	text := printable(output.Bytes())
	if errors.Is(err, errLingering) {
		text += "\n[aibuild: " + errLingering.Error() + "]\n"
	}
	code, said := status.result()
	if strings.Contains(said, clockNotSet) {
		text += "\n[aibuild: user " + c.plan.User + " may not set the guest's clock; it shows the time of the snapshot]\n"
	}
	if werr := k.keep(text); werr != nil {
		return finding{}, &untold{fmt.Errorf("keep the output of %s: %w", k.Name, werr)}
	}
	switch {
	case ctx.Err() != nil:
		return finding{}, context.Cause(ctx)
	case code >= 0:
		return judgeStatus(code, text), nil
	case errors.Is(err, errCaseLate):
		return failed("no end within %.0f s; %s", timeout.Seconds(), lastLine(text)), c.kill(ctx, k)
	case strings.Contains(said, "no sudo"):
		return failed("it asks for root, and user %s cannot become root (sudo -n)", c.plan.User), nil
	case said != "" && said != clockNotSet:
		return failed("it could not be started: %s", lastLine(said)), nil
	}
	err = c.m.explain(ctx, either(err, errors.New("it ended without an exit status")))
	var broken *brokenError
	if errors.As(err, &broken) {
		return failed("%v", err), nil
	}
	return finding{}, err
}

func judgeStatus(code int, text string) finding {
	last := lastLine(text)
	switch code {
	case 0:
		return passed()
	case exitSkip:
		return skipped("%s", last)
	}
	return failed("%s", strings.TrimSuffix(fmt.Sprintf("exit status %d: %s", code, last), ": "))
}

// command is the line that runs the case in the guest.
func (c *cellRun) command(k caseRun) string {
	clock, sudo, file := "-", "-", k.dir+"/"+k.place(c.plan.Files, k.index)
	if k.Isolated {
		clock = strconv.FormatInt(time.Now().Unix(), 10)
	}
	if k.Sudo {
		sudo = "sudo"
	}
	words := []string{
		"exec", "sh", quote(k.dir + "/run"), clock, sudo, strconv.Itoa(k.index), quote(file),
	}
	for _, v := range [][2]string{
		{"CELL", c.cell.String()}, {"CASE", k.Name}, {"FIRMWARE", c.cell.Firmware}, {"DISK_BUS", c.cell.DiskBus},
		{"DATASOURCE", c.cell.Datasource}, {"USER", c.plan.User}, {"ATTEMPT", strconv.Itoa(k.attempt)},
	} {
		words = append(words, quote("AIBUILD_"+v[0]+"="+v[1]))
	}
	return strings.Join(words, " ")
}

// kill ends a case that ran out of time. A guest that does not even answer to
// this is lost.
func (c *cellRun) kill(ctx context.Context, k caseRun) error {
	limit := c.m.scaled(handshakeWindow)
	limited, cancel := context.WithTimeoutCause(ctx, limit, errLate)
	defer cancel()
	sudo := "-"
	if k.Sudo {
		sudo = "sudo"
	}
	_, err := c.m.shell.output(limited, strings.Join([]string{"exec", "sh", quote(k.dir + "/kill"), sudo, strconv.Itoa(k.index)}, " "), nil)
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case err == nil:
		// A new connection: some SSH servers drop the old one a moment after a program of it was killed, which would be
		// taken for the next case's fault.
		c.m.shell.close()
		return c.m.reconnect(ctx)
	case errors.Is(err, errLate):
		return newFault(StoppedReply, fmt.Sprintf("the case ran out of time and the guest does not answer for %.0f s", limit.Seconds()), time.Since(c.m.started))
	}
	err = c.m.explain(ctx, err)
	var broken *brokenError
	if errors.As(err, &broken) {
		return nil
	}
	return err
}

// keep adds what an attempt said to the case's evidence.
func (k caseRun) keep(text string) error {
	f, err := os.OpenFile(k.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if k.attempt > 1 {
		text = fmt.Sprintf("\n[aibuild: attempt %d]\n", k.attempt) + text
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// statusLine is the standard error of case.sh.
type statusLine struct {
	ended func()

	mu   sync.Mutex
	text []byte
	done bool
}

func (s *statusLine) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	const most = 4096
	s.text = append(s.text, p[:min(len(p), most-min(most, len(s.text)))]...)
	if _, ok := exitStatus(string(s.text)); ok && !s.done {
		s.done = true
		s.ended()
	}
	return len(p), nil
}

// result is the case's exit status, or -1 without one, and all that was said.
func (s *statusLine) result() (code int, said string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	said = strings.TrimSpace(printable(s.text))
	if code, ok := exitStatus(string(s.text)); ok {
		return code, said
	}
	return -1, said
}

func exitStatus(text string) (int, bool) {
	for line := range strings.Lines(text) {
		number, ok := strings.CutPrefix(line, "rc ")
		if code, err := strconv.Atoi(strings.TrimSpace(number)); ok && err == nil && strings.HasSuffix(line, "\n") {
			return code, true
		}
	}
	return 0, false
}
