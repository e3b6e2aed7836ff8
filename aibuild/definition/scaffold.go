package definition

import (
	"bytes"
	"crypto/rand"
	"embed"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

//go:embed scaffold
var scaffold embed.FS

// Scaffold gives the files of a new definition, by path; the files of ExecutablePath must be made executable. Without a
// template it is a complete definition on top of Debian's cloud image. With one (HCL2 or JSON) that template is kept
// unchanged, and what it says about source and account is taken over; what it leaves open is marked CHECK in aibuild.yaml.
// The result passes Load as it is. A bad name comes as Errors.
func Scaffold(name string, template []byte) (map[string][]byte, error) {
	if why := badName(name); why != "" {
		return nil, Errors{{Path: "init", Message: why, Fix: "choose another name: " + nameRule}}
	}
	if template == nil {
		return fresh(name)
	}
	return wrapped(name, template)
}

// ExecutablePath says which files of a Scaffold are programs.
func ExecutablePath(path string) bool {
	return strings.HasPrefix(path, "tests/") || path == "source.sh"
}

func fresh(name string) (map[string][]byte, error) {
	// The account exists in the guest of one build, yet its password should not be one that everybody knows.
	fill := strings.NewReplacer("@NAME@", name, "@PASSWORD@", rand.Text())
	return render(fill, map[string]string{
		File:              "aibuild.yaml",
		name + ".pkr.hcl": "image.pkr.hcl",
		"http/user-data":  "user-data",
		"files/seal":      "seal",
		"source.sh":       "source.sh",
		"tests/10-ready":  "10-ready",
		"README.md":       "README.md",
		".gitignore":      "gitignore",
	}, map[string][]byte{
		"http/meta-data":   []byte("instance-id: build\n"),
		"http/vendor-data": {},
	})
}

func wrapped(name string, template []byte) (map[string][]byte, error) {
	if len(bytes.TrimSpace(template)) == 0 {
		return nil, Errors{{Path: "init", Message: "the template is empty", Fix: "name a Packer template with content"}}
	}
	file := name + ".pkr.hcl"
	if bytes.HasPrefix(bytes.TrimSpace(template), []byte("{")) {
		file = name + ".json"
	}
	source, checksum, kind := guessSource(template)
	user := setting(template, "ssh_username")
	if !userPattern.MatchString(user) {
		user = "root   # CHECK: the account that gets the SSH key"
	}
	fill := strings.NewReplacer("@NAME@", name, "@TEMPLATE@", file, "@KIND@", kind,
		"@SOURCE@", source, "@CHECKSUM@", checksum, "@USER@", user)
	return render(fill, map[string]string{File: "wrapped.yaml", "tests/10-boots": "10-boots"}, map[string][]byte{file: template})
}

// guessSource takes the source over when the template pins it with a sha256; else aibuild.yaml names a file to be put there.
func guessSource(template []byte) (source, checksum, kind string) {
	kind = "iso"
	if setting(template, "disk_image") == "true" {
		kind = "disk"
	}
	address, sum := setting(template, "iso_url"), setting(template, "iso_checksum")
	if isSHA256(sum) && setting(template, "iso_checksum_type") == "sha256" {
		sum = "sha256:" + sum
	}
	digest, sha := strings.CutPrefix(sum, "sha256:")
	if strings.HasPrefix(address, "https://") && !strings.ContainsAny(address, "{$\n") && sha && isSHA256(digest) {
		return strconv.Quote(address), strconv.Quote(sum), kind
	}
	return "source/source." + kind + "   # CHECK: an https URL, or a path in this folder",
		`"file:source/SHA256SUMS"   # CHECK: or "sha256:HEX"`, kind
}

// setting finds NAME = VALUE of HCL or "NAME": VALUE of JSON, when the value is written out.
func setting(template []byte, name string) string {
	pattern := regexp.MustCompile(`(?m)(?:^|[\s,{])"?` + regexp.QuoteMeta(name) + `"?\s*[=:]\s*(?:"([^"\\]*)"|([a-z0-9]+\b))`)
	parts := pattern.FindSubmatch(template)
	if parts == nil {
		return ""
	}
	return string(parts[1]) + string(parts[2])
}

// render fills the embedded files in and adds the others.
func render(fill *strings.Replacer, from map[string]string, files map[string][]byte) (map[string][]byte, error) {
	var failed []error
	for path, name := range from {
		data, err := scaffold.ReadFile("scaffold/" + name)
		if err != nil {
			failed = append(failed, fmt.Errorf("scaffold %s: %w", path, err))
			continue
		}
		files[path] = []byte(fill.Replace(string(data)))
	}
	return files, errors.Join(failed...)
}
