package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/guestos/aibuild/jenkins"
)

// printJenkins prints what people put in by themselves.
func (w *world) printJenkins(what string, specs []jenkins.Spec) error {
	text := ""
	switch what {
	case "config.xml", "folder.xml":
		if len(specs) > 1 {
			return usagef("aibuild jenkins setup --print %s: the configuration has %d jobs; name one with --job", what, len(specs))
		}
		if text = specs[0].JobXML(); what == "folder.xml" {
			text = specs[0].FolderXML()
		}
	case "jcasc":
		text = jcasc(specs)
	case "permissions":
		text = jenkinsPermissions(specs)
	default:
		return usagef("aibuild jenkins setup --print %s: print config.xml, folder.xml, jcasc or permissions", what)
	}
	_, err := io.WriteString(w.stdout, text)
	return err
}

// folders are those above jobs, each once, the outer ones first, and whether a
// job is in them.
func folders(specs []jenkins.Spec) (paths []string, holds map[string]bool) {
	holds = map[string]bool{}
	for _, s := range specs {
		for at, char := range s.Path {
			if folder := s.Path[:at]; char == '/' && !slices.Contains(paths, folder) {
				paths = append(paths, folder)
			}
		}
		holds[s.Path[:max(strings.LastIndexByte(s.Path, '/'), 0)]] = true
	}
	slices.Sort(paths)
	return paths, holds
}

// jcasc makes the same by Jenkins' plugins Configuration as Code and Job DSL.
func jcasc(specs []jenkins.Spec) string {
	var out strings.Builder
	out.WriteString("# For Jenkins' plugin configuration-as-code, with job-dsl; printed by aibuild jenkins setup.\njobs:\n")
	script := func(text string) {
		out.WriteString("  - script: |\n      " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n      ") + "\n")
	}
	paths, holds := folders(specs)
	for _, path := range paths {
		if !holds[path] {
			script("folder(" + groovyText(path) + ")")
			continue
		}
		script(dslFolder(path, specs[0].Library))
	}
	for _, s := range specs {
		script(dslJob(s))
	}
	return out.String()
}

func dslFolder(path string, l jenkins.Library) string {
	credentials := ""
	if l.Credentials != "" {
		credentials = "credentialsId(" + groovyText(l.Credentials) + ")\n                  "
	}
	return fmt.Sprintf(`folder(%s) {
  properties {
    folderLibraries {
      libraries {
        libraryConfiguration {
          name(%s)
          defaultVersion(%s)
          implicit(false)
          allowVersionOverride(true)
          includeInChangesets(false)
          retriever {
            modernSCM {
              libraryPath(%s)
              scm {
                git {
                  remote(%s)
                  %straits {
                    gitBranchDiscovery()
                    gitTagDiscovery()
                  }
                }
              }
            }
          }
        }
      }
    }
  }
}`, groovyText(path), groovyText(l.Name), groovyText(l.Version), groovyText(l.Path), groovyText(l.Remote), credentials)
}

func dslJob(s jenkins.Spec) string {
	var parameters strings.Builder
	for _, p := range s.Parameters {
		fmt.Fprintf(&parameters, "    stringParam(%s, '', %s)\n", groovyText(p.Name), groovyText(p.Description))
	}
	return fmt.Sprintf("pipelineJob(%s) {\n  description(%s)\n  parameters {\n%s  }\n  definition {\n    cps {\n      script(%s)\n      sandbox(true)\n    }\n  }\n}",
		groovyText(s.Path), groovyText(s.Description), parameters.String(), groovyText(s.Script))
}

// groovyText is a text in Groovy's single quotes, which expand nothing.
func groovyText(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\n", `\n`, "\r", `\r`).Replace(text) + "'"
}

// jenkinsPermissions lists who needs which permission where.
func jenkinsPermissions(specs []jenkins.Spec) string {
	var out strings.Builder
	out.WriteString("the daemon's user (jenkins.user, JENKINS_USER)\n  everywhere: Overall/Read\n")
	_, holds := folders(specs)
	var with []string
	for path := range holds {
		with = append(with, path)
	}
	slices.Sort(with)
	for _, path := range with {
		fmt.Fprintf(&out, "  folder %s: Job/Read, Job/Build, Job/Cancel\n", path)
	}
	out.WriteString("the user of aibuild jenkins setup (JENKINS_SETUP_USER), who is not needed after it\n" +
		"  everywhere: Overall/Read; Overall/SystemRead too, if it is to say which plugins are missing\n")
	for _, path := range with {
		above := "everywhere"
		if cut := strings.LastIndexByte(path, '/'); cut > 0 {
			above = "folder " + path[:cut]
		}
		fmt.Fprintf(&out, "  %s: Job/Create and Job/Read, as long as there is no folder %s\n  folder %[2]s: Job/Read, Job/Create, Job/Configure\n", above, path)
	}
	return out.String()
}
