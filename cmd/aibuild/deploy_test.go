package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
)

// What the compose file gives to Jenkins is what the setup makes.
func TestDeployedJobIsTheSetups(t *testing.T) {
	deployed, err := os.ReadFile("../../examples/deploy/jenkins/casc/aibuild.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if r := call(t, nil, "jenkins", "setup", "--print", "jcasc"); r.code != 0 || r.out != string(deployed) {
		t.Errorf("examples/deploy/jenkins/casc/aibuild.yaml is another one than `aibuild jenkins setup --print jcasc`:\n%s", r.out)
	}
}

// statements are those of a file of SQL, without comments.
func statements(t *testing.T, file string, rename *strings.Replacer) (list []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = regexp.MustCompile(`(?m)--.*$`).ReplaceAll(text, nil)
	for one := range strings.SplitSeq(rename.Replace(string(text)), ";") {
		if one = strings.TrimSpace(one); one != "" {
			list = append(list, one)
		}
	}
	return list
}

// TestLeastPrivilege: the tables are made by an account that may, and all days work with one that may not.
func TestLeastPrivilege(t *testing.T) {
	l := servers(t)
	rename := strings.NewReplacer("aibuild_owner", "deployed_owner", "aibuild", "deployed")
	for _, statement := range statements(t, "../../examples/deploy/mariadb/grants.sql", rename) {
		l.sqlAsAdmin(t, statement)
	}
	t.Cleanup(func() {
		for _, statement := range []string{"DROP DATABASE deployed", "DROP USER deployed_owner@'%'", "DROP USER deployed@'%'"} {
			l.sqlAsAdmin(t, statement)
		}
	})
	_, server, ok := strings.Cut(l.env["AIBUILD_DSN"], "@")
	slash := strings.LastIndex(server, "/")
	if !ok || slash < 0 {
		t.Fatal("AIBUILD_DSN names no server and database")
	}
	where := "@" + server[:slash] + "/deployed"
	account := func(user string) *person {
		return &person{t, l, t.TempDir(), []string{"AIBUILD_DSN=" + user + ":c4n4ry" + where}}
	}
	owner, daily := account("deployed_owner"), account("deployed")
	if r := daily.run("db", "status"); r.code == 0 || strings.Contains(r.out+r.err, "c4n4ry") {
		t.Errorf("a locked account is let in: %d %s%s", r.code, r.out, r.err)
	}
	for _, user := range []string{"deployed_owner", "deployed"} {
		l.sqlAsAdmin(t, "ALTER USER "+user+"@'%' IDENTIFIED BY 'c4n4ry' ACCOUNT UNLOCK")
	}
	if r := daily.run("db", "migrate"); r.code == 0 {
		t.Error("who may only work has made tables")
	}
	owner.must(0, "db", "migrate")
	daily.must(0, "db", "migrate") // nothing is to be done: nothing is needed
	dir := quick(t, "least", func(yaml string) string { return strings.Replace(yaml, "clusters: [alpha, beta]", "clusters: []", 1) })
	id := daily.must(0, "run", dir).last()
	daily.must(0, "image", "hold", "least", "--reason", "kept")
	daily.must(0, "image", "hold", "--off", "least", "--reason", "let go")
	daily.must(0, "image", "revoke", "least", "--reason", "a hole")
	daily.must(0, "token", "create", "deployed-agent", "--role", "viewer")
	daily.must(0, "prune")
	if img := daily.show(id); img["state"] != "revoked" {
		t.Errorf("the image is %v", img["state"])
	}
	db, err := sql.Open("mysql", "deployed:c4n4ry"+where)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{"DROP TABLE event", "ALTER TABLE build_log ADD x int", "CREATE TABLE x (y int)", "TRUNCATE event", "CREATE INDEX x ON event (actor)"} {
		if _, err := db.ExecContext(t.Context(), statement); err == nil || !strings.Contains(err.Error(), "denied") {
			t.Errorf("%s by the account for all days: %v", statement, err)
		}
	}
}

// making runs make in the repository.
func making(t *testing.T, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "make", append([]string{"--no-print-directory", "-C", repository()}, args...)...)
	cmd.Env = append(os.Environ(), "GOFLAGS=", "MAKEFLAGS=", "MFLAGS=")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestInstalled: all is there, man takes the page, and the daemon starts with the installed configuration: its secrets,
