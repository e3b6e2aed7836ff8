package jenkinstest

import (
	"fmt"
	"time"
)

func (k Kind) jobClass() string {
	if k == Pipeline {
		return "org.jenkinsci.plugins.workflow.job.WorkflowJob"
	}
	return "hudson.model.FreeStyleProject"
}

func (k Kind) buildClass() string {
	if k == Pipeline {
		return "org.jenkinsci.plugins.workflow.job.WorkflowRun"
	}
	return "hudson.model.FreeStyleBuild"
}

const (
	folderClass = "com.cloudbees.hudson.plugins.folder.Folder"
	viewAction  = "com.cloudbees.plugins.credentials.ViewCredentialsAction"
)

// itemBean is a job or a folder.
func (x *exchange) itemBean(it *item) *bean {
	if it.isFolder() {
		b := &bean{class: folderClass}
		x.common(b, it, []any{hollow{}, hollow{}, &bean{class: viewAction}}, "")
		return b.put("jobs", x.children(it)).put("primaryView", x.allView(it)).put("views", []any{x.allView(it)})
	}
	return x.jobBean(it)
}

// common are the fields of hudson.model.AbstractItem and above.
func (x *exchange) common(b *bean, it *item, actions any, description string) {
	b.put("actions", actions).put("description", description).put("displayName", it.name).put("displayNameOrNull", nil).
		put("fullDisplayName", it.fullDisplayName()).put("fullName", it.fullName()).
		putAt("name", everywhere, it.name).putAt("url", everywhere, x.rootURL()+it.path())
}

func (x *exchange) jobBean(it *item) *bean {
	job, kind := it.job, it.job.kind()
	b := &bean{class: kind.jobClass()}
	x.common(b, it, func() any { return append(job.parameterized(), hollow{}, &bean{class: viewAction}) }, job.Description)
	b.putAt("allBuilds", hidden, func() any { return x.buildBeans(it, len(it.builds)) }).
		put("buildable", it.isBuildable()).
		put("builds", func() any { return x.buildBeans(it, 100) }).
		putAt("color", 2, it.color()).
		put("firstBuild", func() any {
			if len(it.builds) == 0 {
				return nil
			}
			return x.buildBean(it.builds[0])
		}).
		put("healthReport", func() any { return it.health() })
	own := kind == Pipeline && x.profile.inProgress // newer pipelines show these two in their own class
	if !own {
		b.put("inQueue", func() any { return x.queuedOf(it) != nil })
	}
	b.put("keepDependencies", false)
	for _, name := range []string{"lastBuild", "lastCompletedBuild", "lastFailedBuild", "lastStableBuild",
		"lastSuccessfulBuild", "lastUnstableBuild", "lastUnsuccessfulBuild"} {
		b.put(name, func() any { return x.buildOrNull(it.newest(permalinks[name])) })
	}
	b.put("nextBuildNumber", it.nextBuild).putInline("property", func() any { return job.properties() })
	if !own {
		b.put("queueItem", func() any { return x.queueItemOf(it) })
	}
	return x.jobTail(b, it, own)
}

// parameterized is what a parameterized job has among its actions and among its properties.
func (j Job) parameterized() []any {
	if len(j.Parameters) == 0 {
		return []any{}
	}
	return []any{j.definitions()}
}

func (j Job) properties() []any {
	all := j.parameterized()
	if j.kind() == Pipeline && !j.Concurrent {
		all = append(all, &bean{class: "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"})
	}
	return all
}

// jobTail are the fields of the job's own class.
func (x *exchange) jobTail(b *bean, it *item, own bool) *bean {
	job := it.job
	b.put("concurrentBuild", job.Concurrent)
	switch {
	case own:
		return b.put("disabled", job.Disabled).put("inQueue", func() any { return x.queuedOf(it) != nil }).put("queueItem", func() any { return x.queueItemOf(it) }).put("resumeBlocked", false)
	case job.kind() == Pipeline:
		return b.put("resumeBlocked", false)
	}
	var label any
	if job.Label != "" {
		label = job.Label
	}
	return b.put("disabled", job.Disabled).put("downstreamProjects", []any{}).put("labelExpression", label).
		put("scm", &bean{class: "hudson.scm.NullSCM"}).put("upstreamProjects", []any{})
}

func (x *exchange) buildBeans(it *item, limit int) []any {
	var all []any
	for i := len(it.builds) - 1; i >= 0 && len(all) < limit; i-- {
		all = append(all, x.buildBean(it.builds[i]))
	}
	return all
}

func (x *exchange) buildOrNull(b *build) any {
	if b == nil {
		return nil
	}
	return x.buildBean(b)
}

