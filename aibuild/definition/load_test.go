package definition

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

const good = `name: debian-12
arch: x86_64
os: {distro: debian, version: "12"}
from: {iso: "https://example.com/d.iso?token=1", checksum: "sha256:` + hexSum + `"}
build: {template: debian.pkr.hcl, builder: image.qemu.guest, vars: {mirror: http://deb, cpus: 2}, timeout: 90m}
output: {format: qcow2, compress: zlib}
test:
  matrix: {firmware: [bios, uefi], disk_bus: [virtio, scsi], datasource: [nocloud, configdrive]}
  memory: 1GiB
  user: debian
  cases: tests/
release: {clusters: [alpha, beta], visibility: private, properties: {hw_disk_bus: virtio}}
rebuild: 7d
depends_on: [../common]
`

const hexSum = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// repository is a good definition in images/debian-12, with its file replaced when yaml is not empty.
func repository(yaml string) fstest.MapFS {
	if yaml == "" {
		yaml = good
	}
	return fstest.MapFS{
		"images/debian-12/aibuild.yaml":   {Data: []byte(yaml), Mode: 0o644},
		"images/debian-12/debian.pkr.hcl": {Data: []byte("source {}"), Mode: 0o644},
		"images/debian-12/http/seed":      {Data: []byte("seed"), Mode: 0o644},
		"images/debian-12/README.md":      {Data: []byte("read me"), Mode: 0o644},
		"images/debian-12/.cache/x":       {Data: []byte("x"), Mode: 0o644},
		"images/debian-12/tests/net.sh":   {Data: []byte("#!/bin/sh\n# aibuild: timeout=30s sudo retries=2 isolated tags=net,slow\n"), Mode: 0o755},
		"images/debian-12/tests/data.txt": {Data: []byte("data"), Mode: 0o644},
		"images/common/base.sh":           {Data: []byte("base"), Mode: 0o755},
	}
}

func TestLoad(t *testing.T) {
	d, err := Load(repository(""), "images/debian-12")
	if err != nil {
		t.Fatal(err)
	}
	want := &Definition{
		Dir: "images/debian-12", Name: "debian-12", Arch: "x86_64", OS: OS{"debian", "12"},
		From:    From{ISO: "https://example.com/d.iso?token=1", Checksum: "sha256:" + hexSum},
		Build:   Build{"debian.pkr.hcl", "image.qemu.guest", map[string]string{"mirror": "http://deb", "cpus": "2"}, 90 * time.Minute},
		Output:  Output{"qcow2", "zlib"},
		Test:    Test{Matrix{[]string{"bios", "uefi"}, []string{"virtio", "scsi"}, []string{"nocloud", "configdrive"}}, 1 << 30, 1, "debian", "tests", 30 * time.Minute},
		Release: Release{Clusters: []string{"alpha", "beta"}, Visibility: "private", Properties: map[string]string{"hw_disk_bus": "virtio"}},
		Rebuild: 7 * 24 * time.Hour, DependsOn: []string{"../common"},
		Cases:   []Case{{"net", "tests/net.sh", 30 * time.Second, true, true, 2, []string{"net", "slow"}}},
		Files:   []string{"README.md", "aibuild.yaml", "debian.pkr.hcl", "http/seed", "tests/data.txt", "tests/net.sh"},
		Digests: d.Digests,
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Error(diff)
	}
	if got := d.From.Recorded(); got != "https://example.com/d.iso" {
		t.Errorf("Recorded = %q: credentials and query must not be in the record", got)
	}
	if cells := d.Test.Matrix.Cells(); len(cells) != 8 || cells[0].String() != "bios-virtio-nocloud" {
		t.Errorf("Cells = %v", cells)
	}
}

// edit replaces one text of the good file.
func edit(old, new string) string {
	if !strings.Contains(good, old) {
		panic("the good file has no " + old)
	}
	return strings.Replace(good, old, new, 1)
}

