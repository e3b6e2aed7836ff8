package jenkinstest

import (
	"slices"
	"time"
)

// Node is an agent.
type Node struct {
	Name      string
	Labels    []string // beside its own name, which is a label too
	Executors int      // 0 means 1
	Offline   bool
	Exclusive bool // takes only jobs that ask for one of its labels
}

// node is a Node, or the built-in one, with what runs on it.
type node struct {
	Node
	builtIn bool
	display string // for people
	running []*build
}

// slot is one executor.
type slot struct {
	node *node // nil for the part of a pipeline that needs none
	at   int
}

func (s *Server) makeNodes() {
	p, executors := s.profile, s.options.Executors
	switch {
	case executors == 0:
		executors = 2
	case executors < 0:
		executors = 0
	}
	built := Node{Name: p.builtInName, Labels: s.options.Labels, Executors: executors}
	s.nodes = []*node{{Node: built, builtIn: true, display: p.builtInDisplay, running: make([]*build, executors)}}
	for _, n := range s.options.Nodes {
		n.Executors = max(n.Executors, 1)
		s.nodes = append(s.nodes, &node{Node: n, display: n.Name, running: make([]*build, n.Executors)})
	}
}

// labels are the node's labels in order, its own name among them.
func (n *node) labels() []string {
	all := append([]string{n.Name}, n.Labels...)
	slices.Sort(all)
	return slices.Compact(all)
}

// idle is the number of a free executor, -1 if there is none.
func (n *node) idle() int { return slices.Index(n.running, nil) }

func (n *node) busy() int {
	busy := 0
	for _, b := range n.running {
		if b != nil {
			busy++
		}
	}
	return busy
}

// refuses is why a node does not take an entry, empty if it does. That it is offline or busy is no refusal.
func (n *node) refuses(e *entry) string {
	label, name := e.item.job.Label, n.Name
	if n.builtIn {
		name = "Jenkins"
	}
	switch {
	case label != "" && !slices.Contains(n.labels(), label):
		return "‘" + name + "’ doesn’t have label ‘" + label + "’"
	case label == "" && n.Exclusive:
		return "‘" + name + "’ is reserved for jobs with matching label expression"
	}
	return ""
}

// labelled lists the nodes that have a label.
func (s *Server) labelled(label string) []*node {
	var all []*node
	for _, n := range s.nodes {
		if slices.Contains(n.labels(), label) {
			all = append(all, n)
		}
	}
	return all
}

// idle counts the free executors of nodes that are online.
func idle(nodes []*node) int {
	total := 0
	for _, n := range nodes {
		if !n.Offline {
			total += len(n.running) - n.busy()
		}
	}
	return total
}

// estimate is how long the job's next build will take, going by at most three earlier ones: good ones if there
// are, else others that came to their end. -1 ns when there are none.
func (it *item) estimate() time.Duration {
	var chosen, others []*build
	for _, b := range slices.Backward(it.builds[max(0, len(it.builds)-6):]) {
		switch {
		case b.running():
		case b.result == "SUCCESS" || b.result == "UNSTABLE":
			chosen = append(chosen, b)
		case b.result == "FAILURE":
			others = append(others, b)
		}
	}
	all := slices.Concat(chosen, others)
	all = all[:min(len(all), 3)]
	var total time.Duration
	for _, b := range all {
		total += b.duration
	}
	if total == 0 {
		return -1
	}
	return (total / time.Duration(len(all))).Round(time.Millisecond)
}
