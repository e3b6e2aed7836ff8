package gitlabtest

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// eventInfo is an entry of the delivery log as the API shows it.
type eventInfo struct {
	ID              int               `json:"id"`
	URL             string            `json:"url"`
	Trigger         string            `json:"trigger"`
	RequestHeaders  map[string]string `json:"request_headers"`
	RequestData     json.RawMessage   `json:"request_data"`
	ResponseHeaders map[string]string `json:"response_headers"`
	ResponseBody    string            `json:"response_body"`
	Duration        float64           `json:"execution_duration"`
	Status          string            `json:"response_status"` // "internal error" when no answer came
	CreatedAt       *string           `json:"created_at"`
}

const (
	internalError   = "internal error"
	logKept         = 7 * 24 * time.Hour
	largestLogPage  = 20
	loggedHeaders   = 50
	loggedHeaderLen = 1 << 10
)

func tellDelivery(d *Delivery, custom map[string]string) eventInfo {
	told := eventInfo{
		ID: d.ID, URL: d.URL, Trigger: d.Trigger, RequestHeaders: map[string]string{}, RequestData: d.Body, ResponseHeaders: map[string]string{},
		ResponseBody: toUTF8(d.Response), Duration: d.Duration.Seconds(), Status: strconv.Itoa(d.Status), CreatedAt: apiTime(d.At),
	}
	if d.Status == 0 {
		told.Status = internalError
	}
	if len(d.Body) == 0 { // a custom template that could not be filled in
		told.RequestData = json.RawMessage("{}")
	}
	for name, values := range d.Header {
		told.RequestHeaders[name] = strings.Join(values, ", ")
		if _, secret := custom[name]; secret || name == "X-Gitlab-Token" {
			told.RequestHeaders[name] = "[REDACTED]"
		}
	}
	for _, name := range slices.Sorted(maps.Keys(d.responseHeader)) {
		if len(told.ResponseHeaders) == loggedHeaders {
			break
		}
		value := strings.Join(d.responseHeader[name], ", ")
		told.ResponseHeaders[name] = toUTF8([]byte(value[:min(len(value), loggedHeaderLen)]))
	}
	return told
}

func (c *call) listEvents() (any, error) {
	wanted, err := c.statusFilter()
	if err != nil {
		return nil, err
	}
	per, err := c.params.number("per_page", largestLogPage)
	if err != nil {
		return nil, err
	}
	if per < 1 || per > largestLogPage {
		return nil, invalid("per_page does not have a valid value")
	}
	c.s.mu.Lock()
	defer c.s.mu.Unlock()
	h, err := c.hook()
	if err != nil {
		return nil, err
	}
	found := []eventInfo{}
	for _, d := range h.log {
		if c.s.opts.Now().Sub(d.At) <= logKept && wanted(d.Status) {
			found = append(found, tellDelivery(d, h.Headers))
		}
	}
	slices.SortFunc(found, func(a, b eventInfo) int { return cmp.Compare(b.ID, a.ID) })
	return paginate(c, found)
}

// statusFilter reads which answers are asked for: codes and classes, separated by commas.
func (c *call) statusFilter() (func(int) bool, error) {
	text := c.params.text("status")
	if text == "" {
		return func(int) bool { return true }, nil
	}
	var tests []func(int) bool
	for word := range strings.SplitSeq(text, ",") {
		switch word {
		case "successful":
			tests = append(tests, func(code int) bool { return code/100 == 2 })
		case "client_failure":
			tests = append(tests, func(code int) bool { return code/100 == 4 })
		case "server_failure":
			tests = append(tests, func(code int) bool { return code/100 == 5 || code == 0 })
		default:
			code, err := strconv.Atoi(word)
			if err != nil || http.StatusText(code) == "" {
				return nil, invalid("status does not have a valid value")
			}
			tests = append(tests, func(got int) bool { return got == code })
		}
	}
	return func(code int) bool {
		return slices.ContainsFunc(tests, func(test func(int) bool) bool { return test(code) })
	}, nil
}
