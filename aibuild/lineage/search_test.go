package lineage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func search(t *testing.T, s *Store, q SearchQuery) (names, images, runs []string, more bool) {
	t.Helper()
	f, err := s.Search(t.Context(), q)
	if err != nil {
		t.Fatalf("%+v: %v", q, err)
	}
	for _, i := range f.Names {
		names = append(names, i.Ref())
	}
	for _, i := range f.Images {
		images = append(images, i.Ref())
	}
	for _, r := range f.Runs {
		runs = append(runs, r.ID)
	}
	return names, images, runs, f.More
}

func TestSearch(t *testing.T) {
	s := newStore(t)
	glance, run := id(), "cafe0000-0000-7000-8000-000000000001"
	uuids := map[string]string{}
	for n, name := range []string{"debian-12", "debian-12", "debian_12", "my-debian", "Debian-old", "100%", "theirs-debian"} {
		uuid := id()
		uuids[name] = uuid
		built := builtRecord(uuid, name, day.Add(time.Duration(n)*time.Hour))
		built.Built.Project = "ops/images"
		if name == "theirs-debian" {
			built.Built.Project, built.Built.Artifact.Commit = "other", "c0ffee"+strings.Repeat("1", 34)
		}
		record(t, s, built)
	}
	record(t, s, targetRecord(uuids["my-debian"], "alpha", TargetVisible, glance, day), opened(Run{ID: run, Image: "tiny", State: RunBuilding}, day))
	sha := strings.ReplaceAll(uuids["my-debian"], "-", "")
	for _, c := range []struct {
		text                string
		projects            []string
		names, images, runs string
	}{
		{"debian-12", nil, "[debian-12@2]", "[]", "[]"},
		{"debian", nil, "[debian-12@2 debian_12@1 Debian-old@1 my-debian@1 theirs-debian@1]", "[]", "[]"},
		{" DEBIAN-O ", nil, "[Debian-old@1]", "[]", "[]"},
		{"debian", []string{"ops/images"}, "[debian-12@2 debian_12@1 Debian-old@1 my-debian@1]", "[]", "[]"},
		{"debian", []string{"none"}, "[]", "[]", "[]"},
		{"debian_", nil, "[debian_12@1]", "[]", "[]"},
		{"0%", nil, "[100%@1]", "[]", "[]"},
		{"%", nil, "[100%@1]", "[]", "[]"},
		{`\`, nil, "[]", "[]", "[]"},
		{"debian-12@1", nil, "[]", "[debian-12@1]", "[]"},
		{glance, nil, "[]", "[my-debian@1]", "[]"},
		{strings.ToUpper(uuids["my-debian"]), nil, "[]", "[my-debian@1]", "[]"},
		{sha + sha, nil, "[]", "[my-debian@1]", "[]"},
		{"https://web/images/build/my-debian/" + uuids["my-debian"] + "/my-debian.qcow2", nil, "[]", "[my-debian@1]", "[]"},
		{"C0FFEE1", nil, "[]", "[theirs-debian@1]", "[]"},
		{"cafe0000", nil, "[]", "[]", "[" + run + "]"},
		{run, nil, "[]", "[]", "[" + run + "]"},
		{"://%zz", nil, "[]", "[]", "[]"},
		{strings.Repeat("x", 2000), nil, "[]", "[]", "[]"},
		{"' OR 1=1 --", nil, "[]", "[]", "[]"},
	} {
		names, images, runs, more := search(t, s, SearchQuery{Text: c.text, Projects: c.projects})
		if fmt.Sprint(names) != c.names || fmt.Sprint(images) != c.images || fmt.Sprint(runs) != c.runs || more {
			t.Errorf("%.50q %v: names %v, images %v, runs %v, more %t; want %s, %s, %s", c.text, c.projects, names, images, runs, more, c.names, c.images, c.runs)
		}
	}
	names, _, _, more := search(t, s, SearchQuery{Text: "debian", Limit: 2})
	if !slices.Equal(names, []string{"debian-12@2", "debian_12@1"}) || !more {
		t.Errorf("two of five: %v, more %t", names, more)
	}
	_, images, _, more := search(t, s, SearchQuery{Text: "c0ffee", Limit: 3})
	if len(images) != 3 || !more {
		t.Errorf("three images of a commit: %v, more %t", images, more)
	}
	for field, q := range map[string]SearchQuery{"text": {Text: " "}, "limit": {Text: "x", Limit: 101}} {
		if _, err := s.Search(t.Context(), q); !is[*Invalid](err) || !strings.Contains(err.Error(), field) {
			t.Errorf("%+v: %v", q, err)
		}
	}
}

// Searching reads a few rows for each name, and never all images.
func TestSearchReadsAnIndex(t *testing.T) {
	s := newStore(t)
	fill(t, s, 20_000, 20_000, 1) // 501 names
	db := s.cfg.DBName
	query(t, fmt.Sprintf(`INSERT INTO %s.image_artifact SELECT uuid, '', '', 0, 0, 0, uuid, '', '', SHA1(number DIV 4), 0, '', '', '', '', '', '', NULL, '', '', 0, '{}', '', 0, 0, '', '' FROM %s.image`, db, db))
	query(t, "ANALYZE TABLE "+db+".image_artifact")
	have, haveArgs := namesHaveSQL(SearchQuery{Text: "49", Limit: 20})
	for _, st := range []struct {
		key, query string
		args       []any
		rows       int // that it may read
	}{
		{"name_project", namesBeginSQL, []any{"n4%", 21}, 120},
		{"", have, haveArgs, 3500}, // two jumps for each name, and the list of them
		{"name_built", newestOfSQL + "?, ?) GROUP BY name", []any{"hot", "n49"}, 12},
		{"", builtAtSQL(2), []any{"hot", time.Date(2020, 1, 1, 0, 8, 0, 0, time.UTC), "n49", time.Date(2020, 1, 1, 0, 49, 0, 0, time.UTC)}, 30},
		{"commit_sha", commitSQL, []any{"ab%", 21}, 25},
		{"id", runsByStartSQL, []any{"1%", 21}, 25},
	} {
		if st.key != "" {
			explain(t, s, st.key, st.query, st.args)
		}
		if read := reads(t, s, st.query, st.args); read > st.rows {
			t.Errorf("reads %d rows, want at most %d: %s", read, st.rows, st.query)
		}
	}
	names, _, _, more := search(t, s, SearchQuery{Text: "n49"})
	if len(names) == 0 || !strings.HasPrefix(names[0], "n49@") || more {
		t.Errorf("n49: %v, more %t", names, more)
	}
}
