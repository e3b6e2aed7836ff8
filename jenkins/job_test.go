package jenkins_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins"
)

const jobBody = `{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","actions":[{},{"_class":"hudson.plugins.jobConfigHistory.JobConfigHistoryProjectAction"}],` +
	`"buildable":true,"color":"red_anime","inQueue":true,"property":[{},{"_class":"jenkins.model.BuildDiscarderProperty"},` +
	`{"_class":"hudson.model.ParametersDefinitionProperty","parameterDefinitions":[{"_class":"hudson.model.StringParameterDefinition","name":"AIBUILD_RUN_ID","type":"StringParameterDefinition"},` +
	`{"_class":"hudson.model.ChoiceParameterDefinition","name":"AIBUILD_FROM","choices":["build","test"]},{"name":null},null]},{"parameterDefinitions":{"odd":1}},7]}`

func TestJob(t *testing.T) {
	tests := []struct {
		name, body string
		want       jenkins.Job
	}{
		{"pipeline", jobBody, jenkins.Job{Buildable: true, InQueue: true, Color: "red_anime", Parameters: []string{"AIBUILD_RUN_ID", "AIBUILD_FROM"}}},
		{"disabled freestyle", `{"_class":"hudson.model.FreeStyleProject","buildable":false,"disabled":true,"color":"disabled","labelExpression":"kvm && big","property":[]}`,
			jenkins.Job{Disabled: true, Color: "disabled", Label: "kvm && big"}},
		{"disabled pipeline", `{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","buildable":false,"color":"disabled_anime"}`,
			jenkins.Job{Disabled: true, Color: "disabled_anime"}},
		{"folder", `{"_class":"com.cloudbees.hudson.plugins.folder.Folder"}`, jenkins.Job{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/job/aibuild/job/build/api/json": jenkinsReply(200, test.body)})
			test.want.Path, test.want.URL = "aibuild/build", f.url+"/job/aibuild/job/build/"
			got, err := f.client().Job(t.Context(), "aibuild/build")
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Job: %v (-want +got):\n%s", err, diff)
			}
			if tree := treeOf(t, f.asked()[0]); tree != "buildable,disabled,inQueue,color,labelExpression,property[parameterDefinitions[name,choices]]" {
				t.Errorf("tree %q", tree)
			}
		})
	}
	_, err := fakeJenkins(t, nil).client().Job(t.Context(), "aibuild/build")
	checkError(t, err, jenkins.ErrNotFound, 404, "Job/Read")
}

func TestMayStart(t *testing.T) {
	lacks := htmlReply(403, "").with("X-You-Are-Authenticated-As", user).with("X-Required-Permission", "hudson.model.Item.Build")
	tests := []struct {
		name, version string
		answer        reply
		known         bool
		reason        error
		says          string
	}{
		{"may", "2.541.3", htmlReply(405, "<html>").with("Allow", "POST"), true, nil, ""},
		{"just new enough", "2.469", htmlReply(405, "<html>"), true, nil, ""},
		{"may not", "3.0", lacks, true, jenkins.ErrForbidden, "aibuild lacks hudson.model.Item.Build; ask an administrator of jenkins for the permission Job/Build"},
		{"before 2.469", "2.462.3", lacks, false, nil, ""},
		{"before 2.469, long", "1.651.3", lacks, false, nil, ""},
		{"no version", "2.x-SNAPSHOT", lacks, false, nil, ""},
		{"a page", "2.541.3", jenkinsReply(200, loginPage), true, jenkins.ErrProtocol, "jenkins itself"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{
				"GET /ci/job/app/api/json":            jenkinsReply(200, jobBody).with("X-Jenkins", test.version),
				"GET /ci/job/app/buildWithParameters": test.answer,
			})
			known, err := f.client().MayStart(t.Context(), "app")
			if known != test.known || (err == nil) != (test.reason == nil) {
				t.Errorf("MayStart = %v, %v; want %v", known, err, test.known)
			}
			if test.reason != nil {
				checkError(t, err, test.reason, test.answer.status, test.says)
			}
			// Old versions build when asked like this.
			if asked := f.asked(); !test.known && len(asked) != 1 {
				t.Errorf("asked %q", asked)
			}
		})
	}
	_, err := fakeJenkins(t, nil).client().MayStart(t.Context(), "app")
	checkError(t, err, jenkins.ErrNotFound, 404, "Job/Read")
}

func TestMayCancel(t *testing.T) {
	const running, ended = `{"number":8,"building":true}`, `{"number":7,"building":false,"result":"SUCCESS"}`
	lacks := htmlReply(403, "").with("X-You-Are-Authenticated-As", user).with("X-Required-Permission", "hudson.model.Item.Cancel")
	tests := []struct {
		name, builds string
		answer       reply
		known        bool
		reason       error
		says         string
	}{
		{"may", running + "," + ended, htmlReply(302, "").with("Location", "https://ci.example.org/ci/job/app/7/"), true, nil, ""},
		{"old plugin", ended, jenkinsReply(200, ""), true, nil, ""},
		{"may not", ended, lacks, true, jenkins.ErrForbidden, "for the permission Job/Cancel"},
		{"no pipeline", ended, htmlReply(404, ""), false, nil, ""},
		{"nothing has ended", running, lacks, false, nil, ""},
		{"login", ended, htmlReply(302, "").with("Location", "https://sso.example.org/login"), false, jenkins.ErrProtocol, "redirects to"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{
				"GET /ci/job/app/api/json": jenkinsReply(200, `{"builds":[`+test.builds+`]}`),
				"POST /ci/job/app/7/term":  test.answer,
			})
			known, err := f.client().MayCancel(t.Context(), "app")
			if known != test.known || (err == nil) != (test.reason == nil) {
				t.Errorf("MayCancel = %v, %v; want %v", known, err, test.known)
			}
			if test.reason != nil {
				checkError(t, err, test.reason, test.answer.status, test.says)
			}
		})
	}
}

func TestLabel(t *testing.T) {
	tests := []struct {
		name, body string
		want       jenkins.Label
	}{
		{"agents", `{"_class":"hudson.model.labels.LabelAtom","clouds":[],"nodes":[{"_class":"hudson.model.Hudson","nodeName":""},{"_class":"hudson.slaves.DumbSlave","nodeName":"kvm1"}],"totalExecutors":3}`,
			jenkins.Label{Agents: []string{"built-in", "kvm1"}, Executors: 3}},
		{"offline", `{"clouds":[],"nodes":[{"nodeName":"kvm1"}],"totalExecutors":0}`, jenkins.Label{Agents: []string{"kvm1"}}},
		{"cloud", `{"clouds":[{}],"nodes":[],"totalExecutors":0}`, jenkins.Label{Clouds: 1}},
		{"nobody", `{"clouds":[],"nodes":[],"totalExecutors":0}`, jenkins.Label{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := fakeJenkins(t, map[string]reply{"GET /ci/label/kvm%20&&%20!%22old%20one%22/api/json": jenkinsReply(200, test.body)})
			test.want.Name = `kvm && !"old one"`
			got, err := f.client().Label(t.Context(), test.want.Name)
			if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
				t.Errorf("Label: %v (-want +got):\n%s", err, diff)
			}
		})
	}
	f := fakeJenkins(t, map[string]reply{"GET /ci/label/kvm/api/json": jenkinsReply(200, `{}`)})
	_, err := f.client().Label(t.Context(), "kvm")
	checkError(t, err, jenkins.ErrProtocol, 200, "no executors")
	_, err = f.client().Label(t.Context(), "")
	checkError(t, err, jenkins.ErrConfig, 0, "no label")
}