func TestLoadProblems(t *testing.T) {
	source := "iso: \"https://example.com/d.iso?token=1\", checksum: \"sha256:" + hexSum + "\""
	type want struct {
		line int
		text string
	}
	at := func(line int, text string) want { return want{line, text} }
	for name, c := range map[string]struct {
		yaml string
		want
	}{
		"misspelt key":        {edit("output:", "outptu:"), at(6, `unknown key "outptu"; did you mean "output"?`)},
		"misspelt inner key":  {edit("disk_bus:", "diskbus:"), at(8, `unknown key "test.matrix.diskbus"; did you mean "disk_bus"?`)},
		"strange key":         {edit("rebuild: 7d", "zzz: 7d"), at(13, `unknown key "zzz"; known keys are arch, build,`)},
		"duplicate key":       {good + "name: other\n", at(15, `key "name" is already given on line 1; remove one`)},
		"number for text":     {edit(`"12"`, "12.10"), at(3, `os.version must be text, not "12.10"; write "12.10" in quotes`)},
		"text for list":       {edit("[alpha, beta]", "alpha"), at(12, `release.clusters must be a list, not "alpha"; write [alpha]`)},
		"list for text":       {edit("rebuild: 7d", "name: []"), at(13, `key "name" is already given`)},
		"list for map":        {edit("{format: qcow2, compress: zlib}", "[]"), at(6, `output must be a map of keys, not a list`)},
		"no value":            {edit("rebuild: 7d", "rebuild:"), at(13, `rebuild has no value; give one or remove the key`)},
		"anchor":              {edit("[bios, uefi]", "&a [bios, uefi]"), at(8, `anchor &a is not allowed`)},
		"alias":               {good + "x: *a\n", at(15, `alias *a is not allowed`)},
		"tag":                 {edit("7d", "!!str 7d"), at(13, `tag !!str is not allowed`)},
		"two documents":       {good + "---\nname: b\n", at(15, `a second document begins`)},
		"tab":                 {edit("  memory", "\tmemory"), at(9, `is not YAML`)},
		"empty":               {"# nothing\n", at(1, `is empty`)},
		"only text":           {"hello", at(1, `the file must be a map of keys, not "hello"`)},
		"deep":                {strings.Repeat("{a: ", 30) + strings.Repeat("}", 30), at(1, `nested more than 20 levels deep`)},
		"huge":                {good + "# " + strings.Repeat("x", 1<<20), at(0, `more than 1MiB`)},
		"parent name":         {edit("debian-12", "../x"), at(1, `name: "../x" is no image name`)},
		"name with spaces":    {edit("debian-12", "a b"), at(1, `name: "a b" is no image name`)},
		"name with shell":     {edit("debian-12", "'a;$(x)'"), at(1, `is no image name`)},
		"long name":           {edit("debian-12", strings.Repeat("a", 300)), at(1, `is no image name`)},
		"reserved name":       {edit("debian-12", "build"), at(1, `"build" is a word of the command line`)},
		"uuid name":           {edit("debian-12", "01890a5d-ac96-774b-bcce-b302099a8057"), at(1, `looks like an image's uuid`)},
		"no name":             {edit("name: debian-12\n", ""), at(1, `name: is missing`)},
		"aarch64":             {edit("x86_64", "aarch64"), at(2, `arch: aarch64 is not supported yet; write x86_64`)},
		"long distro":         {edit("distro: debian", "distro: "+strings.Repeat("d", 21)), at(3, `has 21 bytes, the record holds 20`)},
		"long version":        {edit(`"12"`, `"12.34567890"`), at(3, `has 11 bytes, the record holds 10`)},
		"no source":           {edit(source, ""), at(4, `from: names no source`)},
		"two sources":         {edit("iso:", "image: base, iso:"), at(4, `from: names more than one source: iso, image`)},
		"no checksum":         {edit(", checksum: \"sha256:"+hexSum+"\"", ""), at(4, `from.iso: has no checksum; add checksum`)},
		"short checksum":      {edit(hexSum, "abc"), at(4, `from.checksum: has no 64 hexadecimal digits`)},
		"bare checksum":       {edit("sha256:", ""), at(4, `from.checksum: does not say its method`)},
		"md5":                 {edit("sha256:"+hexSum, "md5:abc"), at(4, `"md5" is not known; write sha256:HEX or file:PATH`)},
		"checksum none":       {edit("sha256:"+hexSum, "none"), at(4, `none would accept any bytes`)},
		"checksum outside":    {edit("sha256:"+hexSum, "file:../SUMS"), at(4, `"../SUMS" leads out of the folder`)},
		"checksum of image":   {edit("iso: \"https://example.com/d.iso?token=1\"", "image: base"), at(4, `from.checksum: does not belong to from.image`)},
		"http":                {edit("https://example", "http://user"), at(4, `http can be changed on its way; use https`)},
		"ftp":                 {edit("https://example", "ftp://user"), at(4, `ftp:// is not supported`)},
		"credentials":         {edit("https://example.com", "https://user:pw@example.com"), at(4, `from.iso: the URL holds credentials`)},
		"url without a file":  {edit("https://example.com/d.iso?token=1", "https://example.com"), at(4, `the URL names no file`)},
		"long url":            {edit("d.iso", strings.Repeat("d", 300)), at(4, `the record holds 255`)},
		"iso outside":         {edit("https://example.com/d.iso?token=1", "../../etc/passwd"), at(4, `leads out of the folder`)},
		"iso absolute":        {edit("https://example.com/d.iso?token=1", "/etc/passwd"), at(4, `is an absolute path`)},
		"bad parent":          {edit(source, "image: base@x"), at(4, `"base@x" is neither NAME nor NAME@N`)},
		"own parent":          {edit(source, "image: debian-12@3"), at(4, `an image cannot be its own parent`)},
		"no template":         {edit("template: debian.pkr.hcl, ", ""), at(5, `build.template: is missing`)},
		"absent template":     {edit("debian.pkr.hcl", "debain.pkr.hcl"), at(5, `"debain.pkr.hcl" is not in the folder; did you mean "debian.pkr.hcl"?`)},
		"template outside":    {edit("debian.pkr.hcl", "../x.json"), at(5, `leads out of the folder`)},
		"template of a kind":  {edit("debian.pkr.hcl", "http/seed"), at(5, `is no Packer template`)},
		"bad duration":        {edit("90m", "90"), at(5, `build.timeout: "90" is no duration; write a number with s, m, h or d`)},
		"long timeout":        {edit("90m", "99d"), at(5, `is not between 1m0s and 7d`)},
		"bad format":          {edit("qcow2", "qcow"), at(6, `output.format: "qcow" is not known; did you mean "qcow2"?`)},
		"compressed raw":      {edit("qcow2", "raw"), at(6, `a raw image cannot be compressed`)},
		"bad firmware":        {edit("uefi]", "efi]"), at(8, `"efi" is not known; did you mean "uefi"?`)},
		"firmware twice":      {edit("[bios, uefi]", "[bios, bios]"), at(8, `bios is there twice`)},
		"metadata":            {edit("nocloud, ", "metadata, "), at(8, `metadata is not supported yet`)},
		"empty list":          {edit("[bios, uefi]", "[]"), at(8, `is an empty list`)},
		"bad size":            {edit("1GiB", "1GB"), at(9, `test.memory: "1GB" is no size; write a whole number with B, KiB`)},
		"small memory":        {edit("1GiB", "1KiB"), at(9, `1KiB is not between 64MiB and 1TiB`)},
		"bad user":            {edit("user: debian", "user: 'a;b'"), at(10, `"a;b" is no account name`)},
		"no user":             {edit("  user: debian\n", ""), at(7, `test.user: is missing`)},
		"absent cases":        {edit("cases: tests/", "cases: cases/"), at(11, `"cases" is no folder with files in it`)},
		"cases outside":       {edit("cases: tests/", "cases: ../common"), at(11, `leads out of the folder`)},
		"no executable case":  {edit("cases: tests/", "cases: http"), at(11, `holds no executable; make the cases executable with chmod +x`)},
		"bad cluster":         {edit("alpha", "'al pha'"), at(12, `"al pha" is no cluster name`)},
		"long cluster":        {edit("alpha", strings.Repeat("a", 61)), at(12, `is no cluster name`)},
		"cluster twice":       {edit("beta", "alpha"), at(12, `alpha is there twice`)},
		"bad visibility":      {edit("private", "publik"), at(12, `"publik" is not known; did you mean "public"?`)},
		"own property":        {edit("hw_disk_bus: virtio", "os_distro: x"), at(12, `release.properties.os_distro: is set by aibuild itself`)},
		"glance property":     {edit("hw_disk_bus: virtio", "os_glance_x: y"), at(12, `is reserved by Glance`)},
		"untested property":   {edit("hw_disk_bus: virtio", "hw_disk_bus: ide"), at(12, `"ide" is not tested; add it to test.matrix.disk_bus`)},
		"keep nothing":        {edit("visibility: private", "keep: 0"), at(12, `release.keep: would delete every version`)},
		"keep text":           {edit("visibility: private", "keep: two"), at(12, `release.keep must be a whole number, not "two"`)},
		"quick rebuild":       {edit("7d", "5m"), at(13, `rebuild: is less than an hour`)},
		"follow nobody":       {good + "follow_parent: true\n", at(15, `follow_parent: needs a parent`)},
		"yes is no boolean":   {good + "follow_parent: yes\n", at(15, `follow_parent must be true or false, not "yes"`)},
		"long update":         {good + "update_contents: " + strings.Repeat("u", 65536) + "\n", at(15, `has 65536 bytes, the record holds 65535`)},
		"dependency outside":  {edit("../common", "../../../etc"), at(14, `leads out of the repository`)},
		"whole repository":    {edit("../common", "../.."), at(14, `leads out of the repository; name a folder of the repository; its root is too much`)},
		"dependency of self":  {edit("../common", ".."), at(14, `holds this folder or lies in it`)},
		"absent dependency":   {edit("../common", "../comon"), at(14, `"../comon" cannot be read`)},
		"dependency absolute": {edit("../common", "/etc"), at(14, `is no relative folder`)},
		"dependency a file":   {edit("../common", "../common/base.sh"), at(14, `is no plain file; name a folder`)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Load(repository(c.yaml), "images/debian-12")
			var problems Errors
			if !errors.As(err, &problems) {
				t.Fatalf("Load = %v; want Errors", err)
			}
			if !slices.ContainsFunc(problems, func(p Problem) bool { return p.Line == c.line && strings.Contains(p.String(), c.text) }) {
				t.Errorf("Load says\n%v\nwant line %d: %s", err, c.line, c.text)
			}
		})
	}
}

