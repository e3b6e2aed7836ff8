package api

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// newAPI makes the part that huma does: reading, checking and describing what
// goes over the wire. Its own pages are off, as they load from elsewhere.
func newAPI(mux *http.ServeMux, version string) huma.API {
	if version == "" {
		version = "unknown"
	}
	format := huma.Format{
		Marshal: func(w io.Writer, v any) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			return e.Encode(v)
		},
		Unmarshal: func(data []byte, v any) error {
			if !utf8.Valid(data) {
				return errors.New("is not valid UTF-8")
			}
			return json.Unmarshal(data, v)
		},
	}
	return humago.New(mux, huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info:    &huma.Info{Title: "aibuild", Version: version, Description: apiText},
			Components: &huma.Components{
				Schemas:         huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer),
				SecuritySchemes: map[string]*huma.SecurityScheme{"token": {Type: "http", Scheme: "bearer", Description: "a token that aibuild token create has made"}},
			},
		},
		Formats:       map[string]huma.Format{"application/json": format, "json": format},
		DefaultFormat: "application/json",
		Transformers:  []huma.Transformer{transform},
	})
}

const apiText = "The story of every image and every run: what was built from what, what was tested, where it is. " +
	"Every request needs a token: `Authorization: Bearer aib_…`. Errors are problems (RFC 9457) with a stable `code`. " +
	"Answers of GET have an ETag, and are sent as gzip to who takes it. A token that asks too often is told 429 and Retry-After. " +
	"Answers may gain fields; those that are there keep their meaning. Times are UTC, sizes bytes, durations milliseconds unless the name says otherwise."

// operation describes one endpoint.
type operation struct {
	method, path string
	id           string
	summary      string
	text         string
	need         right
	status       int      // of success; 0 = 200
	also         []int    // other successes, of the same form
	problems     []int    // beyond those that every operation has
	body         bool     // the request has one
	content      []string // what a success may be, where it is not JSON
}

// bodyTimeout is how long a body may take to come.
const bodyTimeout = 20 * time.Second

// handle registers an endpoint. What fn gives as an error is told as a problem.
func handle[I, O any](s *Server, o operation, fn func(context.Context, *I) (*O, error)) {
	pattern := o.method + " " + o.path
	s.rights[pattern], s.bodies[pattern] = o.need, o.body
	op := huma.Operation{
		OperationID: o.id, Method: o.method, Path: o.path, Summary: o.summary, DefaultStatus: o.status,
		Description:  o.text,
		Security:     []map[string][]string{{"token": {}}},
		MaxBodyBytes: bodyLimit + 1, BodyReadTimeout: min(s.timeout, bodyTimeout),
		Responses:                    s.problemResponses(o),
		RejectUnknownQueryParameters: true,
		Extensions:                   map[string]any{"x-aibuild-roles": o.need.roles()},
	}
	huma.Register(s.api, op, func(ctx context.Context, in *I) (*O, error) {
		out, err := fn(ctx, in)
		if err == nil {
			return out, nil
		}
		p := s.fail(ctx, err)
		if p.retryAfter == "" {
			return nil, p
		}
		return nil, huma.ErrorWithHeaders(p, http.Header{"Retry-After": {p.retryAfter}})
	})
	s.describeAlso(o)
	s.describeTag(o)
	s.describePath(o)
}

// describePath gives a path that ends with any number of segments the only form
// that descriptions have for it, and says what comes from there.
func (s *Server) describePath(o operation) {
	paths := s.api.OpenAPI().Paths
	item := paths[o.path]
	if plain := strings.ReplaceAll(o.path, "...}", "}"); plain != o.path {
		delete(paths, o.path)
		paths[plain] = item
	}
	if len(o.content) == 0 {
		return
	}
	ok := item.Get.Responses[strconv.Itoa(max(o.status, http.StatusOK))]
	ok.Content = map[string]*huma.MediaType{}
	for _, kind := range o.content {
		plain, _, _ := strings.Cut(kind, ";")
		ok.Content[plain] = &huma.MediaType{}
	}
}

