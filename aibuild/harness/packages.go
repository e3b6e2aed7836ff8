package harness

import (
	"bytes"
	"cmp"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

//go:embed packages.sh
var packagesScript string

// Package is one package that is installed in an image.
type Package struct {
	Manager string `json:"manager"` // dpkg, rpm or apk
	Name    string `json:"name"`
	Arch    string `json:"arch"`
	Version string `json:"version"` // with its epoch and release, as the manager writes them
}

// Inventory is what the package managers of one booted guest say is installed.
// It is no part of the verdict.
type Inventory struct {
	Cell  string `json:"cell"`  // where it was taken
	Count int    `json:"count"` // of Packages
	// Complete says that every database that was found could be read; without any
	// there is nothing to list.
	Complete bool `json:"complete"`
	// Notes say what is not as it should be, and what the guest does not have.
	Notes []string `json:"notes,omitempty"`
	// Evidence is the file below Plan.Evidence that holds the packages.
	Evidence string    `json:"evidence"`
	Packages []Package `json:"-"` // ordered by all their fields, none twice
}

// packagesFile holds a line for each package, with tabs between its fields.
const packagesFile = "packages.txt"

// maxListing bounds what a guest may say about its packages: forty times what a
// full desktop says.
const maxListing = 16 << 20

// stock is the one inventory of a test: the first cell that comes to it takes it,
// and where that fails another one may.
type stock struct {
	mu   sync.Mutex
	busy bool
	list *Inventory
}

// begin says whether the caller is to take the inventory.
func (s *stock) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.busy || s.list != nil && s.list.Complete {
		return false
	}
	s.busy = true
	return true
}

func (s *stock) end(list *Inventory) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.busy = false
	if list != nil {
		s.list = list
	}
}

// takeInventory asks the guest, unless another cell has, before any case can
// install something. Its error is the guest's end or ours; all else is a note.
func (c *cellRun) takeInventory(ctx context.Context) error {
	if !c.plan.Inventory || !c.stock.begin() {
		return nil
	}
	list, err := c.m.inventory(ctx)
	if err != nil {
		c.stock.end(nil)
		return err
	}
	list.Cell, list.Evidence = c.cell.String(), packagesFile
	c.stock.end(list)
	if err := writeTo(filepath.Join(c.plan.Evidence, packagesFile), list.write); err != nil {
		return &untold{fmt.Errorf("keep the list of packages: %w", err)}
	}
	return nil
}

// write writes the notes as comments, then the packages.
func (l *Inventory) write(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %d packages, in %s\n", l.Count, l.Cell)
	for _, note := range l.Notes {
		fmt.Fprintf(&b, "# %s\n", note)
	}
	for _, p := range l.Packages {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\n", p.Manager, p.Name, p.Arch, p.Version)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// inventory runs the script in the guest.
func (m *machine) inventory(ctx context.Context) (*Inventory, error) {
	limit := m.scaled(time.Minute)
	limited, cancel := context.WithTimeoutCause(ctx, limit, errLate)
	defer cancel()
	var out, stderr listing
	err := m.shell.run(limited, "exec sh -c "+quote(asRoot), strings.NewReader(packagesScript), &out, &stderr)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, errLate):
		// The program may go on: its connection is not used any more.
		m.shell.close()
		return unlisted("its packages are not known: the guest did not list them within %.0f s", limit.Seconds()), m.reconnect(ctx)
	case out.over:
		return unlisted("its packages are not known: the list has more than %d MiB", maxListing>>20), nil
	}
	list := readPackages(out.Bytes())
	if list.Complete || err == nil {
		return list, nil
	}
	var exit *ssh.ExitError
	if errors.As(err, &exit) { // the notes say how far it came
		return list, nil
	}
	err = m.explain(ctx, err)
	var broken *brokenError
	if errors.As(err, &broken) {
		return unlisted("its packages are not known: %v", err), nil
	}
	return list, err
}

func unlisted(format string, args ...any) *Inventory {
	return &Inventory{Notes: []string{fmt.Sprintf(format, args...)}}
}

// listing keeps what is written to it, up to a limit.
type listing struct {
	bytes.Buffer
	over bool
}

func (l *listing) Write(p []byte) (int, error) {
	if l.over = l.over || l.Len()+len(p) > maxListing; l.over {
		return len(p), nil
	}
	return l.Buffer.Write(p)
}

const packagesMarker = "@aibuild-packages-1"

// readPackages reads what packages.sh printed. Anything may stand before it.
func readPackages(out []byte) *Inventory {
	r := packageReader{list: &Inventory{Complete: true}, found: map[string]int{}}
	begun, ended := false, false
	for line := range bytes.SplitSeq(out, []byte("\n")) {
		text := string(bytes.TrimRight(line, "\r"))
		switch {
		case !begun:
			begun = text == packagesMarker
		case text == "@end":
			ended = true
		case strings.HasPrefix(text, "@"):
			r.section(text[1:])
		default:
			r.line(text)
		}
	}
	r.flush()
	if !ended {
		r.incomplete("the guest stopped in the middle of listing them; it said %q", lastLine(printable(out)))
	}
	return r.finish()
}

