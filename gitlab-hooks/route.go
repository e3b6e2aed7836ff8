package hooks

import (
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Events that are taken; all others are ignored.
const (
	eventPush = "push"
	eventTag  = "tag_push"
)

// systemHook is X-Gitlab-Event of every hook of the whole instance.
const systemHook = "System Hook"

// routing is all that is read of a body before the answer. A field whose value
// is of another kind than GitLab's counts as missing.
type routing struct {
	kind, name         string // object_kind, event_name
	project            string // project.path_with_namespace
	projectID          string // as it is written
	ref, before, after string
	actor              string
}

// decode reads the routing fields. It fails for what is no JSON, and for JSON
// that says one of these fields twice, as readers differ in which one counts.
func decode(body []byte) (routing, error) {
	var r routing
	s := scanner{data: body}
	var err error
	if s.peek() == '{' {
		err = r.read(&s)
	} else {
		err = s.skip()
	}
	if err == nil {
		err = s.end()
	}
	if err != nil {
		return routing{}, err
	}
	return r, nil
}

func (r *routing) read(s *scanner) error {
	var seen fields
	var user, person string
	err := s.object(func(key []byte) error {
		switch string(key) {
		case "object_kind":
			return seen.text(s, 0, &r.kind)
		case "event_name":
			return seen.text(s, 1, &r.name)
		case "ref":
			return seen.text(s, 2, &r.ref)
		case "before":
			return seen.text(s, 3, &r.before)
		case "after":
			return seen.text(s, 4, &r.after)
		case "project_id":
			raw, err := s.raw()
			r.projectID = string(raw[:min(len(raw), 20)]) // one digit more than the largest number has
			return seen.once(5, err)
		case "project":
			return seen.once(6, r.readProject(s))
		case "user_username":
			return seen.text(s, 7, &user)
		case "user_name":
			return seen.text(s, 8, &person)
		}
		return s.skip()
	})
	if r.actor = clean(user); r.actor == "" {
		r.actor = clean(person)
	}
	return err
}

func (r *routing) readProject(s *scanner) error {
	if s.peek() != '{' {
		return s.skip()
	}
	var seen fields
	return s.object(func(key []byte) error {
		if string(key) == "path_with_namespace" {
			return seen.text(s, 0, &r.project)
		}
		return s.skip()
	})
}

// fields are those that were met.
type fields uint16

func (f *fields) once(field int, err error) error {
	if err == nil && *f>>field&1 == 1 {
		return errMalformed
	}
	*f |= 1 << field
	return err
}

func (f *fields) text(s *scanner, field int, to *string) error {
	value, ok, err := s.text()
	if ok {
		*to = value
	}
	return f.once(field, err)
}

// clean is a name for lists and logs: one line that its column holds.
func clean(name string) string {
	name = strings.TrimSpace(strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return -1
		}
		return c
	}, name))
	for n := range name {
		if utf8.RuneCountInString(name[:n]) == 255 {
			return name[:n]
		}
	}
	return name
}

// known are the events of GitLab that a reason may name. Nothing else of a body
// is ever repeated in an answer.
var known = map[string]bool{
	"access_token": true, "build": true, "deployment": true, "emoji": true, "feature_flag": true, "issue": true, "member": true,
	"merge_request": true, "milestone": true, "note": true, "pipeline": true, "project_create": true, "project_destroy": true,
	"project_rename": true, "project_transfer": true, "project_update": true, "release": true, "repository_update": true,
	"vulnerability": true, "wiki_page": true, "work_item": true,
}

// ignored is a delivery that is none of ours.
type ignored struct {
	class  string // bounded, for Stats
	reason string
}

func (i *ignored) Error() string { return i.reason }

// Classes of what is ignored.
const (
	otherEvent    = "event"
	otherTemplate = "template"
	otherProject  = "project"
)

// event says which of our events the body is, or why it is none. Hooks of the
// whole instance tell it in event_name alone.
func (r *routing) event(system bool) (string, error) {
	kind := r.kind
	if system {
		kind = r.name
	}
	switch {
	case kind == eventPush || kind == eventTag:
	case kind == "" && (system || r.name == ""):
		return "", template("object_kind")
	default:
		name := "this event"
		for _, word := range []string{kind, r.name} {
			if known[word] {
				name = "event " + word
				break
			}
		}
		return "", &ignored{otherEvent, name + " starts nothing; only push and tag_push do"}
	}
	if r.name != "" && r.name != kind {
		return "", template("one event")
	}
	if field := r.unusable(kind); field != "" {
		return "", template(field)
	}
	return kind, nil
}

func template(field string) error {
	return &ignored{otherTemplate, "no " + field + " as gitlab itself writes it; the webhook has a custom template: remove it, as object_kind, project_id, project.path_with_namespace, ref, before and after are needed"}
}

var objectID = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// unusable names the first field that cannot be relied on.
func (r *routing) unusable(kind string) string {
	prefix := "refs/heads/"
	if kind == eventTag {
		prefix = "refs/tags/"
	}
	id, err := strconv.ParseInt(r.projectID, 10, 64)
	switch {
	case err != nil || id <= 0 || r.projectID[0] == '+':
		return "project_id"
	case r.project == "" || utf8.RuneCountInString(r.project) > 255:
		return "project.path_with_namespace"
	case !strings.HasPrefix(r.ref, prefix) || !validRef(r.ref):
		return "ref"
	case !objectID.MatchString(r.before):
		return "before"
	case !objectID.MatchString(r.after), len(r.before) != len(r.after), none(r.before) && none(r.after):
		return "after"
	}
	return ""
}

// none says that an object id stands for no object: the ref is new, or gone.
func none(id string) bool { return strings.Trim(id, "0") == "" }

// validRef says what `git check-ref-format` would, and that the inbox can hold
// it.
func validRef(ref string) bool {
	if utf8.RuneCountInString(ref) > 1024 || !utf8.ValidString(ref) || strings.Contains(ref, "..") || strings.Contains(ref, "@{") || strings.HasSuffix(ref, ".") {
		return false
	}
	for _, part := range strings.Split(ref, "/") {
		if part == "" || part[0] == '.' || strings.HasSuffix(part, ".lock") {
			return false
		}
	}
	return !strings.ContainsFunc(ref, func(c rune) bool { return c < ' ' || c == 0x7f || strings.ContainsRune(" ~^:?*[\\", c) })
}
