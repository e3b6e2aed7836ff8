package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerRunPages() {
	s.webPage("GET /runs", mayRead, s.runsPage)
	s.webPage("GET /runs/{id}", mayRead, s.runPage)
}

func (s *Server) runsPage(r *http.Request) (*view, error) {
	q := r.URL.Query()
	in := &runsInput{Image: q.Get("image"), Project: q.Get("project"), State: q.Get("state"), Unfinished: q.Get("unfinished") != "", Cursor: q.Get("cursor")}
	out, err := s.listRuns(r.Context(), in)
	if err != nil {
		return nil, err
	}
	filter := map[string]string{"image": in.Image, "project": in.Project, "state": in.State, "unfinished": q.Get("unfinished")}
	return &view{name: "runs", title: "Runs", section: "runs", body: listView[lineage.Run]{
		Rows: out.Body.Runs, Filter: filter, States: lineage.RunStates(), Next: nextPage(r, out.Body.Next),
	}}, nil
}

// runView is what run.html shows.
type runView struct {
	Run     lineage.Run
	Final   bool
	Path    []pathStep // oldest first
	Log     string     // the end of it
	LogLong bool       // there is more of it
}

// pathStep is one step of a run's way.
type pathStep struct {
	lineage.Event
	After string // how long after the one before
}

// pathLength is how many steps of a run a page shows.
const pathLength = 500

// runPage is where commit statuses lead.
func (s *Server) runPage(r *http.Request) (*view, error) {
	ctx := r.Context()
	run, err := s.visibleRun(ctx, r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	events, _, err := s.config.Store.Events(ctx, lineage.EventFilter{RunID: run.ID, Limit: pathLength})
	if err != nil {
		return nil, err
	}
	v := runView{Run: run, Final: run.Final()}
	slices.Reverse(events)
	for i, e := range events {
		step := pathStep{Event: e}
		if i > 0 {
			step.After = durationText(e.At.Sub(events[i-1].At))
		}
		v.Path = append(v.Path, step)
	}
	if v.Log, v.LogLong, err = s.logEnd(ctx, run.ID); err != nil {
		s.log.Warn("the log of a run cannot be shown", "run", run.ID, "error", err)
		v.Log = "the log cannot be read; this server's log says why under the id of request " + requestID(ctx)
	}
	if v.Final && r.URL.Query().Get("part") != "" {
		return nil, renewed{} // the page was loaded when it had not ended
	}
	return &view{name: "run", title: run.Image + ": " + words(run.State), section: "runs", body: v}, nil
}

// logShown is how much of a log a page shows; the rest is one link away.
const logShown = 128 << 10

// logEnd is the end of a run's log, and whether there is more before it.
func (s *Server) logEnd(ctx context.Context, id string) (text string, more bool, err error) {
	log, err := s.openLog(id)
	if errors.Is(err, lineage.ErrNotFound) {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	defer log.Close() //nolint:errcheck // it was only read
	end, more, err := endOf(ctx, log, logShown)
	return printable(string(end)), more, err
}

// endOf reads a stream to its end and gives the last bytes, and whether there are more before them.
func endOf(ctx context.Context, from io.Reader, most int) (end []byte, more bool, err error) {
	last := func() {
		if len(end) > most {
			end, more = append(end[:0], end[len(end)-most:]...), true
		}
	}
	for piece := make([]byte, min(most, logShown)); ; {
		n, err := from.Read(piece)
		if end = append(end, piece[:n]...); len(end) > 2*most { // not at every piece: it is copied
			last()
		}
		if errors.Is(err, io.EOF) {
			last()
			return end, more, nil
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return nil, false, err
		}
	}
}

// ansi is what colours and cursor moves look like.
var ansi = regexp.MustCompile(`\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])`)

// printable takes out what a terminal would act on: colours, cursor moves, and
// what is no text.
func printable(log string) string {
	log = ansi.ReplaceAllString(strings.ToValidUTF8(log, "�"), "")
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' || r >= ' ' && r != 0x7f {
			return r
		}
		return -1
	}, log)
}
