package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type pushesInput struct {
	Project string `query:"project" maxLength:"255" doc:"GitLab's path: group/project"`
	Ref     string `query:"ref" maxLength:"1024" doc:"branch, or refs/heads/BRANCH, refs/tags/TAG; needs a project"`
	Cursor  string `query:"cursor" maxLength:"200" doc:"as the page before gave it"`
	Limit   int    `query:"limit" doc:"1 to 1000; 0 = 50"`
}

// pushesPage is one page of the deliveries, last received first.
type pushesPage struct {
	Pushes []lineage.HookEvent `json:"pushes" nullable:"false"`
	Next   string              `json:"next,omitempty" doc:"the cursor of the next page; absent on the last"`
}

type pushesOutput struct{ Body pushesPage }

func (s *Server) registerPushes() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/pushes", id: "list-pushes", need: mayRead,
		summary: "what GitLab told of, last received first, and what became of it: why was this not built?",
		text: "`reason` says of each push which images it starts, and which it leaves alone and why. " +
			"Without the bodies that GitLab has sent. " +
			"A token of some projects sees their pushes only; a page may then have fewer pushes than its limit, or none, and still name a next one.",
	}, s.listPushes)
}

func (s *Server) listPushes(ctx context.Context, in *pushesInput) (*pushesOutput, error) {
	who := bearer(ctx)
	f := lineage.HookFilter{Project: in.Project, Ref: fullRef(in.Ref), Cursor: in.Cursor, Limit: in.Limit}
	if f.Project == "" && len(who.Projects) == 1 {
		f.Project = who.Projects[0]
	}
	pushes, next, err := s.config.Store.HookEvents(ctx, f)
	if err != nil {
		return nil, err
	}
	if f.Project != "" && !speaksFor(who, f.Project) {
		return &pushesOutput{Body: pushesPage{Pushes: []lineage.HookEvent{}}}, nil // nor how many there are
	}
	pushes = slices.DeleteFunc(pushes, func(e lineage.HookEvent) bool { return !speaksFor(who, e.Project) })
	return &pushesOutput{Body: pushesPage{Pushes: pushes, Next: next}}, nil
}

// Pushes lists what GitLab told of, as [lineage.Store.HookEvents] does; State
// does not count. A page may have fewer pushes than its limit and still name a
// next one.
func (c *Client) Pushes(ctx context.Context, f lineage.HookFilter) (pushes []lineage.HookEvent, next string, err error) {
	v := values(map[string]string{"project": f.Project, "ref": f.Ref, "cursor": f.Cursor}, f.Limit)
	var page pushesPage
	err = c.do(ctx, call{op: "list pushes", method: http.MethodGet, path: []string{"pushes"}, query: v}, &page)
	return page.Pushes, page.Next, err
}
