package definition

import (
	"bufio"
	"fmt"
	"io"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	casePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	tagPattern  = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,31}$`)
	// casePrefix is the marker of a header line behind any comment leader: # // -- ; % REM.
	casePrefix = regexp.MustCompile(`^\s*(?:#|//|--|;|%|/\*|<!--|REM\b|rem\b|")+\s*aibuild:(.*)$`)
)

const (
	headerLines = 20
	headerBytes = 64 << 10
	maxCases    = 1000
	maxRetries  = 5
)

// casesRules finds the cases: the executables directly in the folder of cases. Other files there are data.
func (l *loader) casesRules(d *Definition) error {
	given := d.Test.Cases != ""
	if !given {
		d.Test.Cases = defaultCases
	}
	if why := inside(d.Test.Cases); why != "" {
		l.at("test.cases", fmt.Sprintf("%q %s", short(d.Test.Cases), why), "name a folder below this one")
		return nil
	}
	found, folder := l.tree.has(d.Test.Cases)
	if found != nil || !folder {
		if given {
			l.at("test.cases", fmt.Sprintf("%q is no folder with files in it", short(d.Test.Cases)), "make it, or remove the key")
		}
		d.Test.Cases = ""
		return nil
	}
	names := map[string]string{}
	for _, file := range l.tree.files {
		if path.Dir(file.name) != d.Test.Cases || !file.executable {
			continue
		}
		c, err := l.readCase(file)
		if err != nil {
			return err
		}
		if other, twice := names[c.Name]; twice {
			l.caseProblem(file.name, 0, fmt.Sprintf("has the same case name as %s: %s", other, c.Name), "rename one of them")
		}
		names[c.Name] = file.name
		d.Cases = append(d.Cases, c)
	}
	if given && len(d.Cases) == 0 {
		l.at("test.cases", fmt.Sprintf("%q holds no executable", short(d.Test.Cases)), "make the cases executable with chmod +x (git update-index --chmod=+x FILE), or remove the key")
	}
	if len(d.Cases) > maxCases {
		l.at("test.cases", fmt.Sprintf("holds %d cases, more than %d", len(d.Cases), maxCases), "join some of them")
	}
	return nil
}

func (l *loader) caseProblem(name string, line int, message, fix string) {
	l.problems = append(l.problems, Problem{Path: path.Join(l.dir, name), Line: line, Message: message, Fix: fix})
}

// readCase reads the header of one case. A header is a comment such as
//
//	# aibuild: timeout=30s sudo retries=2 isolated tags=net,slow
func (l *loader) readCase(f file) (Case, error) {
	base := path.Base(f.name)
	c := Case{Name: strings.TrimSuffix(base, path.Ext(base)), Path: f.name, Timeout: defaultCaseTimeout}
	if !casePattern.MatchString(c.Name) {
		l.caseProblem(f.name, 0, "is no name for a case", "use letters, digits and . _ -, at most 128")
	}
	opened, err := l.fsys.Open(f.content)
	if err != nil {
		return c, fmt.Errorf("read case: %w", err)
	}
	defer opened.Close() // reading only: nothing can be lost
	lines := bufio.NewScanner(io.LimitReader(opened, headerBytes))
	lines.Buffer(nil, headerBytes+1)
	for number := 1; number <= headerLines && lines.Scan(); number++ {
		parts := casePrefix.FindStringSubmatch(lines.Text())
		if parts == nil {
			continue
		}
		text := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSpace(parts[1]), "*/"), "-->")
		for _, word := range strings.Fields(text) {
			if message, fix := c.set(word); message != "" {
				l.caseProblem(f.name, number, message, fix)
			}
		}
	}
	if err := lines.Err(); err != nil {
		return c, fmt.Errorf("read case %s: %w", f.name, err)
	}
	return c, nil
}

// set takes one word of a header; message is empty when it was good.
func (c *Case) set(word string) (message, fix string) {
	key, value, hasValue := strings.Cut(word, "=")
	flag := map[string]*bool{"sudo": &c.Sudo, "isolated": &c.Isolated}[key]
	switch {
	case flag != nil && hasValue:
		return key + " takes no value", "write " + key + " alone"
	case flag != nil:
		*flag = true
		return "", ""
	}
	switch key {
	case "timeout":
		d, err := ParseDuration(value)
		if err != nil || d < time.Second || d > 24*time.Hour {
			return fmt.Sprintf("timeout %q is not between 1s and 24h", short(value)), "write timeout=30s"
		}
		c.Timeout = d
	case "retries":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 || n > maxRetries {
			return fmt.Sprintf("retries %q is not between 0 and %d", short(value), maxRetries), "write retries=2"
		}
		c.Retries = n
	case "tags":
		for _, tag := range strings.Split(value, ",") {
			if !tagPattern.MatchString(tag) {
				return fmt.Sprintf("tag %q is no word", short(tag)), "write tags=net,slow: a-z 0-9 _ -"
			}
			c.Tags = append(c.Tags, tag)
		}
	default:
		known := []string{"isolated", "retries", "sudo", "tags", "timeout"}
		if near := nearest(key, known); near != "" {
			return fmt.Sprintf("unknown word %q", short(key)), fmt.Sprintf("did you mean %q?", near)
		}
		return fmt.Sprintf("unknown word %q", short(key)), "known words are " + strings.Join(known, ", ")
	}
	return "", ""
}
