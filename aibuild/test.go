package aibuild

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/aibuild/publish"
)

// TestOptions narrow or widen a test.
type TestOptions struct {
	Cells         []string // such as bios-virtio-nocloud; empty: the definition's matrix
	KeepOnFailure bool     // keep the disk of a cell that did not pass
	// Dir takes settings and cases from this definition instead of the one that
	// the image was built with.
	Dir string
	// JUnit, where set, is a file that gets the result as JUnit XML.
	JUnit string
}

// Test boots the image in its cells and records the verdict. A verdict that is
// not passed comes as *TestFailed, together with the report.
func (p *Pipeline) Test(ctx context.Context, ref string, o TestOptions) (*harness.Report, error) {
	img, err := p.Find(ctx, ref)
	if err != nil {
		return nil, fail(StageTest, err, "")
	}
	report, err := p.test(ctx, img, o)
	if err != nil {
		return report, fail(StageTest, err, "aibuild retry "+img.UUID+" --from test")
	}
	return report, nil
}

func (p *Pipeline) test(ctx context.Context, img *Image, o TestOptions) (*harness.Report, error) {
	if _, err := p.Sweep(ctx); err != nil {
		p.log().Warn("what earlier runs left could not all be cleared", "error", err)
	}
	unlock, err := p.lockOne(ctx, img)
	if err != nil {
		return nil, err
	}
	defer unlock()
	work, done, err := p.work(img.UUID, StageTest)
	if err != nil {
		return nil, err
	}
	defer done()
	plan, def, err := p.plan(ctx, img, o, work)
	if err != nil {
		return nil, err
	}
	h := harness.Harness{
		QEMU: p.qemuTool(), WorkDir: filepath.Join(work, "guests"), Log: p.log().Named("harness"),
		Progress: func(e harness.Event) { p.say(StageTest, img, testText(e)) },
	}
	p.say(StageTest, img, fmt.Sprintf("testing in %d cells", len(plan.Cells)))
	report, err := h.Test(ctx, plan)
	if err != nil && report == nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return report, context.Cause(ctx)
	}
	if err := p.keepReport(ctx, img, report, plan.Evidence, o); err != nil {
		return report, err
	}
	if err := p.recordTest(ctx, img, report, def); err != nil {
		return report, err
	}
	if err := p.recordPackages(ctx, img, report.Packages); err != nil {
		return report, err
	}
	if report.Verdict != harness.Passed {
		return report, errors.Join(&TestFailed{Report: report}, err)
	}
	p.say(StageTest, img, "passed: "+report.Decider)
	return report, nil
}

// testText is an event of the harness in one line.
func testText(e harness.Event) string {
	text := e.Cell
	if e.Case != "" {
		text += "/" + e.Case
	}
	text += ": " + e.State
	if e.Message != "" {
		first, _, _ := strings.Cut(e.Message, "\n")
		text += ": " + first
	}
	return text
}

// plan makes the harness' plan of the definition, with the very file that was
// published in images/build.
func (p *Pipeline) plan(ctx context.Context, img *Image, o TestOptions, work string) (harness.Plan, *definition.Definition, error) {
	def, files, err := p.testCode(ctx, img, o, work)
	if err != nil {
		return harness.Plan{}, nil, err
	}
	file, err := p.Site.Fetch(ctx, img.at(publish.Build, img.File), img.Artifact().SHA256, filepath.Join(work, img.File))
	if err != nil {
		return harness.Plan{}, nil, err
	}
	plan := harness.Plan{
		Image: file, Format: img.Artifact().Format, Builtin: true, Inventory: true,
		Memory: def.Test.Memory, CPUs: def.Test.CPUs, User: def.Test.User,
		BuildKeys: img.BuildKeys, KeepOnFailure: o.KeepOnFailure,
		Evidence: filepath.Join(work, evidenceDir), Files: files,
	}
	if plan.Cells, err = cells(def, o.Cells); err != nil {
		return harness.Plan{}, nil, err
	}
	for _, c := range def.Cases {
		name := c.Path
		if files != nil {
			name = strings.TrimPrefix(strings.TrimPrefix(c.Path, strings.TrimSuffix(def.Test.Cases, "/")), "/")
		}
		plan.Cases = append(plan.Cases, harness.Case{
			Name: c.Name, Path: name, Timeout: c.Timeout, Sudo: c.Sudo, Isolated: c.Isolated, Retries: c.Retries,
		})
	}
	return plan, def, nil
}

