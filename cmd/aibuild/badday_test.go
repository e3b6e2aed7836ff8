package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// sign is what stderr shows when a stage of `aibuild run` is under way.
var signs = map[string]string{
	"build":   "Retrieving ISO",
	"test":    "test: testing in",
	"publish": "publish:",
	"release": "release: uploading to",
}

// kill -9 in every stage: nothing half-done is visible, no program is left, and
// retry brings the image to its end: one row, one Glance image.
func TestKilledInEveryStage(t *testing.T) {
	for _, stage := range []string{"build", "test", "publish", "release"} {
		t.Run(stage, func(t *testing.T) {
			p := newPerson(t)
			name := "killed-" + stage
			dir := quick(t, name, nil)
			r := p.whenSays(signs[stage], func(proc *os.Process) { _ = proc.Kill() }, "run", dir)
			if r.code != 128+int(syscall.SIGKILL) {
				t.Fatalf("ended with %d:\n%s", r.code, tailOf(r.err))
			}
			again := []string{"retry", name, dir}
			uuid := p.must(0, again...).last()
			p.nothingLeft()
			if n := p.lab.count(t, "SELECT COUNT(*) FROM build_log WHERE image_name = '"+name+"'"); n != 1 {
				t.Errorf("%d rows in build_log, not 1", n)
			}
			checkCloud(t, p, uuid)
			for _, cluster := range []string{"alpha", "beta"} {
				if n := len(p.lab.glance(t, cluster, name, true)); n != 0 {
					t.Errorf("%s has %d hidden images left over", cluster, n)
				}
			}
		})
	}
}

// Ctrl-C and SIGTERM in every stage: 130 and 143, everything cleaned up.
func TestSignalsInEveryStage(t *testing.T) {
	for i, stage := range []string{"build", "test", "publish", "release"} {
		sig, code := syscall.SIGINT, 130
		if i%2 == 1 {
			sig, code = syscall.SIGTERM, 143
		}
		t.Run(fmt.Sprintf("%s in %s", sig, stage), func(t *testing.T) {
			p := newPerson(t)
			name := "stopped-" + stage
			dir := quick(t, name, nil)
			r := p.whenSays(signs[stage], func(proc *os.Process) { _ = proc.Signal(sig) }, "run", dir)
			if r.code != code {
				t.Fatalf("ended with %d, not %d:\n%s", r.code, code, tailOf(r.err))
			}
			p.nothingLeft()
			for _, cluster := range []string{"alpha", "beta"} {
				if n := len(p.lab.glance(t, cluster, name, false)); n != 0 && stage != "release" {
					t.Errorf("%s shows %d images", cluster, n)
				}
			}
			entries := p.history(name)
			if entries[0]["state"] == "building" {
				t.Errorf("the run still counts as running: %v", entries[0])
			}
		})
	}
}

