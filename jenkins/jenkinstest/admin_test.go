package jenkinstest_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

const project = `<?xml version='1.1' encoding='UTF-8'?>
<project>
  <description>says &lt;hello&gt;</description>
  <properties>
    <hudson.model.ParametersDefinitionProperty>
      <parameterDefinitions>
        <hudson.model.StringParameterDefinition><name>WHO</name><description>whom</description><defaultValue>world</defaultValue><trim>false</trim></hudson.model.StringParameterDefinition>
        <hudson.model.ChoiceParameterDefinition><name>HOW</name><choices class="java.util.Arrays$ArrayList"><a class="string-array"><string>soft</string><string>loud</string></a></choices></hudson.model.ChoiceParameterDefinition>
      </parameterDefinitions>
    </hudson.model.ParametersDefinitionProperty>
  </properties>
  <quietPeriod>0</quietPeriod>
  <canRoam>true</canRoam>
  <disabled>false</disabled>
  <concurrentBuild>true</concurrentBuild>
  <builders>
    <hudson.tasks.Shell><command>echo hello $WHO $HOW
exit 9</command><unstableReturn>9</unstableReturn></hudson.tasks.Shell>
  </builders>
</project>`

const folderXML = `<com.cloudbees.hudson.plugins.folder.Folder plugin="cloudbees-folder@6.1.2"><properties/></com.cloudbees.hudson.plugins.folder.Folder>`

// TestCreateItem: jobs and folders come by XML, and refusals say why in X-Error.
func TestCreateItem(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile})
		c := admin(t, s)
		create := func(path, body, kind string) reply { return c.do("POST", path, body, "Content-Type", kind) }
		for _, row := range []struct {
			path, body, kind string
			status           int
			says             string
		}{
			{"/createItem?name=f", folderXML, "application/xml", 200, ""},
			{"/job/f/createItem?name=hello", project, "text/xml; charset=utf-8", 200, ""},
			{"/job/f/createItem?name=hello", project, "application/xml", 400, "A job already exists with the name  hello"}, // quotes are no Latin-1
			{"/createItem?name=a%2Fb", project, "application/xml", 400, " /  is an unsafe character"},
			{"/createItem?name=", project, "application/xml", 400, "No name is specified"},
			{"/createItem?name=..", project, "application/xml", 400, " ..  is not an allowed name"},
			{"/createItem", project, "application/xml", 400, "Query parameter 'name' is required"},
			{"/createItem?name=x", "{}", "application/json", 400, "No mode given"},
			{"/createItem?name=x", "<project>", "application/xml", 500, ""},
			{"/createItem?name=x", "<maven2-moduleset/>", "application/xml", 500, ""},
			{"/createItem?name=copy&mode=copy&from=f/hello", "", "", 302, ""},
			{"/createItem?name=x&mode=copy&from=none", "", "", 400, "No such job: none"},
		} {
			got := create(row.path, row.body, row.kind)
			if got.status != row.status || strings.TrimSpace(got.header.Get("X-Error")) != strings.TrimSpace(row.says) {
				t.Errorf("%s: %d %q, want %d %q", row.path, got.status, got.header.Get("X-Error"), row.status, row.says)
			}
		}
		if got := create("/createItem?name=dot.", project, "application/xml"); got.status != map[string]int{"2.300": 200, "current": 400}[profile] {
			t.Errorf("a dot at the end: %d", got.status)
		}
		if got := c.run("f/job/hello", "1", "HOW", "loud"); got != "UNSTABLE" || !strings.Contains(c.get("/job/f/job/hello/1/consoleText").body, "\nhello world loud\n") {
			t.Errorf("%s: %s", got, c.get("/job/f/job/hello/1/consoleText").body)
		}
		if got := c.do("POST", "/job/copy/buildWithParameters", ""); got.status != 409 {
			t.Errorf("a copy that nobody saved: %d", got.status)
		}
		create("/job/copy/config.xml", c.get("/job/copy/config.xml").body, "text/xml")
		if got := c.run("copy", "1", "WHO", "you"); got != "UNSTABLE" {
			t.Errorf("the copy: %s", got)
		}
	})
}

