package hooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/xanzy/go-gitlab"
)

// patience is how long GitLab may take to list a delivery that it has made.
const patience = 5 * time.Second

// TestHook lets GitLab make a test delivery: a push of the newest commits of the default branch, which nothing marks as a
// test. Who has seen these commits does nothing about it. known is false where GitLab has no such call (before 16.11).
func (c Client) TestHook(ctx context.Context, project string, hook int) (made Delivery, known bool, err error) {
	const op = "test a webhook"
	before, listed, err := c.LastDelivery(ctx, project, hook)
	if err != nil {
		return Delivery{}, false, err
	}
	api, caught, err := c.caught(op)
	if err != nil {
		return Delivery{}, false, err
	}
	request, err := api.NewRequest(http.MethodPost, fmt.Sprintf("%s/%d/test/push_events", hooksOf(project), hook), nil, []gitlab.RequestOptionFunc{gitlab.WithContext(ctx)})
	if err != nil {
		return Delivery{}, false, err
	}
	response, err := api.Do(request, nil)
	switch {
	case err == nil:
		made = Delivery{Status: "2xx", At: time.Now().UTC()}
	case response != nil && response.StatusCode == http.StatusNotFound:
		return Delivery{}, false, nil
	case response != nil && response.StatusCode == http.StatusUnprocessableEntity:
		// The message is the answer that came, or what kept it from coming.
		failed := c.refusal(op, response, caught, err)
		made = Delivery{Status: failed.Detail, At: time.Now().UTC()}
	default:
		return Delivery{}, false, settersOf(c.refusal(op, response, caught, err))
	}
	last, err := c.deliveryAfter(ctx, project, hook, before, listed)
	if last.Status != "" {
		made = last
	}
	return made, true, err
}

// deliveryAfter looks for the delivery in GitLab's list, where it comes a moment later; none where there is no list.
func (c Client) deliveryAfter(ctx context.Context, project string, hook int, before Delivery, listed bool) (Delivery, error) {
	for end := time.Now().Add(patience); ; {
		last, known, err := c.LastDelivery(ctx, project, hook)
		if err != nil || known && (!listed || last.ID != before.ID) {
			return last, err
		}
		if time.Now().After(end) {
			return Delivery{}, nil
		}
		select {
		case <-ctx.Done():
			return Delivery{}, ctx.Err()
		case <-time.After(patience / 20):
		}
	}
}

// Ignored says why the daemon did nothing about a delivery that arrived; empty when it took it, or when GitLab does not
// tell the answer.
func (d Delivery) Ignored() string {
	var said reply
	if err := json.Unmarshal([]byte(d.answer), &said); err != nil || said.Status != "ignored" {
		return "" // of another server, or cut off
	}
	return clip(said.Reason)
}
