package main

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// sql asks MariaDB itself, with its own client's protocol through Python, as
// nothing of ours may stand between the tables and the question.
func (l *lab) sql(t *testing.T, query string) string {
	t.Helper()
	return l.sqlBy(t, l.env["AIBUILD_DSN"], query)
}

// sqlAsAdmin is sql with all rights.
func (l *lab) sqlAsAdmin(t *testing.T, query string) string {
	t.Helper()
	return l.sqlBy(t, l.env["STACK_MARIADB_ADMIN"]+":@unix("+l.env["STACK_MARIADB_SOCKET"]+")/aibuild", query)
}

func (l *lab) sqlBy(t *testing.T, dsn, query string) string {
	t.Helper()
	const script = `
import os, sys, re, pymysql
m = re.match(r'([^:]+):(.*)@(tcp|unix)\(([^)]*)\)/([^?]*)', os.environ["DSN"])
user, password, net, where, db = m.groups()
args = dict(unix_socket=where) if net == "unix" else dict(host=where.split(":")[0], port=int(where.split(":")[1]))
c = pymysql.connect(user=user, password=password, database=db, **args).cursor()
c.execute(sys.argv[1])
for r in c.fetchall(): print("\t".join("NULL" if x is None else str(x) for x in r))
`
	cmd := exec.Command("/usr/bin/python3", "-c", script, query)
	cmd.Env = []string{"DSN=" + dsn, "PATH=/usr/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", query, err, out)
	}
	return string(out)
}

// The whole way of one image, through real parts only.
func TestWholeStory(t *testing.T) {
	l := tinyLinux(t)
	p := newPerson(t)
	t.Run("tables", func(t *testing.T) { mission(t, l) })
	if !t.Run("all eight cells", func(t *testing.T) {
		r := p.must(0, "test", l.tiny, "--junit", filepath.Join(p.data, "junit.xml"))
		if n := strings.Count(r.out, "builtin/boots"); n != 8 {
			t.Errorf("booted in %d cells, not 8:\n%s", n, r.out)
		}
	}) {
		t.Fatal("without a tested image there is no story")
	}
	t.Run("packages", func(t *testing.T) { checkPackages(t, p, l) })
	t.Run("published", func(t *testing.T) {
		p.must(0, "publish", l.tiny)
		checkServed(t, p, l.tiny)
	})
	t.Run("released", func(t *testing.T) {
		p.must(0, "release", l.tiny)
		if got := p.states(l.tiny); got != "alpha:visible beta:visible" {
			t.Errorf("states = %s", got)
		}
		checkCloud(t, p, l.tiny)
	})
	t.Run("history", func(t *testing.T) { checkHistory(t, p, l) })
	t.Run("deleted by hand", func(t *testing.T) { checkRepair(t, p, l) })
	t.Run("child", func(t *testing.T) { checkChild(t, p, l) })
	t.Run("revoke and restore", func(t *testing.T) {
		p.must(2, "image", "revoke", l.tiny) // no reason
		p.must(0, "image", "revoke", l.tiny, "--reason", "openssl hole")
		if n := len(l.glance(t, "alpha", "tiny-linux", false)); n != 0 {
			t.Errorf("a revoked image is visible in alpha")
		}
		p.must(5, "release", l.tiny)
		p.must(0, "image", "restore", l.tiny, "--reason", "a false alarm")
		p.must(0, "publish", l.tiny)
		p.must(0, "release", l.tiny)
		checkCloud(t, p, l.tiny)
	})
	t.Run("audit", func(t *testing.T) {
		r := p.must(0, "audit", "tiny-linux", "-o", "json")
		for _, want := range []string{`"revoked"`, "openssl hole", "a false alarm", `"built"`, `"tested"`, `"published"`} {
			if !strings.Contains(r.out, want) {
				t.Errorf("audit lacks %s", want)
			}
		}
	})
}

// mission compares the three tables with what was asked for, to the letter.
func mission(t *testing.T, l *lab) {
	want := map[string]string{
		"build_log":   "image_uuid varchar(36) NO PRI,image_name varchar(255) YES ,os_type varchar(20) YES ,os_ver varchar(10) YES ,build_at datetime YES ,from_iso varchar(255) YES ,update_contents text YES ",
		"test_log":    "image_uuid varchar(36) NO PRI,test_case varchar(255) YES ,test_result varchar(10) YES ,test_at datetime YES ",
		"release_log": "image_uuid varchar(36) NO PRI,openstack_cluster varchar(60) YES ,glance_id varchar(36) YES ,release_at datetime YES ",
	}
	for table, columns := range want {
		var got []string
		for line := range strings.SplitSeq(strings.TrimRight(l.sql(t, "DESCRIBE "+table), "\n"), "\n") {
			f := strings.Split(line, "\t")
			got = append(got, strings.Join(f[:4], " "))
			if f[4] != "NULL" || f[5] != "" {
				t.Errorf("%s.%s has a default or an extra: %q", table, f[0], f[4:])
			}
		}
		if strings.Join(got, ",") != columns {
			t.Errorf("DESCRIBE %s:\n got %s\nwant %s", table, strings.Join(got, ","), columns)
		}
	}
}

