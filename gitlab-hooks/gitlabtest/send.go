package gitlabtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits of GitLab on bodies.
const (
	maxRequest  = 25 << 20
	maxResponse = 8 << 10 // kept in the log
	maxRead     = 100 << 20
)

// send makes one attempt, and logs it.
func (s *Server) send(ctx context.Context, j *job) *Delivery {
	s.mu.Lock()
	settings := j.hook.Hook
	system := j.hook.project == nil
	s.mu.Unlock()
	d := &Delivery{Trigger: j.trigger, Key: j.key, URL: settings.URL, At: s.opts.Now(), data: j.body}
	started := time.Now()
	err := s.attempt(ctx, d, settings, system, j)
	d.Duration = time.Since(started)
	if err != nil {
		d.Status, d.Problem = 0, err.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logIDs++
	d.ID = s.logIDs
	j.hook.log = append(j.hook.log, d)
	s.judge(j.hook, d.OK())
	s.opts.Log.Info("delivered", "hook", j.hook.ID, "trigger", d.Trigger, "key", d.Key, "status", d.Status, "problem", d.Problem)
	return d
}

func (s *Server) attempt(ctx context.Context, d *Delivery, settings Hook, system bool, j *job) error {
	body, err := settings.render(j.body)
	if err != nil {
		return err
	}
	d.Body = body
	d.Header = s.headers(settings, system, j, body)
	if len(body) > maxRequest {
		return fmt.Errorf("the body has %d bytes, more than %d", len(body), maxRequest)
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.HookTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, settings.URL, j.trouble.reader(ctx, body))
	if err != nil {
		return err
	}
	request.ContentLength = int64(len(body))
	request.Header = d.Header.Clone()
	transport := s.opts.Transport
	if settings.SkipTLSCheck {
		transport = s.insecure
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	return d.read(response)
}

// read takes the answer; one that is cut off, or that never ends, is a failure.
func (d *Delivery) read(response *http.Response) error {
	d.Status, d.responseHeader = response.StatusCode, response.Header
	kept, err := io.ReadAll(io.LimitReader(response.Body, maxResponse))
	d.Response = kept
	if err == nil {
		var n int64
		if n, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxRead)); n == maxRead {
			err = errors.New("the answer is too large")
		}
	}
	return errors.Join(err, response.Body.Close())
}

// headers are those of GitLab, in its spelling. Custom headers come first: they cannot override the others.
func (s *Server) headers(settings Hook, system bool, j *job, body []byte) http.Header {
	h := http.Header{}
	for name, value := range settings.Headers {
		h[name] = []string{value}
	}
	set := func(name, value string) {
		h.Del(name)
		h[name] = []string{value}
	}
	event := map[string]string{pushHooks: "Push Hook", tagPushHooks: "Tag Push Hook"}[j.trigger]
	if system {
		event = "System Hook"
	}
	set("Content-Type", "application/json")
	set("User-Agent", "GitLab/"+s.opts.Profile.version())
	set("X-Gitlab-Event", event)
	set("X-Gitlab-Instance", s.url)
	set("X-Gitlab-Event-UUID", newUUID())
	if s.opts.Profile.atLeast(V17) {
		set("Idempotency-Key", j.key)
		set("X-Gitlab-Webhook-UUID", newUUID())
	}
	if settings.Token != "" {
		token := strings.NewReplacer("\r", "", "\n", "").Replace(settings.Token)
		if j.trouble.WrongToken {
			token += "-wrong"
		}
		set("X-Gitlab-Token", token)
	}
	if s.opts.Profile.atLeast(Current) {
		timestamp := strconv.FormatInt(s.opts.Now().Add(-j.trouble.Age).Unix(), 10)
		set("webhook-id", j.key)
		set("webhook-timestamp", timestamp)
		if key, err := signingKey(settings.SigningToken); err == nil {
			if j.trouble.WrongSignature {
				key = append([]byte("wrong"), key...)
			}
			set("webhook-signature", sign(key, j.key, timestamp, body))
		}
	}
	return h
}

// sign is the scheme v1 of Standard Webhooks.
func sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", id, timestamp)
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

var interpolation = regexp.MustCompile(`{{(.+?)}}`)

// render fills a custom template in: {{project.name}} becomes that value, a string without its quotes.
func (h Hook) render(body []byte) ([]byte, error) {
	if h.Template == "" {
		return body, nil
	}
	var data any
	if err := json.Unmarshal(body, &data); err != nil {
		return nil, err
	}
	var problem error
	filled := interpolation.ReplaceAllFunc([]byte(h.Template), func(match []byte) []byte {
		value := data
		for key := range strings.SplitSeq(string(match[2:len(match)-2]), ".") {
			if _, list := value.([]any); list {
				problem = refusal("Error while parsing rendered custom webhook template: You may be trying to access an array value, which is not supported.")
			}
			object, _ := value.(map[string]any)
			value = object[key]
		}
		text, err := encode(value)
		problem = errors.Join(problem, err)
		if _, isText := value.(string); isText {
			text = text[1 : len(text)-1]
		}
		return text
	})
	var compact bytes.Buffer
	if err := json.Compact(&compact, filled); err != nil {
		problem = errors.Join(problem, fmt.Errorf("error while parsing rendered custom webhook template: %w", err))
	}
	return compact.Bytes(), problem
}
