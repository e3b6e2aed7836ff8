package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"mime"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// tagged keeps an answer of JSON back until it is whole, so that its entity tag
// can go before it, and nothing at all where the client has it already. All else
// passes as it comes.
type tagged struct {
	http.ResponseWriter
	status int // 0: nothing is kept back
	body   bytes.Buffer
	passes bool
}

func (t *tagged) WriteHeader(status int) {
	kind, _, err := mime.ParseMediaType(t.Header().Get("Content-Type"))
	switch {
	case t.status != 0 || t.passes:
	case status == http.StatusOK && err == nil && kind == "application/json":
		t.status = status
	default:
		t.passes = true
		t.ResponseWriter.WriteHeader(status)
	}
}

func (t *tagged) Write(b []byte) (int, error) {
	t.WriteHeader(http.StatusOK)
	if t.passes {
		return t.ResponseWriter.Write(b)
	}
	return t.body.Write(b)
}

// Unwrap lets deadlines be set, and streams flow.
func (t *tagged) Unwrap() http.ResponseWriter { return t.ResponseWriter }

// finish sends what was kept back.
func (t *tagged) finish(r *http.Request) error {
	if t.status == 0 {
		return nil
	}
	sum := sha256.Sum256(t.body.Bytes())
	tag := `"` + base64.RawURLEncoding.EncodeToString(sum[:18]) + `"`
	h := t.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache") // it may be kept by who asked, and is asked for again each time
	h.Add("Vary", "Authorization")
	if has, ok := matching(r.Header.Get("If-None-Match"), tag); ok {
		h.Set("ETag", has)
		h.Del("Content-Type")
		t.ResponseWriter.WriteHeader(http.StatusNotModified)
		return nil
	}
	t.ResponseWriter.WriteHeader(t.status)
	_, err := t.ResponseWriter.Write(t.body.Bytes())
	return err
}

// zippedTag ends the tags of compressed answers: other bytes have another tag.
const zippedTag = "-gzip"

// matching says whether a list of tags has this one, compressed or not, and gives
// it as it is there.
func matching(list, tag string) (string, bool) {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimPrefix(strings.TrimSpace(one), "W/")
		if plain := strings.TrimSuffix(strings.Trim(one, `"`), zippedTag); one == "*" {
			return tag, true
		} else if `"`+plain+`"` == tag {
			return one, true
		}
	}
	return "", false
}

// describeTag documents that an answer of JSON need not be sent twice.
func (s *Server) describeTag(o operation) {
	if o.method != http.MethodGet {
		return
	}
	op := s.api.OpenAPI().Paths[o.path].Get
	ok := op.Responses["200"]
	if ok == nil || ok.Content["application/json"] == nil {
		return // a stream
	}
	text := &huma.Schema{Type: huma.TypeString}
	etag := map[string]*huma.Param{"ETag": {Description: "changes with the answer", Schema: text}}
	op.Parameters = append(op.Parameters, &huma.Param{Name: "If-None-Match", In: "header", Schema: text, Description: "the ETag of an answer that is there already: it is not sent again"})
	ok.Headers = etag
	op.Responses["304"] = &huma.Response{Description: http.StatusText(http.StatusNotModified), Headers: etag}
}
