package definition

import (
	"fmt"
	"net/url"
	"strings"
)

// fromRules checks that there is one source, where it is, and how its bytes are proven.
func (l *loader) fromRules(s *settings) {
	f := &s.From
	var given []string
	for _, kind := range []string{"iso", "disk", "image"} {
		if _, ok := l.lines["from."+kind]; ok {
			given = append(given, kind)
		}
	}
	switch {
	case l.reported("from"):
		return
	case len(given) == 0:
		l.at("from", "names no source", "write exactly one of iso, disk and image")
		return
	case len(given) > 1:
		l.at("from", "names more than one source: "+strings.Join(given, ", "), "keep exactly one of iso, disk and image")
	}
	_, checksum := l.lines["from.checksum"]
	for _, kind := range given {
		switch kind {
		case "iso":
			l.sourceRules("from.iso", f.ISO)
		case "disk":
			l.sourceRules("from.disk", f.Disk)
		case "image":
			l.parentRules(s)
		}
	}
	switch {
	case len(given) > 1:
	case given[0] == "image" && checksum:
		l.at("from.checksum", "does not belong to from.image: aibuild knows the digest of its own images", "remove it")
	case given[0] == "image":
	case !checksum:
		l.at("from."+given[0], "has no checksum", "add checksum: sha256:HEX or checksum: file:PATH")
	case !l.reported("from.checksum"):
		l.checksumRules(f.Checksum)
	}
}

func (l *loader) sourceRules(key, source string) {
	if source == "" {
		if !l.reported(key) {
			l.at(key, "is empty", "write an https URL or a path in the folder")
		}
		return
	}
	if !isURL(source) {
		if why := inside(source); why != "" {
			l.at(key, fmt.Sprintf("%q %s", short(source), why), "name a file of this folder, or an https URL")
		} else if len(clean(source)) > maxSource {
			l.at(key, fmt.Sprintf("has %d bytes, the record holds %d", len(source), maxSource), "use a shorter path")
		}
		return
	}
	u, err := url.Parse(source)
	switch {
	case err != nil:
		l.at(key, "is no URL", "write https://HOST/PATH")
	case u.Scheme == "http":
		l.at(key, "http can be changed on its way", "use https, or download the file into the folder and name its path")
	case u.Scheme != "https":
		l.at(key, fmt.Sprintf("%s:// is not supported", short(u.Scheme)), "use https, or a path in the folder")
	case u.Hostname() == "" || strings.Trim(u.Path, "/") == "":
		l.at(key, "the URL names no file", "write https://HOST/PATH")
	case u.User != nil: // the definition is published beside its image
		l.at(key, "the URL holds credentials, which would be published with the image", "download the file into the folder and name its path, or serve it to this machine without a login")
	case len(withoutSecrets(source)) > maxSource:
		l.at(key, fmt.Sprintf("the URL has %d bytes, the record holds %d", len(withoutSecrets(source)), maxSource), "use a shorter address")
	}
}

func (l *loader) checksumRules(checksum string) {
	method, value, _ := strings.Cut(checksum, ":")
	switch {
	case method == "sha256":
		if !isSHA256(value) {
			l.at("from.checksum", "has no 64 hexadecimal digits after sha256:", "copy the whole line of sha256sum's first column")
		}
	case method == "file":
		if strings.HasPrefix(value, "//") || isURL(value) {
			l.at("from.checksum", "file: names a file of this folder, no URL", "download the checksum file into the folder")
		} else if why := inside(value); why != "" {
			l.at("from.checksum", fmt.Sprintf("%q %s", short(value), why), "name a file of this folder")
		}
	case checksum == "none":
		l.at("from.checksum", "none would accept any bytes", "write sha256:HEX or file:PATH")
	case isSHA256(checksum):
		l.at("from.checksum", "does not say its method", "write sha256: before it")
	default:
		l.at("from.checksum", fmt.Sprintf("%q is not known", short(method)), "write sha256:HEX or file:PATH")
	}
}

// parentRules checks NAME or NAME@N.
func (l *loader) parentRules(s *settings) {
	if s.From.Image == "" && l.reported("from.image") {
		return
	}
	parts := parentPattern.FindStringSubmatch(s.From.Image)
	switch {
	case parts == nil:
		l.at("from.image", fmt.Sprintf("%q is neither NAME nor NAME@N", short(s.From.Image)), "write the parent's name, with @N to stay at one version")
	case badName(parts[1]) != "":
		l.at("from.image", badName(parts[1]), "write the parent's name: "+nameRule)
	case parts[1] == s.Name:
		l.at("from.image", "an image cannot be its own parent", "name another image")
	}
}
