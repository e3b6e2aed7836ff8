package api

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type imagesInput struct {
	Name    string    `query:"name" maxLength:"255"`
	Project string    `query:"project" maxLength:"255"`
	State   string    `query:"state" maxLength:"20"`
	Since   time.Time `query:"since" doc:"built at or after"`
	Cursor  string    `query:"cursor" maxLength:"200" doc:"as the page before gave it"`
	Limit   int       `query:"limit" doc:"1 to 1000; 0 = 50"`
}

// imagesPage is one page of images, newest built first.
type imagesPage struct {
	Images []lineage.Image `json:"images" nullable:"false"`
	Next   string          `json:"next,omitempty" doc:"the cursor of the next page; absent on the last"`
}

type imagesPageOutput struct{ Body imagesPage }

type historyInput struct {
	Ref   string `path:"ref" maxLength:"2048" doc:"NAME: all of it; anything else: the one image or run that it names"`
	Limit int    `query:"limit" doc:"1 to 1000; 0 = 1000"`
}

// historyEntry is lineage.Entry on the wire.
type historyEntry struct {
	Image *lineage.Image `json:"image,omitempty"`
	Run   *lineage.Run   `json:"run,omitempty" doc:"that made no image"`
}

type history struct {
	Entries []historyEntry `json:"entries" nullable:"false" doc:"newest first; each has an image or a run"`
}

type historyOutput struct{ Body history }

func (s *Server) registerStory() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images", id: "list-images", need: mayRead,
		summary: "images, newest first",
		text: "Without artifacts and test cases; ask for one image to see them. " +
			"A token of some projects sees their images only, but a recorder sees all; a page may have fewer images than its limit, or none, and still name a next one.",
	}, s.listImages)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images/{ref}/history", id: "history", need: mayRead, problems: []int{409},
		summary: "the images of a name, newest first, and the runs that made none",
	}, s.history)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/events", id: "list-events", need: mayRead, problems: []int{409},
		summary: "the audit: who did what, when and why, last recorded first",
		text: "At most one of `image`, `image_uuid`, `run_id` and `actor` counts, in this order. " +
			"A token of some projects names an image or a run of theirs, as it sees the story of these only.",
	}, s.listEvents)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/caps", id: "caps", need: mayRead,
		summary: "what the server's configuration lets a project do",
		text:    "`refused_by_rule` to a recorder of a project that is not configured: nothing is recorded for it by Jenkins builds.",
	}, s.getCaps)
}

func (s *Server) listImages(ctx context.Context, in *imagesInput) (*imagesPageOutput, error) {
	who := bearer(ctx)
	f := lineage.Filter{Name: in.Name, Project: in.Project, State: in.State, Since: in.Since, Cursor: in.Cursor, Limit: in.Limit}
	if f.Project == "" && len(who.Projects) == 1 && who.Role != RoleRecorder {
		f.Project = who.Projects[0]
	}
	images, next, err := s.config.Store.Images(ctx, f)
	if err != nil {
		return nil, err
	}
	if images == nil {
		images = []lineage.Image{}
	}
	images = slices.DeleteFunc(images, func(i lineage.Image) bool { return !seesImagesOf(who, i.Project) })
	return &imagesPageOutput{Body: imagesPage{images, next}}, nil
}

// seesImagesOf: a recorder sees all, because an image may be built from any
// other.
func seesImagesOf(who lineage.Token, project string) bool {
	return who.Role == RoleRecorder || speaksFor(who, project)
}

func (s *Server) history(ctx context.Context, in *historyInput) (*historyOutput, error) {
	who := bearer(ctx)
	found, err := s.config.Store.History(ctx, in.Ref, in.Limit)
	if a, ok := errors.AsType[*lineage.Ambiguous](err); ok && who.Role != RoleRecorder && len(who.Projects) > 0 {
		hide := func(i lineage.Image) bool { return !speaksFor(who, i.Project) }
		if a.Candidates = slices.DeleteFunc(a.Candidates, hide); len(a.Candidates) == 0 && !a.More {
			err = noImage(lineage.Query{Ref: in.Ref})
		}
	}
	if err != nil {
		return nil, err
	}
	out := history{Entries: []historyEntry{}}
	for _, e := range found {
		if e.Image != nil && seesImagesOf(who, e.Image.Project) || e.Run != nil && speaksFor(who, e.Run.Project) {
			out.Entries = append(out.Entries, historyEntry(e))
		}
	}
	if len(out.Entries) == 0 {
		return nil, noImage(lineage.Query{Ref: in.Ref})
	}
	return &historyOutput{Body: out}, nil
}
