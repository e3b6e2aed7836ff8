package api

import (
	"fmt"
	"html/template"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

var webFuncs = template.FuncMap{
	"when": when, "ago": ago, "lasted": lasted, "bytes": bytesText, "ms": msText, "short": shortID, "state": stateClass, "words": words,
	"branch": branch, "list": func(all ...any) []any { return all }, "web": webLink, "seg": url.PathEscape, "query": queryOf, "firstLine": firstLine, "failure": failureBlock, "lines": splitLines,
	"sum": func(a, b int) int { return a + b }, "asset": asset,
}

// when is a time as all pages give it.
func when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05")
}

// ago says how long ago something was.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	d := time.Since(t)
	if d < 0 {
		return "just now"
	}
	return durationText(d) + " ago"
}

// lasted is the time between two; while the second is missing, until now.
func lasted(from, to time.Time) string {
	switch {
	case from.IsZero():
		return ""
	case to.IsZero():
		return durationText(time.Since(from))
	}
	return durationText(to.Sub(from))
}

func durationText(d time.Duration) string {
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0f min", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0f h", d.Hours())
	}
	return fmt.Sprintf("%.0f days", d.Hours()/24)
}

func msText(ms int64) string { return durationText(time.Duration(ms) * time.Millisecond) }

// bytesText is a size for people: three digits, binary units.
func bytesText(n int64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	v, unit := float64(n), 0
	for v >= 1024 && unit < len(units)-1 {
		v /= 1024
		unit++
	}
	if unit == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.3g %s", v, units[unit])
}

// shortID is as much of a commit, or of a uuid, as sets it apart from others.
func shortID(id string) string {
	if len(id) == 36 {
		return id[:13] // of version 7: the time to the millisecond
	}
	return id[:min(len(id), 10)]
}

// words is a state as people say it.
func words(state string) string { return strings.ReplaceAll(state, "_", " ") }

// stateClass says how a state of a run, an image, a case or a cluster looks.
func stateClass(state string) string {
	switch state {
	case lineage.RunSuccess, lineage.Passed, lineage.StatePublished, lineage.StateReleased, lineage.TargetVisible, "ok", "present":
		return "good"
	case lineage.RunFailure, lineage.RunLost, lineage.RunRejected, lineage.StateTestFailed, lineage.StateRevoked, lineage.FailedTest, lineage.TargetMissing, lineage.TargetChanged:
		return "bad"
	case lineage.RunUnstable, lineage.StateTestError, lineage.StatePartlyReleased, lineage.TestError, lineage.FlakyTest:
		return "warn"
	case lineage.RunReceived, lineage.RunQueued, lineage.RunTriggering, lineage.RunJenkinsQueue, lineage.RunBuilding, lineage.TargetUploading:
		return "run"
	}
	return ""
}

func branch(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")
}

func firstLine(text string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(text), "\n")
	return line
}

func splitLines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' })
}

// failureBlock is a failure as every face prints it.
func failureBlock(f *lineage.Failure) (string, error) {
	var b strings.Builder
	err := f.Render(&b)
	return b.String(), err
}

// queryOf makes the query of an address: name, value, name, value; empty values
// are left out.
func queryOf(pairs ...string) (template.URL, error) {
	if len(pairs)%2 != 0 {
		return "", fmt.Errorf("query of %d words", len(pairs))
	}
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	if len(q) == 0 {
		return "", nil
	}
	return template.URL("?" + q.Encode()), nil //nolint:gosec // encoded just now
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// toolsText lists programs with their versions.
func toolsText(tools map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		all = append(all, name+" "+tools[name])
	}
	return strings.Join(all, ", ")
}
