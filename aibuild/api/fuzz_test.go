package api

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3filter"
)

// FuzzReads asks every reading operation for anything: no answer is a fault of the
// server, and each is as the document says.
func FuzzReads(f *testing.F) {
	l, _, _ := newReplayed(f)
	doc, router := l.description()
	var paths []string
	for path, item := range doc.Paths.Map() {
		if item.Get != nil {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	for n, path := range paths {
		f.Add(uint(n), "tiny", "evidence/a.log", "")
		for i, p := range doc.Paths.Find(path).Get.Parameters {
			f.Add(uint(n), oddities[(7*i+n)%len(oddities)], oddities[(3*i+n)%len(oddities)], url.Values{p.Value.Name: {oddities[(5*i+n)%len(oddities)]}}.Encode())
		}
	}
	token, handler := l.token(RoleViewer), l.api.Handler()
	f.Fuzz(func(t *testing.T, n uint, one, two, query string) {
		path := paths[n%uint(len(paths))]
		u := &url.URL{Scheme: "http", Host: "127.0.0.1", RawQuery: query}
		u.Path, u.RawPath = filled(path, map[string]string{"ref": one, "id": one, "name": one, "file": two})
		req := (&http.Request{Method: http.MethodGet, URL: u, Host: u.Host, Header: http.Header{"Authorization": {"Bearer " + string(token)}}, RemoteAddr: "127.0.0.1:1", Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}).WithContext(t.Context())
		got := httptest.NewRecorder()
		handler.ServeHTTP(got, req)
		if got.Code >= 500 {
			t.Fatalf("%s: HTTP %d %s", u, got.Code, got.Body)
		}
		route, params, err := router.FindRoute(req)
		if err != nil || strings.Contains(u.EscapedPath(), "//") {
			return // the address is none of the document's
		}
		checkAnswer(t, &openapi3filter.RequestValidationInput{
			Request: req, PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
		}, got)
	})
}
