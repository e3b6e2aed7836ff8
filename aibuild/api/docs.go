package api

import (
	"bytes"
	"maps"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// docsView is what docs.html shows.
type docsView struct {
	Version, Text string
	Roles         []docsRole
	Operations    []docsOperation
	Problems      []meaning
}

type docsRole struct{ Name, Text string }

type docsOperation struct {
	ID, Method, Path, Summary, Text, Roles, Answers string
	Fields                                          []docsField
}

type docsField struct{ In, Name, Type, Text string }

// renderDocs makes the page of the API from its description.
func (s *Server) renderDocs() ([]byte, error) {
	doc := s.api.OpenAPI()
	view := docsView{
		Version: doc.Info.Version, Text: strings.ReplaceAll(doc.Info.Description, "`", ""), Problems: meanings,
		Roles: []docsRole{
			{RoleViewer, "reads"}, {RoleOperator, "starts, cancels and retries runs too"}, {RoleReleaser, "releases, rolls back, revokes and holds images too"},
			{RoleAdmin, "everything: tokens, prune, transfer too"},
			{RoleRecorder, "belongs to projects; records what their Jenkins builds do"},
		},
	}
	for _, path := range slices.Sorted(maps.Keys(doc.Paths)) {
		item := doc.Paths[path]
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Delete} {
			if op != nil {
				view.Operations = append(view.Operations, s.docsOperation(path, op))
			}
		}
	}
	var b bytes.Buffer
	err := pages.ExecuteTemplate(&b, "docs.html", view)
	return b.Bytes(), err
}

func (s *Server) docsOperation(path string, op *huma.Operation) docsOperation {
	d := docsOperation{
		ID: op.OperationID, Method: op.Method, Path: path, Summary: op.Summary, Text: strings.ReplaceAll(op.Description, "`", ""),
		Roles: strings.Join(s.rights[op.Method+" "+op.Path].roles(), ", "),
	}
	for _, p := range op.Parameters {
		d.Fields = append(d.Fields, docsField{p.In, p.Name, p.Schema.Type, p.Description})
	}
	if op.RequestBody != nil {
		schema := s.deref(op.RequestBody.Content["application/json"].Schema)
		for _, name := range slices.Sorted(maps.Keys(schema.Properties)) {
			p := schema.Properties[name]
			d.Fields = append(d.Fields, docsField{"body", name, typeName(p), p.Description})
		}
	}
	var answers []string
	for _, status := range slices.Sorted(maps.Keys(op.Responses)) {
		answers = append(answers, status+" "+op.Responses[status].Description)
	}
	d.Answers = strings.Join(answers, ", ")
	return d
}

func (s *Server) deref(schema *huma.Schema) *huma.Schema {
	if schema.Ref == "" {
		return schema
	}
	return s.api.OpenAPI().Components.Schemas.SchemaFromRef(schema.Ref)
}

func typeName(s *huma.Schema) string {
	switch {
	case s.Ref != "":
		return s.Ref[strings.LastIndex(s.Ref, "/")+1:]
	case s.Items != nil:
		return "list of " + typeName(s.Items)
	}
	return s.Type
}
