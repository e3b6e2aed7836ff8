package publish

import (
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	top      = "images"
	sumsFile = "SHA256SUMS"
	journal  = "manifest.json" // in images/build; it changes while the image lives, so it has no digest and is not released
	story    = "image.json"    // in images/release; it changes as the image goes on its way, so it has no digest either
	latest   = "latest"
	lockFile = ".lock"
)

// File names one file of an image, such as {Release, "debian-12", id, "evidence/serial.log"}.
type File struct{ Area, Name, UUID, File string }

func (f File) path() string { return path.Join(top, f.Area, f.Name, f.UUID, f.File) }

func (f File) check() error {
	if err := checkImage(f.Area, f.Name, f.UUID); err != nil {
		return err
	}
	return checkFile(f.File)
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

func checkImage(area, name, id string) error {
	switch {
	case area != Build && area != Release:
		return &BadName{"area", area, Build + " or " + Release}
	case !namePattern.MatchString(name):
		return &BadName{"image name", name, "1 to 63 of a-z 0-9 . _ -, the first a letter or digit"}
	case !isUUID(id):
		return &BadName{"uuid", id, "36 characters of lower-case hex and -"}
	}
	return nil
}

// isUUID accepts the one canonical form only, as the folder's name is compared and sorted as text.
func isUUID(text string) bool {
	return len(text) == 36 && uuid.Validate(text) == nil && strings.ToLower(text) == text
}

// checkFile accepts plain relative paths. Hidden names are ours.
func checkFile(name string) error {
	bad := name == "" || len(name) > 512 || path.IsAbs(name) || path.Clean(name) != name || !utf8.ValidString(name) ||
		strings.ContainsRune(name, '\\') || strings.IndexFunc(name, unicode.IsControl) >= 0
	for _, step := range strings.Split(name, "/") {
		bad = bad || strings.HasPrefix(step, ".")
	}
	if bad {
		return &BadName{"file name", name, "a relative path without hidden names, at most 512 bytes"}
	}
	return nil
}

// URL is the address of a file on the web server, or of the image's folder when f.File is empty; empty without Config.URL.
func (s *Site) URL(f File) string {
	if s.config.URL == "" {
		return ""
	}
	segments := strings.Split(f.path(), "/")
	for i := range segments {
		segments[i] = url.PathEscape(segments[i])
	}
	address := strings.TrimSuffix(s.config.URL, "/") + "/" + strings.Join(segments, "/")
	if f.File == "" {
		address += "/"
	}
	return address
}
