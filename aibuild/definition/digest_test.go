package definition

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Which digests a change of the folder moves: that is what the stages are started by.
func TestDigestsFollowWhatStagesRead(t *testing.T) {
	const dir = "images/debian-12/"
	text := func(old, new string) func(fstest.MapFS) {
		return func(r fstest.MapFS) { r[dir+File].Data = []byte(edit(old, new)) }
	}
	file := func(name string) func(fstest.MapFS) {
		return func(r fstest.MapFS) { r[name] = &fstest.MapFile{Data: []byte("changed"), Mode: 0o644} }
	}
	changes := []struct {
		name, moves string
		change      func(fstest.MapFS)
	}{
		{"clusters", "release", text("alpha, ", "")},
		{"visibility", "release", text("private", "public")},
		{"keep", "release", text("visibility:", "keep: 3, visibility:")},
		{"property", "release", text("hw_disk_bus: virtio", "hw_disk_bus: scsi")},
		{"memory", "test", text("1GiB", "2GiB")},
		{"matrix", "test", text("[bios, uefi]", "[bios]")},
		{"case", "test", file(dir + "tests/other")},
		{"case data", "test", file(dir + "tests/data.txt")},
		{"case mode", "test", func(r fstest.MapFS) { r[dir+"tests/data.txt"].Mode = 0o755 }},
		{"template", "build", file(dir + "debian.pkr.hcl")},
		{"new file", "build", file(dir + "files/new")},
		{"file mode", "build", func(r fstest.MapFS) { r[dir+"http/seed"].Mode = 0o755 }},
		{"dependency", "build", file("images/common/more")},
		{"var", "build", text("cpus: 2", "cpus: 3")},
		{"checksum", "build", text(hexSum, strings.Repeat("0", 64))},
		{"output", "build", text("zlib", "zstd")},
		{"version", "build", text(`"12"`, `"13"`)},
		{"build timeout", "", text("90m", "91m")},
		{"rebuild", "", text("7d", "8d")},
		{"comment", "", text("arch: x86_64", "arch: x86_64 # so")},
		{"default left out", "", text("arch: x86_64\n", "")},
		{"readme", "", file(dir + "README.md")},
		{"hidden folder", "", file(dir + ".cache/y")},
		{"other image", "", file("images/ubuntu/aibuild.yaml")},
	}
	load := func(t rapid.TB, r fs.FS) Digests {
		d, err := Load(r, "images/debian-12")
		if err != nil {
			t.Fatal(err)
		}
		return d.Digests
	}
	before := load(t, repository(""))
	moved := func(after Digests) string {
		var names []string
		for _, part := range []struct{ name, a, b string }{{"build", before.Build, after.Build}, {"test", before.Test, after.Test}, {"release", before.Release, after.Release}} {
			if part.a != part.b {
				names = append(names, part.name)
			}
		}
		return strings.Join(names, " ")
	}
	for _, c := range changes {
		r := repository("")
		c.change(r)
		if got := moved(load(t, r)); got != c.moves {
			t.Errorf("%s moves %q; want %q", c.name, got, c.moves)
		}
	}
	t.Run("together", rapid.MakeCheck(func(t *rapid.T) {
		r, want := repository(""), map[string]bool{}
		for _, i := range rapid.SliceOfNDistinct(rapid.IntRange(0, len(changes)-1), 1, 5, rapid.ID).Draw(t, "changes") {
			data := r[dir+File].Data
			changes[i].change(r)
			if string(data) != string(r[dir+File].Data) && string(data) != good {
				r[dir+File].Data = data // one edit of the settings at a time
				continue
			}
			want[changes[i].moves] = true
		}
		got := moved(load(t, r))
		for _, stage := range []string{"build", "test", "release"} {
			if strings.Contains(got, stage) != want[stage] {
				t.Fatalf("moved %q; want %v", got, want)
			}
		}
	}))
	r := repository("")
	r[dir+"debian.pkr.hcl"].Data = []byte(`source = "tests/"`)
	named := load(t, r).Build
	r[dir+"tests/data.txt"].Data = []byte("changed")
	if load(t, r).Build == named {
		t.Error("a template that copies the cases does not notice their change")
	}
}

