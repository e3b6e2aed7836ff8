package main

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// axe looks for what keeps people from using a page: contrast, names, order.
// It comes from the npm package axe-core 4.14.1 (MPL-2.0), unchanged.
//
//go:embed testdata/axe-4.14.1.min.js
var axe string

// window is Debian's Chromium, looking at the daemon's pages.
type window struct {
	t    *testing.T
	ctx  context.Context
	url  string
	dir  string // screenshots
	mu   sync.Mutex
	said []string // what the browser complained of
}

// stepWithin is how long one thing may take that a browser does.
const stepWithin = time.Minute

func newWindow(t *testing.T, url string) *window {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.Env("TMPDIR="+t.TempDir()), // it leaves sockets there
		chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WindowSize(1280, 900), chromedp.Flag("disable-dev-shm-usage", true))
	allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
	ctx, cancel := chromedp.NewContext(allocator)
	w := &window{t: t, ctx: ctx, url: url, dir: pictures(t)}
	t.Cleanup(func() {
		cancel()
		stop()
		w.complaints()
	})
	if err := chromedp.Listen(ctx, w.listen); err != nil { // which starts the browser
		t.Fatalf("browser: %v", err)
	}
	tell(w, network.Enable, network.EnableParams{})
	tell(w, log.Enable, cdp.Empty{})
	return w
}

// complaints fails the test with what the browser has complained of since the last call.
func (w *window) complaints() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, text := range w.said {
		w.t.Errorf("the browser complains: %s", text)
	}
	w.said = nil
}

// tell speaks the browser's own protocol.
func tell[P, R any](w *window, command cdp.Command[P, R], params P) R {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepWithin)
	defer cancel()
	got, err := chromedp.Call(ctx, command, params)
	if err != nil {
		w.t.Fatalf("browser: %s: %v", command.Method, err)
	}
	return got
}

// evaluated is the value of an expression in the page.
func evaluated[T any](w *window, expression string, options ...chromedp.EvaluateOption) T {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepWithin)
	defer cancel()
	got, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		w.t.Fatalf("browser: %.200s: %v", expression, err)
	}
	return got
}

// listen keeps what a page must not cause: a breach of its own policy, an
// error of a script, a request to elsewhere.
func (w *window) listen(event any) {
	text := ""
	switch e := event.(type) {
	case *log.EventEntryAdded:
		if e.Entry.Source == log.EntrySourceSecurity || e.Entry.Level == log.EntryLevelError && e.Entry.Source != log.EntrySourceNetwork {
			text = fmt.Sprintf("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		text = "exception: " + e.ExceptionDetails.Text
	case *network.EventRequestWillBeSent:
		if u := e.Request.URL; !strings.HasPrefix(u, w.url) && !strings.HasPrefix(u, "data:") && u != "about:blank" {
			text = "a page asks for " + u
		}
	case *page.EventJavascriptDialogOpening:
		text = "a page opened a dialog: " + e.Message
	}
	if text != "" {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said = append(w.said, text)
	}
}

func (w *window) do(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepWithin)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		w.shot("failure")
		w.t.Fatalf("browser: %v; it shows: %.1500s", err, w.text())
	}
}

// open goes to an address of the daemon.
func (w *window) open(path string) {
	w.t.Helper()
	w.do(chromedp.Navigate(w.url+path), chromedp.WaitReady(chromedp.CSS("main")))
}

// text is what the page shows.
func (w *window) text() string {
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	text, err := chromedp.Run(ctx, chromedp.Evaluate[string](`document.body.innerText`))
	if err != nil {
		return err.Error()
	}
	return text
}

// shows fails the test if the page lacks one of the texts.
func (w *window) shows(texts ...string) {
	w.t.Helper()
	got := w.text()
	for _, want := range texts {
		if !strings.Contains(got, want) {
			w.t.Errorf("the page at %s lacks %q:\n%.3000s", w.address(), want, got)
		}
	}
}

// becomes waits until the page shows a text, by itself.
func (w *window) becomes(within time.Duration, text string) {
	w.t.Helper()
	for end := time.Now().Add(within); !strings.Contains(w.text(), text); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			w.shot("failure")
			w.t.Fatalf("the page at %s does not come to show %q:\n%.3000s", w.address(), text, w.text())
		}
	}
}

