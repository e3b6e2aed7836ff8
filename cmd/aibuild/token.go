package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/definition"
	"github.com/guestos/aibuild/aibuild/lineage"
)

func (w *world) tokenCommand() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "who may use the API",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "make a token and print it, this once; only its digest is kept", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "role", Usage: "`ROLE`: " + strings.Join(api.Roles(), ", ") + " (needed)"},
					&cli.StringSliceFlag{Name: "project", Usage: "only for `PROJECT`, such as group/images (repeatable; a recorder needs one)"},
					&cli.StringFlag{Name: "expires", Value: "90d", Usage: "valid for so `LONG`"},
				},
				Action: w.tokenCreate,
			},
			{Name: "list", Usage: "the tokens, without what they are", Flags: []cli.Flag{outputFlag()}, Action: w.tokenList},
			{Name: "revoke", Usage: "end a token now", ArgsUsage: "NAME", Action: w.tokenRevoke},
		},
	}
}

func (w *world) tokenCreate(c *cli.Context) error {
	if err := args(c, "NAME"); err != nil {
		return err
	}
	name, role, projects := c.Args().First(), c.String("role"), c.StringSlice("project")
	if err := api.CheckToken(name, role, projects); err != nil {
		return usagef("%v", err)
	}
	long, err := definition.ParseDuration(c.String("expires"))
	if err != nil || long == 0 {
		return usagef("--expires %s: write how long it is valid, such as 90d", c.String("expires"))
	}
	store, err := w.store(c.Context, w.logger(c))
	if err != nil {
		return err
	}
	token, hash := api.NewToken()
	made, err := store.CreateToken(c.Context, lineage.Token{Name: name, Role: role, Projects: projects, CreatedBy: actor(), ExpiresAt: time.Now().Add(long)}, hash)
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "valid until %s UTC; it is not shown again\n", when(made.ExpiresAt))
	_, err = fmt.Fprintln(w.stdout, string(token))
	return err
}

// shownToken is a token as lists show it.
type shownToken struct {
	Name       string    `json:"name"`
	Role       string    `json:"role"`
	Projects   []string  `json:"projects"`
	CreatedBy  string    `json:"created_by"`
	CreatedAt  time.Time `json:"created_at"`
	ExpiresAt  time.Time `json:"expires_at,omitzero"`
	LastUsedAt time.Time `json:"last_used_at,omitzero"`
	RevokedAt  time.Time `json:"revoked_at,omitzero"`
}

func (w *world) tokenList(c *cli.Context) error {
	if err := args(c); err != nil {
		return err
	}
	store, err := w.store(c.Context, w.logger(c))
	if err != nil {
		return err
	}
	tokens, err := store.Tokens(c.Context)
	if err != nil {
		return err
	}
	list := []shownToken{}
	for _, t := range tokens {
		list = append(list, shownToken{t.Name, t.Role, t.Projects, t.CreatedBy, t.CreatedAt, t.ExpiresAt, t.LastUsedAt, t.RevokedAt})
	}
	return w.print(c, list, func(out io.Writer) error {
		if err := row(out, "NAME", "ROLE", "PROJECTS", "CREATED", "EXPIRES", "LAST USED", "REVOKED"); err != nil {
			return err
		}
		for _, t := range list {
			if err := row(out, t.Name, t.Role, strings.Join(t.Projects, ","), when(t.CreatedAt), when(t.ExpiresAt), when(t.LastUsedAt), when(t.RevokedAt)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (w *world) tokenRevoke(c *cli.Context) error {
	if err := args(c, "NAME"); err != nil {
		return err
	}
	store, err := w.store(c.Context, w.logger(c))
	if err != nil {
		return err
	}
	n, err := store.RevokeToken(c.Context, c.Args().First(), actor())
	if err != nil {
		return err
	}
	fmt.Fprintf(w.stderr, "%d tokens were revoked\n", n) // 0: they had been before
	return nil
}
