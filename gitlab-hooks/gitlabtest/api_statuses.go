package gitlabtest

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

func statusRoutes() []route {
	return []route{
		{method: "GET", pattern: "projects/:id/repository/commits/:sha/statuses", role: Reporter, handle: (*call).listStatuses},
		{method: "POST", pattern: "projects/:id/statuses/:sha", handle: (*call).postStatus},
	}
}

type statusInfo struct {
	ID           int       `json:"id"`
	SHA          string    `json:"sha"`
	Ref          string    `json:"ref"`
	Status       string    `json:"status"`
	Name         string    `json:"name"`
	TargetURL    *string   `json:"target_url"`
	Description  *string   `json:"description"`
	CreatedAt    *string   `json:"created_at"`
	StartedAt    *string   `json:"started_at"`
	FinishedAt   *string   `json:"finished_at"`
	AllowFailure bool      `json:"allow_failure"`
	Coverage     *float64  `json:"coverage"`
	PipelineID   int       `json:"pipeline_id"`
	Author       userBasic `json:"author"`
}

func (s *Server) tellStatus(st *status) statusInfo {
	return statusInfo{
		ID: st.id, SHA: st.pipeline.sha, Ref: st.pipeline.ref, Status: st.state, Name: st.name, TargetURL: st.targetURL, Description: st.description,
		CreatedAt: apiTime(st.created), StartedAt: apiTime(st.started), FinishedAt: apiTime(st.finished), Coverage: st.coverage,
		PipelineID: st.pipeline.id, Author: s.basic(st.user),
	}
}

type pipelineInfo struct {
	ID        int     `json:"id"`
	Number    int     `json:"iid"`
	ProjectID int     `json:"project_id"`
	SHA       string  `json:"sha"`
	Ref       string  `json:"ref"`
	Status    string  `json:"status"`
	Source    string  `json:"source"`
	CreatedAt *string `json:"created_at"`
	UpdatedAt *string `json:"updated_at"`
	WebURL    string  `json:"web_url"`
}

func (c *call) tellPipeline(of *pipeline) pipelineInfo {
	return pipelineInfo{
		ID: of.id, Number: of.number, ProjectID: c.project.ID, SHA: of.sha, Ref: of.ref, Status: c.project.pipelineState(of), Source: "external",
		CreatedAt: apiTime(of.created), UpdatedAt: apiTime(of.created), WebURL: c.s.webURL(c.project) + "/-/pipelines/" + strconv.Itoa(of.id),
	}
}

