package lineage

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFailureRender(t *testing.T) {
	for _, c := range []struct {
		name    string
		failure Failure
		want    string
	}{
		{"whole", Failure{Stage: "test", Blame: BlameImage, Sentence: "case disk/grows failed in\nbios-virtio-nocloud", Lines: []string{"expected 2 GiB", "found 1 GiB\r\n"},
			Evidence: []string{"/srv/evidence"}, Next: "aibuild retry 42 --from test"}, `test failed: the image's fault: case disk/grows failed in bios-virtio-nocloud
  | expected 2 GiB
  | found 1 GiB
  evidence: /srv/evidence
  next:     aibuild retry 42 --from test
`},
		{"infrastructure", Failure{Stage: "release", Blame: BlameInfrastructure, Sentence: "cluster alpha answers 503"}, "release failed: not the image's fault: cluster alpha answers 503\n"},
		{"terminal is not steered", Failure{Stage: "build", Blame: BlameTemplate, Sentence: "x", Lines: []string{"a\x1b[2Jb\tc\u009bd"}}, "build failed: the template's fault: x\n  | a\uFFFD[2Jb\tc\uFFFDd\n"},
		{"empty", Failure{}, "run failed: \n"},
	} {
		var b strings.Builder
		if err := c.failure.Render(&b); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
		if diff := cmp.Diff(c.want, b.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}
