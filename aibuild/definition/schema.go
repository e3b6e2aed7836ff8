package definition

import (
	_ "embed"
	"slices"
)

//go:embed schema.json
var schema []byte

// Schema is the JSON schema of aibuild.yaml, for editors. Load checks more than a schema can say.
func Schema() []byte { return slices.Clone(schema) }
