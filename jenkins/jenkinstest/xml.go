package jenkinstest

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// projectXML is what the stand-in understands of a job's config.xml.
type projectXML struct {
	XMLName     xml.Name
	Description string `xml:"description"`
	Disabled    bool   `xml:"disabled"`
	Concurrent  *bool  `xml:"concurrentBuild"`
	CanRoam     *bool  `xml:"canRoam"`
	Label       string `xml:"assignedNode"`
	Quiet       *int   `xml:"quietPeriod"`
	Script      string `xml:"definition>script"`
	Properties  struct {
		Definitions struct {
			Parameters []parameterXML `xml:",any"`
		} `xml:"hudson.model.ParametersDefinitionProperty>parameterDefinitions"`
		NoConcurrent *struct {
			AbortPrevious bool `xml:"abortPrevious"`
		} `xml:"org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"`
	} `xml:"properties"`
	Shells []struct {
		Command        string `xml:"command"`
		UnstableReturn int    `xml:"unstableReturn"`
	} `xml:"builders>hudson.tasks.Shell"`
}

type parameterXML struct {
	XMLName     xml.Name
	Name        string   `xml:"name"`
	Description string   `xml:"description"`
	Default     string   `xml:"defaultValue"`
	Trim        bool     `xml:"trim"`
	Choices     []string `xml:"choices>a>string"`
	ChoicesList []string `xml:"choices>string"`
}

// xmlHeader: Jenkins writes XML 1.1, which Go's decoder does not read.
var xmlHeader = regexp.MustCompile(`^\s*<\?xml[^>]*\?>`)

// parseConfig reads a config.xml. A folder gives folder = true.
func parseConfig(path string, config []byte) (job Job, folder bool, err error) {
	var p projectXML
	if err := xml.Unmarshal(xmlHeader.ReplaceAll(config, nil), &p); err != nil {
		return Job{}, false, err
	}
	job = Job{Path: path, Description: p.Description, Disabled: p.Disabled}
	switch p.XMLName.Local {
	case folderClass:
		return job, true, nil
	case "project":
		job.Kind, job.Concurrent = Freestyle, p.Concurrent != nil && *p.Concurrent
	case "flow-definition":
		job.Kind, job.Concurrent = Pipeline, p.Properties.NoConcurrent == nil
		job.Script = p.Script
		job.AbortPrevious = !job.Concurrent && p.Properties.NoConcurrent.AbortPrevious
	default:
		return Job{}, false, fmt.Errorf("com.thoughtworks.xstream.mapper.CannotResolveClassException: %s", p.XMLName.Local)
	}
	if p.CanRoam == nil || !*p.CanRoam {
		job.Label = p.Label
	}
	if p.Quiet != nil {
		quiet := time.Duration(*p.Quiet) * time.Second
		job.QuietPeriod = &quiet
	}
	var commands []string
	for _, shell := range p.Shells {
		commands = append(commands, shell.Command)
		job.UnstableReturn = max(job.UnstableReturn, shell.UnstableReturn)
	}
	job.Command = strings.Join(commands, "\n")
	for _, x := range p.Properties.Definitions.Parameters {
		parameter, err := x.parameter()
		if err != nil {
			return Job{}, false, err
		}
		job.Parameters = append(job.Parameters, parameter)
	}
	return job, false, job.check()
}

func (x parameterXML) parameter() (Parameter, error) {
	for kind, class := range parameterClasses {
		if x.XMLName.Local == "hudson.model."+class.definition {
			return Parameter{Name: x.Name, Type: kind, Default: x.Default, Description: x.Description, Trim: x.Trim,
				Choices: append(x.Choices, x.ChoicesList...)}, nil
		}
	}
	return Parameter{}, fmt.Errorf("com.thoughtworks.xstream.mapper.CannotResolveClassException: %s", x.XMLName.Local)
}

