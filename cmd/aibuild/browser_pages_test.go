package main

import (
	"github.com/guestos/aibuild/aibuild/lineage"
)

// pages opens every page, in light, in dark and on a telephone: axe finds nothing serious, and nothing is wider than the screen.
func (g *gallery) pages() {
	failed := asked[struct{ Runs []lineage.Run }](g, "/runs?image=app").Runs
	for _, p := range []struct{ name, path, shows string }{
		{"overview", "/", "Newest good image of every name"},
		{"images", "/images", "web@2"},
		{"name", "/images/web", "Versions and runs, newest first"},
		{"version", "/images/web@2", "Where it came from"},
		{"version-failed", "/images/app@1", "failed"},
		{"evidence", "/images/app@1/evidence", "Serial log"},
		{"runs", "/runs", "app"},
		{"run", "/runs/" + failed[len(failed)-1].ID, "What went wrong"},
		{"clusters", "/clusters", "alpha"},
		{"packages", "/packages", "Which images have it"},
		{"package", "/packages?name=busybox-static", "web@2"},
		{"diff", "/diff?a=web@1&b=web@2", "Size, source and settings"},
		{"audit", "/audit", "Who did what"},
		{"search", "/search?q=nothing-like-it", "Nothing is called that"},
		{"confirm", "/images/web@2/revoke", "Why"},
		{"problem", "/images/nothing-like-it", "not_found"},
		{"api", "/docs", "API"},
	} {
		for _, scheme := range []string{"light", "dark"} {
			g.scheme(scheme)
			g.open(p.path)
			g.shows(p.shows)
			g.accessible()
			g.shot(p.name + "-" + scheme)
		}
		g.scheme("light")
		g.fits(375)
		g.accessible()
		g.shot(p.name + "-narrow")
		g.wide()
	}
}
