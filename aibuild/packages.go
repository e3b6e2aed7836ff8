package aibuild

import (
	"context"
	"fmt"
	"strings"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// verbNoted is a remark on an image.
const verbNoted = "noted"

// recordPackages records what a test found installed. It is a record of its own:
// a verdict never depends on a list of packages. What could not be listed becomes
// a remark in the audit.
func (p *Pipeline) recordPackages(ctx context.Context, img *Image, list *harness.Inventory) error {
	if list == nil || list.Complete && len(list.Packages) == 0 {
		return nil // no guest came so far, or it has no package manager
	}
	inventory, notes := inventoryOf(list)
	record := lineage.Record{Verb: lineage.VerbListed, Reason: short(strings.Join(notes, "; ")), Inventory: &inventory}
	if len(inventory.Packages) == 0 {
		record.Verb, record.Reason, record.Inventory = verbNoted, short("packages: "+strings.Join(notes, "; ")), nil
	}
	err := p.record(ctx, img, record)
	if refused(err) { // such as by a daemon that does not know of packages yet
		p.log().Warn("the list of packages was refused; it is in the evidence only", "image", img.Ref(), "error", err)
		return nil
	}
	return err
}

// inventoryOf is the list as it can be recorded, and notes that say what cannot be.
func inventoryOf(list *harness.Inventory) (lineage.Inventory, []string) {
	inventory := lineage.Inventory{Packages: make([]lineage.Package, 0, len(list.Packages)), Complete: list.Complete}
	notes := append([]string{}, list.Notes...)
	misfits, first := 0, error(nil)
	for _, found := range list.Packages {
		pkg := lineage.Package(found)
		err := pkg.Fits()
		if err == nil {
			inventory.Packages = append(inventory.Packages, pkg)
			continue
		}
		if misfits++; misfits == 1 {
			first = fmt.Errorf("%.60s: %w", pkg.Name, err)
		}
	}
	if misfits > 0 {
		inventory.Complete = false
		notes = append(notes, fmt.Sprintf("%d packages cannot be recorded, such as %v; %s in the evidence has them", misfits, first, list.Evidence))
	}
	if n := len(inventory.Packages); n > lineage.MaxPackages {
		inventory.Packages, inventory.Complete = inventory.Packages[:lineage.MaxPackages], false
		notes = append(notes, fmt.Sprintf("%d packages are more than can be recorded (%d); %s in the evidence has all", n, lineage.MaxPackages, list.Evidence))
	}
	return inventory, notes
}
