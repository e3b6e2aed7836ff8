package api

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"path"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func (s *Server) registerEvidencePages() {
	s.webPage("GET /images/{ref}/evidence", mayRead, s.evidencePage)
	s.registerPart("GET /images/{ref}/evidence/{file...}", mayRead, s.evidenceFile)
}

// evidenceView is what evidence.html shows: each cell with what it has left.
type evidenceView struct {
	Image lineage.Image
	Cells []evidenceCell
	Files []string // of the build, and of tests before
	Why   string   // there are none
}

type evidenceCell struct {
	Cell
	Failed []lineage.TestCase
	Shots  []string  // screenshots
	Serial []logLine // the serial log around its fault, or its end
	Cut    bool      // there is more of it
}

// logLine is a line of a log; Fault is what the verdict is about.
type logLine struct {
	Text  string
	Fault bool
}

const (
	serialFile   = "serial.log"
	serialRead   = 2 << 20 // of the end of a log, which is looked through
	serialBefore = 60      // lines that are shown before the fault
	serialAfter  = 25
)

func (s *Server) evidencePage(r *http.Request) (*view, error) {
	ctx := r.Context()
	images, err := s.visible(ctx, lineage.Query{Ref: r.PathValue("ref")})
	if err != nil {
		return nil, err
	}
	out, err := s.cells(ctx, &imageInput{Ref: images[0].UUID})
	if err != nil {
		return nil, err
	}
	v := evidenceView{Image: images[0], Files: out.Body.Files, Why: out.Body.Trouble}
	for _, c := range out.Body.Cells {
		v.Cells = append(v.Cells, s.evidenceOf(ctx, images[0], c))
	}
	return &view{name: "evidence", title: images[0].Ref() + ": evidence", section: "images", body: v}, nil
}

func (s *Server) evidenceOf(ctx context.Context, img lineage.Image, c Cell) evidenceCell {
	cell := evidenceCell{Cell: c}
	for _, t := range c.Cases {
		if t.Result == lineage.FailedTest || t.Result == lineage.TestError {
			cell.Failed = append(cell.Failed, t)
		}
	}
	for _, file := range c.Files {
		if path.Ext(file) == ".png" {
			cell.Shots = append(cell.Shots, file)
		}
	}
	at := slices.IndexFunc(c.Files, func(file string) bool { return path.Base(file) == serialFile })
	if at < 0 {
		return cell
	}
	var err error
	if cell.Serial, cell.Cut, err = s.serial(ctx, img, c.Files[at], cell.Failed); err != nil {
		cell.Serial = []logLine{{Text: "it cannot be read: " + err.Error()}}
	}
	return cell
}

// serial is the part of a serial log that shows the fault: the line that a verdict quotes, else its end.
func (s *Server) serial(ctx context.Context, img lineage.Image, file string, failed []lineage.TestCase) (lines []logLine, cut bool, err error) {
	log, err := s.openEvidence(ctx, img, file)
	if err != nil {
		return nil, false, err
	}
	defer log.Close() //nolint:errcheck // it was only read
	text, cut, err := endOf(ctx, log, serialRead)
	if err != nil {
		return nil, false, err
	}
	var all []logLine
	fault := -1
	scan := bufio.NewScanner(bytes.NewReader(text))
	for scan.Buffer(nil, serialRead); scan.Scan(); {
		l := logLine{Text: strings.TrimRight(printable(scan.Text()), " \r")}
		if l.Fault = quoted(l.Text, failed); l.Fault && fault < 0 {
			fault = len(all)
		}
		all = append(all, l)
	}
	if fault < 0 {
		fault = len(all) - 1
	}
	from, to := max(0, fault-serialBefore), min(len(all), fault+serialAfter)
	return all[from:to], cut || from > 0 || to < len(all), nil
}

// quoted says whether a verdict has this line in its message.
func quoted(line string, failed []lineage.TestCase) bool {
	line = strings.TrimSpace(line)
	return len(line) > 12 && slices.ContainsFunc(failed, func(t lineage.TestCase) bool { return strings.Contains(t.Message, line) })
}

// evidenceFile is one file of it, for who looks at the page.
func (s *Server) evidenceFile(w http.ResponseWriter, r *http.Request) error {
	file, err := s.visibleEvidence(r.Context(), r.PathValue("ref"), r.PathValue("file"))
	if err == nil {
		s.sendEvidence(w, r, r.PathValue("file"), file)
	}
	return err
}
