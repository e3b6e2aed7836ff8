package harness

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

func TestBootForAPerson(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{})
	plan.User = "tester"
	g, err := h.Boot(t.Context(), plan, Cell{BIOS, SCSI, NoCloud})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if err := g.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	command := g.SSHCommand()
	info, err := os.Stat(g.key)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file: %v, %v; want mode 0600", info, err)
	}
	result, err := process.Cmd{Path: command[0], Args: append(command[1:], "id -un; cat /proc/partitions"), Timeout: time.Minute}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if out := string(result.Stdout); !strings.HasPrefix(out, "tester\n") || !strings.Contains(out, "sda") {
		t.Errorf("the guest says %q; want user tester on a SCSI disk", out)
	}
	if serial := readFile(t, g.SerialPath()); !strings.Contains(serial, "test guest ready") {
		t.Errorf("serial log: %q", serial)
	}
	if err := g.Close(); err != nil {
		t.Fatal(err)
	}
	<-g.Done()
	if _, err := os.Stat(g.key); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("key file after Close: %v, want it gone", err)
	}
}

func TestReadySaysWhatDied(t *testing.T) {
	h, plan := harness(t), testPlan(t, variant{noLoader: true})
	g, err := h.Boot(t.Context(), plan, Cell{BIOS, Virtio, ConfigDrive})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	var fault *FaultError
	if err := g.Ready(t.Context()); !errors.As(err, &fault) || fault.Kind != "no-bootloader" {
		t.Errorf("Ready = %v, want no-bootloader", err)
	}
}
