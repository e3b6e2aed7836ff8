package hooks

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Secret is one way for deliveries to prove where they come from. A value that
// starts with whsec_ is a Standard Webhooks signing key (GitLab's signing
// token), any other is the token of X-Gitlab-Token. Of each several may be
// valid at once, so that they can be changed without a gap.
type Secret struct {
	// Project that it speaks for, and for no other. Empty: all projects that
	// have no secret of their own.
	Project string
	// Value is asked at every delivery: a file may have changed. It never ends
	// up in a log, an error or an answer.
	Value func() (string, error)
}

const (
	signingPrefix = "whsec_"
	// tolerance is how far the clocks of GitLab and of this machine may differ.
	tolerance = 5 * time.Minute
)

// proof is what a request proves about itself.
type proof struct {
	list   []Secret
	key    []bool // a signing key, not a token
	proven []bool
}

var errUnreadable = errors.New("a webhook secret cannot be read")

// prove holds all secrets against a request. It looks at all of them, whichever
// fits, so that the time it takes tells nothing.
func prove(list []Secret, header http.Header, body []byte, now time.Time) (proof, error) {
	p := proof{list, make([]bool, len(list)), make([]bool, len(list))}
	fresh := freshSignature(header, now)
	token := sha256.Sum256([]byte(header.Get("X-Gitlab-Token")))
	var failed error
	for i, s := range list {
		value, err := s.Value()
		if err == nil && value == "" {
			err = errors.New("it is empty")
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%w: %w", errUnreadable, err))
			continue
		}
		if p.key[i] = strings.HasPrefix(value, signingPrefix); p.key[i] {
			p.proven[i] = fresh && signed(value, header, body)
			continue
		}
		want := sha256.Sum256([]byte(value))
		p.proven[i] = subtle.ConstantTimeCompare(want[:], token[:]) == 1
	}
	if p.any() {
		return p, nil
	}
	return p, failed
}

// any says whether the request has proven anything.
func (p proof) any() bool {
	for _, ok := range p.proven {
		if ok {
			return true
		}
	}
	return false
}

// speaksFor says whether the request may speak for a project. Where signing keys
// are configured for it, a token alone proves nothing.
func (p proof) speaksFor(project string) bool {
	own := false
	for _, s := range p.list {
		own = own || s.Project == project
	}
	keys, byKey, byToken := false, false, false
	for i, s := range p.list {
		if own != (s.Project == project) || !own && s.Project != "" {
			continue
		}
		keys = keys || p.key[i]
		byKey = byKey || p.key[i] && p.proven[i]
		byToken = byToken || !p.key[i] && p.proven[i]
	}
	return byKey || byToken && !keys
}

// freshSignature: a signature that is sent again later is worth nothing.
func freshSignature(header http.Header, now time.Time) bool {
	seconds, err := strconv.ParseInt(header.Get("webhook-timestamp"), 10, 64)
	return err == nil && now.Sub(time.Unix(seconds, 0)).Abs() <= tolerance
}

// signed checks the signatures of Standard Webhooks
// (https://github.com/standard-webhooks/standard-webhooks): HMAC-SHA256 over
// ID.TIMESTAMP.BODY, as v1,BASE64; several are separated by spaces.
func signed(secret string, header http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, signingPrefix))
	if err != nil || len(key) == 0 {
		return false
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.", header.Get("webhook-id"), header.Get("webhook-timestamp"))
	mac.Write(body)
	want := mac.Sum(nil)
	found := false
	for one := range strings.FieldsSeq(header.Get("webhook-signature")) {
		text, ok := strings.CutPrefix(one, "v1,")
		if !ok {
			continue
		}
		got, err := base64.StdEncoding.DecodeString(text)
		if err == nil && hmac.Equal(got, want) {
			found = true
		}
	}
	return found
}
