package jenkins

import (
	"fmt"
	"strings"
)

// The names that Jenkins and its plugins have for what a config.xml holds.
const (
	folderClass    = "com.cloudbees.hudson.plugins.folder.Folder"
	pipelineClass  = "flow-definition"
	scriptClass    = "org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition"
	librariesClass = "org.jenkinsci.plugins.workflow.libs.FolderLibraries"
	libraryClass   = "org.jenkinsci.plugins.workflow.libs.LibraryConfiguration"
	parametersOf   = "hudson.model.ParametersDefinitionProperty"
	noConcurrency  = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"
	xmlHeader      = "<?xml version='1.1' encoding='UTF-8'?>\n"
)

// Spec is a Pipeline job as it is to be, in a folder that has the shared library which its script uses.
type Spec struct {
	Path        string // folder/job: the library needs the folder
	Description string // of a new job; that of one that is there stays
	Parameters  []Parameter
	Script      string // of the Pipeline; runs in Groovy's sandbox
	Mark        string // words in the script by which a job is known as ours
	Library     Library
}

// Parameter is a string parameter, which a job declares.
type Parameter struct{ Name, Description string }

// Library is a shared library of Pipelines, in git.
type Library struct {
	Name        string // as in @Library('aibuild')
	Remote      string // address for git clone
	Version     string // branch, tag or commit
	Credentials string // id of credentials of Jenkins' for git; empty where it can be read without
	Path        string // folder in the repository, with a slash at its end
}

// folder and job are the paths of both.
func (s Spec) folder() string { return s.Path[:max(strings.LastIndexByte(s.Path, '/'), 0)] }

// FolderXML is the config.xml of a new folder with the library.
func (s Spec) FolderXML() string {
	return xmlHeader + "<" + folderClass + ">\n  <actions/>\n  <description></description>\n  <properties>\n    " +
		s.Library.property("    ") + "\n  </properties>\n</" + folderClass + ">\n"
}

// plainFolder is one above the job's.
const plainFolder = xmlHeader + "<" + folderClass + ">\n  <actions/>\n  <description></description>\n  <properties/>\n</" + folderClass + ">\n"

// JobXML is the config.xml of a new job. Jenkins would write it so itself, but for the versions of plugins.
func (s Spec) JobXML() string {
	return xmlHeader + "<" + pipelineClass + ">\n  <actions/>\n  <description>" + escapeXML(s.Description) + "</description>\n" +
		"  <keepDependencies>false</keepDependencies>\n  <properties>\n    " + s.parameters("    ") + "\n  </properties>\n  " +
		s.definition("  ") + "\n  <triggers/>\n  <disabled>false</disabled>\n</" + pipelineClass + ">\n"
}

// property is the folder's property that defines the library, with the indentation of its lines but the first.
func (l Library) property(indent string) string {
	return "<" + librariesClass + ">\n" + indent + "  <libraries>\n" + indent + "    " + l.definition(indent+"    ") + "\n" +
		indent + "  </libraries>\n" + indent + "</" + librariesClass + ">"
}

// sourceID marks a definition of a library as made here.
const sourceID = "aibuild-jenkins-setup"

func (l Library) definition(indent string) string {
	text := fmt.Sprintf(`<%s>
  <name>%s</name>
  <retriever class="org.jenkinsci.plugins.workflow.libs.SCMSourceRetriever">
    <clone>false</clone>
    <libraryPath>%s</libraryPath>
    <scm class="jenkins.plugins.git.GitSCMSource">
      <id>%s</id>
      <remote>%s</remote>
      <credentialsId>%s</credentialsId>
      <traits>
        <jenkins.plugins.git.traits.BranchDiscoveryTrait/>
        <jenkins.plugins.git.traits.TagDiscoveryTrait/>
      </traits>
    </scm>
  </retriever>
  <defaultVersion>%s</defaultVersion>
  <implicit>false</implicit>
  <allowVersionOverride>true</allowVersionOverride>
  <includeInChangesets>false</includeInChangesets>
</%[1]s>`, libraryClass, escapeXML(l.Name), escapeXML(l.Path), sourceID, escapeXML(l.Remote), escapeXML(l.Credentials), escapeXML(l.Version))
	return strings.ReplaceAll(text, "\n", "\n"+indent) // no value has lines of its own
}

func (s Spec) parameters(indent string) string {
	var out strings.Builder
	out.WriteString("<" + parametersOf + ">\n  <parameterDefinitions>\n")
	for _, p := range s.Parameters {
		fmt.Fprintf(&out, "    <hudson.model.StringParameterDefinition>\n      <name>%s</name>\n      <description>%s</description>\n"+
			"      <defaultValue></defaultValue>\n      <trim>false</trim>\n    </hudson.model.StringParameterDefinition>\n", escapeXML(p.Name), escapeXML(p.Description))
	}
	out.WriteString("  </parameterDefinitions>\n</" + parametersOf + ">")
	return strings.ReplaceAll(out.String(), "\n", "\n"+indent)
}

func (s Spec) definition(indent string) string {
	return "<definition class=\"" + scriptClass + "\">\n" + indent + "  <script>" + escapeXML(s.Script) + "</script>\n" +
		indent + "  <sandbox>true</sandbox>\n" + indent + "</definition>"
}
