package hooks

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/xanzy/go-gitlab"
)

// HookSpec is a project's webhook as it is to be: it tells the daemon of pushes and tags, and of nothing else.
type HookSpec struct {
	URL string
	// Secret is sent with deliveries as it is, or signs them if it starts with whsec_ (GitLab 19.0). It never ends up in a
	// plan or an error.
	Secret string
}

// HookPlan is what is to be done so that a project has the webhook.
type HookPlan struct {
	Project string
	ID      int       // 0: there is none yet
	Changes []Setting // none when all is as it is to be, but for the secret, which GitLab does not tell
	Twice   []string  // URLs of other webhooks that lead to the same place
	Astray  []string  // and of those that lead to such a place elsewhere, as after a move of the daemon
	spec    HookSpec
}

// Setting is one of a webhook's, by GitLab's name.
type Setting struct{ Name, Have, Want string }

const hookEvents = "_events"

// unwantedEvents are all that GitLab may tell of, but those two that are wanted.
var unwantedEvents = []string{
	"issues_events", "confidential_issues_events", "merge_requests_events", "note_events", "confidential_note_events", "job_events",
	"pipeline_events", "wiki_page_events", "deployment_events", "feature_flag_events", "releases_events", "milestone_events", "emoji_events",
	"resource_access_token_events", "vulnerability_events",
}

// wanted are the settings of a webhook, as the API takes them.
func (s HookSpec) wanted() map[string]any {
	settings := map[string]any{
		"url": s.URL, "push_events": true, "tag_push_events": true, "enable_ssl_verification": true,
		"push_events_branch_filter": "", "branch_filter_strategy": "all_branches", "custom_webhook_template": "",
	}
	for _, event := range unwantedEvents {
		settings[event] = false
	}
	return settings
}

