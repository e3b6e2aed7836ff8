package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	streamType  = "text/event-stream"
	streamAlive = 15 * time.Second // something is sent at least so often, as proxies end what is silent
	streamWrite = 30 * time.Second // a reader who takes nothing for so long is gone
	streamMost  = 5 * time.Minute  // then he has to come back, and to show that he still may read
)

type followInput struct {
	ID   string `path:"id" maxLength:"64" doc:"the run's id"`
	Last string `header:"Last-Event-ID" maxLength:"20" doc:"go on after this event, as its id was; it is a number of bytes of the log"`
}

func (s *Server) registerFollow() {
	o := operation{
		method: http.MethodGet, path: "/api/v1/runs/{id}/log/follow", id: "follow-run-log", need: mayRead, problems: []int{409},
		summary: "the log of a run while it grows, as server-sent events",
		text: "Events `log` have lines of it, and an id to come back with, in Last-Event-ID; what was missed is sent then. " +
			"The event `end` is the last one: its data is the state of the run, or `building` while the daemon is still finding out how it ended. " +
			"Of a long log the beginning may be left out, which a line of its own says. Colours and control characters are taken out.",
	}
	handle(s, o, s.followLog)
	s.registerPart("GET /runs/{id}/log/follow", mayRead, func(w http.ResponseWriter, r *http.Request) error {
		return s.follow(w, r, r.PathValue("id"), r.Header.Get("Last-Event-ID"))
	})
}

func (s *Server) followLog(ctx context.Context, in *followInput) (*huma.StreamResponse, error) {
	from, err := s.followed(ctx, in.ID, in.Last)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		r, w := humago.Unwrap(hctx)
		s.stream(w, r, from)
	}}, nil
}

// follow is followLog for pages.
func (s *Server) follow(w http.ResponseWriter, r *http.Request, id, last string) error {
	from, err := s.followed(r.Context(), id, last)
	if err == nil {
		s.stream(w, r, from)
	}
	return err
}

// followed is a run, and from where on its log is to be followed.
type followed struct {
	run    lineage.Run
	offset int64
	live   *follow // nil: it has ended, and its log is kept
}

// followed finds it; stream is to be called then.
func (s *Server) followed(ctx context.Context, id, last string) (f followed, err error) {
	if last != "" {
		if f.offset, err = strconv.ParseInt(last, 10, 64); err != nil || f.offset < 0 {
			return f, &lineage.Invalid{Field: "Last-Event-ID", Problem: "is not the id of an event of this log; leave it out to have the log from its beginning"}
		}
	}
	if f.run, err = s.visibleRun(ctx, id); err != nil {
		return f, err
	}
	if f.run.Final() {
		log, err := s.openLog(f.run.ID)
		if err != nil {
			return f, err
		}
		return f, log.Close()
	}
	if s.config.Consoles == nil || !f.run.Managed && f.run.Build == 0 {
		return f, &lineage.Conflict{ID: f.run.ID, Problem: "has a console only where it was started; it is no build of the Jenkins that this server follows"}
	}
	f.live, err = s.follows.join(f.run.ID)
	return f, err
}

// stream sends the log until it has ended, or nobody reads any more.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, f followed) {
	if f.live != nil {
		defer s.follows.leave(f.live)
	}
	ctx, cancel := context.WithTimeout(connection(r.Context()), streamMost)
	defer cancel()
	e := &events{w: w, c: http.NewResponseController(w), offset: f.offset}
	w.Header().Set("Content-Type", streamType)
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Accel-Buffering", "no") // nginx would keep the lines to itself
	var err error
	switch {
	case r.Method == http.MethodHead:
	case f.live != nil:
		err = s.streamGrowing(ctx, e, f.live)
	default:
		err = s.keptPieces(f.run.ID, f.offset, func(piece []byte) error { return errors.Join(ctx.Err(), e.lines(piece)) })
		if err == nil {
			err = e.end(f.run.State)
		}
	}
	if err != nil {
		s.log.Debug("a log is no longer followed", "run", f.run.ID, "request", requestID(r.Context()), "error", err)
	}
}

func (s *Server) streamGrowing(ctx context.Context, e *events, one *follow) error {
	if err := e.alive(); err != nil { // the headers go out: the reader knows that he is heard
		return err
	}
	for {
		piece, lost, ended, changed := one.from(e.offset)
		if lost > 0 {
			if err := e.left(lost); err != nil {
				return err
			}
		}
		if len(piece) > 0 {
			if err := e.lines(piece); err != nil {
				return err
			}
			continue
		}
		if ended {
			return e.end(s.stateOf(ctx, one.run))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.follows.done:
			return errors.New("the server stops")
		case <-changed:
		case <-time.After(streamAlive):
			if err := e.alive(); err != nil {
				return err
			}
		}
	}
}

// stateOf is the run's state now; its end is recorded a moment after its build's.
func (s *Server) stateOf(ctx context.Context, id string) string {
	run, err := s.config.Store.Run(ctx, id)
	if err != nil {
		return lineage.RunBuilding
	}
	return run.State
}

// events writes a stream of server-sent events.
type events struct {
	w      http.ResponseWriter
	c      *http.ResponseController
	offset int64
}

func (e *events) send(text string) error {
	if err := e.c.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.c.Flush()
}

func (e *events) alive() error { return e.send(": alive\n\n") }

// lines sends a piece of the log, whole lines but for the last.
func (e *events) lines(piece []byte) error {
	e.offset += int64(len(piece))
	var b strings.Builder
	b.WriteString("event: log\n")
	for line := range bytes.SplitSeq(bytes.TrimSuffix(piece, []byte("\n")), []byte("\n")) {
		b.WriteString("data: " + strings.ReplaceAll(printable(string(line)), "\n", " ") + "\n")
	}
	fmt.Fprintf(&b, "id: %d\n\n", e.offset)
	return e.send(b.String())
}

// left says that a part of the log is not kept here any more.
func (e *events) left(lost int64) error {
	e.offset += lost
	return e.send(fmt.Sprintf("event: log\ndata: [aibuild: %d bytes are left out here]\nid: %d\n\n", lost, e.offset))
}

func (e *events) end(state string) error { return e.send("event: end\ndata: " + state + "\n\n") }
