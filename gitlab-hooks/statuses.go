package hooks

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/xanzy/go-gitlab"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Status is what GitLab shows beside a commit for one image.
type Status struct {
	Project     string // path with namespace
	Commit      string
	Ref         string // refs/heads/main
	Name        string // aibuild/IMAGE
	State       string // GitLab's word: pending, running, success, failed or canceled
	TargetURL   string // the run's page; at most 255 characters
	Description string // one line; cut to the 255 characters that GitLab keeps
}

// GitLab's words.
const (
	statusPending  = "pending"
	statusRunning  = "running"
	statusSuccess  = "success"
	statusFailed   = "failed"
	statusCanceled = "canceled"
)

// StatusOf says in GitLab's words how a run is going; page is the run's.
func StatusOf(run lineage.Run, page string) Status {
	state, words := stateOf(run)
	return Status{
		Project: run.Project, Commit: run.Commit, Ref: run.Ref, Name: "aibuild/" + run.Image,
		State: state, TargetURL: page, Description: statusLine(words),
	}
}

func stateOf(run lineage.Run) (state, words string) {
	told := func(what string) string {
		if run.Reason == "" {
			return what
		}
		return what + ": " + run.Reason
	}
	switch run.State {
	case lineage.RunReceived, lineage.RunQueued:
		return statusPending, told("waiting")
	case lineage.RunTriggering:
		return statusPending, told("starting in jenkins")
	case lineage.RunJenkinsQueue:
		return statusPending, told("in jenkins' queue")
	case lineage.RunBuilding:
		return statusRunning, told(stageNow(run.Stage))
	case lineage.RunSuccess:
		return statusSuccess, told(stageDone(run.Stage))
	case lineage.RunUnstable, lineage.RunFailure:
		return statusFailed, failureOf(run)
	case lineage.RunAborted:
		return statusCanceled, told("aborted in jenkins")
	case lineage.RunNotBuilt:
		return statusCanceled, told("not built by jenkins")
	case lineage.RunCancelled:
		return statusCanceled, told("cancelled")
	case lineage.RunSuperseded:
		return statusCanceled, told("superseded")
	case lineage.RunLost:
		return statusFailed, told("lost")
	case lineage.RunRejected:
		return statusFailed, told("rejected")
	}
	return "", "" // of a newer aibuild; SetStatus refuses it
}

func stageNow(stage string) string {
	words := map[string]string{"test": "testing", "publish": "publishing", "release": "releasing"}
	if word := words[stage]; word != "" {
		return word
	}
	return "building"
}

func stageDone(stage string) string {
	words := map[string]string{"build": "built", "test": "tested", "publish": "published", "release": "released"}
	if word := words[stage]; word != "" {
		return word
	}
	return "done"
}

// failureOf says what failed: the case, where tests did.
func failureOf(run lineage.Run) string {
	what, why := "failed", run.Reason
	if run.State == lineage.RunUnstable {
		what = "tests failed"
	}
	if run.Failure != nil {
		why = run.Failure.Sentence
		if run.State != lineage.RunUnstable && run.Failure.Stage != "" {
			what = run.Failure.Stage + " failed"
		}
	}
	if why == "" || strings.HasPrefix(why, what) {
		return orElse(why, what)
	}
	return what + ": " + why
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

const statusLimit = 255 // characters

// statusLine makes one line of a text that GitLab keeps whole.
func statusLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > statusLimit {
		return string(runes[:statusLimit-1]) + "…"
	}
	return text
}

