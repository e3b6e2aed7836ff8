//go:build realjenkins

package main

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// TestRealJenkinsSetUpThenPush does with a real Jenkins what the test without the tag does with the stand-in. GitLab is the
// stand-in in both.
//
//	JENKINS_URL=… JENKINS_USER=… JENKINS_TOKEN=… go test -tags realjenkins -run RealJenkins ./jenkins ./cmd/aibuild
//
// The user may create, configure, build, cancel and delete jobs; the folder that is made is called aibuild-test-TIME, and
// deleted.
func TestRealJenkinsSetUpThenPush(t *testing.T) {
	user, token := os.Getenv("JENKINS_USER"), os.Getenv("JENKINS_TOKEN")
	setUpThenPush(t, newGround(t), controller{os.Getenv("JENKINS_URL"), user, token, user, token, fmt.Sprintf("aibuild-test-%d", time.Now().UnixNano())})
}
