package jenkinstest

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
)

// workspace gives a build the job's folder on its node; the second build at the same time gets NAME@2, as there.
func (s *Server) workspace(b *build) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	root := filepath.Join(s.home, "workspace")
	if b.on.node != nil && !b.on.node.builtIn {
		root = filepath.Join(s.home, "agents", b.on.node.Name, "workspace")
	}
	base := filepath.Join(root, filepath.FromSlash(b.item.fullName()))
	dir := base
	for n := 2; s.workspaces[dir]; n++ {
		dir = base + "@" + strconv.Itoa(n)
	}
	if b.job.Clean {
		if err := os.RemoveAll(dir); err != nil {
			return "", err
		}
	}
	for _, d := range []string{dir, dir + "@tmp"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return "", err
		}
	}
	s.workspaces[dir] = true
	return dir, nil
}

func (s *Server) leaveWorkspace(dir string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.workspaces, dir)
}

// command is what Jenkins' shell step would run; without a Path where the job has no command. Its last argument
// is the script's file.
func (s *Server) command(b *build, workspace string) process.Cmd {
	job := b.job
	if job.Command == "" {
		return process.Cmd{}
	}
	script := filepath.Join(workspace+"@tmp", "jenkins"+strconv.Itoa(b.number)+".sh")
	words := []string{"/bin/sh", "-xe"}
	if first, _, _ := strings.Cut(job.Command, "\n"); strings.HasPrefix(first, "#!") {
		if own := strings.Fields(first[2:]); len(own) > 0 {
			words = own
		}
	}
	env := s.environ(b, workspace)
	if job.Script != "" {
		env = append(env, "PIPELINE_SCRIPT="+scriptFile(script))
	}
	return process.Cmd{
		Path: words[0], Args: append(words[1:], script), Dir: workspace,
		Env: env, Grace: s.options.Grace, Log: s.options.Log,
	}
}

// scriptFile is where a Pipeline's own script is put, beside the command's.
func scriptFile(command string) string { return strings.TrimSuffix(command, ".sh") + ".groovy" }

// environ is what a build's command finds: Jenkins' variables and the parameters, which come last.
func (s *Server) environ(b *build, workspace string) []string {
	env := s.options.Environ
	if env == nil {
		env = process.Environ()
	}
	n, root, name, number := b.on.node, s.rootURL(), b.item.fullName(), strconv.Itoa(b.number)
	vars := []string{
		"CI=true", "JENKINS_HOME=" + s.home, "HUDSON_HOME=" + s.home,
		"JENKINS_SERVER_COOKIE=" + s.session, "HUDSON_SERVER_COOKIE=" + s.session,
		"JENKINS_URL=" + root, "HUDSON_URL=" + root,
		"JOB_NAME=" + name, "JOB_BASE_NAME=" + b.item.name, "JOB_URL=" + root + b.item.path(),
		"BUILD_NUMBER=" + number, "BUILD_ID=" + number, "BUILD_DISPLAY_NAME=#" + number, "BUILD_URL=" + root + b.url(),
		"BUILD_TAG=jenkins-" + strings.ReplaceAll(name, "/", "-") + "-" + number,
		"NODE_NAME=" + n.Name, "NODE_LABELS=" + strings.Join(n.labels(), " "), "EXECUTOR_NUMBER=" + strconv.Itoa(b.on.at),
		"WORKSPACE=" + workspace, "WORKSPACE_TMP=" + workspace + "@tmp",
	}
	env = slices.Concat(env, s.options.Extra, vars)
	for _, v := range b.params {
		env = append(env, v.Name+"="+v.Value)
		if upper := strings.ToUpper(v.Name); upper != v.Name {
			env = append(env, upper+"="+v.Value)
		}
	}
	return env
}

// whereOf are the log's lines that say where a build runs.
func (s *Server) whereOf(b *build, workspace string) []string {
	n := b.on.node
	if b.job.kind() == Pipeline {
		name := n.Name
		if n.builtIn {
			name = "Jenkins"
		}
		return []string{"Running on " + name + " in " + workspace, "[Pipeline] {", "[Pipeline] sh"}
	}
	where := s.profile.builtInLog
	switch {
	case !n.builtIn:
		where = "Building remotely on " + n.Name
		if len(n.Labels) > 0 {
			where += " (" + strings.Join(n.Labels, " ") + ")"
		}
	case len(s.nodes) == 1:
		where = "Building"
	}
	return []string{where + " in workspace " + workspace}
}
