package hooks

import (
	"fmt"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

// orphan says why nothing is started for a run: nobody knows where to clone its
// project from, nor what that may ask for. Empty: it is configured.
func (p *pass) orphan(r lineage.ClaimedRun) string {
	if _, known := p.d.project(r.Project); known {
		return ""
	}
	return notConfigured
}

// foreign says why a build is not the run's: what records runs may name any
// build, and neither the end nor the console of another's is the run's, nor is
// that to be stopped for it. A build that is started again in Jenkins keeps the
// parameters of the one before. Empty: it is the run's, or does not tell.
func foreign(r lineage.Run, b jenkins.Build) string {
	if of := b.Params["AIBUILD_RUN_ID"]; of != "" && of != r.ID && of != r.RetryOf {
		return fmt.Sprintf("build %d of %s is not this run's: it was started for run %s (AIBUILD_RUN_ID)", b.Number, r.JenkinsJob, of)
	}
	return ""
}
