package gitlabtest_test

import (
	"bytes"
	"encoding/json"
	"io"
	"testing"
)

// jsonKeys lists the keys of a document in their order, those of objects inside after the key they belong to.
func jsonKeys(t *testing.T, document []byte) []string {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(document))
	var found []string
	var value func()
	next := func() json.Token {
		token, err := decoder.Token()
		if err != nil && err != io.EOF {
			t.Fatalf("%v in %s", err, document)
		}
		return token
	}
	value = func() {
		switch next() {
		case json.Delim('{'):
			for decoder.More() {
				found = append(found, next().(string))
				value()
			}
			next()
		case json.Delim('['):
			for decoder.More() {
				value()
			}
			next()
		}
	}
	value()
	return found
}
