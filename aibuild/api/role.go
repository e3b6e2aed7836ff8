package api

import (
	"net/http"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Roles of tokens. Each of viewer, operator, releaser and admin may do what
// the one before it may; recorder stands beside them, for Jenkins jobs.
const (
	RoleViewer   = "viewer"   // reads
	RoleOperator = "operator" // starts, cancels and retries runs
	RoleReleaser = "releaser" // releases, rolls back, revokes and holds images
	RoleAdmin    = "admin"    // everything else too: tokens, prune, transfer
	RoleRecorder = "recorder" // records what the Jenkins builds of its projects do
)

// Roles lists the roles, from the least to the most, recorder last.
func Roles() []string {
	return []string{RoleViewer, RoleOperator, RoleReleaser, RoleAdmin, RoleRecorder}
}

func isRole(role string) bool { return slices.Contains(Roles(), role) }

// right is what an operation needs.
type right int

const (
	mayRead  right = iota
	mayOpen        // a run: an operator's or a recorder's
	maySteer       // cancel and retry
	mayRecord
	mayLock
	mayRelease // and roll back, revoke, restore, hold
)

// roles says who has a right.
func (r right) roles() []string {
	switch r {
	case mayRead:
		return Roles()
	case mayOpen:
		return []string{RoleOperator, RoleReleaser, RoleAdmin, RoleRecorder}
	case maySteer:
		return []string{RoleOperator, RoleReleaser, RoleAdmin}
	case mayRelease:
		return []string{RoleReleaser, RoleAdmin}
	default: // mayRecord, mayLock
		return []string{RoleReleaser, RoleAdmin, RoleRecorder}
	}
}

// allows says whether a role has the right, as a problem if not.
func (r right) allows(role string) error {
	if slices.Contains(r.roles(), role) {
		return nil
	}
	return &Problem{
		Status: http.StatusForbidden, Code: CodeForbidden,
		Detail: "a token with the role " + role + " may not do this; it needs one of " + strings.Join(r.roles(), ", "),
	}
}

// speaksFor says whether the token may act for the project. A token without
// projects speaks for all of them.
func speaksFor(t lineage.Token, project string) bool {
	return len(t.Projects) == 0 || slices.Contains(t.Projects, project)
}

// otherProject is the answer to a write into what belongs to somebody else.
// Reads of it are not found.
func otherProject(what, project string) error {
	if project == "" {
		project = "no project"
	}
	return &Problem{
		Status: http.StatusForbidden, Code: CodeOtherProject,
		Detail: what + " belongs to " + project + ", which is not a project of this token",
	}
}
