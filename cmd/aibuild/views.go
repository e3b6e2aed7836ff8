package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/definition"
)

func sinceFlag() cli.Flag {
	return &cli.StringFlag{Name: "since", Usage: "only what is not older than `WHEN`: 90m, 12h, 7d, 2026-11-01 or 2026-11-01T08:00:00Z"}
}

// sinceTime is the moment that --since means; zero without it.
func sinceTime(c *cli.Context) (time.Time, error) { return timeFlag(c, "since") }

// timeFlag reads a moment, or how long ago it was; zero without the flag.
func timeFlag(c *cli.Context, name string) (time.Time, error) {
	text := c.String(name)
	if text == "" {
		return time.Time{}, nil
	}
	for _, form := range []string{time.RFC3339, "2006-01-02 15:04:05", time.DateOnly} {
		if t, err := time.Parse(form, text); err == nil {
			return t, nil
		}
	}
	if d, err := definition.ParseDuration(text); err == nil && d > 0 {
		return time.Now().Add(-d), nil
	}
	return time.Time{}, usagef("%s: --%s %s: give a time such as 12h, 7d, 2026-11-01 or 2026-11-01T08:00:00Z (UTC)", c.Command.HelpName, name, text)
}

// newer keeps what is not older than since of a page that is newest first; what
// follows an older one is older still, so that there is no next page then.
func newer[T any](list []T, next string, since time.Time, at func(T) time.Time) ([]T, string) {
	if since.IsZero() {
		return list, next
	}
	for i, one := range list {
		if at(one).Before(since) {
			return list[:i], ""
		}
	}
	return list, next
}

func webFlag() cli.Flag {
	return &cli.BoolFlag{Name: "web", Usage: "print only the address of the page that shows the same"}
}

func onlyIf(yes bool) string {
	if yes {
		return "1"
	}
	return ""
}

// showPage prints the address of a page of the daemon. The query is name, value,
// name, value; empty values are left out.
func (w *world) showPage(c *cli.Context, path string, query ...string) error {
	base := w.getenv("AIBUILD_SERVER")
	if base == "" {
		base = w.config.PublicURL
	}
	if base == "" {
		return usagef("%s: --web needs to know where the daemon is: set AIBUILD_SERVER, or public_url in the configuration", c.Command.HelpName)
	}
	q := url.Values{}
	for i := 0; i+1 < len(query); i += 2 {
		if query[i+1] != "" {
			q.Set(query[i], query[i+1])
		}
	}
	address := strings.TrimSuffix(base, "/") + path
	if len(q) > 0 {
		address += "?" + q.Encode()
	}
	if _, err := fmt.Fprintln(w.stdout, address); err != nil {
		return err
	}
	return nil
}
