package hooks

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/guestos/aibuild/aibuild/definition"
)

// load gives a definition or what is wrong with it. An error is git's.
func (w *comparison) load(t *tree, d outline, in inputs) (*definition.Definition, string, error) {
	if why := badFolder(d.folder); why != "" {
		return nil, why, nil
	}
	if in.odd != "" {
		return nil, fmt.Sprintf("%s: the name is not UTF-8; rename the file", quoted(in.odd)), nil
	}
	def, err := definition.Load(t, d.folder)
	if w.objects.err != nil {
		return nil, "", w.objects.err
	}
	var problems definition.Errors
	switch {
	case errors.As(err, &problems):
		return nil, problemText(problems), nil
	case err != nil: // the content's fault: git could give all that was asked
		return nil, cut(quoted(d.folder)+": "+err.Error(), maxProblem), nil
	}
	return def, "", nil
}

const (
	maxProblem = 30_000 // bytes
	maxFolder  = 1000   // characters
)

// problemText lists the problems of a definition, as far as a record holds them.
func problemText(problems definition.Errors) string {
	const most = 50
	rest := ""
	if len(problems) > most {
		rest = fmt.Sprintf("\nand %d more", len(problems)-most)
		problems = problems[:most]
	}
	return cut(problems.Error(), maxProblem) + rest
}

// cut keeps a text to so many bytes, and says so.
func cut(text string, most int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// storable is a folder in the form in which it can be recorded. One that this changes is refused, too.
func storable(folder string) string {
	folder = strings.ToValidUTF8(folder, "\uFFFD")
	if runes := []rune(folder); len(runes) > maxFolder {
		return string(runes[:maxFolder]) + "…"
	}
	return folder
}

// badFolder refuses folders that could not be handed on: to the database, to Jenkins, and to a command line.
func badFolder(folder string) string {
	switch {
	case !utf8.ValidString(folder):
		return quoted(folder) + ": the folder's name is not UTF-8; rename it"
	case utf8.RuneCountInString(folder) > maxFolder:
		return fmt.Sprintf("%s: the folder's name has more than %d characters; shorten it", quoted(folder), maxFolder)
	case !fs.ValidPath(folder), slices.ContainsFunc(steps(folder), func(step string) bool { return strings.EqualFold(step, ".git") }):
		return quoted(folder) + ": git checks out no such folder; rename it"
	case strings.ContainsFunc(folder, unicode.IsControl):
		return quoted(folder) + ": the folder's name holds control characters; rename it"
	case strings.HasPrefix(folder, "-"):
		return quoted(folder) + ": the folder's name begins like an option; rename it"
	}
	return ""
}
