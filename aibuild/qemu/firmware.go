package qemu

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// firmwareWatch reads SeaBIOS' debug port: it says there, and on no serial line,
// that it found nothing to boot.
type firmwareWatch struct {
	lines   lines
	console *Console
}

func newFirmwareWatch(c *Console) *firmwareWatch {
	w := &firmwareWatch{console: c}
	w.lines = lines{full: w.match, partial: w.match}
	return w
}

func (w *firmwareWatch) Write(p []byte) (int, error) {
	w.lines.Write(p)
	return len(p), nil
}

func (w *firmwareWatch) match(line []byte, _ int) {
	if bytes.Contains(line, []byte("No bootable device.")) {
		w.console.report(NoBootloader, clean(line), 0)
	}
}

type firmwarePair struct{ code, vars string }

// firmwarePairs: Debian and Ubuntu, Fedora and EL, openEuler and Arch, SUSE.
var firmwarePairs = []firmwarePair{
	{"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
	{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
	{"/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
	{"/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
	{"/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"},
}

// UEFI returns the firmware's two files: those set in t, else the first pair that
// is installed. The error names the package to install.
func (t Tool) UEFI() (code, vars string, err error) {
	if t.UEFICode != "" && t.UEFIVars != "" {
		return t.UEFICode, t.UEFIVars, nil
	}
	if t.UEFICode != "" || t.UEFIVars != "" {
		return "", "", errors.New("uefi firmware: code and variables must be set together")
	}
	for _, p := range firmwarePairs {
		_, errCode := os.Stat(p.code)
		_, errVars := os.Stat(p.vars)
		if errCode == nil && errVars == nil {
			return p.code, p.vars, nil
		}
	}
	return "", "", fmt.Errorf("uefi firmware: %w: install the package ovmf (edk2-ovmf on Fedora and EL)", fs.ErrNotExist)
}

// withVars finds the firmware and makes the guest's own copy of its variables,
// unless the folder has one from an earlier start.
func (t Tool) withVars(ctx context.Context, path string) (Tool, error) {
	code, vars, err := t.UEFI()
	if err != nil {
		return t, err
	}
	t.UEFICode, t.UEFIVars = code, vars
	if _, err := os.Stat(path); err == nil {
		return t, nil
	}
	if _, err := t.runImg(ctx, "convert", "-f", "raw", "-O", "qcow2", vars, path); err != nil {
		return t, errors.Join(fmt.Errorf("uefi variables: %w", err), removeFile(path))
	}
	return t, nil
}
