package gitlabtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
)

// delta is one changed file. A change of type (a file that becomes a link) is two: a removal and an addition.
type delta struct {
	OldMode, NewMode string // six octal digits
	OldID, NewID     string
	OldPath, NewPath string // equal but for renames; raw bytes
}

func (d delta) added() bool   { return blank(d.OldID) }
func (d delta) removed() bool { return blank(d.NewID) }
func (d delta) renamed() bool { return d.OldPath != d.NewPath }

// deltas compares each commit with its first parent (the first one with the empty tree), renames found at git's own
// similarity, as GitLab does for payloads.
func (r repository) deltas(ctx context.Context, ids []string) (map[string][]delta, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	out, err := r.git(ctx, strings.NewReader(strings.Join(ids, "\n")+"\n"), "diff-tree", "--stdin", "-r", "-z", "--raw", "--root",
		"--no-abbrev", "--find-renames", "--diff-merges=first-parent")
	if err != nil {
		return nil, err
	}
	found := map[string][]delta{}
	current := ""
	for rest := out; len(rest) > 0; {
		if rest[0] != ':' {
			var id []byte
			id, rest, _ = bytes.Cut(rest, []byte{0})
			current = string(id)
			continue
		}
		var entry []delta
		if entry, rest, err = cutDelta(rest); err != nil {
			return nil, err
		}
		found[current] = append(found[current], entry...)
	}
	return found, nil
}

// cutDelta takes one entry off the output of git diff --raw -z.
func cutDelta(b []byte) ([]delta, []byte, error) {
	head, rest, _ := bytes.Cut(b, []byte{0})
	fields := strings.Fields(strings.TrimPrefix(string(head), ":"))
	if len(fields) != 5 {
		return nil, nil, fmt.Errorf("git printed a change as %q", head)
	}
	from, rest, ok := bytes.Cut(rest, []byte{0})
	if !ok {
		return nil, nil, errors.New("git's list of changes is cut off")
	}
	d := delta{OldMode: fields[0], NewMode: fields[1], OldID: fields[2], NewID: fields[3], OldPath: string(from), NewPath: string(from)}
	switch fields[4][0] {
	case 'R', 'C':
		var to []byte
		if to, rest, ok = bytes.Cut(rest, []byte{0}); !ok {
			return nil, nil, errors.New("git's list of changes is cut off")
		}
		d.NewPath = string(to)
	case 'T':
		removed, added := d, d
		removed.NewMode, removed.NewID = zeroMode, strings.Repeat("0", len(d.NewID))
		added.OldMode, added.OldID = zeroMode, strings.Repeat("0", len(d.OldID))
		return []delta{removed, added}, rest, nil
	}
	return []delta{d}, rest, nil
}

const zeroMode = "000000"

// changedPaths sorts deltas as a payload does: a rename is only the new path, as added; the old one is nowhere.
func changedPaths(deltas []delta) (added, modified, removed []string) {
	added, modified, removed = []string{}, []string{}, []string{}
	for _, d := range deltas {
		switch {
		case d.removed():
			removed = append(removed, toUTF8([]byte(d.OldPath)))
		case d.renamed(), d.added():
			added = append(added, toUTF8([]byte(d.NewPath)))
		default:
			modified = append(modified, toUTF8([]byte(d.NewPath)))
		}
	}
	return added, modified, removed
}
