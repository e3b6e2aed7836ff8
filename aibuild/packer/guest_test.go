package packer

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/qemu"
)

// oldQEMU answers on a monitor's socket as QEMU 6.2 does: it knows no PNG. Its
// guest is stopped for the reason given.
func oldQEMU(t *testing.T, socket, status string) {
	t.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() }) // its accept loop has ended with the test then
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			serveMonitor(conn, status)
		}
	}()
}

func serveMonitor(conn net.Conn, status string) {
	defer conn.Close()
	fmt.Fprintln(conn, `{"QMP": {"version": {}, "capabilities": []}}`)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var request struct {
			Execute   string
			Arguments map[string]string
		}
		if err := json.Unmarshal(lines.Bytes(), &request); err != nil {
			return
		}
		answer := `{"return": {}}`
		switch {
		case request.Execute == "query-status":
			answer = `{"event": "STOP", "timestamp": {}}` + "\n" + `{"return": {"status": "` + status + `"}}`
		case request.Arguments["format"] != "":
			answer = `{"error": {"class": "GenericError", "desc": "Parameter 'format' is unexpected"}}`
		case request.Execute == "screendump":
			picture := "P6\n640 2\n255\n" + strings.Repeat("\x10\x20\x30", 1280)
			if err := os.WriteFile(request.Arguments["filename"], []byte(picture), 0o600); err != nil {
				return
			}
		}
		fmt.Fprintln(conn, answer)
	}
}

func newTestGuest(t *testing.T) *guest {
	t.Helper()
	dir, err := os.MkdirTemp("", "q")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return newGuest(wrapperDirs{bin: dir, console: dir, sockets: dir}, filepath.Join(dir, logFile), func(string) {})
}

func TestGuestOnAnOldQEMU(t *testing.T) {
	g := newTestGuest(t)
	oldQEMU(t, g.dirs.qmp(), "io-error")
	g.started = true
	g.picture()
	checkPNG(t, g.screenPath())
	if entries, err := filepath.Glob(g.dirs.console + "/*.part*"); err != nil || len(entries) != 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	g.checkStatus()
	select {
	case f := <-g.found:
		if f.Kind != faultIO {
			t.Errorf("fault %+v", f)
		}
	default:
		t.Error("a guest that QEMU stopped for want of space was not found")
	}
	r := &run{job: Job{WorkDir: t.TempDir()}, folder: &folder{work: t.TempDir(), run: t.TempDir()}, guest: g}
	if f := r.consoleFailure(qemu.Fault{Kind: faultIO, Line: "stopped"}); f.Code != CodeNoSpace || f.Blame != BlameInfrastructure || !strings.Contains(f.Sentence, "MiB free") {
		t.Errorf("%+v", f)
	}
}

// An installation reboots; a guest that does nothing else is dead.
func TestBootLoop(t *testing.T) {
	g := newTestGuest(t)
	f, err := os.Create(g.dirs.debugcon())
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for boot := 1; boot <= manyBoots+1; boot++ {
		// In two pieces, as the watcher may look in between.
		for _, piece := range []string{"SeaBIOS (version 1.16.2)\nBUI", "LD: gcc: 12.2\nSeaBIOS (version 1.16.2)\nBooting from Hard Disk...\n"} {
			if _, err := f.WriteString(piece); err != nil {
				t.Fatal(err)
			}
			fault, bad := g.sign(phaseConnect, time.Now())
			if bad != (boot > manyBoots && piece[0] != 'S') || bad && fault.Kind != qemu.BootLoop {
				t.Fatalf("boot %d: %+v, %v", boot, fault, bad)
			}
		}
	}
	if g.boots != manyBoots+1 {
		t.Errorf("%d boots were counted", g.boots)
	}
}

func TestPicturesThatAreNone(t *testing.T) {
	for _, text := range []string{"", "P5\n1 1\n255\nx", "P6\n-1 1\n255\n", "P6\n99999 99999\n255\n", "P6\n2 2\n255\nxx"} {
		if _, err := readPPM(bufio.NewReader(strings.NewReader(text))); err == nil {
			t.Errorf("readPPM(%q) found a picture", text)
		}
	}
}

func TestTrimFreesTheMiddle(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := []byte(strings.Repeat("a line of a log\n", 1<<16))
	for range 2 * trimAbove / len(block) {
		if _, err := f.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	from, err := trim(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := trim(path, from); err != nil || again != from {
		t.Errorf("the second trim: %d, %v; want %d", again, err, from)
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if used := info.Sys().(*syscall.Stat_t).Blocks * 512; info.Size() != 2*trimAbove || used > trimAbove {
		t.Errorf("size %d, on disk %d", info.Size(), used)
	}
	text, err := ends(path)
	if err != nil || strings.Contains(string(text), "\x00") || !strings.HasSuffix(string(text), "a line of a log\n") {
		t.Errorf("the ends: %d bytes, %v", len(text), err)
	}
	if next, err := trim(filepath.Join(t.TempDir(), "none"), 7); err != nil || next != 7 {
		t.Errorf("no log: %d, %v", next, err)
	}
}

func TestConsoleThatCannotBeRead(t *testing.T) {
	g := newTestGuest(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var notes []string
	g.tell = func(s string) { notes = append(notes, s) }
	g.stop = cancel
	g.follow(ctx, "/dev/null", true)
	if watched, err := g.finish(); watched || err != nil || len(notes) != 1 || notes[0] != "the console is not watched: the template sends it to /dev/null" {
		t.Errorf("watched %v, %v, notes %q", watched, err, notes)
	}
}
