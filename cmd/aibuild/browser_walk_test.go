package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// live looks at a run while it goes on: overview and page follow it by themselves.
func (g *gallery) live() {
	g.open("/")
	g.shows("0\nruns are under way", "web@1")
	g.edit("images/web/off.rom", string(offROM())+"the second build")
	commit := g.push("a second web server", "main")
	g.becomes(time.Minute, "1\nrun is under way")
	g.shot("overview-running")
	g.leaves(chromedp.Click(chromedp.Search(`//ol//a[b="web"]`)))
	run := strings.TrimPrefix(g.address(), "/runs/")
	evaluated[bool](g.window, `window.same = true`)
	g.becomes(time.Minute, "building")
	g.shows(commit)
	g.becomes(time.Minute, signs["build"]) // the log is followed
	g.becomes(time.Minute, "stage test")
	if !evaluated[bool](g.window, `window.same === true`) {
		g.t.Error("the page was loaded anew while its run went on")
	}
	g.shot("run-building")
	g.becomes(time.Minute, "web: success")
	if got := asked[lineage.Run](g, "/runs/"+run); got.State != lineage.RunSuccess || got.Commit != commit {
		g.t.Errorf("the page says success; the API says %+v", got)
	}
	g.shows("success", commit, "Its path")
}

// threeClicks: from a Glance id to commit and source, and back to the image before.
func (g *gallery) threeClicks() {
	newest, before := g.image("web@2"), g.image("web@1")
	id := newest.Targets[0].GlanceID
	g.open("/")
	g.leaves(chromedp.Click(chromedp.Search(`//nav//a[normalize-space(.)="Clusters"]`)))
	g.shows(id)
	g.leaves(chromedp.Click(chromedp.Search(`//td[.//*[normalize-space(.)="` + id + `"]]//a`)))
	g.shows(newest.Ref(), id, newest.Commit, "disk.qcow2", newest.Artifact.SourceSHA256)
	g.click("Roll back…")
	g.why("the second one is slow", "Roll back")
	g.shows("Rolled back.", "web@1", before.Commit[:10])
	for _, cluster := range []string{"alpha", "beta"} {
		if list := g.lab.glance(g.t, cluster, "web", false); len(list) != 1 || list[0].Properties["aibuild_uuid"] != before.UUID {
			g.t.Errorf("%s shows %v, want web@1 alone", cluster, list)
		}
	}
	// The address line finds it too.
	g.open("/search?q=" + id)
	g.shows(newest.Commit)
}

// why fills the form that asks for a reason, and presses its button.
func (g *gallery) why(reason, name string) {
	g.t.Helper()
	g.do(chromedp.SendKeys(chromedp.ID("reason"), reason))
	g.click(name)
}

// focus is what has the keyboard: its text or name, and whether one sees that.
type focus struct {
	Text    string
	Seen    bool // it is on the screen
	Outline bool
}

func (g *gallery) tab() focus {
	g.t.Helper()
	g.keys(kb.Tab)
	return evaluated[focus](g.window, `(() => { const e = document.activeElement, r = e.getBoundingClientRect(), s = getComputedStyle(e);
		return {Text: e.textContent.trim() || e.name || e.id, Seen: r.width > 0 && r.left >= 0 && r.top >= 0 && r.bottom <= innerHeight, Outline: s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2}; })()`)
}

// keyboard uses nothing but keys: each stop is seen, in the order of the page.
func (g *gallery) keyboard() {
	g.open("/")
	stops := []string{"Skip to the content", "aibuild", "Overview", "Images", "Runs", "Clusters", "Packages", "Audit", "q", "Sign out"}
	for _, want := range stops {
		if f := g.tab(); f.Text != want || !f.Seen || !f.Outline {
			g.t.Errorf("Tab comes to %+v, want %s, seen and outlined", f, want)
		}
	}
	g.open("/")
	g.tab()
	g.keys(kb.Enter)
	if f := g.tab(); strings.Contains(strings.Join(stops, " "), f.Text) {
		g.t.Errorf("the link that skips leads to %+v", f)
	}
	g.open("/")
	for range 9 {
		g.tab()
	}
	g.keys("web@2")
	g.leaves(chromedp.KeyEvent(kb.Enter))
	if want := "/images/" + g.image("web@2").UUID; g.address() != want {
		g.t.Errorf("the search leads to %s, want %s", g.address(), want)
	}
	for n := 0; ; n++ { // on to a button of the page, and by it to its form
		if f := g.tab(); f.Text == "Hold…" {
			break
		}
		if n > 40 {
			g.t.Fatal("Tab does not come to the page's buttons")
		}
	}
	g.leaves(chromedp.KeyEvent(kb.Enter))
	g.do(chromedp.Focus(chromedp.ID("reason")))
	g.keys("held by keys alone" + kb.Tab)
	g.leaves(chromedp.KeyEvent(kb.Enter))
	g.shows("The image is held", "held by keys alone")
	if !g.image("web@2").Held {
		g.t.Error("the API says that it is not held")
	}
}

