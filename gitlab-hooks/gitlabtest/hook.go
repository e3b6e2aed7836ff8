package gitlabtest

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Hook is a webhook of a project, or a system hook of the instance.
type Hook struct {
	ID          int // given by AddHook
	URL         string
	Name        string
	Description string

	Token        string // secret token, sent in clear as X-Gitlab-Token
	SigningToken string // whsec_ and 32 bytes in base64; signs deliveries of the profile Current

	// Events are what the hook subscribes to, in the API's words: push_events, tag_push_events, … (all can be named,
	// only those two ever happen here). Nil means push_events, as in GitLab.
	Events []string

	BranchFilter   string // of push events; empty means all branches
	FilterStrategy string // wildcard (if empty), regex or all_branches

	SkipTLSCheck bool              // enable_ssl_verification off
	Headers      map[string]string // custom headers
	Template     string            // custom webhook template; empty means GitLab's payload
}

// The triggers of GitLab that happen here.
const (
	pushHooks    = "push_hooks"
	tagPushHooks = "tag_push_hooks"
)

// triggerEvents are the settings that switch triggers on.
var triggerEvents = map[string]string{pushHooks: "push_events", tagPushHooks: "tag_push_events"}

// projectEvents are the events of a project hook, in the order of the API's answer; sharedEvents are those that system
// hooks have too.
var (
	sharedEvents  = []string{"push_events", "tag_push_events", "merge_requests_events", "repository_update_events"}
	projectEvents = []string{
		"issues_events", "confidential_issues_events", "note_events", "confidential_note_events", "pipeline_events",
		"wiki_page_events", "deployment_events", "feature_flag_events", "job_events", "releases_events", "milestone_events",
		"emoji_events", "resource_access_token_events", "resource_deploy_token_events", "vulnerability_events",
	}
)

type hook struct {
	Hook
	project *project // nil for a system hook
	created time.Time
	gone    bool // deleted

	failures      int // in a row
	disabledUntil time.Time

	log     []*Delivery
	queue   []*job
	workers int
}

// AddHook adds a webhook to a project.
func (s *Server) AddHook(projectPath string, h Hook) (Hook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.projectByPath(projectPath)
	if p == nil {
		return Hook{}, fmt.Errorf("add hook: no project %q", projectPath)
	}
	made, err := s.newHook(p, h)
	if err != nil {
		return Hook{}, fmt.Errorf("add hook to %s: %w", projectPath, err)
	}
	p.hooks = append(p.hooks, made)
	return made.Hook, nil
}

// AddSystemHook adds a hook of the whole instance, which is called for the pushes of every project.
func (s *Server) AddSystemHook(h Hook) (Hook, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	made, err := s.newHook(nil, h)
	if err != nil {
		return Hook{}, fmt.Errorf("add system hook: %w", err)
	}
	s.system = append(s.system, made)
	return made.Hook, nil
}

func (s *Server) newHook(p *project, h Hook) (*hook, error) {
	if h.Events == nil {
		h.Events = []string{"push_events"}
	}
	h.FilterStrategy = orElse(h.FilterStrategy, "wildcard")
	h.Headers, h.Events = maps.Clone(h.Headers), slices.Clone(h.Events)
	if err := h.check(); err != nil {
		return nil, err
	}
	s.hookIDs++
	h.ID = s.hookIDs
	return &hook{Hook: h, project: p, created: s.opts.Now()}, nil
}

// check refuses what GitLab refuses, in its words. Local addresses are allowed, as they are with "Allow requests to
// the local network from webhooks" switched on.
func (h Hook) check() error {
	u, err := url.Parse(h.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return refusal("Invalid url given")
	}
	if _, err := regexp.Compile(h.BranchFilter); h.FilterStrategy == "regex" && err != nil {
		return refusal("Invalid branch filter given")
	}
	if h.SigningToken != "" {
		if _, err := signingKey(h.SigningToken); err != nil {
			return refusal("Signing token " + err.Error())
		}
	}
	for _, event := range h.Events {
		if !slices.Contains(sharedEvents, event) && !slices.Contains(projectEvents, event) {
			return fmt.Errorf("no event %q", event)
		}
	}
	return nil
}

func signingKey(token string) ([]byte, error) {
	text, ok := strings.CutPrefix(token, "whsec_")
	key, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(key) != 32 {
		return nil, errors.New("must be in the whsec_<base64> format, encoding a 32-byte key")
	}
	return key, nil
}

// wants says whether the hook subscribes to what happened to a ref.
func (h *hook) wants(trigger, refName string) bool {
	if !slices.Contains(h.Events, triggerEvents[trigger]) {
		return false
	}
	branch, isBranch := strings.CutPrefix(refName, headsPrefix)
	if trigger != pushHooks || !isBranch || h.BranchFilter == "" {
		return true
	}
	switch h.FilterStrategy {
	case "all_branches":
		return true
	case "regex":
		return regexp.MustCompile(h.BranchFilter).MatchString(branch) // check has compiled it
	}
	return matchWildcard(h.BranchFilter, branch)
}

// hooksOf are the hooks that a project's events go to, in the order in which GitLab queues them.
func (s *Server) hooksOf(p *project) []*hook { return slices.Concat(p.hooks, s.system) }

// anyHook says whether anybody subscribes to a trigger: else no payload is built.
func (s *Server) anyHook(p *project, trigger string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.hooksOf(p), func(h *hook) bool { return slices.Contains(h.Events, triggerEvents[trigger]) })
}

// fire queues an event for every hook that wants it. One that is disabled loses it.
func (s *Server) fire(p *project, trigger string, data *pushPayload) error {
	body, err := encode(data)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range s.hooksOf(p) {
		if !h.wants(trigger, data.Ref) {
			continue
		}
		j := &job{hook: h, trigger: trigger, key: newUUID(), body: body, ref: data.Ref, after: data.After}
		if !s.executable(h) {
			s.dropLocked(j, "the hook is disabled")
			continue
		}
		s.enqueue(j)
	}
	return nil
}

// encode writes JSON as GitLab does: compact, < and & as they are.
func encode(data any) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(data)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}
