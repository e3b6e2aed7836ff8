package gitlabtest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// testHook is the Test button: a push that looks real, sent at once, even if the hook is disabled.
func (c *call) testHook() (any, error) {
	trigger := ""
	for name, event := range triggerEvents {
		if event == c.path["trigger"] {
			trigger = name
		}
	}
	if trigger == "" && !slices.Contains(slices.Concat(sharedEvents, projectEvents), c.path["trigger"]) {
		return nil, invalid("trigger does not have a valid value")
	}
	c.s.mu.Lock()
	h, err := c.hook()
	if err == nil {
		err = c.limited("web_hook_test")
	}
	c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if trigger == "" {
		return nil, message(http.StatusUnprocessableEntity, "Testing not available for this hook")
	}
	data, err := c.s.samplePush(c.ctx, c.project, c.user, trigger == tagPushHooks)
	if err != nil {
		return nil, err
	}
	body, err := encode(data)
	if err != nil {
		return nil, err
	}
	sent := c.s.send(c.ctx, &job{hook: h, trigger: trigger, key: newUUID(), body: body, ref: data.Ref, after: data.After})
	switch {
	case sent.Status >= 200 && sent.Status < 300:
		return map[string]string{"message": "201 Created"}, nil
	case sent.Status == 0:
		return nil, message(http.StatusUnprocessableEntity, sent.Problem)
	}
	return nil, message(http.StatusUnprocessableEntity, toUTF8(sent.Response))
}

// resend sends a logged event again, with its old key.
func (c *call) resend() (any, error) {
	id, err := strconv.Atoi(c.path["log_id"])
	if err != nil {
		return nil, invalid("hook_log_id is invalid")
	}
	c.s.mu.Lock()
	j, err := c.resendJob(id)
	c.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	sent := c.s.send(c.ctx, j)
	if sent.Status == 0 {
		return nil, message(http.StatusUnprocessableEntity, sent.Problem)
	}
	return map[string]int{"response_status": sent.Status}, nil
}

func (c *call) resendJob(id int) (*job, error) {
	h, err := c.hook()
	if err != nil {
		return nil, err
	}
	if err := c.limited("web_hook_event_resend"); err != nil {
		return nil, err
	}
	i := slices.IndexFunc(h.log, func(d *Delivery) bool { return d.ID == id })
	switch {
	case i < 0:
		return nil, noRecord()
	case h.log[i].URL != h.URL:
		return nil, message(http.StatusUnprocessableEntity, "The hook URL has changed, and this log entry cannot be retried")
	case !c.s.executable(h):
		return nil, message(http.StatusUnprocessableEntity, "Hook disabled")
	}
	return &job{hook: h, trigger: h.log[i].Trigger, key: h.log[i].Key, body: h.log[i].data}, nil
}

// limitWindow counts the calls in one minute.
type limitWindow struct {
	minute int64
	calls  int
}

const callsPerMinute = 5

// limited is the limiter of the application, of this project and user; s.mu is held.
func (c *call) limited(what string) error {
	key := fmt.Sprintf("%s:%d:%d", what, c.project.ID, c.user.ID)
	minute := c.s.opts.Now().Unix() / int64(time.Minute/time.Second)
	window := c.s.limits[key]
	if window.minute != minute {
		window = limitWindow{minute: minute}
	}
	window.calls++
	c.s.limits[key] = window
	if window.calls > callsPerMinute {
		return Limited.failure()
	}
	return nil
}
