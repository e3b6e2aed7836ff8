package main

import (
	"strings"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// actions presses each button of an image and gives a reason; the API tells what came of it.
func (g *gallery) actions() {
	g.open("/images/web@2") // held by the keyboard
	for _, a := range []struct {
		button, confirm, reason, says string
		so                            func(lineage.Image) bool
	}{
		{"Let go…", "Let go", "it need not be kept", "The image is no longer held.", func(i lineage.Image) bool { return !i.Held }},
		{"Hold…", "Hold", "kept for a customer", "The image is held", func(i lineage.Image) bool { return i.Held }},
		{"Revoke…", "Revoke", "a hole in it", "The image is revoked.", func(i lineage.Image) bool { return i.State == lineage.StateRevoked }},
		{"Restore…", "Restore", "the hole was none", "The image is restored.", func(i lineage.Image) bool { return i.State != lineage.StateRevoked }},
		{"Release…", "Release", "out again", "The image is released.", func(i lineage.Image) bool { return i.State == lineage.StateReleased }},
	} {
		g.click(a.button)
		g.asks(a.confirm)
		g.why(a.reason, a.confirm)
		g.shows(a.says, a.reason)
		if img := g.image("web@2"); !a.so(img) {
			g.t.Errorf("after %s the API says state %s, held %v, %v", a.confirm, img.State, img.Held, img.Targets)
		}
	}
	g.visibleIs("web@2")
	g.open("/images/web@1")
	g.click("Roll back to this…")
	g.do(chromedp.Click(chromedp.CSS(`input[name=cluster][value=beta]`))) // only alpha stays chosen
	g.why("alpha wants the older one", "Roll back")
	g.shows("Rolled back.")
	if got, was := g.states("web@1"), g.states("web@2"); got != "alpha:visible beta:hidden" || was != "alpha:hidden beta:visible" {
		g.t.Errorf("after a rollback in alpha: web@1 %s, web@2 %s", got, was)
	}
}

// asks: no form does anything without a reason, and each says what it is about to do.
func (g *gallery) asks(confirm string) {
	g.t.Helper()
	address := g.address()
	g.do(chromedp.Click(button(confirm)))
	if got := g.address(); got != address || !evaluated[bool](g.window, `document.querySelector("#reason:invalid") !== null`) {
		g.t.Errorf("%s was sent without a reason, and leads to %s", confirm, got)
	}
}

// runActions starts, cancels and retries runs.
func (g *gallery) runActions() {
	g.open("/images/web")
	g.click("Build again…")
	g.why("once more", "Build")
	g.shows("The run is opened.", "once more")
	id := g.runShown()
	if run := asked[lineage.Run](g, "/runs/"+id); run.Image != "web" || run.Reason != "once more" && run.State == lineage.RunReceived || run.Actor != "admin" {
		g.t.Errorf("the API says of the new run: %+v", run)
	}
	g.click("Cancel…")
	g.why("not today", "Cancel the run")
	g.becomes(time.Minute, "not today")
	g.becomes(time.Minute, "web: cancelled")
	if run := asked[lineage.Run](g, "/runs/"+id); run.State != lineage.RunCancelled {
		g.t.Errorf("the API says of the cancelled run: %+v", run)
	}
	failed := asked[struct{ Runs []lineage.Run }](g, "/runs?image=app").Runs[0]
	g.open("/runs/" + failed.ID)
	g.shows("What went wrong", "hello")
	g.click("Retry…")
	g.why("the network was slow", "Retry")
	g.shows("This is the new attempt.")
	run := asked[lineage.Run](g, "/runs/"+g.runShown())
	if run.RetryOf != failed.ID || run.Attempt != 2 || run.ImageUUID != failed.ImageUUID || run.From != "test" {
		g.t.Errorf("the API says of the retry: %+v", run)
	}
	g.click("Cancel…")
	g.why("it was seen", "Cancel the run")
	g.becomes(time.Minute, "app: cancelled")
}

// runShown is the run of the page.
func (g *gallery) runShown() string {
	g.t.Helper()
	id, _, _ := strings.Cut(strings.TrimPrefix(g.address(), "/runs/"), "?")
	return id
}
