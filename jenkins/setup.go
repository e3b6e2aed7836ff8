package jenkins

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Change is a folder or job that is to be made, or to be changed.
type Change struct {
	Path   string
	New    bool
	Before string // its config.xml; empty of what is new
	After  string
}

// Plan compares what Jenkins has with a Spec and says what is to be done, in order; nothing when all is as it is to be.
// Of a job that is there, parameters, concurrency and script are made as the Spec has them, and everything else stays; of
// a folder only the library is. What is not known as made here is an ErrForeign, unless force is set. Jenkins is only
// read, which needs Job/Configure where there is something already.
func (c Client) Plan(ctx context.Context, s Spec, force bool) ([]Change, error) {
	const op = "plan the setup of a job"
	if _, err := c.jobPath(op, s.Path); err != nil {
		return nil, err
	}
	if s.folder() == "" {
		return nil, &Error{Op: op, Reason: ErrConfig, Detail: fmt.Sprintf("the job %q is in no folder", s.Path),
			Hint: "give a path with a folder, as aibuild/build: the shared library is defined in the folder"}
	}
	var changes []Change
	missing := false // a folder is, and so is everything below
	for at, char := range s.Path + "/" {
		if char != '/' {
			continue
		}
		change, err := c.plan(ctx, s, s.Path[:at], missing, force)
		if err != nil {
			return nil, err
		}
		if change != nil {
			changes = append(changes, *change)
			missing = missing || change.New
		}
	}
	return changes, nil
}

// plan is the change of one item; nil for none.
func (c Client) plan(ctx context.Context, s Spec, path string, missing, force bool) (*Change, error) {
	fresh := map[string]string{s.Path: s.JobXML(), s.folder(): s.FolderXML()}[path]
	if fresh == "" {
		fresh = plainFolder
	}
	have, err := "", error(nil)
	if !missing {
		have, err = c.configXML(ctx, path)
	}
	if errors.Is(err, ErrNotFound) || missing {
		return &Change{Path: path, New: true, After: fresh}, nil
	}
	if err != nil {
		return nil, err
	}
	root, err := readXML(have)
	if err != nil {
		return nil, &Error{Op: "read the configuration of " + path, URL: c.base(), Status: http.StatusOK, Reason: ErrProtocol,
			Detail: "its config.xml cannot be read: " + err.Error(), Hint: urlHint, Err: err}
	}
	after := have
	switch {
	case path == s.Path:
		after, err = s.changedJob(have, root, force)
	case root.name != folderClass:
		err = foreign(path, "it is no folder, but "+root.name, "give the job a path in a folder, by jenkins.job or --job")
	case path == s.folder():
		after, err = s.Library.changedFolder(path, have, root, force)
	}
	if err != nil || after == have {
		return nil, err
	}
	return &Change{Path: path, Before: have, After: after}, nil
}

const forceHint = "look at it with --dry-run --force; with --force it is replaced"

func foreign(path, what, hint string) *Error {
	return &Error{Op: "set up " + path, Reason: ErrForeign, Detail: what, Hint: hint}
}

// changedJob is the config.xml of a job that is there.
func (s Spec) changedJob(have string, root *element, force bool) (string, error) {
	if root.name != pipelineClass {
		return "", foreign(s.Path, "it is no Pipeline, but "+root.name, "rename or delete it in jenkins, or give the job another path")
	}
	definition, properties := root.child("definition"), root.child("properties")
	if properties == nil {
		return "", foreign(s.Path, "it has no properties in its config.xml", "save the job once in its page in jenkins, then try again")
	}
	if script := definition.value("script"); !force && !strings.Contains(script, s.Mark) {
		return "", foreign(s.Path, "aibuild jenkins setup did not make it", forceHint)
	}
	var todo []splice
	change := func(in, old *element, text func(indent string) string) {
		indent := indentation(have, in.open) + "  "
		if wanted, err := readXML(text("")); err == nil && old.covers(wanted, "parameterDefinitions") {
			return
		}
		if old == nil {
			todo = append(todo, in.added(have, text(indent)))
			return
		}
		todo = append(todo, old.instead(text(indentation(have, old.open))))
	}
	change(properties, properties.child(parametersOf), s.parameters)
	change(root, definition, s.definition)
	for _, limit := range []*element{properties.child(noConcurrency), root.child("concurrentBuild")} {
		if limit != nil && (limit.name == noConcurrency || lines(limit.text) == "false") {
			todo = append(todo, limit.removed(have))
		}
	}
	return spliced(have, todo...), nil
}

