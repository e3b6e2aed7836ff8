package qemu

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/renameio/v2"

	"github.com/guestos/aibuild/aibuild/process"
)

const (
	ownerFile = ".aibuild-owner" // in a folder that Claim was called for
	vmFile    = ".aibuild-vm"    // in the folder of a running guest
)

// identity names a process for ever.
type identity struct {
	Pid   int    `json:"pid"`
	Start string `json:"start"` // process.StartTime
}

func (i identity) alive() bool { return process.Alive(i.Pid, i.Start) }

func identify(pid int) (identity, error) {
	start, err := process.StartTime(pid)
	return identity{Pid: pid, Start: start}, err
}

// record is what Sweep reads.
type record struct {
	Owner identity  `json:"owner"`
	VM    *identity `json:"vm,omitempty"`
}

// Claim records that dir, an existing folder, is for this process only: Sweep
// removes it with all it holds once this process is dead.
func Claim(dir string) error {
	if err := write(filepath.Join(dir, ownerFile), nil); err != nil {
		return fmt.Errorf("claim %s: %w", dir, err)
	}
	return nil
}

// Disown takes Claim back, for a folder that is to be kept.
func Disown(dir string) error {
	if err := os.Remove(filepath.Join(dir, ownerFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("disown %s: %w", dir, err)
	}
	return nil
}

func recordVM(dir string, pid int) error {
	vm, err := identify(pid)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has ended already: nothing is left to sweep
	}
	if err == nil {
		err = write(filepath.Join(dir, vmFile), &vm)
	}
	if err != nil {
		return fmt.Errorf("record the guest: %w", err)
	}
	return nil
}

func forgetVM(dir string) error {
	if err := os.Remove(filepath.Join(dir, vmFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the guest: %w", err)
	}
	return nil
}

func write(path string, vm *identity) error {
	owner, err := identify(os.Getpid())
	if err != nil {
		return err
	}
	b, err := json.Marshal(record{Owner: owner, VM: vm})
	if err != nil {
		return err
	}
	return renameio.WriteFile(path, b, 0o600)
}

// Sweep looks through dir for folders of guests and folders that were claimed
// whose owner is dead, ends what still runs for them and removes them. What
// belongs to a living process is left alone, also when it lies inside such a
// folder's neighbour. It returns the folders removed, and goes on after errors.
// A dir that is not there is swept.
func Sweep(dir string) (removed []string, err error) {
	var errs []error
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // somebody else was faster
		}
		if err != nil || !d.IsDir() {
			return err
		}
		dead, err := abandoned(path)
		if err != nil {
			errs = append(errs, err)
			return fs.SkipDir
		}
		switch dead {
		case ownerLives:
			return fs.SkipDir
		case nobody:
			return nil
		}
		if err := sweepFolder(path); err != nil {
			errs = append(errs, err)
		} else {
			removed = append(removed, path)
		}
		return fs.SkipDir
	})
	if err = errors.Join(append(errs, err)...); err != nil {
		return removed, fmt.Errorf("sweep %s: %w", dir, err)
	}
	return removed, nil
}

type ownership int

const (
	nobody ownership = iota
	ownerLives
	ownerDead
)

func abandoned(dir string) (ownership, error) {
	found := nobody
	for _, name := range []string{ownerFile, vmFile} {
		r, err := readRecord(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nobody, err
		case r.Owner.alive():
			return ownerLives, nil
		default:
			found = ownerDead
		}
	}
	return found, nil
}

func readRecord(path string) (record, error) {
	var r record
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil || r.Owner.Pid <= 0 {
		return r, fmt.Errorf("%s: not a record of ours; remove the folder by hand: %w", path, err)
	}
	return r, nil
}

// sweepFolder ends every guest recorded in the tree, then removes the tree.
func sweepFolder(dir string) error {
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() != vmFile {
			return err
		}
		r, err := readRecord(path)
		if err != nil || r.VM == nil {
			return err
		}
		return end(*r.VM)
	})
	if err != nil {
		return err
	}
	return os.RemoveAll(dir)
}

// end kills a process and waits until it is gone: its files may go only then.
func end(p identity) error {
	if p.Pid <= 1 {
		return fmt.Errorf("process %d is none of ours", p.Pid)
	}
	for deadline := time.Now().Add(10 * time.Second); p.alive(); time.Sleep(20 * time.Millisecond) {
		if err := syscall.Kill(p.Pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("end process %d: %w", p.Pid, err)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not end", p.Pid)
		}
	}
	return nil
}
