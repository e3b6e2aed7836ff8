package gitlabtest

import (
	"net/http"
	"slices"
	"strconv"
)

func hookRoutes() []route {
	const (
		list = "projects/:id/hooks"
		one  = list + "/:hook_id"
	)
	return []route{
		{method: "GET", pattern: list, role: Maintainer, handle: (*call).listHooks},
		{method: "POST", pattern: list, role: Maintainer, handle: (*call).createHook},
		{method: "GET", pattern: one, role: Maintainer, handle: (*call).getHook},
		{method: "PUT", pattern: one, role: Maintainer, handle: (*call).updateHook},
		{method: "DELETE", pattern: one, role: Maintainer, handle: (*call).deleteHook},
		{method: "GET", pattern: one + "/events", since: V17, role: Maintainer, handle: (*call).listEvents},
		{method: "POST", pattern: one + "/events/:log_id/resend", since: V17, role: Maintainer, handle: (*call).resend},
		{method: "POST", pattern: one + "/test/:trigger", since: V17, role: Maintainer, handle: (*call).testHook},
	}
}

// tellHook gives a hook as the API shows it: no secret, of custom headers the names. Lists have even less.
func (s *Server) tellHook(h *hook, whole bool) map[string]any {
	told := map[string]any{
		"id": h.ID, "url": h.URL, "created_at": apiTime(h.created), "enable_ssl_verification": !h.SkipTLSCheck,
		"alert_status": s.alertStatus(h), "disabled_until": apiTime(h.disabledUntil),
		"push_events_branch_filter": textOrNil(h.BranchFilter), "branch_filter_strategy": h.FilterStrategy,
	}
	events := sharedEvents
	if h.project != nil {
		told["project_id"] = h.project.ID
		events = slices.Concat(sharedEvents, projectEvents)
	}
	for _, event := range events {
		told[event] = slices.Contains(h.Events, event)
	}
	if s.opts.Profile.atLeast(V17) {
		told["name"], told["description"] = textOrNil(h.Name), textOrNil(h.Description)
		told["custom_webhook_template"] = textOrNil(h.Template)
	}
	if s.opts.Profile.atLeast(V17) && whole {
		headers := []map[string]string{}
		for name := range h.Headers {
			headers = append(headers, map[string]string{"key": name})
		}
		told["custom_headers"], told["url_variables"] = headers, []any{}
	}
	if s.opts.Profile.atLeast(Current) {
		told["token_present"], told["signing_token_present"] = h.Token != "", h.SigningToken != ""
	}
	return told
}

func textOrNil(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (c *call) listHooks() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	all := []map[string]any{}
	for _, h := range c.project.hooks {
		all = append(all, c.s.tellHook(h, false))
	}
	return paginate(c, all)
}

// hook finds the one that the path names.
func (c *call) hook() (*hook, error) {
	id, err := strconv.Atoi(c.path["hook_id"])
	if err != nil {
		return nil, invalid("hook_id is invalid")
	}
	for _, h := range c.project.hooks {
		if h.ID == id {
			return h, nil
		}
	}
	return nil, noRecord()
}

func (c *call) getHook() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	h, err := c.hook()
	if err != nil {
		return nil, err
	}
	return c.s.tellHook(h, true), nil
}

func (c *call) createHook() (any, error) {
	if !c.params.has("url") {
		return nil, invalid("url is missing")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	settings, err := c.hookSettings(Hook{Events: []string{"push_events"}, FilterStrategy: "wildcard"})
	if err != nil {
		return nil, err
	}
	made, err := c.s.newHook(c.project, settings)
	if err != nil {
		return nil, hookRefused(err)
	}
	c.project.hooks = append(c.project.hooks, made)
	return c.s.tellHook(made, true), nil
}

func (c *call) updateHook() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	h, err := c.hook()
	if err != nil {
		return nil, err
	}
	if len(c.params) == 0 {
		return nil, &apiError{status: http.StatusBadRequest, body: map[string]string{"error": "No parameters provided"}}
	}
	settings, err := c.hookSettings(h.Hook)
	if err != nil {
		return nil, err
	}
	if err := settings.check(); err != nil {
		return nil, hookRefused(err)
	}
	if settings.URL != h.URL { // whoever gets the hook to lead elsewhere does not get its secrets
		settings.Headers = nil
		if !c.params.has("token") {
			settings.Token = ""
		}
	}
	h.Hook = settings
	return c.s.tellHook(h, true), nil
}

func hookRefused(err error) error {
	return &apiError{status: http.StatusUnprocessableEntity, body: map[string]string{"error": err.Error()}}
}

// hookSettings changes what the caller named.
func (c *call) hookSettings(h Hook) (Hook, error) {
	texts := map[string]*string{
		"url": &h.URL, "token": &h.Token, "push_events_branch_filter": &h.BranchFilter, "branch_filter_strategy": &h.FilterStrategy,
	}
	if c.s.opts.Profile.atLeast(V17) {
		texts["name"], texts["description"], texts["custom_webhook_template"] = &h.Name, &h.Description, &h.Template
	}
	if c.s.opts.Profile.atLeast(Current) {
		texts["signing_token"] = &h.SigningToken
	}
	for name, field := range texts {
		if c.params.has(name) {
			*field = c.params.text(name)
		}
	}
	if !slices.Contains([]string{"wildcard", "regex", "all_branches"}, h.FilterStrategy) {
		return h, invalid("branch_filter_strategy does not have a valid value")
	}
	verify, err := c.params.flag("enable_ssl_verification", !h.SkipTLSCheck)
	if err != nil {
		return h, err
	}
	h.SkipTLSCheck = !verify
	events := []string{}
	for _, event := range slices.Concat(sharedEvents, projectEvents) {
		on, err := c.params.flag(event, slices.Contains(h.Events, event))
		if err != nil {
			return h, err
		}
		if on {
			events = append(events, event)
		}
	}
	h.Events = events
	return h, c.customHeaders(&h)
}

func (c *call) customHeaders(h *Hook) error {
	list, _ := c.params["custom_headers"].([]any)
	if len(list) == 0 || !c.s.opts.Profile.atLeast(V17) {
		return nil
	}
	headers := map[string]string{}
	for name, value := range h.Headers {
		headers[name] = value
	}
	for _, entry := range list {
		pair, _ := entry.(map[string]any)
		key, ok := pair["key"].(string)
		value, valid := pair["value"].(string)
		if !ok || !valid {
			return invalid("custom_headers[key] is missing", "custom_headers[value] is missing")
		}
		headers[key] = value
	}
	h.Headers = headers
	return nil
}

// deleteHook forgets the hook, and what is queued for it.
func (c *call) deleteHook() (any, error) {
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	h, err := c.hook()
	if err != nil {
		return nil, err
	}
	h.gone = true
	c.project.hooks = slices.DeleteFunc(slices.Clone(c.project.hooks), func(other *hook) bool { return other == h })
	c.status = http.StatusNoContent
	return nil, nil
}
