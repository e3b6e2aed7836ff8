package hooks

import (
	"errors"
	"fmt"
	"time"
)

// The reasons of an Error, for errors.Is.
var (
	ErrAuth        = errors.New("token refused")
	ErrForbidden   = errors.New("permission missing")
	ErrNotFound    = errors.New("not found")
	ErrGone        = errors.New("the commit is gone")
	ErrRefused     = errors.New("refused as it is")
	ErrUnavailable = errors.New("gitlab is not available")
	ErrProtocol    = errors.New("not an answer of gitlab")
	ErrConfig      = errors.New("configuration is wrong")
)

// Error is a call that failed. It never holds a secret.
type Error struct {
	Op     string // what was tried, like "log in"
	URL    string // the instance, without credentials; empty when it is no usable URL
	Status int    // HTTP status, 0 when no answer came
	Detail string // what GitLab or the network said
	Hint   string // what to do next
	Reason error  // one of this package's Err values
	Err    error  // the cause, when there is another error behind it

	RetryAfter time.Duration // how long GitLab asks to wait; 0 when it does not say
}

func (e *Error) Error() string {
	text := "gitlab: " + e.Op
	if e.URL != "" {
		text += " at " + e.URL
	}
	text += ": " + e.Reason.Error()
	if e.Status != 0 {
		text += fmt.Sprintf(" (status %d)", e.Status)
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

// Unwrap makes errors.Is find the reason and the cause.
func (e *Error) Unwrap() []error {
	if e.Err == nil {
		return []error{e.Reason}
	}
	return []error{e.Reason, e.Err}
}
