package jenkinstest

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const shuttingDown = "Jenkins is about to shut down"

// whyOf is the text that Jenkins gives for an entry's wait.
func (s *Server) whyOf(e *entry) string {
	switch e.phase {
	case waiting:
		if rest := e.due.Sub(s.now()); rest >= 0 {
			return "In the quiet period. Expires in " + timeSpan(rest)
		}
		return "Finished waiting"
	case blocked:
		if e.by != nil {
			return inProgress(e.by, s.now())
		}
		return e.why
	default:
		return s.whyBuildable(e)
	}
}

// whyBuildable follows Queue.BuildableItem.getCauseOfBlockage. Without any agent, labels are not spoken of.
func (s *Server) whyBuildable(e *entry) string {
	const next = "Waiting for next available executor"
	label := e.item.job.Label
	switch {
	case s.quieting:
		return shuttingDown
	case label == "" || len(s.nodes) == 1:
		if idle(s.nodes) > 0 {
			if reasons := s.refusals(e); reasons != "" {
				return reasons
			}
		}
		return next
	}
	nodes := s.labelled(label)
	offline := !slices.ContainsFunc(nodes, func(n *node) bool { return !n.Offline })
	switch {
	case len(nodes) == 0:
		return "There are no nodes with the label ‘" + label + "’"
	case offline && len(nodes) == 1:
		return "‘" + nodes[0].display + "’ is offline"
	case offline:
		return "All nodes of label ‘" + label + "’ are offline"
	case len(nodes) == 1:
		return next + " on ‘" + nodes[0].display + "’"
	}
	return next + " on ‘" + label + "’"
}

// refusals are the idle nodes' reasons not to take an entry, each once, in order.
func (s *Server) refusals(e *entry) string {
	reasons := map[string]bool{}
	for _, n := range s.nodes {
		if why := n.refuses(e); why != "" && n.idle() >= 0 && !n.Offline {
			reasons[why] = true
		}
	}
	return strings.Join(slices.Sorted(maps.Keys(reasons)), "; ")
}

// stuck is true where no online node has the label, and for an entry that waits ten times longer than the job takes.
func (s *Server) stuck(e *entry) bool {
	if e.phase != buildable && e.phase != pending {
		return false
	}
	if label := e.item.job.Label; label != "" && (e.step != nil || e.item.job.kind() == Freestyle) {
		if !slices.ContainsFunc(s.labelled(label), func(n *node) bool { return !n.Offline }) {
			return true
		}
	}
	elapsed := s.now().Sub(e.buildableSince)
	if estimate := e.item.estimate(); estimate >= 0 {
		return elapsed > 10*max(estimate, time.Minute)
	}
	return elapsed >= 25*time.Hour
}

// inProgress is why a build that must not run beside another one waits.
func inProgress(last *build, now time.Time) string {
	text := fmt.Sprintf("Build #%s is already in progress", grouped(last.number))
	if !last.logUpdated() {
		return text
	}
	eta := "N/A"
	if rest := last.estimate - now.Sub(last.started); last.estimate >= 0 && rest > 0 {
		eta = timeSpan(rest)
	}
	return text + " (ETA: " + eta + ")"
}

// grouped writes a number as Java's MessageFormat does.
func grouped(n int) string {
	text := strconv.Itoa(n)
	for at := len(text) - 3; at > 0; at -= 3 {
		text = text[:at] + "," + text[at:]
	}
	return text
}

// timeSpan is hudson.Util.getTimeSpanString.
func timeSpan(span time.Duration) string {
	units := []struct {
		size time.Duration
		name string
	}{
		{365 * 24 * time.Hour, "yr"}, {30 * 24 * time.Hour, "mo"}, {24 * time.Hour, "day"}, {time.Hour, "hr"}, {time.Minute, "min"}, {time.Second, "sec"},
	}
	for i, unit := range units[:5] {
		if big := int(span / unit.size); big > 0 {
			text := counted(big, unit.name)
			if small := units[i+1]; big < 10 {
				text += " " + counted(int(span%unit.size/small.size), small.name)
			}
			return text
		}
	}
	ms := int(span / time.Millisecond)
	switch {
	case ms >= 10_000:
		return fmt.Sprintf("%d sec", ms/1000)
	case ms >= 1000:
		return decimals(ms/100, 10) + " sec"
	case ms >= 100:
		return decimals(ms/10, 100) + " sec"
	}
	return fmt.Sprintf("%d ms", ms)
}

func counted(n int, unit string) string {
	if unit == "day" && n != 1 {
		unit = "days"
	}
	return strconv.Itoa(n) + " " + unit
}

// decimals writes n/of without needless zeros.
func decimals(n, of int) string { return strconv.FormatFloat(float64(n)/float64(of), 'f', -1, 64) }