// The golden list: everything that is wrong, at once, in the order of the lines.
func TestAllProblemsAtOnce(t *testing.T) {
	yaml := `nmae: x
arch: sparc
os: {distro: debian, version: 12}
from: {iso: http://example.com/x.iso}
build: {template: x.pkr.hcl, timeout: soon}
test:
  memory: lots
  matrix: {firmware: bios}
release: {visibility: secret, keep: 0}
`
	want := `d/aibuild.yaml:1: unknown key "nmae"; did you mean "name"?
d/aibuild.yaml:1: name: is missing; write name: my-image
d/aibuild.yaml:2: arch: "sparc" is not known; write x86_64
d/aibuild.yaml:3: os.version must be text, not "12"; write "12" in quotes
d/aibuild.yaml:4: from.iso: http can be changed on its way; use https, or download the file into the folder and name its path
d/aibuild.yaml:4: from.iso: has no checksum; add checksum: sha256:HEX or checksum: file:PATH
d/aibuild.yaml:5: build.timeout: "soon" is no duration; write a number with s, m, h or d, such as 90m or 7d
d/aibuild.yaml:5: build.template: "x.pkr.hcl" is not in the folder; name a file of this folder
d/aibuild.yaml:6: test.user: is missing; name the account that gets the SSH key, such as debian
d/aibuild.yaml:7: test.memory: "lots" is no size; write a whole number with B, KiB, MiB, GiB or TiB, such as 1GiB
d/aibuild.yaml:8: test.matrix.firmware must be a list, not "bios"; write [bios]
d/aibuild.yaml:9: release.visibility: "secret" is not known; write private, shared, community or public
d/aibuild.yaml:9: release.keep: would delete every version; write 1 or more, or remove the key to delete none`
	_, err := Load(fstest.MapFS{"d/aibuild.yaml": {Data: []byte(yaml)}}, "d")
	if err == nil {
		t.Fatal("Load accepted it")
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Error(diff)
	}
}