// health is the job's stability over its last five builds.
func (it *item) health() []any {
	failed, total := 0, 0
	for i := len(it.builds) - 1; i >= 0 && total < 5; i-- {
		switch b := it.builds[i]; {
		case b.running():
		case b.result == "SUCCESS" || b.result == "UNSTABLE":
			total++
		case b.result == "FAILURE":
			failed++
			total++
		}
	}
	if total == 0 {
		return []any{}
	}
	text := fmt.Sprintf("%d out of the last %d builds failed.", failed, total)
	switch failed {
	case 0:
		text = "No recent builds failed."
	case total:
		text = "All recent builds failed."
	}
	score := 100 * (total - failed) / total
	icon := "80plus"
	for _, step := range []struct {
		limit int
		icon  string
	}{{20, "00to19"}, {40, "20to39"}, {60, "40to59"}, {80, "60to79"}} {
		if score <= step.limit {
			icon = step.icon
			break
		}
	}
	return []any{(&bean{}).putAt("description", 2, "Build stability: "+text).putAt("iconClassName", 2, "icon-health-"+icon).
		putAt("iconUrl", 2, "health-"+icon+".png").putAt("score", 2, score)}
}

// buildBean is one build.
func (x *exchange) buildBean(b *build) *bean {
	kind := b.job.kind()
	name := fmt.Sprintf("#%d", b.number)
	out := (&bean{class: kind.buildClass()}).put("actions", func() any { return b.actions() }).put("artifacts", []any{}).
		put("building", b.running()).put("description", nil).put("displayName", name).put("duration", b.duration.Milliseconds()).
		put("estimatedDuration", func() any { return milliseconds(b.item.estimate()) }).
		put("executor", func() any { return x.executorOf(b) }).
		putAt("fingerprint", -1, []any{}).
		put("fullDisplayName", b.item.fullDisplayName()+" "+name).put("id", fmt.Sprint(b.number))
	if x.profile.inProgress && kind == Freestyle {
		out.put("inProgress", b.logUpdated())
	}
	out.put("keepLog", false).putAt("number", 2, b.number).put("queueId", b.queueID).put("result", orNull(b.result)).
		put("timestamp", b.started.UnixMilli()).putAt("url", 2, x.rootURL()+b.url())
	if kind == Freestyle {
		return out.put("builtOn", builtOn(x.nodes[0], b)).
			put("changeSet", (&bean{class: "hudson.scm.EmptyChangeLogSet"}).putAt("items", everywhere, []any{}).putAt("kind", everywhere, nil)).
			put("culprits", []any{})
	}
	out.put("changeSets", []any{}).put("culprits", []any{})
	if x.profile.inProgress {
		out.put("inProgress", b.logUpdated())
	}
	return out.
		put("nextBuild", func() any { return x.buildOrNull(b.item.neighbour(b, 1)) }).
		put("previousBuild", func() any { return x.buildOrNull(b.item.neighbour(b, -1)) })
}

func builtOn(builtIn *node, b *build) string {
	if b.nodeName == builtIn.Name {
		return ""
	}
	return b.nodeName
}

func orNull(text string) any {
	if text == "" {
		return nil
	}
	return text
}

func milliseconds(span time.Duration) int64 {
	if span < 0 {
		return -1
	}
	return span.Milliseconds()
}

// neighbour is the next or the previous build; nil if there is none.
func (it *item) neighbour(b *build, step int) *build {
	for i, other := range it.builds {
		if at := i + step; other == b && at >= 0 && at < len(it.builds) {
			return it.builds[at]
		}
	}
	return nil
}

// actions are what hangs on a build: parameters, causes, who ended it, and what has nothing to show.
func (b *build) actions() []any {
	all := []any{}
	if len(b.params) > 0 {
		all = append(all, parametersAction(b.params))
	}
	all = append(all, causeAction(b.causes))
	if b.abort != nil && len(b.abort.By) > 0 {
		var by []any
		for _, c := range b.abort.By {
			by = append(by, (&bean{class: "jenkins.model.CauseOfInterruption$UserInterruption"}).put("shortDescription", "Aborted by "+c.Name))
		}
		all = append(all, (&bean{class: "jenkins.model.InterruptedBuildAction"}).put("causes", by))
	}
	return append(all, hollow{}, hollow{})
}

func causeAction(causes []cause) *bean {
	var all []any
	for _, c := range causes {
		all = append(all, (&bean{class: "hudson.model.Cause$UserIdCause"}).putAt("shortDescription", 3, c.text()).
			putAt("userId", 3, orNull(c.User)).putAt("userName", 3, c.Name))
	}
	return (&bean{class: "hudson.model.CauseAction"}).putAt("causes", 2, all)
}

func (c cause) text() string { return "Started by user " + c.Name }
