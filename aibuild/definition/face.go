package definition

import (
	"errors"
	"io/fs"
)

var errSoon = errors.New("definition: being written")

// Reserved lists the words of the command line, which no image may be called.
var Reserved []string

// Load reads the definition in the folder dir of fsys. What is wrong comes as Errors.
func Load(fsys fs.FS, dir string) (*Definition, error) { return nil, errSoon }

// DecodeStrict reads YAML into a struct with yaml tags.
func DecodeStrict(path string, data []byte, into any) error { return errSoon }

// Schema is the JSON schema of aibuild.yaml.
func Schema() []byte { return nil }

// Scaffold is the files that init writes.
func Scaffold(name string, template []byte) (map[string][]byte, error) { return nil, errSoon }

// SourceSHA256 is the digest that the checksum of an ISO or disk demands.
func (d *Definition) SourceSHA256(fsys fs.FS) (string, error) { return "", errSoon }
