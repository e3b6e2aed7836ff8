package packer

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	hcljson "github.com/hashicorp/hcl/v2/json"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
)

// What aibuild reads of an HCL2 template; the rest is Packer's business.
var (
	rootSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{
		{Type: "packer"}, {Type: "variable", LabelNames: []string{"name"}}, {Type: "variables"},
		{Type: "local", LabelNames: []string{"name"}}, {Type: "locals"},
		{Type: "source", LabelNames: []string{"type", "name"}}, {Type: "build"},
	}}
	buildSchema = &hcl.BodySchema{
		Attributes: []hcl.AttributeSchema{{Name: "name"}, {Name: "sources"}},
		Blocks:     []hcl.BlockHeaderSchema{{Type: "source", LabelNames: []string{"ref"}}},
	}
	packerSchema = &hcl.BodySchema{Blocks: []hcl.BlockHeaderSchema{{Type: "required_plugins"}}}
)

// hclReader gathers the blocks of all files of one template.
type hclReader struct {
	t        *Template
	sources  map[string][]byte         // file contents
	locals   map[string]hcl.Expression // by name
	declared map[string]Source         // by type.name
	builds   []*hcl.Block
	problems Problems
}

func (t *Template) readHCL(fsys fs.FS, files []string) error {
	r := &hclReader{t: t, sources: map[string][]byte{}, locals: map[string]hcl.Expression{}, declared: map[string]Source{}}
	var bodies []hcl.Body
	for _, name := range files {
		data, err := readLimited(fsys, name)
		if err != nil {
			return err
		}
		r.sources[name] = data
		bodies = append(bodies, r.parse(name, data))
	}
	if len(r.problems) > 0 {
		return r.problems.or()
	}
	var blocks hcl.Blocks
	for _, b := range bodies {
		content, _, diags := b.PartialContent(rootSchema)
		r.report(diags)
		blocks = append(blocks, content.Blocks...)
	}
	for _, pass := range []func(*hcl.Block){r.declare, r.source} {
		for _, b := range blocks {
			pass(b)
		}
	}
	for _, b := range r.builds {
		r.build(b)
	}
	return r.problems.or()
}

func (r *hclReader) parse(name string, data []byte) hcl.Body {
	var file *hcl.File
	var diags hcl.Diagnostics
	if strings.HasSuffix(name, ".json") {
		file, diags = hcljson.Parse(data, name)
	} else {
		file, diags = hclsyntax.ParseConfig(data, name, hcl.InitialPos)
	}
	r.report(diags)
	return file.Body
}

func (r *hclReader) report(diags hcl.Diagnostics) {
	for _, d := range diags {
		if d.Severity != hcl.DiagError {
			continue
		}
		at := position{Path: r.t.Path}
		if d.Subject != nil {
			at = position{d.Subject.Filename, d.Subject.Start.Line}
		}
		r.problems.add(at, strings.ToLower(d.Summary), strings.TrimSuffix(d.Detail, "."))
	}
}

// declare takes variables, locals and what the template requires.
func (r *hclReader) declare(b *hcl.Block) {
	switch b.Type {
	case "variable":
		attrs, _ := b.Body.JustAttributes() // validation blocks are Packer's business
		r.variable(b.Labels[0], at(b.DefRange), attrs)
	case "variables":
		attrs, diags := b.Body.JustAttributes()
		r.report(diags)
		for name, a := range attrs {
			r.variable(name, at(a.NameRange), hcl.Attributes{"default": a})
		}
	case "locals":
		attrs, diags := b.Body.JustAttributes()
		r.report(diags)
		for name, a := range attrs {
			r.locals[name] = a.Expr
		}
	case "local":
		attrs, _ := b.Body.JustAttributes()
		if a, ok := attrs["expression"]; ok {
			r.locals[b.Labels[0]] = a.Expr
		}
	case "packer":
		content, _, _ := b.Body.PartialContent(packerSchema)
		for _, required := range content.Blocks {
			r.t.requires = at(required.DefRange)
		}
	case "build":
		r.builds = append(r.builds, b)
	}
}

func (r *hclReader) variable(name string, where position, attrs hcl.Attributes) {
	v := Variable{Name: name, position: where}
	if a, ok := attrs["type"]; ok {
		v.Type = r.written(a.Expr)
	}
	if a, ok := attrs["default"]; ok {
		v.Default, v.HasDefault = r.attr(a).text, true
	}
	r.t.Variables = append(r.t.Variables, v)
}