// PlanHook compares the webhooks of a project with what is to be. It needs the role maintainer, as all that is about
// webhooks does. The webhook is known by its URL.
func (c Client) PlanHook(ctx context.Context, project string, s HookSpec) (HookPlan, error) {
	const op = "plan a webhook"
	p := HookPlan{Project: project, spec: s}
	if s.Secret == "" || strings.ContainsAny(s.Secret, "\r\n") {
		return p, &Error{Op: op, Reason: ErrConfig, Detail: "the webhook's secret is empty, or not one line", Hint: "write one line of random letters into its file"}
	}
	var all []map[string]any
	err := c.pages(op, func(api *gitlabClient, page gitlab.ListOptions) (*gitlab.Response, error) {
		request, err := api.NewRequest(http.MethodGet, hooksOf(project), &page, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
		if err != nil {
			return nil, err
		}
		var found []map[string]any
		response, err := api.Do(request, &found)
		all = append(all, found...)
		return response, err
	})
	if err != nil {
		return p, settersOf(err)
	}
	for _, have := range all {
		at, _ := have["url"].(string)
		id, _ := have["id"].(float64)
		switch {
		case !sameURL(at, s.URL) || id < 1:
			if samePath(at, s.URL) {
				p.Astray = append(p.Astray, place(at))
			}
		case p.ID != 0:
			p.Twice = append(p.Twice, place(at))
		default:
			p.ID, p.Changes = int(id), s.changes(have)
		}
	}
	if p.ID == 0 {
		p.Changes = s.changes(map[string]any{})
	}
	return p, nil
}

func hooksOf(project string) string { return "projects/" + gitlab.PathEscape(project) + "/hooks" }

func sameURL(a, b string) bool {
	return strings.EqualFold(strings.TrimRight(a, "/"), strings.TrimRight(b, "/"))
}

func samePath(a, b string) bool {
	one, err := url.Parse(a)
	two, err2 := url.Parse(b)
	return err == nil && err2 == nil && strings.TrimRight(one.Path, "/") == strings.TrimRight(two.Path, "/")
}

// changes are the settings that are not as they are to be. Which events there are is GitLab's to know: all that it
// shows as on count.
func (s HookSpec) changes(have map[string]any) []Setting {
	var list []Setting
	differs := func(name string, want any) {
		was := have[name]
		if was == nil && (want == false || want == "") || name == "branch_filter_strategy" || was == want {
			return
		}
		if name == "url" { // what is secret in it is not shown
			text, _ := was.(string)
			if was = place(text); text == "" {
				was = nil
			}
			if sameURL(text, s.URL) {
				return
			}
		}
		list = append(list, Setting{name, shown(was), shown(want)})
	}
	wanted := s.wanted()
	for _, name := range slices.Sorted(maps.Keys(have)) {
		if _, ours := wanted[name]; !ours && strings.HasSuffix(name, hookEvents) && have[name] == true && name != "repository_update_events" {
			differs(name, false) // one that this version does not know
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		differs(name, wanted[name])
	}
	return list
}

func shown(value any) string {
	if value == nil || value == "" {
		return "-"
	}
	return clip(fmt.Sprint(value))
}

// ApplyHook makes the webhook, or changes it, and gives its id. The secret is set in any case, as nobody can see whether
// it is the right one.
func (c Client) ApplyHook(ctx context.Context, p HookPlan) (int, error) {
	op, method, at := "add a webhook", http.MethodPost, hooksOf(p.Project)
	settings := p.spec.wanted()
	if p.ID != 0 {
		op, method, at = "change a webhook", http.MethodPut, fmt.Sprintf("%s/%d", at, p.ID)
		for _, change := range p.Changes {
			if _, known := settings[change.Name]; !known {
				settings[change.Name] = false
			}
		}
	}
	signs := strings.HasPrefix(p.spec.Secret, signingPrefix)
	if signs {
		settings["signing_token"] = p.spec.Secret
	} else {
		settings["token"] = p.spec.Secret
	}
	api, caught, err := c.caught(op)
	if err != nil {
		return 0, err
	}
	request, err := api.NewRequest(method, at, settings, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
	if err != nil {
		return 0, err
	}
	var made struct {
		ID    int   `json:"id"`
		Signs *bool `json:"signing_token_present"`
	}
	response, err := api.Do(request, &made)
	if err != nil {
		return 0, p.refused(c.refusal(op, response, caught, err))
	}
	switch {
	case made.ID == 0:
		return 0, c.failure(op, response, errors.New("no id in the answer"))
	case signs && (made.Signs == nil || !*made.Signs): // GitLab drops without a word what it does not know
		return made.ID, &Error{Op: op, URL: strings.TrimRight(c.URL, "/"), Status: response.StatusCode, Reason: ErrRefused,
			Detail: "gitlab did not take the signing token: it is older than 19.0, or its feature flag webhook_signing_token is off",
			Hint:   "give the project a secret that does not start with whsec_, in its secret_files"}
	}
	return made.ID, nil
}

// refused says what to do about what GitLab does not take. It repeats parts of what was sent, so the secret is hidden.
func (p HookPlan) refused(failed *Error) error {
	failed.Detail = strings.ReplaceAll(failed.Detail, p.spec.Secret, "***")
	if errors.Is(failed.Reason, ErrRefused) {
		failed.Hint = "see what gitlab says"
		switch low := strings.ToLower(failed.Detail); {
		case strings.Contains(low, "url"):
			failed.Hint = "correct public_url; or let an administrator allow requests to the local network from webhooks (Admin area, Settings, Network, Outbound requests)"
		case strings.Contains(low, "signing"):
			failed.Hint = "a signing token is whsec_ and 32 random bytes in base64, as openssl rand -base64 32 makes them"
		}
	}
	return settersOf(failed)
}

// settersOf says which role is missing for what only maintainers do.
func settersOf(err error) error {
	if failed, ok := errors.AsType[*Error](err); ok && errors.Is(failed.Reason, ErrForbidden) {
		failed.Hint = "use a token with the scope api of a member with the role Maintainer (GITLAB_SETUP_TOKEN_FILE): gitlab lets no other see or change webhooks"
	}
	return err
}
