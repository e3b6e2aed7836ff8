package api

import (
	"context"
	"errors"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// channelJenkins is by what a Jenkins build records.
const channelJenkins = "jenkins"

// recordBatch is what POST /api/v1/records takes.
type recordBatch struct {
	RunID   string           `json:"run_id,omitempty" doc:"the run of those records that name none"`
	Build   *Build           `json:"build,omitempty" doc:"the Jenkins build that speaks; a recorder names it here, or in the record of a run"`
	Locks   []batchLock      `json:"locks,omitempty" nullable:"false" maxItems:"64" doc:"that the client works under; see fence"`
	Records []lineage.Record `json:"records" nullable:"false" minItems:"1" doc:"as they are journalled; all are written, or none"`
}

// batchLock is a lock as it was granted.
type batchLock struct {
	Name  string `json:"name" maxLength:"255"`
	Fence int64  `json:"fence" doc:"as it was granted: when somebody else has had the lock since, records of what it locks are a conflict"`
}

type recordsInput struct{ Body recordBatch }

type recorded struct {
	Recorded int `json:"recorded" doc:"how many of the records are in the story now, those that were there before counted too"`
}

type recordsOutput struct{ Body recorded }

func (s *Server) registerRecords() {
	handle(s, operation{
		method: http.MethodPost, path: "/api/v1/records", id: "record", need: mayRecord, body: true, problems: []int{409},
		summary: "write steps of the story",
		text: "All records are written or none; one whose id is known already changes nothing, so that delivery may be repeated. " +
			"A recorder writes to runs of its projects that are triggering, in_jenkins_queue or building, and its first write binds the run to its build: " +
			"another build, a run that has not been started or that has ended is a `conflict`, and so is what was done under a lock that somebody else has had since. An exact repetition of what was recorded is fine at any time. " +
			"A Jenkins build that names itself may open a run, as building: one of the project's configured job, whose runs are all of one project and ref. A releaser records releases, rollbacks, revocations and holds. " +
			"Who and by what are set from the token, and times in the future to now. " +
			"What the server's configuration does not let the project do is `refused_by_rule`, exactly as it is refused to the build itself.",
	}, s.record)
}

func (s *Server) record(ctx context.Context, in *recordsInput) (*recordsOutput, error) {
	g := s.newGate(bearer(ctx), in.Body)
	done, err := g.turn(ctx, in.Body.Records)
	if err != nil {
		return nil, err
	}
	defer done()
	for _, r := range in.Body.Records {
		if err = g.pass(ctx, r); err == nil {
			err = g.fenced(ctx, r, in.Body.Locks)
		}
		if err != nil {
			break
		}
	}
	if err == nil {
		err = g.write(ctx)
	}
	if conflict, ok := errors.AsType[*lineage.Conflict](err); ok && g.who.Role == RoleRecorder {
		// The answer to the first delivery may have been lost, and the run have
		// ended since.
		known, askErr := s.delivered(ctx, in.Body)
		if askErr != nil {
			return nil, askErr
		}
		if !known {
			return nil, conflict
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	return &recordsOutput{Body: recorded{len(in.Body.Records)}}, nil
}

// turn keeps two batches of one build from taking or opening runs of different
// refs at once.
func (g *gate) turn(ctx context.Context, records []lineage.Record) (done func(), err error) {
	opens := func(r lineage.Record) bool { return r.Run != nil }
	if g.who.Role != RoleRecorder || g.build.Number == 0 || !slices.ContainsFunc(records, opens) {
		return func() {}, nil
	}
	return g.s.opening.begin(ctx, g.build)
}

// fenced refuses what somebody records who has lost the lock under which it was
// done: whoever had it since has not seen it, and may have done otherwise.
func (g *gate) fenced(ctx context.Context, r lineage.Record, locks []batchLock) error {
	for _, l := range locks {
		if !g.s.leases.overtaken(l.Name, l.Fence) {
			continue
		}
		about := l.Name == r.ImageUUID || l.Name == r.RunID || r.Built != nil && l.Name == r.Built.Name || r.Run != nil && l.Name == r.Run.Image
		if !about && r.ImageUUID != "" {
			img, err := g.image(ctx, r.ImageUUID)
			if err != nil {
				return err
			}
			about = img != nil && img.name == l.Name
		}
		if about {
			return &lineage.Conflict{ID: l.Name, Problem: "was locked by somebody else meanwhile, as the lock was not renewed in time; nothing is recorded of what was done without it"}
		}
	}
	return nil
}

// write records what has passed. Runs are opened first, each by itself: when
// the rest cannot be written now, the daemon follows them all the same.
func (g *gate) write(ctx context.Context) error {
	for _, r := range g.opens {
		run, err := g.s.config.Store.OpenRun(ctx, *r.Run, r.Actor, lineage.ChannelAPI, r.Reason)
		if err != nil {
			return err
		}
		if !g.build.is(&run) { // another build was faster
			return otherBuild(&run, g.build)
		}
	}
	return g.s.config.Store.Record(ctx, g.out...)
}

// deliveredPages bounds the search for what was delivered before.
const deliveredPages = 20

// delivered says whether every record of a batch is in the story already.
func (s *Server) delivered(ctx context.Context, b recordBatch) (bool, error) {
	missing := map[string]bool{}
	filters := map[lineage.EventFilter]bool{}
	for _, r := range b.Records {
		missing[r.ID] = true
		f := lineage.EventFilter{RunID: r.RunID, Limit: 1000}
		if f.RunID == "" && r.Run != nil {
			f.RunID = r.Run.ID
		}
		if f.RunID == "" {
			f.ImageUUID = r.ImageUUID
		}
		if f.RunID == "" && f.ImageUUID == "" {
			f.RunID = b.RunID
		}
		filters[f] = f.RunID != "" || f.ImageUUID != ""
	}
	for f, ok := range filters {
		for page := 0; ok && page < deliveredPages; page++ {
			events, next, err := s.config.Store.Events(ctx, f)
			if err != nil {
				return false, err
			}
			for _, e := range events {
				delete(missing, e.RecordID)
			}
			f.Cursor, ok = next, next != ""
		}
	}
	return len(missing) == 0, nil
}
