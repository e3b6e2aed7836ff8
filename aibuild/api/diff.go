package api

import (
	"context"
	"net/http"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type diffInput struct {
	From string `query:"from" required:"true" minLength:"1" maxLength:"2048" doc:"an image: NAME (newest), NAME@N, uuid or unique prefix, Glance id, sha256 or URL"`
	To   string `query:"to" required:"true" minLength:"1" maxLength:"2048" doc:"the other one"`
}

type diffOutput struct{ Body lineage.Diff }

func (s *Server) registerDiff() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/diff", id: "diff", need: mayRead, problems: []int{409},
		summary: "what sets two images apart: packages, size, source, commit, settings, tests",
		text:    "`packages` is absent unless what is installed was recorded of both.",
	}, s.diff)
}

func (s *Server) diff(ctx context.Context, in *diffInput) (*diffOutput, error) {
	var uuids [2]string
	for n, ref := range []string{in.From, in.To} {
		images, err := s.visible(ctx, lineage.Query{Ref: ref})
		if err != nil {
			return nil, err
		}
		uuids[n] = images[0].UUID
	}
	d, err := s.config.Store.Diff(ctx, uuids[0], uuids[1])
	if err != nil {
		return nil, err
	}
	return &diffOutput{Body: d}, nil
}