func (w *window) address() string {
	return strings.TrimPrefix(evaluated[string](w, `location.href`), w.url)
}

// click follows the link, or presses the button, with this text.
func (w *window) click(text string) {
	w.t.Helper()
	w.leaves(chromedp.Click(button(text)))
}

// button is the link or the button of the page itself with this text.
func button(text string) chromedp.Search {
	return chromedp.Search(`//main//*[self::a or self::button][normalize-space(.)="` + text + `"]`)
}

// leaves does what leads to another page, and waits until that is there.
func (w *window) leaves(actions ...chromedp.Action[chromedp.Void]) {
	w.t.Helper()
	evaluated[bool](w, `window.left = true`)
	w.do(actions...)
	for end := time.Now().Add(stepWithin); ; time.Sleep(20 * time.Millisecond) {
		arrived, err := chromedp.Run(w.ctx, chromedp.Evaluate[bool](`!window.left && document.readyState === "complete"`))
		if err == nil && arrived {
			return
		}
		if time.Now().After(end) {
			w.shot("failure")
			w.t.Fatalf("nothing follows at %s: %v\n%.1500s", w.address(), err, w.text())
		}
	}
}

// keys presses keys one after the other.
func (w *window) keys(keys string) { w.t.Helper(); w.do(chromedp.KeyEvent(keys)) }

// shot keeps a picture of the whole page in the test's output folder.
func (w *window) shot(name string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, stepWithin)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		w.t.Errorf("screenshot: %v", err)
		return
	}
	if err := os.WriteFile(filepath.Join(w.dir, name+".png"), png, 0o644); err != nil {
		w.t.Error(err)
	}
}

// accessible lets axe look at the page: nothing serious may be wrong.
func (w *window) accessible() {
	w.t.Helper()
	evaluated[bool](w, axe+`; true`)
	found := evaluated[string](w, `axe.run({resultTypes: ["violations"]}).then(r => JSON.stringify(r.violations.map(v => ({id: v.id, impact: v.impact, help: v.help, nodes: v.nodes.slice(0, 3).map(n => n.html)}))))`,
		chromedp.EvalAwaitPromise)
	var violations []struct {
		ID, Impact, Help string
		Nodes            []string
	}
	if err := json.Unmarshal([]byte(found), &violations); err != nil {
		w.t.Fatalf("axe: %v in %s", err, found)
	}
	for _, v := range violations {
		if v.Impact == "serious" || v.Impact == "critical" {
			w.t.Errorf("%s: %s (%s): %s\n%s", w.address(), v.ID, v.Impact, v.Help, strings.Join(v.Nodes, "\n"))
		}
	}
}

// scheme switches between light and dark.
func (w *window) scheme(name string) {
	w.t.Helper()
	tell(w, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: name}}})
}

// fits: on a narrow screen a page is not wider than it.
func (w *window) fits(width int64) {
	w.t.Helper()
	tell(w, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: 700, DeviceScaleFactor: 1, Mobile: true})
	time.Sleep(100 * time.Millisecond)
	if wide := evaluated[int64](w, `document.documentElement.scrollWidth`); wide > width {
		w.t.Errorf("%s is %d wide on a screen of %d", w.address(), wide, width)
	}
}

func (w *window) wide() {
	w.t.Helper()
	tell(w, emulation.ClearDeviceMetricsOverride, cdp.Empty{})
}

// scripts switches JavaScript on or off.
func (w *window) scripts(on bool) {
	w.t.Helper()
	tell(w, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !on})
}

// signIn shows a token.
func (w *window) signIn(token string) {
	w.t.Helper()
	w.open("/login")
	w.do(chromedp.SendKeys(chromedp.ID("token"), token))
	w.leaves(chromedp.Submit(chromedp.ID("token")))
	if evaluated[int](w, `document.querySelectorAll("form[action='/logout']").length`) != 1 {
		w.t.Fatalf("nobody is signed in: %.500s", w.text())
	}
}

// pictures is the folder of the screenshots: AIBUILD_SCREENSHOTS, or the test's own.
func pictures(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("AIBUILD_SCREENSHOTS")
	if dir == "" {
		return t.ArtifactDir()
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}
