package packer

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func files(pairs ...string) fstest.MapFS {
	m := fstest.MapFS{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = &fstest.MapFile{Data: []byte(pairs[i+1])}
	}
	return m
}

type variable struct {
	Name, Type, Default string
	Has                 bool
	Line                int
}

func variables(t *Template) []variable {
	var out []variable
	for _, v := range t.Variables {
		out = append(out, variable{v.Name, v.Type, v.Default, v.HasDefault, v.Line})
	}
	return out
}

func builds(t *Template) []string {
	var out []string
	for _, s := range t.Sources {
		out = append(out, s.Type+" "+s.Build)
	}
	return out
}

func TestReadJSONTemplate(t *testing.T) {
	tpl, err := ReadTemplate(files("t.json", "\ufeff"+`{
  "_comment": "as people write it",
  "variables": {
    "iso_url": null,
    "mirror": "https://m",
    "size": 10, "url2": "{{user `+"`iso_url`"+`}}"
  },
  "builders": [
    {"type": "qemu", "iso_url": "{{ user \"url2\" }}"},
    {"type": "null", "name": "n"}
  ]
}`), "t.json")
	if err != nil {
		t.Fatal(err)
	}
	want := []variable{{"iso_url", "string", "", false, 4}, {"mirror", "string", "https://m", true, 5}, {"size", "string", "10", true, 6}, {"url2", "string", "{{user `iso_url`}}", true, 6}}
	if diff := cmp.Diff(want, variables(tpl)); diff != "" {
		t.Errorf("variables (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"qemu qemu", "null n"}, builds(tpl)); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
	if a := tpl.Sources[0].attrs["iso_url"]; a.bare != "url2" || !cmp.Equal(a.vars, []string{"url2", "iso_url"}) || a.Line != 9 {
		t.Errorf("iso_url %+v", a)
	}
}

func TestReadHCLFolder(t *testing.T) {
	tpl, err := ReadTemplate(files(
		"img/variables.pkr.hcl", "variable \"iso_url\" {\n  type = string\n  validation {\n    condition = true\n    error_message = \"x.\"\n  }\n}\nvariables {\n  n = 2\n}\n",
		"img/source.pkr.hcl", "packer {\n  required_plugins {\n    qemu = { version = \"~> 1\", source = \"github.com/hashicorp/qemu\" }\n  }\n}\n"+
			"locals {\n  url = \"${var.iso_url}\"\n}\nlocal \"deep\" { expression = local.url }\n"+
			"source \"qemu\" \"a\" {\n  iso_url = local.deep\n  qemu_img_args { create = [\"-F\", \"qcow2\"] }\n}\nsource \"null\" \"b\" {\n  communicator = \"none\"\n}\n",
		"img/build.pkr.hcl", "build {\n  name = \"x\"\n  sources = [\"source.null.b\", source.qemu.a]\n  source \"qemu.a\" {\n    name    = \"second\"\n    iso_url = \"https://pinned/x.iso\"\n  }\n  provisioner \"shell\" { inline = [\"true\"] }\n}\n",
		"img/j.pkr.json", `{"variable": {"from_json": {"type": "string", "default": "v"}}}`,
		"img/notes.txt", "not a template",
	), "img")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"null x.null.b", "qemu x.qemu.a", "qemu x.qemu.second"}, builds(tpl)); diff != "" {
		t.Errorf("builds (-want +got):\n%s", diff)
	}
	if v, ok := tpl.variable("from_json"); !ok || v.Default != "v" {
		t.Errorf("from_json: %+v, %v", v, ok)
	}
	if v, ok := tpl.variable("n"); !ok || v.Default != "2" || v.Line != 9 {
		t.Errorf("n: %+v, %v", v, ok)
	}
	if a := tpl.Sources[1].attrs["iso_url"]; !cmp.Equal(a.vars, []string{"iso_url"}) {
		t.Errorf("iso_url through locals: %+v", a)
	}
	if tpl.requires.Line != 2 {
		t.Errorf("required_plugins at %+v", tpl.requires)
	}
	if _, err := tpl.Source(""); err == nil || !strings.Contains(err.Error(), "img/source.pkr.hcl:10: the template has several qemu builds: x.qemu.a, x.qemu.second") {
		t.Errorf("two builds: %v", err)
	}
	if err := tpl.CheckSource("x.qemu.a"); err != nil {
		t.Errorf("x.qemu.a: %v", err)
	}
	if err := tpl.CheckSource("x.qemu.second"); err == nil || !strings.Contains(err.Error(), "img/build.pkr.hcl:6: the template pins another source: iso_url is https://pinned/x.iso; declare a variable iso_url") {
		t.Errorf("x.qemu.second: %v", err)
	}
}

