package hooks

import (
	"path"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
)

// comparison is the work on one change.
type comparison struct {
	objects *objects
	head    *tree
	base    *tree // nil: every image is taken
	each    string

	all     []outline // every definition of head, by folder
	changes []difference
	gone    []outline // definitions of base that head has not, by folder
}

// candidate is a definition that may have to be started.
type candidate struct {
	outline
	touched []string
	was     *outline // at base; nil: nowhere
	inputs  inputs
	before  inputs // of was
}

// fill finds the images that head affects and puts them into the change.
func (c *Change) fill(o *objects, head commit, b basis) error {
	c.Old, c.Reason = b.commit.id, b.why
	if b.undetermined {
		c.Undetermined = b.each
	}
	c.Images, c.Unaffected, c.Skipped, c.Removed = []ImageChange{}, []Untouched{}, []Untouched{}, []Untouched{}
	if b.nothing {
		return nil
	}
	w := &comparison{objects: o, head: &tree{o, head.tree}, each: b.each}
	if b.commit.id != "" {
		w.base = &tree{o, b.commit.tree}
	}
	candidates, err := w.candidates()
	if err != nil {
		return err
	}
	for _, candidate := range candidates {
		if err := w.judge(c, candidate); err != nil {
			return err
		}
	}
	w.name(c)
	w.removed(c)
	c.skip(head.message)
	c.order()
	return nil
}

// candidates gives the definitions whose files have changed, with all their contents at hand.
func (w *comparison) candidates() ([]candidate, error) {
	var err error
	if w.all, err = w.head.outlines(); err != nil {
		return nil, err
	}
	if w.base != nil {
		if w.changes, err = differences(w.base, w.head); err != nil {
			return nil, err
		}
		if err := w.findGone(); err != nil {
			return nil, err
		}
	}
	var found []candidate
	var ids []string
	for _, d := range w.all {
		c := candidate{outline: d}
		if w.base != nil {
			if c.touched = d.touched(w.changes); len(c.touched) == 0 {
				continue
			}
			if err := w.earlier(&c); err != nil {
				return nil, err
			}
			if c.was != nil {
				if c.before, err = w.base.inputs(*c.was); err != nil {
					return nil, err
				}
			}
		}
		if c.inputs, err = w.head.inputs(d); err != nil {
			return nil, err
		}
		ids = append(append(ids, c.inputs.files...), c.before.files...)
		found = append(found, c)
	}
	return found, w.objects.prepare(ids)
}

// findGone reads the definitions that base has and head has not.
func (w *comparison) findGone() error {
	var ids []string
	for _, c := range w.changes {
		if !c.gone || path.Base(c.path) != definition.File {
			continue
		}
		w.gone = append(w.gone, outline{folder: path.Dir(c.path), id: c.id})
		if c.id != "" {
			ids = append(ids, c.id)
		}
	}
	if err := w.objects.prepare(ids); err != nil {
		return err
	}
	for i := range w.gone {
		if err := w.base.read(&w.gone[i]); err != nil {
			return err
		}
	}
	return nil
}

// earlier finds what the definition was at base: that of its folder, or the one of the same name that was moved here.
func (w *comparison) earlier(c *candidate) error {
	file := path.Join(c.folder, definition.File)
	at := standing(w.changes, file)
	if at == len(w.changes) || w.changes[at].path != file { // it is the same
		was := c.outline
		c.was = &was
		return nil
	}
	if !w.changes[at].appeared {
		c.was = &outline{folder: c.folder, id: w.changes[at].id}
		if c.was.id == "" {
			return nil
		}
		if err := w.objects.prepare([]string{c.was.id}); err != nil {
			return err
		}
		return w.base.read(c.was)
	}
	if i := slices.IndexFunc(w.gone, func(d outline) bool { return d.name == c.name && c.name != "" }); i >= 0 {
		c.was = &w.gone[i]
	}
	return nil
}

// judge loads a candidate as it is and as it was, and says at which stage it starts, if at all.
func (w *comparison) judge(c *Change, it candidate) error {
	image := ImageChange{Folder: storable(it.folder), From: fromBuild, Reason: w.each}
	var err error
	if image.Definition, image.Problem, err = w.load(w.head, it.outline, it.inputs); err != nil {
		return err
	}
	if image.Problem == "" {
		image.Name = image.Definition.Name
		if parent := image.Definition.From.Image; !strings.Contains(parent, "@") { // else its newest image does not matter
			image.After = parent
		}
	} else {
		image.Name = it.likelyName()
	}
	if w.base != nil {
		if err := w.since(c, &image, it); err != nil {
			return err
		}
	}
	if image.From != "" {
		c.Images = append(c.Images, image)
	} else {
		c.Unaffected = append(c.Unaffected, Untouched{image.Name, image.Folder, image.Reason})
	}
	return nil
}

// since compares a candidate with what it was, and says what has changed.
func (w *comparison) since(c *Change, image *ImageChange, it candidate) error {
	what := few(quotedAll(it.touched), 3)
	image.Reason = "changed: " + what
	switch {
	case it.was == nil:
		image.Reason = "new definition"
		return nil
	case it.was.folder != it.folder:
		image.Reason = "moved from " + quoted(it.was.folder) + " and changed"
	}
	if was := it.was.name; goodName.MatchString(was) && was != image.Name && !w.defined(was) {
		c.Removed = append(c.Removed, Untouched{was, image.Folder, "it is called " + image.Name + " now"})
	}
	if image.Problem != "" {
		return nil
	}
	was, problem, err := w.load(w.base, *it.was, it.before)
	if err != nil {
		return err
	}
	if problem != "" {
		image.Reason += "; it was not valid before"
		return nil
	}
	if it.inputs.print != it.before.print {
		return nil
	}
	image.From = FirstStage(was.Digests, image.Definition.Digests)
	switch {
	case image.From == "" && it.was.folder != it.folder:
		image.Reason = "only moved, from " + quoted(it.was.folder)
	case image.From == "":
		image.Reason = "no stage reads what has changed: " + what
	}
	return nil
}

// defined says whether head has a definition of that name.
func (w *comparison) defined(name string) bool {
	return slices.ContainsFunc(w.all, func(d outline) bool { return d.name == name })
}

// removed notes the images that have no definition any more.
func (w *comparison) removed(c *Change) {
	for _, d := range w.gone {
		if !w.defined(d.name) {
			c.Removed = append(c.Removed, Untouched{d.likelyName(), storable(d.folder), "the definition was deleted"})
		}
	}
}
