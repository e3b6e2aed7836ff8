package lineage

import (
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// packageRows is how many packages one statement inserts.
const packageRows = 500

// inventory replaces what is known to be installed in an image, and says in
// build_log what changed since the image before.
func (w writer) inventory(r Record) error {
	var name string
	var number int
	ok, err := w.get("SELECT name, number FROM image WHERE uuid = ? FOR UPDATE", []any{r.ImageUUID}, &name, &number)
	if err != nil {
		return err
	}
	if !ok {
		return fmt.Errorf("image %s: %w", r.ImageUUID, ErrNotFound)
	}
	if stale, err := w.staleInventory(r); err != nil || stale {
		return err
	}
	list := slices.SortedFunc(slices.Values(r.Inventory.Packages), comparePackages)
	if err := w.exec("DELETE FROM image_package WHERE image_uuid = ?", r.ImageUUID); err != nil {
		return err
	}
	for some := range slices.Chunk(list, packageRows) {
		args := make([]any, 0, 5*len(some))
		for _, p := range some {
			args = append(args, r.ImageUUID, p.Manager, p.Name, p.Arch, p.Version)
		}
		if err := w.exec("INSERT INTO image_package (image_uuid, manager, name, arch, version) VALUES "+rowsOf("(?, ?, ?, ?, ?)", len(some)), args...); err != nil {
			return err
		}
	}
	return w.packageChanges(r.ImageUUID, Image{Name: name, Number: number}, list)
}

const laterListSQL = "SELECT 1 FROM event WHERE image_uuid = ? AND verb = ? AND at > ? LIMIT 1"

// staleInventory: a later one is there, which was delivered before, or a complete one.
func (w writer) staleInventory(r Record) (bool, error) {
	var one int
	late, err := w.get(laterListSQL, []any{r.ImageUUID, VerbListed, r.At}, &one)
	if err != nil || late || r.Inventory.Complete {
		return late, err
	}
	return w.get("SELECT 1 FROM image_package WHERE image_uuid = ? LIMIT 1", []any{r.ImageUUID}, &one)
}

// lookBack is how many images of the name are looked at for one whose packages
// are known.
const lookBack = 100

const previousListSQL = `SELECT i.uuid, i.number FROM image i FORCE INDEX (name_number)
	WHERE i.name = ? AND i.number < ? AND i.number >= ? AND EXISTS (SELECT 1 FROM image_package p WHERE p.image_uuid = i.uuid)
	ORDER BY i.number DESC LIMIT 1`

const packagesSQL = "SELECT manager, name, arch, version FROM image_package FORCE INDEX (PRIMARY) WHERE image_uuid = ? ORDER BY manager, name, arch, version"

// packageChanges tells in update_contents what changed since the image of the
// name before whose packages are known.
func (w writer) packageChanges(uuid string, img Image, list []Package) error {
	var before Image
	found, err := w.get(previousListSQL, []any{img.Name, img.Number, img.Number - lookBack}, &before.UUID, &before.Number)
	if err != nil || !found {
		return err
	}
	before.Name = img.Name
	old, err := readPackages(w.ctx, w.tx, before.UUID)
	if err != nil {
		return err
	}
	var contents sql.NullString
	logged, err := w.get("SELECT update_contents FROM build_log WHERE image_uuid = ? FOR UPDATE", []any{uuid}, &contents)
	if err != nil || !logged {
		return err
	}
	text := withPackages(contents.String, DiffPackages(old, list).summary(before, img))
	if text == contents.String {
		return nil
	}
	return w.exec("UPDATE build_log SET update_contents = ? WHERE image_uuid = ?", text, uuid)
}

// packagesHead begins the part of update_contents that tells of packages, and
// packagesLine is its whole first line.
const packagesHead = "packages since "

var packagesLine = regexp.MustCompile(`^` + packagesHead + `\S+@[0-9]+: (none changed|[0-9]+ (added|removed|upgraded|downgraded)(, [0-9]+ (removed|upgraded|downgraded))*)$`)

// maxChanges is how many changes are told one by one.
const maxChanges = 100

// summary are the lines for update_contents: the numbers, then the changes.
func (d PackageDiff) summary(before, img Image) []string {
	head := packagesHead + before.Ref() + ": "
	all := len(d.Added) + len(d.Removed) + len(d.Changed)
	if all == 0 {
		return []string{head + "none changed"}
	}
	lines := []string{head + d.Counts()}
	for _, c := range d.Changed {
		lines = append(lines, fmt.Sprintf("  %s %s -> %s", c.title(), c.From, c.To))
	}
	for _, p := range d.Added {
		lines = append(lines, fmt.Sprintf("  + %s %s", p.title(), p.Version))
	}
	for _, p := range d.Removed {
		lines = append(lines, fmt.Sprintf("  - %s %s", p.title(), p.Version))
	}
	if left := all - maxChanges; left > 0 {
		lines = append(lines[:1+maxChanges], fmt.Sprintf("  and %d more: aibuild image diff %s %s", left, before.Ref(), img.Ref()))
	}
	return lines
}

// withPackages puts the lines at the end of a text, in the place of earlier ones.
// Where not all of them fit into the column, the last of them do; where none do,
// the text stays as it is.
func withPackages(text string, lines []string) string {
	text = withoutPackages(text)
	room := textMax - len(text) - len("\n")
	last := ""
	if len(lines) > 1 && len(strings.Join(lines, "\n")) > room {
		last = "  and more than fits here: aibuild image diff"
		room -= len(last) + 1
	}
	var told []string
	for _, line := range lines {
		if room -= len(line) + 1; room < 0 {
			break
		}
		told = append(told, line)
	}
	if len(told) == 0 {
		return text
	}
	if last != "" {
		told = append(told, last)
	}
	if text != "" {
		text = strings.TrimRight(text, "\n") + "\n"
	}
	return text + strings.Join(told, "\n")
}

// withoutPackages takes the part out that tells of packages.
func withoutPackages(text string) string {
	var kept []string
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		inside = packagesLine.MatchString(line) || inside && strings.HasPrefix(line, "  ")
		if !inside {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "\n")
}
