package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// optionsEnv is how the steps of the shared library give options: one JSON object
// of flags' long names, and "args". So no text of theirs goes through a shell.
const optionsEnv = "AIBUILD_OPTIONS"

// withOptions adds the options of AIBUILD_OPTIONS to a command line that does not
// give them itself. What is added never leaves this process.
func (w *world) withOptions(app *cli.App, argv []string) ([]string, error) {
	text := strings.TrimSpace(w.getenv(optionsEnv))
	if text == "" || len(argv) == 0 {
		return argv, nil
	}
	options, err := readOptions(text)
	if err != nil {
		return nil, err
	}
	s := sorter{global: app.Flags, commands: app.Commands}
	command := s.read(argv)
	if len(s.path) == 0 {
		return argv, nil // it will say itself what is wrong
	}
	argv = slices.Clone(argv)
	var rest []string
	if i := slices.Index(argv, "--"); i >= 0 {
		argv, rest = argv[:i], argv[i:]
	}
	for _, name := range slices.Sorted(maps.Keys(options)) {
		if name == "args" {
			continue
		}
		flag := find(s.local, name)
		if flag == nil {
			flag = find(app.Flags, name)
		}
		if flag == nil || !slices.Contains(flag.Names(), name) || len(name) == 1 {
			return nil, usagef("%s has %q, which %s does not know; see %s --help", optionsEnv, name, command, command)
		}
		if given(argv, flag) {
			continue
		}
		words, err := asFlags(flag, name, options[name])
		if err != nil {
			return nil, err
		}
		argv = append(argv, words...)
	}
	words, err := asArguments(options["args"])
	if err != nil {
		return nil, err
	}
	if len(words) > 0 && len(s.arguments) == 0 && len(rest) < 2 {
		rest = append([]string{"--"}, words...)
	}
	return append(argv, rest...), nil
}

func readOptions(text string) (map[string]any, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var options map[string]any
	if err := d.Decode(&options); err != nil {
		return nil, usagef("%s is no JSON object: %v", optionsEnv, jsonProblem(err))
	}
	if d.More() {
		return nil, usagef("%s has more than one JSON object", optionsEnv)
	}
	for name, value := range options {
		if value == nil {
			delete(options, name)
		}
	}
	return options, nil
}

// jsonProblem is an error of the decoder without what was decoded.
func jsonProblem(err error) string {
	if at, ok := err.(*json.SyntaxError); ok { //nolint:errorlint // the decoder gives it bare
		return fmt.Sprintf("%v at byte %d", at, at.Offset)
	}
	return "it is cut, or of another form"
}

// given says whether the command line has the flag, under any of its names.
func given(argv []string, flag cli.Flag) bool {
	for _, word := range argv {
		if !strings.HasPrefix(word, "-") {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimLeft(word, "-"), "=")
		if slices.Contains(flag.Names(), name) {
			return true
		}
	}
	return false
}

// asFlags gives an option the form that it has on a command line.
func asFlags(flag cli.Flag, name string, value any) ([]string, error) {
	wrong := func(want string) error {
		return usagef("%s: %q must be %s", optionsEnv, name, want)
	}
	switch flag.(type) {
	case *cli.BoolFlag:
		on, ok := value.(bool)
		if !ok {
			return nil, wrong("true or false")
		}
		return []string{fmt.Sprintf("--%s=%t", name, on)}, nil
	case *cli.StringSliceFlag:
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		var words []string
		for _, one := range list {
			text, ok := scalar(one)
			if !ok {
				return nil, wrong("a text or a list of texts")
			}
			words = append(words, "--"+name+"="+text)
		}
		return words, nil
	}
	text, ok := scalar(value)
	if !ok {
		return nil, wrong("one text or number")
	}
	return []string{"--" + name + "=" + text}, nil
}

func scalar(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		return v.String(), true
	}
	return "", false
}

func asArguments(value any) ([]string, error) {
	if value == nil {
		return nil, nil
	}
	list, ok := value.([]any)
	var words []string
	for _, one := range list {
		text, isText := scalar(one)
		ok = ok && isText
		words = append(words, text)
	}
	if !ok {
		return nil, usagef(`%s: "args" must be a list of texts`, optionsEnv)
	}
	return words, nil
}

// read files the words of a command line away and gives the command's path.
func (s *sorter) read(argv []string) string {
	for i := 1; i < len(argv); i++ {
		word := argv[i]
		switch {
		case word == "--":
			return strings.Join(append([]string{"aibuild"}, s.path...), " ")
		case strings.HasPrefix(word, "-") && word != "-":
			if s.flag(word) && i+1 < len(argv) {
				i++
				s.value(argv[i])
			}
		default:
			s.word(word)
		}
	}
	return strings.Join(append([]string{"aibuild"}, s.path...), " ")
}
