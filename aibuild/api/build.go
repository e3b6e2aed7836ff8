package api

import (
	"net/url"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Build names a Jenkins build. In Jenkins they are JOB_NAME, BUILD_NUMBER,
// BUILD_TAG and BUILD_URL.
type Build struct {
	Job    string `json:"job" minLength:"1" maxLength:"180" doc:"path of the job: folder/job (JOB_NAME)"`
	Number int64  `json:"number" minimum:"1" doc:"BUILD_NUMBER"`
	Tag    string `json:"tag,omitempty" maxLength:"255" doc:"BUILD_TAG"`
	URL    string `json:"url,omitempty" maxLength:"2048" doc:"BUILD_URL"`
}

// is says whether a run belongs to the build: by its number and, where both
// are known, the job.
func (b Build) is(r *lineage.Run) bool { return r.Build == b.Number && b.sameJob(r) }

func (b Build) sameJob(r *lineage.Run) bool {
	return r.JenkinsJob == "" || b.Job == "" || jobPath(r.JenkinsJob) == jobPath(b.Job)
}

// buildOf is the build that a run names.
func buildOf(r *lineage.Run) Build {
	return Build{Job: r.JenkinsJob, Number: r.Build, Tag: r.BuildTag, URL: r.BuildURL}
}

// jobPath makes the spellings of a job's path one: /job/a/job/b, a/b, and
// those in which a branch name is escaped.
func jobPath(job string) string {
	if plain, err := url.PathUnescape(job); err == nil {
		job = plain
	}
	job = strings.Trim(job, "/")
	if rest, ok := strings.CutPrefix(job, "job/"); ok {
		job = strings.ReplaceAll(rest, "/job/", "/")
	}
	return job
}

// mark writes the build into a run.
func (b Build) mark(r *lineage.Run) {
	r.JenkinsJob, r.Build, r.BuildURL, r.BuildTag = b.Job, b.Number, b.URL, b.Tag
}