// The database goes away in mid-run, or takes no writes any more: the work goes
// on, and what happened is recorded when it is back.
func TestDatabaseAway(t *testing.T) {
	l := servers(t)
	stack := func(args ...string) {
		if out, err := l.stack(args...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	t.Run("killed", func(t *testing.T) {
		databaseAway(t, "db-away", func() { stack("down", "mariadb", "--signal", "KILL") }, func() { stack("up") })
	})
	t.Run("read-only", func(t *testing.T) {
		databaseAway(t, "db-read-only", func() { l.sqlAsAdmin(t, "SET GLOBAL read_only = 1") }, func() { l.sqlAsAdmin(t, "SET GLOBAL read_only = 0") })
	})
}

func databaseAway(t *testing.T, name string, goes, returns func()) {
	p, dir := newPerson(t), quick(t, name, nil)
	r := p.whenSays(signs["build"], func(*os.Process) { goes() }, "run", dir)
	returns()
	if r.code != 0 {
		t.Fatalf("the run ended with %d:\n%s", r.code, tailOf(r.err))
	}
	if !strings.Contains(r.err, "recorded later") && !strings.Contains(r.err, "delivered later") {
		t.Errorf("nothing is said about the database:\n%s", tailOf(r.err))
	}
	p.must(0, "clusters") // any command that uses the pipeline delivers
	e := p.history(name)[0]
	if e["state"] != "released" || e["image_uuid"] != r.last() {
		t.Errorf("after delivery: %v %v", e["state"], e["image_uuid"])
	}
	if left, _ := filepath.Glob(filepath.Join(p.data, "journal", "*")); len(left) > 0 {
		t.Errorf("journals left: %v", left)
	}
}

// One byte of a published image flips: it is not released.
func TestFlippedByte(t *testing.T) {
	p := newPerson(t)
	dir := quick(t, "flipped", func(y string) string { return strings.Replace(y, "clusters: [alpha, beta]", "clusters: []", 1) })
	uuid := p.must(0, "run", dir).last()
	file := filepath.Join(p.lab.env["AIBUILD_WEB_ROOT"], "images", "release", "flipped", uuid, "flipped.qcow2")
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	b := []byte{0}
	if _, err := f.ReadAt(b, 70000); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 1
	if _, err := f.WriteAt(b, 70000); err != nil {
		t.Fatal(err)
	}
	f.Close()
	r := p.must(5, "release", uuid, "--cluster", "alpha")
	if !strings.Contains(r.err, "sha256") && !strings.Contains(r.err, "digest") {
		t.Errorf("the refusal does not say why:\n%s", r.err)
	}
	if n := len(p.lab.glance(t, "alpha", "flipped", false)) + len(p.lab.glance(t, "alpha", "flipped", true)); n != 0 {
		t.Errorf("alpha has %d images of it", n)
	}
	var events []lineage.Event
	if err := json.Unmarshal([]byte(p.must(0, "audit", "flipped", "--limit", "1", "-o", "json").out), &events); err != nil {
		t.Fatal(err)
	}
	if len(events) != 1 || events[0].State != lineage.TargetFailed || !strings.Contains(events[0].Reason, "sha256") && !strings.Contains(events[0].Reason, "digest") {
		t.Errorf("the audit does not say why: %+v", events)
	}
	p.must(5, "test", uuid)
}

// One of two clusters is down: the other is released; repeating repairs the one.
func TestOneClusterDown(t *testing.T) {
	l := servers(t)
	p := newPerson(t)
	dir := quick(t, "half", nil)
	if out, err := l.stack("down", "glance@beta", "--signal", "KILL"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	r := p.must(1, "run", dir)
	uuid := r.last()
	if got := p.states(uuid); got != "alpha:visible beta:failed" {
		t.Errorf("states = %s\n%s", got, tailOf(r.err))
	}
	if p.show(uuid)["state"] != "partly_released" {
		t.Errorf("state = %v", p.show(uuid)["state"])
	}
	if out, err := l.stack("up"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	alpha := l.glance(t, "alpha", "half", false)[0].ID
	p.must(0, "retry", uuid)
	checkCloud(t, p, uuid)
	if l.glance(t, "alpha", "half", false)[0].ID != alpha {
		t.Error("alpha was uploaded again")
	}
}

// Two runs of one image at once: both end, one image is visible: the newer.
func TestTwoRunsAtOnce(t *testing.T) {
	dir := quick(t, "twice", nil)
	results := make(chan result, 2)
	people := []*person{newPerson(t), newPerson(t)}
	for _, p := range people {
		go func() { results <- p.run("run", dir) }()
	}
	var newest, older string // by the time at which their runs began
	for range people {
		r := <-results
		if r.code != 0 && r.code != 5 { // the older one may find the newer released
			t.Fatalf("ended with %d:\n%s", r.code, tailOf(r.err))
		}
		older, newest = newest, r.last()
	}
	older, newest = min(older, newest), max(older, newest)
	checkCloud(t, people[0], newest)
	if n := people[0].lab.count(t, "SELECT COUNT(*) FROM build_log WHERE image_name = 'twice'"); n != 2 {
		t.Errorf("%d rows in build_log, not 2", n)
	}
	people[0].must(0, "rollback", "twice", "--to", older, "--reason", "the newer one is slow")
	checkCloud(t, people[0], older)
}

// A name belongs to the project that built it first.
func TestNameTaken(t *testing.T) {
	p := newPerson(t)
	dir := quick(t, "owned", nil)
	p.must(0, "build", dir, "--project", "first/images")
	r := p.must(5, "build", dir, "--project", "second/images")
	if !strings.Contains(r.err, "first/images") {
		t.Errorf("the owner is not named:\n%s", r.err)
	}
	p.must(0, "image", "transfer", "owned", "--to", "second/images", "--reason", "moved house")
	p.must(0, "build", dir, "--project", "second/images")
	p.must(5, "build", dir, "--project", "first/images")
}

// The web root on another machine, by SFTP.
func TestWebRootBySFTP(t *testing.T) {
	l := servers(t)
	p := newPerson(t, "AIBUILD_WEB_ROOT="+l.env["STACK_SFTP_URL"])
	dir := quick(t, "far-away", nil)
	uuid := p.must(0, "run", dir).last()
	checkCloud(t, p, uuid)
	p.nothingLeft()
}

// What a broken source, template or artifact does: a clear error, the right
// exit code, nothing left.
func TestBadArtifacts(t *testing.T) {
	tests := []struct {
		name, make, want string
	}{
		{"truncated", `head -c 300000 "$1" >"$2"`, ""},
		{"backing-file", `qemu-img create -q -f qcow2 -b /etc/passwd -F raw "$2" 1M`, "backing"},
		{"data-file", `qemu-img create -q -f qcow2 -o data_file=/tmp/aibuild-x,data_file_raw=on "$2" 1M; rm -f /tmp/aibuild-x`, "keeps its data in another file"},
		{"huge", `qemu-img create -q -f qcow2 -o cluster_size=2M "$2" 1P`, ""},
		{"raw-as-qcow2", `head -c 1048576 /dev/zero >"$2"`, ""},
		{"no-file", `:`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := newPerson(t, "PATH="+fakePacker(t, tt.make)+":"+os.Getenv("PATH"))
			dir := quick(t, "bad-"+tt.name, nil)
			r := p.run("build", dir)
			if r.code != 3 && !(tt.name == "no-file" && r.code == 1) {
				t.Fatalf("ended with %d:\n%s", r.code, tailOf(r.err))
			}
			if !strings.Contains(r.err, tt.want) {
				t.Errorf("says nothing of %q:\n%s", tt.want, tailOf(r.err))
			}
			if strings.Contains(r.err+r.out, "root:x:") {
				t.Error("a file of this machine leaked")
			}
			p.nothingLeft()
			if made, _ := filepath.Glob(filepath.Join(p.lab.env["AIBUILD_WEB_ROOT"], "images", "build", "bad-"+tt.name, "*")); len(made) > 0 {
				t.Errorf("half an image was published: %v", made)
			}
		})
	}
}

// fakePacker is a program that speaks as Packer does and makes its artifact by
// a shell script: $1 is the source, $2 the file to make.
func fakePacker(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	program := `#!/bin/bash
case $1 in
  version) echo "1,,version,1.6.6"; echo "1,,ui,say,Packer v1.6.6"; exit 0 ;;
  validate) exit 0 ;;
esac
for a in "$@"; do case $a in -var-file=*) vars=${a#-var-file=} ;; esac; done
get() { /usr/bin/python3 -c 'import json,sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$vars" "$1"; }
out=$(get output_directory); mkdir -p "$out"; file=$out/$(get vm_name)
set -- "$(get iso_url)" "$file"
` + script + `
echo "1,quick,artifact-count,1"
echo "1,quick,artifact,0,builder-id,transcend.qemu"
echo "1,quick,artifact,0,id,VM"
echo "1,quick,artifact,0,files-count,1"
echo "1,quick,artifact,0,file,0,$file"
echo "1,quick,artifact,0,end"
`
	if err := os.WriteFile(filepath.Join(dir, "packer"), []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A full disk in build and publish: a clear error with numbers, nothing left.
func TestDiskFull(t *testing.T) {
	p := newPerson(t)
	dir := quick(t, "full", nil)
	small := filepath.Join(t.TempDir(), "small")
	if err := os.Mkdir(small, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", small).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v\n%s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", small).CombinedOutput(); err != nil {
			t.Errorf("umount: %v\n%s", err, out)
		}
	})
	p.extra = []string{"AIBUILD_WEB_ROOT=" + small}
	r := p.must(1, "build", dir)
	if !strings.Contains(r.err, "prune") || !strings.Contains(r.err, "MiB") {
		t.Errorf("the error has no numbers or no remedy:\n%s", r.err)
	}
	p.extra = []string{"AIBUILD_DATA=" + small}
	p.data = small
	if err := os.WriteFile(filepath.Join(small, "filler"), make([]byte, 36<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if r := p.run("build", dir); r.code != 1 {
		t.Errorf("a full state folder ended with %d:\n%s", r.code, tailOf(r.err))
	}
	if work, _ := filepath.Glob(filepath.Join(small, "work", "*")); len(work) > 0 {
		t.Errorf("left behind: %v", work)
	}
}

// Secrets are found nowhere: not in output, argv, the environment of what we
// start, or anything that is written.
func TestSecretCanary(t *testing.T) {
	const canary = "c4n4ry-0f-th3-c04lm1n3"
	dir := quick(t, "canary", nil)
	spy := filepath.Join(dir, "spy.sh")
	seen := filepath.Join(t.TempDir(), "seen")
	if err := os.WriteFile(spy, []byte("#!/bin/sh\n{ env; tr '\\0' ' ' </proc/$PPID/cmdline; tr '\\0' '\\n' </proc/$PPID/environ; } >"+seen+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	template := strings.Replace(fmt.Sprintf(quickTemplate, "`"), `  "builders"`, `  "post-processors": [{"type": "shell-local", "scripts": ["`+spy+`"]}],
  "builders"`, 1)
	if err := os.WriteFile(filepath.Join(dir, "quick.json"), []byte(template), 0o644); err != nil {
		t.Fatal(err)
	}
	p := newPerson(t, "JENKINS_TOKEN="+canary, "GITLAB_TOKEN="+canary, "AIBUILD_TOKEN="+canary, "OS_PASSWORD="+canary, "AWS_SECRET_ACCESS_KEY="+canary)
	dsnSecret := between(p.lab.env["AIBUILD_DSN"], ":", "@")
	r := p.run("build", dir, "--log-level", "trace")
	if r.code != 0 {
		t.Fatalf("ended with %d:\n%s", r.code, tailOf(r.err))
	}
	environment, err := os.ReadFile(seen)
	if err != nil {
		t.Fatalf("the spy did not run: %v", err)
	}
	places := map[string]string{"stdout": r.out, "stderr": r.err, "environment or argv of packer": string(environment)}
	for _, root := range []string{p.data, filepath.Join(p.lab.env["AIBUILD_WEB_ROOT"], "images")} {
		err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() || strings.HasSuffix(path, ".qcow2") {
				return err
			}
			b, err := os.ReadFile(path)
			places[path] = string(b)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for place, text := range places {
		if strings.Contains(text, canary) || dsnSecret != "" && strings.Contains(text, dsnSecret) {
			t.Errorf("a secret is in %s", place)
		}
	}
	if !strings.Contains(string(environment), "PATH=") {
		t.Error("the spy saw nothing at all")
	}
}

func between(s, from, to string) string {
	_, s, _ = strings.Cut(s, from)
	s, _, _ = strings.Cut(s, to)
	return s
}