// checkPackages: what Debian says that the image was made of is what its tests have found in it.
func checkPackages(t *testing.T, p *person, l *lab) {
	t.Helper()
	version, err := exec.Command("dpkg-query", "-W", "-f", "${Version}", "busybox-static").Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.TrimSpace(l.sql(t, "SELECT manager, arch, version FROM image_package WHERE name = 'busybox-static' AND image_uuid = '"+l.tiny+"'"))
	if want := "dpkg\tamd64\t" + string(version); got != want {
		t.Errorf("image_package has %q, want %q", got, want)
	}
	r := p.must(0, "package", "busybox-static", "--version", string(version))
	if !strings.Contains(r.out, "tiny-linux@1") || !strings.Contains(r.out, l.tiny) {
		t.Errorf("aibuild package busybox-static:\n%s", r.out)
	}
	if r := p.must(0, "package", "busybox-static", "--released", "-o", "csv"); strings.Contains(r.out, l.tiny) {
		t.Errorf("it is released nowhere yet:\n%s", r.out)
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(l.file), "evidence", "test-1", "packages.txt")); err != nil {
		t.Error(err)
	}
}

// checkServed fetches the published image as anybody would.
func checkServed(t *testing.T, p *person, uuid string) {
	t.Helper()
	img := p.show(uuid)
	artifact := img["artifact"].(map[string]any)
	body := get(t, artifact["release_url"].(string))
	sum := sha256.Sum256(body)
	if hex.EncodeToString(sum[:]) != img["sha256"] {
		t.Errorf("Apache serves other bytes than were built")
	}
	base := strings.TrimSuffix(artifact["release_url"].(string), "tiny-linux.qcow2")
	if !strings.Contains(string(get(t, base+"SHA256SUMS")), img["sha256"].(string)+"  tiny-linux.qcow2") {
		t.Errorf("SHA256SUMS does not hold the image's digest")
	}
	var story map[string]any
	if err := json.Unmarshal(get(t, base+"image.json"), &story); err != nil {
		t.Fatal(err)
	}
	build := story["build_log"].(map[string]any)
	if build["image_uuid"] != uuid || build["os_type"] != "tiny" || story["test_log"].(map[string]any)["test_result"] != "passed" {
		t.Errorf("image.json = %v", story)
	}
	latest := strings.Replace(base, uuid, "latest", 1)
	if string(get(t, latest+"image.json")) != string(get(t, base+"image.json")) {
		t.Errorf("latest is another image")
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %s, %v", url, res.Status, err)
	}
	return b
}

// checkCloud: one visible image of the name in each cluster, with the bytes
// that were tested.
func checkCloud(t *testing.T, p *person, uuid string) {
	t.Helper()
	img := p.show(uuid)
	name := img["image_name"].(string)
	for _, cluster := range []string{"alpha", "beta"} {
		list := p.lab.glance(t, cluster, name, false)
		if len(list) != 1 {
			t.Fatalf("%s shows %d images of %s, not 1", cluster, len(list), name)
		}
		g := list[0]
		if g.Properties["aibuild_uuid"] != uuid || g.Properties["os_hash_value"] != img["artifact"].(map[string]any)["sha512"] {
			t.Errorf("%s shows %v %v", cluster, g.Properties["aibuild_uuid"], g.Properties["os_hash_value"])
		}
		if g.Properties["aibuild_commit"] != img["commit"] || g.Properties["os_distro"] != "tiny" || g.MinDiskGigabytes < 1 || g.MinRAMMegabytes != 256 {
			t.Errorf("%s: properties %v, min_disk %d, min_ram %d", cluster, g.Properties, g.MinDiskGigabytes, g.MinRAMMegabytes)
		}
	}
}

