package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// lockPoll is how long one request waits for a lock, at most.
const lockPoll = 20 * time.Second

type lockRequest struct {
	ID     string `json:"id" minLength:"36" maxLength:"36" doc:"a random uuid that the client makes: the request may be repeated under it, and it is what renews the lock and gives it back"`
	Name   string `json:"name" doc:"image name, or uuid of an image or run"`
	WaitMS int64  `json:"wait_ms,omitempty" minimum:"0" doc:"for the holder to end; one request waits at most 20000"`
	Host   string `json:"host,omitempty" maxLength:"255" doc:"the client's machine, for those who wait"`
	PID    int    `json:"pid,omitempty" minimum:"0" doc:"the client's process"`
}

type lockInput struct{ Body lockRequest }

// lockLease is a lock that the client has, as long as it renews it.
type lockLease struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	Fence int64     `json:"fence" doc:"grows with every holder of the name"`
	TTLMS int64     `json:"ttl_ms" doc:"so long it is kept without being renewed; renew it three times as often"`
	Since time.Time `json:"since"`
}

type leaseOutput struct{ Body lockLease }

type leasePath struct {
	ID string `path:"id" maxLength:"64"`
}

func (s *Server) registerLocks() {
	handle(s, operation{
		method: http.MethodPost, path: "/api/v1/locks", id: "lock", need: mayLock, body: true, status: http.StatusCreated, problems: []int{409, 410, 423},
		summary: "take the lock on an image name",
		text: "The server holds the same lock that commands with a database of their own take, as long as it is renewed. " +
			"One that is not renewed in its time is given back: a client that dies keeps nobody waiting for longer. After a restart of the server its locks are gone, and renewing them is `lock_lost`, as it is when the database lost the lock and somebody else had it since. " +
			"A token of some projects locks names and images of theirs, and names that nobody has yet.",
	}, s.lock)
	handle(s, operation{
		method: http.MethodPost, path: "/api/v1/locks/{id}/renew", id: "renew-lock", need: mayLock, problems: []int{410},
		summary: "keep a lock",
	}, s.renewLock)
	handle(s, operation{
		method: http.MethodDelete, path: "/api/v1/locks/{id}", id: "unlock", need: mayLock, status: http.StatusNoContent, problems: []int{410},
		summary: "give a lock back",
		text:    "`lock_lost` says that it did not hold all the time.",
	}, s.unlock)
}

func (s *Server) lock(ctx context.Context, in *lockInput) (*leaseOutput, error) {
	who, want := bearer(ctx), in.Body
	if id, err := uuid.Parse(want.ID); err != nil || id.String() != want.ID {
		return nil, &lineage.Invalid{Field: "id", Problem: "is not a lower-case uuid"}
	}
	if err := s.mayLock(ctx, who, want.Name); err != nil {
		return nil, err
	}
	wait := min(time.Duration(want.WaitMS)*time.Millisecond, lockPoll, s.timeout/2)
	h, err := s.leases.take(ctx, lease{id: want.ID, name: want.Name, token: who.ID, host: want.Host, pid: want.PID}, wait)
	if err != nil {
		return nil, err
	}
	return s.lease(h), nil
}

func (s *Server) lease(h *lease) *leaseOutput {
	return &leaseOutput{Body: lockLease{ID: h.id, Name: h.name, Fence: h.fence, TTLMS: s.leases.ttl.Milliseconds(), Since: h.since}}
}

var lockName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// mayLock keeps tokens from stopping the work of other projects. The locks of
// daemons have names that no image can have.
func (s *Server) mayLock(ctx context.Context, who lineage.Token, name string) error {
	switch {
	case !lockName.MatchString(name):
		return &lineage.Invalid{Field: "name", Problem: "is neither an image name ([a-z0-9][a-z0-9._-]{0,62}) nor a uuid"}
	case slices.Contains(definition.Reserved, name):
		return &lineage.Invalid{Field: "name", Problem: name + " is a word of aibuild, not an image name"}
	case len(who.Projects) == 0:
		return nil
	}
	if _, err := uuid.Parse(name); err == nil {
		return s.mayLockID(ctx, who, name)
	}
	owner, err := s.config.Store.Owner(ctx, name)
	if err == nil && owner != "" && !speaksFor(who, owner) {
		err = otherProject("image name "+name, owner)
	}
	return err
}

// mayLockID: an image or run that is not recorded yet is nobody's.
func (s *Server) mayLockID(ctx context.Context, who lineage.Token, id string) error {
	g := s.newGate(who, recordBatch{})
	run, err := g.run(ctx, id)
	if err != nil {
		return err
	}
	if run != nil && !speaksFor(who, run.Project) {
		return otherProject("run "+id, run.Project)
	}
	img, err := g.image(ctx, id)
	if err != nil {
		return err
	}
	if img != nil && img.project != "" && !speaksFor(who, img.project) {
		return otherProject("image "+id, img.project)
	}
	return nil
}

func (s *Server) renewLock(ctx context.Context, in *leasePath) (*leaseOutput, error) {
	h, err := s.leases.renew(in.ID, bearer(ctx).ID)
	if err != nil {
		return nil, err
	}
	return s.lease(h), nil
}

func (s *Server) unlock(ctx context.Context, in *leasePath) (*struct{}, error) {
	err := s.leases.release(in.ID, bearer(ctx).ID)
	if _, lost := errors.AsType[*lineage.LockLost](err); err != nil && !lost {
		if _, gone := errors.AsType[*Problem](err); !gone {
			// It is given back all the same: the connection that had it is closed.
			s.log.Warn("a lock was given back with an error", "request", requestID(ctx), "error", err)
			return nil, nil
		}
	}
	return nil, err
}