// changedFolder is the config.xml of a folder that is there.
func (l Library) changedFolder(path, have string, root *element, force bool) (string, error) {
	properties := root.child("properties")
	if properties == nil {
		return "", foreign(path, "it has no properties in its config.xml", "save the folder once in its page in jenkins, then try again")
	}
	property := properties.child(librariesClass)
	if property == nil {
		return spliced(have, properties.added(have, l.property(indentation(have, properties.open)+"  "))), nil
	}
	libraries := property.child("libraries")
	if libraries == nil || libraries.child("a") != nil { // another kind of list
		return "", foreign(path, "its shared libraries are written in an unusual way", "save the folder once in its page in jenkins, then try again")
	}
	for _, one := range libraries.children {
		if one.value("name") != l.Name {
			continue
		}
		// The id only says who has made it.
		wanted, err := readXML(strings.Replace(l.definition(""), "<id>"+sourceID+"</id>", "", 1))
		if err == nil && one.covers(wanted) {
			return have, nil
		}
		if ours := one.child("retriever").child("scm").value("id") == sourceID; !ours && !force {
			return "", foreign(path, "it has a shared library "+l.Name+" that aibuild jenkins setup did not make", forceHint)
		}
		return spliced(have, one.instead(l.definition(indentation(have, one.open)))), nil
	}
	return spliced(have, libraries.added(have, l.definition(indentation(have, libraries.open)+"  "))), nil
}

// configXML reads the configuration of a folder or job, which needs Job/Configure.
func (c Client) configXML(ctx context.Context, path string) (string, error) {
	op := "read the configuration of " + path
	at, err := c.jobPath(op, path)
	if err != nil {
		return "", err
	}
	r := request{op: op, method: http.MethodGet, path: at + "config.xml", missing: jobHint}
	got, err := c.send(ctx, r)
	switch {
	case err != nil:
		return "", err
	case got.status != http.StatusOK:
		return "", c.refusal(ctx, r, got)
	case !strings.Contains(got.header.Get("Content-Type"), "xml"):
		return "", &Error{Op: op, URL: c.base(), Status: got.status, Reason: ErrProtocol, Detail: "the answer is not xml: " + c.said(got), Hint: urlHint}
	}
	return got.body, nil
}

// Apply makes a Change, if nobody else has changed the item since it was planned. What is new needs Job/Create in the
// folder above, other changes need Job/Configure.
func (c Client) Apply(ctx context.Context, change Change) error {
	r, err := c.applying(change)
	if err != nil {
		return err
	}
	if !change.New {
		now, err := c.configXML(ctx, change.Path)
		if err != nil {
			return err
		}
		if now != change.Before {
			return &Error{Op: r.op, URL: c.base(), Reason: ErrRefused, Detail: "somebody has just changed it", Hint: "try again"}
		}
	}
	got, err := c.send(ctx, r)
	if err != nil {
		return err
	}
	// Neither answer has a body, or any header of Jenkins' own.
	if got.status == http.StatusOK && got.body == "" {
		return nil
	}
	return c.refusedConfig(ctx, r, got)
}

func (c Client) applying(change Change) (request, error) {
	if !change.New {
		op := "change " + change.Path
		at, err := c.jobPath(op, change.Path)
		return request{op: op, method: http.MethodPost, path: at + "config.xml", missing: jobHint, xml: change.After}, err
	}
	op, cut := "make "+change.Path, strings.LastIndexByte(change.Path, '/')
	at := "/"
	if cut > 0 {
		var err error
		if at, err = c.jobPath(op, change.Path[:cut]); err != nil {
			return request{}, err
		}
	}
	return request{op: op, method: http.MethodPost, path: at + "createItem", missing: "check the path of the folder; the user needs Job/Read on it",
		query: map[string]string{"name": change.Path[cut+1:]}, xml: change.After}, nil
}

// refusedConfig knows the answers that only a configuration can get.
func (c Client) refusedConfig(ctx context.Context, r request, got answer) error {
	failed := &Error{Op: r.op, URL: c.base(), Status: got.status, Detail: c.said(got), Reason: ErrRefused}
	switch {
	case got.status == http.StatusBadRequest && strings.Contains(failed.Detail, "already exists"):
		failed.Hint = "somebody has just made it, or it is hidden from the user: grant the user Job/Read there, then try again"
	case got.status == http.StatusBadRequest && got.header.Get(errorHeader) != "":
		failed.Hint = "give the job a path that jenkins takes"
	case got.status == http.StatusInternalServerError && got.header.Get("X-Jenkins") != "":
		failed.Hint = "see that the plugins Pipeline, Folders and Git are installed in jenkins; its log says what it does not understand"
	case got.status == http.StatusOK:
		failed.Reason, failed.Detail, failed.Hint = ErrProtocol, "the answer is a page, not of jenkins' remote api", urlHint
	default:
		return c.refusal(ctx, r, got)
	}
	return failed
}

// Plugins lists the plugins that are active, by their ids, which needs Overall/SystemRead or Overall/Administer.
func (c Client) Plugins(ctx context.Context) ([]string, error) {
	var raw struct {
		Plugins []struct {
			ShortName string
			Active    bool
		}
	}
	if _, err := c.read(ctx, reading("list the plugins", "/pluginManager/", "plugins[shortName,active]"), &raw); err != nil {
		return nil, err
	}
	var names []string
	for _, p := range raw.Plugins {
		if p.Active {
			names = append(names, p.ShortName)
		}
	}
	return names, nil
}
