package qemu

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// take returns the kinds of the faults that are there.
func take(c *Console) []string {
	kinds := []string{}
	for {
		select {
		case f := <-c.Faults():
			kinds = append(kinds, f.Kind)
		default:
			return kinds
		}
	}
}

func TestSigns(t *testing.T) {
	for _, test := range []struct{ line, want string }{
		{"[    2.345678] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)", KernelPanic},
		{"[   99.1] Kernel panic - not syncing: sysrq triggered crash", KernelPanic},
		{"[    1.0] VFS: Unable to mount root fs via NFS", KernelPanic},
		{"ALERT!  UUID=1234 does not exist.  Dropping to a shell!", InitramfsShell},
		{"(initramfs) ", InitramfsShell},
		{"dracut: FATAL: Don't know how to handle 'root=nothing'", InitramfsShell},
		{"[  190.1] dracut-initqueue[312]: Warning: Could not boot.", InitramfsShell},
		{"dracut Warning: Could not boot.", InitramfsShell},
		{"dracut:/# ", InitramfsShell},
		{"\x1b[0;1;31mYou are in emergency mode\x1b[0m. After logging in, type \"journalctl -xb\"", EmergencyShell},
		{"Give root password for maintenance", EmergencyShell},
		{"Press Enter for maintenance", EmergencyShell},
		{"Cannot open access to console, the root account is locked.", EmergencyShell},
		{"[  \x1b[0;32mOK\x1b[0m  ] Reached target \x1b[0;1;39memergency.target\x1b[0m - Emergency Mode.", EmergencyShell},
		{"[  OK  ] Reached target Emergency Mode.", EmergencyShell},
		{"Entering rescue mode...", BootloaderError},
		{"grub rescue> ", BootloaderError},
		{"error: you need to load the kernel first.", BootloaderError},
		{"No DEFAULT or UI configuration directive found!", BootloaderError},
		{"BdsDxe: No bootable option or device was found.", NoBootloader},
		{`BdsDxe: loading Boot0002 "EFI Internal Shell" from Fv(7CB8BDC9)`, NoBootloader},
		{"No bootable device.", NoBootloader},
		{"Missing operating system", NoBootloader},

		{"Linux version 6.1.0-56-cloud-amd64", ""},
		{"update-initramfs: Generating (initramfs) files", ""},
		{"watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [swapper/1:0]", ""},
		{"Out of memory: Killed process 812 (mysqld)", ""},
		{"systemd[1]: Reached target multi-user.target - Multi-User System.", ""},
		{"login: ", ""},
	} {
		for _, end := range []string{"\n", ""} { // prompts never end their line
			t.Run(test.line+end, func(t *testing.T) {
				t.Parallel() // an unfinished line is given time
				c := NewConsole()
				fmt.Fprint(c, "earlier\r\n"+test.line+end)
				var got string
				select {
				case f := <-c.Faults():
					got = f.Kind
				case <-time.After(map[bool]time.Duration{true: patience, false: 2 * promptDelay}[test.want != ""]):
				}
				if got != test.want {
					t.Errorf("%q%q = %q; want %q", test.line, end, got, test.want)
				}
			})
		}
	}
}

func TestInstallerSigns(t *testing.T) {
	lines := "MYOS-INSTALL-FAILED: no disk\nThe installer failed to download a file from the mirror\n"
	c := NewConsole(InstallerSigns()...)
	fmt.Fprint(c, lines)
	if f := <-c.Faults(); f.Kind != InstallerFailed || f.Line != "MYOS-INSTALL-FAILED: no disk" {
		t.Errorf("fault = %v", f)
	}
	fmt.Fprint(c, lines)
	if got := take(c); len(got) != 0 {
		t.Errorf("a kind came twice: %v", got)
	}
	plain := NewConsole()
	fmt.Fprint(plain, lines)
	if got := take(plain); len(got) != 0 {
		t.Errorf("without the installers' signs: %v", got)
	}
}

func TestOwnSigns(t *testing.T) {
	c := NewConsole(
		Sign{Kind: "no-licence", Pattern: regexp.MustCompile(`licence \d+ expired`)},
		Sign{Kind: "slow", Text: "slow disk", Warning: true},
	)
	fmt.Fprint(c, "slow disk sda\nlicence 17 expired\n")
	if f := <-c.Faults(); f.Kind != "no-licence" {
		t.Errorf("fault = %v", f)
	}
	if w := c.Warnings(); len(w) != 1 || w[0].Kind != "slow" || w[0].Line != "slow disk sda" {
		t.Errorf("warnings = %v", w)
	}
}

// TestUnsure: firmware that goes on after a failed boot option has not failed.
func TestUnsure(t *testing.T) {
	failed := "BdsDxe: failed to load Boot0001 \"UEFI Misc Device\" from PciRoot(0x0)/Pci(0x3,0x0): Not Found\n"
	goesOn, silent := NewConsole(), NewConsole()
	fmt.Fprint(silent, failed)
	fmt.Fprint(goesOn, failed+"BdsDxe: loading Boot0002 \"UEFI QEMU DVD-ROM\" from PciRoot(0x0)\n")
	begin := time.Now()
	if f := <-silent.Faults(); f.Kind != NoBootloader {
		t.Errorf("fault = %v", f)
	}
	if took := time.Since(begin); took < silence-100*time.Millisecond {
		t.Errorf("reported after %s already", took)
	}
	if got := take(goesOn); len(got) != 0 {
		t.Errorf("firmware that goes on: %v", got)
	}
}