// testCode is the definition and the folder of its cases: as built, or as it
// lies in o.Dir now.
func (p *Pipeline) testCode(ctx context.Context, img *Image, o TestOptions, work string) (*definition.Definition, fs.FS, error) {
	def, dir := &img.Definition, filepath.Join(work, "definition")
	if o.Dir != "" {
		c, err := p.open(ctx, o.Dir)
		if err != nil {
			return nil, nil, err
		}
		if c.Name != img.Name {
			return nil, nil, &Refused{Image: img.Ref(), Rule: "an image is tested with its own definition", Found: o.Dir + " defines " + c.Name}
		}
		def, dir = c.Definition, c.dir
	} else if err := p.unpack(ctx, img, dir); err != nil {
		return nil, nil, err
	}
	if len(def.Cases) == 0 {
		return def, nil, nil
	}
	files, err := fs.Sub(os.DirFS(dir), path.Clean(def.Test.Cases))
	return def, files, err
}

func (p *Pipeline) unpack(ctx context.Context, img *Image, dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	tarball, err := p.Site.Open(ctx, img.at(publish.Build, definitionFile))
	if err != nil {
		return err
	}
	defer tarball.Close()
	return unpackDefinition(tarball, dir)
}

func cells(def *definition.Definition, only []string) ([]harness.Cell, error) {
	var all []harness.Cell
	var names []string
	for _, c := range def.Test.Matrix.Cells() {
		all = append(all, harness.Cell(c))
		names = append(names, c.String())
	}
	if len(only) == 0 {
		return all, nil
	}
	var some []harness.Cell
	for _, name := range only {
		i := slices.Index(names, name)
		if i < 0 {
			return nil, &lineage.Invalid{Field: "cell", Problem: fmt.Sprintf("%q is not in the matrix of %s: %s", name, def.Name, strings.Join(names, ", "))}
		}
		some = append(some, all[i])
	}
	return some, nil
}

// keepReport puts the evidence beside the image: evidence/test-1, test-2, …
func (p *Pipeline) keepReport(ctx context.Context, img *Image, report *harness.Report, from string, o TestOptions) error {
	if o.JUnit != "" {
		if err := writeJUnit(report, o.JUnit); err != nil {
			return err
		}
	}
	files := map[string]string{}
	if err := addEvidence(files, from, evidenceOf(img)); err != nil {
		return err
	}
	// The evidence of a cancelled test is evidence too.
	return p.Site.Attach(context.WithoutCancel(ctx), img.Name, img.UUID, files)
}

// evidenceOf is the folder for the evidence of the next test.
func evidenceOf(img *Image) string {
	n := 1
	for _, r := range img.Records {
		if r.Tested != nil {
			n++
		}
	}
	return evidenceDir + "/test-" + strconv.Itoa(n)
}

func writeJUnit(report *harness.Report, to string) (err error) {
	f, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return report.JUnit(f)
}

func (p *Pipeline) recordTest(ctx context.Context, img *Image, report *harness.Report, def *definition.Definition) error {
	tested := lineage.Tested{
		Verdict: report.Verdict, TestCase: report.Decider, TestedAt: p.now(),
		TestDigest: def.Digests.Test, Accelerator: report.Accel.Name,
	}
	evidence := evidenceOf(img)
	for _, c := range report.Cases {
		file := ""
		if c.Evidence != "" {
			file = evidence + "/" + c.Evidence
		}
		tested.Cases = append(tested.Cases, lineage.TestCase{
			Case: c.Case, Cell: c.Cell, Result: c.Result, At: tested.TestedAt, Attempt: c.Attempt, MS: c.MS,
			Message: c.Message, Evidence: file,
		})
	}
	return p.record(ctx, img, lineage.Record{Verb: lineage.VerbTested, Reason: short(report.Message), Tested: &tested})
}
