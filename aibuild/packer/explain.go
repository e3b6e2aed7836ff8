package packer

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/aibuild/qemu"
)

const (
	shownLines   = 15
	consoleLines = 25
)

// judge says why the build failed, or nil if it did not.
func (r *run) judge(ctx context.Context, err error, end ending) *Failed {
	switch {
	case end.fault != nil:
		return r.consoleFailure(*end.fault)
	case end.timeout:
		return r.timeoutFailure()
	case ctx.Err() != nil && err != nil:
		f := cancelled(ctx, "building the image")
		f.Lines = last(r.talk.said().recent, shownLines)
		return f
	case err == nil:
		return nil
	}
	// What the console said in the last moment explains what Packer noticed.
	select {
	case f := <-r.guest.console.Faults():
		if !r.harmless(f) && r.talk.now() != phaseProvision {
			return r.consoleFailure(f)
		}
	default:
	}
	return r.explain(err, r.talk.said())
}

func cancelled(ctx context.Context, doing string) *Failed {
	err := ctx.Err()
	if cause := context.Cause(ctx); errors.Is(cause, err) {
		err = cause
	} else {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	return &Failed{
		Code: CodeCancelled, Blame: BlameInfrastructure, Err: err,
		Sentence: "cancelled while " + doing + "; nothing of it is left, run it again",
	}
}

func (r *run) consoleFailure(f qemu.Fault) *Failed {
	f.Line = r.mask(f.Line)
	out := &Failed{
		Code: CodeConsole, Blame: BlameTemplate, ConsoleFault: &f, Lines: r.console(),
		Sentence: fmt.Sprintf("the guest died during the build (%s): %s", f.Kind, f.Line),
	}
	if f.Kind == faultIO {
		out.Code, out.Blame = CodeNoSpace, BlameInfrastructure
		out.Sentence = f.Line + "; " + space(r.folder.work)
	}
	if stderr := r.qemuStderr(); f.Kind == qemu.GuestOff && len(stderr) > 0 {
		out.Sentence, out.Lines = "QEMU died during the build: "+stderr[len(stderr)-1], stderr
		out.ConsoleFault.Kind = qemu.QEMUDied
	}
	return out
}

func (r *run) timeoutFailure() *Failed {
	said := r.talk.said()
	sentence := fmt.Sprintf("packer was not done after %s", r.job.Timeout)
	if n := len(said.recent); n > 0 {
		sentence += fmt.Sprintf(" (last: %s)", shorten(said.recent[n-1], 200))
	}
	return &Failed{
		Code: CodeTimeout, Blame: BlameTemplate, Err: context.DeadlineExceeded,
		Sentence: sentence + "; if the build only needs longer, raise build.timeout",
		Lines:    append(last(said.recent, shownLines), r.console()...),
	}
}

// console is the end of the guest's console, masked.
func (r *run) console() []string {
	lines := r.guest.console.Tail(consoleLines)
	for i, one := range lines {
		lines[i] = shorten(r.mask(one), recentText)
	}
	return lines
}

func (r *run) mask(s string) string { return string(process.Redact([]byte(s), r.secrets)) }

func (r *run) qemuStderr() []string {
	return lastLines(r.logPath(), "Qemu stderr:", shownLines, r.secrets)
}

// cause is one thing that a failed build can say.
type cause struct {
	code, blame string
	sign        *regexp.Regexp
	sentence    func(r *run, text string) string
	lines       func(r *run, d said) []string
}

func plain(sentence string) func(*run, string) string {
	return func(*run, string) string { return sentence }
}

func quoting(sentence string) func(*run, string) string {
	return func(_ *run, text string) string { return sentence + ": " + text }
}

func guestLines(_ *run, d said) []string { return last(d.recent, shownLines) }

func consoleToo(r *run, d said) []string {
	return append(last(d.recent, shownLines), r.console()...)
}

// causes are tried in order on the error that Packer gives for the build, and on
// all errors it showed where it gives none.
func causes() []cause {
	i := func(s string) *regexp.Regexp { return regexp.MustCompile("(?i)" + s) }
	return []cause{
		{code: CodeNoPlugin, blame: BlameInfrastructure, lines: guestLines, sentence: pluginSentence,
			sign: i(`unknown builder qemu|builder qemu is unknown|source qemu is unknown|unknown source type "?qemu|missing plugins|packer-plugin-qemu.*(no such file|not found)`)},
		{code: CodeNoSpace, blame: BlameInfrastructure, lines: guestLines, sentence: spaceSentence,
			sign: i(`no space left on device|disk quota exceeded`)},
		{code: CodeOutputExists, blame: BlameDefinition, lines: guestLines,
			sentence: func(_ *run, text string) string {
				return text + "; remove it, or let the template take output_directory from aibuild"
			},
			sign: i(`output directory '.*' already exists`)},
		{code: CodeChecksum, blame: BlameTemplate, lines: guestLines, sentence: quoting("the source is not the file that its checksum names"),
			sign: i(`checksums did not match|checksum mismatch|invalid checksum`)},
		{code: CodeSource, blame: BlameInfrastructure, lines: guestLines, sentence: quoting("the source could not be fetched"),
			sign: i(`error downloading iso.*(timeout|timed out|connection|no such host|unreachable|EOF|bad response code: 5|TLS|temporary)`)},
		{code: CodeSource, blame: BlameTemplate, lines: guestLines, sentence: quoting("the source could not be fetched"),
			sign: i(`error downloading iso|download failed`)},
		{code: CodeSSHTimeout, blame: BlameTemplate, lines: consoleToo,
			sentence: plain("the guest never answered Packer by SSH: its installation failed, or the template's user, key or network is wrong"),
			sign:     i(`timeout waiting for (ssh|winrm)`)},
		{code: CodeProvisioner, blame: BlameTemplate, lines: guestLines, sentence: quoting("a provisioner of the template failed"),
			sign: i(`script exited with non-zero exit status|script disconnected|error (executing|running|uploading)|provision`)},
		{code: CodeOther, blame: BlameTemplate, lines: consoleToo, sentence: plain("the guest did not shut down in time: check shutdown_command and shutdown_timeout"),
			sign: i(`timeout while waiting for machine to shut ?down|failed to shut ?down`)},
		{code: CodeQEMU, blame: BlameInfrastructure, lines: guestLines, sentence: quoting("qemu-img failed"),
			sign: i(`qemuimg error|error creating hard drive|error converting hard drive`)},
		{code: CodeKilled, blame: BlameInfrastructure, lines: guestLines, sentence: plain("a plugin of packer crashed or was killed (out of memory?); run it again"),
			sign: i(`^(unexpected )?EOF$|connection is shut down|plugin (exited|crashed)`)},
		{code: CodeKilled, blame: BlameInfrastructure, lines: guestLines, sentence: plain("packer was ended from outside before the build was done; run it again"),
			sign: i(`build was cancelled|receiving (interrupt|terminated)`)},
	}
}

func pluginSentence(r *run, _ string) string {
	how := "packer plugins install github.com/hashicorp/qemu"
	switch {
	case r.tpl.requires.Line > 0:
		how = "packer init " + filepath.Base(r.tpl.Path)
	case !r.version.AtLeast(1, 7, 0):
		how = "a Packer with its plugins built in"
	}
	return fmt.Sprintf("packer %s has no qemu plugin here; run: %s", r.version, how)
}

func spaceSentence(r *run, text string) string {
	return text + "; " + space(r.folder.work)
}

// space is the room on the disk of the work folder, for messages.
func space(dir string) string {
	var s syscall.Statfs_t
	for d := dir; ; d = filepath.Dir(d) {
		if err := syscall.Statfs(d, &s); err == nil {
			return fmt.Sprintf("%s has %d MiB free: make room there, or use another work folder", d, s.Bavail*uint64(s.Bsize)>>20)
		}
		if d == filepath.Dir(d) {
			return "make room, or use another work folder"
		}
	}
}

// explain turns what Packer said into a failure.
func (r *run) explain(err error, d said) *Failed {
	var exit *process.Error
	if errors.As(err, &exit) && exit.Signal != "" {
		return &Failed{
			Code: CodeKilled, Blame: BlameInfrastructure, Err: err, Lines: last(d.recent, shownLines),
			Sentence: fmt.Sprintf("packer was ended by signal %s from outside (out of memory?); run it again", exit.Signal),
		}
	}
	if halted(d) {
		return r.qemuRefused(err, d)
	}
	text := d.failure
	if text == "" {
		text = strings.Join(d.errors, "\n")
	}
	for _, c := range causes() {
		if line := matching(text, c.sign); line != "" {
			return &Failed{Code: c.code, Blame: c.blame, Err: err, Sentence: c.sentence(r, line), Lines: c.lines(r, d)}
		}
	}
	f := &Failed{Code: CodeOther, Blame: BlameTemplate, Err: err, Sentence: "packer failed: " + firstLine(text), Lines: last(d.recent, shownLines)}
	if text == "" {
		f.Code, f.Blame = CodeKilled, BlameInfrastructure
		f.Sentence = fmt.Sprintf("packer ended without saying why (%v): it crashed or was killed; run it again", err)
	}
	return f
}

func (r *run) unfinished(d said) *Failed {
	return &Failed{
		Code: CodeKilled, Blame: BlameInfrastructure, Lines: last(d.recent, shownLines),
		Sentence: "packer ended in the middle of the build with exit status 0: it was killed (out of memory?); run it again",
	}
}

// halted: Packer says no more than this where QEMU did not start.
func halted(d said) bool {
	return strings.Contains(d.failure, "Build was halted") && slices.ContainsFunc(d.errors, func(s string) bool {
		return strings.Contains(s, "Error launching VM") || strings.Contains(s, "Qemu failed to start")
	})
}

// machineTrouble are the words of QEMU that are about this machine rather than
// about the template's arguments.
var machineTrouble = regexp.MustCompile(`(?i)cannot allocate memory|could not access kvm|failed to initialize kvm|permission denied|could not set up host forwarding|address already in use|no space left`)

func (r *run) qemuRefused(err error, d said) *Failed {
	f := &Failed{Code: CodeQEMU, Blame: BlameTemplate, Err: err, Lines: r.qemuStderr()}
	said := strings.Join(f.Lines, "\n")
	if machineTrouble.MatchString(said) {
		f.Blame = BlameInfrastructure
	}
	if len(f.Lines) == 0 {
		f.Lines = last(d.recent, shownLines)
		said = "it gave no reason; see " + logFile
	}
	f.Sentence = "QEMU refused to start: " + firstLine(said)
	return f
}

// explainValidation does the same for packer validate.
func (r *run) explainValidation(err error, d said) *Failed {
	f := r.explain(err, d)
	f.Lines = d.recent
	switch f.Code {
	case CodeNoPlugin, CodeNoSpace, CodeKilled:
		return f
	}
	if f.Code != CodeOutputExists {
		f.Code = CodeValidation
	}
	f.Blame = BlameDefinition
	if text := strings.Join(d.errors, "\n"); text != "" {
		f.Sentence = "packer refuses the template: " + problemLine(text)
	}
	return f
}

// problemLine picks what is wrong out of Packer's report.
func problemLine(text string) string {
	var first string
	for one := range strings.SplitSeq(text, "\n") {
		one = strings.TrimSpace(one)
		if item, ok := strings.CutPrefix(one, "* "); ok {
			return item
		}
		if first == "" {
			first = one
		}
	}
	return first
}

// matching returns the line of text that shows the sign, or "".
func matching(text string, sign *regexp.Regexp) string {
	for one := range strings.SplitSeq(text, "\n") {
		if sign.MatchString(one) {
			return shorten(strings.TrimSpace(one), 500)
		}
	}
	return ""
}

func firstLine(text string) string {
	one, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return shorten(one, 500)
}

func last(lines []string, n int) []string { return lines[max(0, len(lines)-n):] }

// infrastructure wraps an error that is the machine's.
func (r *run) infrastructure(err error) *Failed {
	f := &Failed{Code: CodeOther, Blame: BlameInfrastructure, Sentence: err.Error(), Err: err}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		f.Code = CodeNoSpace
		f.Sentence += "; " + space(r.job.WorkDir)
	case errors.Is(err, process.ErrNotFound):
		return notInstalled(r.tool.binary(), err)
	}
	return f
}
