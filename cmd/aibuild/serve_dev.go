package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/guestos/aibuild/aibuild/api"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// makeDevSecret makes the webhook secret that nobody has configured, and says
// only where it is.
func (s *service) makeDevSecret() error {
	c := s.w.config
	if c.getenv("AIBUILD_GITLAB_SECRET")+c.getenv("AIBUILD_GITLAB_SECRET_FILE") != "" || len(c.GitLab.SecretFiles) > 0 {
		return nil
	}
	path := filepath.Join(s.data, "hook-secret")
	switch _, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		secret := make([]byte, 24)
		if _, err := rand.Read(secret); err != nil {
			return err
		}
		if err := renameio.WriteFile(path, []byte(hex.EncodeToString(secret)+"\n"), 0o600); err != nil {
			return err
		}
	case err != nil:
		return err
	}
	fmt.Fprintf(s.w.stderr, "aibuild: the webhook's secret is in %s\n", path)
	return nil
}

// makeDevToken makes an administrator's token where there is none that the
// database still takes, and says only where it is.
func (s *service) makeDevToken(ctx context.Context) error {
	path := filepath.Join(s.data, "admin-token")
	good, err := s.devTokenIsGood(ctx, path)
	if err != nil {
		return err
	}
	if !good {
		token, hash := api.NewToken()
		if err := renameio.WriteFile(path, []byte(string(token)+"\n"), 0o600); err != nil {
			return err
		}
		_, err := s.store.CreateToken(ctx, lineage.Token{
			Name: "dev-admin", Role: api.RoleAdmin, CreatedBy: actor(), ExpiresAt: time.Now().Add(api.DefaultExpiry),
		}, hash)
		if err != nil {
			return errors.Join(err, os.Remove(path))
		}
	}
	fmt.Fprintf(s.w.stderr, "aibuild: an administrator's token is in %s\n", path)
	return nil
}

// devTokenIsGood: the database may have been made anew since, the token may have
// expired, and the process that made it may have been killed on its way.
func (s *service) devTokenIsGood(ctx context.Context, path string) (bool, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	_, err = s.store.TokenByHash(ctx, api.HashToken(api.Secret(strings.TrimSpace(string(b)))))
	if errors.Is(err, lineage.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}