// TestPieces: signs are found however the text is cut, and come as a whole line.
func TestPieces(t *testing.T) {
	text := "\x1b[2J\x1b]0;title\x07progress 1%\rprogress 2%\r\x1b[31mKernel panic - not syncing: \x1b(Bfatal\x1b[0m exception\r\nafter\n"
	for cut := 1; cut < len(text); cut++ {
		c := NewConsole()
		fmt.Fprint(c, text[:cut])
		fmt.Fprint(c, text[cut:])
		if f := <-c.Faults(); f.Line != "Kernel panic - not syncing: fatal exception" {
			t.Fatalf("cut at %d: %q", cut, f.Line)
		}
		want := []string{"progress 1%", "progress 2%", "Kernel panic - not syncing: fatal exception", "after"}
		if diff := cmp.Diff(want, c.Tail(10)); diff != "" {
			t.Fatalf("cut at %d: %s", cut, diff)
		}
	}
}

// TestVolume: a guest that prints without end costs no memory, and a sign in
// the middle of it is found, also where an endless line is cut.
func TestVolume(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	garbage := make([]byte, 1<<20)
	random.Read(garbage)
	endless := []byte(strings.Repeat("x", 1<<20))
	c := NewConsole()
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 4 {
		c.Write(garbage)
		c.Write(endless)
		c.Write([]byte("\n"))
		fmt.Fprint(c, strings.Repeat("an ordinary line of sixty-four characters, as many a guest says\n", 1<<14))
	}
	for pad := range 300 {
		c.Reset()
		c.Write(endless[:longestLine-pad])
		fmt.Fprint(c, "Kernel panic - not syncing: here", strings.Repeat("y", longestLine))
		if got := take(c); len(got) != 1 {
			t.Fatalf("a sign %d bytes before the cut: %v", pad, got)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 2<<20 {
		t.Errorf("the console holds %d bytes after 12 MiB", grown)
	}
	if n := len(c.Tail(1 << 20)); n > tailLines+1 {
		t.Errorf("the tail has %d lines", n)
	}
}

func TestReset(t *testing.T) {
	c := NewConsole()
	fmt.Fprint(c, "Kernel panic - not syncing: one\nsoft lockup - CPU#0\nBdsDxe: failed to load Boot0001\n(initramfs) ")
	c.report(GuestOff, "late", 50*time.Millisecond)
	c.Reset()
	if got := take(c); len(got) != 0 || len(c.Warnings()) != 0 {
		t.Errorf("after Reset: %v %v", got, c.Warnings())
	}
	time.Sleep(promptDelay + 200*time.Millisecond) // nothing may come of what was pending
	if got := take(c); len(got) != 0 {
		t.Errorf("some time after Reset: %v", got)
	}
	fmt.Fprint(c, "Kernel panic - not syncing: two\n")
	if f := <-c.Faults(); f.Line != "Kernel panic - not syncing: two" || f.At > time.Minute {
		t.Errorf("fault = %v at %s", f, f.At)
	}
}

// TestFollow: the file comes late, grows, and is begun anew.
func TestFollow(t *testing.T) {
	path := filepath.Join(t.TempDir(), "serial.log")
	ctx, cancel := context.WithCancel(testContext(t))
	c, done := NewConsole(), make(chan error, 1)
	go func() { done <- c.Follow(ctx, path) }()
	for _, text := range []string{"first line, a long one\n", "second\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		eventually(t, text, func() bool {
			tail := c.Tail(1)
			return len(tail) == 1 && tail[0] == strings.TrimSpace(text)
		})
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, "Kernel panic - not syncing: last words\n")
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if got := take(c); len(got) != 1 {
		t.Errorf("what was written before the end was not read: %v", got)
	}
}

func TestReboots(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	r := reboots{allowed: 1}
	for _, step := range []struct {
		ms   int
		want bool
	}{{0, false}, {90, false}, {4000, true}, {4100, false}, {8000, true}} {
		if got := r.add(at(step.ms)); got != step.want {
			t.Errorf("reset at %d ms: too many = %v; want %v", step.ms, got, step.want)
		}
	}
	if r.count != 3 {
		t.Errorf("count = %d; want 3", r.count)
	}
}

func TestCappedLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l, err := newCappedLog(path)
	if err != nil {
		t.Fatal(err)
	}
	l.left = 10
	fmt.Fprint(l, "0123456789abc")
	fmt.Fprint(l, "def")
	if err := l.close([]string{"the", "end"}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(path)
	want := "0123456789\n[6 bytes are left out here; the last lines follow]\nthe\nend\n"
	if err != nil || string(got) != want {
		t.Errorf("log = %q, %v; want %q", got, err, want)
	}
}

func BenchmarkConsole(b *testing.B) {
	c, text := NewConsole(), []byte(strings.Repeat("[   12.345678] an ordinary line of sixty-four characters, as a guest says\r\n", 1<<10))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		c.Write(text)
	}
}
