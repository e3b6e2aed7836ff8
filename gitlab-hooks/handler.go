package hooks

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Inbox stores deliveries durably. *lineage.Store is one.
type Inbox interface {
	AcceptEvents(ctx context.Context, events []lineage.HookEvent) ([]lineage.Accepted, error)
}

// Handler receives GitLab's webhooks: POST, project or system hooks, push and
// tag push. A delivery is answered when it is stored, and nothing else happens
// before the answer:
//
//	202 {"status":"accepted","event":17}   stored; the same key again gives the same answer
//	202 {"status":"accepted"}              stored on this machine's disk, while the database is away
//	200 {"status":"ignored","reason":…}    none of ours; never a 4xx, which would make GitLab disable the hook
//	401 no valid token or signature · 400 malformed JSON · 413 more than 25 MB · 503 neither database nor disk take it
type Handler struct {
	Inbox     Inbox
	Spool     *Spool                    // nil: a database that is away means 503
	Secrets   func() []Secret           // asked at each delivery; none means that all are refused
	Known     func(project string) bool // nil: every project
	GitLabURL string                    // the instance that all deliveries are of, whichever they name
	Log       hclog.Logger
	Now       func() time.Time
	Woken     func() // something was stored

	once   sync.Once
	room   room
	writer *batcher
	stats  handlerStats
	notes  handlerLog
}

const (
	maxPayload  = 25 << 20 // GitLab's own cap, so that no delivery of it is refused
	storeWithin = time.Second
)

func (h *Handler) init() {
	h.once.Do(func() {
		h.room = newRoom()
		h.writer = newBatcher(h.Inbox)
		if h.Log == nil {
			h.Log = hclog.NewNullLogger()
		}
		if h.Now == nil {
			h.Now = time.Now
		}
	})
}

// Limits sets the times within which a client has to say what it wants, so that
// slow and silent ones hold up nobody.
func Limits(s *http.Server) {
	s.ReadHeaderTimeout = 5 * time.Second
	s.ReadTimeout = 10 * time.Second
	s.WriteTimeout = 30 * time.Second
	s.IdleTimeout = 2 * time.Minute
	s.MaxHeaderBytes = 64 << 10
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.init()
	began := time.Now()
	answer := h.answer(w, r)
	milestone("before answer")
	h.stats.count(answer, time.Since(began))
	if answer.Status != "accepted" && answer.class != "unstored" { // which is logged each time, with its cause
		h.turnedAway(r, answer)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	switch answer.Code {
	case http.StatusMethodNotAllowed:
		w.Header().Set("Allow", http.MethodPost)
	case http.StatusServiceUnavailable:
		w.Header().Set("Retry-After", "30")
	}
	w.WriteHeader(answer.Code)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		h.Log.Debug("a client did not wait for its answer", "error", err)
	}
}

// reply is the answer to a delivery.
type reply struct {
	Code   int    `json:"-"`
	class  string // for Stats
	Status string `json:"status"`
	Event  int64  `json:"event,omitempty"`
	Reason string `json:"reason,omitempty"`
}

func refuse(code int, class, reason string) reply {
	return reply{Code: code, class: class, Status: "refused", Reason: reason}
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request) reply {
	if r.Method != http.MethodPost {
		return refuse(http.StatusMethodNotAllowed, "method", "webhooks are sent by POST")
	}
	if r.Header.Get("webhook-signature") == "" { // a token is known before the body
		if p, err := prove(h.secrets(), r.Header, nil, h.Now()); err == nil && !p.any() {
			return unproven()
		}
	}
	body, give, refused := h.read(w, r)
	if body == nil {
		return refused
	}
	defer give()
	proof, err := prove(h.secrets(), r.Header, body, h.Now())
	if err != nil {
		h.Log.Error("deliveries cannot be checked", "error", err)
		return refuse(http.StatusServiceUnavailable, "secret", "a webhook secret of this server cannot be read; look into its log")
	}
	if !proof.any() {
		return unproven()
	}
	event, err := h.event(r, body)
	var other *ignored
	switch {
	case errors.As(err, &other):
		return reply{Code: http.StatusOK, class: other.class, Status: "ignored", Reason: other.reason}
	case err != nil:
		return refuse(http.StatusBadRequest, "malformed", "the body is not the JSON that gitlab sends")
	case !proof.speaksFor(event.Project):
		return unproven()
	case h.Known != nil && !h.Known(event.Project):
		return reply{Code: http.StatusOK, class: otherProject, Status: "ignored", Reason: "the project is not configured here (gitlab.projects)"}
	}
	h.elsewhere(r)
	return h.store(r.Context(), event)
}

