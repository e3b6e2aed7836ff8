package lineage

import (
	"context"
	"database/sql"
	"errors"
	"regexp"
	"slices"
	"strings"
	"time"
)

// SearchQuery asks what a text may mean.
type SearchQuery struct {
	Text     string
	Projects []string // only image names that belong to one of these; none: all
	Limit    int      // of each kind, 1 to 100; 0 = 20
}

// Found is what a text may mean. The JSON form is what the API gives; fields are
// only ever added.
type Found struct {
	Names  []Image `json:"names"`          // the newest image of each name that has the text in it; those that begin with it first
	Images []Image `json:"images"`         // that the text refers to: NAME@N, uuid or its beginning, Glance id, sha256, URL, commit or its beginning
	Runs   []Run   `json:"runs"`           // whose id it is, or begins with it
	More   bool    `json:"more,omitempty"` // there is more of a kind than is given
}

// searchedNames bounds how many names are looked through for a text in their
// middle, which no index has: in the order of the alphabet, about 30 ms of work.
const searchedNames = 20_000

const (
	// Both jump from one name to the next in an index.
	namesSQL       = "SELECT name, MAX(project) AS project FROM image FORCE INDEX (name_project)"
	namesBeginSQL  = namesSQL + " WHERE name LIKE ? GROUP BY name ORDER BY name LIMIT ?"
	namesWithin    = namesSQL + " GROUP BY name ORDER BY name LIMIT ?"
	newestOfSQL    = "SELECT name, MAX(built_at) FROM image FORCE INDEX (name_built) WHERE name IN ("
	commitSQL      = "SELECT image_uuid FROM image_artifact FORCE INDEX (commit_sha) WHERE commit_sha LIKE ? ORDER BY commit_sha DESC, image_uuid DESC LIMIT ?"
	runsByStartSQL = "SELECT " + runColumns + " FROM run FORCE INDEX (id) WHERE id LIKE ? ORDER BY id DESC LIMIT ?"
)

// commitPrefix is what may be the beginning of a commit.
var commitPrefix = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// Search finds what a text may mean: image names that begin with it or have it in
// them (in any case), images by every reference that [Store.Resolve] takes and by
// their commit, and runs. Nothing found is no error.
func (s *Store) Search(ctx context.Context, q SearchQuery) (Found, error) {
	q.Text = strings.TrimSpace(q.Text)
	switch {
	case q.Text == "":
		return Found{}, &Invalid{Field: "text", Problem: "is missing: say what to look for"}
	case q.Limit < 0 || q.Limit > 100:
		return Found{}, &Invalid{Field: "limit", Problem: "must be 1 to 100"}
	case q.Limit == 0:
		q.Limit = 20
	}
	if err := s.ready(ctx, "search"); err != nil {
		return Found{}, err
	}
	found := Found{Names: []Image{}, Images: []Image{}, Runs: []Run{}}
	for _, look := range []func(context.Context, SearchQuery, *Found) error{s.searchNames, s.searchImages, s.searchRuns} {
		if err := look(ctx, q, &found); err != nil {
			return Found{}, s.fault(ctx, "search", err)
		}
	}
	return found, nil
}

func (s *Store) searchNames(ctx context.Context, q SearchQuery, found *Found) error {
	if len(q.Text) > 255 {
		return nil // no name is that long
	}
	mine := func(project string) bool { return len(q.Projects) == 0 || slices.Contains(q.Projects, project) }
	var names []string
	take := func(rows *sql.Rows) error {
		var name, project string
		err := rows.Scan(&name, &project)
		if mine(project) && !slices.Contains(names, name) {
			names = append(names, name)
		}
		return err
	}
	begin, args := namesBeginSQL, []any{like(q.Text) + "%", searchedNames}
	if len(q.Projects) == 0 {
		args[1] = q.Limit + 1
	}
	if err := collect(ctx, s.reads, take, begin, args...); err != nil {
		return err
	}
	if len(names) <= q.Limit {
		query, args := namesHaveSQL(q)
		if err := collect(ctx, s.reads, take, query, args...); err != nil {
			return err
		}
	}
	if len(names) > q.Limit {
		names, found.More = names[:q.Limit], true
	}
	var err error
	found.Names, err = s.newestOf(ctx, names)
	return err
}