// xml is the item's config.xml: as it was sent, or made from the job.
func (it *item) xml() string {
	if it.config != "" {
		return it.config
	}
	var out strings.Builder
	out.WriteString("<?xml version='1.1' encoding='UTF-8'?>\n")
	if it.isFolder() {
		out.WriteString("<" + folderClass + ">\n  <description></description>\n  <properties/>\n</" + folderClass + ">")
		return out.String()
	}
	job, root := it.job, "project"
	if job.kind() == Pipeline {
		root = "flow-definition"
	}
	fmt.Fprintf(&out, "<%s>\n  <actions/>\n  <description>%s</description>\n  <keepDependencies>false</keepDependencies>\n  <properties>\n%s  </properties>\n",
		root, escapeXML(job.Description), job.propertiesXML())
	if job.QuietPeriod != nil {
		fmt.Fprintf(&out, "  <quietPeriod>%d</quietPeriod>\n", int(*job.QuietPeriod/time.Second))
	}
	if job.kind() == Freestyle {
		job.projectXML(&out)
	} else {
		out.WriteString("  <definition class=\"org.jenkinsci.plugins.workflow.cps.CpsFlowDefinition\">\n    <script>" + escapeXML(job.Script) +
			"</script>\n    <sandbox>true</sandbox>\n  </definition>\n  <triggers/>\n")
	}
	fmt.Fprintf(&out, "  <disabled>%t</disabled>\n</%s>", job.Disabled, root)
	return out.String()
}

func (j Job) projectXML(out *strings.Builder) {
	out.WriteString("  <scm class=\"hudson.scm.NullSCM\"/>\n")
	if j.Label != "" {
		fmt.Fprintf(out, "  <assignedNode>%s</assignedNode>\n", escapeXML(j.Label))
	}
	fmt.Fprintf(out, "  <canRoam>%t</canRoam>\n  <triggers/>\n  <concurrentBuild>%t</concurrentBuild>\n  <builders>\n", j.Label == "", j.Concurrent)
	if j.Command != "" {
		unstable := ""
		if j.UnstableReturn != 0 {
			unstable = "      <unstableReturn>" + strconv.Itoa(j.UnstableReturn) + "</unstableReturn>\n"
		}
		fmt.Fprintf(out, "    <hudson.tasks.Shell>\n      <command>%s</command>\n%s    </hudson.tasks.Shell>\n", escapeXML(j.Command), unstable)
	}
	out.WriteString("  </builders>\n  <publishers/>\n  <buildWrappers/>\n")
}

func (j Job) propertiesXML() string {
	var out strings.Builder
	if j.kind() == Pipeline && !j.Concurrent {
		const property = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"
		fmt.Fprintf(&out, "    <%s>\n      <abortPrevious>%t</abortPrevious>\n    </%[1]s>\n", property, j.AbortPrevious)
	}
	if len(j.Parameters) == 0 {
		return out.String()
	}
	out.WriteString("    <hudson.model.ParametersDefinitionProperty>\n      <parameterDefinitions>\n")
	for _, p := range j.Parameters {
		class := "hudson.model." + parameterClasses[p.kind()].definition
		fmt.Fprintf(&out, "        <%s>\n          <name>%s</name>\n          <description>%s</description>\n", class, escapeXML(p.Name), escapeXML(p.Description))
		if p.kind() == "choice" {
			out.WriteString("          <choices class=\"java.util.Arrays$ArrayList\">\n            <a class=\"string-array\">\n")
			for _, choice := range p.Choices {
				out.WriteString("              <string>" + escapeXML(choice) + "</string>\n")
			}
			out.WriteString("            </a>\n          </choices>\n")
		} else {
			fmt.Fprintf(&out, "          <defaultValue>%s</defaultValue>\n          <trim>%t</trim>\n", escapeXML(p.Default), p.Trim)
		}
		fmt.Fprintf(&out, "        </%s>\n", class)
	}
	out.WriteString("      </parameterDefinitions>\n    </hudson.model.ParametersDefinitionProperty>\n")
	return out.String()
}

func escapeXML(text string) string {
	var out strings.Builder
	_ = xml.EscapeText(&out, []byte(text)) // a Builder never fails
	return out.String()
}
