package jenkins_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins"
)

// run is a Pipeline's build as Jenkins writes it, with the state given.
func run(number, state string) string {
	if strings.Contains(state, `"actions"`) {
		return `{"_class":"hudson.model.FreeStyleBuild","queueId":143,"timestamp":1559281453240,"number":` + number + `,` + state + `}`
	}
	return `{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowRun","actions":[{"_class":"hudson.model.ParametersAction","parameters":[` +
		`{"_class":"hudson.model.StringParameterValue","name":"AIBUILD_RUN_ID","value":"r` + number + `"}]},` +
		`{"_class":"hudson.model.CauseAction","causes":[{"_class":"hudson.model.Cause$UserIdCause","shortDescription":"Started by user aibuild","userId":"aibuild"}]},` +
		`{},{"_class":"jenkins.metrics.impl.TimeInQueueAction","causes":7,"parameters":{"x":1}}],` +
		`"queueId":143,"estimatedDuration":-1,"timestamp":1559281453240,"url":"http://localhost:8082/job/folder/job/app/` + number + `/","number":` + number + `,` + state + `}`
}

const interrupted = `,"actions":[{"_class":"hudson.model.CauseAction","causes":[{"shortDescription":"Started by an SCM change"}]},` +
	`{"_class":"jenkins.model.InterruptedBuildAction","causes":[{"_class":"jenkins.model.CauseOfInterruption$UserInterruption","shortDescription":"Aborted by martin"},{"shortDescription":"Timeout has been exceeded"}]}]`

func TestBuild(t *testing.T) {
	ours := map[string]string{"AIBUILD_RUN_ID": "r52"}
	user := []string{"Started by user aibuild"}
	started := time.Date(2019, 5, 31, 5, 44, 13, 240_000_000, time.UTC)
	tests := []struct {
		name, state string
		want        jenkins.Build
	}{
		{"runs", `"building":true,"inProgress":true,"result":null,"duration":0`,
			jenkins.Build{Building: true, Params: ours, Causes: user}},
		{"runs, unstable already", `"building":true,"inProgress":true,"result":"UNSTABLE","duration":0`,
			jenkins.Build{Building: true, Params: ours, Causes: user}},
		{"freestyle in its last steps", `"building":false,"inProgress":true,"result":"SUCCESS","duration":12`,
			jenkins.Build{Building: true, Params: ours, Causes: user}},
		{"no result yet", `"building":false,"inProgress":false,"result":null,"duration":0`,
			jenkins.Build{Building: true, Params: ours, Causes: user}},
		{"success", `"building":false,"inProgress":false,"result":"SUCCESS","duration":61500`,
			jenkins.Build{Result: "SUCCESS", Duration: 61500 * time.Millisecond, Params: ours, Causes: user}},
		{"before 2.369", `"building":false,"result":"UNSTABLE","duration":1`,
			jenkins.Build{Result: "UNSTABLE", Duration: time.Millisecond, Params: ours, Causes: user}},
		{"not built", `"building":false,"inProgress":false,"result":"NOT_BUILT","duration":1`,
			jenkins.Build{Result: "NOT_BUILT", Duration: time.Millisecond, Params: ours, Causes: user}},
		{"a result of a plugin's", `"building":false,"inProgress":false,"result":"PAUSED","duration":1`,
			jenkins.Build{Result: "PAUSED", Duration: time.Millisecond, Params: ours, Causes: user}},
		{"aborted", `"building":false,"inProgress":false,"result":"ABORTED","duration":1` + interrupted,
			jenkins.Build{Result: "ABORTED", Duration: time.Millisecond, Params: none(), Causes: []string{"Started by an SCM change"},
				AbortedBy: "Aborted by martin; Timeout has been exceeded"}},
		{"result of an odd shape", `"building":false,"inProgress":"no","result":{"ordinal":0},"duration":"long"`,
			jenkins.Build{Building: true, Params: ours, Causes: user}},
		{"no actions", `"building":false,"result":"SUCCESS","duration":1,"actions":null`,
			jenkins.Build{Result: "SUCCESS", Duration: time.Millisecond, Params: none()}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/job/folder/job/app/52/api/json": jenkinsReply(200, run("52", test.state))})
			got, err := f.client().Build(t.Context(), "folder/app", 52)
			test.want.Job, test.want.Number, test.want.QueueID, test.want.URL = "folder/app", 52, 143, f.url+"/job/folder/job/app/52/"
			test.want.StartedAt = started
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Build: %v (-want +got):\n%s", err, diff)
			}
			want := "number,building,inProgress,result,queueId,timestamp,duration,actions[parameters[name,value],causes[shortDescription]]"
			if tree := treeOf(t, f.asked()[0]); tree != want {
				t.Errorf("tree %q, want %q", tree, want)
			}
		})
	}
}

