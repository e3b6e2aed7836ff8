package definition_test

import (
	"errors"
	"fmt"
	"testing/fstest"

	"github.com/guestos/aibuild/aibuild/definition"
)

func ExampleLoad() {
	repository := fstest.MapFS{
		"web/aibuild.yaml": {Data: []byte(`
name: web
os: {distro: debian, version: 12}
from: {image: debian-12-base}
build: {template: web.pkr.hcl}
tset: {user: debian}
`)},
		"web/web.pkr.hcl": {Data: []byte("source {}")},
	}
	_, err := definition.Load(repository, "web")
	var problems definition.Errors
	if errors.As(err, &problems) {
		for _, problem := range problems {
			fmt.Println(problem)
		}
	}
	// Output:
	// web/aibuild.yaml:1: test.user: is missing; name the account that gets the SSH key, such as debian
	// web/aibuild.yaml:3: os.version must be text, not "12"; write "12" in quotes
	// web/aibuild.yaml:6: unknown key "tset"; did you mean "test"?
}

func ExamplePolicy_Check() {
	policy := definition.Policy{Project: "team/images", ReleaseRefs: []string{"main", "release/*"}, Clusters: []string{"alpha"}}
	d := &definition.Definition{Name: "web", Release: definition.Release{Clusters: []string{"alpha", "beta"}}}
	fmt.Println(policy.Check(d, "refs/heads/main"))
	// Output:
	// refused by release.clusters of the server's configuration for team/images: the cluster beta is asked for, allowed is alpha; change the definition or ask an administrator to change the rule
}
