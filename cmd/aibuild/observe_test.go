package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const observed = "../../examples/deploy"

var metricName = regexp.MustCompile(`aibuild_[a-z0-9_]+`)

// exported are the names of metrics that stand in the code.
func exported(t *testing.T) map[string]bool {
	t.Helper()
	names := map[string]bool{}
	for _, pattern := range []string{"*.go", "../../aibuild/api/metrics.go"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, found := range regexp.MustCompile(`Name: "(aibuild_[a-z0-9_]+)"`).FindAllStringSubmatch(string(text), -1) {
				names[found[1]] = true
			}
		}
	}
	return names
}

// What dashboard and alerts ask for is exported under that name.
func TestDashboardKnowsTheMetrics(t *testing.T) {
	names := exported(t)
	if len(names) < 25 {
		t.Fatalf("only %d metrics stand in the code", len(names))
	}
	dashboard, err := os.ReadFile(observed + "/grafana/aibuild.json")
	if err != nil {
		t.Fatal(err)
	}
	var d struct {
		UID    string `json:"uid"`
		Panels []struct {
			ID      int                            `json:"id"`
			Title   string                         `json:"title"`
			GridPos struct{ X, Y, W, H int }       `json:"gridPos"`
			Targets []struct{ Expr, RefID string } `json:"targets"`
		} `json:"panels"`
	}
	if err := json.Unmarshal(dashboard, &d); err != nil || d.UID != "aibuild" || len(d.Panels) < 12 {
		t.Fatalf("the dashboard is none: %v", err)
	}
	asked := ""
	for _, p := range d.Panels {
		if p.ID == 0 || p.Title == "" || len(p.Targets) == 0 || p.GridPos.X+p.GridPos.W > 24 {
			t.Errorf("panel %+v", p)
		}
		for _, target := range p.Targets {
			asked += target.Expr + "\n"
		}
	}
	rules, err := os.ReadFile(observed + "/prometheus/aibuild.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(rules)) {
		if _, expr, ok := strings.Cut(line, "expr:"); ok {
			asked += expr
		}
	}
	for _, name := range metricName.FindAllString(asked, -1) {
		if !names[strings.TrimSuffix(name, "_bucket")] {
			t.Errorf("%s is asked for, and not exported", name)
		}
	}
}

// The alerts fire when they should, as Prometheus itself says.
func TestAlerts(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", "aibuild.rules.yaml"}, {"test", "rules", "aibuild.rules.test.yaml"}} {
		cmd := exec.Command("promtool", args...)
		cmd.Dir = observed + "/prometheus"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}
