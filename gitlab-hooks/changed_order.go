package hooks

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
)

var (
	goodName = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)
	badChars = regexp.MustCompile(`[^a-z0-9._-]+`)
)

// likelyName is what an image is called whose definition may be broken: its own name, or else that of its folder.
func (d outline) likelyName() string {
	if goodName.MatchString(d.name) && !slices.Contains(definition.Reserved, d.name) {
		return d.name
	}
	return folderName(path.Base(d.folder))
}

func (c candidate) likelyName() string {
	if c.was != nil && !goodName.MatchString(c.name) {
		return c.was.likelyName()
	}
	return c.outline.likelyName()
}

// folderName makes a name of a folder's.
func folderName(folder string) string {
	name := strings.Trim(badChars.ReplaceAllString(strings.ToLower(folder), "-"), "-._")
	if name == "" {
		return "image"
	}
	return name[:min(len(name), 60)]
}

// name makes sure that no two images of a change have one name: a name that several definitions take is a problem, and a
// broken definition whose name is another one's is called by its folder.
func (w *comparison) name(c *Change) {
	owners := map[string][]string{}
	for _, d := range w.all {
		owners[d.name] = append(owners[d.name], d.folder)
	}
	taken := map[string]bool{}
	kept := c.Images[:0]
	for _, image := range c.Images {
		folders := owners[image.Name]
		mine := slices.Contains(folders, image.Folder)
		if len(folders) > 1 && mine && taken[image.Name] {
			continue // said already
		}
		if len(folders) > 1 && mine {
			image.Problem = fmt.Sprintf("%s: the name %s is taken by several definitions: %s; keep one of them",
				path.Join(image.Folder, definition.File), image.Name, few(quotedAll(folders), 10))
			image.Definition, image.From, image.After = nil, fromBuild, ""
		}
		if !mine {
			image.Name = freeName(image, owners, taken)
		}
		taken[image.Name] = true
		kept = append(kept, image)
	}
	c.Images = kept
}

// freeName is a name for a broken definition that is nobody's: the likely one, or that of the whole folder.
func freeName(image ImageChange, owners map[string][]string, taken map[string]bool) string {
	name := image.Name
	for n := 1; taken[name] || len(owners[name]) > 0; n++ {
		name = folderName(image.Folder)
		if n > 1 {
			name += fmt.Sprintf("-%d", n)
		}
	}
	return name
}

func quotedAll(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = quoted(name)
	}
	return all
}

// order puts parents before their children, and else keeps the order of folders. After stays only where the parent gets a
// new image, or another verdict.
func (c *Change) order() {
	at := map[string]int{}
	for i, image := range c.Images {
		at[image.Name] = i
	}
	sorted := make([]ImageChange, 0, len(c.Images))
	seen, open := make([]bool, len(c.Images)), make([]bool, len(c.Images))
	var visit func(i int)
	visit = func(i int) {
		seen[i], open[i] = true, true
		image := c.Images[i]
		parent, here := at[image.After]
		switch {
		case !here, open[parent]: // not started, or a circle: somebody has to begin
			image.After = ""
		case !seen[parent]:
			visit(parent)
		}
		if here && (c.Images[parent].Problem != "" || c.Images[parent].From == fromRelease) {
			image.After = ""
		}
		open[i] = false
		sorted = append(sorted, image)
	}
	for i := range c.Images {
		if !seen[i] {
			visit(i)
		}
	}
	c.Images = sorted
}
