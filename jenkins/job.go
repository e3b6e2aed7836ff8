package jenkins

import (
	"context"
	"iter"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

const jobHint = "check the job's path; the user needs Job/Read on it"

// Job is a job as it is configured.
type Job struct {
	Path       string // as in folder/name
	URL        string
	Buildable  bool // false for a disabled job, and for a folder
	Disabled   bool
	Parameters []string // the names that it declares; Jenkins drops the values of all others
	InQueue    bool     // at least one build of it waits
	Color      string   // the last build's outcome, like "blue", "red", "notbuilt_anime"
	Label      string   // of the agents that may build it; empty: any, or a Pipeline, whose Jenkinsfile says it
}

// Job reads a job. A Pipeline whose Jenkinsfile declares the parameters has none before its first build.
func (c Client) Job(ctx context.Context, path string) (Job, error) {
	raw, _, err := c.readJob(ctx, path)
	if err != nil {
		return Job{}, err
	}
	job := Job{Path: path, URL: c.base() + raw.at, Buildable: raw.Buildable, InQueue: raw.InQueue, Color: raw.Color, Label: raw.LabelExpression,
		Disabled: raw.Disabled || strings.HasPrefix(raw.Color, "disabled")} // pipelines have only the colour
	for declared := range raw.declared() {
		job.Parameters = append(job.Parameters, declared.Name)
	}
	return job, nil
}

type rawJob struct {
	at string

	Buildable, Disabled, InQueue bool
	Color, LabelExpression       string
	Property                     []struct{ ParameterDefinitions []definition }
}

type definition struct {
	Name    string
	Choices []string // nil where every value will do
}

// declared are the parameters in their order.
func (j rawJob) declared() iter.Seq[definition] {
	return func(yield func(definition) bool) {
		for _, property := range j.Property {
			for _, definition := range property.ParameterDefinitions {
				if definition.Name != "" && !yield(definition) {
					return
				}
			}
		}
	}
}

func (c Client) readJob(ctx context.Context, path string) (rawJob, http.Header, error) {
	const op = "read a job"
	at, err := c.jobPath(op, path)
	if err != nil {
		return rawJob{}, nil, err
	}
	r := reading(op, at, "buildable,disabled,inQueue,color,labelExpression,property[parameterDefinitions[name,choices]]")
	r.missing = jobHint
	raw := rawJob{at: at}
	header, err := c.read(ctx, r, &raw)
	return raw, header, err
}

// MayStart asks whether the user may start builds of a job, without starting one: an ErrForbidden names the
// missing permission. Before version 2.469 the question itself would start a build when asked with a token;
// it is not asked then, and known is false.
func (c Client) MayStart(ctx context.Context, path string) (known bool, err error) {
	const op = "ask whether builds may be started"
	at, err := c.jobPath(op, path)
	if err != nil {
		return false, err
	}
	_, header, err := c.readJob(ctx, path)
	if err != nil || !atLeast(header.Get("X-Jenkins"), 2, 469) {
		return false, err
	}
	r := request{op: op, method: http.MethodGet, path: at + "buildWithParameters", missing: jobHint}
	got, err := c.send(ctx, r)
	if err != nil {
		return false, err
	}
	if got.status == http.StatusMethodNotAllowed { // permissions are looked at before the method
		return true, nil
	}
	return true, c.refusal(ctx, r, got)
}

// MayCancel asks whether the user may stop builds of a job, and take them out of the queue: an ErrForbidden names the
// missing permission. Only a build that has ended can be asked without doing anything, and only one of a Pipeline: where
// there is none among the newest, known is false.
func (c Client) MayCancel(ctx context.Context, path string) (known bool, err error) {
	const op = "ask whether builds may be stopped"
	builds, err := c.Builds(ctx, path, 20)
	if err != nil {
		return false, err
	}
	ended := slices.IndexFunc(builds, func(b Build) bool { return !b.Building })
	if ended < 0 {
		return false, nil
	}
	at, err := c.buildPath(op, path, builds[ended].Number)
	if err != nil {
		return false, err
	}
	// Of all that ends a build, this alone looks at the permission before it looks whether there is anything to end.
	r := request{op: op, method: http.MethodPost, path: at + "term"}
	got, err := c.send(ctx, r)
	switch {
	case err != nil:
		return false, err
	case got.status == http.StatusNotFound: // no Pipeline
		return false, nil
	case got.status == http.StatusNoContent, redirected(got, at), got.status == http.StatusOK && got.header.Get("X-Jenkins") != "":
		return true, nil
	}
	return got.status == http.StatusForbidden, c.refusal(ctx, r, got)
}

// atLeast compares versions like 2.469 and 2.541.3; false for one that it cannot read.
func atLeast(version string, major, minor int) bool {
	first, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	gotMajor, err := strconv.Atoi(first)
	gotMinor, err2 := strconv.Atoi(second)
	return err == nil && err2 == nil && (gotMajor > major || gotMajor == major && gotMinor >= minor)
}

// Label is a word, or an expression of words, by which jobs ask for agents.
type Label struct {
	Name      string
	Agents    []string // all that have it; the controller itself is "built-in"
	Clouds    int      // that can make an agent with it
	Executors int      // of those agents that are online
}

// Label reads which agents have a label. A label that nobody has is no error: it has no agents and no clouds.
func (c Client) Label(ctx context.Context, name string) (Label, error) {
	const op = "read a label"
	if name == "" {
		return Label{}, &Error{Op: op, Reason: ErrConfig, Detail: "no label", Hint: "give the label that the job asks for"}
	}
	var raw struct {
		Nodes          []struct{ NodeName string }
		Clouds         []struct{}
		TotalExecutors *int
	}
	r := reading(op, "/label/"+escape(name)+"/", "nodes[nodeName],clouds[name],totalExecutors")
	if _, err := c.read(ctx, r, &raw); err != nil {
		return Label{}, err
	}
	if raw.TotalExecutors == nil {
		return Label{}, c.unexpected(op, "executors")
	}
	label := Label{Name: name, Clouds: len(raw.Clouds), Executors: *raw.TotalExecutors}
	for _, node := range raw.Nodes {
		if node.NodeName == "" {
			node.NodeName = "built-in"
		}
		label.Agents = append(label.Agents, node.NodeName)
	}
	return label, nil
}
