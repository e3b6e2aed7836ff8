package definition

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path"
	"strings"
)

// Recorded is the source as lineage records it: the URL without credentials, query and fragment, or the image's name.
func (f From) Recorded() string {
	if f.Image != "" {
		return f.Image
	}
	return withoutSecrets(f.ISO + f.Disk)
}

// Local is the path of an ISO or disk that lies in the definition's folder; empty when the source is a URL or an image.
func (f From) Local() string {
	if source := f.ISO + f.Disk; !isURL(source) {
		return source
	}
	return ""
}

// ChecksumFile is the path that a checksum file:PATH names, else empty.
func (f From) ChecksumFile() string {
	if name, ok := strings.CutPrefix(f.Checksum, "file:"); ok {
		return clean(name)
	}
	return ""
}

// SourceSHA256 is the digest, in lower-case hex, that the source must have. It reads the file of a checksum file:PATH
// (lines of sha256sum, plain or BSD style; or one bare digest) and wants exactly one digest for the source's file name.
// Both file and source may be made after the definition was loaded. It is empty for a source that is an image.
func (d *Definition) SourceSHA256(fsys fs.FS) (string, error) {
	if d.From.Image != "" {
		return "", nil
	}
	if digest, ok := strings.CutPrefix(d.From.Checksum, "sha256:"); ok {
		return strings.ToLower(digest), nil
	}
	name := path.Join(d.Dir, d.From.ChecksumFile())
	fail := func(message, fix string) error { return Errors{{Path: name, Message: message, Fix: fix}} }
	info, err := lstat(fsys, name)
	if err != nil {
		return "", fail("cannot be read: "+reason(err), "from.checksum names it: run the definition's source.sh or write sha256:HEX instead")
	}
	if !info.Mode().IsRegular() {
		return "", fail("is "+kind(info.Mode())+", not a plain file", "put the file itself here")
	}
	file, err := fsys.Open(name)
	if err != nil {
		return "", fmt.Errorf("read checksum: %w", err)
	}
	defer file.Close() // reading only: nothing can be lost
	source := path.Base(withoutSecrets(d.From.ISO + d.From.Disk))
	found, err := findDigest(io.LimitReader(file, maxFile), source)
	if err != nil {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fail("has no SHA-256 of "+source, "write a line as sha256sum does: HEX, two spaces, file name")
	}
	return "", fail("has different SHA-256 digests of "+source, "keep one line for the file")
}

// findDigest lists the different digests that the lines of a checksum file give for a file name.
func findDigest(r io.Reader, name string) ([]string, error) {
	var found []string
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, maxFile)
	for lines.Scan() {
		digest, of := checksumLine(strings.TrimSpace(lines.Text()))
		if of != "" && path.Base(of) != name || !isSHA256(digest) || seen[digest] {
			continue
		}
		seen[digest] = true
		found = append(found, digest)
	}
	return found, lines.Err()
}

// checksumLine splits "HEX  NAME", "HEX *NAME", "SHA256 (NAME) = HEX" or a bare "HEX".
func checksumLine(line string) (digest, name string) {
	if rest, bsd := strings.CutPrefix(line, "SHA256 ("); bsd {
		name, digest, _ = strings.Cut(rest, ") = ")
		return strings.ToLower(strings.TrimSpace(digest)), name
	}
	digest, name, _ = strings.Cut(line, " ")
	return strings.ToLower(digest), strings.TrimPrefix(strings.TrimSpace(name), "*")
}

func isSHA256(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == 32
}

func isURL(text string) bool { return strings.Contains(text, "://") }

// withoutSecrets removes what an address may hide: user, password, query, fragment.
func withoutSecrets(source string) string {
	if !isURL(source) {
		return source
	}
	u, err := url.Parse(source)
	if err != nil {
		return ""
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	u.ForceQuery = false
	return u.String()
}

// clean is a path without a leading ./ and a final slash; other text stays as it is.
func clean(name string) string {
	if name == "" || isURL(name) {
		return name
	}
	return path.Clean(name)
}
