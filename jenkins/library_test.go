package jenkins_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// debianGroovy runs one of Debian's Groovy programs, whose version is that of Jenkins.
func debianGroovy(t *testing.T, program string, args ...string) (out string, err error) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "JAVA_OPTS=-XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Dfile.encoding=UTF-8")
	if os.Getenv("JAVA_HOME") == "" {
		cmd.Env = append(cmd.Env, "JAVA_HOME=/usr/lib/jvm/default-java")
	}
	b, err := cmd.CombinedOutput()
	return string(b), err
}

func filesLike(t *testing.T, patterns ...string) (files []string) {
	t.Helper()
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %v, %v", pattern, found, err)
		}
		files = append(files, found...)
	}
	return files
}

// TestGroovyCompiles: all of the library, and what tests it, is Groovy of the version that Jenkins has.
func TestGroovyCompiles(t *testing.T) {
	if out, err := debianGroovy(t, "groovy", "--version"); err != nil || !strings.Contains(out, "Groovy Version: 2.4.") {
		t.Errorf("this is not Jenkins' Groovy: %v %s", err, out)
	}
	files := filesLike(t, "vars/*.groovy", "test/*.groovy", "test/hudson/*.groovy", "test/lint/*.groovy")
	if out, err := debianGroovy(t, "groovyc", append([]string{"-cp", "test", "-d", t.TempDir()}, files...)...); err != nil {
		t.Errorf("groovyc: %v\n%s", err, out)
	}
}

// TestGroovyLint: nothing in the library or its examples is what Jenkins would refuse, or lose over a restart.
func TestGroovyLint(t *testing.T) {
	files := filesLike(t, "vars/*.groovy", "../examples/Jenkinsfile*")
	if out, err := debianGroovy(t, "groovy", append([]string{"-cp", "test", "test/lint/main.groovy"}, files...)...); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestGroovyLintFinds: each trap is found, where it is, and nothing else is.
func TestGroovyLintFinds(t *testing.T) {
	files := filesLike(t, "test/lint/traps/*.groovy")
	out, err := debianGroovy(t, "groovy", append([]string{"-cp", "test", "test/lint/main.groovy"}, files...)...)
	if err == nil {
		t.Error("traps are nothing that ends badly")
	}
	found := map[string][]string{} // by FILE:LINE
	line := regexp.MustCompile(`^(.+?:\d+): (.+)$`)
	for text := range strings.Lines(out) {
		if m := line.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			found[m[1]] = append(found[m[1]], m[2])
		} else {
			t.Errorf("what is this? %s", text)
		}
	}
	wanted := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for i, source := range strings.Split(string(text), "\n") {
			at := fmt.Sprintf("%s:%d", file, i+1)
			_, wants, _ := strings.Cut(source, "// want: ")
			for want := range strings.SplitSeq(wants, " | want: ") {
				if want == "" {
					continue
				}
				wanted++
				n := slices.IndexFunc(found[at], func(said string) bool { return strings.HasPrefix(said, want) })
				if n < 0 {
					t.Errorf("%s: not found: %s; found: %q", at, want, found[at])
					continue
				}
				found[at] = slices.Delete(found[at], n, n+1)
			}
			if len(found[at]) > 0 {
				t.Errorf("%s: found for nothing: %q", at, found[at])
			}
		}
	}
	if wanted < 40 {
		t.Errorf("only %d traps", wanted)
	}
}

// TestLibraryForm: what Jenkins takes of the folder is there, each step with its help, and nothing it would choke on.
func TestLibraryForm(t *testing.T) {
	for _, file := range filesLike(t, "vars/*") {
		name := strings.TrimSuffix(strings.TrimSuffix(file, ".groovy"), ".txt")
		for _, end := range []string{".groovy", ".txt"} {
			if _, err := os.Stat(name + end); err != nil {
				t.Error(err)
			}
		}
	}
	options := regexp.MustCompile(`[\[,(\s]([a-zA-Z]+): `)
	help := regexp.MustCompile(`<dt>([a-zA-Z]+)</dt>`)
	shared := optionsOf(t, "vars/aibuildStep.groovy", "settings(Map given", "]\n", options)
	for _, file := range filesLike(t, "vars/*.groovy") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(text), "aibuildStep.settings(options") {
			continue // it is no step for people
		}
		want := append(slices.Clone(shared), "")
		if strings.Contains(string(text), "settings(options, [") {
			want = append(want, optionsOf(t, file, "settings(options, [", "])", options)...)
		}
		txt, err := os.ReadFile(strings.TrimSuffix(file, "groovy") + "txt")
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range help.FindAllStringSubmatch(string(txt), -1) {
			if !slices.Contains(want, m[1]) {
				t.Errorf("%s explains the option %s, which there is not", file, m[1])
			}
		}
		for _, name := range want[len(shared)+1:] {
			if !strings.Contains(string(txt), "<dt>"+name+"</dt>") {
				t.Errorf("%s: nobody explains the option %s", file, name)
			}
		}
	}
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type()&os.ModeSymlink != 0 {
			t.Errorf("%s is a symbolic link: Jenkins does not load a library with one", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// optionsOf are the keys of a map in a source.
func optionsOf(t *testing.T, file, from, to string, key *regexp.Regexp) (names []string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), from)
	body, _, ended := strings.Cut(rest, to)
	if !found || !ended {
		t.Fatalf("%s: no %s … %s", file, from, to)
	}
	for line := range strings.Lines(body) {
		line, _, _ = strings.Cut(line, "//")
		for _, m := range key.FindAllStringSubmatch(" "+line, -1) {
			names = append(names, m[1])
		}
	}
	if len(names) == 0 {
		t.Fatalf("%s: no options", file)
	}
	return names
}
