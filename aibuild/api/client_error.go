package api

import (
	"errors"
	"fmt"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// err is the error that the store would have given instead of the problem.
func (p *Problem) err(k call, server string) error {
	switch p.Code {
	case CodeInvalid:
		if p.Field == "" {
			return &lineage.Invalid{Field: k.op, Problem: p.Detail}
		}
		return &lineage.Invalid{Field: p.Field, Problem: p.Problem}
	case CodeBadRequest, CodeTooLarge, CodeMediaType:
		return &lineage.Invalid{Field: k.op, Problem: p.Detail}
	case CodeTaken:
		return &lineage.Taken{Name: p.Name, Owner: p.Owner, By: p.By}
	case CodeConflict:
		return &lineage.Conflict{ID: p.ID, Problem: p.Problem}
	case CodeAmbiguous:
		return &lineage.Ambiguous{Ref: p.Ref, Candidates: p.Candidates, More: p.More}
	case CodeNotFound:
		return &notFound{p.Detail}
	case CodeLocked:
		return &lineage.Locked{Name: p.Name, Host: p.Host, PID: p.PID, Since: p.Since}
	case CodeLockLost:
		return &lineage.LockLost{Name: p.Name, Err: errors.New(p.Problem)}
	case CodeRefused:
		return &definition.Refused{Project: p.Project, Rule: p.Rule, Asked: p.Asked, Allowed: p.Allowed}
	}
	if p.Status >= 500 || p.Code == CodeRate {
		return &lineage.Unavailable{Op: k.op, Err: fmt.Errorf("server %s: %w", server, p)}
	}
	return &Denied{Code: p.Code, Detail: p.Detail}
}

// notFound is lineage.ErrNotFound in the server's words.
type notFound struct{ text string }

func (e *notFound) Error() string {
	if strings.Contains(e.text, lineage.ErrNotFound.Error()) {
		return e.text
	}
	return e.text + ": " + lineage.ErrNotFound.Error()
}

func (e *notFound) Unwrap() error { return lineage.ErrNotFound }