func TestTemplatesThatCannotBeRead(t *testing.T) {
	tests := []struct{ name, file, text, want string }{
		{"json comma", "t.json", "{\n \"builders\": [ {\"type\":\"qemu\", } ]\n}", "t.json:2: this is not JSON: "},
		{"json cut", "t.json", "{\"builders\": [", "t.json:1: this is not JSON: unexpected EOF"},
		{"json twice", "t.json", "{\"builders\": [{\"type\": \"qemu\"}]}\n{}", "t.json:2: this is not JSON: something stands after the object"},
		{"json list", "t.json", "[]", "t.json:1: this is not JSON: the file does not hold one JSON object"},
		{"json deep", "t.json", strings.Repeat("[", 5000), "nested deeper than 64"},
		{"no builders", "t.json", "{}", "t.json:1: the template has no builders"},
		{"no type", "t.json", "{\"builders\": [\n{}]}", "t.json:2: a builder has no type"},
		{"hcl syntax", "t.pkr.hcl", "source \"qemu\" \"a\" {\n  iso_url = \n}\n", "t.pkr.hcl:2: invalid expression"},
		{"hcl source missing", "t.pkr.hcl", "build {\n  sources = [\"source.qemu.b\"]\n}\n", "t.pkr.hcl:2: the build uses a source qemu.b that is not there"},
		{"name", "t.yaml", "", "t.yaml: this is not a name that Packer knows"},
		{"not there", "", "", "t.json: there is no such template"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			fsys, name := files(), "t.json"
			if tt.file != "" {
				fsys, name = files(tt.file, tt.text), tt.file
			}
			tpl, err := ReadTemplate(fsys, name)
			var p Problems
			if !errors.As(err, &p) || !strings.Contains(err.Error(), tt.want) || tpl != nil {
				t.Errorf("ReadTemplate = %v, %v; want %s", tpl, err, tt.want)
			}
		})
	}
}

func TestCheckVersion(t *testing.T) {
	with := func(extra string) string {
		return strings.Replace(tinyJSON, `"type": "qemu"`, "\n"+`"type": "qemu"`+extra, 1)
	}
	tests := []struct{ name, version, file, text, want string }{
		{"old and complete", "1.2.5", "t.json", with(`, "iso_checksum_type": "sha256", "disk_size": 4096`), ""},
		{"old without type", "1.2.5", "t.json", tinyJSON, "t.json:3: packer 1.2.5 needs iso_checksum_type"},
		{"old with unit", "1.4.5", "t.json", with(`, "iso_checksum_type": "sha256", "disk_size": "4G"`), `t.json:5: packer 1.4.5 reads disk_size only as a number of MB, not "4G"; write 4096`},
		{"unit", "1.5.6", "t.json", with(`, "iso_checksum_type": "sha256", "disk_size": "4G"`), ""},
		{"type removed", "1.6.0", "t.json", with(`, "iso_checksum_type": "sha256"`), "t.json:5: packer 1.6.0 refuses iso_checksum_type"},
		{"url removed", "1.11.0", "t.json", with(`, "iso_checksum_url": "x"`), "t.json:5: packer 1.11.0 refuses iso_checksum_url"},
		{"hcl2 too early", "1.5.6", "t.pkr.hcl", tinyHCL, "t.pkr.hcl: packer 1.5.6 cannot read HCL2"},
		{"plugins too early", "1.6.6", "t.pkr.hcl", "packer {\n  required_plugins {}\n}\n" + tinyHCL, "t.pkr.hcl:2: packer 1.6.6 does not know required_plugins"},
		{"plugins", "1.7.0", "t.pkr.hcl", "packer {\n  required_plugins {}\n}\n" + tinyHCL, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tpl, err := ReadTemplate(files(tt.file, tt.text), tt.file)
			if err != nil {
				t.Fatal(err)
			}
			v, err := parseVersion(tt.version)
			if err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := tpl.CheckVersion(v, ""); err != nil {
				got = err.Error()
			}
			if !strings.HasPrefix(got, tt.want) || tt.want == "" && got != "" {
				t.Errorf("CheckVersion: %q; want %q", got, tt.want)
			}
		})
	}
}

