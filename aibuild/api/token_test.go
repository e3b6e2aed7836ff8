package api

import (
	"fmt"
	"strings"
	"testing"
)

func TestTokensAreRandomAndHidden(t *testing.T) {
	seen := map[Secret]bool{}
	for range 1000 {
		token, hash := NewToken()
		if !tokenForm.MatchString(string(token)) || seen[token] {
			t.Fatalf("token %q", string(token))
		}
		seen[token] = true
		if len(hash) != 64 || hash != HashToken(token) || strings.Contains(hash, string(token)) {
			t.Errorf("hash = %s", hash)
		}
		for _, text := range []string{fmt.Sprint(token), fmt.Sprintf("%v %+v %#v %s %q", token, token, token, token, token), fmt.Sprintf("%+v", struct{ Token Secret }{token})} {
			if strings.Contains(text, string(token)) {
				t.Errorf("shown: %s", text)
			}
		}
	}
	// printf aib_0 | sha256sum
	if got, want := HashToken("aib_0"), "fb8cbe5629cc6d0bce57533b6df0b3fc61602da732f582e61dcbbeb68b003ac8"; got != want {
		t.Errorf("hash = %s, want %s", got, want)
	}
}

func TestCheckToken(t *testing.T) {
	tests := []struct {
		name, role string
		projects   []string
		ok         bool
	}{
		{"ann", RoleViewer, nil, true},
		{"ann@laptop-1.example_x", RoleAdmin, []string{"group/a", "group/sub/b"}, true},
		{"ci", RoleRecorder, []string{"group/a"}, true},
		{"ci", RoleRecorder, nil, false},
		{"", RoleViewer, nil, false},
		{"-ann", RoleViewer, nil, false},
		{"two words", RoleViewer, nil, false},
		{strings.Repeat("a", 65), RoleViewer, nil, false},
		{"ann", "root", nil, false},
		{"ann", "", nil, false},
		{"ann", RoleViewer, []string{""}, false},
		{"ann", RoleViewer, []string{"/group/a"}, false},
		{"ann", RoleViewer, []string{" group/a"}, false},
	}
	for _, tt := range tests {
		if err := CheckToken(tt.name, tt.role, tt.projects); (err == nil) != tt.ok {
			t.Errorf("CheckToken(%q, %q, %q) = %v, want ok = %t", tt.name, tt.role, tt.projects, err, tt.ok)
		}
	}
}

func TestJobPaths(t *testing.T) {
	for in, want := range map[string]string{
		"aibuild/build": "aibuild/build", "/job/aibuild/job/build/": "aibuild/build", "job/build": "build", "mb/feature%2Fx": "mb/feature/x",
		"mb/job/x": "mb/job/x", "100%": "100%", "": "",
	} {
		if got := jobPath(in); got != want {
			t.Errorf("jobPath(%q) = %q, want %q", in, got, want)
		}
	}
}