func TestBuildRefused(t *testing.T) {
	tests := []struct {
		name   string
		answer reply
		reason error
		says   string
	}{
		{"deleted", htmlReply(404, jettyPage("404", "Not Found")), jenkins.ErrNotFound, "deletes old builds"},
		{"empty 502", reply{502, nil, ""}, jenkins.ErrUnavailable, "bad gateway"},
		{"another build", jenkinsReply(200, run("51", `"building":false,"result":"SUCCESS"`)), jenkins.ErrProtocol, "build of that number"},
		{"does not say", jenkinsReply(200, run("52", `"result":"SUCCESS"`)), jenkins.ErrProtocol, "whether it builds"},
		{"odd", jenkinsReply(200, run("52", `"building":"no","result":"SUCCESS"`)), jenkins.ErrProtocol, "whether it builds"},
		{"empty object", jenkinsReply(200, `{}`), jenkins.ErrProtocol, "build of that number"},
		{"null", jenkinsReply(200, `null`), jenkins.ErrProtocol, "build of that number"},
		{"redirect", redirect(302, "https://login.example.org/start"), jenkins.ErrProtocol, "redirects"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/job/app/52/api/json": test.answer})
			_, err := f.client().Build(t.Context(), "app", 52)
			checkError(t, err, test.reason, test.answer.status, test.says)
		})
	}
}

func TestBuilds(t *testing.T) {
	const path = "GET /ci/job/app/api/json"
	done := `"building":false,"inProgress":false,"result":"SUCCESS","duration":1`
	list := `[` + run("53", `"building":true,"result":null`) + `,null,` + run("52", done) + `]`
	tests := []struct {
		name, body string
		newest     int
		tree       string
		numbers    []int64
	}{
		{"some", `{"_class":"x","builds":` + list + `}`, 50, "builds[{0,50}", []int64{53, 52}},
		{"many", `{"_class":"x","allBuilds":` + list + `}`, 500, "allBuilds[{0,500}", []int64{53, 52}},
		{"new job", `{"_class":"x","builds":[]}`, 100, "builds[{0,100}", nil},
		{"none wanted", `{"_class":"x","builds":[]}`, -1, "builds[{0,0}", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{path: jenkinsReply(200, test.body)})
			got, err := f.client().Builds(t.Context(), "app", test.newest)
			var numbers []int64
			for _, build := range got {
				numbers = append(numbers, build.Number)
			}
			if err != nil || !slices.Equal(numbers, test.numbers) {
				t.Errorf("Builds = %v, %v; want %v", numbers, err, test.numbers)
			}
			tree := treeOf(t, f.asked()[0])
			first, rest, _ := strings.Cut(tree, "[")
			if got := first + "[" + rest[strings.LastIndex(rest, "{"):]; got != test.tree {
				t.Errorf("tree %q", tree)
			}
		})
	}
	for _, body := range []string{`{"_class":"com.cloudbees.hudson.plugins.folder.Folder"}`, `{"builds":null}`, `{"builds":[7]}`, `{"builds":[{}]}`} {
		f := fakeJenkins(t, map[string]reply{path: jenkinsReply(200, body)})
		_, err := f.client().Builds(t.Context(), "app", 50)
		checkError(t, err, jenkins.ErrProtocol, 200, "the answer has no ")
	}
}

func TestStop(t *testing.T) {
	tests := []struct {
		name   string
		answer reply
		reason error // nil: sent
		says   string
	}{
		{"back to the build", redirect(302, "http://jenkins:8080/ci/job/mb/job/feature%252Fx/14/"), nil, ""},
		{"back to the job", redirect(302, "/job/mb/job/feature%252Fx/"), nil, ""},
		{"ok", jenkinsReply(200, ""), nil, ""},
		{"no content", reply{204, nil, ""}, nil, ""},
		{"page of a proxy", htmlReply(200, loginPage), jenkins.ErrProtocol, "no header X-Jenkins"},
		{"login page", redirect(302, "https://login.example.org/?rd=/job/mb/job/feature%252Fx/14/"), jenkins.ErrProtocol, "redirects"},
		{"to https", redirect(302, "https://ci.example.org/ci/job/mb/job/feature%252Fx/14/stop"), jenkins.ErrProtocol, "redirects"},
		{"no permission", htmlReply(403, "").with("X-You-Are-Authenticated-As", user).with("X-Required-Permission", "hudson.model.Item.Cancel"),
			jenkins.ErrForbidden, "aibuild lacks hudson.model.Item.Cancel"},
		{"no such build", htmlReply(404, jettyPage("404", "Not Found")), jenkins.ErrNotFound, "check the number"},
		{"starting", jenkinsReply(503, "").with("Retry-After", "5"), jenkins.ErrUnavailable, "try again"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"POST /ci/job/mb/job/feature%252Fx/14/stop": test.answer})
			err := f.client().Stop(t.Context(), "mb/feature%2Fx", 14)
			if test.reason == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkError(t, err, test.reason, test.answer.status, test.says)
		})
	}
}
