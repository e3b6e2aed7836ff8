package jenkins_test

import (
	"errors"
	"testing"

	"github.com/guestos/aibuild/jenkins"
	"github.com/guestos/aibuild/jenkins/jenkinstest"
)

// TestStandInPermissions: what a user lacks is known before a build needs it, and nothing is started or stopped to know.
func TestStandInPermissions(t *testing.T) {
	read := []jenkinstest.Grant{{Permission: jenkinstest.OverallRead}, {Permission: jenkinstest.ItemRead, Path: "aibuild"}}
	builds := append(read[:2:2], jenkinstest.Grant{Permission: jenkinstest.ItemBuild, Path: "aibuild"})
	o := jenkinstest.Options{Users: []jenkinstest.User{
		{Name: jenkinstest.DefaultUser, Token: jenkinstest.DefaultToken, Admin: true}, {Name: "builder", Token: "t0ken1", Grants: builds},
	}}
	job := jenkinstest.Job{Path: standInJob, Kind: jenkinstest.Pipeline, Command: "true", Parameters: []jenkinstest.Parameter{{Name: "AIBUILD_RUN_ID"}}}
	inBothVersions(t, o, job, func(t *testing.T, server *jenkinstest.Server, client jenkins.Client) {
		builder := client
		builder.User, builder.Token = "builder", "t0ken1"
		if known, err := builder.MayCancel(t.Context(), standInJob); known || err != nil {
			t.Errorf("before the first build: MayCancel = %v, %v", known, err)
		}
		ended := ends(t, client, becomesBuild(t, client, startRun(t, client, "r1").QueueID).Build)
		if known, err := client.MayCancel(t.Context(), standInJob); !known || err != nil {
			t.Errorf("an administrator: MayCancel = %v, %v", known, err)
		}
		known, err := builder.MayCancel(t.Context(), standInJob)
		checkError(t, err, jenkins.ErrForbidden, 403, "builder lacks hudson.model.Item.Cancel")
		if _, err := builder.MayStart(t.Context(), standInJob); !known || err != nil {
			t.Errorf("MayStart = %v; MayCancel is known: %v", err, known)
		}
		if now, err := client.Build(t.Context(), standInJob, ended.Number); err != nil || now.Result != ended.Result || server.Posts(standInJob) > 2 {
			t.Errorf("the build that was asked: %+v, %v", now, err)
		}
		_, err = client.MayCancel(t.Context(), "aibuild/none")
		if !errors.Is(err, jenkins.ErrNotFound) {
			t.Errorf("no such job: %v", err)
		}
	})
}
