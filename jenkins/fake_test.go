package jenkins_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/guestos/aibuild/jenkins"
)

// fake answers below a context path as it is told. A path without an answer gets Jenkins' own 404.
type fake struct {
	t        *testing.T
	url      string
	mu       sync.Mutex
	answers  map[string][]reply // by method and path as on the wire; the last one stays
	requests []string           // method, path and query as on the wire, and the form
}

// The page that Jetty makes of an error of Jenkins'.
func jettyPage(status, message string) string {
	return "<html>\n<head>\n<meta http-equiv=\"Content-Type\" content=\"text/html;charset=ISO-8859-1\"/>\n<title>Error " + status + " " + message +
		"</title>\n</head>\n<body><h2>HTTP ERROR " + status + " " + message + "</h2>\n<table>\n<tr><th>URI:</th><td>/job/app/</td></tr>\n" +
		"<tr><th>STATUS:</th><td>" + status + "</td></tr>\n</table>\n<hr/><a href=\"https://jetty.org/\">Powered by Jetty:// 12.0.25</a><hr/>\n</body>\n</html>\n"
}

func htmlReply(status int, body string) reply {
	return reply{status, map[string]string{"Content-Type": "text/html;charset=iso-8859-1"}, body}
}

func redirect(status int, location string) reply {
	return reply{status, map[string]string{"Location": location, "X-Content-Type-Options": "nosniff"}, ""}
}

func fakeJenkins(t *testing.T, answers map[string]reply) *fake {
	t.Helper()
	f := &fake{t: t, answers: map[string][]reply{"GET /ci/api/json": {jenkinsReply(200, front)}}}
	for path, answer := range answers {
		f.answers[path] = []reply{answer}
	}
	server := httptest.NewServer(f)
	f.url = server.URL + "/ci"
	t.Cleanup(func() {
		server.Close()
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return f
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Error(err)
	}
	if gotUser, gotToken, _ := r.BasicAuth(); gotUser != user || gotToken != token {
		f.t.Errorf("%s: logged in as %q with %q", r.RequestURI, gotUser, gotToken)
	}
	answer := f.answer(r, string(body))
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.status)
	if _, err := io.WriteString(w, answer.body); err != nil && len(answer.body) < 1<<20 {
		f.t.Error(err)
	}
}

func (f *fake) answer(r *http.Request, body string) reply {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.requests = append(f.requests, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+body))
	path, _, _ := strings.Cut(r.RequestURI, "?")
	list := f.answers[r.Method+" "+path]
	switch len(list) {
	case 0:
		return htmlReply(404, jettyPage("404", "Not Found"))
	case 1:
	default:
		f.answers[r.Method+" "+path] = list[1:]
	}
	return list[0]
}

// asked are the requests since the last call.
func (f *fake) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	requests := f.requests
	f.requests = nil
	return requests
}

// posts is how many of the requests change something.
func posts(requests []string) int {
	return len(slices.DeleteFunc(slices.Clone(requests), func(r string) bool { return !strings.HasPrefix(r, "POST ") }))
}

// treeOf is the value of the parameter "tree" in a request.
func treeOf(t *testing.T, asked string) string {
	t.Helper()
	_, query, _ := strings.Cut(asked, "?")
	values, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	return values.Get("tree")
}

func (f *fake) client() jenkins.Client { return jenkins.Client{URL: f.url, User: user, Token: token} }
