package lineage

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrNotFound says that nothing in the record matches what was asked for.
var ErrNotFound = errors.New("not found")

// ErrFenced says that somebody else has taken over what was claimed, or has
// ended it: whoever gets it must leave the thing alone.
var ErrFenced = errors.New("taken over by another process")

// Unavailable says that the database server cannot be used at the moment. The
// same call may succeed later; a [Record] can be journalled and sent again.
type Unavailable struct {
	Op  string // what was being done: "record", "open", …
	Err error
}

func (e *Unavailable) Error() string {
	return fmt.Sprintf("%s: database unavailable: %v", e.Op, e.Err)
}

// Unwrap gives the driver's error.
func (e *Unavailable) Unwrap() error { return e.Err }

// Why says in words what is wrong with the server, without naming it: for those
// who may not know where it is.
func (e *Unavailable) Why() string {
	switch n := number(e.Err); {
	case errors.Is(e.Err, errReadOnly), n == 1290, n == 1792, n == 1836:
		return "it is read-only"
	case n == 1021, n == 1026, n == 1030, n == 1114:
		return "it is full, or cannot write to its disk"
	case n == 1040, n == 1203, n == 1226:
		return "it has too many connections"
	case n == erLockWait, n == erDeadlock, errors.Is(e.Err, errAgain):
		return "others keep locked what has to be written"
	}
	return "it does not answer"
}

// SchemaError says that the tables on the server do not fit this binary.
type SchemaError struct {
	Have   int // version on the server; 0 = no tables
	Want   int // version that this binary knows
	Remedy string
}

func (e *SchemaError) Error() string {
	if e.Have == 0 {
		return "database has no aibuild tables; " + e.Remedy
	}
	return fmt.Sprintf("database has schema %d, this aibuild knows %d; %s", e.Have, e.Want, e.Remedy)
}

// Invalid says that a record or a question is malformed, or holds a value that
// its column cannot hold.
type Invalid struct {
	Field   string // dotted path in the record: "built.os_ver"
	Problem string
}

func (e *Invalid) Error() string { return e.Field + ": " + e.Problem }

// Taken says that an image name belongs to another project.
type Taken struct {
	Name  string
	Owner string // the project that built it first
	By    string // the project that asked; may be empty
}

func (e *Taken) Error() string {
	by := e.By
	if by == "" {
		by = "a build without a project"
	}
	return fmt.Sprintf("image name %s belongs to project %s, not to %s; choose another name, or an administrator moves it with: aibuild image transfer %s --to PROJECT --reason …",
		e.Name, e.Owner, by, e.Name)
}

// Conflict says that a record contradicts what is already recorded: another
// step under the same record id, or a new end for a run that has ended.
type Conflict struct {
	ID      string // of the record, run or image
	Problem string
}

func (e *Conflict) Error() string { return e.ID + ": " + e.Problem }

// Ambiguous says that a reference matches several images.
type Ambiguous struct {
	Ref        string
	Candidates []Image // at most 10, newest first
	More       bool    // there are more than these
}

func (e *Ambiguous) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s is ambiguous; it could be", e.Ref)
	for i, c := range e.Candidates {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s (%s)", c.UUID, c.Ref())
	}
	if e.More {
		b.WriteString(", …")
	}
	return b.String()
}

// Locked says that another process works on the same image name.
type Locked struct {
	Name  string
	Host  string // empty when the holder left no note yet
	PID   int
	Since time.Time
}

func (e *Locked) Error() string {
	if e.Host == "" {
		return fmt.Sprintf("image %s is locked by another process; wait for it to end", e.Name)
	}
	return fmt.Sprintf("image %s is locked by process %d on %s since %s; wait for it to end",
		e.Name, e.PID, e.Host, e.Since.UTC().Format(time.RFC3339))
}

// LockLost is returned by the unlock function when the lock did not hold all
// the time: the connection broke and another process may have worked on the
// same name meanwhile.
type LockLost struct {
	Name string
	Err  error
}

func (e *LockLost) Error() string {
	return fmt.Sprintf("lock on image %s was lost while it was held: %v", e.Name, e.Err)
}

// Unwrap gives the reason.
func (e *LockLost) Unwrap() error { return e.Err }
