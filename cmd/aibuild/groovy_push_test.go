package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// libraryScript lets the stand-in run the job's own Groovy: the script that `jenkins setup` has put into the job, with the
// shared library. The credentials are files, as run.groovy has them; the source's disk is not in git.
func libraryScript() string {
	return `#!/bin/bash
set -eu
[ -z "${AIBUILD_DSN:-}${AIBUILD_CONFIG:-}" ]
mkdir -p "$AGENT/credentials" "$AGENT/bin"
ln -sf "$AGENT/token" "$AGENT/credentials/aibuild-token"
cp "$OS_CLIENT_CONFIG_FILE" "$AGENT/credentials/aibuild-clouds"
ln -sf "$AIBUILD" "$AGENT/bin/aibuild"
unset OS_CLIENT_CONFIG_FILE
export AIBUILD_SERVER=$(cat "$AGENT/server") AIBUILD_DATA=$AGENT/data AIBUILD_BIN=$AGENT/bin/aibuild
export AFTER_CHECKOUT='ln -f "$DISK" "$AIBUILD_IMAGE/disk.qcow2"'
parameters=()
for name in RUN_ID PROJECT REF COMMIT IMAGE FROM; do parameters+=(--parameter "AIBUILD_$name"); done
exec '` + filepath.Join(repository(), "jenkins/test/run") + `' --credentials "$AGENT/credentials" --events "$AGENT/events.json" "${parameters[@]}" "$PIPELINE_SCRIPT"
`
}

// TestGroovyPush: a push reaches GitLab, the daemon, Jenkins, and there the shared library's pipeline, which makes the image
// and tells the daemon what became of it.
func TestGroovyPush(t *testing.T) {
	t.Parallel()
	s := newSiteWith(t, libraryScript(), "library")
	one := s.push("an image", "main")
	got, run := s.runsOf(one, 1)
	if got != "library:success" {
		t.Fatalf("the push: %s\n%s", got, tailOf(s.console()))
	}
	s.status(one, "library", "success")
	img := s.show("library")
	if img["state"] != lineage.StateReleased || img["commit"] != one || img["image_uuid"] != run["image_uuid"] || img["dirty"] == true {
		t.Errorf("the image is %v", img)
	}
	checkCloud(t, s.person, fmt.Sprint(img["image_uuid"]))

	s.edit("images/library/tests/hello.sh", "#!/bin/sh\necho the reason\nexit 1\n")
	two := s.push("a test that fails", "main")
	if got, run := s.runsOf(two, 1); got != "library:unstable" || run["from"] != "test" || run["image_uuid"] != img["image_uuid"] {
		t.Errorf("a test that fails: %s, %v\n%s", got, run, tailOf(s.console()))
	}
	if text := s.status(two, "library", "failed"); !strings.Contains(text, "bios-virtio-nocloud/hello") {
		t.Errorf("the status says %q, not which case", text)
	}
	if img := s.show("library"); img["state"] == lineage.StateReleased && img["commit"] == two {
		t.Errorf("what did not pass was released: %v", img)
	}
	token, err := os.ReadFile(filepath.Join(s.agent, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if console := s.console(); strings.Contains(console, strings.TrimSpace(string(token))) || !strings.Contains(console, "the reason") {
		t.Errorf("the console shows a secret, or not why:\n%s", tailOf(console))
	}
}
