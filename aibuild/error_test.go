package aibuild

import (
	"fmt"
	"testing"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// What is refused by a rule ends with 5, and is sent no second time.
func TestRefusals(t *testing.T) {
	for _, err := range []error{
		&lineage.Conflict{ID: "run", Problem: "has ended"}, &lineage.Taken{Name: "web", Owner: "a", By: "b"},
		&definition.Refused{Rule: "release.refs"}, &Refused{Image: "web", Rule: "r", Found: "f"},
	} {
		wrapped := fmt.Errorf("record: %w", err)
		if got := Judge("test", wrapped).Code; got != CodeRefused {
			t.Errorf("%T ends with %d, want %d", err, got, CodeRefused)
		}
		if !refused(wrapped) {
			t.Errorf("%T would be sent again and again", err)
		}
	}
	if away := (&lineage.Unavailable{Op: "record"}); refused(away) || Judge("test", away).Code != CodeInfrastructure {
		t.Error("a database that is away is no refusal")
	}
}
