package gitlabtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

type commit struct {
	ID                string
	Parents           []string
	Author, Committer identity
	Message           string // as stored, with the newline at its end
}

type identity struct {
	Name, Email string
	When        time.Time // in the zone that was written down
}

// object is what cat-file prints of one id.
type object struct {
	id, kind string
	content  []byte
}

// objects reads whole objects, in the order of their ids.
func (r repository) objects(ctx context.Context, ids ...string) ([]object, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	out, err := r.git(ctx, strings.NewReader(strings.Join(ids, "\n")+"\n"), "cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	reader := bufio.NewReader(bytes.NewReader(out))
	found := make([]object, 0, len(ids))
	for range ids {
		line, err := reader.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("git cat-file: %w", err)
		}
		fields := strings.Fields(line)
		if len(fields) != 3 {
			return nil, fmt.Errorf("%w: %s", errNoObject, strings.TrimSpace(line))
		}
		size, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("git cat-file printed %q: %w", line, err)
		}
		content := make([]byte, size+1) // a newline follows
		if _, err := io.ReadFull(reader, content); err != nil {
			return nil, fmt.Errorf("git cat-file: object %s: %w", fields[0], err)
		}
		found = append(found, object{id: fields[0], kind: fields[1], content: content[:size]})
	}
	return found, nil
}

func (r repository) commits(ctx context.Context, ids ...string) ([]commit, error) {
	objects, err := r.objects(ctx, ids...)
	if err != nil {
		return nil, err
	}
	found := make([]commit, len(objects))
	for i, o := range objects {
		if found[i], err = parseCommit(o); err != nil {
			return nil, fmt.Errorf("commit %s: %w", o.id, err)
		}
	}
	return found, nil
}

func (r repository) commit(ctx context.Context, id string) (commit, error) {
	found, err := r.commits(ctx, id)
	if err != nil {
		return commit{}, err
	}
	return found[0], nil
}

func parseCommit(o object) (commit, error) {
	if o.kind != "commit" {
		return commit{}, fmt.Errorf("it is a %s", o.kind)
	}
	c := commit{ID: o.id, Parents: []string{}}
	head, message, _ := bytes.Cut(o.content, []byte("\n\n"))
	c.Message = toUTF8(message)
	var problem error
	for line := range strings.SplitSeq(string(head), "\n") {
		key, value, _ := strings.Cut(line, " ")
		var err error
		switch key {
		case "parent":
			c.Parents = append(c.Parents, value)
		case "author":
			c.Author, err = parseIdentity(value)
		case "committer":
			c.Committer, err = parseIdentity(value)
		}
		problem = errors.Join(problem, err)
	}
	return c, problem
}

// parseIdentity reads "Name <email> 1700000000 +0100".
func parseIdentity(s string) (identity, error) {
	open, end := strings.IndexByte(s, '<'), strings.LastIndexByte(s, '>')
	if open < 0 || end < open {
		return identity{}, fmt.Errorf("unreadable identity %q", s)
	}
	who := identity{Name: toUTF8([]byte(strings.TrimSpace(s[:open]))), Email: toUTF8([]byte(s[open+1 : end]))}
	seconds, zone, _ := strings.Cut(strings.TrimSpace(s[end+1:]), " ")
	unix, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return identity{}, fmt.Errorf("unreadable time in %q: %w", s, err)
	}
	offset, err := time.Parse("-0700", zone)
	if err != nil {
		return identity{}, fmt.Errorf("unreadable zone in %q: %w", s, err)
	}
	_, east := offset.Zone()
	who.When = time.Unix(unix, 0).In(time.FixedZone("", east))
	return who, nil
}

// tagMessage gives the message of a tag object without the newlines at its end, as Gitaly does.
func tagMessage(o object) string {
	_, message, _ := bytes.Cut(o.content, []byte("\n\n"))
	return strings.TrimRight(toUTF8(message), "\n")
}

// toUTF8 makes text fit for JSON. GitLab guesses the encoding of what is no UTF-8; its usual guess is Latin-1.
func toUTF8(b []byte) string {
	if utf8.Valid(b) {
		return string(b)
	}
	runes := make([]rune, len(b))
	for i, c := range b {
		runes[i] = rune(c)
	}
	return string(runes)
}
