package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type resolveInput struct {
	Ref     string `query:"ref" maxLength:"2048" doc:"NAME (newest), NAME@N, uuid or unique prefix, Glance id, sha256 or URL; alone, it gives one image with all that is known of it"`
	Name    string `query:"name" maxLength:"255" doc:"images of this name"`
	Good    bool   `query:"good" doc:"only those that passed their tests and are not revoked; with name alone, the newest"`
	Cluster string `query:"cluster" maxLength:"60" doc:"recorded as uploading, visible, hidden, changed or missing there"`
	Parent  string `query:"parent" maxLength:"36" doc:"built from the image of this uuid"`
	Limit   int    `query:"limit" doc:"1 to 10000; 0 = 1 with name and good alone, else 10000"`

	At time.Time `query:"at" doc:"with name and cluster alone: the one image that the cluster showed under the name then, with all that is known of it today and the Glance id of then"`
}

type imageList struct {
	Images []lineage.Image `json:"images" nullable:"false"`
}

type imagesOutput struct{ Body imageList }

type imageInput struct {
	Ref string `path:"ref" maxLength:"2048" doc:"NAME (newest), NAME@N, uuid or unique prefix, Glance id or sha256"`
}

type imageOutput struct{ Body lineage.Image }

func (s *Server) registerImages() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/resolve", id: "resolve", need: mayRead, problems: []int{409},
		summary: "find images",
		text: "Either by `ref`, which gives exactly one, or by the other parameters, newest first; with none of them, the images that have a record in any cluster. " +
			"With `at` it is `not_found` when the cluster showed none then; the Glance id is the one that the image has, or had last, in the cluster. " +
			"A token of some projects sees their images only, but a recorder sees all: an image may be built from any other.",
	}, s.resolve)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images/{ref}", id: "image", need: mayRead, problems: []int{409},
		summary: "one image, with all that is known of it",
	}, s.image)
}

func (s *Server) resolve(ctx context.Context, in *resolveInput) (*imagesOutput, error) {
	images, err := s.visible(ctx, lineage.Query(*in))
	if err != nil {
		return nil, err
	}
	return &imagesOutput{Body: imageList{images}}, nil
}

func (s *Server) image(ctx context.Context, in *imageInput) (*imageOutput, error) {
	images, err := s.visible(ctx, lineage.Query{Ref: in.Ref})
	if err != nil {
		return nil, err
	}
	return &imageOutput{Body: images[0]}, nil
}

// visible finds images and leaves out those that the token may not see.
func (s *Server) visible(ctx context.Context, q lineage.Query) ([]lineage.Image, error) {
	who := bearer(ctx)
	images, err := s.config.Store.Resolve(ctx, q)
	if who.Role == RoleRecorder || len(who.Projects) == 0 {
		return images, err
	}
	hide := func(i lineage.Image) bool { return !speaksFor(who, i.Project) }
	if a, ok := errors.AsType[*lineage.Ambiguous](err); ok {
		if a.Candidates = slices.DeleteFunc(a.Candidates, hide); len(a.Candidates) == 0 && !a.More {
			err = noImage(q)
		}
		return nil, err
	}
	if errors.Is(err, lineage.ErrNotFound) && q.Ref != "" && q.Good {
		// There may be one that is not good, which is for its project to know.
		if all, anyErr := s.visible(ctx, lineage.Query{Ref: q.Ref}); len(all) == 0 && (anyErr == nil || errors.Is(anyErr, lineage.ErrNotFound)) {
			return nil, noImage(q)
		}
	}
	if err != nil {
		return nil, err
	}
	found := len(images)
	images = slices.DeleteFunc(images, hide)
	if len(images) == 0 && found > 0 && (q.Ref != "" || q.Name != "" && q.Good || !q.At.IsZero()) {
		return nil, noImage(q)
	}
	return images, nil
}

// noImage is what the store says when there is none.
func noImage(q lineage.Query) error {
	if !q.At.IsZero() {
		return fmt.Errorf("image %s in cluster %s at %s: none was visible: %w", q.Name, q.Cluster, q.At.UTC().Format(time.RFC3339), lineage.ErrNotFound)
	}
	if q.Ref == "" {
		return fmt.Errorf("good image of %s: %w", q.Name, lineage.ErrNotFound)
	}
	return fmt.Errorf("image %s: %w", strings.TrimSpace(q.Ref), lineage.ErrNotFound)
}
