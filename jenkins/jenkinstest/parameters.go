package jenkinstest

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// value is a parameter's value in a queue item or a build.
type value struct {
	Name, Type, Value string
}

// parameterClasses are the Java classes of definitions and values, and the fewest words of config.xml.
var parameterClasses = map[string]struct{ definition, value string }{
	"string":   {"StringParameterDefinition", "StringParameterValue"},
	"text":     {"TextParameterDefinition", "TextParameterValue"},
	"boolean":  {"BooleanParameterDefinition", "BooleanParameterValue"},
	"choice":   {"ChoiceParameterDefinition", "StringParameterValue"},
	"password": {"PasswordParameterDefinition", "PasswordParameterValue"},
}

// values makes the values of a trigger's form: undeclared names are dropped, missing ones get their default.
// Whatever is wrong with one is an exception that nobody catches, as it is in Jenkins.
func (j Job) values(form url.Values) ([]value, error) {
	var all []value
	for _, p := range j.Parameters {
		given, there := form[p.Name]
		if !there {
			all = append(all, p.defaultValue())
			continue
		}
		if len(given) != 1 {
			return nil, thrown(fmt.Sprintf("java.lang.IllegalArgumentException: Illegal number of parameter values for %s: %d", p.Name, len(given)))
		}
		v, err := p.value(given[0])
		if err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, nil
}

func (p Parameter) defaultValue() value {
	v := value{p.Name, p.kind(), p.Default}
	switch p.kind() {
	case "choice":
		v.Value = p.Choices[0]
	case "boolean":
		v.Value = boolean(p.Default)
	}
	return v
}

func (p Parameter) value(text string) (value, error) {
	switch p.kind() {
	case "choice":
		if !slices.Contains(p.Choices, text) {
			return value{}, thrown("java.lang.IllegalArgumentException: Illegal choice for parameter " + p.Name + ": " + text)
		}
	case "boolean":
		text = boolean(text)
	case "string":
		if p.Trim {
			text = strings.TrimSpace(text)
		}
	}
	return value{p.Name, p.kind(), text}, nil
}

// boolean is Java's Boolean.parseBoolean.
func boolean(text string) string {
	if strings.EqualFold(text, "true") {
		return "true"
	}
	return "false"
}

// sameValues compares two sets of values; their order does not count.
func sameValues(a, b []value) bool {
	in := func(all []value) func(value) bool { return func(v value) bool { return slices.Contains(all, v) } }
	return len(a) == len(b) && !slices.ContainsFunc(a, not(in(b))) && !slices.ContainsFunc(b, not(in(a)))
}

func not(f func(value) bool) func(value) bool { return func(v value) bool { return !f(v) } }

// described lists values as a queue item's "params" does.
func described(values []value) string {
	var out strings.Builder
	for _, v := range values {
		text := v.Value
		if v.Type == "password" {
			text = "****"
		}
		out.WriteString("\n" + v.Name + "=" + text)
	}
	return out.String()
}

func (v value) bean() *bean {
	b := (&bean{class: "hudson.model." + parameterClasses[v.Type].value}).putAt("name", 3, v.Name)
	switch v.Type {
	case "password":
	case "boolean":
		b.putAt("value", 4, v.Value == "true")
	default:
		b.putAt("value", 4, v.Value)
	}
	return b
}

func parametersAction(values []value) *bean {
	var all []any
	for _, v := range values {
		all = append(all, v.bean())
	}
	return (&bean{class: "hudson.model.ParametersAction"}).putAt("parameters", 2, all)
}

func (p Parameter) bean() *bean {
	class := parameterClasses[p.kind()].definition
	b := (&bean{class: "hudson.model." + class}).
		putAt("defaultParameterValue", 3, p.defaultValue().bean()).
		putAt("description", 3, p.Description).
		putAt("name", 3, p.Name).
		putAt("type", 3, class)
	if p.kind() == "choice" {
		b.putAt("choices", 3, list(p.Choices))
	}
	return b
}

// definitions is the property of a parameterized job, which is also one of its actions.
func (j Job) definitions() *bean {
	var all []any
	for _, p := range j.Parameters {
		all = append(all, p.bean())
	}
	return (&bean{class: "hudson.model.ParametersDefinitionProperty"}).putAt("parameterDefinitions", 2, all)
}
