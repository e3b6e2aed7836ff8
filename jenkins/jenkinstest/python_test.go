package jenkinstest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestPythonJenkins: Debian's python3-jenkins drives the stand-in without noticing, by token and, with crumbs, by
// password.
func TestPythonJenkins(t *testing.T) {
	inBoth(t, func(t *testing.T, profile string) {
		version := map[string]string{"2.300": "2.300", "current": "2.541.3"}[profile]
		s := start(t, jenkinstest.Options{Profile: profile, Users: []jenkinstest.User{{Name: "driver", Token: "token", Password: "pass word", Admin: true}}})
		for folder, secret := range map[string]string{"token": "token", "password": "pass word"} {
			s.QuietDown(false)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			result, err := process.Cmd{Path: "/usr/bin/python3", Args: []string{"testdata/drive.py", s.URL(), "driver", secret, version, folder}}.Run(ctx)
			if err != nil {
				t.Fatalf("by %s: %v\n%s", folder, err, result.Stderr)
			}
			if strings.TrimSpace(string(result.Stdout)) != "driven" {
				t.Errorf("by %s: %s", folder, result.Stdout)
			}
		}
	})
}