// TestConfigXML: what was sent comes back, and what AddJob made can be read again.
func TestConfigXML(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "p", Description: "a & b", Label: "kvm", Command: "exit 3", UnstableReturn: 3, Concurrent: true,
			Parameters: []jenkinstest.Parameter{{Name: "A", Default: "<x>"}, {Name: "B", Type: "boolean", Default: "true"}, {Name: "C", Type: "choice", Choices: []string{"1", "2"}}, {Name: "D", Type: "password"}, {Name: "E", Type: "text"}}},
			jenkinstest.Job{Path: "pipe", Kind: jenkinstest.Pipeline, AbortPrevious: true, Parameters: one, Command: "true"})
		c := admin(t, s)
		for _, job := range []string{"p", "pipe"} {
			config := c.get("/job/" + job + "/config.xml")
			if config.status != 200 || config.header.Get("Content-Type") != "application/xml" {
				t.Errorf("%d %v", config.status, config.header)
			}
			before := c.get("/job/" + job + "/api/json").body
			if got := c.do("POST", "/job/"+job+"/config.xml", config.body, "Content-Type", "text/xml"); got.status != 200 {
				t.Errorf("post: %d %s", got.status, got.body)
			}
			if diff := cmp.Diff(before, c.get("/job/"+job+"/api/json").body); diff != "" {
				t.Errorf("%s: %s", job, diff)
			}
			if diff := cmp.Diff(config.body, c.get("/job/"+job+"/config.xml").body); diff != "" {
				t.Error(diff)
			}
		}
		if got := c.do("POST", "/job/p/config.xml", project, "Content-Type", "text/xml"); got.status != 200 || c.get("/job/p/config.xml").body != project {
			t.Errorf("replacing: %d", got.status)
		}
		if got := c.run("p", "1", "HOW", "soft"); got != "UNSTABLE" {
			t.Error(got)
		}
		if got := c.do("POST", "/job/p/config.xml", "no xml", "Content-Type", "text/xml"); got.status != 500 || c.get("/job/p/config.xml").body != project {
			t.Errorf("nonsense: %d", got.status)
		}
		for _, how := range []string{"disable", "enable"} {
			if got := c.do("POST", "/job/p/"+how, ""); got.status != 302 || c.json("/job/p/api/json")["disabled"] != (how == "disable") {
				t.Errorf("%s: %d", how, got.status)
			}
		}
	})
}

// TestJobDocument: a job that never ran, byte for byte.
func TestJobDocument(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile}, jenkinstest.Job{Path: "f/p", Description: "d", Parameters: one, Label: "kvm"},
			jenkinstest.Job{Path: "f/pipe", Kind: jenkinstest.Pipeline, Concurrent: true})
		c := admin(t, s)
		definition := `{"_class":"hudson.model.StringParameterDefinition","defaultParameterValue":{"_class":"hudson.model.StringParameterValue",NAME"value":"none"},` +
			`"description":"the one","name":"A","type":"StringParameterDefinition"}`
		property := `{"_class":"hudson.model.ParametersDefinitionProperty","parameterDefinitions":[` + definition + `]}`
		head := func(name, description string) string {
			return `"description":"` + description + `","displayName":"` + name + `","displayNameOrNull":null,"fullDisplayName":"f » ` + name + `","fullName":"f/` + name + `","name":"` + name +
				`","url":"` + s.URL() + `/job/f/job/` + name + `/","buildable":true,"builds":[],"color":"notbuilt","firstBuild":null,"healthReport":[],`
		}
		lasts := `"lastBuild":null,"lastCompletedBuild":null,"lastFailedBuild":null,"lastStableBuild":null,"lastSuccessfulBuild":null,"lastUnstableBuild":null,"lastUnsuccessfulBuild":null,"nextBuildNumber":1,`
		others := `{},{"_class":"com.cloudbees.plugins.credentials.ViewCredentialsAction"}],`
		check(t, `{"_class":"hudson.model.FreeStyleProject","actions":[`+strings.ReplaceAll(property, "NAME", "")+`,`+others+head("p", "d")+`"inQueue":false,"keepDependencies":false,`+lasts+
			`"property":[`+strings.ReplaceAll(property, "NAME", `"name":"A",`)+`],"queueItem":null,"concurrentBuild":false,"disabled":false,"downstreamProjects":[],"labelExpression":"kvm","scm":{"_class":"hudson.scm.NullSCM"},"upstreamProjects":[]}`,
			c.get("/job/f/job/p/api/json").body)
		pipe := `{"_class":"org.jenkinsci.plugins.workflow.job.WorkflowJob","actions":[` + others + head("pipe", "")
		if profile == jenkinstest.Profile2300 {
			pipe += `"inQueue":false,"keepDependencies":false,` + lasts + `"property":[],"queueItem":null,"concurrentBuild":true,"resumeBlocked":false}`
		} else {
			pipe += `"keepDependencies":false,` + lasts + `"property":[],"concurrentBuild":true,"disabled":false,"inQueue":false,"queueItem":null,"resumeBlocked":false}`
		}
		check(t, pipe, c.get("/job/f/job/pipe/api/json/").body)
		want := `{"_class":"hudson.model.FreeStyleProject","buildable":true,"property":[{"_class":"hudson.model.ParametersDefinitionProperty","parameterDefinitions":[{"_class":"hudson.model.StringParameterDefinition","name":"A","type":"StringParameterDefinition"}]}]}`
		check(t, want, c.get("/job/f/job/p/api/json?tree=buildable,property[parameterDefinitions[name,type]]").body)
	})
}

// TestNames: every name is escaped once in paths, whatever it is.
func TestNames(t *testing.T) {
	s := start(t, jenkinstest.Options{}, jenkinstest.Job{Path: "mb/feature%2Fx", Command: "true"}, jenkinstest.Job{Path: "ä b/c+d", Command: "true"})
	c := admin(t, s)
	for path, name := range map[string]string{"mb/job/feature%252Fx": "feature%2Fx", "%C3%A4%20b/job/c+d": "c+d"} {
		c.run(path, "1")
		doc := c.json("/job/" + path + "/1/api/json")
		if got := c.json("/job/" + path + "/api/json")["name"]; got != name || doc["url"] != s.URL()+"/job/"+path+"/1/" {
			t.Errorf("%s: %v at %v", path, got, doc["url"])
		}
	}
	if got := c.get("/job/mb/job/feature%2Fx/api/json"); got.status != 404 {
		t.Errorf("escaped too little: %d", got.status)
	}
}

