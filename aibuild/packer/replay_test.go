package packer

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/process"
)

func TestReplayedBuildsThatEndWell(t *testing.T) {
	tests := []struct {
		name, version, stream string
		template, text        string
		build, image          string
	}{
		{"1.2.5 json", "1.2.5", "tiny-pass", "t.json", strings.Replace(tinyJSON, `"type": "qemu"`, `"type": "qemu", "iso_checksum_type": "sha256"`, 1), "tiny", "tiny.qcow2"},
		{"1.6.6 json", "1.6.6", "tiny-pass", "t.json", tinyJSON, "tiny", "tiny.qcow2"},
		{"1.6.6 hcl2", "1.6.6", "hcl2-pass", "t.pkr.hcl", tinyHCL, "qemu.tiny", "tiny2.qcow2"},
		{"1.7.10 hcl2", "1.7.10", "hcl2-pass", "t.pkr.hcl", "packer {\n required_plugins {\n}\n}\n" + tinyHCL, "qemu.tiny", "tiny2.qcow2"},
		{"1.8.7 json", "1.8.7", "tiny-pass", "t.json", tinyJSON, "tiny", "tiny.qcow2"},
		{"1.10.3 hcl2", "1.10.3", "hcl2-pass", "t.pkr.hcl", tinyHCL, "qemu.tiny", "tiny2.qcow2"},
		{"1.12.0-dev json", "1.12.0-dev", "tiny-pass", "t.json", tinyJSON, "tiny", "tiny.qcow2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := job(t, tt.template, tt.text)
			var events []Event
			j.Progress = func(e Event) { events = append(events, e) }
			tool := Tool{Binary: fakePacker{version: tt.version, build: tt.stream}.install(t)}
			a, err := tool.Build(t.Context(), j)
			if err != nil {
				t.Fatalf("Build: %v", err)
			}
			want := filepath.Join(j.WorkDir, "output", tt.image)
			if a.Path != want || a.Format != "qcow2" || a.Build != tt.build || a.Version.String() != tt.version || a.ConsoleWatched {
				t.Errorf("artifact %+v; want %s of build %s", a, want, tt.build)
			}
			if entries, err := os.ReadDir(j.WorkDir); err != nil || len(entries) != 1 {
				t.Errorf("the work folder holds %v (%v); want only output", entries, err)
			}
			if i := slices.IndexFunc(events, func(e Event) bool { return e.Phase == phaseProvision }); i < 0 {
				t.Errorf("no event of provisioning among %d", len(events))
			}
			if last := events[len(events)-1]; last.Build != tt.build || last.Text != "VM files in directory: "+filepath.Join(j.WorkDir, "output") {
				t.Errorf("last event %+v", last)
			}
		})
	}
}

