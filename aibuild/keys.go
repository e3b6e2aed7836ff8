package aibuild

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
)

// keyPair is the key by which Packer enters the guest of one build. It dies
// with the build's work folder.
type keyPair struct {
	Public      string // authorized_keys line
	PrivateFile string
	private     string
}

func newKeyPair(dir string) (keyPair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, err
	}
	block, err := ssh.MarshalPrivateKey(private, "aibuild build")
	if err != nil {
		return keyPair{}, err
	}
	authorized, err := ssh.NewPublicKey(public)
	if err != nil {
		return keyPair{}, err
	}
	k := keyPair{
		Public:      strings.TrimSpace(string(ssh.MarshalAuthorizedKey(authorized))) + " aibuild-build",
		PrivateFile: filepath.Join(dir, "build-key"),
		private:     string(pem.EncodeToMemory(block)),
	}
	return k, os.WriteFile(k.PrivateFile, []byte(k.private), 0o600)
}
