package stack_test

import (
	"net/http"
	"strings"
	"testing"
)

// TestOwnPrograms: a program of one's own is a service like the others, until the stack ends.
func TestOwnPrograms(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	port := strings.TrimSpace(s.must("port", "pages"))
	serve := []string{"run", "pages", "--", "/usr/bin/python3", "-m", "http.server", "--bind", "127.0.0.1", port}
	s.must(serve...)
	first := s.procs()
	s.must(serve...)
	if again := s.procs(); again["pages"] != first["pages"] {
		t.Errorf("run has started it twice: %v, then %v", first, again)
	}
	if status, _, _ := get(t, "http://127.0.0.1:"+port, nil); status != http.StatusOK {
		t.Errorf("status %d, want 200", status)
	}
	s.must("status", "-q")

	s.must("down", "pages")
	checkDown(t, s, "pages")
	s.must(serve...)
	if again := strings.TrimSpace(s.must("port", "pages")); again != port {
		t.Errorf("its port was %s, is %s", port, again)
	}
	last := s.procs()
	s.must("down")
	gone(t, last)
	if r := s.try("down", "pages"); r.code != 1 || !strings.Contains(r.stderr, "no service 'pages'") {
		t.Errorf("after the end of the stack it is still known: exit code %d, %q", r.code, r.stderr)
	}
	for _, wrong := range [][]string{{"port"}, {"port", "mariadb"}, {"run", "Pages", "--", "true"}, {"run", "pages", "true"}} {
		if r := s.try(wrong...); r.code != 2 {
			t.Errorf("stack %v: exit code %d, want 2", wrong, r.code)
		}
	}
	if r := s.try("run", "ends", "--", "/bin/true"); r.code != 1 || !strings.Contains(r.stderr, "ended while it started") {
		t.Errorf("a program that ends at once: exit code %d, %q", r.code, r.stderr)
	}
}
