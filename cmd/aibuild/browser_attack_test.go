package main

import (
	"database/sql"
	"net/url"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// evil are texts that would become a part of a page, were they not written as text.
var evil = []string{
	`"><script>hacked=1</script><xss-probe>`, `'><img src=x onerror=hacked=1><xss-probe>`, `</pre></textarea></title><svg onload=hacked=1><xss-probe>`,
	`{{.}}${hacked=1}<xss-probe>`, "javascript:hacked=1", `<a href="javascript:hacked=1">x</a><xss-probe>`, "\u202e\x1b[31m<xss-probe>\x07",
	strings.Repeat("nothing-breaks-this", 12),
}

// attacks writes them into every field that can come from outside, and looks at every page that shows one: nothing runs, and
// the browser's own policy has nothing to report.
func (g *gallery) attacks() {
	defer g.forgetEvil()
	var paths []string
	for i, text := range evil {
		id := uuid.Must(uuid.NewV7()).String()
		if err := g.store.Record(g.t.Context(), evilStory(id, text, i)...); err != nil {
			g.t.Fatalf("%q: %v", text, err)
		}
		paths = append(paths, "/images/"+id, "/runs/"+id, "/diff?a="+id+"&b=web@2", "/images/"+id+"/hold",
			"/search?q="+url.QueryEscape(text), "/images?name="+url.QueryEscape(text), "/packages?name="+url.QueryEscape(text), "/audit?actor="+url.QueryEscape(text), "/nothing/"+url.PathEscape(text))
	}
	paths = append(paths, "/", "/images", "/images/evil", "/runs", "/clusters", "/audit", "/packages?name=evil-package")
	for _, path := range paths {
		g.open(path)
		if found := evaluated[string](g.window, `String(window.hacked ?? "") + [...document.querySelectorAll("xss-probe, main script, a[href^='javascript:'], main img[src=x]")].map(e => e.outerHTML).join()`); found != "" {
			g.t.Errorf("%s: %.300s", path, found)
		}
	}
	for _, path := range []string{"/", "/images", "/images/evil", paths[len(evil)*9-9], paths[len(evil)*9-8], paths[len(evil)*9-7], "/runs", "/clusters", "/audit"} {
		g.open(path)
		g.fits(375)
		g.wide()
	}
	g.open("/images/evil")
	g.shows(evil[0]) // it is there, as text
}

// forgetEvil takes the clusters of these images away again: other tests ask all clusters that are recorded.
func (g *gallery) forgetEvil() {
	db, err := sql.Open("mysql", g.lab.env["AIBUILD_DSN"])
	if err != nil {
		g.t.Fatal(err)
	}
	defer db.Close()
	for _, statement := range []string{"DELETE FROM release_log WHERE image_uuid IN (SELECT uuid FROM image WHERE name = 'evil')", "DELETE FROM release_target WHERE image_name = 'evil'"} {
		if _, err := db.ExecContext(g.t.Context(), statement); err != nil {
			g.t.Error(err)
		}
	}
}

// evilStory is an image, and the run that made it, of which every text is the same one.
func evilStory(id, text string, n int) []lineage.Record {
	at := time.Now().Add(time.Duration(n-len(evil)) * time.Second)
	short := func(most int) string { return strings.ToValidUTF8(text[:min(len(text), most)], "") }
	record := func(verb string) lineage.Record {
		return lineage.Record{ID: uuid.Must(uuid.NewV7()).String(), At: at, Actor: text, Channel: short(30), RunID: id, ImageUUID: id, Verb: verb, Reason: text}
	}
	opened := record(lineage.VerbOpened)
	opened.ImageUUID = ""
	opened.Run = &lineage.Run{ID: id, Image: "evil", Ref: "refs/heads/" + text, Commit: short(60), Folder: text, JenkinsJob: text, Build: int64(n + 1), BuildURL: text, BuildTag: text, State: lineage.RunBuilding, OpenedAt: at}
	built := record(lineage.VerbBuilt)
	built.Built = &lineage.Built{Name: "evil", Arch: short(30), OSType: short(20), OSVer: short(10), FromISO: text, UpdateContents: text, BuiltAt: at, Artifact: lineage.Artifact{
		Format: short(15), SHA256: strings.Repeat("ab", 32), Commit: short(60), Ref: text, SourceURL: text, BuildURL: text, Tools: map[string]string{text: text}, Accelerator: short(15), User: short(60),
	}}
	tested := record(lineage.VerbTested)
	tested.RunID = ""
	tested.Tested = &lineage.Tested{Verdict: lineage.FailedTest, TestCase: text, TestedAt: at, Cases: []lineage.TestCase{{Case: text, Cell: short(60), Result: lineage.FailedTest, Message: text, Evidence: text, Attempt: 1, At: at}}}
	released := record(lineage.VerbReleased)
	released.RunID = ""
	released.Released = &lineage.Target{Cluster: short(60), State: lineage.TargetMissing, GlanceID: short(36), Error: text, CheckedAt: at}
	ended := record(lineage.VerbEnded)
	ended.ImageUUID = ""
	ended.Run = &lineage.Run{ID: id, State: lineage.RunUnstable, Reason: text, FinishedAt: at, Failure: &lineage.Failure{Stage: short(20), Sentence: text, Lines: []string{text}, Evidence: []string{text}, Next: text}}
	return []lineage.Record{opened, built, tested, released, ended}
}