func TestCaseHeaders(t *testing.T) {
	for header, want := range map[string]string{
		"# aibuild: timout=3s":            `tests/net.sh:2: unknown word "timout"; did you mean "timeout"?`,
		"// aibuild: timeout=never":       `tests/net.sh:2: timeout "never" is not between 1s and 24h; write timeout=30s`,
		"-- aibuild: retries=99":          `tests/net.sh:2: retries "99" is not between 0 and 5`,
		"; aibuild: sudo=yes":             `tests/net.sh:2: sudo takes no value; write sudo alone`,
		"# aibuild: tags=A,b":             `tests/net.sh:2: tag "A" is no word`,
		"/* aibuild: sudo timeout=0s */":  `timeout "0s" is not between`,
		"# aibuild: sudo what":            `unknown word "what"; known words are isolated, retries, sudo, tags, timeout`,
		"# see https://x/aibuild: timout": "",
	} {
		r := repository("")
		r["images/debian-12/tests/net.sh"].Data = []byte("#!/bin/sh\n" + header + "\n")
		_, err := Load(r, "images/debian-12")
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: Load = %v; want %q", header, err, want)
		}
	}
	r := repository("")
	r["images/debian-12/tests/net.py"] = &fstest.MapFile{Data: []byte("x"), Mode: 0o755}
	if _, err := Load(r, "images/debian-12"); err == nil || !strings.Contains(err.Error(), "has the same case name as tests/net.py: net") {
		t.Errorf("two cases of one name: %v", err)
	}
}