// copies presses each button that copies, and looks into the clipboard.
func (g *gallery) copies() {
	for _, name := range []string{"clipboard-read", "clipboard-write"} {
		if _, err := chromedp.CallBrowser(g.ctx, browser.SetPermission, browser.SetPermissionParams{
			Permission: &browser.PermissionDescriptor{Name: name}, Setting: browser.PermissionSettingGranted, Origin: g.window.url,
		}); err != nil {
			g.t.Fatal(err)
		}
	}
	img := g.image("web@2")
	g.open("/images/web@2")
	for what, want := range map[string]string{
		"Copy the uuid": img.UUID, "Copy the sha256": img.SHA256, "Copy the commit": img.Commit,
		"Copy the Glance id in alpha": img.Targets[0].GlanceID, "Copy the URL in images/release": img.Artifact.ReleaseURL, "Copy the URL in images/build": img.Artifact.BuildURL,
	} {
		g.do(chromedp.Click(chromedp.CSS(`button[aria-label="` + what + `"]`)))
		g.becomes(10*time.Second, "copied: "+want)
		if got := evaluated[string](g.window, `navigator.clipboard.readText()`, chromedp.EvalAwaitPromise); got != want {
			g.t.Errorf("%s: the clipboard has %q, want %q", what, got, want)
		}
	}
}

// noScripts signs in, finds an image and releases it in a browser without JavaScript.
func (g *gallery) noScripts() {
	with := g.window
	defer func() { g.window = with }()
	g.window = newWindow(g.t, g.site.url)
	g.scripts(false)
	g.open("/images/web")
	g.shows("Sign in")
	g.do(chromedp.SendKeys(chromedp.ID("token"), g.tokens[api.RoleReleaser]))
	g.leaves(chromedp.KeyEvent(kb.Enter))
	if g.address() != "/images/web" {
		g.t.Errorf("signing in leads to %s, not to where somebody wanted to go", g.address())
	}
	g.do(chromedp.SendKeys(chromedp.ID("find"), g.image("web@2").SHA256))
	g.leaves(chromedp.KeyEvent(kb.Enter))
	g.shows("web@2", "Where it came from")
	if n := evaluated[int](g.window, `[...document.querySelectorAll("button.copy")].filter(b => b.offsetParent).length`); n != 0 {
		g.t.Errorf("%d buttons are shown that do nothing without scripts", n)
	}
	g.click("Release…")
	g.why("as it was in order after all", "Release")
	g.shows("The image is released.", "as it was in order after all")
	g.visibleIs("web@2")
	g.complaints()
}

// visibleIs checks by the API that both clouds show an image.
func (g *gallery) visibleIs(ref string) {
	g.t.Helper()
	if got := fmt.Sprint(g.states(ref)); got != "alpha:visible beta:visible" {
		g.t.Errorf("%s is %s", ref, got)
	}
}

// revoked takes a token away from somebody who looks at a page.
func (g *gallery) revoked() {
	g.signIn(g.newToken("short", api.RoleViewer))
	g.open("/")
	g.must(0, "token", "revoke", "short")
	g.becomes(20*time.Second, "These pages need a token.")
	if got := evaluated[string](g.window, `document.querySelector("input[name=next]").value`); got != "/" {
		g.t.Errorf("who signs in again comes to %s", got)
	}
	g.shot("login")
}