func (r *hclReader) source(b *hcl.Block) {
	if b.Type != "source" {
		return
	}
	s := Source{Type: b.Labels[0], Build: b.Labels[0] + "." + b.Labels[1], attrs: r.attrs(b.Body), position: at(b.DefRange)}
	r.declared[s.Build] = s
}

func (r *hclReader) attrs(body hcl.Body) map[string]attr {
	// Nested blocks make JustAttributes complain; they are none of ours.
	attrs, _ := body.JustAttributes()
	out := map[string]attr{}
	for name, a := range attrs {
		out[name] = r.attr(a)
	}
	return out
}

// build lists what one build block makes.
func (r *hclReader) build(b *hcl.Block) {
	content, _, diags := b.Body.PartialContent(buildSchema)
	r.report(diags)
	prefix := ""
	if a, ok := content.Attributes["name"]; ok {
		if name := r.attr(a).text; name != "" {
			prefix = name + "."
		}
	}
	if a, ok := content.Attributes["sources"]; ok {
		items, diags := hcl.ExprList(a.Expr)
		r.report(diags)
		for _, item := range items {
			r.use(prefix, r.reference(item), at(item.Range()), nil)
		}
	}
	for _, nested := range content.Blocks {
		r.use(prefix, strings.TrimPrefix(nested.Labels[0], "source."), at(nested.DefRange), r.attrs(nested.Body))
	}
}

// use adds the build of a declared source, with what the build block overrides.
func (r *hclReader) use(prefix, ref string, where position, override map[string]attr) {
	s, ok := r.declared[ref]
	if !ok {
		r.problems.add(where, "the build uses a source "+ref+" that is not there", "declare source \""+strings.Replace(ref, ".", "\" \"", 1)+"\"")
		return
	}
	merged := map[string]attr{}
	for _, attrs := range []map[string]attr{s.attrs, override} {
		for name, a := range attrs {
			merged[name] = a
		}
	}
	if name, ok := override["name"]; ok && name.literal {
		s.Build = s.Type + "." + name.text
	}
	s.Build, s.attrs = prefix+s.Build, merged
	r.t.Sources = append(r.t.Sources, s)
}

// reference reads "source.qemu.a", "qemu.a" or the bare traversal of either.
func (r *hclReader) reference(e hcl.Expression) string {
	ref := strings.Trim(r.written(e), `"`)
	return strings.TrimPrefix(ref, "source.")
}

func (r *hclReader) written(e hcl.Expression) string {
	rng := e.Range()
	return strings.TrimSpace(string(rng.SliceBytes(r.sources[rng.Filename])))
}

var bareVariable = regexp.MustCompile(`^(?:var\.([\w-]+)|"\$\{\s*var\.([\w-]+)\s*\}")$`)

func (r *hclReader) attr(a *hcl.Attribute) attr {
	out := attr{text: r.written(a.Expr), vars: r.depends(nil, a.Expr, 0), position: at(a.NameRange)}
	if m := bareVariable.FindStringSubmatch(out.text); m != nil {
		out.bare = m[1] + m[2]
	}
	if v, diags := a.Expr.Value(nil); !diags.HasErrors() {
		if s, err := convert.Convert(v, cty.String); err == nil && s.IsKnown() && !s.IsNull() {
			out.text, out.literal = s.AsString(), true
		}
	}
	return out
}

// depends adds the variables that e is made of, through locals.
func (r *hclReader) depends(have []string, e hcl.Expression, depth int) []string {
	if depth > maxDepth {
		return have
	}
	for _, traversal := range e.Variables() {
		if len(traversal) < 2 {
			continue
		}
		step, ok := traversal[1].(hcl.TraverseAttr)
		if !ok {
			continue
		}
		switch traversal.RootName() {
		case "var":
			if !slices.Contains(have, step.Name) {
				have = append(have, step.Name)
			}
		case "local":
			if local, ok := r.locals[step.Name]; ok {
				have = r.depends(have, local, depth+1)
			}
		}
	}
	return have
}

func at(r hcl.Range) position { return position{r.Filename, r.Start.Line} }
