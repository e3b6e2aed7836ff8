package api

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// What the mux and the reader of bodies say are problems too, with codes.
func TestProblemsOfTheWire(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleAdmin)
	deep := strings.Repeat(`{"records":[`, 6000) + strings.Repeat(`]}`, 6000)
	valid := `{"records":[` + string(must(t, testedRecord(newID(), lineage.Passed))) + `]}`
	tests := []struct {
		name, method, path string
		body               any
		header             map[string]string
		status             int
		code               string
	}{
		{"no such address", "GET", "/api/v1/nothing", nil, nil, 404, CodeNotFound},
		{"above", "GET", "/api", nil, nil, 404, CodeNotFound},
		{"not cleaned", "GET", "/api/v1//runs", nil, nil, 404, CodeNotFound},
		{"wrong method", "PUT", "/api/v1/records", "{}", nil, 405, CodeMethod},
		{"options", "OPTIONS", "/api/v1/runs", nil, nil, 405, CodeMethod},
		{"outside", "POST", "/healthz", nil, nil, 405, CodeMethod},
		{"nowhere", "GET", "/favicon.ico", nil, nil, 404, CodeNotFound},
		{"no address", "GET", "/nowhere", nil, nil, 404, CodeNotFound},
		{"form", "POST", "/api/v1/records", "a=b", map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, CodeMediaType},
		{"no type", "POST", "/api/v1/records", valid, map[string]string{"Content-Type": ""}, 415, CodeMediaType},
		{"latin1", "POST", "/api/v1/records", valid, map[string]string{"Content-Type": "application/json; charset=latin1"}, 415, CodeMediaType},
		{"gzip", "POST", "/api/v1/records", "\x1f\x8b", map[string]string{"Content-Encoding": "gzip"}, 415, CodeMediaType},
		{"no body", "POST", "/api/v1/records", nil, nil, 400, CodeBadRequest},
		{"no JSON", "POST", "/api/v1/records", "{", nil, 400, CodeBadRequest},
		{"two of them", "POST", "/api/v1/records", valid + valid, nil, 400, CodeBadRequest},
		{"no UTF-8", "POST", "/api/v1/records", "{\"records\":[{\"reason\":\"\xff\"}]}", nil, 400, CodeBadRequest},
		{"deep", "POST", "/api/v1/records", deep, nil, 400, CodeBadRequest},
		{"too large", "POST", "/api/v1/records", strings.Repeat(" ", bodyLimit+1), nil, 413, CodeTooLarge},
		{"a list", "POST", "/api/v1/records", "[]", nil, 422, CodeInvalid},
		{"no records", "POST", "/api/v1/records", `{"records":[]}`, nil, 422, CodeInvalid},
		{"null", "POST", "/api/v1/records", `{"records":null}`, nil, 422, CodeInvalid},
		{"unknown field", "POST", "/api/v1/records", strings.Replace(valid, `"tested":`, `"testd":`, 1), nil, 422, CodeInvalid},
		{"wrong type", "POST", "/api/v1/records", strings.Replace(valid, `"ms":12`, `"ms":"12"`, 1), nil, 422, CodeInvalid},
		{"wrong time", "POST", "/api/v1/records", strings.Replace(valid, `"at":"2025`, `"at":"never 2025`, 1), nil, 422, CodeInvalid},
		{"unknown parameter", "GET", "/api/v1/runs?sort=name", nil, nil, 422, CodeInvalid},
		{"no number", "GET", "/api/v1/runs?limit=many", nil, nil, 422, CodeInvalid},
		{"a cursor of nobody", "GET", "/api/v1/runs?cursor=xyz", nil, nil, 422, CodeInvalid},
		{"no stage", "POST", "/api/v1/runs/" + newID() + "/retry", map[string]any{"from": "lunch"}, nil, 422, CodeInvalid},
		{"injection", "GET", "/api/v1/runs?image=' OR 1=1--", nil, nil, 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			req := l.request(tt.method, strings.ReplaceAll(tt.path, " ", "%20"), token, tt.body)
			for name, value := range tt.header {
				req.Header.Set(name, value)
				if value == "" {
					req.Header.Del(name)
				}
			}
			got := l.do(req)
			if got.status != tt.status || got.code(t) != tt.code {
				t.Errorf("HTTP %d %.300s, want %d %s", got.status, got.body, tt.status, tt.code)
			}
			if tt.status == 405 && got.header.Get("Allow") == "" {
				t.Error("405 without Allow")
			}
		})
	}
	// What was sent is not repeated: nobody knows what is in it.
	got := l.send("POST", "/api/v1/records", token, `{"records":"c4nary"}`)
	if got.code(t) != CodeInvalid || strings.Contains(string(got.body), "c4nary") {
		t.Errorf("HTTP %d %s", got.status, got.body)
	}
	if strings.Contains(l.log.String(), "c4nary") {
		t.Error("what was sent is in the log")
	}
}

// A body of unknown length is limited too.
func TestEndlessBody(t *testing.T) {
	l := newLab(t, nil)
	server := httptest.NewServer(l.api.Handler())
	defer server.Close()
	req, err := http.NewRequestWithContext(t.Context(), "POST", server.URL+"/api/v1/records", io.MultiReader(strings.NewReader(strings.Repeat(" ", bodyLimit+10))))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+string(l.token(RoleAdmin)))
	req.Header.Set("Content-Type", "application/json")
	if got := l.do(req); got.code(t) != CodeTooLarge {
		t.Errorf("HTTP %d %s, want 413", got.status, got.body)
	}
}

