package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Codes of problems. They never change their meaning; new ones may come.
const (
	CodeUnauthorized  = "unauthorized"
	CodeForbidden     = "forbidden"
	CodeOtherProject  = "other_project"
	CodeRefused       = "refused_by_rule"
	CodeNotFound      = "not_found"
	CodeMethod        = "method_not_allowed"
	CodeTimeout       = "request_timeout"
	CodeConflict      = "conflict"
	CodeTaken         = "name_taken"
	CodeAmbiguous     = "ambiguous"
	CodeLockLost      = "lock_lost"
	CodeTooLarge      = "too_large"
	CodeMediaType     = "unsupported_media_type"
	CodeNotAcceptable = "not_acceptable"
	CodeBadRequest    = "bad_request"
	CodeVersion       = "version"
	CodeInvalid       = "invalid"
	CodeLocked        = "locked"
	CodeRate          = "too_many_requests"
	CodeInternal      = "internal"
	CodeCluster       = "cluster_failed"
	CodeUnavailable   = "unavailable"
	CodeBusy          = "busy"
	CodeSchema        = "schema"
)

// meaning describes a code for the pages that people read.
type meaning struct {
	Code   string
	Status int
	Text   string
}

// meanings is the list of all codes, in the order of their statuses.
var meanings = []meaning{
	{CodeBadRequest, 400, "the body is not JSON, or not UTF-8"},
	{CodeVersion, 400, "program and server are of releases that do not fit each other; the detail says which to update"},
	{CodeUnauthorized, 401, "no token, or one that is unknown, expired or revoked"},
	{CodeForbidden, 403, "the token's role may not do this"},
	{CodeOtherProject, 403, "this belongs to a project that is not the token's"},
	{CodeRefused, 403, "the server's configuration does not let the project do this; `rule` is its key, `asked` and `allowed` say the rest"},
	{CodeNotFound, 404, "there is no such run, image or address, or it is not the token's to see"},
	{CodeMethod, 405, "this address knows other methods; see the header Allow"},
	{CodeNotAcceptable, 406, "the answer can only be had as JSON"},
	{CodeTimeout, 408, "the request's body did not come in time"},
	{CodeConflict, 409, "it contradicts what is recorded of `id`; sending it again does not help"},
	{CodeTaken, 409, "the image name belongs to another project, `owner`"},
	{CodeAmbiguous, 409, "the reference fits several images, `candidates`"},
	{CodeLockLost, 410, "the lease of the lock has ended: others may have had the lock since"},
	{CodeTooLarge, 413, "the body is larger than 8 MiB"},
	{CodeMediaType, 415, "the body must be application/json, not compressed"},
	{CodeInvalid, 422, "`field` is malformed or cannot be stored; `errors` lists all that was found"},
	{CodeLocked, 423, "somebody else has the lock; `host`, `pid` and `since` say who"},
	{CodeRate, 429, "the token has asked too often; Retry-After says in how many seconds to ask again"},
	{CodeInternal, 500, "a fault of the server; its log has the request id"},
	{CodeCluster, 502, "a cluster or the web root did not do its part; the others did theirs, and repeating it does only what is missing"},
	{CodeUnavailable, 503, "the database cannot be used now; send the same again later"},
	{CodeBusy, 503, "the server has as much work of this kind as it takes; send the same again later"},
	{CodeSchema, 503, "the tables do not fit the server; an administrator runs aibuild db migrate"},
}

func statusOf(code string) int {
	for _, m := range meanings {
		if m.Code == code {
			return m.Status
		}
	}
	return http.StatusInternalServerError
}

// Problem is how every error is told: an RFC 9457 problem with a stable code.
// The members after request_id are set where the code has them.
type Problem struct {
	Type      string `json:"type" doc:"where the code is explained" example:"/docs#conflict"`
	Title     string `json:"title" doc:"the status in words"`
	Status    int    `json:"status" doc:"the HTTP status"`
	Code      string `json:"code" doc:"stable, for programs" example:"conflict"`
	Detail    string `json:"detail" doc:"what is wrong, and what to do"`
	RequestID string `json:"request_id,omitempty" doc:"names the request in the server's log"`

	Field      string          `json:"field,omitempty" doc:"invalid: the dotted path of the first bad value"`
	Problem    string          `json:"problem,omitempty" doc:"invalid, conflict, lock_lost: what is wrong with it"`
	Errors     []FieldError    `json:"errors,omitempty" nullable:"false" doc:"invalid: all that was found"`
	ID         string          `json:"id,omitempty" doc:"conflict: the run, image or record"`
	Name       string          `json:"name,omitempty" doc:"name_taken, locked, lock_lost: the image name"`
	Owner      string          `json:"owner,omitempty" doc:"name_taken: the project that has it"`
	By         string          `json:"by,omitempty" doc:"name_taken: the project that asked"`
	Project    string          `json:"project,omitempty" doc:"refused_by_rule: the project whose rule it is"`
	Rule       string          `json:"rule,omitempty" doc:"refused_by_rule: the key of the rule"`
	Asked      string          `json:"asked,omitempty" doc:"refused_by_rule: what was asked for"`
	Allowed    string          `json:"allowed,omitempty" doc:"refused_by_rule: what the rule allows"`
	Ref        string          `json:"ref,omitempty" doc:"ambiguous: the reference"`
	Candidates []lineage.Image `json:"candidates,omitempty" nullable:"false" doc:"ambiguous: at most 10, newest first"`
	More       bool            `json:"more,omitempty" doc:"ambiguous: there are more"`
	Host       string          `json:"host,omitempty" doc:"locked: the holder's machine"`
	PID        int             `json:"pid,omitempty" doc:"locked: the holder's process"`
	Since      time.Time       `json:"since,omitzero" doc:"locked: since when"`

	retryAfter string // seconds, for the header
}

