package jenkins

import (
	"errors"
	"fmt"
	"time"
)

// The reasons of an Error, for errors.Is.
var (
	ErrAuth         = errors.New("not logged in")
	ErrForbidden    = errors.New("permission missing")
	ErrNotFound     = errors.New("not found")
	ErrNotBuildable = errors.New("the job takes no builds")
	ErrParameters   = errors.New("the job refuses the parameters")
	ErrRefused      = errors.New("jenkins does not take the configuration")
	ErrForeign      = errors.New("made by somebody else")
	ErrUnavailable  = errors.New("jenkins is not available")
	ErrProtocol     = errors.New("not an answer of jenkins")
	ErrConfig       = errors.New("configuration is wrong")
)

// Error is a call that failed. It never holds a secret.
type Error struct {
	Op         string        // what was tried, like "log in"
	URL        string        // the controller, without credentials; empty when it is no usable URL
	Status     int           // HTTP status, 0 when no answer came
	Detail     string        // what Jenkins or the network said
	Hint       string        // what to do next
	Reason     error         // one of this package's Err values
	RetryAfter time.Duration // how long to leave it alone, where an ErrUnavailable says so; else 0
	Err        error         // the cause, when there is another error behind it
}

func (e *Error) Error() string {
	text := "jenkins: " + e.Op
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
