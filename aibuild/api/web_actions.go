package api

import (
	"net/http"
	"net/url"
	"strings"
)

// An action is a page that says what will be done and asks why, and a form that
// does it. Both need no JavaScript.

func (s *Server) registerActionPages() {
	s.webAction("/runs/{id}/cancel", maySteer, s.cancelPage, s.cancelForm)
	s.webAction("/runs/{id}/retry", maySteer, s.retryPage, s.retryForm)
	s.webAction("/images/{ref}/start", maySteer, s.startPage, s.startForm)
	for _, a := range imageForms {
		s.webAction("/images/{ref}/"+a.path, mayRelease, a.ask(s), a.do(s))
	}
}

// webAction registers the page that asks, and the form that does; the form
// gives the address that follows.
func (s *Server) webAction(path string, need right, ask func(*http.Request) (*confirmView, error), do func(*http.Request, string) (string, error)) {
	page := func(r *http.Request, problem string, status int) (*view, error) {
		c, err := ask(r)
		if err != nil {
			return nil, err
		}
		c.Address, c.Problem, c.Reason = r.URL.EscapedPath(), problem, r.PostFormValue("reason")
		return &view{name: "confirm", title: c.Title, section: c.section, status: status, body: c}, nil
	}
	s.webPage("GET "+path, need, func(r *http.Request) (*view, error) { return page(r, "", 0) })
	s.webPage("POST "+path, need, func(r *http.Request) (*view, error) {
		reason := strings.TrimSpace(r.PostFormValue("reason"))
		if reason == "" {
			return page(r, "Say why: it stands in the audit.", http.StatusUnprocessableEntity)
		}
		next, err := do(r, reason)
		if p := problemFor(err); p != nil {
			return page(r, p.Detail, p.Status)
		}
		if err != nil {
			return nil, err
		}
		return nil, elsewhere{next}
	})
}

// problemFor is what the form can be sent again after: a rule, a conflict, a
// value. Everything else has a page of its own.
func problemFor(err error) *Problem {
	if err == nil {
		return nil
	}
	p := *problemOf(err)
	if p.Status == 0 {
		p.Status = statusOf(p.Code)
	}
	switch p.Status {
	case http.StatusConflict, http.StatusUnprocessableEntity, http.StatusForbidden, http.StatusLocked, http.StatusBadGateway:
		return &p
	}
	return nil
}

// confirmView is what confirm.html shows.
type confirmView struct {
	section string
	Title   string
	Text    string
	Button  string
	Danger  bool
	Back    string // where to go instead
	Choices []choice
	Address string
	Problem string
	Reason  string
}

// choice is a field with a list of values.
type choice struct {
	Name, Label string
	Values      [][2]string // value, text
	Many        bool        // several may be chosen
}

func runAddress(id string) string { return "/runs/" + url.PathEscape(id) }

func (s *Server) cancelPage(r *http.Request) (*confirmView, error) {
	run, err := s.visibleRun(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return &confirmView{
		section: "runs", Title: "Cancel the run of " + run.Image, Button: "Cancel the run", Danger: true, Back: runAddress(run.ID),
		Text: "It is " + words(run.State) + " now. Its Jenkins build is stopped; what it has made and recorded stays.",
	}, nil
}

func (s *Server) cancelForm(r *http.Request, reason string) (string, error) {
	id := r.PathValue("id")
	_, err := s.cancelRun(r.Context(), &cancelInput{ID: id, Body: &cancelRequest{Reason: reason}})
	return runAddress(id) + "?said=cancelled", err
}

func (s *Server) retryPage(r *http.Request) (*confirmView, error) {
	run, err := s.visibleRun(r.Context(), r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	c := &confirmView{
		section: "runs", Title: "Retry the run of " + run.Image, Button: "Retry", Back: runAddress(run.ID),
		Text:    "A new run of the same commit goes on where this one failed: nothing that succeeded is repeated, unless you choose an earlier stage.",
		Choices: []choice{{Name: "from", Label: "Beginning with", Values: [][2]string{{"", "where it failed"}, {stageBuild, "the build"}}}},
	}
	if run.ImageUUID != "" {
		for _, stage := range []string{stageTest, stagePublish, stageRelease} {
			c.Choices[0].Values = append(c.Choices[0].Values, [2]string{stage, stage})
		}
	}
	return c, nil
}

func (s *Server) retryForm(r *http.Request, reason string) (string, error) {
	out, err := s.retryRun(r.Context(), &retryInput{ID: r.PathValue("id"), Body: &RetryOptions{From: r.PostFormValue("from"), Reason: reason}})
	if err != nil {
		return "", err
	}
	return runAddress(out.Body.ID) + "?said=retried", nil
}

func (s *Server) startPage(r *http.Request) (*confirmView, error) {
	name := r.PathValue("ref")
	if _, err := s.history(r.Context(), &historyInput{Ref: name, Limit: 1}); err != nil {
		return nil, err
	}
	return &confirmView{
		section: "images", Title: "Build " + name + " again", Button: "Build", Back: "/images/" + url.PathEscape(name),
		Text: "The newest commit that was pushed to its branch is built, tested, and published and released where the branch may.",
	}, nil
}

func (s *Server) startForm(r *http.Request, reason string) (string, error) {
	out, err := s.openRun(r.Context(), &openInput{Body: NewRun{Image: r.PathValue("ref"), Reason: reason}})
	if err != nil {
		return "", err
	}
	return runAddress(out.Body.ID) + "?said=started", nil
}
