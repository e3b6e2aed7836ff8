package packer

import (
	"github.com/guestos/aibuild/aibuild/qemu"
)

// Whose fault a failure is.
const (
	BlameDefinition     = "definition"     // the template or its variables are refused before anything runs
	BlameTemplate       = "template"       // the build ran, and what the template told it to do failed
	BlameInfrastructure = "infrastructure" // the machine; the same build may work elsewhere or later
)

// Codes of Failed.
const (
	CodeNotInstalled = "packer-not-installed"
	CodeTooOld       = "packer-too-old"
	CodeNoPlugin     = "qemu-plugin-missing"
	CodeKilled       = "packer-killed"
	CodeNoArtifact   = "no-artifact"
	CodeTemplate     = "template"
	CodeValidation   = "validation"
	CodeOutputExists = "output-exists"
	CodeSource       = "source"
	CodeChecksum     = "checksum"
	CodeNoSpace      = "no-space"
	CodeQEMU         = "qemu-refused"
	CodeConsole      = "console"
	CodeSSHTimeout   = "ssh-timeout"
	CodeProvisioner  = "provisioner"
	CodeTimeout      = "timeout"
	CodeCancelled    = "cancelled"
	CodeOther        = "other"
)

// Failed is a build, or the check of a template, that did not succeed.
type Failed struct {
	Code         string
	Blame        string      // one of the Blame constants
	Sentence     string      // what happened, whose fault it is and what to do, in one line
	Lines        []string    // the last relevant lines, masked
	Evidence     []string    // files in Job.Evidence
	ConsoleFault *qemu.Fault // what the console showed, where that ended the build
	Err          error       // cause; context.Canceled when the build was cancelled
}

// Error gives the sentence.
func (f *Failed) Error() string { return f.Sentence }

// Unwrap returns the cause.
func (f *Failed) Unwrap() error { return f.Err }
