package api

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"
)

// described serves like the server, and fails the test when an exchange is not
// what /openapi.json says: what is answered always, what is sent when it was
// accepted.
func described(t testing.TB, s *Server) http.Handler {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(s.spec)
	if err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	inner := s.Handler()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/api/") {
			inner.ServeHTTP(w, r)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, 2*bodyLimit))
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		got := httptest.NewRecorder()
		inner.ServeHTTP(got, r)
		check(t, router, r, body, got)
		for name, values := range got.Header() {
			w.Header()[name] = values
		}
		w.WriteHeader(got.Code)
		if _, err := w.Write(got.Body.Bytes()); err != nil {
			t.Log(err) // the client did not wait
		}
	})
}

func check(t testing.TB, router routers.Router, r *http.Request, body []byte, got *httptest.ResponseRecorder) {
	ctx := context.WithoutCancel(r.Context())
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.Method == http.MethodHead {
		r.Method = http.MethodGet // the same; the body is left out on the way
	}
	if at, file, ok := strings.Cut(r.URL.EscapedPath(), "/evidence/"); ok { // slashes may come as they are, which no description can say
		u := *r.URL
		u.RawPath = at + "/evidence/" + strings.ReplaceAll(file, "/", "%2F")
		r.URL = &u
	}
	route, params, err := router.FindRoute(r)
	if err != nil {
		if got.Code == http.StatusUnauthorized || got.Code == http.StatusTooManyRequests || got.Code == http.StatusNotFound || got.Code == http.StatusMethodNotAllowed {
			return // nothing is described there
		}
		t.Errorf("%s %s: HTTP %d, but it is not described: %v", r.Method, r.URL, got.Code, err)
		return
	}
	in := &openapi3filter.RequestValidationInput{
		Request: r, PathParams: params, Route: route,
		Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true},
	}
	if got.Code < 300 {
		if err := openapi3filter.ValidateRequest(ctx, in); err != nil {
			t.Errorf("%s %s was accepted, but is not as described: %v", r.Method, r.URL, err)
		}
	}
	checkAnswer(t, in, got)
}

// checkAnswer holds an answer against the description of its operation.
func checkAnswer(t testing.TB, in *openapi3filter.RequestValidationInput, got *httptest.ResponseRecorder) {
	r := in.Request
	err := openapi3filter.ValidateResponse(r.Context(), &openapi3filter.ResponseValidationInput{
		RequestValidationInput: in, Status: got.Code, Header: got.Header(), Body: io.NopCloser(bytes.NewReader(unzipped(t, got))), Options: in.Options,
	})
	if err != nil {
		t.Errorf("%s %s: HTTP %d is not answered as described: %v\n%s", r.Method, r.URL, got.Code, err, unzipped(t, got))
	}
}

// unzipped is the body of an answer as it was before it was compressed.
func unzipped(t testing.TB, got *httptest.ResponseRecorder) []byte {
	t.Helper()
	if got.Header().Get("Content-Encoding") != "gzip" {
		return got.Body.Bytes()
	}
	z, err := gzip.NewReader(bytes.NewReader(got.Body.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
