package jenkins

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// jobPath is where a job is below the URL, as /job/folder/job/name/. The job's path is its full name in Jenkins: the
// names of its folders and its own, with slashes between them. A branch of a multibranch job has its slashes
// escaped in its very name (feature%2Fx), and is escaped once more here.
func (c Client) jobPath(op, path string) (string, error) {
	var escaped strings.Builder
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return "", &Error{Op: op, Reason: ErrConfig, Detail: fmt.Sprintf("%q is no path of a job", path),
				Hint: "give folders and job as in folder/job, without slashes at the ends; a branch as in job/feature%2Fname"}
		}
		escaped.WriteString("/job/" + escape(segment))
	}
	return escaped.String() + "/", nil
}

// unescaped are the bytes that Jenkins itself leaves as they are in its addresses (hudson.Util.rawEncode).
const unescaped = "!$&'()*+,-.0123456789=@ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"

func escape(segment string) string {
	var escaped strings.Builder
	for i := range len(segment) {
		if b := segment[i]; strings.IndexByte(unescaped, b) >= 0 {
			escaped.WriteByte(b)
		} else {
			fmt.Fprintf(&escaped, "%%%02X", b)
		}
	}
	return escaped.String()
}

// segments are the parts of an address' path, unescaped once, below the controller if it begins like ours. The host
// in it says nothing: it is what Jenkins' configuration or a proxy makes of it.
func (c Client) segments(address string) []string {
	parsed, err := url.Parse(address)
	if err != nil {
		return nil
	}
	path := parsed.EscapedPath()
	if own, err := url.Parse(c.base()); err == nil {
		if below, ok := strings.CutPrefix(path, own.EscapedPath()+"/"); ok {
			path = below
		}
	}
	var parts []string
	for part := range strings.SplitSeq(strings.Trim(path, "/"), "/") {
		plain, err := url.PathUnescape(part)
		if err != nil {
			return nil
		}
		parts = append(parts, plain)
	}
	return parts
}

// jobOf reads a job's path out of its address. It is false for everything else, a build of a job too.
func (c Client) jobOf(address string) (string, bool) {
	parts := c.segments(address)
	var names []string
	// Job and a name, again and again; where it is seen in a view, view and a name between them.
	for pair := range slices.Chunk(parts[max(slices.Index(parts, "job"), 0):], 2) {
		switch {
		case len(pair) == 2 && pair[0] == "job" && pair[1] != "":
			names = append(names, pair[1])
		case len(pair) == 2 && pair[0] == "view":
		default:
			return "", false
		}
	}
	return strings.Join(names, "/"), len(names) > 0
}

// buildOf reads job and number out of a build's address.
func (c Client) buildOf(address string) (job string, number int64, ok bool) {
	address, _, _ = strings.Cut(address, "?")
	address = strings.TrimRight(address, "/")
	last := strings.LastIndex(address, "/") + 1
	number, err := strconv.ParseInt(address[last:], 10, 64)
	if err != nil || number < 1 {
		return "", 0, false
	}
	job, ok = c.jobOf(address[:last])
	return job, number, ok
}

// itemOf reads the id out of a queue item's address.
func (c Client) itemOf(address string) (int64, bool) {
	parts := c.segments(address)
	n := len(parts)
	if n < 3 || parts[n-3] != "queue" || parts[n-2] != "item" {
		return 0, false
	}
	id, err := strconv.ParseInt(parts[n-1], 10, 64)
	return id, err == nil && id > 0
}

// redirected says whether an answer sends a browser back to a page of Jenkins' own, rather than to a login or to
// the same address elsewhere.
func redirected(got answer, pages ...string) bool {
	target, err := url.Parse(got.header.Get("Location"))
	if err != nil || got.status != http.StatusFound && got.status != http.StatusSeeOther {
		return false
	}
	return slices.ContainsFunc(pages, func(page string) bool {
		plain, err := url.PathUnescape(page)
		return err == nil && strings.HasSuffix(target.Path, plain)
	})
}
