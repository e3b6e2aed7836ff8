package api

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// DefaultExpiry is how long a token is good when nobody says otherwise.
const DefaultExpiry = 90 * 24 * time.Hour

// tokenPrefix lets people and secret scanners see what a found string is.
const tokenPrefix = "aib_"

// tokenDigits is how many base62 digits 32 bytes take.
const tokenDigits = 43

var tokenForm = regexp.MustCompile(`^aib_[0-9A-Za-z]{43}$`)

// Secret is a token that does not show itself when it is printed or logged.
type Secret string

const hidden = "(hidden)"

// String hides the secret; string(s) is the secret itself.
func (Secret) String() string { return hidden }

// GoString hides the secret in %#v.
func (Secret) GoString() string { return hidden }

// MarshalText hides the secret in JSON and in logs.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// NewToken makes a token of 32 random bytes, and the hash under which the
// store keeps it. The token itself is stored nowhere.
func NewToken() (token Secret, hash string) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // it never fails: the program ends where there is no randomness
	digits := new(big.Int).SetBytes(b).Text(62)
	token = Secret(tokenPrefix + strings.Repeat("0", tokenDigits-len(digits)) + digits)
	return token, HashToken(token)
}

// HashToken gives the lower-case hex sha256 of a token. Looking a token up by
// its hash takes no time that depends on how much of it was guessed.
func HashToken(token Secret) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

var tokenName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$`)

// CheckToken says what is wrong with a token that somebody wants to have.
func CheckToken(name, role string, projects []string) error {
	if !tokenName.MatchString(name) {
		return fmt.Errorf("token name %q: use 1 to 64 letters, digits, dots, dashes, underlines and @, first a letter or digit", name)
	}
	if !isRole(role) {
		return fmt.Errorf("role %q: use one of %s", role, strings.Join(Roles(), ", "))
	}
	if role == RoleRecorder && len(projects) == 0 {
		return fmt.Errorf("a recorder belongs to projects: name them, such as group/images")
	}
	for _, p := range projects {
		if p == "" || strings.TrimSpace(p) != p || strings.HasPrefix(p, "/") || strings.HasSuffix(p, "/") || len(p) > 255 {
			return fmt.Errorf("project %q: write it as GitLab does, such as group/images", p)
		}
	}
	return nil
}
