package harness

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// holdSlot names the folder of slots to a second run of this test binary.
const holdSlot = "HARNESS_TEST_HOLD_SLOT"

// holdTheSlot takes the only slot, says so and keeps it until it is killed.
func holdTheSlot(dir string) int {
	if _, err := takeSlot(context.Background(), dir, 1); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := os.WriteFile(filepath.Join(dir, "held"), nil, 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	select {}
}

func TestSlotsExcludeOtherProcesses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "deep", "slots")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	other, err := process.Cmd{Path: self, Env: process.Environ(holdSlot + "=" + dir)}.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer other.Stop(time.Second)
	for deadline := time.Now().Add(time.Minute); ; {
		if _, err := os.Stat(filepath.Join(dir, "held")); err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the other process takes no slot")
		}
		<-time.After(10 * time.Millisecond)
	}
	short, cancel := context.WithTimeout(t.Context(), 3*slotPoll)
	defer cancel()
	if _, err := takeSlot(short, dir, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("takeSlot while another process holds the only one: %v, want the deadline", err)
	}
	second, err := takeSlot(t.Context(), dir, 2)
	if err != nil {
		t.Fatalf("takeSlot with one of two free: %v", err)
	}
	second()
	if err := other.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	long, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	release, err := takeSlot(long, dir, 1)
	if err != nil {
		t.Fatalf("takeSlot after the holder was killed: %v", err)
	}
	release()
}
