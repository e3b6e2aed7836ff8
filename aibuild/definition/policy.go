package definition

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// Policy is what the server's configuration lets the definitions of one project ask for. An empty field caps nothing;
// the zero value allows everything.
type Policy struct {
	Project      string        // named in refusals
	Names        []string      // patterns of image names, such as web-*
	ReleaseRefs  []string      // refs that may release: patterns of branch names or full refs, such as main or release/*
	Clusters     []string      // clusters that a release may name
	Visibilities []string      // visibilities that a release may ask for
	MaxTimeout   time.Duration // longest build and test timeout
	MaxMemory    Size          // most memory of a test guest
}

// Refused says which rule a definition breaks. It is exit status 5.
type Refused struct {
	Project string
	Rule    string // the key of the rule, such as release.clusters
	Asked   string // what the definition asks for
	Allowed string // what the rule allows
}

func (r *Refused) Error() string {
	whose := "the server's configuration"
	if r.Project != "" {
		whose += " for " + r.Project
	}
	return fmt.Sprintf("refused by %s of %s: %s is asked for, allowed is %s; change the definition or ask an administrator to change the rule",
		r.Rule, whose, r.Asked, r.Allowed)
}

// Check says whether the project may build, test and release d from ref (a branch name or refs/heads/NAME).
// The error is a *Refused.
func (p Policy) Check(d *Definition, ref string) error {
	if err := p.CheckSettings(d); err != nil {
		return err
	}
	if !p.MayRelease(ref) {
		return p.refuse("release.refs", "a release from "+orWord(ref, "no branch"), strings.Join(p.ReleaseRefs, ", "))
	}
	return nil
}

// MayRelease says whether a run of ref may go on after its tests.
func (p Policy) MayRelease(ref string) bool {
	if len(p.ReleaseRefs) == 0 {
		return true
	}
	short := strings.TrimPrefix(ref, "refs/heads/")
	if ref != "" && !strings.HasPrefix(ref, "refs/") {
		ref = "refs/heads/" + ref
	}
	return slices.ContainsFunc(p.ReleaseRefs, func(pattern string) bool {
		return matches(pattern, ref) || matches(pattern, short)
	})
}

// CheckSettings checks everything that does not depend on the ref. The error is a *Refused.
func (p Policy) CheckSettings(d *Definition) error {
	if len(p.Names) > 0 && !slices.ContainsFunc(p.Names, func(pattern string) bool { return matches(pattern, d.Name) }) {
		return p.refuse("names", "the image name "+d.Name, strings.Join(p.Names, ", "))
	}
	for _, cluster := range d.Release.Clusters {
		if len(p.Clusters) > 0 && !slices.Contains(p.Clusters, cluster) {
			return p.refuse("release.clusters", "the cluster "+cluster, strings.Join(p.Clusters, ", "))
		}
	}
	if len(p.Visibilities) > 0 && len(d.Release.Clusters) > 0 && !slices.Contains(p.Visibilities, d.Release.Visibility) {
		return p.refuse("release.visibility", "the visibility "+d.Release.Visibility, strings.Join(p.Visibilities, ", "))
	}
	longest := max(d.Build.Timeout, d.Test.Timeout)
	if p.MaxTimeout > 0 && longest > p.MaxTimeout {
		return p.refuse("max_timeout", "a timeout of "+longest.String(), "at most "+p.MaxTimeout.String())
	}
	if p.MaxMemory > 0 && d.Test.Memory > int64(p.MaxMemory) {
		return p.refuse("max_memory", Size(d.Test.Memory).String()+" of memory", "at most "+p.MaxMemory.String())
	}
	return nil
}

func (p Policy) refuse(rule, asked, allowed string) error {
	return &Refused{Project: p.Project, Rule: rule, Asked: asked, Allowed: allowed}
}

// matches compares with a pattern of path.Match, in which a final /* also covers deeper names. A pattern that does not
// parse matches nothing: a typing error must not open a rule.
func matches(pattern, name string) bool {
	if parent, deep := strings.CutSuffix(pattern, "/*"); deep && strings.HasPrefix(name, parent+"/") && !strings.ContainsAny(parent, `*?[\`) {
		return true
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func orWord(text, word string) string {
	if text == "" {
		return word
	}
	return text
}
