package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"
)

// manText is what the manual page says before it comes to the commands.
const manText = `An image is a folder in git: aibuild.yaml says what it is, Packer's own template builds it, each executable in tests/ is a
test case that runs in the guest. aibuild builds it with Packer on QEMU, boots and tests it as OpenStack would boot it,
publishes it on a web server, releases it to the Glance of every cluster, and keeps its whole story in MySQL or MariaDB.
**aibuild serve** is the daemon that GitLab's pushes start builds through, in Jenkins.

Results go to stdout, alone; everything else to stderr.

# EXIT STATUS

0: ok; 1: infrastructure, try again; 2: usage or configuration; 3: the image or its template failed; 4: not found; 5: refused
by a rule; 130 and 143: cancelled.

# ENVIRONMENT

**AIBUILD_CONFIG**: the configuration file. **AIBUILD_DATA**: state, work folders, caches. **AIBUILD_DSN**, **AIBUILD_DSN_FILE**:
the database. **AIBUILD_WEB_ROOT**, **AIBUILD_WEB_URL**: the web server. **OS_CLIENT_CONFIG_FILE**: clouds.yaml.
**AIBUILD_SERVER**, **AIBUILD_TOKEN_FILE**, **AIBUILD_CA_FILE**: a daemon to speak to instead of the database.
Every key of the configuration names its variable, in aibuild-config.yaml. In a Jenkins build, Jenkins' own variables, its
GitLab plugin's and git's are read too.

# FILES

/etc/aibuild/aibuild-config.yaml: the configuration.
`

// man prints the manual page, which is made from the commands themselves.
func (w *world) man(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	app := w.app()
	app.Description = manText
	withUsage(app.Name, app.Commands)
	page, err := app.ToManWithSection(1)
	if err != nil {
		return fmt.Errorf("manual page: %w", err)
	}
	_, err = io.WriteString(w.stdout, page)
	return err
}

// withUsage says what arguments commands take, which the page leaves out.
func withUsage(above string, commands []*cli.Command) {
	for _, c := range commands {
		name := above + " " + c.Name
		if c.UsageText == "" && len(c.Subcommands) == 0 {
			c.UsageText = strings.TrimSpace(name + " [OPTIONS] " + c.ArgsUsage)
		}
		withUsage(name, c.Subcommands)
	}
}