// listStatuses gives the latest status of each name, or, with all, the older rows too. The commit is compared as it was
// sent: a branch name finds the commit, but no status.
func (c *call) listStatuses() (any, error) {
	all, err := c.params.flag("all", false)
	if err != nil {
		return nil, err
	}
	pipelineID, err := c.params.number("pipeline_id", 0)
	if err != nil {
		return nil, err
	}
	_, err = c.project.repo.resolve(c.ctx, c.path["sha"], "commit")
	if errors.Is(err, errNoObject) {
		return nil, notFound("Commit")
	}
	if err != nil {
		return nil, err
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	found := []statusInfo{}
	for _, st := range c.project.statuses {
		ref, name := c.params.text("ref"), c.params.text("name")
		switch {
		case st.pipeline.sha != c.path["sha"], st.retried && !all, pipelineID != 0 && st.pipeline.id != pipelineID,
			ref != "" && st.pipeline.ref != ref, name != "" && st.name != name:
			continue
		}
		found = append(found, c.s.tellStatus(st))
	}
	slices.SortFunc(found, func(a, b statusInfo) int { return cmp.Compare(a.ID, b.ID) })
	if c.params.text("sort") == "desc" {
		slices.Reverse(found)
	}
	return paginate(c, found)
}

// postStatus sets a status: it changes the unfinished row of the same name, ref, pipeline and user, or adds one.
func (c *call) postStatus() (any, error) {
	state := c.params.text("state")
	switch {
	case !c.params.has("state"):
		return nil, invalid("state is missing", "state does not have a valid value")
	case wanted[state] == nil:
		return nil, invalid("state does not have a valid value")
	case c.project.role(c.user) < Developer:
		return nil, forbidden()
	}
	unlock, err := c.s.lockStatus(c.ctx, c.project.Path, c.path["sha"])
	if err != nil {
		return nil, err
	}
	defer unlock()
	sha, err := c.project.repo.resolve(c.ctx, c.path["sha"], "commit")
	if errors.Is(err, errNoObject) {
		return nil, notFound("Commit")
	}
	if err != nil {
		return nil, err
	}
	pipelineID, err := c.params.number("pipeline_id", 0)
	if err != nil {
		return nil, err
	}
	ref, err := c.statusRef(sha, pipelineID)
	if err != nil {
		return nil, err
	}
	return c.setStatus(sha, ref, state, pipelineID)
}

// statusRef is the ref of a status: the one that was sent, that of the commit's pipeline, or the first branch that has
// the commit.
func (c *call) statusRef(sha string, pipelineID int) (string, error) {
	if ref := c.params.text("ref"); ref != "" {
		return ref, nil
	}
	c.s.mu.Lock()
	last := c.project.matchingPipeline(sha, "", pipelineID)
	c.s.mu.Unlock()
	if last != nil {
		return last.ref, nil
	}
	branches, err := c.project.repo.refs(c.ctx, headsPrefix, sha)
	if err != nil {
		return "", err
	}
	if len(branches) == 0 {
		return "", notFound("References for commit")
	}
	return branches[0].Name, nil
}

func (p *project) matchingPipeline(sha, ref string, id int) *pipeline {
	if id == 0 {
		return p.lastPipeline(sha, ref)
	}
	for _, found := range p.pipelines {
		if found.id == id && found.sha == sha && (ref == "" || found.ref == ref) {
			return found
		}
	}
	return nil
}

func (c *call) setStatus(sha, ref, state string, pipelineID int) (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	now := c.s.opts.Now()
	on := c.project.matchingPipeline(sha, c.params.text("ref"), pipelineID)
	if on == nil {
		if pipelineID != 0 {
			return nil, notFound("Pipeline for pipeline_id, sha and ref")
		}
		on = &pipeline{id: c.s.pipeID + 1, number: len(c.project.pipelines) + 1, sha: sha, ref: ref, user: c.user, created: now}
	}
	if rule, protected := c.project.protection(ref); protected && c.project.role(c.user) < rule.Push {
		return nil, forbidden() // as nobody may change what runs on a protected branch without pushing to it
	}
	name := orElse(orElse(c.params.text("name"), c.params.text("context")), "default")
	old := c.project.unfinished(on, name, c.user)
	next := &status{pipeline: on, name: name, user: c.user, state: "created", created: now}
	if old != nil {
		copied := *old
		next = &copied
	}
	if err := c.describe(next); err != nil {
		return nil, err
	}
	if err := next.move(state, now); err != nil {
		return nil, message(http.StatusBadRequest, err.Error())
	}
	c.s.saveStatus(c.project, old, next)
	return c.s.tellStatus(next), nil
}

// unfinished finds the row that an update changes.
func (p *project) unfinished(on *pipeline, name string, u *user) *status {
	for _, st := range p.statuses {
		if st.pipeline == on && st.name == name && st.user == u && st.unfinished() {
			return st
		}
	}
	return nil
}

// saveStatus keeps a status whose change was allowed; the other rows of its name count as retried from then on, whoever
// made them.
func (s *Server) saveStatus(p *project, old, next *status) {
	if !slices.Contains(p.pipelines, next.pipeline) {
		s.pipeID++
		p.pipelines = append(p.pipelines, next.pipeline)
	}
	if old != nil {
		*old = *next
	} else {
		s.statusID++
		next.id = s.statusID
		p.statuses = append(p.statuses, next)
	}
	for _, other := range p.statuses {
		if other.pipeline == next.pipeline && other.name == next.name && other.id != next.id {
			other.retried = true
		}
	}
}

// describe takes what a status says beside its state.
func (c *call) describe(st *status) error {
	problems := map[string][]string{}
	const longest = 255
	for name, field := range map[string]**string{"target_url": &st.targetURL, "description": &st.description} {
		text := c.params.text(name)
		if text == "" {
			continue
		}
		if utf8.RuneCountInString(text) > longest {
			problems[name] = append(problems[name], "is too long (maximum is 255 characters)")
		}
		*field = &text
	}
	if target := c.params.text("target_url"); target != "" {
		u, err := url.Parse(target)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			problems["target_url"] = append(problems["target_url"], "is blocked: Only allowed schemes are http, https")
		}
	}
	if c.params.has("coverage") {
		coverage, err := strconv.ParseFloat(c.params.text("coverage"), 64)
		if err != nil {
			return invalid("coverage is invalid")
		}
		st.coverage = &coverage
	}
	if len(problems) > 0 {
		return message(http.StatusBadRequest, problems)
	}
	return nil
}

// lockStatus takes the lock that GitLab holds while it changes the statuses of a commit.
func (s *Server) lockStatus(ctx context.Context, projectPath, sha string) (func(), error) {
	key := strings.ToLower(projectPath) + ":" + sha
	s.mu.Lock()
	lock := s.locks[key]
	if lock == nil {
		lock = make(chan struct{}, 1)
		s.locks[key] = lock
	}
	s.mu.Unlock()
	timer := time.NewTimer(s.opts.StatusWait)
	defer timer.Stop()
	select {
	case lock <- struct{}{}:
		return func() { <-lock }, nil
	case <-timer.C:
		return nil, message(http.StatusConflict, statusLocked)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

const statusLocked = "Another update to this commit status is in progress"

// HoldStatuses keeps the statuses of a commit locked, as another update of them would; who wants to change them waits,
// and then gets 409. The function that it returns ends that.
func (s *Server) HoldStatuses(ctx context.Context, projectPath, sha string) (release func(), err error) {
	return s.lockStatus(ctx, projectPath, sha)
}