func TestReplayedFailures(t *testing.T) {
	tests := []struct {
		name     string
		fake     fakePacker
		text     string // of an HCL2 template; empty: JSON
		code     string
		blame    string
		sentence string
		line     string
	}{
		{"provisioner", fakePacker{version: "1.6.6", build: "fail-provisioner", exit: 1}, "", CodeProvisioner, BlameTemplate,
			"a provisioner of the template failed: Script exited with non-zero exit status: 3.Allowed exit codes are: [0]", "step one, with a comma"},
		{"qemu's argument", fakePacker{version: "1.6.6", build: "fail-qemu-arg", exit: 1, before: `echo "2026/11/22 x plugin: Qemu stderr: qemu-system-x86_64: -device nope: 'nope' is not a valid device model name" >"$PACKER_LOG_PATH"`}, "",
			CodeQEMU, BlameTemplate, "QEMU refused to start: qemu-system-x86_64: -device nope: 'nope' is not a valid device model name", "qemu-system-x86_64: -device nope"},
		{"host port taken", fakePacker{version: "1.6.6", build: "fail-qemu-arg", exit: 1, before: `echo "x: Qemu stderr: qemu-system-x86_64: -netdev user: Could not set up host forwarding rule 'tcp::2222-:22'" >"$PACKER_LOG_PATH"`}, "",
			CodeQEMU, BlameInfrastructure, "QEMU refused to start: qemu-system-x86_64: -netdev user: Could not set up", "host forwarding"},
		{"no source", fakePacker{version: "1.6.6", build: "fail-no-base", exit: 1}, "", CodeSource, BlameTemplate, "the source could not be fetched: error downloading ISO", "nonexistent.qcow2"},
		{"qemu-img", fakePacker{version: "1.6.6", build: "fail-backing-format", exit: 1}, "", CodeQEMU, BlameInfrastructure, "qemu-img failed: Error creating hard drive", "Backing file specified"},
		{"ssh timeout", fakePacker{version: "1.6.6", build: "tiny-fail-ssh-timeout", exit: 1}, "", CodeSSHTimeout, BlameTemplate, "the guest never answered Packer by SSH", "Timeout waiting for SSH."},
		{"checksum", fakePacker{version: "1.8.0", exit: 1, before: `printf '%s\n' '1,tiny,error,error downloading ISO: [Checksums did not match for /base.iso.\nExpected: aa\nGot: bb]'`}, "", CodeChecksum, BlameTemplate, "the source is not the file that its checksum names", ""},
		{"mirror down", fakePacker{version: "1.8.0", exit: 1, before: `echo '1,tiny,error,error downloading ISO: [Get "https://m/x.iso": dial tcp 1.2.3.4:443: connect: connection refused]'`}, "", CodeSource, BlameInfrastructure, "the source could not be fetched", ""},
		{"disk full", fakePacker{version: "1.6.6", exit: 1, before: `echo '1,tiny,error,Error converting hard drive: qemu-img: error while writing: No space left on device'`}, "", CodeNoSpace, BlameInfrastructure, "MiB free", ""},
		{"never shut down", fakePacker{version: "1.6.6", exit: 1, before: `echo '1,tiny,error,Timeout while waiting for machine to shut down.'`}, "", CodeOther, BlameTemplate, "the guest did not shut down in time", ""},
		{"ended from outside", fakePacker{version: "1.6.6", exit: 1, before: `echo '1,,ui,error,Cancelling build after receiving terminated'`}, "", CodeKilled, BlameInfrastructure, "packer was ended from outside", ""},
		{"killed", fakePacker{version: "1.6.6", after: "kill -9 $$"}, "", CodeKilled, BlameInfrastructure, "packer was ended by signal killed from outside", ""},
		{"silent", fakePacker{version: "1.6.6", exit: 1}, "", CodeKilled, BlameInfrastructure, "packer ended without saying why", ""},
		{"inner process killed", fakePacker{version: "1.6.6", before: `echo '1,,ui,say,==> tiny: Retrieving ISO'`}, "", CodeKilled, BlameInfrastructure, "packer ended in the middle of the build with exit status 0", "Retrieving ISO"},
		{"no artifact", fakePacker{version: "1.6.6", before: `rm -r "$out"; printf '%s\n' '1,,ui,say,\n==> Builds finished but no artifacts were created.'`}, "", CodeNoArtifact, BlameTemplate, "packer ended well, but there is no image: packer named no artifact", ""},
		{"artifact gone", fakePacker{version: "1.6.6", build: "tiny-pass", after: `rm -r "$out"`}, "", CodeNoArtifact, BlameTemplate, "none of the files that packer names (tiny.qcow2, tiny.sha256)", ""},
		{"not qcow2", fakePacker{version: "1.6.6", build: "tiny-pass", after: `echo raw disk >"$out/tiny.qcow2"`}, "", CodeNoArtifact, BlameTemplate, "tiny.qcow2 should be qcow2 and is not", ""},
		{"old plugin way", fakePacker{version: "1.6.6", validate: "fail-no-builder"}, "", CodeValidation, BlameDefinition, "packer refuses the template", "Unknown builder nosuch"},
		{"syntax", fakePacker{version: "1.6.6", validate: "fail-template-syntax"}, "", CodeValidation, BlameDefinition, "packer refuses the template: Failed to parse template", "At line 1, column 33"},
		{"validation", fakePacker{version: "1.6.6", validate: "fail-validation"}, "", CodeValidation, BlameDefinition, "packer refuses the template: One of iso_url or iso_urls must be specified", "* An ssh_username must be specified"},
		{"output exists", fakePacker{version: "1.6.6", validate: "fail-output-exists"}, "", CodeOutputExists, BlameDefinition, "already exists. It must not exist.", ""},
		{"no plugin, json", fakePacker{version: "1.10.1", validate: "plugin-missing-json-1.10"}, "", CodeNoPlugin, BlameInfrastructure, "packer 1.10.1 has no qemu plugin here; run: packer plugins install github.com/hashicorp/qemu", ""},
		{"no plugin, source", fakePacker{version: "1.10.1", validate: "plugin-unknown-source-1.10"}, tinyHCL, CodeNoPlugin, BlameInfrastructure, "run: packer plugins install github.com/hashicorp/qemu", ""},
		{"no plugin, hcl2", fakePacker{version: "1.11.2", validate: "plugin-missing-hcl2-1.11"}, "packer {\n required_plugins {}\n}\n" + tinyHCL, CodeNoPlugin, BlameInfrastructure, "packer 1.11.2 has no qemu plugin here; run: packer init t.pkr.hcl", ""},
		{"too old", fakePacker{version: "1.2.4"}, "", CodeTooOld, BlameInfrastructure, "packer 1.2.4 is too old: install 1.2.5 or newer", ""},
		{"another program", fakePacker{version: "of cracklib"}, "", CodeNotInstalled, BlameInfrastructure, "does not answer like HashiCorp's Packer", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := job(t, "t.json", tinyJSON)
			if tt.text != "" {
				j = job(t, "t.pkr.hcl", tt.text)
			}
			_, err := Tool{Binary: tt.fake.install(t)}.Build(t.Context(), j)
			var f *Failed
			if !errors.As(err, &f) {
				t.Fatalf("Build: %v; want a *Failed", err)
			}
			if f.Code != tt.code || f.Blame != tt.blame || !strings.Contains(f.Sentence, tt.sentence) || strings.Contains(f.Sentence, "\n") {
				t.Errorf("got %s, %s: %q\nwant %s, %s: %q", f.Code, f.Blame, f.Sentence, tt.code, tt.blame, tt.sentence)
			}
			if !strings.Contains(strings.Join(f.Lines, "\n"), tt.line) {
				t.Errorf("the lines do not hold %q:\n%s", tt.line, strings.Join(f.Lines, "\n"))
			}
			leftOvers(t, j)
		})
	}
}

