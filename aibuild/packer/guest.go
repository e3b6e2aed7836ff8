package packer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

const (
	// lookEvery is how often the watcher looks whether QEMU has started or ended.
	lookEvery = 200 * time.Millisecond
	// statusEvery and screenEvery are paid by QEMU's main loop: a few ms each.
	statusEvery = 3 * time.Second
	screenEvery = 9 * time.Second
	// goneGrace lets Packer notice by itself that QEMU has ended.
	goneGrace = 3 * time.Second
	// manyBoots: an installation reboots once, some twice. The firmware starts
	// no guest that often on its way to an image.
	manyBoots = 5
)

// guest watches the QEMU of one build.
type guest struct {
	dirs    wrapperDirs
	monitor monitor
	console *qemu.Console
	tell    func(text string) // notes for the receiver of events

	found   chan qemu.Fault
	stop    context.CancelFunc
	workers sync.WaitGroup

	mu      sync.Mutex
	started bool
	watched bool
	pid     int
	start   string // with pid it names the process for ever; empty if it had ended before the first look
	serial  string
	gone    time.Time
	screen  sync.Mutex
	errs    []error

	// Of the loop alone.
	firmwareRead int64
	boots        int
	log          string // Packer's, kept within bounds together with the console's
	trimmed      map[string]int64
}

func newGuest(dirs wrapperDirs, log string, tell func(string)) *guest {
	return &guest{
		dirs: dirs, log: log, monitor: monitor{dirs.qmp()}, tell: tell, trimmed: map[string]int64{},
		console: qemu.NewConsole(qemu.InstallerSigns()...), found: make(chan qemu.Fault, 1),
	}
}

// watch looks after the guest until ctx ends or finish is called. phase says how
// far Packer is.
func (g *guest) watch(ctx context.Context, phase func() string, follow bool) {
	ctx, g.stop = context.WithCancel(ctx)
	g.workers.Add(1)
	go func() {
		defer g.workers.Done()
		g.loop(ctx, phase, follow)
	}()
}

func (g *guest) loop(ctx context.Context, phase func() string, follow bool) {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	var status, screen, trimmed time.Time
	for {
		select {
		case <-ctx.Done():
			g.look(ctx, follow) // a build may be over before the first look
			return
		case <-ticker.C:
		}
		now := time.Now()
		if now.Sub(trimmed) >= statusEvery {
			trimmed = now
			g.trimLogs()
		}
		if !g.look(ctx, follow) {
			continue
		}
		if f, bad := g.sign(phase(), now); bad && follow {
			g.report(f)
		}
		if now.Sub(status) >= statusEvery && phase() != phaseConvert {
			status = now
			g.checkStatus()
		}
		if now.Sub(screen) >= screenEvery {
			screen = now
			g.picture()
		}
	}
}

// look says whether QEMU was started, and begins to follow its console when it
// was.
func (g *guest) look(ctx context.Context, follow bool) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.started {
		return true
	}
	b, err := os.ReadFile(filepath.Join(g.dirs.console, "started"))
	if err != nil {
		return false
	}
	pid, how, _ := strings.Cut(strings.TrimSuffix(string(b), "\n"), "\n")
	g.started = true
	g.pid, _ = strconv.Atoi(pid)
	if g.start, err = process.StartTime(g.pid); err != nil {
		g.start = ""
	}
	if _, err := os.Stat(filepath.Join(g.dirs.console, "no-kvm")); err == nil {
		g.tell("KVM does not work here: QEMU runs with tcg instead, as the accelerator's probe says")
	}
	g.follow(ctx, how, follow)
	return true
}

func (g *guest) follow(ctx context.Context, how string, follow bool) {
	if reason, no := strings.CutPrefix(how, "!"); no {
		g.tell("the console is not watched: " + reason)
		return
	}
	g.serial = how
	if how == "aibuild" {
		g.serial = g.dirs.serial()
	}
	if info, err := os.Stat(g.serial); err == nil && !info.Mode().IsRegular() {
		g.tell("the console is not watched: the template sends it to " + g.serial)
		g.serial = ""
		return
	}
	if !follow {
		return
	}
	g.watched = true
	g.workers.Add(1)
	go func() {
		defer g.workers.Done()
		if err := g.console.Follow(ctx, g.serial); err != nil {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.watched, g.errs = false, append(g.errs, err)
		}
	}()
}

