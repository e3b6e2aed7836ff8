package gitlabtest

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"
)

type compareInfo struct {
	Commit  *commitInfo  `json:"commit"`
	Commits []commitInfo `json:"commits"`
	Diffs   []diffInfo   `json:"diffs"`
	// Overflow is what GitLab calls a timeout: diffs is not complete.
	Overflow bool   `json:"compare_timeout"`
	Same     bool   `json:"compare_same_ref"`
	WebURL   string `json:"web_url"`
}

type diffInfo struct {
	Diff      string `json:"diff"`
	Collapsed bool   `json:"collapsed"`
	TooLarge  bool   `json:"too_large"`
	NewPath   string `json:"new_path"`
	OldPath   string `json:"old_path"`
	AMode     string `json:"a_mode"`
	BMode     string `json:"b_mode"`
	NewFile   bool   `json:"new_file"`
	Renamed   bool   `json:"renamed_file"`
	Deleted   bool   `json:"deleted_file"`
	Generated *bool  `json:"generated_file"`
}

// Limits of GitLab on what a comparison shows, beside diff_max_files.
const (
	maxDiffLines   = 50_000
	maxPatchBytes  = 200 << 10
	bytesPerFile   = 5 << 10 // on average, of all files together
	safeFiles      = 100     // beyond these, patches are left out
	safeLines      = 5000
	safePatchBytes = maxPatchBytes / 10
)

func (c *call) compare() (any, error) {
	var problems []string
	for _, name := range []string{"from", "to"} {
		if !c.params.has(name) {
			problems = append(problems, name+" is missing")
		}
	}
	if len(problems) > 0 {
		return nil, invalid(problems...)
	}
	straight, err := c.params.flag("straight", false)
	if err != nil {
		return nil, err
	}
	from, err := c.project.repo.resolve(c.ctx, c.params.text("from"), "commit")
	if err == nil {
		var to string
		if to, err = c.project.repo.resolve(c.ctx, c.params.text("to"), "commit"); err == nil {
			return c.compareCommits(from, to, straight)
		}
	}
	if errors.Is(err, errNoObject) {
		return nil, notFound("Ref")
	}
	return nil, err
}

func (c *call) compareCommits(from, to string, straight bool) (any, error) {
	ids, err := c.project.repo.revList(c.ctx, 0, "--reverse", "^"+from, to)
	if err != nil {
		return nil, err
	}
	commits, err := c.project.repo.commits(c.ctx, ids...)
	if err != nil {
		return nil, err
	}
	base, dots := from, ".."
	if !straight {
		dots = "..."
		if base, err = c.mergeBase(from, to); err != nil {
			return nil, err
		}
	}
	told := compareInfo{Commits: []commitInfo{}, Same: from == to, WebURL: c.s.webURL(c.project) + "/-/compare/" + orElse(base, from) + dots + to}
	for _, found := range commits {
		told.Commits = append(told.Commits, c.s.tellCommit(c.project, found))
	}
	if len(commits) > 0 {
		told.Commit = &told.Commits[len(commits)-1]
	}
	told.Diffs, told.Overflow, err = c.diffs(base, to)
	return told, err
}

// mergeBase is empty for histories that have nothing in common.
func (c *call) mergeBase(a, b string) (string, error) {
	out, err := c.project.repo.git(c.ctx, nil, "merge-base", a, b)
	if err != nil && !errors.Is(missing(err), errNoObject) {
		return "", err
	}
	return strings.TrimSpace(string(out)), nil
}

// diffs compares two commits, renames found at the similarity that GitLab shows them at, which is lower than the one of
// payloads. Nothing in common with the base means a comparison with the empty tree.
func (c *call) diffs(base, to string) ([]diffInfo, bool, error) {
	if base == "" {
		out, err := c.project.repo.git(c.ctx, strings.NewReader(""), "hash-object", "-t", "tree", "--stdin")
		if err != nil {
			return nil, false, err
		}
		base = strings.TrimSpace(string(out))
	}
	common := []string{"--find-renames=30%", "--full-index", "--no-abbrev", "--no-ext-diff", "--no-textconv", "--no-color", base, to}
	out, err := c.project.repo.git(c.ctx, nil, append([]string{"diff-tree", "-r", "-z", "--raw"}, common...)...)
	if err != nil {
		return nil, false, err
	}
	patches, err := c.project.repo.git(c.ctx, nil, append([]string{"diff-tree", "-r", "--patch"}, common...)...)
	if err != nil {
		return nil, false, err
	}
	var all []delta
	for len(out) > 0 {
		var entry []delta
		if entry, out, err = cutDelta(out); err != nil {
			return nil, false, err
		}
		all = append(all, entry...)
	}
	limits := diffLimits{files: c.s.opts.DiffMaxFiles, expand: len(all) == 1}
	told := []diffInfo{}
	for _, d := range all {
		var patch []byte
		patch, patches = cutPatch(patches)
		info, over := limits.show(d, patch)
		if over {
			return told, true, nil
		}
		told = append(told, info)
	}
	return told, false, nil
}

// cutPatch takes the patch of one file off git's output: what is left of it begins at the first hunk.
func cutPatch(b []byte) (patch, rest []byte) {
	const start = "diff --git "
	if next := bytes.Index(b, []byte("\n"+start)); next >= 0 {
		b, rest = b[:next+1], b[next+1:]
	}
	for _, mark := range []string{"\n@@", "\nBinary files "} {
		if i := bytes.Index(b, []byte(mark)); i >= 0 {
			return b[i+1:], rest
		}
	}
	return nil, rest
}

// diffLimits counts what has been shown.
type diffLimits struct {
	files, shown, lines, bytes int
	expand                     bool // a single file is never collapsed
}

// show gives an entry, without its patch where that is too large or there have been many; over says that the entry is
// beyond the limits, and so are all that follow.
func (l *diffLimits) show(d delta, patch []byte) (info diffInfo, over bool) {
	info = diffInfo{
		NewPath: toUTF8([]byte(d.NewPath)), OldPath: toUTF8([]byte(d.OldPath)), AMode: trimMode(d.OldMode), BMode: trimMode(d.NewMode),
		NewFile: d.added(), Renamed: d.renamed(), Deleted: d.removed(),
	}
	l.shown++
	lines := bytes.Count(patch, []byte("\n"))
	safe := l.shown <= min(l.files, safeFiles) && l.lines+lines <= safeLines && l.bytes+len(patch) <= min(l.files, safeFiles)*bytesPerFile
	switch {
	case len(patch) >= maxPatchBytes:
		info.TooLarge, patch, lines = true, nil, 0
	case !l.expand && (len(patch) >= safePatchBytes || !safe && lines > 0):
		info.Collapsed, patch, lines = true, nil, 0
	}
	l.lines, l.bytes = l.lines+lines, l.bytes+len(patch)
	if l.shown > l.files || l.lines >= maxDiffLines || l.bytes >= l.files*bytesPerFile {
		return info, true
	}
	info.Diff = string(patch)
	if bytes.IndexByte(patch, 0) >= 0 {
		info.Diff = "Binary files " + info.OldPath + " and " + info.NewPath + " differ\n"
	} else if !utf8.Valid(patch) {
		info.Diff = strings.ToValidUTF8(info.Diff, "\uFFFD")
	}
	return info, false
}

// trimMode writes a mode as GitLab does here: "0" for nothing.
func trimMode(mode string) string { return orElse(strings.TrimLeft(mode, "0"), "0") }
