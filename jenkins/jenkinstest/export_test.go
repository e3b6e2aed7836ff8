package jenkinstest

import (
	"fmt"
	"testing"
	"time"
)

func sample() *bean {
	child := func(n int) *bean {
		return (&bean{class: "Child"}).putAt("name", 2, fmt.Sprint("c", n)).put("secret", n)
	}
	return (&bean{class: "Top"}).put("children", []any{child(0), child(1), child(2), child(3)}).putAt("all", hidden, []any{child(9)}).
		putInline("inline", child(5)).put("none", nil).put("nobody", hollow{}).put("text", "a\n\"b\\\x7f‘😀").put("empty", []any{}).
		put("lazy", func() any { return int64(1559281453240) }).put("yes", true)
}

// TestExport: the bytes that Stapler writes.
func TestExport(t *testing.T) {
	tests := []struct{ name, tree, want string }{
		{"depth 0", "", `{"_class":"Top","children":[{"_class":"Child","name":"c0"},{"_class":"Child","name":"c1"},{"_class":"Child","name":"c2"},{"_class":"Child","name":"c3"}],` +
			`"inline":{"_class":"Child","name":"c5","secret":5},"none":null,"nobody":{},"text":"a\u000a\"b\\\u007f‘\ud83d\ude00","empty":[],"lazy":1559281453240,"yes":true}`},
		{"names", "yes,lazy", `{"_class":"Top","lazy":1559281453240,"yes":true}`},
		{"no fields below", "children", `{"_class":"Top","children":[{"_class":"Child"},{"_class":"Child"},{"_class":"Child"},{"_class":"Child"}]}`},
		{"from, to", "children[secret]{1,3}", `{"_class":"Top","children":[{"_class":"Child","secret":1},{"_class":"Child","secret":2}]}`},
		{"to", "children[name]{,1}", `{"_class":"Top","children":[{"_class":"Child","name":"c0"}]}`},
		{"from", "children[name]{3,}", `{"_class":"Top","children":[{"_class":"Child","name":"c3"}]}`},
		{"one", "children[name]{2}", `{"_class":"Top","children":[{"_class":"Child","name":"c2"}]}`},
		{"beyond", "children{9,12}", `{"_class":"Top","children":[]}`},
		{"star", "children[*]{0}", `{"_class":"Top","children":[{"_class":"Child","name":"c0","secret":0}]}`},
		{"hidden", "all[name]", `{"_class":"Top","all":[{"_class":"Child","name":"c9"}]}`},
		{"unknown, space", "nothing, yes", `{"_class":"Top"}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := pruner{from: 1}
			if test.tree != "" {
				parsed, err := parseTree(test.tree)
				if err != nil {
					t.Fatal(err)
				}
				p = pruner{tree: parsed}
			}
			if got := export(sample(), p, false); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestExportPretty(t *testing.T) {
	b := (&bean{class: "Top"}).put("list", []any{"a", &bean{}}).put("none", []any{}).put("n", 1)
	want := "{\n  \"_class\" : \"Top\",\n  \"list\" : [\n    \"a\",\n    {\n      \n    }\n  ],\n  \"none\" : [\n    \n  ],\n  \"n\" : 1\n}"
	if got := export(b, pruner{from: -5}, true); got != want {
		t.Errorf("got %s", got)
	}
}

func TestTreeErrors(t *testing.T) {
	for spec, want := range map[string]string{
		"": "expected name at 0", "a,": "expected name at 2", "a[b": "expected RBRACE at 3", "a]": "expected EOF at 1", "a[]": "expected name at 2",
		"a{x}": "expected number at 2", "a{1": "expected QRBRACE at 3", "a{1,x}": "expected number at 4", "a{-1}": "expected number at 2", "a{}": "expected number at 2",
	} {
		if _, err := parseTree(spec); err == nil || err.Error() != want {
			t.Errorf("parseTree(%q) = %v, want %q", spec, err, want)
		}
	}
}

func FuzzTree(f *testing.F) {
	f.Add("builds[number,actions[parameters[name,value]]]{0,50}")
	f.Fuzz(func(t *testing.T, spec string) {
		parsed, err := parseTree(spec)
		if (parsed == nil) == (err == nil) {
			t.Errorf("%q: %v, %v", spec, parsed, err)
		}
		if parsed != nil {
			export(sample(), pruner{tree: parsed}, true)
		}
	})
}

// TestTimeSpan: hudson.Util.getTimeSpanString.
func TestTimeSpan(t *testing.T) {
	for span, want := range map[time.Duration]string{
		0: "0 ms", 87 * time.Millisecond: "87 ms", 123 * time.Millisecond: "0.12 sec", 4699 * time.Millisecond: "4.6 sec", 5 * time.Second: "5 sec",
		10900 * time.Millisecond: "10 sec", time.Minute: "1 min 0 sec", 51*time.Minute + 9*time.Second: "51 min", 150 * time.Minute: "2 hr 30 min",
		24 * time.Hour: "1 day 0 hr", 49 * time.Hour: "2 days 1 hr", 12 * 24 * time.Hour: "12 days", 40 * 24 * time.Hour: "1 mo 10 days", 800 * 24 * time.Hour: "2 yr 2 mo",
	} {
		if got := timeSpan(span); got != want {
			t.Errorf("timeSpan(%s) = %q, want %q", span, got, want)
		}
	}
	if got := grouped(1234567) + " " + grouped(145); got != "1,234,567 145" {
		t.Error(got)
	}
}