func checkHistory(t *testing.T, p *person, l *lab) {
	entries := p.history("tiny-linux")
	e := entries[0]
	for _, field := range []string{"image_uuid", "image_name", "number", "os_type", "os_ver", "build_at", "from_iso", "update_contents", "state", "commit", "sha256"} {
		if e[field] == nil || e[field] == "" {
			t.Errorf("history lacks %s: %v", field, e[field])
		}
	}
	if e["state"] != "released" || e["image_uuid"] != l.tiny {
		t.Errorf("history = %v", e)
	}
	test := e["tests"].([]any)[0].(map[string]any)
	for _, field := range []string{"case", "cell", "result", "at"} {
		if test[field] == nil || test[field] == "" {
			t.Errorf("tests lack %s: %v", field, test)
		}
	}
	release := e["releases"].([]any)[0].(map[string]any)
	glanceID, _ := release["glance_id"].(string)
	if glanceID == "" || release["release_at"] == nil || release["state"] != "visible" {
		t.Errorf("releases = %v", release)
	}
	for _, ref := range []string{glanceID, e["sha256"].(string), "tiny-linux@1", l.tiny[:18], p.show(l.tiny)["artifact"].(map[string]any)["release_url"].(string)} {
		if got := p.show(ref)["image_uuid"]; got != l.tiny {
			t.Errorf("image show %s = %v", ref, got)
		}
	}
	p.must(4, "image", "show", "nobody-built-this")
}

// checkRepair deletes one Glance image by hand: release restores just that one.
func checkRepair(t *testing.T, p *person, l *lab) {
	kept := l.glance(t, "beta", "tiny-linux", false)[0].ID
	l.deleteGlance(t, "alpha", l.glance(t, "alpha", "tiny-linux", false)[0].ID)
	r := p.must(0, "clusters", "tiny-linux", "--verify")
	if !strings.Contains(r.out, "missing") {
		t.Errorf("clusters --verify does not see that it is missing:\n%s", r.out)
	}
	if plan := p.must(0, "release", l.tiny, "--dry-run"); !strings.Contains(plan.out, "upload") {
		t.Errorf("--dry-run does not plan the repair:\n%s", plan.out)
	}
	p.must(0, "release", l.tiny)
	checkCloud(t, p, l.tiny)
	if now := l.glance(t, "beta", "tiny-linux", false)[0].ID; now != kept {
		t.Errorf("beta was touched: %s instead of %s", now, kept)
	}
	hash := sha512.Sum512(get(t, p.show(l.tiny)["artifact"].(map[string]any)["release_url"].(string)))
	if l.glance(t, "alpha", "tiny-linux", false)[0].Properties["os_hash_value"] != hex.EncodeToString(hash[:]) {
		t.Errorf("alpha holds other bytes")
	}
}

// checkChild builds tiny-app on tiny-linux: the parent is on record.
func checkChild(t *testing.T, p *person, l *lab) {
	uuid := p.must(0, "run", filepath.Join(l.repo, "tiny-app")).last()
	img := p.show(uuid)
	if img["from_iso"] != "tiny-linux@1" || img["artifact"].(map[string]any)["parent_uuid"] != l.tiny {
		t.Errorf("parent of tiny-app = %v, %v", img["from_iso"], img["artifact"])
	}
	tree := p.must(0, "image", "tree", "tiny-linux")
	if !strings.Contains(tree.out, "tiny-app@1") {
		t.Errorf("tree:\n%s", tree.out)
	}
	checkCloud(t, p, uuid)
}

// The three programs of examples/library, as a Go developer would run them.
func TestLibraryExamples(t *testing.T) {
	l := tinyLinux(t)
	dir := t.TempDir()
	example := func(t *testing.T, name string, args ...string) string {
		t.Helper()
		program := filepath.Join(dir, name)
		if out, err := exec.Command("go", "build", "-o", program, "../../examples/library/"+name).CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
		cmd := exec.Command(program, args...)
		cmd.Env = append(cmd.Environ(), "OS_CLIENT_CONFIG_FILE="+l.env["OS_CLIENT_CONFIG_FILE"])
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	t.Run("pipeline", func(t *testing.T) {
		definition := quick(t, "lib-image", nil)
		www := filepath.Join(dir, "www")
		if err := os.Mkdir(www, 0o755); err != nil {
			t.Fatal(err)
		}
		out := example(t, "pipeline", definition, www, filepath.Join(dir, "state"))
		if !strings.Contains(out, "all (") {
			t.Errorf("pipeline said %s", out)
		}
		if n := len(l.glance(t, "alpha", "lib-image", false)); n != 1 {
			t.Errorf("alpha shows %d images", n)
		}
	})
	t.Run("harness", func(t *testing.T) {
		out := example(t, "harness", l.file, "root", filepath.Join(dir, "evidence"))
		if !strings.Contains(out, "passed all (") {
			t.Errorf("harness said %s", out)
		}
	})
	t.Run("release", func(t *testing.T) {
		out := example(t, "release", l.file, "lib-release", "0190aaaa-0000-7000-8000-000000000001", "alpha")
		if !strings.Contains(out, "alpha visible") || len(l.glance(t, "alpha", "lib-release", false)) != 1 {
			t.Errorf("release said %s", out)
		}
	})
}
