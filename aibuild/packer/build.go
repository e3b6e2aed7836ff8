package packer

import (
	"context"
	"errors"
	"os"

	"github.com/guestos/aibuild/aibuild/process"
)

var errSoon = errors.New("not built yet")

// Validate has Packer check the job's template.
func (t Tool) Validate(ctx context.Context, job Job) error { return errSoon }

// Build runs the build.
func (t Tool) Build(ctx context.Context, job Job) (*Artifact, error) { return nil, errSoon }

func cancelled(ctx context.Context, doing string) *Failed {
	return &Failed{Code: CodeCancelled, Blame: BlameInfrastructure, Sentence: "cancelled while " + doing, Err: context.Cause(ctx)}
}

func environ(extra ...string) []string {
	env := process.Environ(extra...)
	for _, key := range []string{"PACKER_PLUGIN_PATH", "PACKER_CONFIG", "PACKER_CONFIG_DIR"} {
		if value := os.Getenv(key); value != "" {
			env = append(env, key+"="+value)
		}
	}
	return env
}