// In a real folder, links may lead to plain files of the repository, in one step, and nowhere else.
func TestLinks(t *testing.T) {
	base := t.TempDir()
	for name, file := range repository("") {
		full := filepath.Join(base, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, file.Data, file.Mode)); err != nil {
			t.Fatal(err)
		}
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(base)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	link := filepath.Join(base, "images/debian-12/files")
	for target, want := range map[string]string{
		"../common/base.sh":        "",
		"debian.pkr.hcl":           "",
		secret:                     "is a link that leads out of the repository",
		"../../../secret":          "is a link that leads out of the repository",
		"../common":                "is a link to a folder",
		"nothing":                  "is a link to nothing, which cannot be read",
		"files":                    "is a link that leads over another link",
		"../linked/debian.pkr.hcl": "is a link that leads over another link",
	} {
		_ = os.Remove(link)
		_ = os.Remove(filepath.Join(base, "images/linked"))
		if err := errors.Join(os.Symlink(target, link), os.Symlink("debian-12", filepath.Join(base, "images/linked"))); err != nil {
			t.Fatal(err)
		}
		for kind, fsys := range map[string]fs.FS{"os.DirFS": os.DirFS(base), "os.Root": root.FS()} {
			d, err := Load(fsys, "images/debian-12")
			switch {
			case want == "" && (err != nil || !slices.Contains(d.Files, "files")):
				t.Errorf("%s: link to %s: %v", kind, target, err)
			case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
				t.Errorf("%s: link to %s: %v; want %q", kind, target, err, want)
			}
		}
	}
	if _, err := Load(os.DirFS(base), "images/linked"); err == nil || !strings.Contains(err.Error(), "images/linked: is a link") {
		t.Errorf("a linked folder: %v", err)
	}
	if _, err := Load(os.DirFS(base), "../x"); err == nil {
		t.Error("Load left the file system")
	}
	if _, err := Load(os.DirFS(base), "images/debian-12/aibuild.yaml"); err == nil || !strings.Contains(err.Error(), "is not there; run aibuild init") {
		t.Errorf("a file instead of a folder: %v", err)
	}
	if _, err := Load(os.DirFS(base), "nowhere"); err == nil || !strings.Contains(err.Error(), "nowhere/aibuild.yaml: is not there; run aibuild init") {
		t.Errorf("an absent folder: %v", err)
	}
}

func TestSourceSHA256(t *testing.T) {
	upper := strings.ToUpper(hexSum)
	other := strings.Repeat("f", 64)
	for name, c := range map[string]struct{ sums, want, problem string }{
		"sha256sum":  {other + "  other.iso\n" + upper + " *d.iso\n", hexSum, ""},
		"bsd":        {"SHA256 (./d.iso) = " + hexSum + "\n", hexSum, ""},
		"bare":       {hexSum + "\n", hexSum, ""},
		"twice same": {hexSum + "  d.iso\n" + hexSum + "  x/d.iso\n", hexSum, ""},
		"different":  {hexSum + "  d.iso\n" + other + "  d.iso\n", "", "has different SHA-256 digests of d.iso"},
		"absent":     {other + "  e.iso\n", "", "has no SHA-256 of d.iso"},
		"no file":    {"", "", "cannot be read"},
	} {
		r := repository(edit("sha256:"+hexSum, "file:source/SUMS"))
		d, err := Load(r, "images/debian-12")
		if err != nil {
			t.Fatal(err)
		}
		if c.sums != "" {
			r["images/debian-12/source/SUMS"] = &fstest.MapFile{Data: []byte(c.sums), Mode: 0o644}
		}
		got, err := d.SourceSHA256(r)
		if got != c.want || c.problem == "" && err != nil || c.problem != "" && (err == nil || !strings.Contains(err.Error(), c.problem)) {
			t.Errorf("%s: SourceSHA256 = %q, %v; want %q, %q", name, got, err, c.want, c.problem)
		}
	}
}

func FuzzLoad(f *testing.F) {
	f.Add(good)
	f.Add("a: &a [x, x]\nb: [*a, *a]\n")
	f.Add("name: [\n")
	f.Add("? [x]\n: y\n")
	f.Fuzz(func(t *testing.T, yaml string) {
		d, err := Load(repository(yaml), "images/debian-12")
		var problems Errors
		switch {
		case err == nil && !namePattern.MatchString(d.Name):
			t.Errorf("accepted the name %q", d.Name)
		case err != nil && (!errors.As(err, &problems) || len(problems) == 0):
			t.Errorf("Load = %v; want Errors", err)
		}
	})
}
