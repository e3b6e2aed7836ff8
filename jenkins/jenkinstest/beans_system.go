package jenkinstest

import "strconv"

// entryBean is one item of the queue, or one that left it.
func (x *exchange) entryBean(e *entry) *bean {
	class := map[phase]string{waiting: "Waiting", blocked: "Blocked", buildable: "Buildable", pending: "Buildable", left: "Left"}[e.phase]
	b := &bean{class: "hudson.model.Queue$" + class + "Item"}
	actions := []any{}
	var task any = &bean{class: "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask"}
	if e.step == nil {
		if len(e.params) > 0 {
			actions = append(actions, parametersAction(e.params))
		}
		actions = append(actions, causeAction(e.causes))
		task = x.jobBean(e.item)
	}
	var why any
	if e.phase != left {
		why = x.whyOf(e)
	}
	b.putAt("actions", 1, actions).putAt("blocked", everywhere, e.phase == blocked).
		putAt("buildable", everywhere, e.phase == buildable || e.phase == pending).
		putAt("id", everywhere, e.id).putAt("inQueueSince", everywhere, e.since.UnixMilli()).
		putAt("params", everywhere, described(e.params)).putAt("stuck", everywhere, x.stuck(e)).
		putAt("task", everywhere, task).putAt("url", everywhere, "queue/item/"+strconv.FormatInt(e.id, 10)+"/").putAt("why", everywhere, why)
	switch e.phase {
	case waiting:
		return b.putAt("timestamp", everywhere, e.due.UnixMilli())
	case left:
		return b.putAt("cancelled", everywhere, e.cancelled).putAt("executable", everywhere, func() any { return x.executable(e) })
	}
	b.putAt("buildableStartMilliseconds", everywhere, e.buildableSince.UnixMilli())
	if e.phase != blocked {
		b.putAt("pending", everywhere, e.phase == pending)
	}
	return b
}

// executable is the build that an entry became, once it is to be seen.
func (x *exchange) executable(e *entry) any {
	if e.build == nil || x.now().Sub(e.leftAt) < x.options.StartGap {
		return nil
	}
	return x.buildBean(e.build)
}

func (x *exchange) queueBean() *bean {
	items := []any{}
	for _, e := range x.ordered() {
		if x.caller.canRead(e.item) {
			items = append(items, x.entryBean(e))
		}
	}
	return (&bean{class: "hudson.model.Queue"}).putInline("discoverableItems", []any{}).putInline("items", items)
}

// queuedOf finds a trigger of a job that is in the queue.
func (x *exchange) queuedOf(it *item) *entry {
	for _, p := range []phase{blocked, buildable, pending, waiting} {
		for _, e := range x.inPhase(p) {
			if e.item == it && e.step == nil {
				return e
			}
		}
	}
	return nil
}

func (x *exchange) queueItemOf(it *item) any {
	e := x.queuedOf(it)
	if e == nil {
		return nil
	}
	return x.entryBean(e)
}

// children are the jobs and folders of a folder that the caller may see.
func (x *exchange) children(folder *item) func() any {
	return func() any {
		all := []any{}
		for _, it := range folder.sorted() {
			if x.caller.canRead(it) {
				all = append(all, x.itemBean(it))
			}
		}
		return all
	}
}

// front is Jenkins itself.
func (x *exchange) front() *bean {
	built := x.nodes[0]
	b := &bean{class: "hudson.model.Hudson"}
	x.nodeFields(b, built)
	return b.put("description", nil).put("jobs", x.children(x.root)).put("overallLoad", hollow{}).put("primaryView", x.allView(x.root)).
		put("quietDownReason", nil).put("quietingDown", x.quieting).put("slaveAgentPort", -1).
		put("unlabeledLoad", &bean{class: "jenkins.model.UnlabeledLoadStatistics"}).put("url", x.rootURL()).
		put("useCrumbs", true).put("useSecurity", true).put("views", []any{x.allView(x.root)})
}

func (x *exchange) allView(of *item) *bean {
	return (&bean{class: "hudson.model.AllView"}).put("description", nil).put("jobs", x.children(of)).
		putAt("name", 2, "all").putInline("property", []any{}).putAt("url", 2, x.rootURL()+of.path())
}

func (x *exchange) view() *bean { return x.allView(x.root) }

func (x *exchange) whoAmI() *bean {
	groups := []string{"authenticated"}
	if x.caller.anonymous {
		groups = []string{"anonymous"}
	}
	return (&bean{class: "hudson.security.WhoAmI"}).put("anonymous", x.caller.anonymous).put("authenticated", true).
		put("authorities", list(append(groups, x.caller.Groups...))).put("name", x.caller.Name)
}

func (x *exchange) me() *bean {
	return (&bean{class: "hudson.model.User"}).putAt("absoluteUrl", everywhere, x.rootURL()+"user/"+escape(x.caller.Name)).
		put("description", nil).putAt("fullName", everywhere, x.caller.fullName()).put("id", x.caller.Name).putInline("property", []any{})
}

func (x *exchange) plugins() *bean {
	all := []any{}
	for _, id := range x.options.Plugins {
		all = append(all, (&bean{class: "hudson.PluginWrapper"}).put("active", true).put("enabled", true).put("shortName", id))
	}
	return (&bean{class: "hudson.LocalPluginManager"}).put("plugins", all)
}
