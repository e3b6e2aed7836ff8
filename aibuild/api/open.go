package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// Stages, as in lineage.Run.From.
const (
	stageBuild   = "build"
	stageTest    = "test"
	stagePublish = "publish"
	stageRelease = "release"
)

// NewRun says which run to open. What is empty is taken from the last run of
// the image.
type NewRun struct {
	RunID   string `json:"run_id,omitempty" maxLength:"36" doc:"a UUIDv7 for it, so that the request may be repeated; a recorder's: AIBUILD_RUN_ID"`
	Image   string `json:"image_name" minLength:"1" maxLength:"63" pattern:"^[a-z0-9][a-z0-9._-]*$"`
	Project string `json:"project,omitempty" maxLength:"255" doc:"GitLab's path: group/project"`
	Ref     string `json:"ref,omitempty" maxLength:"255" doc:"branch, or refs/heads/BRANCH, refs/tags/TAG"`
	Commit  string `json:"commit,omitempty" maxLength:"64" doc:"empty: the last one that was pushed to the ref"`
	Folder  string `json:"folder,omitempty" maxLength:"1024" doc:"of the definition, in the repository"`
	From    string `json:"from,omitempty" enum:"build,test,publish,release" doc:"first stage; those after the build work on the newest image of the name, or on image_uuid"`
	// ImageUUID is the image to work on, when From is not the build.
	ImageUUID string `json:"image_uuid,omitempty" maxLength:"36"`
	Reason    string `json:"reason,omitempty" maxLength:"1000" doc:"why, for the record"`
	Build     *Build `json:"build,omitempty" doc:"the Jenkins build that the run is; needed from a recorder"`
}

type openInput struct{ Body NewRun }

func (s *Server) openRun(ctx context.Context, in *openInput) (*runOutput, error) {
	who, n := bearer(ctx), in.Body
	if err := lookAlike("image_name", n.Image); err != nil {
		return nil, err
	}
	if n.RunID != "" {
		if err := checkRunID(n.RunID); err != nil {
			return nil, err
		}
	}
	if who.Role == RoleRecorder {
		return s.openForBuild(ctx, who, n)
	}
	if n.Build != nil {
		return nil, &Problem{Status: http.StatusForbidden, Code: CodeForbidden, Detail: "only a recorder opens a run for a Jenkins build; leave build out, and the daemon starts one"}
	}
	return s.start(ctx, who, n)
}

// checkRunID: the id of a run is that of its image, and sorts by time.
func checkRunID(text string) error {
	id, err := uuid.Parse(text)
	if err != nil || id.String() != text || id.Version() != 7 {
		return &lineage.Invalid{Field: "run_id", Problem: fmt.Sprintf("%q is not a lower-case UUIDv7", text)}
	}
	return nil
}

// start opens a run that the daemon takes to Jenkins.
func (s *Server) start(ctx context.Context, who lineage.Token, n NewRun) (*runOutput, error) {
	if n.RunID != "" {
		run, err := s.config.Store.Run(ctx, n.RunID)
		if err == nil {
			return s.again(who, run, n)
		}
		if !errors.Is(err, lineage.ErrNotFound) {
			return nil, err
		}
	}
	run, err := s.plan(ctx, who, n)
	if err != nil {
		return nil, err
	}
	run, err = s.config.Store.OpenRun(ctx, run, who.Name, lineage.ChannelAPI, n.Reason)
	if err != nil {
		return nil, err
	}
	return s.detail(run, http.StatusCreated)
}

// again answers a request that was repeated.
func (s *Server) again(who lineage.Token, run lineage.Run, n NewRun) (*runOutput, error) {
	if !speaksFor(who, run.Project) {
		return nil, otherProject("run "+run.ID, run.Project)
	}
	if run.Image != n.Image {
		return nil, &lineage.Conflict{ID: run.ID, Problem: "is a run for " + run.Image + ", not for " + n.Image}
	}
	return s.detail(run, http.StatusOK)
}

// plan fills in what the request leaves open.
func (s *Server) plan(ctx context.Context, who lineage.Token, n NewRun) (lineage.Run, error) {
	run := lineage.Run{
		ID: n.RunID, Image: n.Image, Project: n.Project, Ref: fullRef(n.Ref), Commit: n.Commit, Folder: n.Folder, From: n.From,
		State: lineage.RunReceived, Reason: n.Reason,
	}
	if run.ID == "" {
		run.ID = newID()
	}
	if run.From == "" {
		run.From = stageBuild
	}
	if err := s.owned(ctx, who, &run); err != nil {
		return run, err
	}
	if err := likeLast(ctx, s.config.Store, &run); err != nil {
		return run, err
	}
	if err := s.atCommit(ctx, &run); err != nil {
		return run, err
	}
	p, err := s.caps(run.Project)
	if err != nil {
		return run, err
	}
	if err := mayStart(p, run); err != nil {
		return run, err
	}
	return run, s.onImage(ctx, &run, n.ImageUUID)
}

