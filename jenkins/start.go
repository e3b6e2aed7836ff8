package jenkins

import (
	"context"
	"fmt"
	"html"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// Started is a build that Jenkins has put into its queue.
type Started struct {
	QueueID int64
	// Folded: an item of the job with the very same parameters was waiting already, and is this one. Jenkins
	// before 2.308 does the same without telling.
	Folded bool
}

// Start puts a build into the queue, without the quiet period. It is one request, which is never repeated: after
// an ErrUnavailable or ErrProtocol the build may be queued or not. FindByRunID tells, if one of the parameters is a
// declared AIBUILD_RUN_ID. Without that one Jenkins folds builds with equal parameters, and drops undeclared ones.
func (c Client) Start(ctx context.Context, path string, params map[string]string) (Started, error) {
	const op = "start a build"
	at, err := c.jobPath(op, path)
	if err != nil {
		return Started{}, err
	}
	r := request{op: op, method: http.MethodPost, path: at + "buildWithParameters", missing: jobHint,
		query: map[string]string{"delay": "0sec"}, form: url.Values{}}
	for name, value := range params {
		r.form.Set(name, value)
	}
	got, err := c.send(ctx, r)
	if err != nil {
		return Started{}, err
	}
	if got.status == http.StatusCreated || got.status == http.StatusSeeOther {
		if id, ok := c.itemOf(got.header.Get("Location")); ok {
			return Started{QueueID: id, Folded: got.status == http.StatusSeeOther}, nil
		}
	}
	return Started{}, c.refusedStart(ctx, r, path, got)
}

// refusedStart knows the answers that only a start can get.
func (c Client) refusedStart(ctx context.Context, r request, path string, got answer) error {
	failed := &Error{Op: r.op, URL: c.base(), Status: got.status, Detail: c.said(got)}
	switch {
	case got.status == http.StatusConflict:
		failed.Reason, failed.Hint = ErrNotBuildable, "enable the job"
	case redirected(got, strings.TrimSuffix(r.path, "buildWithParameters")):
		failed.Reason, failed.Detail = ErrNotBuildable, "jenkins did not queue it"
		failed.Hint = "ask an administrator of jenkins which plugin refuses builds of the job"
	case got.status == http.StatusCreated, got.status == http.StatusSeeOther:
		failed.Reason, failed.Detail = ErrProtocol, "no queue item in the answer, though the build may be queued"
		failed.Hint = urlHint
	case got.status == http.StatusBadRequest || got.status == http.StatusInternalServerError:
		detail, ok := parameterProblem(got.body)
		if !ok && got.status == http.StatusInternalServerError {
			detail, ok = c.untoldProblem(ctx, path, r.form)
		}
		if !ok {
			return c.refusal(ctx, r, got)
		}
		failed.Reason, failed.Detail = ErrParameters, shortened(c.redact(detail))
		failed.Hint = "compare the parameters that the job declares with those that are sent"
	default:
		return c.refusal(ctx, r, got)
	}
	return failed
}

// parameterProblem is what an error page says against the parameters.
func parameterProblem(body string) (string, bool) {
	for _, problem := range []string{"is not parameterized", "Illegal choice", "Illegal number of parameter values"} {
		at := strings.Index(body, problem)
		if at < 0 {
			continue
		}
		from := strings.LastIndexAny(body[:at], ">\n") + 1
		text, rest := body[from:], strings.IndexAny(body[at:], "<\r\n")
		if rest >= 0 {
			text = body[from : at+rest]
		}
		return statusPattern.ReplaceAllString(html.UnescapeString(strings.TrimSpace(text)), ""), true
	}
	return "", false
}

// untoldProblem looks for the parameter that an internal error is about, as pages of such errors tell nothing since
// 2.224. When the job cannot be read either, the error stays one of Jenkins.
func (c Client) untoldProblem(ctx context.Context, path string, form url.Values) (string, bool) {
	job, _, err := c.readJob(ctx, path)
	if err != nil {
		return "", false
	}
	none := true
	for declared := range job.declared() {
		none = false
		value := form.Get(declared.Name)
		if form.Has(declared.Name) && declared.Choices != nil && !slices.Contains(declared.Choices, value) {
			return fmt.Sprintf("%s=%s is none of the choices: %s", declared.Name, value, strings.Join(declared.Choices, ", ")), true
		}
	}
	return path + " declares no parameters", none
}