func unproven() reply {
	return refuse(http.StatusUnauthorized, "secret", "no valid token or signature; compare the webhook's secret in gitlab with this server's configuration")
}

func (h *Handler) secrets() []Secret {
	if h.Secrets == nil {
		return nil
	}
	return h.Secrets()
}

// read takes the body, once there is room for it. The body is nil with the
// answer that refuses it; otherwise the room has to be given back.
func (h *Handler) read(w http.ResponseWriter, r *http.Request) (body []byte, give func(), refused reply) {
	tooLarge := refuse(http.StatusRequestEntityTooLarge, "large", "more than 25 MB")
	if r.ContentLength > maxPayload {
		return nil, nil, tooLarge
	}
	give, err := h.room.take(r.Context(), r.ContentLength)
	if err != nil {
		return nil, nil, refuse(http.StatusServiceUnavailable, "gone", "the client did not wait")
	}
	body, err = readBody(http.MaxBytesReader(w, r.Body, maxPayload), r.ContentLength)
	if err == nil {
		return body, give, reply{}
	}
	give()
	var large *http.MaxBytesError
	if errors.As(err, &large) {
		return nil, nil, tooLarge
	}
	return nil, nil, refuse(http.StatusBadRequest, "cut", "the body did not come whole")
}

// readBody takes a usual delivery into memory that was got at once. What is said
// to be larger gets memory as it comes: it may never come.
func readBody(r io.Reader, said int64) ([]byte, error) {
	const usual = 256 << 10
	b := bytes.NewBuffer(make([]byte, 0, min(max(said, 0), usual)+bytes.MinRead))
	_, err := b.ReadFrom(r)
	return b.Bytes(), err
}

// event reads what has to be known of a delivery.
func (h *Handler) event(r *http.Request, body []byte) (lineage.HookEvent, error) {
	routed, err := decode(body)
	if err != nil {
		return lineage.HookEvent{}, err
	}
	kind, err := routed.event(r.Header.Get("X-Gitlab-Event") == systemHook)
	if err != nil {
		return lineage.HookEvent{}, err
	}
	e := lineage.HookEvent{
		Instance: strings.TrimRight(h.GitLabURL, "/"), Event: kind, Project: routed.project, Ref: routed.ref,
		Before: routed.before, After: routed.after, Actor: routed.actor, Payload: body, State: lineage.EventPending,
	}
	e.Key = h.key(r, e)
	if err := e.Validate(); err != nil {
		return e, template("usable fields")
	}
	return e, nil
}

// key is the same for every delivery of one event. Of the two headers, which are
// equal, only webhook-id is covered by a signature: with the other one, what
// somebody has overheard could be made a new event. GitLab before 17.4 sends
// none: there the event itself, within a day, is the key; what is sent again
// later finds the ref's head where it is.
func (h *Handler) key(r *http.Request, e lineage.HookEvent) string {
	for _, name := range []string{"webhook-id", "Idempotency-Key"} {
		if key := strings.TrimSpace(r.Header.Get(name)); key != "" && len(key) <= 200 {
			return key
		}
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%s\x00%s\x00", e.Instance, e.Event, h.Now().UTC().Format(time.DateOnly))
	sum.Write(e.Payload)
	return "sha256:" + hex.EncodeToString(sum.Sum(nil))
}

// store writes the event into the database, or else onto the disk.
func (h *Handler) store(ctx context.Context, e lineage.HookEvent) reply {
	accepted, err := h.writer.accept(ctx, e)
	if err == nil {
		if h.Woken != nil {
			h.Woken()
		}
		class := "accepted"
		if accepted.Duplicate {
			class = "duplicate"
		}
		return reply{Code: http.StatusAccepted, class: class, Status: "accepted", Event: accepted.ID}
	}
	if h.Spool != nil {
		spoolErr := h.Spool.Add(e)
		if spoolErr == nil {
			h.Log.Warn("the database does not answer: the delivery is on disk", "project", e.Project, "error", err)
			return reply{Code: http.StatusAccepted, class: "spooled", Status: "accepted"}
		}
		err = errors.Join(err, spoolErr)
	}
	h.Log.Error("a delivery could not be stored", "project", e.Project, "error", err)
	return refuse(http.StatusServiceUnavailable, "unstored", "it could not be stored; send it again later")
}
