package hooks

import (
	"regexp"
	"slices"
	"strings"
)

var (
	// skipAll are GitLab's own markers, and ours without a name.
	skipAll = regexp.MustCompile(`(?i)\[(?:ci[ _-]skip|skip[ _-]ci|aibuild skip)\]`)
	skipOne = regexp.MustCompile(`(?i)\[aibuild skip ([a-z0-9._,\s-]{1,500})\]`)
)

// skip takes the images out that the head's message says not to start: all of them, or those that it names.
func (c *Change) skip(message string) {
	if marker := skipAll.FindString(message); marker != "" {
		for _, i := range c.Images {
			c.Skipped = append(c.Skipped, Untouched{i.Name, i.Folder, "the commit says " + marker + "; it would start at " + i.From})
		}
		c.Images = c.Images[:0]
		return
	}
	for _, found := range skipOne.FindAllStringSubmatch(message, -1) {
		for _, name := range strings.FieldsFunc(found[1], func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' }) {
			c.skipImage(strings.ToLower(name))
		}
	}
}

// skipImage takes one image out. That a marker names an image which is not affected is said, too: it may be misspelled.
func (c *Change) skipImage(name string) {
	marker := "[aibuild skip " + name + "]"
	if slices.ContainsFunc(c.Skipped, func(u Untouched) bool { return u.Name == name }) {
		return // said twice
	}
	at := slices.IndexFunc(c.Images, func(i ImageChange) bool { return i.Name == name })
	if at < 0 {
		c.Unaffected = append(c.Unaffected, Untouched{Name: name, Reason: "the commit says " + marker + ", but the push does not start it"})
		return
	}
	i := c.Images[at]
	c.Skipped = append(c.Skipped, Untouched{i.Name, i.Folder, "the commit says " + marker + "; it would start at " + i.From})
	c.Images = slices.Delete(c.Images, at, at+1)
}
