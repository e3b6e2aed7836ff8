package main

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"
)

// sessionKey is what sessions of the pages are sealed with. It is made once, so
// that nobody has to sign in again after a restart; removing the file ends all
// sessions.
func (s *service) sessionKey() ([]byte, error) {
	path := filepath.Join(s.data, "session-key")
	key, err := os.ReadFile(path)
	if err == nil && len(key) == sha256.Size {
		return key, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key of the pages' sessions: %w", err)
	}
	key = make([]byte, sha256.Size)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	if err := renameio.WriteFile(path, key, 0o600); err != nil {
		return nil, fmt.Errorf("key of the pages' sessions: %w", err)
	}
	return key, nil
}