// packageReader reads the sections one after the other.
type packageReader struct {
	list    *Inventory
	manager string
	found   map[string]int    // packages by manager
	fields  map[string]string // of the entry that is being read
	odd     []string          // entries that are none
	half    []string          // packages that are not installed to the end
}

func (r *packageReader) incomplete(format string, args ...any) {
	r.list.Complete = false
	r.list.Notes = append(r.list.Notes, fmt.Sprintf(format, args...))
}

func (r *packageReader) section(head string) {
	r.flush()
	if failed, ok := strings.CutPrefix(head, "failed "); ok {
		manager, why, _ := strings.Cut(failed, " ")
		r.incomplete("the database of %s cannot be read: %s", printable([]byte(manager)), printable([]byte(why)))
		return
	}
	r.manager = head
	r.found[head] += 0
}

// line is one line of a database. Those of dpkg and apk have entries of several
// lines with empty ones between them; rpm writes an entry in each.
func (r *packageReader) line(text string) {
	if r.manager == "rpm" {
		f := strings.Split(text, "\t")
		if len(f) == 3 {
			r.add(f[0], f[2], f[1])
		} else if strings.TrimSpace(text) != "" {
			r.odd = append(r.odd, text)
		}
		return
	}
	if strings.TrimSpace(text) == "" {
		r.flush()
		return
	}
	key, value, ok := strings.Cut(text, ":")
	if !ok || r.manager == "" {
		r.odd = append(r.odd, text)
		return
	}
	if _, again := r.fields[key]; again { // the empty line before it is missing
		r.flush()
	}
	if r.fields == nil {
		r.fields = map[string]string{}
	}
	r.fields[key] = strings.TrimSpace(value)
}

// flush takes the entry that has been read.
func (r *packageReader) flush() {
	f := r.fields
	r.fields = nil
	switch {
	case f == nil:
	case r.manager == "apk":
		r.add(f["P"], f["A"], f["V"])
	default:
		// "install ok installed"; files of status.d have no such line.
		words := strings.Fields(f["Status"])
		state := "installed"
		if len(words) > 0 {
			state = words[len(words)-1]
		}
		if state == "not-installed" || state == "config-files" {
			return // its files are gone
		}
		if state != "installed" {
			r.half = append(r.half, f["Package"]+" ("+state+")")
		}
		r.add(f["Package"], f["Architecture"], f["Version"])
	}
}

func (r *packageReader) add(name, arch, version string) {
	p := Package{Manager: r.manager, Name: printable([]byte(strings.TrimSpace(name))), Arch: printable([]byte(strings.TrimSpace(arch))), Version: printable([]byte(strings.TrimSpace(version)))}
	if p.Name == "" || p.Version == "" {
		r.odd = append(r.odd, strings.TrimSpace(name+" "+version))
		return
	}
	if r.manager == "rpm" && p.Name == "gpg-pubkey" { // rpm keeps the keys that it trusts among the packages
		return
	}
	r.list.Packages = append(r.list.Packages, p)
	r.found[r.manager]++
}

func (r *packageReader) finish() *Inventory {
	l := r.list
	if len(r.odd) > 0 {
		r.incomplete("%d entries cannot be read, such as %q", len(r.odd), lastLine(printable([]byte(r.odd[0]))))
	}
	for _, manager := range slices.Sorted(maps.Keys(r.found)) {
		if r.found[manager] == 0 && l.Complete {
			l.Notes = append(l.Notes, "the database of "+printable([]byte(manager))+" names no package")
		}
	}
	if len(r.found) == 0 && l.Complete {
		l.Notes = append(l.Notes, "the guest has no database of dpkg, rpm or apk")
	}
	if len(r.half) > 0 {
		l.Notes = append(l.Notes, fmt.Sprintf("not installed to the end: %s", some(r.half)))
	}
	slices.SortFunc(l.Packages, func(a, b Package) int {
		return cmp.Or(cmp.Compare(a.Manager, b.Manager), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Arch, b.Arch), cmp.Compare(a.Version, b.Version))
	})
	l.Packages = slices.Compact(l.Packages)
	l.Count = len(l.Packages)
	return l
}

// some are the first of a list of words, and how many more there are.
func some(words []string) string {
	const most = 10
	text := printable([]byte(strings.Join(words[:min(len(words), most)], ", ")))
	if len(words) > most {
		text += fmt.Sprintf(" and %d more", len(words)-most)
	}
	return text
}