func TestPolicy(t *testing.T) {
	d, err := Load(repository(""), "images/debian-12")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		policy    Policy
		ref, rule string
	}{
		"zero":          {Policy{}, "anything", ""},
		"branch":        {Policy{ReleaseRefs: []string{"main"}}, "refs/heads/main", ""},
		"other branch":  {Policy{ReleaseRefs: []string{"main"}}, "refs/heads/mainly", "release.refs"},
		"tag like main": {Policy{ReleaseRefs: []string{"main"}}, "refs/tags/main", "release.refs"},
		"glob":          {Policy{ReleaseRefs: []string{"release/*"}}, "refs/heads/release/12/1", ""},
		"bad glob":      {Policy{ReleaseRefs: []string{"["}}, "main", "release.refs"},
		"no ref":        {Policy{ReleaseRefs: []string{"main"}}, "", "release.refs"},
		"cluster":       {Policy{Clusters: []string{"alpha"}}, "main", "release.clusters"},
		"clusters":      {Policy{Clusters: []string{"alpha", "beta"}}, "main", ""},
		"visibility":    {Policy{Visibilities: []string{"shared"}}, "main", "release.visibility"},
		"timeout":       {Policy{MaxTimeout: time.Hour}, "main", "max_timeout"},
		"memory":        {Policy{MaxMemory: 1 << 29}, "main", "max_memory"},
		"name":          {Policy{Names: []string{"web-*"}}, "main", "names"},
		"own name":      {Policy{Names: []string{"debian-*"}}, "main", ""},
	} {
		c.policy.Project = "team/images"
		err := c.policy.Check(d, c.ref)
		var refused *Refused
		switch {
		case c.rule == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.rule != "" && (!errors.As(err, &refused) || refused.Rule != c.rule || !strings.Contains(err.Error(), c.rule+" of the server's configuration for team/images")):
			t.Errorf("%s: Check = %v; want a refusal by %s", name, err, c.rule)
		}
	}
}

func TestReserved(t *testing.T) {
	if !slices.IsSorted(Reserved) || len(slices.Compact(slices.Clone(Reserved))) != len(Reserved) {
		t.Error("Reserved is not sorted, or has a word twice")
	}
}

// The schema and the reader know the same keys.
func TestSchemaKeys(t *testing.T) {
	type node struct {
		Properties map[string]*node
	}
	var root node
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	var walk func(n *node, prefix string) []string
	walk = func(n *node, prefix string) (keys []string) {
		for name, child := range n.Properties {
			keys = append(append(keys, prefix+name), walk(child, prefix+name+".")...)
		}
		return keys
	}
	var fields func(t reflect.Type, prefix string) []string
	fields = func(t reflect.Type, prefix string) (keys []string) {
		for i := range t.NumField() {
			name := prefix + t.Field(i).Tag.Get("yaml")
			keys = append(keys, name)
			if t.Field(i).Type.Kind() == reflect.Struct {
				keys = append(keys, fields(t.Field(i).Type, name+".")...)
			}
		}
		return keys
	}
	a, b := walk(&root, ""), fields(reflect.TypeFor[settings](), "")
	slices.Sort(a)
	slices.Sort(b)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
}

func write(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	for name, data := range files {
		mode := os.FileMode(0o644)
		if ExecutablePath(name) {
			mode = 0o755
		}
		full := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(full), 0o755), os.WriteFile(full, data, mode)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestScaffoldWrapsATemplate(t *testing.T) {
	hcl := "source \"qemu\" \"x\" {\n  iso_url = \"https://example.com/x.iso\"\n  iso_checksum = \"sha256:" + hexSum + "\"\n  ssh_username = \"ubuntu\"\n}\n"
	old := `{"builders": [{"type": "qemu", "disk_image": true, "iso_url": "{{user ` + "`base`" + `}}", "ssh_username": "root"}]}`
	for name, c := range map[string]struct {
		template, file string
		from           From
		user           string
	}{
		"pinned":   {hcl, "web.pkr.hcl", From{ISO: "https://example.com/x.iso", Checksum: "sha256:" + hexSum}, "ubuntu"},
		"variable": {old, "web.json", From{Disk: "source/source.disk", Checksum: "file:source/SHA256SUMS"}, "root"},
	} {
		dir := t.TempDir()
		files, err := Scaffold("web", []byte(c.template))
		if err != nil {
			t.Fatal(err)
		}
		if string(files[c.file]) != c.template {
			t.Errorf("%s: the template was changed", name)
		}
		write(t, dir, files)
		d, err := Load(os.DirFS(dir), ".")
		if err != nil {
			t.Fatal(err)
		}
		if d.From != c.from || d.Test.User != c.user || len(d.Cases) != 1 {
			t.Errorf("%s: from %+v, user %s, %d cases", name, d.From, d.Test.User, len(d.Cases))
		}
	}
	for _, bad := range []string{"", "Upper", "run", "../x"} {
		if _, err := Scaffold(bad, nil); err == nil {
			t.Errorf("Scaffold(%q) made files", bad)
		}
	}
	if _, err := Scaffold("web", []byte(" \n")); err == nil {
		t.Error("Scaffold took an empty template")
	}
}