func TestPackerIsNotInstalled(t *testing.T) {
	_, err := Tool{Binary: "no-such-packer"}.Build(t.Context(), job(t, "t.json", tinyJSON))
	var f *Failed
	if !errors.As(err, &f) || f.Code != CodeNotInstalled || f.Blame != BlameInfrastructure || !errors.Is(err, process.ErrNotFound) {
		t.Errorf("Build without Packer: %v", err)
	}
}

// What a program is given must not betray a secret, whatever form it takes.
func TestSecretsAreMaskedEverywhere(t *testing.T) {
	secret := `s3cr3t,"canary"<&` + "\nand-its-second-line"
	j := job(t, "t.json", strings.Replace(tinyJSON, `"iso_url": "",`, `"iso_url": "", "token": null,`, 1))
	j.Vars = map[string]string{"iso_url": "/base.iso", "iso_checksum": "none", "token": secret}
	j.Secrets = []string{secret}
	var said strings.Builder
	j.Progress = func(e Event) { said.WriteString(e.Text + "\n") }
	fake := fakePacker{version: "1.6.6", exit: 1, before: `
	tr '\0' ' ' </proc/$$/cmdline; env
	escaped='s3cr3t%!(PACKER_COMMA)"canary"<&\nand-its-second-line'
	printf '1,,ui,say,token %s\n1,,ui,error,Script exited with non-zero exit status: 1 %s\n' "$escaped" "$escaped"
	cat "$vars" >"$PACKER_LOG_PATH"; printf '%s\n' 's3cr3t,\"canary\"<&\nand-its-second-line' >>"$PACKER_LOG_PATH"`}
	_, err := Tool{Binary: fake.install(t)}.Build(t.Context(), j)
	var f *Failed
	if !errors.As(err, &f) || f.Code != CodeProvisioner || len(f.Evidence) != 2 {
		t.Fatalf("Build: %#v", err)
	}
	everything := said.String() + f.Sentence + strings.Join(f.Lines, "\n")
	for _, file := range f.Evidence {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		everything += string(b)
	}
	for _, part := range []string{"s3cr3t", "canary", "second-line"} {
		if i := strings.Index(everything, part); i >= 0 {
			t.Errorf("%q is told: …%s", part, everything[max(0, i-100):min(len(everything), i+60)])
		}
	}
	if !strings.Contains(everything, "token ***") {
		t.Error("the line with the mask is missing")
	}
}

