package api

import (
	"cmp"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// newReplayed is a server that can answer every operation well.
func newReplayed(t testing.TB) (l *lab, run, ended string) {
	logs, shelf := fstest.MapFS{}, &shelf{MapFS: fstest.MapFS{}}
	l = newLab(t, func(c *Config) { c.Actor, c.Logs, c.Evidence, c.Rate = &helper{}, logs, shelf, Rate{PerSecond: -1} })
	run, ended = l.run(nil).ID, l.run(nil).ID
	l.stored(builtRecord(run, "tiny", project), listedRecord(run, "3.0"), testedRecord(run, "passed"), releasedRecord(run, "alpha", "visible", newID()))
	l.end(ended, "failure")
	logs[ended+".log"] = &fstest.MapFile{Data: []byte("line\n")}
	shelf.MapFS[run+"/evidence/a.log"] = &fstest.MapFile{Data: []byte("line\n")}
	return l, run, ended
}

// Every operation that the document has is answered well, and as the document
// says: the lab holds each exchange against it.
func TestEveryOperationIsReplayed(t *testing.T) {
	l, run, ended := newReplayed(t)
	doc, router := l.description()
	token, lock := l.token(RoleAdmin), ""
	answered := map[string]int{}
	for _, e := range l.endpoints(run, ended, run) {
		path := strings.NewReplacer("/locks/nothing", "/locks/"+lock, "/runs/"+run+"/log", "/runs/"+ended+"/log").Replace(e.path)
		if body, ok := e.body.(lockRequest); ok {
			lock = body.ID
		}
		if e.method == http.MethodPost && path == "/api/v1/runs" {
			e.body = NewRun{Image: "tiny", Ref: "refs/heads/main", Commit: "beef"}
		}
		got := l.send(e.method, path, token, e.body)
		route, _, err := router.FindRoute(l.request(e.method, path, token, e.body))
		if err != nil || got.status >= 300 {
			t.Errorf("%s %s: HTTP %d %s, %v; want it done", e.method, path, got.status, got.body, err)
			continue
		}
		answered[route.Operation.OperationID] = got.status
		tag := got.header.Get("ETag")
		if tagged := route.Operation.Responses.Value("304") != nil; tagged != (tag != "") {
			t.Errorf("%s %s: the tag is %q, described: %t", e.method, path, tag, tagged)
		}
		if tag != "" {
			req := l.request(e.method, path, token, nil)
			req.Header.Set("If-None-Match", tag)
			if again := l.do(req); again.status != http.StatusNotModified {
				t.Errorf("%s again: HTTP %d", path, again.status)
			}
		}
	}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if answered[op.OperationID] == 0 {
				t.Errorf("%s %s was not replayed", method, path)
			}
			if op.Responses.Value("429") == nil || op.Responses.Value("401") == nil || op.Summary == "" {
				t.Errorf("%s %s: the description lacks 401, 429 or a summary", method, path)
			}
		}
	}
}

func (l *lab) description() (*openapi3.T, routers.Router) {
	l.t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(l.api.spec)
	if err != nil {
		l.t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		l.t.Fatal(err)
	}
	return doc, router
}

// oddities are values that somebody might send, in the place of any parameter.
var oddities = []string{
	"", "0", "-1", "1001", "99999999999999999999", "1e3", "true", "maybe", "tiny", "tiny@1", "tiny@0", "TINY", "a b", "../..", "%", "%%", "\x00", "\xff\xfe", "💥", "null", "[]", "'; DROP TABLE image; --", `"\`,
	"2025-11-22T08:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999+14:00", "-292277022399-01-01T00:00:00Z", "2025-11-22", "https://web/images/build/x", "://", strings.Repeat("a", 300), strings.Repeat("f", 64),
	"MQ", "LTEuMA", "MXkucA", "WyJhIiwiYiIsImMiLCJkIl0", "evidence/a.log", "evidence%2Fa.log", "visible", "success", "passed", "ffffffff-ffff-ffff-ffff-ffffffffffff",
}

// No odd value of any parameter of any reading operation is a fault of the server.
func TestOddParameters(t *testing.T) {
	l, run, _ := newReplayed(t)
	doc, _ := l.description()
	token := l.token(RoleViewer)
	asked := 0
	for path, item := range doc.Paths.Map() {
		if item.Get == nil {
			continue
		}
		for _, p := range item.Get.Parameters {
			for n, odd := range oddities {
				if p.Value.In != "query" && (n+asked)%3 != 0 || p.Value.In == "query" && odd == "" { // an empty one is as none, which no description can say
					continue
				}
				req := l.request(http.MethodGet, "/", token, nil)
				values, query := map[string]string{"ref": "tiny", "id": run, "name": "openssl", "file": "evidence/a.log"}, req.URL.Query()
				for _, q := range item.Get.Parameters {
					if q.Value.In == "query" && q.Value.Required {
						query.Set(q.Value.Name, "tiny")
					}
				}
				switch p.Value.In {
				case "path":
					values[p.Value.Name] = cmp.Or(odd, "%20")
				case "query":
					query.Set(p.Value.Name, odd)
				case "header":
					req.Header.Set(p.Value.Name, strings.Map(headerRune, odd))
				}
				req.URL.Path, req.URL.RawPath = filled(path, values)
				req.URL.RawQuery = query.Encode()
				if got := l.do(req); got.status >= 500 {
					t.Errorf("%s: HTTP %d %s", req.URL, got.status, got.body)
				}
				asked++
			}
		}
	}
	if asked < 500 {
		t.Errorf("only %d questions", asked)
	}
}

func headerRune(r rune) rune {
	if r < ' ' || r > '~' {
		return '?'
	}
	return r
}

// filled puts values into a path of the document.
func filled(path string, values map[string]string) (plain, raw string) {
	var pairs, escaped []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		pairs = append(pairs, "{"+name+"}", values[name])
		escaped = append(escaped, "{"+name+"}", url.PathEscape(values[name]))
	}
	return strings.NewReplacer(pairs...).Replace(path), strings.NewReplacer(escaped...).Replace(path)
}