func TestAssign(t *testing.T) {
	sum := "sha256:" + strings.Repeat("b", 64)
	source := map[string]string{"iso_url": "https://m/x.iso", "iso_checksum": sum}
	plus := func(pairs ...string) map[string]string {
		m := map[string]string{"iso_url": source["iso_url"], "iso_checksum": sum}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	hcl := func(variables, attrs string) string {
		return "variable \"iso_url\" {}\nvariable \"iso_checksum\" {}\n" + variables +
			"\nsource \"qemu\" \"a\" {\n" + attrs + "\n}\nbuild {\n  sources = [\"qemu.a\"]\n}\n"
	}
	follows := "iso_url = var.iso_url\niso_checksum = var.iso_checksum\n"
	tests := []struct {
		name, version, text string
		vars                map[string]string
		want                map[string]any
		err                 string
	}{
		{"own names", "1.6.6", hcl("", follows), source, map[string]any{"iso_url": "https://m/x.iso", "iso_checksum": sum}, ""},
		{"undeclared offers", "1.6.6", hcl("", follows), plus("ssh_public_key", "k"), map[string]any{"iso_url": "https://m/x.iso", "iso_checksum": sum}, ""},
		{"other names", "1.6.6", strings.NewReplacer(`"iso_url"`, `"base"`, "var.iso_url", "var.base").Replace(hcl("variable \"dir\" { default = \"x\" }", follows+"output_directory = \"${var.dir}\"")), source,
			map[string]any{"base": "https://m/x.iso", "iso_checksum": sum, "dir": "/out"}, ""},
		{"types", "1.6.6", hcl("variable \"l\" { type = list(string) }\nvariable \"cpu\" { default = 2 }", follows), plus("l", `["a"]`),
			map[string]any{"iso_url": "https://m/x.iso", "iso_checksum": sum, "l": []any{"a"}}, ""},
		{"old json", "1.2.5", "", plus("size", "10G"), map[string]any{"iso_url": "https://m/x.iso", "iso_checksum": strings.Repeat("b", 64), "iso_checksum_type": "sha256", "size": "10240"}, ""},
		{"not declared", "1.6.6", hcl("", follows), plus("mirorr", "x"), nil, "t.pkr.hcl: variable mirorr is given, but the template does not declare it"},
		{"no value", "1.6.6", hcl("variable \"token\" {}", follows), source, nil, "t.pkr.hcl:3: variable token has no default and no value"},
		{"not a list", "1.6.6", hcl("variable \"l\" { type = list(string) }", follows), plus("l", "a"), nil, "t.pkr.hcl:3: variable l is a list(string), and its value is not JSON"},
		{"pinned source", "1.6.6", hcl("", "iso_url = \"https://other/y.iso\"\niso_checksum = var.iso_checksum"), source, nil, `t.pkr.hcl:5: the template pins another source: iso_url is "https://other/y.iso", not what the definition says`},
		{"unchecked source", "1.6.6", hcl("", "iso_url = var.iso_url\niso_checksum = \"none\""), source, nil, `t.pkr.hcl:6: the template pins another source: iso_checksum is "none"`},
		{"no checksum", "1.6.6", hcl("", "iso_url = var.iso_url"), source, nil, "t.pkr.hcl:4: the template pins another source: iso_checksum is absent"},
		{"source by another variable", "1.6.6", hcl("variable \"mirror\" { default = \"https://m\" }", "iso_url = \"${var.mirror}/x.iso\"\niso_checksum = var.iso_checksum"), source, nil, "t.pkr.hcl:5: the template pins another source"},
	}
	old := "{\"variables\": {\"iso_url\": null, \"iso_checksum\": null, \"iso_checksum_type\": null, \"size\": null},\n\"builders\": [{\"type\": \"qemu\", \"iso_url\": \"{{user `iso_url`}}\", \"iso_checksum\": \"{{user `iso_checksum`}}\", \"iso_checksum_type\": \"{{user `iso_checksum_type`}}\", \"disk_size\": \"{{user `size`}}\"}]}"
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name, text := "t.pkr.hcl", tt.text
			if text == "" {
				name, text = "t.json", old
			}
			tpl, err := ReadTemplate(files(name, text), name)
			if err != nil {
				t.Fatal(err)
			}
			v, err := parseVersion(tt.version)
			if err != nil {
				t.Fatal(err)
			}
			got, err := tpl.assign(tpl.Sources[0], v, tt.vars, map[string]string{"output_directory": "/out", "cpu": "qemu64", "accelerator": "tcg"})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("assign (-want +got):\n%s", diff)
			}
			if got := message(err); !strings.HasPrefix(got, tt.err) || tt.err == "" && got != "" {
				t.Errorf("assign: %q; want %q", got, tt.err)
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestVersions(t *testing.T) {
	for _, text := range []string{"1.6", "1.6.x", "", "1.6.-1", "1.2.3.4"} {
		if v, err := parseVersion(text); err == nil {
			t.Errorf("parseVersion(%q) = %v", text, v)
		}
	}
	v, err := parseVersion("v1.12.0-dev")
	if err != nil || v != (Version{1, 12, 0, "dev"}) || !v.AtLeast(1, 12, 0) || v.AtLeast(1, 12, 1) || v.AtLeast(2, 0, 0) || !v.AtLeast(1, 9, 9) {
		t.Errorf("%v, %v", v, err)
	}
}

func TestRealVersion(t *testing.T) {
	v, err := Tool{}.Version(t.Context())
	if err != nil || !v.AtLeast(1, 2, 5) {
		t.Errorf("Version = %v, %v", v, err)
	}
}

func TestRealValidate(t *testing.T) {
	j := realJob(t, disk(t, "x", true), "", "")
	j.WorkDir, j.Evidence = "", ""
	if err := (Tool{}).Validate(t.Context(), j); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if entries, err := os.ReadDir(j.Dir); err != nil || len(entries) != 2 {
		t.Errorf("the definition holds %v (%v)", entries, err)
	}
}
