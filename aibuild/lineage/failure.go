package lineage

import (
	"fmt"
	"io"
	"strings"
)

// Whose fault a [Failure] is.
const (
	BlameImage          = "image"          // the image does not boot or pass its tests
	BlameTemplate       = "template"       // the build code failed
	BlameDefinition     = "definition"     // aibuild.yaml or the files around it are wrong
	BlameInfrastructure = "infrastructure" // this machine, a server or the network; retryable
	BlameRule           = "rule"           // refused by policy
	BlameUser           = "user"           // usage or configuration
	BlameCancelled      = "cancelled"      // somebody stopped it
)

// Failure is how every failed stage ends, in the form that is stored and that
// every face prints: which stage, whose fault in one sentence, the last
// relevant lines, where the evidence is, and the command to type next.
type Failure struct {
	Stage    string   `json:"stage"`
	Blame    string   `json:"blame"`
	Sentence string   `json:"sentence"`
	Lines    []string `json:"lines,omitempty"`
	Evidence []string `json:"evidence,omitempty"` // paths or URLs
	Next     string   `json:"next,omitempty"`     // one command
}

// Render writes the failure block:
//
//	test failed: the image's fault: case disk/grows failed in bios-virtio-nocloud
//	  | expected 2 GiB, found 1 GiB
//	  evidence: /srv/images/build/debian-12/0190…/evidence
//	  next:     aibuild retry 0190… --from test
func (f Failure) Render(w io.Writer) error {
	var b strings.Builder
	stage := f.Stage
	if stage == "" {
		stage = "run"
	}
	fmt.Fprintf(&b, "%s failed: ", stage)
	if phrase := blamePhrase(f.Blame); phrase != "" {
		fmt.Fprintf(&b, "%s: ", phrase)
	}
	b.WriteString(oneLine(f.Sentence))
	b.WriteByte('\n')
	for _, l := range f.Lines {
		fmt.Fprintf(&b, "  | %s\n", printable(l))
	}
	for _, e := range f.Evidence {
		fmt.Fprintf(&b, "  evidence: %s\n", printable(e))
	}
	if f.Next != "" {
		fmt.Fprintf(&b, "  next:     %s\n", printable(f.Next))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func blamePhrase(blame string) string {
	switch blame {
	case BlameImage, BlameTemplate, BlameDefinition:
		return "the " + blame + "'s fault"
	case BlameInfrastructure:
		return "not the image's fault"
	case BlameRule:
		return "refused by a rule"
	case BlameUser:
		return "usage or configuration"
	case BlameCancelled:
		return "cancelled"
	}
	return blame
}

func oneLine(s string) string {
	return printable(strings.Join(strings.Fields(s), " "))
}

// printable replaces control characters: lines come from guests and builds,
// and must not steer the terminal that shows them.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\t' {
			return r
		}
		if r < 0x20 || (r >= 0x7f && r < 0xa0) {
			return '\uFFFD'
		}
		return r
	}, strings.TrimRight(s, "\r\n"))
}