// problemResponses describes the errors of an operation.
func (s *Server) problemResponses(o operation) map[string]*huma.Response {
	schema := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "Problem")
	statuses := append([]int{400, 401, 403, 404, 405, 422, 429, 500, 503}, o.problems...)
	if o.body {
		statuses = append(statuses, 408, 413, 415)
	}
	slices.Sort(statuses)
	all := map[string]*huma.Response{}
	for _, status := range slices.Compact(statuses) {
		r := &huma.Response{
			Description: http.StatusText(status),
			Content:     map[string]*huma.MediaType{problemType: {Schema: schema}},
		}
		if status == http.StatusServiceUnavailable || status == http.StatusTooManyRequests {
			r.Headers = map[string]*huma.Param{"Retry-After": {Description: "seconds", Schema: &huma.Schema{Type: huma.TypeInteger}}}
		}
		all[strconv.Itoa(status)] = r
	}
	return all
}

// describeAlso documents further successes.
func (s *Server) describeAlso(o operation) {
	item := s.api.OpenAPI().Paths[o.path]
	for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
		if op == nil || op.Method != o.method {
			continue
		}
		for _, status := range o.also {
			r := *op.Responses[strconv.Itoa(max(o.status, http.StatusOK))]
			r.Description = http.StatusText(status)
			op.Responses[strconv.Itoa(status)] = &r
		}
	}
}

// transform gives huma's own errors the form of ours. The values that were
// sent are not repeated: nobody knows what is in them.
func transform(ctx huma.Context, status string, v any) (any, error) {
	m, ok := v.(*huma.ErrorModel)
	if !ok {
		return v, nil
	}
	code, err := strconv.Atoi(status)
	if err != nil {
		return nil, err
	}
	p := &Problem{Status: code, Code: codeOf(code), Detail: m.Detail}
	for _, e := range m.Errors {
		if e != nil {
			p.Errors = append(p.Errors, FieldError{e.Location, e.Message})
		}
	}
	if len(p.Errors) > 0 {
		p.Field, p.Problem = p.Errors[0].Field, p.Errors[0].Problem
		p.Detail = p.Field + ": " + p.Problem
	}
	return p.complete(ctx.Context()), nil
}

func codeOf(status int) string {
	switch status {
	case http.StatusBadRequest:
		return CodeBadRequest
	case http.StatusNotAcceptable:
		return CodeNotAcceptable
	case http.StatusRequestTimeout:
		return CodeTimeout
	case http.StatusRequestEntityTooLarge:
		return CodeTooLarge
	case http.StatusUnsupportedMediaType:
		return CodeMediaType
	case http.StatusUnprocessableEntity:
		return CodeInvalid
	}
	return CodeInternal
}

// openAnswers lets the schemas of answers grow: only what clients send is
// closed. It also forgets the schemas of huma's own errors, which nobody sees.
func (s *Server) openAnswers() {
	doc := s.api.OpenAPI()
	schemas := doc.Components.Schemas.Map()
	delete(schemas, "ErrorModel")
	delete(schemas, "ErrorDetail")
	sent := map[*huma.Schema]bool{}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
			if op != nil && op.RequestBody != nil {
				reach(doc.Components.Schemas, op.RequestBody.Content["application/json"].Schema, sent)
			}
		}
	}
	for _, schema := range schemas {
		if closed, ok := schema.AdditionalProperties.(bool); ok && !closed && !sent[schema] {
			schema.AdditionalProperties = nil
		}
	}
}

// reach marks every schema that is part of one.
func reach(all huma.Registry, s *huma.Schema, seen map[*huma.Schema]bool) {
	if s == nil {
		return
	}
	if s.Ref != "" {
		s = all.SchemaFromRef(s.Ref)
	}
	if s == nil || seen[s] {
		return
	}
	seen[s] = true
	reach(all, s.Items, seen)
	for _, p := range s.Properties {
		reach(all, p, seen)
	}
	if more, ok := s.AdditionalProperties.(*huma.Schema); ok {
		reach(all, more, seen)
	}
}
