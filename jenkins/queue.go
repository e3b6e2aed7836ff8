package jenkins

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Item is a build that waits, or that left the queue at most five minutes ago.
type Item struct {
	ID       int64
	Job      string            // path; empty when Jenkins does not tell
	Params   map[string]string // only those that the job declares
	Why      string            // what it waits for, in Jenkins' words
	Stuck    bool              // it has waited for an agent for unusually long
	Blocked  bool              // by another build of the job, or by Jenkins' preparing for a restart
	Left     bool              // it waits no more: it has a Build, or is Cancelled, or will have a Build in a moment
	Build    int64             // number of the build that it became; 0 while there is none
	BuildURL string

	Cancelled bool
}

const (
	actionsTree = "actions[parameters[name,value],causes[shortDescription]]"
	itemTree    = "id,why,stuck,blocked,task[url],actions[parameters[name,value]]"
)

// Queued reads one item. It is ErrNotFound five minutes after it left the queue, after a restart of Jenkins if it
// had left before, and when it is no build of a job but a step of a Pipeline.
func (c Client) Queued(ctx context.Context, id int64) (Item, error) {
	r := reading("read a queue item", fmt.Sprintf("/queue/item/%d/", id), itemTree+",cancelled,executable[number,url]")
	r.missing = "look for the build by its run id: jenkins forgets an item soon after it left the queue"
	var raw rawItem
	if _, err := c.read(ctx, r, &raw); err != nil {
		return Item{}, err
	}
	item, ok := c.item(raw)
	switch {
	case item.ID != id:
		return Item{}, c.unexpected(r.op, "item of that id")
	case !ok:
		return Item{}, &Error{Op: r.op, URL: c.base(), Status: http.StatusOK, Reason: ErrNotFound,
			Detail: "it is a step of a pipeline", Hint: r.missing}
	}
	return item, nil
}

// Queue reads all items that wait and that the user may see. Steps of Pipelines that wait for an agent are left out.
func (c Client) Queue(ctx context.Context) ([]Item, error) {
	r := reading("read the queue", "/queue/", "items["+itemTree+"]")
	var raw rawQueue
	if _, err := c.read(ctx, r, &raw); err != nil {
		return nil, err
	}
	if raw.Items == nil { // an empty queue has an empty list
		return nil, c.unexpected(r.op, "items")
	}
	return c.items(raw), nil
}

// Cancel takes an item out of the queue. ErrNotFound means that it is not there: it may have become a build. Jenkins
// before 2.211 gives the same answer whatever came of it, so read the item again.
func (c Client) Cancel(ctx context.Context, id int64) error {
	r := request{op: "cancel a queue item", method: http.MethodPost, path: "/queue/cancelItem",
		query: map[string]string{"id": fmt.Sprint(id)}, missing: "see whether it has become a build: stop that one"}
	got, err := c.send(ctx, r)
	switch {
	case err != nil:
		return err
	case got.status == http.StatusNoContent, redirected(got, "/queue/"):
		return nil
	case got.status == http.StatusUnprocessableEntity:
		return &Error{Op: r.op, URL: c.base(), Status: got.status, Reason: ErrForbidden,
			Detail: "the user lacks Job/Cancel", Hint: "ask an administrator of jenkins for the permission Job/Cancel"}
	case got.status == http.StatusInternalServerError:
		return c.tooLate(ctx, r, id, c.refusal(ctx, r, got))
	}
	return c.refusal(ctx, r, got)
}

// tooLate is for the internal error that Jenkins makes of an item that has just left the queue.
func (c Client) tooLate(ctx context.Context, r request, id int64, refused error) error {
	item, err := c.Queued(ctx, id)
	switch {
	case err != nil || !item.Left:
		return refused
	case item.Cancelled:
		return nil
	}
	return &Error{Op: r.op, URL: c.base(), Status: http.StatusInternalServerError, Reason: ErrNotFound,
		Detail: "it has left the queue", Hint: r.missing}
}

type rawQueue struct{ Items []*rawItem }

// rawItem has what all classes of items have; what plugins add stays out by the tree.
type rawItem struct {
	Class string `json:"_class"`
	ID    int64
	Why   string
	Stuck bool
	// Blocked is false for an item whose job may run, but not on any agent yet.
	Blocked bool
	Task    struct {
		Class string `json:"_class"`
		URL   string
	}
	Actions    []rawAction
	Cancelled  *bool // only items that left have it
	Executable *struct {
		Number int64
		URL    string
	}
}

type rawAction struct {
	Class      string `json:"_class"`
	Parameters []struct {
		Name  string
		Value json.RawMessage
	}
	Causes []struct{ ShortDescription string }
}

func (c Client) items(raw rawQueue) []Item {
	items := []Item{}
	for _, one := range raw.Items {
		if one == nil {
			continue
		}
		if item, ok := c.item(*one); ok && item.ID > 0 {
			items = append(items, item)
		}
	}
	return items
}

// item is false for the step of a Pipeline that waits for an agent: its address, where it has one, is that of
// the running build.
func (c Client) item(raw rawItem) (Item, bool) {
	item := Item{ID: raw.ID, Why: raw.Why, Stuck: raw.Stuck, Blocked: raw.Blocked, Params: params(raw.Actions)}
	if _, _, ok := c.buildOf(raw.Task.URL); ok || strings.Contains(raw.Task.Class, "PlaceholderTask") {
		return item, false
	}
	item.Job, _ = c.jobOf(raw.Task.URL)
	item.Left = raw.Cancelled != nil || raw.Executable != nil || strings.HasSuffix(raw.Class, "$LeftItem")
	item.Cancelled = raw.Cancelled != nil && *raw.Cancelled
	if raw.Executable != nil && raw.Executable.Number > 0 {
		item.Build = raw.Executable.Number
		if job, _, ok := c.buildOf(raw.Executable.URL); ok && item.Job == "" {
			item.Job = job
		}
		item.BuildURL = c.buildURL(item.Job, item.Build)
	}
	return item, true
}

// params are the values of the first action that names them, as for Jenkins itself. Those that are no text are as in
// JSON; those that Jenkins keeps to itself are empty.
func params(actions []rawAction) map[string]string {
	values := map[string]string{}
	for _, action := range actions {
		for _, parameter := range action.Parameters {
			if _, known := values[parameter.Name]; known || parameter.Name == "" {
				continue
			}
			var text string
			if json.Unmarshal(parameter.Value, &text) != nil {
				text = string(parameter.Value)
			}
			values[parameter.Name] = text
		}
	}
	return values
}

// buildURL is our own address of a build; empty when its job is not known.
func (c Client) buildURL(job string, number int64) string {
	at, err := c.jobPath("", job)
	if err != nil {
		return ""
	}
	return c.base() + at + fmt.Sprint(number) + "/"
}
