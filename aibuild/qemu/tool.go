package qemu

import (
	"github.com/hashicorp/go-hclog"
)

// Tool is the QEMU installation to use. The zero Tool uses what is in PATH.
type Tool struct {
	Binary string // name or path of the emulator; empty means qemu-system-x86_64
	Img    string // name or path of the image tool; empty means qemu-img

	// UEFICode and UEFIVars are the firmware's program and the template of its
	// variables, both raw. Empty means the first pair found where the
	// distributions keep them; see Firmware.
	UEFICode, UEFIVars string

	CacheDir string       // keeps what Probe found; empty means nothing is kept
	Log      hclog.Logger // nil means silence
}

func (t Tool) binary() string {
	if t.Binary == "" {
		return "qemu-system-x86_64"
	}
	return t.Binary
}

func (t Tool) img() string {
	if t.Img == "" {
		return "qemu-img"
	}
	return t.Img
}

func (t Tool) log() hclog.Logger {
	if t.Log == nil {
		return hclog.NewNullLogger()
	}
	return t.Log
}
