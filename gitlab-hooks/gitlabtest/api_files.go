package gitlabtest

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"mime"
	"path"
	"slices"
	"strconv"
	"strings"
)

// blob is a file in a commit.
type blob struct {
	mode, id, path string
}

// blobAt finds a file; the path is taken as it is, whatever characters it has.
func (c *call) blobAt(commit, name string) (blob, error) {
	out, err := c.project.repo.git(c.ctx, nil, "--literal-pathspecs", "ls-tree", "-z", "--full-tree", commit, "--", name)
	if err != nil {
		return blob{}, missing(err)
	}
	head, _, _ := strings.Cut(string(out), "\t")
	fields := strings.Fields(head)
	if len(fields) != 3 || fields[1] != "blob" {
		return blob{}, errNoObject
	}
	return blob{mode: fields[0], id: fields[2], path: name}, nil
}

func (c *call) rawFile() (any, error) {
	name := strings.TrimPrefix(c.path["file_path"], "/")
	switch {
	case slices.Contains(strings.Split(name, "/"), ".."), name == "":
		return nil, invalid("file_path should be a valid file path")
	case c.params.has("ref") && c.params.text("ref") == "":
		return nil, invalid("ref is empty")
	}
	commit, err := c.commitAt(c.params.text("ref"))
	if errors.Is(err, errNoObject) {
		return nil, notFound("Commit")
	}
	if err != nil {
		return nil, err
	}
	file, err := c.blobAt(commit, name)
	if errors.Is(err, errNoObject) {
		return nil, notFound("File")
	}
	if err != nil {
		return nil, err
	}
	content, err := c.project.repo.git(c.ctx, nil, "cat-file", "blob", file.id)
	if err != nil {
		return nil, err
	}
	last, err := c.project.repo.git(c.ctx, nil, "--literal-pathspecs", "rev-list", "--max-count=1", commit, "--", name)
	if err != nil {
		return nil, err
	}
	c.blobHeaders(file, commit, strings.TrimSpace(string(last)), content)
	return raw(content), nil
}

func (c *call) blobHeaders(file blob, commit, last string, content []byte) {
	sum := sha256.Sum256(content)
	for name, value := range map[string]string{
		"X-Gitlab-Blob-Id": file.id, "X-Gitlab-Commit-Id": commit, "X-Gitlab-Last-Commit-Id": last, "X-Gitlab-Content-Sha256": hex.EncodeToString(sum[:]),
		"X-Gitlab-Encoding": "base64", "X-Gitlab-Execute-Filemode": strconv.FormatBool(file.mode == "100755"),
		"X-Gitlab-File-Name": toUTF8([]byte(path.Base(file.path))), "X-Gitlab-File-Path": toUTF8([]byte(file.path)),
		"X-Gitlab-Ref": c.params.text("ref"), "X-Gitlab-Size": strconv.Itoa(len(content)),
		"Etag": fmt.Sprintf("W/%q", hex.EncodeToString(sum[:16])), "Cache-Control": "max-age=0, private, must-revalidate, no-store, no-cache",
		"Content-Type":        "text/plain; charset=utf-8",
		"Content-Disposition": mime.FormatMediaType("inline", map[string]string{"filename": path.Base(file.path)}),
	} {
		c.w.Header().Set(name, strings.NewReplacer("\r", "", "\n", "").Replace(value))
	}
}
