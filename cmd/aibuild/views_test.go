package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// called runs a command that needs no server, with this environment.
func called(env map[string]string, words ...string) (out, errs string, code int) {
	var stdout, stderr bytes.Buffer
	w := &world{stdin: strings.NewReader(""), stdout: &stdout, stderr: &stderr, getenv: func(k string) string { return env[k] }}
	code = w.main(append([]string{"aibuild"}, words...))
	return stdout.String(), stderr.String(), code
}

func TestWebAddresses(t *testing.T) {
	env := map[string]string{"AIBUILD_SERVER": "https://aibuild.example/"}
	for words, want := range map[string]string{
		"image list --web": "/images", "image list debian-12 --state passed --web": "/images?name=debian-12&state=passed",
		"image show debian-12@3 --web": "/images/debian-12@3", "image show https://x/y --web": "/images/https:%2F%2Fx%2Fy", "image history debian-12 --web": "/images/debian-12",
		"search a/b --web": "/search?q=a%2Fb", "runs list --unfinished --web": "/runs?unfinished=1", "runs show 0190 --web": "/runs/0190", "audit tiny --actor ann --web": "/audit?actor=ann&image=tiny",
	} {
		out, errs, code := called(env, strings.Fields(words)...)
		if code != 0 || out != "https://aibuild.example"+want+"\n" {
			t.Errorf("%s: %d %q %s, want %s", words, code, out, errs, want)
		}
	}
	if _, errs, code := called(nil, "image", "list", "--web"); code != 2 || !strings.Contains(errs, "public_url") {
		t.Errorf("without a server: %d %s", code, errs)
	}
}

func TestSince(t *testing.T) {
	for _, bad := range []string{"yesterday", "-3h", "0s", "2026-13-01", "12"} {
		_, errs, code := called(map[string]string{"AIBUILD_SERVER": "http://127.0.0.1:1", "AIBUILD_TOKEN": "x"}, "runs", "list", "--since="+bad)
		if code != 2 || !strings.Contains(errs, "--since "+bad) {
			t.Errorf("--since=%s: %d %s", bad, code, errs)
		}
	}
	now := time.Now()
	runs := []lineage.Run{{ID: "c", OpenedAt: now}, {ID: "b", OpenedAt: now.Add(-time.Hour)}, {ID: "a", OpenedAt: now.Add(-2 * time.Hour)}}
	at := func(r lineage.Run) time.Time { return r.OpenedAt }
	if got, next := newer(runs, "more", now.Add(-90*time.Minute), at); len(got) != 2 || next != "" {
		t.Errorf("%v %q", got, next)
	}
	if got, next := newer(runs, "more", now.Add(-9*time.Hour), at); len(got) != 3 || next != "more" {
		t.Errorf("%v %q", got, next)
	}
	if got, next := newer(runs, "more", time.Time{}, at); len(got) != 3 || next != "more" {
		t.Errorf("%v %q", got, next)
	}
}
