package packer

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// qemuBuilder is the id of the artifacts of Packer's qemu builder, in every
// version and in the plugin.
const qemuBuilder = "transcend.qemu"

// notImages end the names of files that builders and post-processors put beside
// an image.
var notImages = []string{
	".md5", ".sha1", ".sha224", ".sha256", ".sha384", ".sha512", ".checksum", ".sums", "sums", ".sig", ".asc",
	".json", ".log", ".txt", ".xml", ".fd", ".iso",
}

// image finds the image among what Packer says it made. Every post-processor
// that passes the image on makes Packer list it once more.
func (d said) image(build, cwd string) (string, error) {
	var found, seen []string
	for _, a := range d.artifacts {
		for _, file := range a.files {
			if !filepath.IsAbs(file) {
				file = filepath.Join(cwd, file)
			}
			if slices.Contains(seen, file) {
				continue
			}
			seen = append(seen, file)
			if a.builder == qemuBuilder && a.build == build && isImage(file) {
				found = append(found, file)
			}
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("the build made several disks (%s); an image is one disk: leave disk_additional_size out", baseNames(found))
	case len(seen) > 0:
		return "", fmt.Errorf("none of the files that packer names (%s) is a disk image of the qemu builder that is still there; a post-processor may have replaced it: leave it out, or set keep_input_artifact", baseNames(seen))
	case len(d.artifacts) > 0:
		return "", fmt.Errorf("packer's artifacts have no files")
	}
	return "", fmt.Errorf("packer named no artifact")
}

func isImage(file string) bool {
	name := strings.ToLower(filepath.Base(file))
	if slices.ContainsFunc(notImages, func(end string) bool { return strings.HasSuffix(name, end) }) {
		return false
	}
	info, err := os.Lstat(file)
	return err == nil && info.Mode().IsRegular() && info.Size() > 0
}

func baseNames(files []string) string {
	names := make([]string, 0, len(files))
	for _, f := range files[:min(len(files), 5)] {
		names = append(names, filepath.Base(f))
	}
	return strings.Join(names, ", ")
}

// format is what the template makes: never what the file looks like, as a raw
// disk's content is the guest's to choose.
func (s Source) format(path string, values map[string]any, tpl *Template) (string, error) {
	format := "qcow2"
	if a, ok := s.attrs["format"]; ok {
		switch {
		case a.bare != "":
			v, _ := tpl.variable(a.bare)
			format = v.Default
			if value, ok := values[a.bare].(string); ok {
				format = value
			}
		case a.literal && a.text != "":
			format = a.text
		default:
			return "", fmt.Errorf("the template computes its format; write qcow2 or raw, or use a variable")
		}
	}
	if format != "qcow2" && format != "raw" {
		return "", fmt.Errorf("the template makes %q images; write qcow2 or raw", format)
	}
	if format == "raw" {
		return format, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	magic := make([]byte, 4)
	if _, err := io.ReadFull(f, magic); err != nil || !bytes.Equal(magic, []byte("QFI\xfb")) {
		return "", fmt.Errorf("%s should be qcow2 and is not", path)
	}
	return format, nil
}