// sign looks for what the serial line does not show.
func (g *guest) sign(phase string, now time.Time) (qemu.Fault, bool) {
	waiting := phase == phaseBoot || phase == phaseConnect
	if waiting || phase == phaseProvision {
		if f, bad := g.firmware(waiting); bad {
			return f, true
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if phase != phaseConnect || g.pid == 0 || g.start != "" && process.Alive(g.pid, g.start) {
		return qemu.Fault{}, false
	}
	if g.gone.IsZero() {
		g.gone = now
	}
	if now.Sub(g.gone) < goneGrace {
		return qemu.Fault{}, false
	}
	return qemu.Fault{Kind: qemu.GuestOff, Line: "QEMU has ended while packer waits for the guest: the guest switched itself off, or QEMU died"}, true
}

// firmware reads what the BIOS wrote to its debug port since the last look. Only
// the watcher's loop calls it.
func (g *guest) firmware(waiting bool) (qemu.Fault, bool) {
	f, err := os.Open(g.dirs.debugcon())
	if err != nil {
		return qemu.Fault{}, false // UEFI, or not there yet
	}
	defer f.Close()
	// An overlap of one sign's length, as the last look may have cut one.
	const overlap = 32
	from := max(0, g.firmwareRead-overlap)
	text, err := io.ReadAll(io.NewSectionReader(f, from, 1<<20))
	if err != nil || from+int64(len(text)) == g.firmwareRead {
		return qemu.Fault{}, false
	}
	old := text[:g.firmwareRead-from]
	g.firmwareRead = from + int64(len(text))
	g.boots += bytes.Count(text, []byte(biosStart)) - bytes.Count(old, []byte(biosStart))
	if bytes.Contains(text, []byte(noBootable)) {
		return qemu.Fault{Kind: qemu.NoBootloader, Line: noBootable}, true
	}
	if waiting && g.boots > manyBoots {
		return qemu.Fault{Kind: qemu.BootLoop, Line: fmt.Sprintf("the guest was started %d times and never answered", g.boots)}, true
	}
	return qemu.Fault{}, false
}

// What SeaBIOS writes once at each start (its name it writes twice), and when it
// gives up.
const (
	biosStart  = "\nBUILD: "
	noBootable = "No bootable device."
)

func (g *guest) report(f qemu.Fault) {
	select {
	case g.found <- f:
	default: // one is enough to end the build
	}
}

// checkStatus looks for a guest that QEMU has stopped.
func (g *guest) checkStatus() {
	status, err := g.monitor.status()
	if err != nil {
		return // ended, or busy; the next look tells
	}
	switch status {
	case "io-error":
		g.report(qemu.Fault{Kind: faultIO, Line: "QEMU stopped the guest: writing its disk failed"})
	case "internal-error", "guest-panicked":
		g.report(qemu.Fault{Kind: qemu.KernelPanic, Line: "QEMU stopped the guest: " + status})
	}
}

// trimLogs keeps the disk from filling with what is printed.
func (g *guest) trimLogs() {
	for _, path := range []string{g.log, g.dirs.serial()} {
		next, err := trim(path, g.trimmed[path])
		if err != nil {
			g.mu.Lock()
			g.errs = append(g.errs, err)
			g.mu.Unlock()
			next = 1 << 62 // once is enough to say so
		}
		g.trimmed[path] = next
	}
}

// faultIO is QEMU's answer to a full disk under the image.
const faultIO = "io-error"

// picture takes a screenshot; a guest without a screen has none.
func (g *guest) picture() {
	g.screen.Lock()
	defer g.screen.Unlock()
	g.mu.Lock()
	started := g.started
	g.mu.Unlock()
	if started {
		_ = g.monitor.screenshot(g.screenPath()) // evidence only; QEMU may be gone
	}
}

func (g *guest) screenPath() string { return filepath.Join(g.dirs.console, screenFile) }

func (g *guest) serialPath() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.serial == "" {
		return g.dirs.serial()
	}
	return g.serial
}

// finish ends the watch, QEMU too if Packer has left it behind, and reads the
// console to its end.
func (g *guest) finish() (watched bool, err error) {
	if g.stop != nil {
		g.stop()
	}
	g.workers.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.start != "" && process.Alive(g.pid, g.start) {
		err = syscall.Kill(g.pid, syscall.SIGKILL)
	}
	return g.watched, errors.Join(append(g.errs, err)...)
}
