package api

import (
	"context"
	"errors"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type eventsInput struct {
	Image     string `query:"image" maxLength:"255" doc:"name of the images"`
	ImageUUID string `query:"image_uuid" maxLength:"36"`
	RunID     string `query:"run_id" maxLength:"64"`
	Actor     string `query:"actor" maxLength:"255" doc:"who did it"`
	Cursor    string `query:"cursor" maxLength:"200" doc:"as the page before gave it"`
	Limit     int    `query:"limit" doc:"1 to 1000; 0 = 50"`
}

// eventsPage is one page of the audit, last recorded first.
type eventsPage struct {
	Events []lineage.Event `json:"events" nullable:"false"`
	Next   string          `json:"next,omitempty" doc:"the cursor of the next page; absent on the last"`
}

type eventsOutput struct{ Body eventsPage }

func (s *Server) listEvents(ctx context.Context, in *eventsInput) (*eventsOutput, error) {
	who := bearer(ctx)
	f := lineage.EventFilter(*in)
	if len(who.Projects) > 0 {
		if err := s.mayAudit(ctx, f); err != nil {
			return nil, err
		}
	}
	events, next, err := s.config.Store.Events(ctx, f)
	if err != nil {
		return nil, err
	}
	if len(who.Projects) > 0 {
		if events, err = s.ownEvents(ctx, who, events); err != nil {
			return nil, err
		}
	}
	return &eventsOutput{Body: eventsPage{events, next}}, nil
}

// mayAudit lets a token of some projects see the story of what is theirs.
func (s *Server) mayAudit(ctx context.Context, f lineage.EventFilter) error {
	if f.Image == "" && f.ImageUUID == "" && f.RunID != "" {
		_, err := s.visibleRun(ctx, f.RunID)
		return err
	}
	ref := f.Image
	if ref == "" {
		ref = f.ImageUUID
	}
	if ref == "" {
		return &lineage.Invalid{Field: "image", Problem: "is missing: a token of some projects names an image or a run of theirs"}
	}
	images, err := s.visible(ctx, lineage.Query{Ref: ref})
	if err == nil && !speaksFor(bearer(ctx), images[0].Project) {
		err = noImage(lineage.Query{Ref: ref})
	}
	return err
}

// ownEvents leaves out the runs of others: two projects may have tried to
// build a name.
func (s *Server) ownEvents(ctx context.Context, who lineage.Token, events []lineage.Event) ([]lineage.Event, error) {
	foreign := map[string]bool{}
	for _, e := range events {
		if _, known := foreign[e.RunID]; known || e.RunID == "" {
			continue
		}
		run, err := s.config.Store.Run(ctx, e.RunID)
		if err != nil && !errors.Is(err, lineage.ErrNotFound) {
			return nil, err
		}
		foreign[e.RunID] = err == nil && !speaksFor(who, run.Project)
	}
	return slices.DeleteFunc(events, func(e lineage.Event) bool { return foreign[e.RunID] }), nil
}