// and what differs on this machine, are all that is filled in.
func TestInstalled(t *testing.T) {
	l := servers(t)
	dest := t.TempDir()
	making(t, "install", "DESTDIR="+dest, "PREFIX=/opt/aibuild")
	prefix := filepath.Join(dest, "opt/aibuild")
	for file, holds := range map[string]string{
		"share/man/man1/aibuild.1": ".TH aibuild 1", "share/bash-completion/completions/aibuild": "complete -F _aibuild aibuild", "share/zsh/site-functions/_aibuild": "#compdef aibuild",
		"lib/systemd/system/aibuild.service": "ExecStart=/opt/aibuild/bin/aibuild serve", "share/aibuild/schema.sql": "build_log", "share/aibuild/jenkins/vars/aibuildPipeline.groovy": "Map call",
		"share/doc/aibuild/aibuild-config.yaml": "Every key", "../../etc/aibuild/aibuild-config.yaml": "Every key",
	} {
		text, err := os.ReadFile(filepath.Join(prefix, file))
		if err != nil || !strings.Contains(string(text), holds) {
			t.Errorf("%s lacks %q: %v", file, holds, err)
		}
	}
	page := exec.Command("man", "--warnings", "--encoding=UTF-8", "--local-file", "--troff-device=utf8", "--ditroff", filepath.Join(prefix, "share/man/man1/aibuild.1"))
	var warnings strings.Builder
	page.Stderr, page.Env = &warnings, append(os.Environ(), "LC_ALL=C.UTF-8")
	if err := page.Run(); err != nil || warnings.Len() > 0 {
		t.Errorf("man: %v: %s", err, warnings.String())
	}
	config := filepath.Join(dest, "etc/aibuild/aibuild-config.yaml")
	placed(t, config, "# mine\n")
	making(t, "install", "DESTDIR="+dest, "PREFIX=/opt/aibuild")
	if text, err := os.ReadFile(config); err != nil || string(text) != "# mine\n" {
		t.Errorf("a second installation has replaced the configuration: %v", err)
	}
	text, err := os.ReadFile(filepath.Join(prefix, "share/doc/aibuild/aibuild-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	here := t.TempDir()
	placed(t, config, strings.NewReplacer("/etc/aibuild/", filepath.Join(dest, "etc/aibuild")+"/", "/var/lib/aibuild", here, "/srv/www ", l.env["AIBUILD_WEB_ROOT"]+" ", `":9753"`, `"127.0.0.1:0"`).Replace(string(text)))
	for name, secret := range map[string]string{"dsn": l.env["AIBUILD_DSN"], "gitlab-token": "glpat-c4n4ry", "hook-secret": "c4n4ry-hook", "jenkins-token": "11c4n4ry"} {
		placed(t, filepath.Join(dest, "etc/aibuild", name), secret)
	}
	startsAndStops(t, filepath.Join(prefix, "bin/aibuild"), config)
}

// startsAndStops runs a daemon, asks how it is, and ends it.
func startsAndStops(t *testing.T, program, config string) {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "serve", "--config", config)
	log := &watcher{text: "listening on ", seen: make(chan struct{})}
	cmd.Stderr, cmd.Env = log, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-log.seen:
	case err := <-ended:
		t.Fatalf("the daemon ended with %v:\n%s", err, log)
	case <-time.After(30 * time.Second):
		t.Errorf("the daemon does not listen:\n%s", log)
	}
	_, said, _ := strings.Cut(log.String(), "listening on ")
	address, _, _ := strings.Cut(said, "\n")
	for _, path := range []string{"/healthz", "/readyz"} {
		response, err := http.Get("http://" + address + path)
		if err != nil || response.StatusCode != http.StatusOK || response.Body.Close() != nil {
			t.Errorf("%s: %v, %v", path, response, err)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := <-ended; err != nil || strings.Contains(log.String(), "c4n4ry") {
		t.Errorf("the daemon ended with %v:\n%s", err, tailOf(log.String()))
	}
}

// TestDist: the tarball has the same bytes whenever it is made, whatever the umask is, and what is in it runs.
func TestDist(t *testing.T) {
	sums := filepath.Join(repository(), "dist/SHA256SUMS")
	var all []string
	for _, umask := range []int{0o022, 0o077} {
		old := syscall.Umask(umask)
		making(t, "dist", "VERSION=v0.0.0-test")
		syscall.Umask(old)
		text, err := os.ReadFile(sums)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(text))
	}
	name := fmt.Sprintf("aibuild-v0.0.0-test-linux-%s", goarch())
	if all[0] != all[1] || !strings.HasSuffix(all[0], "  "+name+".tar.gz\n") {
		t.Errorf("the sums: %v", all)
	}
	dir := t.TempDir()
	tarball := filepath.Join(repository(), "dist", name+".tar.gz")
	if out, err := exec.Command("tar", "-C", dir, "-xzf", tarball).CombinedOutput(); err != nil {
		t.Fatalf("tar: %v: %s", err, out)
	}
	out, err := exec.Command(filepath.Join(dir, name, "usr/local/bin/aibuild"), "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v0.0.0-test") {
		t.Errorf("version: %v: %s", err, out)
	}
	for _, left := range []string{tarball, sums} {
		if err := os.Remove(left); err != nil {
			t.Error(err)
		}
	}
	making(t, "build") // with its own version again
}

func goarch() string {
	out, err := exec.Command("go", "env", "GOARCH").Output()
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(out))
}

