package main

import (
	"context"
	"errors"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	hooks "github.com/guestos/aibuild/gitlab-hooks"
	"github.com/guestos/aibuild/jenkins"
)

const (
	defaultJob     = "aibuild/build"
	defaultLibrary = "https://github.com/guestos/aibuild.git"
	defaultLabel   = "kvm" // of agents, in the shared library
	scriptMark     = "aibuild jenkins setup"
)

func (w *world) jenkinsCommand() *cli.Command {
	return &cli.Command{
		Name: "jenkins", Usage: "the Jenkins that builds",
		Subcommands: []*cli.Command{{
			Name: "setup", Usage: "make the job that builds images, its folder and in it the shared library, or bring them up to date",
			Description: "It asks JENKINS_URL as JENKINS_SETUP_USER with JENKINS_SETUP_TOKEN or JENKINS_SETUP_TOKEN_FILE, who may make and configure jobs,\n" +
				"and then looks at the job with the daemon's own credentials. In a job that is there, parameters, concurrency and script\n" +
				"are made as they are to be; in its folder the library aibuild. All else stays. --print needs no Jenkins.",
			Flags: []cli.Flag{
				&cli.StringSliceFlag{Name: "job", Usage: "only `JOB`, as in folder/job (repeatable); else every job of the configuration, else " + defaultJob},
				&cli.StringFlag{Name: "user", Usage: "`NAME` of the user of Jenkins (JENKINS_SETUP_USER)"},
				&cli.StringFlag{Name: "library", Value: defaultLibrary, Usage: "git `ADDRESS` of the shared library: aibuild's own repository, or a copy of it"},
				&cli.StringFlag{Name: "library-version", Usage: "`BRANCH`, tag or commit of the library (this aibuild's release, else main)"},
				&cli.StringFlag{Name: "library-credentials", Usage: "`ID` of Jenkins' credentials with which git reads the library"},
				&cli.StringFlag{Name: "label", Value: defaultLabel, Usage: "`LABEL` of the agents that build"},
				dryRunFlag(),
				&cli.BoolFlag{Name: "force", Usage: "replace a job or library of that name that this command did not make"},
				&cli.StringFlag{Name: "print", Usage: "only print `WHAT`: config.xml, folder.xml, jcasc or permissions"},
				outputFlag(),
			},
			Action: w.jenkinsSetup,
		}},
	}
}

func (w *world) jenkinsSetup(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	specs, err := w.jobSpecs(c)
	if err != nil {
		return err
	}
	if what := c.String("print"); what != "" {
		return w.printJenkins(what, specs)
	}
	client, err := w.setupJenkins(c)
	if err != nil {
		return err
	}
	if _, err := client.Check(c.Context); err != nil {
		return err
	}
	r := &setupReport{}
	for _, s := range specs {
		if err := w.setUpJob(c, client, s, r); err != nil {
			return errors.Join(err, w.printDone(c, r))
		}
	}
	if !c.Bool("dry-run") {
		r.Checks = w.checkJobs(c, specs)
	}
	w.todoOfJenkins(c, client, specs[0], r)
	return w.printSetup(c, r)
}

// printDone shows what was done before something failed.
func (w *world) printDone(c *cli.Context, r *setupReport) error {
	if len(r.Changes) == 0 {
		return nil
	}
	return w.printSetup(c, r)
}

// setupJenkins is Jenkins with credentials that may do more than the daemon's.
func (w *world) setupJenkins(c *cli.Context) (jenkins.Client, error) {
	token, err := w.config.secret("JENKINS_SETUP_TOKEN", "", "")
	if err != nil {
		return jenkins.Client{}, err
	}
	user := c.String("user")
	if user == "" {
		user = w.getenv("JENKINS_SETUP_USER")
	}
	if user == "" || token == "" {
		return jenkins.Client{}, usagef("aibuild jenkins setup needs a user of Jenkins who may make jobs: set JENKINS_SETUP_USER and JENKINS_SETUP_TOKEN_FILE " +
			"(an api token); or see --print, which needs none")
	}
	transport, err := w.config.trustJenkins()
	return jenkins.Client{URL: w.config.env("JENKINS_URL", w.config.Jenkins.URL), User: user, Token: token, Transport: transport}, err
}

var parameterHelp = map[string]string{
	"AIBUILD_RUN_ID":  "run, as the daemon knows it; empty: the build registers itself",
	"AIBUILD_PROJECT": "address for git clone",
	"AIBUILD_REF":     "branch or tag, such as refs/heads/main",
	"AIBUILD_COMMIT":  "commit that is built",
	"AIBUILD_IMAGE":   "folder of the image in the repository",
	"AIBUILD_FROM":    "stage to begin with: build, test, publish or release; empty: build",
}

var release = regexp.MustCompile(`^v?\d+\.\d+\.\d+$`)

