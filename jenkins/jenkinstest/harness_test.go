package jenkinstest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var profiles = []string{jenkinstest.Profile2300, jenkinstest.ProfileCurrent}

// inBoth runs a test in every profile.
func inBoth(t *testing.T, test func(t *testing.T, profile string)) {
	for _, profile := range profiles {
		t.Run(profile, func(t *testing.T) { test(t, profile) })
	}
}

// start starts a stand-in that the test's end closes.
func start(t *testing.T, o jenkinstest.Options, jobs ...jenkinstest.Job) *jenkinstest.Server {
	t.Helper()
	s, err := jenkinstest.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, job := range jobs {
		if err := s.AddJob(job); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// client is one user of a stand-in.
type client struct {
	t            *testing.T
	s            *jenkinstest.Server
	user, secret string
	http         *http.Client
}

// as makes a client; without a user it does not log in. It follows no redirects.
func as(t *testing.T, s *jenkinstest.Server, user, secret string) *client {
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &client{t, s, user, secret, &http.Client{Transport: transport, Jar: jar, Timeout: 20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

func admin(t *testing.T, s *jenkinstest.Server) *client {
	return as(t, s, jenkinstest.DefaultUser, jenkinstest.DefaultToken)
}

// reply is a whole answer.
type reply struct {
	status int
	header http.Header
	body   string
}

// do sends a request; header is pairs of names and values.
func (c *client) do(method, path, body string, header ...string) reply {
	c.t.Helper()
	got, err := c.try(method, path, body, header...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

func (c *client) try(method, path, body string, header ...string) (reply, error) {
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.s.URL()+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	if c.user != "" {
		request.SetBasicAuth(c.user, c.secret)
	}
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
		if header[i] == "Host" {
			request.Host = header[i+1]
		}
	}
	response, err := c.http.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	return reply{response.StatusCode, response.Header, string(text)}, err
}

func (c *client) get(path string) reply { c.t.Helper(); return c.do(http.MethodGet, path, "") }

// json reads a document into a map, numbers as they were written.
func (c *client) json(path string) map[string]any {
	c.t.Helper()
	got := c.get(path)
	if got.status != http.StatusOK {
		c.t.Fatalf("GET %s: %d %s", path, got.status, got.body)
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(got.body)))
	decoder.UseNumber()
	var doc map[string]any
	if err := decoder.Decode(&doc); err != nil {
		c.t.Fatalf("GET %s: %v: %s", path, err, got.body)
	}
	return doc
}

// start triggers a job and gives the queue item's path, like /queue/item/7/.
func (c *client) start(job string, params ...string) string {
	c.t.Helper()
	form := url.Values{}
	how := "build"
	for i := 0; i+1 < len(params); i += 2 {
		form.Set(params[i], params[i+1])
		how = "buildWithParameters"
	}
	got := c.do(http.MethodPost, "/job/"+job+"/"+how+"?delay=0sec", form.Encode())
	if got.status != http.StatusCreated && got.status != http.StatusSeeOther {
		c.t.Fatalf("trigger %s: %d %s", job, got.status, got.body)
	}
	location, err := url.Parse(got.header.Get("Location"))
	if err != nil {
		c.t.Fatal(err)
	}
	return location.Path
}

// await polls until a document's field is wanted.
func (c *client) await(path, field string, wanted func(any) bool) map[string]any {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		doc := c.json(path)
		if wanted(doc[field]) {
			return doc
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s: %s is %v", path, field, doc[field])
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func is(want any) func(any) bool { return func(got any) bool { return got == want } }

// ended waits for a build's end and gives its result.
func (c *client) ended(build string) string {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		if got := c.get(build + "/api/json"); got.status == http.StatusOK {
			doc := c.json(build + "/api/json?tree=building,inProgress,result")
			if result, ok := doc["result"].(string); ok && doc["building"] == false && doc["inProgress"] != true {
				return result
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("%s does not end", build)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// run triggers a job, waits for its end and gives the result.
func (c *client) run(job, number string, params ...string) string {
	c.t.Helper()
	c.start(job, params...)
	return c.ended("/job/" + job + "/" + number)
}

var one = []jenkinstest.Parameter{{Name: "A", Default: "none", Description: "the one"}}