// TestBackup: what backup.sh keeps brings the story back; the next backup shares the images with the one before.
func TestBackup(t *testing.T) {
	l := servers(t)
	const database = "aibuild_backup"
	l.sqlAsAdmin(t, "CREATE DATABASE "+database)
	t.Cleanup(func() { l.sqlAsAdmin(t, "DROP DATABASE "+database) })
	root, etc, to := t.TempDir(), t.TempDir(), t.TempDir()
	p := newPerson(t, "AIBUILD_DSN="+strings.Replace(l.env["AIBUILD_DSN"], "/aibuild", "/"+database, 1), "AIBUILD_WEB_ROOT="+root, "AIBUILD_WEB_URL=")
	p.must(0, "db", "migrate")
	id := p.must(0, "run", quick(t, "backup", func(yaml string) string { return strings.Replace(yaml, "clusters: [alpha, beta]", "clusters: []", 1) })).last()
	before := p.must(0, "image", "show", id, "-o", "json").out
	placed(t, filepath.Join(etc, "aibuild-config.yaml"), "data: /var/lib/aibuild\n")
	options := placed(t, filepath.Join(t.TempDir(), "backup.cnf"), "[client]\nsocket="+l.env["STACK_MARIADB_SOCKET"]+"\nuser="+l.env["STACK_MARIADB_ADMIN"]+"\n")
	backup := func() string {
		t.Helper()
		cmd := exec.Command("../../examples/deploy/backup.sh", to)
		cmd.Env = append(os.Environ(), "AIBUILD_MYSQL="+options, "AIBUILD_DB="+database, "AIBUILD_WEB_ROOT="+root, "AIBUILD_DATA="+p.data, "AIBUILD_ETC="+etc)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("backup.sh: %v\n%s", err, out)
		}
		return strings.TrimSpace(string(out))
	}
	first := backup()
	time.Sleep(1100 * time.Millisecond) // its name is the second
	second := backup()
	disk := "images/release/backup/" + id + "/backup.qcow2"
	one, err := os.Stat(filepath.Join(first, disk))
	if err != nil {
		t.Fatal(err)
	}
	if two, err := os.Stat(filepath.Join(second, disk)); err != nil || !os.SameFile(one, two) {
		t.Errorf("the second backup has its own copy of the image: %v", err)
	}
	if build, err := os.Stat(filepath.Join(second, strings.Replace(disk, "release", "build", 1))); err != nil || !os.SameFile(one, build) {
		t.Errorf("both areas have their own copy of the image: %v", err)
	}
	l.sqlAsAdmin(t, "DROP DATABASE "+database)
	l.sqlAsAdmin(t, "CREATE DATABASE "+database)
	restore := `zcat "$0/database.sql.gz" | mariadb --defaults-extra-file="$1" "$2"; rm -rf "$3/images"; rsync -aH "$0/images/" "$3/images/"; tar -xOf "$0/etc.tar" ./aibuild-config.yaml`
	if out, err := exec.Command("bash", "-euo", "pipefail", "-c", restore, second, options, database, root).CombinedOutput(); err != nil || !strings.Contains(string(out), "data: /var/lib/aibuild") {
		t.Fatalf("restore: %v: %s", err, out)
	}
	p.must(0, "db", "migrate")
	if after := p.must(0, "image", "show", id, "-o", "json").out; after != before {
		t.Errorf("another story after the restore:\n%s\n%s", before, after)
	}
	p.must(0, "test", id)
}
