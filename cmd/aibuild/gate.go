package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) gateCommand() *cli.Command {
	return &cli.Command{
		Name: "gate", Usage: "may this image be used? exit status 0: yes, 5: no, and why", ArgsUsage: "IMAGE",
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "tested", Usage: "its tests have passed (also without any of these flags)"},
			&cli.BoolFlag{Name: "published", Usage: "its bytes are in images/release"},
			&cli.BoolFlag{Name: "released", Usage: "every cluster that it is meant for shows it"},
			&cli.StringSliceFlag{Name: "cluster", Usage: "this `CLUSTER` shows it (repeatable)"}, outputFlag(), resultFlag(),
		},
		Action: w.gate,
	}
}

// verdict is what the gate says of an image.
type verdict struct {
	Image string   `json:"image"`
	UUID  string   `json:"image_uuid"`
	State string   `json:"state"`
	Open  bool     `json:"open"`
	Rules []passed `json:"rules"`
}

// passed is one rule of the gate, and what was found.
type passed struct {
	Rule  string `json:"rule"`
	Open  bool   `json:"open"`
	Found string `json:"found"`
}

func (w *world) gate(c *cli.Context) error {
	if err := args(c, "IMAGE"); err != nil {
		return err
	}
	from, err := w.reading(c)
	if err != nil {
		return err
	}
	img, err := one(c.Context, from.images, c.Args().First())
	if err != nil {
		return err
	}
	v := judgeImage(img, c.Bool("published"), c.Bool("released"), c.StringSlice("cluster"))
	if err := w.print(c, v, func(t io.Writer) error {
		if err := row(t, "RULE", "OPEN", "FOUND"); err != nil {
			return err
		}
		for _, p := range v.Rules {
			if err := row(t, p.Rule, map[bool]string{true: "yes", false: "no"}[p.Open], p.Found); err != nil {
				return err
			}
		}
		return nil
	}); err != nil || v.Open {
		return err
	}
	return &aibuild.Refused{Image: v.Image, Rule: v.closed().Rule, Found: "it is not so: " + v.closed().Found, Next: "aibuild image show " + v.UUID}
}

// closed is the first rule that the image does not keep.
func (v verdict) closed() passed {
	return v.Rules[slices.IndexFunc(v.Rules, func(p passed) bool { return !p.Open })]
}

// judgeImage asks for every rule. A revoked image passes none of the gates, and
// one that was not tested neither.
func judgeImage(img lineage.Image, published, released bool, clusters []string) verdict {
	v := verdict{Image: img.Ref(), UUID: img.UUID, State: img.State, Open: true}
	rule := func(text string, open bool, found string) {
		v.Rules = append(v.Rules, passed{text, open, found})
		v.Open = v.Open && open
	}
	rule("it was not revoked", img.State != lineage.StateRevoked, "state "+img.State)
	tests := "not tested"
	if img.Verdict != nil {
		tests = img.Verdict.Result + ": " + img.Verdict.TestCase
	}
	rule("its tests have passed", img.Verdict != nil && img.Verdict.Result == lineage.Passed, tests)
	if published || released {
		gone := slices.Contains(img.Pruned, "release")
		rule("it is in images/release", !img.PublishedAt.IsZero() && !gone, "published "+when(img.PublishedAt))
	}
	if released {
		rule("every cluster shows it", img.State == lineage.StateReleased && allVisible(img.Targets), orWord(inClusters(img), "in no cluster"))
	}
	for _, cluster := range clusters {
		i := slices.IndexFunc(img.Targets, func(t lineage.Target) bool { return t.Cluster == cluster })
		found := "not there"
		if i >= 0 {
			found = strings.TrimSpace(img.Targets[i].State + " " + img.Targets[i].GlanceID)
		}
		rule(fmt.Sprintf("cluster %s shows it", cluster), i >= 0 && img.Targets[i].State == lineage.TargetVisible, found)
	}
	return v
}

func allVisible(targets []lineage.Target) bool {
	return !slices.ContainsFunc(targets, func(t lineage.Target) bool { return t.State != lineage.TargetVisible })
}
