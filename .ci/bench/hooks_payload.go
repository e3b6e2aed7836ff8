package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/guestos/aibuild/aibuild/process"
	"github.com/guestos/aibuild/gitlab-hooks/gitlabtest"
)

// delivered is a push of twenty commits as GitLab delivers it: what real git
// made of a real push, with its headers.
type delivered struct {
	header http.Header
	body   []byte
}

// twentyCommits makes the commits of one push in a checkout, whose payload is about 11 KB.
const twentyCommits = `cd "$0"
git init -q -b main .
git config user.name 'Ann Example'; git config user.email ann@example.org
echo start >README.md; git add -A; git commit -qm 'the begin'; git push -q "$1" HEAD:refs/heads/main
for i in $(seq 20); do
  mkdir -p docs/part-$i
  echo "$i $RANDOM" >docs/part-$i/notes-of-the-kernel.md; echo $i >>README.md
  git add -A; git commit -qm "docs: part $i says what the kernel of the guest needs to boot from virtio-scsi"
done
git push -q "$1" HEAD:refs/heads/main`

// payload pushes twenty commits and takes down what GitLab sends.
func (s *hookSite) payload(ctx context.Context) (delivered, error) {
	sink := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusAccepted) }))
	defer sink.Close()
	hook, err := s.gitlab.AddHook(hookProject, gitlabtest.Hook{URL: sink.URL, Token: hookSecret})
	if err != nil {
		return delivered{}, err
	}
	dir := s.b.path("twenty")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return delivered{}, err
	}
	cmd := exec.CommandContext(ctx, "bash", "-ec", twentyCommits, dir, s.gitlab.CloneURL(hookProject, s.gitlab.RootToken()))
	cmd.Env = process.Environ("HOME="+s.b.dir, "GIT_CONFIG_NOSYSTEM=1", "GIT_TERMINAL_PROMPT=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return delivered{}, fmt.Errorf("push twenty commits: %w: %s", err, out)
	}
	if err := s.gitlab.Idle(ctx); err != nil {
		return delivered{}, err
	}
	all := s.gitlab.Deliveries(hook.ID)
	if len(all) != 2 {
		return delivered{}, fmt.Errorf("%d deliveries of two pushes", len(all))
	}
	d := delivered{all[1].Header, all[1].Body}
	if n := len(d.body); n < 10<<10 || n > 12<<10 {
		return d, fmt.Errorf("the payload has %d bytes, not about 11 KB", n)
	}
	return d, errors.Join(os.RemoveAll(dir), os.WriteFile(filepath.Join(s.b.dir, "payload.json"), d.body, 0o600))
}

const keyWidth = 36 // of a UUID

// request is the delivery as bytes for the wire, and where its key has to be
// written: each delivery is another event.
func (d delivered) request(address, path string) (request []byte, keys []int) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n", path, address, len(d.body))
	names := make([]string, 0, len(d.header))
	for name := range d.header {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s: ", name)
		if strings.EqualFold(name, "Idempotency-Key") || strings.EqualFold(name, "webhook-id") {
			keys = append(keys, b.Len())
			b.WriteString(strings.Repeat("0", keyWidth))
		} else {
			b.WriteString(d.header[name][0])
		}
		b.WriteString("\r\n")
	}
	b.WriteString("\r\n")
	b.Write(d.body)
	return b.Bytes(), keys
}

// sender posts the delivery on one connection, under another key each time.
type sender struct {
	wire    *wire
	request []byte
	keys    []int
}

func (d delivered) sender(address, path string) (*sender, error) {
	w, err := dialWire(address)
	if err != nil {
		return nil, err
	}
	request, keys := d.request(address, path)
	return &sender{w, request, keys}, nil
}

func (s *sender) post(key string) (status int, body []byte, err error) {
	for _, at := range s.keys {
		copy(s.request[at:at+keyWidth], key)
	}
	return s.wire.post(s.request)
}

// eventKey is a name of one event, as wide as a UUID. The label is that of one
// client or one time of sending; 16 bytes of it count.
func eventKey(label string, n uint64) string {
	return fmt.Sprintf("%-16.16s%020d", strings.ReplaceAll(label, " ", "-")+"----------------", n)
}