// owned finds the project: that of the name.
func (s *Server) owned(ctx context.Context, who lineage.Token, run *lineage.Run) error {
	owner, err := s.config.Store.Owner(ctx, run.Image)
	if err != nil {
		return err
	}
	if owner != "" && run.Project != "" && owner != run.Project {
		return &lineage.Taken{Name: run.Image, Owner: owner, By: run.Project}
	}
	if run.Project == "" {
		run.Project = owner
	}
	if run.Project == "" {
		last, _, err := s.config.Store.Runs(ctx, lineage.RunFilter{Image: run.Image, Limit: 1})
		if err != nil {
			return err
		}
		if len(last) == 0 || last[0].Project == "" {
			return &lineage.Invalid{Field: "project", Problem: "is missing: no image and no run of " + run.Image + " says which"}
		}
		run.Project = last[0].Project
	}
	if !speaksFor(who, run.Project) {
		return otherProject("image "+run.Image, run.Project)
	}
	return nil
}

// lastRuns is how far back the last run of a project is looked for.
const lastRuns = 200

// likeLast takes ref and folder from the last run of the image in its project
// that says them.
func likeLast(ctx context.Context, store *lineage.Store, run *lineage.Run) error {
	if run.Ref != "" && run.Folder != "" {
		return nil
	}
	runs, _, err := store.Runs(ctx, lineage.RunFilter{Image: run.Image, Limit: lastRuns})
	if err != nil {
		return err
	}
	for _, old := range runs {
		if old.Project != run.Project || !inRepository(old) {
			continue
		}
		run.Ref = cmp.Or(run.Ref, old.Ref)
		run.Folder = cmp.Or(run.Folder, old.Folder)
	}
	missing := ""
	switch {
	case run.Ref == "":
		missing = "ref"
	case run.Folder == "":
		missing = "folder"
	default:
		return nil
	}
	return &lineage.Invalid{Field: missing, Problem: "is missing: no earlier run of " + run.Image + " in " + run.Project + " says it"}
}

// inRepository says whether a run is of a ref and a folder of the repository:
// what aibuild itself opened, on a machine or in a build, is of whatever was
// checked out there, and has only the folder's last part.
func inRepository(r lineage.Run) bool {
	return r.Channel != "cli" && r.Channel != "library" && !strings.HasPrefix(r.Actor, actorBuild)
}

// atCommit: a run is of one commit, the last that was pushed unless it is named.
func (s *Server) atCommit(ctx context.Context, run *lineage.Run) error {
	if run.Commit != "" {
		return nil
	}
	head, err := s.config.Store.Head(ctx, run.Project, run.Ref)
	if err != nil {
		return err
	}
	if strings.Trim(head.SHA, "0") == "" {
		return &lineage.Invalid{Field: "commit", Problem: "is missing: no push to " + run.Ref + " of " + run.Project + " is known; name a commit"}
	}
	run.Commit = head.SHA
	return nil
}

// mayStart asks the caps.
func mayStart(p definition.Policy, run lineage.Run) error {
	d := definition.Definition{Name: run.Image}
	if run.From == stagePublish || run.From == stageRelease {
		return p.Check(&d, run.Ref)
	}
	return p.CheckSettings(&d)
}

// onImage names the image that a run works on which does not build one.
func (s *Server) onImage(ctx context.Context, run *lineage.Run, image string) error {
	if run.From == stageBuild {
		if image != "" && image != run.ID {
			return &lineage.Invalid{Field: "image_uuid", Problem: "is for a run that starts after the build; a build makes a new image"}
		}
		return nil
	}
	q := lineage.Query{Ref: run.Image}
	if image != "" {
		q.Ref = image
	} else if run.From != stageTest {
		q = lineage.Query{Name: run.Image, Good: true}
	}
	found, err := s.config.Store.Resolve(ctx, q)
	if err != nil {
		return err
	}
	if found[0].Name != run.Image {
		return &lineage.Conflict{ID: found[0].UUID, Problem: "is an image of " + found[0].Name + ", not of " + run.Image}
	}
	run.ImageUUID = found[0].UUID
	return nil
}

// fullRef makes main refs/heads/main.
func fullRef(ref string) string {
	if ref == "" || strings.HasPrefix(ref, "refs/") {
		return ref
	}
	return "refs/heads/" + ref
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }
