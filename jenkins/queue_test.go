package jenkins_test

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins"
)

// Queue items as Jenkins writes them; tree= leaves out what we do not ask for, which is here to be ignored.
const (
	waiting = `{"_class":"hudson.model.Queue$WaitingItem","actions":[{"_class":"hudson.model.ParametersAction","parameters":[` +
		`{"_class":"hudson.model.StringParameterValue","name":"AIBUILD_RUN_ID","value":"r1"},` +
		`{"_class":"hudson.model.BooleanParameterValue","name":"DRY","value":true},` +
		`{"_class":"hudson.model.PasswordParameterValue","name":"SECRET"},{"_class":"x","name":"EMPTY","value":null}]},` +
		`{"_class":"hudson.model.CauseAction","causes":[{"_class":"hudson.model.Cause$UserIdCause","shortDescription":"Started by user martin","userId":"martin","userName":"martin"}]},{}],` +
		`"blocked":false,"buildable":false,"id":143,"inQueueSince":1524074568030,"params":"\nAIBUILD_RUN_ID=r1","stuck":false,` +
		`"task":{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","name":"build","url":"http://localhost:8082/job/aibuild/job/build/","color":"blue"},` +
		`"url":"queue/item/143/","why":"In the quiet period. Expires in 4.6 sec","timestamp":1524074573030}`
	blocked = `{"_class":"hudson.model.Queue$BlockedItem","actions":[],"blocked":true,"buildable":false,"id":144,"stuck":false,` +
		`"task":{"_class":"hudson.model.FreeStyleProject","name":null,"url":"http://localhost:8082/ci/job/test/","color":"blue_anime"},` +
		`"why":"Build #145 is already in progress (ETA:51 min)","buildableStartMilliseconds":1524074568030}`
	buildable = `{"_class":"hudson.model.Queue$BuildableItem","actions":[{}],"blocked":false,"buildable":true,"id":145,"stuck":true,"pending":false,` +
		`"task":{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","url":"https://old.example.org/jenkins/view/all/job/mb/view/x/job/feature%252Fx/"},` +
		`"why":"There are no nodes with the label ‘kvm’"}`
	// A step of a Pipeline: without anything before 2020, with the address of the build since then.
	placeholder = `{"_class":"hudson.model.Queue$BuildableItem","actions":[],"blocked":false,"buildable":true,"id":146,"params":"","stuck":true,` +
		`"task":{"_class":"org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"},"why":"Waiting for next available executor"}`
	placeholderNow = `{"_class":"hudson.model.Queue$BuildableItem","actions":[{"_class":"hudson.model.ParametersAction","parameters":[{"name":"AIBUILD_RUN_ID","value":"r1"}]}],"id":147,` +
		`"task":{"_class":"org.example.Step","name":"part of aibuild » build #52","url":"job/aibuild/job/build/52/"},"why":"Waiting for next available executor"}`
	withoutURL = `{"_class":"hudson.model.Queue$BuildableItem","id":148,"actions":[{"parameters":[{"name":"AIBUILD_RUN_ID","value":"r9"}]}],` +
		`"task":{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob"},"why":null}`
	oddShapes = `{"_class":"x","id":149,"actions":[null,[],7,{"parameters":{"a":1}},{"parameters":"none"},{"parameters":[7,null,{"name":5},{"name":"A","value":{"b":[1]}}]},` +
		`{"causes":{}},{"parameters":[{"name":"A","value":"second"},{"name":"AIBUILD_RUN_ID","value":"r2"}]}],"why":{"text":1},"stuck":"yes","blocked":null,"task":"gone"}`
	leftForBuild  = `{"_class":"hudson.model.Queue$LeftItem","id":143,"why":null,"cancelled":false,"executable":{"_class":"hudson.model.FreeStyleBuild","number":14,"url":"http://localhost:8082/job/test/14/"}}`
	leftCancelled = `{"_class":"hudson.model.Queue$LeftItem","id":143,"why":null,"cancelled":true,"executable":null,"task":{"url":"http://localhost:8082/job/test/"}}`
	leftJustNow   = `{"_class":"hudson.model.Queue$LeftItem","id":143,"why":null,"cancelled":false,"executable":null,"task":{"url":"http://localhost:8082/job/test/"}}`
)

func none() map[string]string { return map[string]string{} }

func TestQueued(t *testing.T) {
	tests := []struct {
		name, body string
		want       jenkins.Item
	}{
		{"waiting", waiting, jenkins.Item{ID: 143, Job: "aibuild/build", Why: "In the quiet period. Expires in 4.6 sec",
			Params: map[string]string{"AIBUILD_RUN_ID": "r1", "DRY": "true", "SECRET": "", "EMPTY": ""}}},
		{"blocked, null name", `{"id":143,` + blocked[len(`{"_class":"hudson.model.Queue$BlockedItem",`):len(blocked)-1] + `,"id":143}`,
			jenkins.Item{ID: 143, Job: "test", Blocked: true, Params: none(), Why: "Build #145 is already in progress (ETA:51 min)"}},
		{"became a build", leftForBuild, jenkins.Item{ID: 143, Job: "test", Params: none(), Left: true, Build: 14, BuildURL: "/job/test/14/"}},
		{"cancelled", leftCancelled, jenkins.Item{ID: 143, Job: "test", Params: none(), Left: true, Cancelled: true}},
		{"left, not yet a build", leftJustNow, jenkins.Item{ID: 143, Job: "test", Params: none(), Left: true}},
		{"left, by its class alone", `{"_class":"hudson.model.Queue$LeftItem","id":143}`, jenkins.Item{ID: 143, Params: none(), Left: true}},
		{"null everywhere", `{"_class":null,"id":143,"why":null,"stuck":null,"blocked":null,"task":null,"actions":null,"executable":null}`,
			jenkins.Item{ID: 143, Params: none()}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/queue/item/143/api/json": jenkinsReply(200, test.body)})
			if test.want.BuildURL != "" {
				test.want.BuildURL = f.url + test.want.BuildURL
			}
			got, err := f.client().Queued(t.Context(), 143)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Queued: %v (-want +got):\n%s", err, diff)
			}
			want := "id,why,stuck,blocked,task[url],actions[parameters[name,value]],cancelled,executable[number,url]"
			if tree := treeOf(t, f.asked()[0]); tree != want {
				t.Errorf("tree %q, want %q", tree, want)
			}
		})
	}
}

func TestQueuedRefused(t *testing.T) {
	gone := htmlReply(404, jettyPage("404", "Not Found"))
	tests := []struct {
		name          string
		answer, front reply
		reason        error
		status        int
		says          string
	}{
		{"gone", gone, jenkinsReply(200, front), jenkins.ErrNotFound, 404, "by its run id"},
		{"404 of a load balancer", htmlReply(404, "default backend - 404"), htmlReply(404, "default backend - 404"), jenkins.ErrProtocol, 404, "no header X-Jenkins"},
		{"404 while starting", gone, jenkinsReply(503, ""), jenkins.ErrUnavailable, 503, "try again"},
		{"404 and no session", gone, reply{200, map[string]string{"X-Jenkins": "2.541.3"}, front}, jenkins.ErrProtocol, 200, "X-Jenkins-Session"},
		{"a step", jenkinsReply(200, `{"id":143,`+placeholder[1:len(placeholder)-1]+`,"id":143}`), jenkinsReply(200, front), jenkins.ErrNotFound, 200, "step of a pipeline"},
		{"another item", jenkinsReply(200, blocked), jenkinsReply(200, front), jenkins.ErrProtocol, 200, "item of that id"},
		{"nothing", jenkinsReply(200, "{}"), jenkinsReply(200, front), jenkins.ErrProtocol, 200, "item of that id"},
		{"no object", jenkinsReply(200, "[]"), jenkinsReply(200, front), jenkins.ErrProtocol, 200, "item of that id"},
		{"html", jenkinsReply(200, loginPage), jenkinsReply(200, front), jenkins.ErrProtocol, 200, "not json"},
		{"cut", jenkinsReply(200, waiting[:300]), jenkinsReply(200, front), jenkins.ErrUnavailable, 200, "cut short"},
		{"empty", jenkinsReply(200, ""), jenkinsReply(200, front), jenkins.ErrUnavailable, 200, "cut short"},
		{"empty 502", reply{502, nil, ""}, jenkinsReply(200, front), jenkins.ErrUnavailable, 502, "bad gateway"},
		{"too many", reply{429, map[string]string{"Retry-After": "7"}, ""}, jenkinsReply(200, front), jenkins.ErrUnavailable, 429, "too many requests"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/queue/item/143/api/json": test.answer, "GET /ci/api/json": test.front})
			_, err := f.client().Queued(t.Context(), 143)
			checkError(t, err, test.reason, test.status, test.says)
		})
	}
}

