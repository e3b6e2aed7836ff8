//go:build realjenkins

package jenkins_test

import (
	"os"
	"testing"

	"github.com/guestos/aibuild/jenkins"
)

// TestRealJenkinsSetup does in a real Jenkins what the other tests do in the stand-in: it makes folders whose names
// begin with "aibuild test", builds in them, and deletes them.
//
//	JENKINS_URL=… JENKINS_USER=… JENKINS_TOKEN=… go test -tags realjenkins -run RealJenkins ./jenkins
//
// The user may create, configure, build, cancel and delete jobs, and see the plugins. Two executors are free.
func TestRealJenkinsSetup(t *testing.T) {
	c := jenkins.Client{URL: os.Getenv("JENKINS_URL"), User: os.Getenv("JENKINS_USER"), Token: os.Getenv("JENKINS_TOKEN")}
	health, err := c.Check(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("jenkins %s at %s, as %s", health.Version, c.URL, health.User)
	runSetupTests(t, c)
}