// TestSystem: what a doctor asks a Jenkins.
func TestSystem(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		s := start(t, jenkinstest.Options{Profile: profile, Executors: 1, Labels: []string{"small"}, Nodes: []jenkinstest.Node{
			{Name: "big", Labels: []string{"kvm"}, Executors: 4}, {Name: "dead", Labels: []string{"kvm", "gpu"}, Offline: true}}},
			jenkinstest.Job{Path: "f/p", Label: "kvm"})
		c := admin(t, s)
		name, display := "built-in", "Built-In Node"
		if profile == jenkinstest.Profile2300 {
			name, display = "master", "master"
		}
		tests := map[string]string{
			"/computer/api/json?tree=busyExecutors,totalExecutors,computer[displayName,offline,numExecutors,assignedLabels[name]]": `{"_class":"hudson.model.ComputerSet","busyExecutors":0,"computer":[` +
				`{"_class":"hudson.model.Hudson$MasterComputer","assignedLabels":[{"name":"` + name + `"},{"name":"small"}],"displayName":"` + display + `","numExecutors":1,"offline":false},` +
				`{"_class":"hudson.slaves.SlaveComputer","assignedLabels":[{"name":"big"},{"name":"kvm"}],"displayName":"big","numExecutors":4,"offline":false},` +
				`{"_class":"hudson.slaves.SlaveComputer","assignedLabels":[{"name":"dead"},{"name":"gpu"},{"name":"kvm"}],"displayName":"dead","numExecutors":1,"offline":true}],"totalExecutors":5}`,
			"/label/kvm/api/json?tree=name,offline,totalExecutors,idleExecutors,nodes[nodeName],tiedJobs[name]": `{"_class":"hudson.model.labels.LabelAtom","idleExecutors":4,"name":"kvm",` +
				`"nodes":[{"_class":"hudson.slaves.DumbSlave","nodeName":"big"},{"_class":"hudson.slaves.DumbSlave","nodeName":"dead"}],"offline":false,"tiedJobs":[{"_class":"hudson.model.FreeStyleProject","name":"p"}],"totalExecutors":4}`,
			"/label/none/api/json?tree=name,offline,nodes[nodeName]":   `{"_class":"hudson.model.labels.LabelAtom","name":"none","nodes":[],"offline":true}`,
			"/label/gpu/api/json?tree=offline,totalExecutors":          `{"_class":"hudson.model.labels.LabelAtom","offline":true,"totalExecutors":0}`,
			"/computer/(" + name + ")/api/json?tree=idle,executors[*]": `{"_class":"hudson.model.Hudson$MasterComputer","executors":[{"currentExecutable":null,"idle":true,"likelyStuck":false,"number":0,"progress":-1}],"idle":true}`,
			"/api/json?tree=jobs[name,jobs[name]],quietingDown,url":    `{"_class":"hudson.model.Hudson","jobs":[{"_class":"com.cloudbees.hudson.plugins.folder.Folder","name":"f","jobs":[{"_class":"hudson.model.FreeStyleProject","name":"p"}]}],"quietingDown":false,"url":"` + s.URL() + `/"}`,
			"/view/all/api/json?tree=name,jobs[name]":                  `{"_class":"hudson.model.AllView","jobs":[{"_class":"com.cloudbees.hudson.plugins.folder.Folder","name":"f"}],"name":"all"}`,
			"/view/all/job/f/job/p/api/json?tree=fullName":             `{"_class":"hudson.model.FreeStyleProject","fullName":"f/p"}`,
			"/job/f/api/json?tree=fullName,jobs[color]":                `{"_class":"com.cloudbees.hudson.plugins.folder.Folder","fullName":"f","jobs":[{"_class":"hudson.model.FreeStyleProject","color":"notbuilt"}]}`,
		}
		for path, want := range tests {
			if diff := cmp.Diff(want, c.get(path).body); diff != "" {
				t.Errorf("%s: %s", path, diff)
			}
		}
		for _, path := range []string{"/computer/none/api/json", "/computer/", "/nothing/api/json", "/queue/item/x/api/json", "/queue/item/1", "/job/f/job/p/1/api/json", "/job/f/job/p/x", "/api/xml", "/job/f/1"} {
			if got := c.get(path); got.status != 404 {
				t.Errorf("%s: %d", path, got.status)
			}
		}
		for path, depth := range map[string]string{"/api/json": "depth=3", "/computer/api/json": "depth=4", "/job/f/job/p/api/json": "pretty&depth=2"} {
			if got := c.get(path + "?" + depth); got.status != 200 {
				t.Errorf("%s?%s: %d", path, depth, got.status)
			}
		}
	})
}
