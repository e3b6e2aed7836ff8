package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// stagedScript is a job whose build and test have nothing bound, as the shared
// library does it.
const stagedScript = `#!/bin/bash
set -eux
export AIBUILD_DATA=$AGENT/data
server=$(cat "$AGENT/server") clouds=$OS_CLIENT_CONFIG_FILE
unset OS_CLIENT_CONFIG_FILE AIBUILD_SERVER AIBUILD_DSN
bound() { AIBUILD_SERVER=$server AIBUILD_TOKEN_FILE=$AGENT/token OS_CLIENT_CONFIG_FILE=$clouds "$@"; }
rm -rf src
git clone -q "$AIBUILD_PROJECT" src
cd src
git checkout -q "$AIBUILD_COMMIT"
ln "$DISK" "$AIBUILD_IMAGE/disk.qcow2"
bound "$AIBUILD" runs open "$AIBUILD_IMAGE" --out run.json
trap 'code=$?; bound "$AIBUILD" runs record --run run.json --end; rm -rf "$AGENT/last"; mkdir "$AGENT/last"; cp -r *.json *.xml archive "$AGENT/last" 2>/dev/null; exit $code' EXIT
for stage in $(python3 -c 'import json; print(*json.load(open("run.json"))["stages"])'); do
  case $stage in
    build) "$AIBUILD" build "$AIBUILD_IMAGE" --run run.json --junit build.xml --result build.json --archive archive ;;
    test) "$AIBUILD" test --run run.json --junit test.xml --result test.json --archive archive ;;
    *) bound "$AIBUILD" "$stage" --run run.json --result "$stage.json" ;;
  esac
  bound "$AIBUILD" runs record --run run.json
done
`

func (s *site) lastResult(stage string) *outcome {
	s.t.Helper()
	return outcomeIn(s.t, filepath.Join(s.agent, "last", stage+".json"))
}

// outcomeIn reads what --result has written.
func outcomeIn(t *testing.T, file string) *outcome {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return decoded[*outcome](t, string(b))
}

// TestStagedJob: build and test run without token, database and clouds, and the
// story is the same.
func TestStagedJob(t *testing.T) {
	s := newSiteWith(t, stagedScript, "staged")
	// What foreign code sees of the job's environment ends in the image's evidence.
	s.edit("images/staged/tests/hello.sh", "#!/bin/sh\n# aibuild: timeout=20s\necho hello\n")
	one := s.push("an image", "main")
	got, run := s.runsOf(one, 1)
	if got != "staged:success" {
		t.Fatalf("the first push: %s, %v", got, run)
	}
	uuid := s.show("staged")["image_uuid"].(string)
	checkCloud(t, s.person, uuid)
	if run["image_uuid"] != uuid || run["run_id"] != uuid {
		t.Errorf("the image %s is not the run's: %v", uuid, run)
	}
	for _, stage := range []string{"build", "test", "publish", "release"} {
		r := s.lastResult(stage)
		if r.Status != "success" || r.ExitCode != 0 || r.RunID != uuid || r.ImageUUID != uuid || r.Stage != stage || r.Artifact == nil || len(r.Artifact.SHA256) != 64 || r.Artifact.Size == 0 || r.Timings["total"] == 0 {
			t.Errorf("result of %s: %+v", stage, r)
		}
	}
	var kept struct {
		Image string `json:"image_uuid"`
	}
	manifest, err := os.ReadFile(filepath.Join(s.agent, "last", "archive", "manifest.json"))
	if err != nil || json.Unmarshal(manifest, &kept) != nil || kept.Image != uuid {
		t.Errorf("the archive's manifest: %v, %v", kept, err)
	}
	if logs, err := filepath.Glob(filepath.Join(s.agent, "last", "archive", "evidence", "test-1", "*", "*")); err != nil || len(logs) < 2 {
		t.Errorf("the archive's evidence: %v, %v", logs, err)
	}
	if n := s.lab.count(t, "SELECT COUNT(*) FROM event WHERE run_id = '"+uuid+"' AND verb = 'moved' AND reason LIKE 'stage %'"); n != 4 {
		t.Errorf("%d stages were recorded, want 4", n)
	}

	// A test that fails ends the run, with its case; publish and release are not tried.
	s.edit("images/staged/tests/hello.sh", "#!/bin/sh\necho the reason\nexit 1\n")
	two := s.push("a test that fails", "main")
	got, run = s.runsOf(two, 1)
	if got != "staged:unstable" || run["from"] != "test" || run["image_uuid"] != uuid {
		t.Errorf("a test that fails: %s, %v", got, run)
	}
	if text := s.status(two, "staged", "failed"); !strings.Contains(text, "bios-virtio-nocloud/hello") {
		t.Errorf("the status says %q, not which case", text)
	}
	if r := s.lastResult("test"); r.Status != "unstable" || r.ExitCode != 3 || r.Error == nil || r.Error.Code != "image" || !strings.Contains(r.Error.Message, "the reason") {
		t.Errorf("result: %+v", r)
	}
	x, err := os.ReadFile(filepath.Join(s.agent, "last", "test.xml"))
	if err != nil || !strings.Contains(string(x), `name="hello"`) {
		t.Errorf("junit: %v\n%s", err, x)
	}

	// A branch that may not release has no such stages.
	s.edit("images/staged/tests/hello.sh", "#!/bin/sh\necho mended\n")
	s.edit("images/staged/off.rom", string(offROM())+"another build")
	three := s.push("on a branch", "feature")
	if got, run := s.runsOf(three, 1); got != "staged:success" {
		t.Errorf("the branch: %s, %v", got, run)
	} else if img := s.show(run["image_uuid"].(string)); img["state"] != lineage.StatePassed {
		t.Errorf("the branch's image is %v, want it passed and no further", img["state"])
	}
	console := s.console()
	token, err := os.ReadFile(filepath.Join(s.agent, "token"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(console, strings.TrimSpace(string(token))) {
		t.Error("the token is in the console, which set -x was on for")
	}
}
