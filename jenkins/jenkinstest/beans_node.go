package jenkinstest

import (
	"slices"
	"strconv"
)

// nodeFields are the fields of hudson.model.Node.
func (x *exchange) nodeFields(b *bean, n *node) {
	mode, name, text := "NORMAL", n.Name, ""
	if n.Exclusive {
		mode = "EXCLUSIVE"
	}
	if n.builtIn {
		name, text = "", x.profile.builtInText
	}
	b.put("assignedLabels", x.labelBeans(n)).put("mode", mode).put("nodeDescription", text).
		putAt("nodeName", everywhere, name).put("numExecutors", len(n.running))
}

func (x *exchange) labelBeans(n *node) func() any {
	return func() any {
		all := []any{}
		for _, label := range n.labels() {
			b := x.labelBean(label)
			b.class = ""
			all = append(all, b)
		}
		return all
	}
}

// labelBean is a label, known to a node or not.
func (x *exchange) labelBean(name string) *bean {
	nodes := x.labelled(name)
	total, busy, offline := 0, 0, true
	for _, n := range nodes {
		if !n.Offline {
			total, busy, offline = total+len(n.running), busy+n.busy(), false
		}
	}
	return (&bean{class: "hudson.model.labels.LabelAtom"}).put("actions", []any{}).put("busyExecutors", busy).put("clouds", []any{}).
		put("description", nil).put("idleExecutors", total-busy).put("loadStatistics", &bean{class: "hudson.model.Label$1"}).
		putAt("name", 2, name).put("nodes", func() any { return x.nodeBeans(nodes) }).put("offline", offline).
		put("tiedJobs", func() any { return x.tied(name) }).put("totalExecutors", total).put("propertiesList", []any{})
}

func (x *exchange) nodeBeans(nodes []*node) []any {
	all := []any{}
	for _, n := range nodes {
		b := &bean{class: "hudson.slaves.DumbSlave"}
		if n.builtIn {
			b = x.front()
		} else {
			x.nodeFields(b, n)
		}
		all = append(all, b)
	}
	return all
}

// tied are the freestyle jobs that ask for a label.
func (x *exchange) tied(label string) []any {
	all := []any{}
	x.root.walk(func(it *item) {
		if it.job.Label == label && it.job.kind() == Freestyle && x.caller.canRead(it) {
			all = append(all, x.jobBean(it))
		}
	})
	return all
}

func (x *exchange) routeComputer(rest []string) answer {
	if isAPI(rest) {
		return x.json(x.computers())
	}
	for _, n := range x.nodes {
		if len(rest) > 0 && rest[0] == n.urlName() && isAPI(rest[1:]) {
			return x.json(x.computer(n))
		}
	}
	return x.gone()
}

func (n *node) urlName() string {
	if n.builtIn {
		return "(" + n.Name + ")"
	}
	return n.Name
}

func (x *exchange) computers() *bean {
	total, busy := 0, 0
	all := []any{}
	for _, n := range x.nodes {
		all = append(all, x.computer(n))
		if !n.Offline {
			total, busy = total+len(n.running), busy+n.busy()
		}
	}
	return (&bean{class: "hudson.model.ComputerSet"}).put("busyExecutors", busy).putInline("computer", all).
		put("displayName", "Nodes").put("totalExecutors", total)
}

func (x *exchange) computer(n *node) *bean {
	class, icon, reason := "hudson.slaves.SlaveComputer", "computer", ""
	var cause any
	if n.builtIn {
		class = "hudson.model.Hudson$MasterComputer"
	}
	if n.Offline {
		icon, reason = "computer-x", "This agent is offline because Jenkins failed to launch the agent process on it."
		cause = &bean{class: "hudson.slaves.OfflineCause$LaunchFailed"}
	}
	executors := func() any {
		all := []any{}
		for i := range n.running {
			all = append(all, x.executor(n, i))
		}
		return all
	}
	text := ""
	if n.builtIn {
		text = x.profile.builtInText
	}
	b := (&bean{class: class}).put("actions", []any{}).put("assignedLabels", x.labelBeans(n)).put("description", text).
		put("displayName", n.display).put("executors", executors).put("icon", icon+".png").put("iconClassName", "icon-"+icon).
		put("idle", n.busy() == 0).put("jnlpAgent", false).put("launchSupported", !n.builtIn).
		put("loadStatistics", &bean{class: "hudson.model.Label$1"}).put("manualLaunchAllowed", true).putInline("monitorData", &bean{}).
		put("numExecutors", len(n.running)).put("offline", n.Offline).put("offlineCause", cause).put("offlineCauseReason", reason).
		put("oneOffExecutors", func() any { return x.flyweights(n) }).put("temporarilyOffline", false)
	if !n.builtIn {
		b.put("absoluteRemotePath", nil)
	}
	return b
}

func (x *exchange) executor(n *node, at int) *bean {
	running := n.running[at]
	return x.executorBean(at, running, func() any {
		if running != nil && running.item.job.kind() == Pipeline {
			return x.placeholder(running)
		}
		return x.buildOrNull(running)
	})
}

func (x *exchange) executorBean(number int, running *build, shown func() any) *bean {
	return (&bean{}).put("currentExecutable", shown).put("idle", running == nil).
		put("likelyStuck", false).put("number", number).put("progress", -1)
}

// placeholder is what an executor shows of a pipeline that has it.
func (x *exchange) placeholder(b *build) *bean {
	name := b.item.fullDisplayName() + " #" + strconv.Itoa(b.number)
	return (&bean{class: "org.jenkinsci.plugins.workflow.support.steps.ExecutorStepExecution$PlaceholderTask$PlaceholderExecutable"}).
		put("displayName", name).put("estimatedDuration", func() any { return milliseconds(b.item.estimate()) }).put("fullDisplayName", name).
		putAt("number", 2, b.number).put("timestamp", b.started.UnixMilli()).putAt("url", 2, x.rootURL()+b.url())
}

// flyweights are the executors of pipelines, which the built-in node has as many of as are wanted.
func (x *exchange) flyweights(n *node) any {
	all := []any{}
	if !n.builtIn {
		return all
	}
	x.root.walk(func(it *item) {
		for _, b := range it.builds {
			if b.running() && it.job.kind() == Pipeline && x.caller.canRead(it) {
				all = append(all, x.executorBean(-1, b, func() any { return x.buildBean(b) }))
			}
		}
	})
	return all
}

// executorOf is where a build runs, null when it does not.
func (x *exchange) executorOf(b *build) any {
	switch {
	case !b.running():
		return nil
	case b.job.kind() == Pipeline:
		return &bean{class: "hudson.model.OneOffExecutor"}
	case b.on.node == nil || !slices.Contains(b.on.node.running, b):
		return nil
	}
	return x.executor(b.on.node, b.on.at)
}