// jobSpecs are the jobs as they are to be.
func (w *world) jobSpecs(c *cli.Context) ([]jenkins.Spec, error) {
	library := jenkins.Library{
		Name: "aibuild", Remote: c.String("library"), Version: c.String("library-version"), Credentials: c.String("library-credentials"), Path: "jenkins/",
	}
	if at, err := url.Parse(library.Remote); err == nil && at.User != nil {
		if _, secret := at.User.Password(); secret {
			return nil, usagef("--library holds a password, which everybody would see who may configure the folder; give --library-credentials instead")
		}
	}
	if library.Version == "" {
		library.Version = "main"
		if release.MatchString(version) {
			library.Version = version
		}
	}
	for name, value := range map[string]string{"library": library.Remote, "library-version": library.Version, "library-credentials": library.Credentials, "label": c.String("label")} {
		if strings.ContainsAny(value, "\r\n'\\") || value == "" && name != "library-credentials" {
			return nil, usagef("--%s %q: it is empty, or has quotes, backslashes or line ends in it", name, value)
		}
	}
	paths := c.StringSlice("job")
	if len(paths) == 0 {
		for _, use := range w.config.jobs() {
			paths = append(paths, use.path)
		}
	}
	if len(paths) == 0 {
		paths = []string{defaultJob}
	}
	var specs []jenkins.Spec
	for _, path := range slices.Compact(paths) {
		specs = append(specs, jobSpec(path, c.String("label"), library))
	}
	return specs, nil
}

func jobSpec(path, label string, library jenkins.Library) jenkins.Spec {
	s := jenkins.Spec{
		Path: path, Library: library, Mark: scriptMark,
		Description: "Builds, tests, publishes and releases GuestOS images. The aibuild daemon starts it; " + scriptMark + " made it.",
	}
	for _, name := range hooks.JobParameters() {
		s.Parameters = append(s.Parameters, jenkins.Parameter{Name: name, Description: parameterHelp[name]})
	}
	options := "dir: params.AIBUILD_IMAGE"
	if label != defaultLabel {
		options += ", label: '" + label + "'"
	}
	s.Script = "// " + scriptMark + " made this job, and overwrites this script when it is run again.\n" +
		"@Library('" + library.Name + "') _\n" +
		"aibuildPipeline(" + options + ")\n"
	return s
}

// setUpJob plans and does what a job needs, and says so.
func (w *world) setUpJob(c *cli.Context, client jenkins.Client, s jenkins.Spec, r *setupReport) error {
	changes, err := client.Plan(c.Context, s, c.Bool("force"))
	if err != nil {
		return err
	}
	if len(changes) == 0 {
		r.did("job "+s.Path, isUnchanged, "")
	}
	for _, change := range changes {
		what := "folder " + change.Path
		if change.Path == s.Path {
			what = "job " + change.Path
		}
		planned, done := wouldChange, isChanged
		if change.New {
			planned, done = wouldMake, isMade
		}
		if c.Bool("dry-run") {
			if !slices.ContainsFunc(r.Changes, func(other setupChange) bool { return other.What == what }) { // a folder of two jobs
				before := change.Path + "/config.xml"
				if change.New {
					before = "/dev/null"
				}
				r.did(what, planned, unified(before, change.Path+"/config.xml", change.Before, change.After))
			}
			continue
		}
		if err := client.Apply(c.Context, change); err != nil {
			return err
		}
		r.did(what, done, "")
	}
	if c.Bool("dry-run") || len(changes) == 0 {
		return nil
	}
	return settled(c.Context, client, s, r)
}

// settled asks once more: a Jenkins without a plugin drops what it does not know.
func settled(ctx context.Context, client jenkins.Client, s jenkins.Spec, r *setupReport) error {
	left, err := client.Plan(ctx, s, true)
	if err != nil {
		return err
	}
	for _, change := range left {
		r.Checks = append(r.Checks, finding{bad, change.Path, "jenkins did not keep all of its configuration",
			"install the plugins Pipeline, Folders and Git, then run it again"})
	}
	return nil
}

// checkJobs looks at the jobs as the daemon will.
func (w *world) checkJobs(c *cli.Context, specs []jenkins.Spec) []finding {
	d := &doctor{w: w, c: c}
	client, err := w.config.jenkinsClient()
	switch {
	case err != nil:
		d.fails("jenkins", err, "")
		return d.findings
	case client == nil || client.Token == "":
		d.add(warn, "jenkins", "what the daemon may do is not known", "set JENKINS_USER and JENKINS_TOKEN_FILE, or jenkins.user and token_file, to its own, and run it again")
		return d.findings
	}
	var labels []string
	if labelTodo(c.Context, *client, c.String("label")) == "" { // else it is for a person to do
		labels = []string{c.String("label")}
	}
	for _, s := range specs {
		d.job(c.Context, *client, jobUse{path: s.Path, labels: labels})
	}
	return d.findings
}
