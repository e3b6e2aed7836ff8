package main

import (
	"strings"

	"github.com/urfave/cli/v2"
)

// reorder puts flags before arguments, as the library stops reading flags at
// the first argument, and global flags before the command. What follows -- is
// left alone.
func reorder(app *cli.App, argv []string) []string {
	if len(argv) == 0 {
		return argv
	}
	s := sorter{global: app.Flags, commands: app.Commands}
	for i := 1; i < len(argv); i++ {
		word := argv[i]
		switch {
		case word == "--":
			s.rest = argv[i:]
			i = len(argv)
		case strings.HasPrefix(word, "-") && word != "-":
			if s.flag(word) && i+1 < len(argv) {
				i++
				s.value(argv[i])
			}
		default:
			s.word(word)
		}
	}
	out := append([]string{argv[0]}, s.globals...)
	out = append(append(out, s.path...), s.flags...)
	return append(append(out, s.arguments...), s.rest...)
}

type sorter struct {
	global   []cli.Flag
	commands []*cli.Command // that may follow
	local    []cli.Flag     // of the command reached

	globals, path, flags, arguments, rest []string
	last                                  *[]string // list of the flag whose value follows
}

// flag files a flag away and says whether its value is the next word.
func (s *sorter) flag(word string) bool {
	name, _, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
	s.last = &s.flags
	known := find(s.local, name)
	if known == nil {
		if known = find(s.global, name); known != nil || len(s.path) == 0 {
			s.last = &s.globals
		}
	}
	*s.last = append(*s.last, word)
	if known == nil || hasValue {
		return false
	}
	_, isBool := known.(*cli.BoolFlag)
	return !isBool
}

func find(flags []cli.Flag, name string) cli.Flag {
	for _, f := range flags {
		for _, n := range f.Names() {
			if n == name {
				return f
			}
		}
	}
	return nil
}

func (s *sorter) value(word string) { *s.last = append(*s.last, word) }

// word is a command as long as commands may follow, then an argument.
func (s *sorter) word(word string) {
	if len(s.arguments) == 0 {
		for _, c := range s.commands {
			if c.HasName(word) {
				s.path = append(s.path, word)
				s.commands, s.local = c.Subcommands, c.Flags
				return
			}
		}
	}
	s.arguments = append(s.arguments, word)
}
