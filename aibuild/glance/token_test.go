package glance

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// lifetime is how long gamma's tokens live.
const lifetime = 8 * time.Second

// A cluster whose Keystone lets tokens die in the middle of an upload: Glance itself refuses the old token afterwards,
// and the release goes on with a new one, without a second upload.
func TestReleaseOutlivesItsToken(t *testing.T) {
	s := shortLived(t)
	var refused atomic.Int32
	s.proxy.mu.Lock()
	s.proxy.next.ModifyResponse = func(r *http.Response) error {
		if r.StatusCode == http.StatusUnauthorized {
			refused.Add(1)
		}
		return nil
	}
	s.proxy.mu.Unlock()
	img := newImage(t, uniqueName(t), 1<<20)
	reached, resume := s.proxy.pause(t, 1<<19)
	go func() {
		<-reached
		time.Sleep(lifetime + 2*time.Second) // no event tells of it: Keystone writes whole seconds into a token
		resume()
	}()
	uploads := 0
	r := s.releaser(t)
	r.OnState = func(target Target) {
		if target.State == Uploading {
			uploads++
		}
	}
	targets, err := r.Release(t.Context(), img, []string{"gamma"})
	if err != nil || uploads != 1 {
		t.Fatalf("release = %v, %v with %d uploads; want one", targets, err, uploads)
	}
	if refused.Load() == 0 {
		t.Error("Glance never refused the token that had died")
	}
	s.wantImages(t, "gamma", &img)
}

// shortLived starts a cluster of its own, behind a proxy.
func shortLived(t *testing.T) *stack {
	t.Helper()
	s := &stack{proxy: newProxy(), script: clusters(t).script, folder: t.TempDir(), clients: map[string]*gophercloud.ServiceClient{}}
	s.state = filepath.Join(s.folder, ".stack")
	t.Cleanup(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	confd := filepath.Join(s.state, "clouds", "gamma", "keystone", "conf.d")
	if err := os.MkdirAll(confd, 0o700); err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("[token]\nexpiration = %d\n", int(lifetime.Seconds()))
	if err := os.WriteFile(filepath.Join(confd, "token.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.run("up", "--only", "clouds", "--clusters", "gamma", "--glance-endpoint", "gamma="+s.proxy.server.URL); err != nil {
		t.Fatal(err)
	}
	if err := s.proxy.aim(s, "gamma"); err != nil {
		t.Fatal(err)
	}
	return s
}
