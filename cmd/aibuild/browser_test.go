package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// gallery is an installation with a story to look at: images that pushes made,
// tested and released to two clouds, one that fails, and a window on it.
type gallery struct {
	*site
	*window
	t      *testing.T // of the part that runs
	tokens map[string]string
	store  *lineage.Store
	broken string // commit whose image fails its tests
}

// hostile is a branch that git takes: a name of it must not become a part of a page.
const hostile = `x"><xss-probe><img/src=x/onerror=hacked=1>`

// TestBrowser walks through the pages as people do, in one story: the parts build on each other.
func TestBrowser(t *testing.T) {
	g := newGallery(t)
	first := g.push("the first web server", "main")
	if got, _ := g.runsOf(first, 1); got != "web:success" {
		t.Fatalf("the first push: %s", got)
	}
	g.window = newWindow(t, g.site.url)
	g.signIn(g.tokens[api.RoleAdmin])
	g.part("Live", g.live)
	g.addBroken() // it is built while people look around
	g.part("ThreeClicks", g.threeClicks)
	g.part("Keyboard", g.keyboard)
	g.part("Copy", g.copies)
	g.part("NoScripts", g.noScripts)
	if got, run := g.runsOf(g.broken, 1); got != "app:unstable" {
		t.Fatalf("the image that fails: %s, %v", got, run)
	}
	g.part("Views", g.views)
	g.part("Actions", g.actions)
	g.part("Runs", g.runActions)
	g.part("Pages", g.pages)
	g.part("Attacks", g.attacks)
	g.part("Revoked", g.revoked)
	g.part("Away", g.away)
}

func newGallery(t *testing.T) *gallery {
	t.Helper()
	g := &gallery{site: newSite(t, "web"), t: t, tokens: map[string]string{}}
	for _, role := range []string{api.RoleViewer, api.RoleReleaser, api.RoleAdmin} {
		g.tokens[role] = g.newToken(role, role)
	}
	g.store = storeOf(t, g.lab.env["AIBUILD_DSN"])
	return g
}

// newToken makes one as an administrator does.
func (g *gallery) newToken(name, role string) string {
	g.t.Helper()
	return strings.TrimSpace(g.must(0, "token", "create", name, "--role", role).out)
}

// part runs one part of the story; what the browser complains of meanwhile fails it.
func (g *gallery) part(name string, run func()) {
	whole := g.t
	whole.Run(name, func(t *testing.T) {
		g.t, g.site.person.t, g.window.t = t, t, t
		defer func() { g.t, g.site.person.t, g.window.t = whole, whole, whole }()
		began := time.Now()
		run()
		g.complaints()
		t.Logf("took %v", time.Since(began).Round(time.Millisecond))
	})
}

// asked asks the API, which others do who have no browser.
func asked[T any](g *gallery, path string) T {
	g.t.Helper()
	request, err := http.NewRequest(http.MethodGet, g.site.url+"/api/v1"+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+g.tokens[api.RoleAdmin])
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		g.t.Fatalf("GET %s: %s", path, response.Status)
	}
	return decodedFrom[T](g.t, response.Body)
}

func (g *gallery) image(ref string) lineage.Image {
	g.t.Helper()
	return asked[lineage.Image](g, "/images/"+ref)
}

// addBroken pushes a branch with an image whose test fails, and says hostile things.
func (g *gallery) addBroken() {
	g.t.Helper()
	web, app := filepath.Join(g.repo, "images", "web"), filepath.Join(g.repo, "images", "app")
	copyTree(g.t, web, app)
	g.renamed(filepath.Join(app, "aibuild.yaml"), "name: web", "name: app")
	g.renamed(filepath.Join(app, "tests", "hello.sh"), "echo hello", `echo '<xss-probe></pre><script>hacked=1</script>'; printf '\033[31mred\033[0m\n'; exit 1; echo hello`)
	g.broken = g.push(`</pre><xss-probe><script>hacked=1</script>`, hostile)
}

// renamed edits a file of the repository.
func (g *gallery) renamed(path, old, new string) {
	g.t.Helper()
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), old) {
		g.t.Fatalf("%s lacks %q: %v", path, old, err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, new, 1)), 0o755); err != nil {
		g.t.Fatal(err)
	}
}