// namesHaveSQL looks for the text within names, whatever its case. It asks for
// as many as may be given, beyond those that were found before.
func namesHaveSQL(q SearchQuery) (string, []any) {
	query, args := "SELECT name, project FROM ("+namesWithin+") n WHERE LOWER(name) LIKE ?", []any{searchedNames, "%" + like(strings.ToLower(q.Text)) + "%"}
	if len(q.Projects) > 0 {
		query += " AND project IN (" + marks(len(q.Projects)) + ")"
		for _, p := range q.Projects {
			args = append(args, p)
		}
	}
	return query + " ORDER BY name LIMIT ?", append(args, 2*q.Limit+1)
}

// like takes the meaning from what LIKE reads as a pattern.
func like(text string) string {
	return strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(text)
}

// newestOf gives the newest image of each name, in the order of the names.
func (s *Store) newestOf(ctx context.Context, names []string) ([]Image, error) {
	if len(names) == 0 {
		return []Image{}, nil
	}
	var args, pairs []any
	for _, n := range names {
		args = append(args, n)
	}
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var name string
		var at time.Time
		err := rows.Scan(&name, &at)
		pairs = append(pairs, name, at)
		return err
	}, newestOfSQL+marks(len(args))+") GROUP BY name", args...)
	if err != nil || len(pairs) == 0 {
		return []Image{}, err
	}
	images, err := s.images(ctx, s.reads, brief, builtAtSQL(len(pairs)/2), pairs...)
	byName := map[string]Image{}
	for _, i := range images {
		if i.Number >= byName[i.Name].Number { // of two that were built at the same moment the later number counts
			byName[i.Name] = i
		}
	}
	list := []Image{}
	for _, n := range names {
		if i, ok := byName[n]; ok {
			list = append(list, i)
		}
	}
	return list, err
}

func builtAtSQL(names int) string {
	return "SELECT " + imageColumns + " FROM image i FORCE INDEX (name_built)" + imageJoins + " WHERE (i.name, i.built_at) IN (" + rowsOf("(?, ?)", names) + ")"
}

func (s *Store) searchImages(ctx context.Context, q SearchQuery, found *Found) error {
	images, err := s.byRef(ctx, q.Text)
	if err != nil && !is[*Invalid](err) { // a text that is no address is one that names nothing
		return err
	}
	images = slices.DeleteFunc(images, func(i Image) bool { return i.Name == q.Text }) // told as a name
	more, err := s.byCommit(ctx, strings.ToLower(q.Text), q.Limit+1)
	if err != nil {
		return err
	}
	for _, i := range append(images, more...) {
		if !slices.ContainsFunc(found.Images, func(have Image) bool { return have.UUID == i.UUID }) {
			i.Artifact, i.Tests = nil, []TestCase{} // as in lists
			found.Images = append(found.Images, i)
		}
	}
	slices.SortStableFunc(found.Images, func(a, b Image) int { return b.BuiltAt.Compare(a.BuiltAt) })
	if len(found.Images) > q.Limit {
		found.Images, found.More = found.Images[:q.Limit], true
	}
	return nil
}

func (s *Store) byCommit(ctx context.Context, prefix string, limit int) ([]Image, error) {
	if !commitPrefix.MatchString(prefix) {
		return nil, nil
	}
	var uuids []any
	err := collect(ctx, s.reads, func(rows *sql.Rows) error {
		var uuid string
		err := rows.Scan(&uuid)
		uuids = append(uuids, uuid)
		return err
	}, commitSQL, prefix+"%", limit)
	if err != nil || len(uuids) == 0 {
		return nil, err
	}
	return s.images(ctx, s.reads, brief, "SELECT "+imageColumns+" FROM image i"+imageJoins+" WHERE i.uuid IN ("+marks(len(uuids))+")", uuids...)
}

func (s *Store) searchRuns(ctx context.Context, q SearchQuery, found *Found) error {
	low := strings.ToLower(q.Text)
	if !hexPrefix.MatchString(low) {
		run, err := s.Run(ctx, q.Text) // ids that others gave
		if err == nil {
			found.Runs = append(found.Runs, run)
		}
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		return err
	}
	runs, _, err := s.runs(ctx, runsByStartSQL, low+"%", q.Limit+1)
	if len(runs) > q.Limit {
		runs, found.More = runs[:q.Limit], true
	}
	found.Runs = runs
	return err
}
