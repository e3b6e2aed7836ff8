package process

import (
	"os"
	"slices"
	"strings"
)

// allowed are the variables that programs we start may see. Everything else,
// above all what configures aibuild, databases, clouds and Jenkins, stays here.
var allowed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "TERM",
	"http_proxy", "https_proxy", "no_proxy", "all_proxy",
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
	"SSL_CERT_FILE", "SSL_CERT_DIR",
}

// Environ returns the environment for a program: the allow-listed part of ours,
// then extra ("KEY=value"), which wins. PATH is always set.
func Environ(extra ...string) []string {
	env := []string{}
	if os.Getenv("PATH") == "" {
		env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
	}
	for _, kv := range os.Environ() {
		key, _, _ := strings.Cut(kv, "=")
		if slices.Contains(allowed, key) || strings.HasPrefix(key, "LC_") || strings.HasPrefix(key, "XDG_") {
			env = append(env, kv)
		}
	}
	return append(env, extra...)
}
