package glance

import (
	"fmt"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// goal says whether the name may go back to an older image.
type goal bool

const (
	forward goal = false // Release
	back    goal = true  // Rollback, and the successor of a revoked image
)

// decision is what has to happen in a cluster so that an image is the visible
// one of its name. It is made from the cluster's state alone.
type decision struct {
	dead   []images.Image // uploads of it that a dead process began: delete
	keep   *images.Image  // the good copy; nil: upload one
	repair []difference   // settings of keep
	drop   []images.Image // further copies, or copies with other bytes: hide, delete
	hide   []images.Image // the name's other visible images
}

// decide looks at our images of the name (and of the uuid).
func decide(ours []images.Image, want Image, to goal) (decision, error) {
	var d decision
	var good []images.Image
	for _, have := range ours {
		switch {
		case gone(have):
		case property(have, propUUID) != want.UUID:
			if have.Hidden || have.Name != want.Name {
				continue
			}
			if to == forward && have.Status == images.ImageStatusActive && newer(have, want) {
				return decision{}, fmt.Errorf("%w: %s, built %s, is visible and newer; an older image returns only by rollback",
					ErrBackwards, have.ID, property(have, propDate))
			}
			d.hide = append(d.hide, have)
		case property(have, propState) == Revoked:
			return decision{}, fmt.Errorf("%w: %s is marked so; restore it first", ErrRevoked, have.ID)
		case unfinished(have):
			d.dead = append(d.dead, have)
		case have.Status == images.ImageStatusDeactivated:
			return decision{}, fmt.Errorf("%w: an administrator of the cloud locked %s; ask for its reactivation", ErrDeactivated, have.ID)
		case sameBytes(have, want) == nil:
			good = append(good, have)
		default:
			d.drop = append(d.drop, have)
		}
	}
	if len(good) > 0 {
		slices.SortFunc(good, preferred)
		d.keep = &good[0]
		d.drop = append(d.drop, good[1:]...)
		d.repair = differences(*d.keep, want)
	}
	return d, nil
}

// done: nothing is missing.
func (d decision) done() bool {
	return d.keep != nil && !d.keep.Hidden && len(d.dead)+len(d.repair)+len(d.drop)+len(d.hide) == 0
}

// newer: was have built after want? A revoked image holds nobody up.
func newer(have images.Image, want Image) bool {
	return property(have, propState) != Revoked && newerThan(property(have, propDate), property(have, propUUID), want.BuiltAt.UTC().Format(dateLayout), want.UUID)
}

// preferred sorts the copy that users see first, then the youngest.
func preferred(a, b images.Image) int {
	if a.Hidden != b.Hidden {
		if b.Hidden {
			return -1
		}
		return 1
	}
	return b.CreatedAt.Compare(a.CreatedAt)
}