// A body that does not come keeps nobody waiting: who has no right is answered
// at once, the others after a while.
func TestBodyThatDoesNotCome(t *testing.T) {
	l := newLab(t, func(c *Config) { c.Timeout = 500 * time.Millisecond })
	server := httptest.NewServer(l.api.Handler())
	defer server.Close()
	unknown, _ := NewToken()
	for token, want := range map[Secret]string{unknown: "401", l.token(RoleViewer): "403", l.token(RoleAdmin): "408"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprintf(conn, "POST /api/v1/records HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{", string(token)); err != nil {
			t.Fatal(err)
		}
		if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 64)
		if n, err := conn.Read(b); err != nil || !strings.HasPrefix(string(b[:n]), "HTTP/1.1 "+want+" ") {
			t.Errorf("%q, %v; want %s", b[:n], err, want)
		}
	}
}

// A handler that panics ends its request, not the server.
func TestPanicIsSurvived(t *testing.T) {
	l := newLab(t, func(c *Config) {
		c.Caps = func(string) (definition.Policy, error) { panic("c4nary of a bug") }
	})
	run, token := l.run(nil), l.token(RoleViewer)
	got := l.send("GET", "/api/v1/runs/"+run.ID, token, nil)
	if got.code(t) != CodeInternal || strings.Contains(string(got.body), "c4nary") {
		t.Errorf("HTTP %d %s", got.status, got.body)
	}
	if id := got.header.Get("X-Request-Id"); !strings.Contains(l.log.String(), "c4nary of a bug") || !strings.Contains(l.log.String(), id) {
		t.Error("the log does not say what happened")
	}
	if got := l.send("GET", "/api/v1/runs", token, nil); got.status != http.StatusOK {
		t.Errorf("afterwards: HTTP %d", got.status)
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	l := newLab(t, nil)
	token := l.token(RoleViewer)
	const closed = "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	const page = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
	policies := map[string]string{"/": page, "/runs/x": page}
	for _, path := range []string{"/", "/api/v1/runs", "/api/v1/nothing", "/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/runs/x", "/static/aibuild.css", "/static/", "/nothing"} {
		for _, as := range []Secret{"", token} {
			req := l.request("GET", path, as, nil)
			req.Header.Set("X-Request-Id", "my-id.1")
			got := l.do(req)
			for name, want := range map[string]string{
				"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Request-Id": "my-id.1",
				"Content-Security-Policy": cmp.Or(policies[path], closed),
			} {
				if got.header.Get(name) != want {
					t.Errorf("%s: %s = %q, want %q", path, name, got.header.Get(name), want)
				}
			}
			kept := "no-store"
			if got.status == http.StatusOK {
				kept = "private, no-cache" // by who asked, and asked for again each time
			}
			if strings.HasPrefix(path, "/api/") && got.header.Get("Cache-Control") != kept {
				t.Errorf("%s may be kept: %q", path, got.header.Get("Cache-Control"))
			}
		}
	}
	req := l.request("GET", "/healthz", "", nil)
	req.Header["X-Request-Id"] = []string{"<script>"}
	if id := l.do(req).header.Get("X-Request-Id"); len(id) != 36 {
		t.Errorf("a strange request id is taken over: %q", id)
	}
	head := l.send("HEAD", "/api/v1/runs", token, nil)
	if head.status != http.StatusOK || len(head.body) != 0 {
		t.Errorf("HEAD: HTTP %d, %d bytes", head.status, len(head.body))
	}
}

// The check of descriptions can fail: else it would prove nothing.
func TestDescriptionIsChecked(t *testing.T) {
	l := newLab(t, nil)
	doc, err := openapi3.NewLoader().LoadFromData(l.api.spec)
	if err != nil {
		t.Fatal(err)
	}
	if doc.OpenAPI != "3.1.0" {
		t.Errorf("openapi = %s", doc.OpenAPI)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(status int, kind, body string) *httptest.ResponseRecorder {
		r := httptest.NewRecorder()
		r.Header().Set("Content-Type", kind)
		r.WriteHeader(status)
		if _, err := r.WriteString(body); err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, tt := range map[string]struct {
		method, path, sent string
		got                *httptest.ResponseRecorder
		ok                 bool
	}{
		"as described":     {"GET", "/api/v1/runs", "", answer(200, "application/json", `{"runs":[]}`), true},
		"a missing field":  {"GET", "/api/v1/runs", "", answer(200, "application/json", `{}`), false},
		"a wrong type":     {"GET", "/api/v1/runs", "", answer(200, "application/json", `{"runs":[{"run_id":1}]}`), false},
		"a strange status": {"GET", "/api/v1/runs", "", answer(207, "application/json", `{"runs":[]}`), false},
		"a strange kind":   {"GET", "/api/v1/runs", "", answer(200, "text/html", `{"runs":[]}`), false},
		"a bad request":    {"POST", "/api/v1/records", `{"recods":[]}`, answer(200, "application/json", `{"recorded":1}`), false},
		"no operation":     {"GET", "/api/v1/other", "", answer(200, "application/json", `{}`), false},
	} {
		spy := &spy{TB: t}
		req := httptest.NewRequest(tt.method, l.http.URL+tt.path, strings.NewReader(tt.sent))
		req.Header.Set("Content-Type", "application/json")
		check(spy, router, req, []byte(tt.sent), tt.got)
		if spy.failed == tt.ok {
			t.Errorf("%s: failed = %t", name, spy.failed)
		}
	}
}

type spy struct {
	testing.TB
	failed bool
}

func (s *spy) Errorf(string, ...any) { s.failed = true }
