package api

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func names(images []lineage.Image) string {
	var all []string
	for _, i := range images {
		all = append(all, i.Ref())
	}
	return fmt.Sprint(all)
}

// What the client finds is what the store finds.
func TestClientSearches(t *testing.T) {
	s := newTold(t)
	c := s.client(s.token(RoleViewer))
	for _, q := range []lineage.SearchQuery{
		{Text: "ti"}, {Text: "INY"}, {Text: s.image}, {Text: s.image[:8]}, {Text: "c0ff"}, {Text: s.ended}, {Text: "e", Limit: 1}, {Text: "a b/c?d=e&f#g%"}, {Text: "none"},
		{Text: " "}, {Text: "x", Limit: -1},
	} {
		want, err := s.store.Search(t.Context(), q)
		got, gotErr := c.Search(t.Context(), q)
		if a, b := hear("", nil, err), hear("", nil, gotErr); a.Kind != b.Kind || a.Error != b.Error {
			t.Errorf("%+v: the client gives %v, the store %v", q, gotErr, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%+v: -store +client\n%s", q, diff)
		}
	}
	got, err := c.Search(t.Context(), lineage.SearchQuery{Text: "in"})
	if err != nil || names(got.Names) != "[tiny@2]" {
		t.Errorf("in: %v, %v", names(got.Names), err)
	}
}

// A token of one project finds what is its own.
func TestSearchOfAProject(t *testing.T) {
	s := newTold(t)
	for _, c := range []struct{ role, text, names, images, runs string }{
		{RoleViewer, "e", "[]", "[]", "[]"}, {RoleViewer, "t", "[tiny@2]", "[]", "[]"}, {RoleViewer, s.theirs, "[]", "[]", "[]"}, {RoleViewer, "c0ffee", "[]", "[tiny@2 tiny@1]", "[]"},
		{RoleViewer, s.theirRun, "[]", "[]", "[]"}, {RoleViewer, s.ended, "[]", "[]", "[" + s.ended + "]"},
		{RoleRecorder, "e", "[elsewhere@1]", "[]", "[]"}, {RoleRecorder, s.theirs, "[]", "[elsewhere@1]", "[]"}, {RoleRecorder, s.theirRun, "[]", "[]", "[]"},
	} {
		f := into[lineage.Found](t, s.send("GET", "/api/v1/search?q="+c.text, s.token(c.role, project), nil))
		var runs []string
		for _, r := range f.Runs {
			runs = append(runs, r.ID)
		}
		if names(f.Names) != c.names || names(f.Images) != c.images || fmt.Sprint(runs) != c.runs {
			t.Errorf("%s finds %s: %s %s %v, want %+v", c.role, c.text, names(f.Names), names(f.Images), runs, c)
		}
	}
	for _, query := range []string{"", "?q=", "?q=x&limit=101", "?q=" + strings.Repeat("x", 2049)} {
		if got := s.send("GET", "/api/v1/search"+query, s.token(RoleViewer), nil); got.code(t) != CodeInvalid {
			t.Errorf("%.20s: HTTP %d %s", query, got.status, got.body)
		}
	}
}

// The page goes straight to what is meant, and lists what may be.
func TestSearchPage(t *testing.T) {
	s := newTold(t)
	second := builtRecord(newID(), "Tiny-two", project)
	s.stored(second)
	token := s.token(RoleViewer, project)
	for text, want := range map[string]string{
		"tiny": "/images/tiny", s.image: "/images/" + s.image, s.ended: "/runs/" + s.ended, "-TWO": "/images/Tiny-two", "": "/images", "tiny@1": "/images/" + s.image,
		s.theirs: "404", "elsewhere": "404", "lsewh": "404", "none": "404", "://%zz": "404", "tin": "Tiny-two", "c0ffee": "tiny",
	} {
		req := s.request("GET", "/search?q="+url.QueryEscape(text), token, nil)
		client := *s.http.Client()
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(resp.Body)
		if err = errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		body := string(b)
		switch {
		case want == "404":
			if resp.StatusCode != http.StatusNotFound || !strings.Contains(body, "Nothing is called that") {
				t.Errorf("%s: HTTP %d", text, resp.StatusCode)
			}
		case strings.HasPrefix(want, "/"):
			if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != want {
				t.Errorf("%s: HTTP %d to %s, want %s", text, resp.StatusCode, resp.Header.Get("Location"), want)
			}
		default:
			if resp.StatusCode != http.StatusOK || !strings.Contains(body, `<a href="/images/`+want+`">`) || strings.Contains(body, "elsewhere") {
				t.Errorf("%s: HTTP %d %s", text, resp.StatusCode, body)
			}
		}
	}
	if got := s.send("GET", "/search?q="+strings.Repeat("x", 2049), token, nil); got.status != http.StatusUnprocessableEntity {
		t.Errorf("a long text: HTTP %d", got.status)
	}
}