// SetStatus tells GitLab how a run is going. That GitLab knows it already, or knows more, is no error: the answer to an
// earlier call may have been lost. The order of calls for one commit and name is the caller's to keep.
//
// ErrUnavailable is worth trying again, after Error.RetryAfter if that is set; ErrAuth and ErrForbidden once somebody has
// changed the token. ErrNotFound (the commit or the project is gone) and ErrRefused stay.
func (c Client) SetStatus(ctx context.Context, s Status) error {
	const op = "set a commit status"
	if err := s.check(op); err != nil {
		return err
	}
	api, caught, err := c.caught(op)
	if err != nil {
		return err
	}
	ref := s.branch()
	s.Description = statusLine(s.Description)
	asked := &gitlab.SetCommitStatusOptions{State: gitlab.BuildStateValue(s.State), Ref: &ref, Name: &s.Name, Description: &s.Description}
	if s.TargetURL != "" {
		asked.TargetURL = &s.TargetURL
	}
	_, response, err := api.Commits.SetCommitStatus(s.Project, s.Commit, asked, gitlab.WithContext(ctx))
	if err == nil {
		return nil
	}
	failed := c.refusal(op, response, caught, err)
	if response == nil || response.StatusCode != http.StatusBadRequest || !strings.Contains(failed.Detail, "Cannot transition") {
		return failed
	}
	now, err := c.status(ctx, s)
	if err != nil {
		return err
	}
	if now == s.State || statusRank(now) > statusRank(s.State) {
		return nil
	}
	failed.Detail += "; its state is " + orElse(now, "not known")
	return failed
}

func (s Status) check(op string) error {
	problem := ""
	switch {
	case s.Project == "" || !isID(s.Commit) || s.Name == "":
		problem = "a project, a whole commit id and a name are needed"
	case statusRank(s.State) < 0:
		problem = fmt.Sprintf("%q is no state that gitlab knows", s.State)
	case utf8.RuneCountInString(s.TargetURL) > statusLimit:
		problem = fmt.Sprintf("the target url has more than %d characters", statusLimit)
	default:
		return nil
	}
	return &Error{Op: op, Reason: ErrConfig, Detail: problem, Hint: "this is a mistake of the caller"}
}

// branch is the ref as GitLab's API calls it.
func (s Status) branch() string {
	return strings.TrimPrefix(strings.TrimPrefix(s.Ref, "refs/heads/"), "refs/tags/")
}

// statusRank orders states by how far they are; below 0 is none.
func statusRank(state string) int {
	switch {
	case slices.Contains([]string{statusPending, "created", "waiting_for_resource", "preparing", "scheduled", "manual"}, state):
		return 0
	case state == statusRunning:
		return 1
	case slices.Contains([]string{statusSuccess, statusFailed, statusCanceled, "skipped"}, state):
		return 2
	}
	return -1
}

// shows says whether a status is what GitLab shows already. To tell it an end
// once more makes a second status of the name.
func (c Client) shows(ctx context.Context, s Status) (bool, error) {
	now, err := c.newest(ctx, s)
	return err == nil && now.State == s.State && now.TargetURL == s.TargetURL && now.Description == statusLine(s.Description), err
}

// status is the state that GitLab shows for the name now; empty when it shows none.
func (c Client) status(ctx context.Context, s Status) (string, error) {
	now, err := c.newest(ctx, s)
	return now.State, err
}

// newest is what GitLab shows for the name now; its zero value when it shows nothing.
func (c Client) newest(ctx context.Context, s Status) (Status, error) {
	const op = "read a commit status"
	api, caught, err := c.caught(op)
	if err != nil {
		return Status{}, err
	}
	ref := s.branch()
	asked := &gitlab.GetCommitStatusesOptions{ListOptions: gitlab.ListOptions{PerPage: 100}, Ref: &ref, Name: &s.Name}
	statuses, response, err := api.Commits.GetCommitStatuses(s.Project, s.Commit, asked, gitlab.WithContext(ctx))
	if err != nil {
		return Status{}, c.refusal(op, response, caught, err)
	}
	shown, newest := Status{}, 0
	for _, known := range statuses {
		if known == nil || known.Name != s.Name || known.Ref != ref || known.ID < newest {
			continue
		}
		shown, newest = Status{State: known.Status, TargetURL: known.TargetURL, Description: known.Description}, known.ID
	}
	return shown, nil
}