// FieldError is one value that was refused.
type FieldError struct {
	Field   string `json:"field"`
	Problem string `json:"problem"`
}

// Error is the detail, with the code.
func (p *Problem) Error() string {
	if p.RequestID == "" {
		return fmt.Sprintf("%s (%s)", p.Detail, p.Code)
	}
	return fmt.Sprintf("%s (%s, request %s)", p.Detail, p.Code, p.RequestID)
}

// GetStatus is the HTTP status.
func (p *Problem) GetStatus() int { return p.Status }

// ContentType makes the answer application/problem+json.
func (p *Problem) ContentType(string) string { return problemType }

const problemType = "application/problem+json"

// complete fills what follows from the code.
func (p *Problem) complete(ctx context.Context) *Problem {
	if p.Status == 0 {
		p.Status = statusOf(p.Code)
	}
	p.Title = http.StatusText(p.Status)
	p.Type = "/docs#" + p.Code
	p.RequestID = requestID(ctx)
	if p.Status == http.StatusServiceUnavailable && p.retryAfter == "" {
		p.retryAfter = "5"
	}
	return p
}

// problemOf gives an error of the rooms below its form on the wire. What the
// server alone may know (addresses, SQL) is not in it.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if r, ok := errors.AsType[*definition.Refused](err); ok {
		return &Problem{Code: CodeRefused, Detail: r.Error(), Project: r.Project, Rule: r.Rule, Asked: r.Asked, Allowed: r.Allowed}
	}
	if p := problemOfStory(err); p != nil {
		return p
	}
	// First: what it was lost to may be *lineage.Locked.
	if l, ok := errors.AsType[*lineage.LockLost](err); ok {
		return &Problem{Code: CodeLockLost, Detail: l.Error(), Name: l.Name, Problem: reasonOf(l)}
	}
	if l, ok := errors.AsType[*lineage.Locked](err); ok {
		return &Problem{Code: CodeLocked, Detail: l.Error(), Name: l.Name, Host: l.Host, PID: l.PID, Since: l.Since}
	}
	if _, ok := errors.AsType[*lineage.SchemaError](err); ok {
		return &Problem{Code: CodeSchema, Detail: "the database's tables do not fit this server; an administrator runs: aibuild db migrate", retryAfter: "60"}
	}
	_, down := errors.AsType[*lineage.Unavailable](err)
	if down || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return &Problem{Code: CodeUnavailable, Detail: "the database cannot be used at the moment; send the same again later"}
	}
	return &Problem{Code: CodeInternal, Detail: "a fault of the server; its log says more under the id of this request"}
}

func reasonOf(l *lineage.LockLost) string {
	if l.Err == nil {
		return "it did not hold"
	}
	return l.Err.Error()
}

// problemOfStory is problemOf for what is wrong with a record or a question.
func problemOfStory(err error) *Problem {
	if i, ok := errors.AsType[*lineage.Invalid](err); ok {
		return &Problem{Code: CodeInvalid, Detail: i.Error(), Field: i.Field, Problem: i.Problem, Errors: []FieldError{{i.Field, i.Problem}}}
	}
	if t, ok := errors.AsType[*lineage.Taken](err); ok {
		return &Problem{Code: CodeTaken, Detail: t.Error(), Name: t.Name, Owner: t.Owner, By: t.By}
	}
	if c, ok := errors.AsType[*lineage.Conflict](err); ok {
		return &Problem{Code: CodeConflict, Detail: c.Error(), ID: c.ID, Problem: c.Problem}
	}
	if a, ok := errors.AsType[*lineage.Ambiguous](err); ok {
		return &Problem{Code: CodeAmbiguous, Detail: a.Error(), Ref: a.Ref, Candidates: a.Candidates, More: a.More}
	}
	if errors.Is(err, lineage.ErrNotFound) {
		return &Problem{Code: CodeNotFound, Detail: err.Error()}
	}
	return nil
}
