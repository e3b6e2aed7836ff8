package definition

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// sum collects named values into one digest. Every value is written as JSON with its name, so that no two different
// sets of values give the same bytes.
type sum struct{ text bytes.Buffer }

func (s *sum) add(name string, value any) error {
	line, err := json.Marshal([]any{name, value})
	if err != nil {
		return fmt.Errorf("digest %s: %w", name, err)
	}
	s.text.Write(append(line, '\n'))
	return nil
}

func (s *sum) hex() string {
	digest := sha256.Sum256(s.text.Bytes())
	return hex.EncodeToString(digest[:])
}

// digests says what each stage reads. The package documentation explains the choice of the fields.
func (l *loader) digests(d *Definition) (Digests, error) {
	forTest := func(name string) bool { return d.Test.Cases != "" && strings.HasPrefix(name, d.Test.Cases+"/") }
	shared, err := l.casesInBuild(d)
	if err != nil {
		return Digests{}, err
	}
	var build, test, release sum
	steps := []func() error{
		func() error {
			return build.add("settings", []any{d.Name, d.Arch, d.OS, d.From, d.Build.Template, d.Build.Builder, d.Build.Vars, d.Output})
		},
		func() error {
			return l.addFiles(&build, l.tree, func(name string) bool {
				return name != File && !about(name) && (shared || !forTest(name))
			})
		},
		func() error {
			for i, dep := range l.deps {
				if err := build.add("depends_on", d.DependsOn[i]); err != nil {
					return err
				}
				if err := l.addFiles(&build, dep, func(string) bool { return true }); err != nil {
					return err
				}
			}
			return nil
		},
		func() error { return test.add("settings", d.Test) },
		func() error { return l.addFiles(&test, l.tree, forTest) },
		func() error { return release.add("settings", d.Release) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return Digests{}, err
		}
	}
	return Digests{build.hex(), test.hex(), release.hex()}, nil
}

// casesInBuild says that the template names the folder of cases, for instance to copy it into the image: then its
// content belongs to the build too.
func (l *loader) casesInBuild(d *Definition) (bool, error) {
	if d.Test.Cases == "" {
		return false, nil
	}
	template, err := fs.ReadFile(l.fsys, path.Join(l.dir, d.Build.Template))
	if err != nil {
		return false, fmt.Errorf("read template: %w", err)
	}
	return bytes.Contains(template, []byte(d.Test.Cases+"/")), nil
}

// addFiles adds name, content and executable bit of the chosen files.
func (l *loader) addFiles(s *sum, t *tree, chosen func(name string) bool) error {
	for _, file := range t.files {
		if !chosen(file.name) {
			continue
		}
		digest, err := contentSHA256(l.fsys, file.content)
		if err != nil {
			return err
		}
		if err := s.add("file", []any{file.name, file.executable, digest}); err != nil {
			return err
		}
	}
	return nil
}

// about says that a file at the top of the folder is for people only, so that a better README rebuilds nothing.
func about(name string) bool {
	for _, prefix := range []string{"README", "LICENSE", "CHANGELOG"} {
		if strings.HasPrefix(name, prefix) && !strings.Contains(name, "/") {
			return true
		}
	}
	return false
}
