package jenkins

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Build is a build that has begun.
type Build struct {
	Job     string // path
	Number  int64
	QueueID int64 // of the item that it was; 0 when Jenkins does not tell
	URL     string
	// Building is false when the outcome is final. Jenkins may know a result long before, and may still run
	// something when it says that it builds no more.
	Building  bool
	Result    string // SUCCESS, UNSTABLE, FAILURE, NOT_BUILT, ABORTED, or what a plugin says; empty while Building
	StartedAt time.Time
	Duration  time.Duration // 0 while Building
	Params    map[string]string
	Causes    []string // who or what started it, in Jenkins' words
	AbortedBy string   // who or what ended it early, in Jenkins' words; else empty
}

const buildTree = "number,building,inProgress,result,queueId,timestamp,duration," + actionsTree

const buildHint = "check the number; jenkins deletes old builds as the job is configured"

// maxListed is how many builds Jenkins gives as "builds"; "allBuilds" reads older ones from its disk.
const maxListed = 100

// Build reads one build.
func (c Client) Build(ctx context.Context, path string, number int64) (Build, error) {
	const op = "read a build"
	at, err := c.buildPath(op, path, number)
	if err != nil {
		return Build{}, err
	}
	r := reading(op, at, buildTree)
	r.missing = buildHint
	var raw rawBuild
	if _, err := c.read(ctx, r, &raw); err != nil {
		return Build{}, err
	}
	if raw.Number != number {
		return Build{}, c.unexpected(op, "build of that number")
	}
	return c.build(op, path, raw)
}

// Builds reads the newest builds of a job, the newest first. Up to 100 are cheap for Jenkins.
func (c Client) Builds(ctx context.Context, path string, newest int) ([]Build, error) {
	return c.builds(ctx, path, 0, max(newest, 0))
}

// builds reads those from the one place up to the other, counted from the newest.
func (c Client) builds(ctx context.Context, path string, from, to int) ([]Build, error) {
	const op = "read the builds of a job"
	at, err := c.jobPath(op, path)
	if err != nil {
		return nil, err
	}
	field := "builds"
	if to > maxListed {
		field = "allBuilds"
	}
	r := reading(op, at, fmt.Sprintf("%s[%s]{%d,%d}", field, buildTree, from, to))
	r.missing = jobHint
	var raw struct{ Builds, AllBuilds []*rawBuild }
	if _, err := c.read(ctx, r, &raw); err != nil {
		return nil, err
	}
	if raw.Builds == nil {
		raw.Builds = raw.AllBuilds
	}
	if raw.Builds == nil { // a job without builds has an empty list; a folder has none
		return nil, c.unexpected(op, "builds: it may be a folder")
	}
	builds := []Build{}
	for _, one := range raw.Builds {
		if one == nil {
			continue
		}
		build, err := c.build(op, path, *one)
		if err != nil {
			return nil, err
		}
		builds = append(builds, build)
	}
	return builds, nil
}

// Stop asks Jenkins to abort a build. That it agrees does not say that there was anything to stop, nor that
// it has stopped: read the build until it is no longer Building.
func (c Client) Stop(ctx context.Context, path string, number int64) error {
	const op = "stop a build"
	at, err := c.buildPath(op, path, number)
	if err != nil {
		return err
	}
	r := request{op: op, method: http.MethodPost, path: at + "stop", missing: buildHint}
	got, err := c.send(ctx, r)
	switch job := strings.TrimSuffix(at, fmt.Sprint(number)+"/"); {
	case err != nil:
		return err
	case got.status == http.StatusNoContent, redirected(got, at, job), got.status == http.StatusOK && got.header.Get("X-Jenkins") != "":
		return nil
	}
	return c.refusal(ctx, r, got)
}

func (c Client) buildPath(op, path string, number int64) (string, error) {
	at, err := c.jobPath(op, path)
	return fmt.Sprintf("%s%d/", at, number), err
}

type rawBuild struct {
	Number              int64
	Building            any  // a bool, or it is no answer
	InProgress          bool // not told before 2.369
	Result              string
	QueueID             int64
	Timestamp, Duration int64 // ms
	Actions             []rawAction
}

func (c Client) build(op, path string, raw rawBuild) (Build, error) {
	building, told := raw.Building.(bool)
	if raw.Number < 1 || !told {
		return Build{}, c.unexpected(op, "number, or does not say whether it builds")
	}
	build := Build{Job: path, Number: raw.Number, QueueID: raw.QueueID, URL: c.buildURL(path, raw.Number),
		Building: building || raw.InProgress || raw.Result == "", Params: params(raw.Actions)}
	if raw.Timestamp > 0 {
		build.StartedAt = time.UnixMilli(raw.Timestamp).UTC()
	}
	if !build.Building {
		build.Result, build.Duration = raw.Result, time.Duration(raw.Duration)*time.Millisecond
	}
	var ended []string
	for _, action := range raw.Actions {
		for _, cause := range action.Causes {
			switch {
			case cause.ShortDescription == "":
			case strings.HasSuffix(action.Class, ".InterruptedBuildAction"):
				ended = append(ended, cause.ShortDescription)
			default:
				build.Causes = append(build.Causes, cause.ShortDescription)
			}
		}
	}
	build.AbortedBy = strings.Join(ended, "; ")
	return build, nil
}