func TestEnvironmentIsAllowListed(t *testing.T) {
	t.Setenv("AIBUILD_DSN", "canary")
	t.Setenv("OS_PASSWORD", "canary")
	t.Setenv("PKR_VAR_x", "canary")
	t.Setenv("PACKER_PLUGIN_PATH", "/plugins")
	j := job(t, "t.json", tinyJSON)
	cache := t.TempDir()
	fake := fakePacker{version: "1.11.0", exit: 1, before: `env | sort`}
	_, err := Tool{Binary: fake.install(t), CacheDir: cache}.Build(t.Context(), j)
	if err == nil {
		t.Fatal("Build ended well")
	}
	b, err := os.ReadFile(filepath.Join(j.Evidence, streamFile))
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	for _, want := range []string{"PACKER_LOG=1\n", "CHECKPOINT_DISABLE=1\n", "PACKER_CACHE_DIR=" + cache + "\n", "PACKER_PLUGIN_PATH=/plugins\n", "PACKER_LOG_PATH=/"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is missing in\n%s", want, got)
		}
	}
	if strings.Contains(got, "canary") {
		t.Errorf("a variable of ours was passed:\n%s", got)
	}
}

func TestVariablesArePassedByFile(t *testing.T) {
	j := job(t, "t.json", tinyJSON)
	j.Vars = map[string]string{"iso_url": `/a "b",$(c) d.iso`, "iso_checksum": "none", "ssh_public_key": "not declared"}
	fake := fakePacker{version: "1.6.6", exit: 1, before: `printf '%s\n' "$@"; cat "$vars"; stat -c ' %a' "$vars"`}
	if _, err := (Tool{Binary: fake.install(t)}).Build(t.Context(), j); err == nil {
		t.Fatal("Build ended well")
	}
	b, err := os.ReadFile(filepath.Join(j.Evidence, streamFile))
	if err != nil {
		t.Fatal(err)
	}
	run := filepath.Join(j.WorkDir, "run")
	want := []string{
		"build", "-machine-readable", "-color=false", "-var-file=" + run + "/vars.json",
		run + "/src/" + filepath.Base(j.Dir) + "/t.json",
		`{"iso_checksum":"none","iso_url":"/a \"b\",$(c) d.iso","output_directory":"` + j.WorkDir + `/output"} 600`,
	}
	if diff := cmp.Diff(want, strings.Split(strings.TrimSpace(string(b)), "\n")); diff != "" {
		t.Errorf("arguments and variables (-want +got):\n%s", diff)
	}
}

func TestCancelEndsPackerAndItsChildren(t *testing.T) {
	j := job(t, "t.json", tinyJSON)
	pids := filepath.Join(t.TempDir(), "pids")
	fake := fakePacker{version: "1.6.6", before: `sleep 300 & echo $! >'` + pids + `.part'; mv '` + pids + `.part' '` + pids + `'
	trap 'echo "1,,ui,error,Cancelling build after receiving terminated"; exit 1' TERM; wait`}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for range 600 {
			if _, err := os.Stat(pids); err == nil {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
		cancel()
	}()
	_, err := Tool{Binary: fake.install(t)}.Build(ctx, j)
	var f *Failed
	if !errors.As(err, &f) || f.Code != CodeCancelled || !errors.Is(err, context.Canceled) {
		t.Fatalf("Build: %v; want cancelled", err)
	}
	if len(f.Evidence) != 1 {
		t.Errorf("evidence %v; want the stream", f.Evidence)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := process.StartTime(atoi(t, strings.TrimSpace(string(b)))); err == nil {
		t.Error("a child of packer is still alive")
	}
	leftOvers(t, j)
}

func TestTimeLimit(t *testing.T) {
	j := job(t, "t.json", tinyJSON)
	j.Timeout = 300 * time.Millisecond
	fake := fakePacker{version: "1.6.6", before: `echo '1,,ui,say,==> tiny: Waiting for SSH to become available...'; exec sleep 300`}
	_, err := Tool{Binary: fake.install(t)}.Build(t.Context(), j)
	var f *Failed
	if !errors.As(err, &f) || f.Code != CodeTimeout || f.Blame != BlameTemplate || !strings.Contains(f.Sentence, "not done after 300ms (last: Waiting for SSH") {
		t.Errorf("Build: %v", err)
	}
	leftOvers(t, j)
}

// A receiver that hangs must not hold up Packer, nor the end of the build for
// longer than it is given.
func TestStuckReceiver(t *testing.T) {
	j := job(t, "t.json", tinyJSON)
	release := make(chan struct{})
	defer close(release)
	j.Progress = func(Event) { <-release }
	fake := fakePacker{version: "1.6.6", build: "tiny-pass", before: `yes '1,,ui,message,    tiny: a line that nobody takes' | head -n 50000`}
	if _, err := (Tool{Binary: fake.install(t)}).Build(t.Context(), j); err != nil {
		t.Fatal(err)
	}
}
