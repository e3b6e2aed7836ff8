package main

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/guestos/aibuild/aibuild/publish"
)

// image is a disk image that bin/aibuild built.
type image struct {
	path string
	sums publish.Sums
	rss  int64 // bytes: the most that aibuild had in memory meanwhile
}

// tinyImage is examples/images/tiny-linux, built from its ISO, once.
func (b *bench) tinyImage(ctx context.Context) (*image, error) {
	if b.tiny != nil {
		return b.tiny, nil
	}
	b.say("building tiny-linux from its ISO")
	definitions := b.path("images")
	for _, name := range []string{"common", "tiny-linux"} {
		if err := os.CopyFS(filepath.Join(definitions, name), os.DirFS(filepath.Join(b.repo, "examples", "images", name))); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(definitions, "tiny-linux")
	if _, err := b.program(ctx, filepath.Join(dir, "source.sh")); err != nil {
		return nil, err
	}
	if err := b.commit(ctx, definitions); err != nil {
		return nil, err
	}
	var err error
	b.tiny, err = b.build(ctx, dir)
	return b.tiny, err
}

// commit makes a repository of dir with all that is in it.
func (b *bench) commit(ctx context.Context, dir string) error {
	for _, args := range [][]string{
		{"init", "-q", "-b", "main"}, {"add", "-A"},
		{"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "first version"},
	} {
		if _, err := b.program(ctx, "git", append([]string{"-C", dir}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// build runs aibuild build.
func (b *bench) build(ctx context.Context, dir string) (*image, error) {
	if err := b.prepareCommand(ctx); err != nil {
		return nil, err
	}
	res, rss, err := watched(ctx, b.command("build", dir))
	if err != nil {
		if res != nil {
			err = fmt.Errorf("%w\n%s", err, res.Stderr)
		}
		return nil, err
	}
	words := strings.Fields(string(res.Stdout))
	if len(words) == 0 {
		return nil, errors.New("aibuild build printed no uuid")
	}
	found, err := filepath.Glob(filepath.Join(b.web(), "images", "build", "*", words[len(words)-1], "*.qcow2"))
	if err != nil || len(found) != 1 {
		return nil, errors.Join(err, fmt.Errorf("image %s is %d times in %s", words[len(words)-1], len(found), b.web()))
	}
	sums, err := publish.Digest(ctx, found[0], nil)
	return &image{path: found[0], sums: sums, rss: rss}, err
}

// key is an SSH key pair for one guest.
type key struct {
	file   string // private, in OpenSSH's form
	public string // as in authorized_keys
	signer ssh.Signer
}

func (b *bench) key() (*key, error) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return nil, err
	}
	block, err := ssh.MarshalPrivateKey(private, "bench")
	if err != nil {
		return nil, err
	}
	k := &key{file: b.path("id_ed25519"), signer: signer}
	k.public = strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " bench"
	return k, os.WriteFile(k.file, pem.EncodeToMemory(block), 0o600)
}
