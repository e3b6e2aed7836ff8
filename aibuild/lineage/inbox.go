package lineage

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// States of a [HookEvent]. All but the first are final.
const (
	EventPending = "pending"
	EventHandled = "handled"
	EventIgnored = "ignored"
	EventFailed  = "failed"
)

// HookEvent is one delivery in the durable inbox.
type HookEvent struct {
	ID       int64  `json:"id"`
	Instance string `json:"instance"` // base URL of the GitLab
	Key      string `json:"key"`      // idempotency key, unique per instance
	Event    string `json:"event"`    // push, tag_push, or head: the reconciler found a head moved without a hook
	Project  string `json:"project"`  // path with namespace
	Ref      string `json:"ref"`      // refs/heads/main
	Before   string `json:"before"`   // object ids; all zeros: created, deleted
	After    string `json:"after"`
	Actor    string `json:"actor,omitempty"`
	Payload  []byte `json:"-"`                // raw body; stored compressed, expires
	Size     int64  `json:"payload_size"`     // uncompressed
	State    string `json:"state"`            // EventPending, EventHandled, EventIgnored, EventFailed
	Reason   string `json:"reason,omitempty"` // for the state, or for waiting
	HeadSeq  int64  `json:"head_seq,omitempty"`

	ReceivedAt time.Time `json:"received_at"`
	HandledAt  time.Time `json:"handled_at,omitzero"`
	Tries      int       `json:"tries,omitempty"`
	Fence      int64     `json:"-"` // of the claim, for HandleEvent and DeferEvent

	packed []byte // in place of Payload, see Pack
}

// Accepted is what the inbox holds under a delivery's key: the first one that
// came with it.
type Accepted struct {
	ID        int64
	Duplicate bool // it was there already
	Project   string
	Ref       string
	After     string
}

// Handled is how an event ends.
type Handled struct {
	Event    int64
	Fence    int64
	State    string // EventHandled, EventIgnored, EventFailed
	Reason   string
	MoveHead bool  // the ref's head is the event's After now
	PrevSeq  int64 // what the head counted when it was decided what to do
	Runs     []Run // to be opened, one per image; HeadSeq is given by the store
}

// Head is the last head of a ref that was handled. The zero Head is that of a
// ref that never was.
type Head struct {
	Project string `json:"project"`
	Ref     string `json:"ref"`
	SHA     string `json:"sha"` // all zeros: the ref was deleted
	Seq     int64  `json:"seq"` // counts the moves
}

// HookFilter selects a page of [Store.HookEvents].
type HookFilter struct {
	Project string
	Ref     string // needs Project
	State   string
	Cursor  string // as the page before gave it
	Limit   int    // 1 to 1000; 0 = 50
}

// Pack compresses the payload and lets go of the raw bytes. [Store.AcceptEvents]
// packs what is not packed, one event after the other; callers that share a
// call do it better before they wait for each other.
func (e *HookEvent) Pack() error {
	if e.Payload == nil {
		return nil
	}
	packed, err := pack(e.Payload)
	if err == nil {
		e.Size, e.packed, e.Payload = int64(len(e.Payload)), packed, nil
	}
	return err
}

// Validate says whether [Store.AcceptEvents] takes the event: it refuses all
// events of a call for one that it does not take.
func (e HookEvent) Validate() error {
	var c checker
	e.check(&c, "event.")
	return c.err
}

func (e HookEvent) check(c *checker, at string) {
	for _, f := range []struct {
		name, value string
		limit       int
	}{
		{"instance", e.Instance, 255}, {"key", e.Key, 255}, {"event", e.Event, 64}, {"project", e.Project, 255}, {"ref", e.Ref, 1024},
		{"before", e.Before, 64}, {"after", e.After, 64}, {"actor", e.Actor, 255},
	} {
		c.text(at+f.name, f.value, f.limit)
	}
	c.need(at+"key", e.Key)
	c.long(at+"reason", e.Reason)
	c.time(at+"received_at", e.ReceivedAt)
	c.oneOf(at+"state", e.State, "", EventPending, EventHandled, EventIgnored, EventFailed)
}

// refKey stands for a ref in indexes.
func refKey(ref string) string {
	sum := sha256.Sum256([]byte(ref))
	return hex.EncodeToString(sum[:16])
}
