package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

// views: page, command line and API tell the same of an image, in the same words.
func (g *gallery) views() {
	const ref = "web@2"
	byAPI := asked[map[string]any](g, "/images/"+ref)
	byCommand := decoded[map[string]any](g.t, g.must(0, "image", "show", ref, "-o", "json").out)
	if diff := cmp.Diff(byAPI, byCommand); diff != "" {
		g.t.Errorf("API and command line (-API +command):\n%s", diff)
	}
	artifact := byAPI["artifact"].(map[string]any)
	verdict := byAPI["verdict"].(map[string]any)
	same := []string{ref, byAPI["image_uuid"].(string), byAPI["state"].(string), byAPI["from_iso"].(string), byAPI["sha256"].(string), byAPI["commit"].(string),
		verdict["test_case"].(string), verdict["test_result"].(string), artifact["release_url"].(string)}
	for _, r := range byAPI["releases"].([]any) {
		target := r.(map[string]any)
		same = append(same, fmt.Sprint(target["openstack_cluster"]), fmt.Sprint(target["state"]), fmt.Sprint(target["glance_id"]))
	}
	table := g.must(0, "image", "show", ref).out
	g.open("/images/" + ref)
	page := strings.Join(strings.Fields(g.text()), " ")
	for _, c := range byAPI["tests"].([]any) { // of cases the command line tells only how many there are
		if name := fmt.Sprint(c.(map[string]any)["case"]); !strings.Contains(page, name) {
			g.t.Errorf("the page lacks the case %s", name)
		}
	}
	for _, text := range same {
		if !strings.Contains(table, text) {
			g.t.Errorf("the command line's table lacks %q:\n%s", text, table)
		}
		if !strings.Contains(page, text) {
			g.t.Errorf("the page lacks %q: %s", text, page)
		}
	}
}

// away stops the database under an open page: it says so, and comes back by itself.
func (g *gallery) away() {
	stack := func(args ...string) {
		if out, err := g.lab.stack(args...); err != nil {
			g.t.Errorf("%v\n%s", err, out)
		}
	}
	g.signIn(g.tokens["admin"])
	g.open("/")
	stack("down", "mariadb", "--signal", "KILL")
	defer stack("up")
	g.becomes(time.Minute, "The server cannot tell now")
	g.open("/images")
	g.shows("the database cannot be used")
	g.shot("away")
	stack("up")
	g.becomes(time.Minute, "web@2")
}
