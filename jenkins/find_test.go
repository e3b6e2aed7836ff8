package jenkins_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/guestos/aibuild/jenkins"
)

const (
	emptyQueue = `{"_class":"hudson.model.Queue","items":[]}`
	noBuilds   = `{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","builds":[]}`
	running    = `"building":true,"inProgress":true,"result":null`
)

// steps are the answers to the reads of queue and builds, in order; the last ones stay.
func steps(t *testing.T, queue, builds []string) *fake {
	f := fakeJenkins(t, nil)
	for path, bodies := range map[string][]string{"GET /ci/queue/api/json": queue, "GET /ci/job/aibuild/job/build/api/json": builds} {
		for _, body := range bodies {
			f.answers[path] = append(f.answers[path], jenkinsReply(200, body))
		}
	}
	return f
}

func queueOf(items ...string) string { return `{"items":[` + strings.Join(items, ",") + `]}` }

func buildsOf(field string, builds ...string) string {
	return `{"_class":"x","` + field + `":[` + strings.Join(builds, ",") + `]}`
}

func TestFindByRunID(t *testing.T) {
	many := make([]string, 100)
	for i := range many {
		many[i] = run(fmt.Sprint(300-i), running)
	}
	tests := []struct {
		name, run     string
		queue, builds []string
		item, build   int64
		requests      int
	}{
		{"waits", "r1", []string{queueOf(blocked, waiting)}, []string{noBuilds}, 143, 0, 1},
		{"waits, and Jenkins does not say of which job", "r9", []string{queueOf(withoutURL)}, []string{noBuilds}, 148, 0, 1},
		{"builds", "r52", []string{emptyQueue}, []string{buildsOf("builds", run("53", running), run("52", running))}, 0, 52, 2},
		{"came between the two reads", "r1", []string{emptyQueue, queueOf(waiting)}, []string{noBuilds}, 143, 0, 3},
		{"was neither for a moment", "r52", []string{emptyQueue}, []string{noBuilds, buildsOf("builds", run("52", running))}, 0, 52, 4},
		{"older than 100 builds", "r52", []string{emptyQueue},
			[]string{buildsOf("builds", many...), buildsOf("allBuilds", run("52", running))}, 0, 52, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := steps(t, test.queue, test.builds)
			got, err := f.client().FindByRunID(t.Context(), "aibuild/build", test.run)
			var item, build int64
			if got.Item != nil {
				item = got.Item.ID
			}
			if got.Build != nil {
				build = got.Build.Number
			}
			if err != nil || item != test.item || build != test.build {
				t.Errorf("FindByRunID = item %d, build %d, %v; want %d, %d", item, build, err, test.item, test.build)
			}
			asked := f.asked()
			if len(asked) != test.requests {
				t.Errorf("asked %q, want %d requests", asked, test.requests)
			}
			if strings.HasPrefix(test.name, "older") && !strings.Contains(treeOf(t, asked[2]), "allBuilds[") {
				t.Errorf("asked %q", asked[2])
			}
		})
	}
}

// TestFindByRunIDNotFound: a step of a Pipeline and a build of another job may carry the run id.
func TestFindByRunIDNotFound(t *testing.T) {
	other := strings.Replace(waiting, "/job/aibuild/job/build/", "/job/aibuild/job/deploy/", 1)
	f := steps(t, []string{queueOf(placeholderNow, other)}, []string{buildsOf("builds", run("52", running))})
	_, err := f.client().FindByRunID(t.Context(), "aibuild/build", "r1")
	checkError(t, err, jenkins.ErrNotFound, 200, "aibuild/build has no build with AIBUILD_RUN_ID=r1")
	if asked := f.asked(); len(asked) != 4 {
		t.Errorf("asked %q", asked)
	}
}

// TestFindByRunIDUnknown: whatever is not a whole answer must not look like "never started".
func TestFindByRunIDUnknown(t *testing.T) {
	bad := []struct {
		name   string
		answer reply
		reason error
	}{
		{"empty 502", reply{502, nil, ""}, jenkins.ErrUnavailable},
		{"starting", jenkinsReply(503, ""), jenkins.ErrUnavailable},
		{"page", htmlReply(200, loginPage), jenkins.ErrProtocol},
		{"empty object", jenkinsReply(200, `{}`), jenkins.ErrProtocol},
		{"cut", jenkinsReply(200, `{"items":[`), jenkins.ErrUnavailable},
		{"redirect", redirect(302, "https://login.example.org/"), jenkins.ErrProtocol},
	}
	for _, test := range bad {
		for _, path := range []string{"GET /ci/queue/api/json", "GET /ci/job/aibuild/job/build/api/json"} {
			f := steps(t, []string{emptyQueue}, []string{noBuilds})
			f.answers[path] = []reply{test.answer}
			_, err := f.client().FindByRunID(t.Context(), "aibuild/build", "r1")
			checkError(t, err, test.reason, test.answer.status, "")
		}
	}
	f := steps(t, []string{emptyQueue}, nil)
	_, err := f.client().FindByRunID(t.Context(), "aibuild/build", "r1")
	checkError(t, err, jenkins.ErrNotFound, 404, "check the job's path")
	_, err = f.client().FindByRunID(t.Context(), "aibuild/build", "")
	checkError(t, err, jenkins.ErrConfig, 0, "no run id")
}
