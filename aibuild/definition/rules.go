package definition

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

var (
	namePattern    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	clusterPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$`)
	userPattern    = regexp.MustCompile(`^[a-z_][a-z0-9_-]{0,31}$`)
	distroPattern  = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+-]*$`)
	varPattern     = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]{0,127}$`)
	parentPattern  = regexp.MustCompile(`^([^@]*)(?:@([1-9][0-9]{0,9}))?$`)
)

// The widths of the columns that hold these values.
const (
	maxDistro  = 20
	maxVersion = 10
	maxSource  = 255
	maxUpdate  = 65535
)

const nameRule = "1 to 63 of a-z 0-9 . _ -, the first a letter or digit"

// rules checks every field by itself; what needs the folder is checked by folder.
func (l *loader) rules(s *settings) {
	l.nameRules(s)
	l.text("os.distro", s.OS.Distro, maxDistro, "such as debian")
	l.text("os.version", s.OS.Version, maxVersion, `such as "12"`)
	l.fromRules(s)
	l.buildRules(s)
	l.outputRules(s)
	l.testRules(s)
	l.releaseRules(s)
	l.tested(s)
	if s.Rebuild != 0 && s.Rebuild < time.Hour {
		l.at("rebuild", "is less than an hour", "write 1h or more, such as 7d")
	}
	if s.FollowParent && s.From.Image == "" {
		l.at("follow_parent", "needs a parent", "set from.image or remove the key")
	}
	if len(s.UpdateContents) > maxUpdate {
		l.at("update_contents", fmt.Sprintf("has %d bytes, the record holds %d", len(s.UpdateContents), maxUpdate), "shorten it")
	}
	if !utf8.ValidString(s.UpdateContents) {
		l.at("update_contents", "is no UTF-8 text", "save the file as UTF-8")
	}
}

func (l *loader) nameRules(s *settings) {
	if _, given := l.lines["name"]; !given {
		l.at("name", "is missing", "write name: my-image")
	} else if why := badName(s.Name); why != "" {
		l.at("name", why, "choose another name: "+nameRule)
	}
	switch s.Arch {
	case "x86_64":
	case "aarch64", "arm64":
		l.at("arch", s.Arch+" is not supported yet", "write x86_64")
	default:
		l.at("arch", fmt.Sprintf("%q is not known", short(s.Arch)), "write x86_64")
	}
}

// badName says what is wrong with the name of an image, empty when nothing is.
func badName(name string) string {
	switch {
	case !namePattern.MatchString(name):
		return fmt.Sprintf("%q is no image name", short(name))
	case slices.Contains(Reserved, name):
		return fmt.Sprintf("%q is a word of the command line", name)
	case uuid.Validate(name) == nil:
		return fmt.Sprintf("%q looks like an image's uuid", name)
	}
	return ""
}

// text checks a required value that a column of limited width must hold.
func (l *loader) text(key, value string, limit int, example string) {
	switch {
	case value == "":
		if !l.reported(key) {
			l.at(key, "is missing", "write a value "+example)
		}
	case len(value) > limit:
		l.at(key, fmt.Sprintf("%q has %d bytes, the record holds %d", short(value), len(value), limit), "shorten it")
	case !distroPattern.MatchString(value):
		l.at(key, fmt.Sprintf("%q has characters other than letters, digits and . _ + -", short(value)), "write a value "+example)
	}
}

// reported says that the strict reader found the value of this very key wrong already: "is missing" would be a lie then.
func (l *loader) reported(key string) bool { return l.bad[key] }

func (l *loader) outputRules(s *settings) {
	l.oneOf("output.format", s.Output.Format, "qcow2", "raw")
	l.oneOf("output.compress", s.Output.Compress, "none", "zlib", "zstd")
	if s.Output.Format == "raw" && s.Output.Compress != "none" {
		l.at("output.compress", "a raw image cannot be compressed", "write compress: none or format: qcow2")
	}
}

func (l *loader) buildRules(s *settings) {
	if s.Build.Template == "" && !l.reported("build.template") {
		l.at("build.template", "is missing", "name the Packer template, such as template: image.pkr.hcl")
	}
	for _, name := range sortedKeys(s.Build.Vars) {
		key, value := "build.vars."+name, s.Build.Vars[name]
		if !varPattern.MatchString(name) {
			l.at(key, "is no name of a Packer variable", "use letters, digits and _")
		}
		if len(value) > 4096 || !utf8.ValidString(value) || strings.ContainsRune(value, 0) {
			l.at(key, "is longer than 4096 bytes or no text", "put large content in a file of the folder")
		}
	}
	l.within("build.timeout", s.Build.Timeout, time.Minute, 7*24*time.Hour)
}

func (l *loader) testRules(s *settings) {
	m := &s.Test.Matrix
	l.choices("test.matrix.firmware", m.Firmware, "bios", "uefi")
	l.choices("test.matrix.disk_bus", m.DiskBus, "virtio", "scsi")
	for _, source := range m.Datasource {
		if source == "metadata" {
			l.at("test.matrix.datasource", "metadata is not supported yet", "write nocloud, configdrive or both")
		}
	}
	rest := slices.DeleteFunc(slices.Clone(m.Datasource), func(source string) bool { return source == "metadata" })
	if len(rest) > 0 || len(m.Datasource) == 0 {
		l.choices("test.matrix.datasource", rest, "nocloud", "configdrive")
	}
	if s.Test.Memory < 64<<20 || s.Test.Memory > 1<<40 {
		l.at("test.memory", s.Test.Memory.String()+" is not between 64MiB and 1TiB", "write a size such as 1GiB")
	}
	if s.Test.CPUs < 1 || s.Test.CPUs > 64 {
		l.at("test.cpus", fmt.Sprintf("%d is not between 1 and 64", s.Test.CPUs), "write a number such as 2")
	}
	if s.Test.User == "" {
		if !l.reported("test.user") {
			l.at("test.user", "is missing", "name the account that gets the SSH key, such as debian")
		}
	} else if !userPattern.MatchString(s.Test.User) {
		l.at("test.user", fmt.Sprintf("%q is no account name", short(s.Test.User)), "use a-z 0-9 _ -, at most 32")
	}
	l.within("test.timeout", s.Test.Timeout, 10*time.Second, 7*24*time.Hour)
}

// within checks a duration. The record of runs, not the template, is what a longer one would hurt: it would look hung.
func (l *loader) within(key string, d, low, high time.Duration) {
	if d < low || d > high {
		l.at(key, fmt.Sprintf("%s is not between %s and %dd", d, low, high/(24*time.Hour)), "write a duration such as 90m")
	}
}

func (l *loader) oneOf(key, value string, allowed ...string) {
	if slices.Contains(allowed, value) {
		return
	}
	fix := "write " + orList(allowed)
	if near := nearest(value, allowed); near != "" {
		fix = fmt.Sprintf("did you mean %q?", near)
	}
	l.at(key, fmt.Sprintf("%q is not known", short(value)), fix)
}

// choices checks a list of words that must not be empty and must not repeat.
func (l *loader) choices(key string, values []string, allowed ...string) {
	if len(values) == 0 {
		l.at(key, "is an empty list", "write one or more of "+strings.Join(allowed, ", ")+", or remove the key")
	}
	for i, value := range values {
		if value == "" && l.reported(fmt.Sprintf("%s.%d", key, i)) {
			continue
		}
		l.oneOf(key, value, allowed...)
		if slices.Contains(values[:i], value) {
			l.at(key, value+" is there twice", "remove one")
		}
	}
}

func orList(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}

// inside checks a path of the definition's own folder; why is empty when it is good.
func inside(name string) (why string) {
	name = strings.TrimSuffix(strings.TrimPrefix(name, "./"), "/")
	switch {
	case strings.HasPrefix(name, "/"):
		return "is an absolute path"
	case strings.IndexFunc(name, unicode.IsControl) >= 0 || strings.ContainsRune(name, '\\') || !utf8.ValidString(name):
		return "has characters that a path here must not have"
	case name == ".." || strings.HasPrefix(name, "../") || strings.Contains(name, "/../") || strings.HasSuffix(name, "/.."):
		return "leads out of the folder"
	case name == "" || name == ".":
		return "names no file"
	case name != path.Clean(name):
		return "is not written plainly"
	case len(name) > 1024:
		return "is longer than 1024 bytes"
	}
	return ""
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
