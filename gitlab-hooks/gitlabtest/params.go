package gitlabtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
)

// params are what a caller sent: in the query, as a form or as JSON. JSON's numbers and booleans are text here, as in
// a form; its lists and objects stay what they are.
type params map[string]any

const maxParams = 4 << 20

func readParams(w http.ResponseWriter, r *http.Request) (params, error) {
	p := params{}
	for name, values := range r.URL.Query() {
		p[name] = values[len(values)-1]
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		kind = ""
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxParams)
	switch kind {
	case "application/json":
		return p, p.addJSON(r.Body)
	case "application/x-www-form-urlencoded", "multipart/form-data":
		if err := r.ParseMultipartForm(maxParams); err != nil && !errors.Is(err, http.ErrNotMultipart) {
			return nil, message(http.StatusBadRequest, "400 Bad request")
		}
		for name, values := range r.PostForm {
			p[name] = values[len(values)-1]
		}
	}
	return p, nil
}

func (p params) addJSON(body io.Reader) error {
	content, err := io.ReadAll(body)
	if err != nil || len(bytes.TrimSpace(content)) == 0 {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.UseNumber()
	var object map[string]any
	if err := decoder.Decode(&object); err != nil {
		return &apiError{status: http.StatusBadRequest, body: map[string]string{
			"error": "There was a problem in the JSON you submitted: " + err.Error(),
		}}
	}
	for name, value := range object {
		switch value := value.(type) {
		case nil:
		case json.Number, bool:
			p[name] = fmt.Sprint(value)
		default:
			p[name] = value
		}
	}
	return nil
}

// text gives a parameter, empty if it is missing.
func (p params) text(name string) string {
	text, _ := p[name].(string)
	return text
}

func (p params) has(name string) bool { return p[name] != nil }

// number gives a parameter that is a number, or otherwise if it is missing.
func (p params) number(name string, otherwise int) (int, error) {
	if !p.has(name) {
		return otherwise, nil
	}
	n, err := strconv.Atoi(p.text(name))
	if err != nil {
		return 0, invalid(name + " is invalid")
	}
	return n, nil
}

// flag gives a parameter that is a boolean, or otherwise if it is missing.
func (p params) flag(name string, otherwise bool) (bool, error) {
	if !p.has(name) {
		return otherwise, nil
	}
	b, err := strconv.ParseBool(p.text(name))
	if err != nil {
		return false, invalid(name + " is invalid")
	}
	return b, nil
}