func TestQueue(t *testing.T) {
	body := `{"_class":"hudson.model.Queue","items":[` + waiting + `,` + blocked + `,null,` + buildable + `,` + placeholder + `,` + placeholderNow + `,` +
		withoutURL + `,` + oddShapes + `,{"_class":"x","id":"odd"}]}`
	f := fakeJenkins(t, map[string]reply{"GET /ci/queue/api/json": jenkinsReply(200, body)})
	got, err := f.client().Queue(t.Context())
	want := []jenkins.Item{
		{ID: 143, Job: "aibuild/build", Why: "In the quiet period. Expires in 4.6 sec",
			Params: map[string]string{"AIBUILD_RUN_ID": "r1", "DRY": "true", "SECRET": "", "EMPTY": ""}},
		{ID: 144, Job: "test", Blocked: true, Params: none(), Why: "Build #145 is already in progress (ETA:51 min)"},
		{ID: 145, Job: "mb/feature%2Fx", Stuck: true, Params: none(), Why: "There are no nodes with the label ‘kvm’"},
		{ID: 148, Params: map[string]string{"AIBUILD_RUN_ID": "r9"}},
		{ID: 149, Params: map[string]string{"A": `{"b":[1]}`, "AIBUILD_RUN_ID": "r2"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("Queue: %v (-want +got):\n%s", err, diff)
	}
	if tree := treeOf(t, f.asked()[0]); tree != "items[id,why,stuck,blocked,task[url],actions[parameters[name,value]]]" {
		t.Errorf("tree %q", tree)
	}
}

// TestQueueEmpty: no items is an answer, no list is none.
func TestQueueEmpty(t *testing.T) {
	f := fakeJenkins(t, map[string]reply{"GET /ci/queue/api/json": jenkinsReply(200, `{"_class":"hudson.model.Queue","items":[]}`)})
	if got, err := f.client().Queue(t.Context()); len(got) != 0 || err != nil {
		t.Errorf("Queue = %v, %v", got, err)
	}
	for _, body := range []string{`{}`, `{"items":null}`, `{"items":"none"}`, `[]`, `null`} {
		f := fakeJenkins(t, map[string]reply{"GET /ci/queue/api/json": jenkinsReply(200, body)})
		_, err := f.client().Queue(t.Context())
		checkError(t, err, jenkins.ErrProtocol, 200, "no items")
	}
}

func TestCancel(t *testing.T) {
	tests := []struct {
		name   string
		answer reply
		reason error // nil: cancelled
		says   string
	}{
		{"cancelled", reply{204, nil, ""}, nil, ""},
		{"cancelled, before 2.211", redirect(302, "http://jenkins:8080/ci/queue/"), nil, ""},
		{"login page", redirect(302, "https://login.example.org/start?rd=/ci/queue/"), jenkins.ErrProtocol, "redirects to https://login.example.org/start;"},
		{"gone", htmlReply(404, jettyPage("404", "Provided id (25) not found")), jenkins.ErrNotFound, "Provided id (25) not found"},
		{"not allowed", htmlReply(422, jettyPage("422", "Item for id (25) is not cancellable")), jenkins.ErrForbidden, "lacks Job/Cancel"},
		{"lost a race", htmlReply(500, jettyPage("500", "Could not cancel run for id 25")), jenkins.ErrUnavailable, "Could not cancel run"},
		{"get", htmlReply(405, ""), jenkins.ErrProtocol, "context path"},
		{"page", htmlReply(200, loginPage), jenkins.ErrProtocol, "no header X-Jenkins"},
		{"page of jenkins", jenkinsReply(200, loginPage), jenkins.ErrProtocol, "context path"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"POST /ci/queue/cancelItem": test.answer})
			err := f.client().Cancel(t.Context(), 25)
			if asked := f.asked()[0]; asked != "POST /ci/queue/cancelItem?id=25" {
				t.Errorf("asked %q", asked)
			}
			if test.reason == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			checkError(t, err, test.reason, test.answer.status, test.says)
			if errors.Is(err, jenkins.ErrUnavailable) != (test.answer.status == 500) {
				t.Errorf("%v: only the race is worth another try", err)
			}
		})
	}
}

// TestCancelTooLate: what left the queue is an internal error for Jenkins.
func TestCancelTooLate(t *testing.T) {
	for body, reason := range map[string]error{leftCancelled: nil, leftForBuild: jenkins.ErrNotFound, leftJustNow: jenkins.ErrNotFound, waiting: jenkins.ErrUnavailable} {
		f := fakeJenkins(t, map[string]reply{"POST /ci/queue/cancelItem": jenkinsReply(500, oops), "GET /ci/queue/item/143/api/json": jenkinsReply(200, body)})
		if err := f.client().Cancel(t.Context(), 143); !errors.Is(err, reason) {
			t.Errorf("Cancel of %s: %v, want %v", body, err, reason)
		}
	}
}
