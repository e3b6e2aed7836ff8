package glance

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/hashicorp/go-hclog"
)

// Tests of this file that spoil beta do not run in parallel.

// A fault that passes is survived within one release, with a new reader, and
// leaves nothing behind.
func TestReleaseSurvives(t *testing.T) {
	s := clusters(t)
	faults := map[string]func(http.ResponseWriter, *http.Request) bool{
		"401 at the start of the upload": answer(http.StatusUnauthorized),
		"503 for the upload":             answer(http.StatusServiceUnavailable),
		"cut in mid-upload": func(_ http.ResponseWriter, r *http.Request) bool {
			r.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(r.Body, 1<<20), broken{}), r.Body}
			return false
		},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, uniqueName(t), 4<<20)
			s.proxy.spoil(t, once(1, isUpload, fault))
			wantStates(t, mustRelease(t, s.releaser(t), img), "alpha visible", "beta visible")
			s.wantImages(t, beta, &img)
		})
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// A token that Glance no longer takes is replaced, at whatever request.
func TestReleaseAfterTokenExpiry(t *testing.T) {
	s := clusters(t)
	img := newImage(t, uniqueName(t), 1<<20)
	var mu sync.Mutex
	expired, uploaded := "", false
	s.proxy.spoil(t, func(w http.ResponseWriter, r *http.Request) bool {
		mu.Lock()
		defer mu.Unlock()
		if isUpload(r) {
			uploaded, expired = true, r.Header.Get("X-Auth-Token")
			return false
		}
		if uploaded && r.Header.Get("X-Auth-Token") == expired {
			return answer(http.StatusUnauthorized)(w, r)
		}
		return false
	})
	uploads := 0
	r := s.releaser(t)
	r.OnState = func(target Target) {
		if target.State == Uploading {
			uploads++
		}
	}
	targets, err := r.Release(t.Context(), img, []string{beta})
	if err != nil || uploads != 1 {
		t.Fatalf("release = %v, %v with %d uploads; want one", targets, err, uploads)
	}
	s.wantImages(t, beta, &img)
}

// What a cluster refuses for good is said at once, with what to do, and
// nothing stays behind; the other cluster is released.
func TestReleaseGivesUp(t *testing.T) {
	s := clusters(t)
	for name, fault := range map[string]struct {
		code, tries int
		hint        string
	}{
		"too large": {http.StatusRequestEntityTooLarge, 1, "quota"},
		"no answer": {http.StatusServiceUnavailable, 3, "look at its log"},
		"refused":   {http.StatusUnauthorized, 3, "cannot reach Keystone"},
	} {
		t.Run(name, func(t *testing.T) {
			older, img := newImage(t, uniqueName(t), 1<<20), newImage(t, "", 1<<20)
			img.Name = older.Name
			mustRelease(t, s.releaser(t), older)
			stop := s.watch(t, beta, img.Name)
			tries := 0
			s.proxy.spoil(t, once(99, isUpload, func(w http.ResponseWriter, r *http.Request) bool {
				tries++
				return answer(fault.code)(w, r)
			}))
			targets, err := s.releaser(t).Release(t.Context(), img, both)
			wantStates(t, targets, "alpha visible", "beta failed", "alpha hidden")
			var cluster *ClusterError
			var status *StatusError
			if !errors.As(err, &cluster) || cluster.Cluster != beta || cluster.Op != "upload" || !strings.Contains(cluster.Hint, fault.hint) ||
				!errors.As(err, &status) || status.Code != fault.code || cluster.Retryable != (fault.tries > 1) || tries != fault.tries {
				t.Errorf("release = %#v after %d tries", err, tries)
			}
			stop()
			s.wantImages(t, alpha, &img, older)
			s.wantImages(t, beta, &older)
		})
	}
}

// An upload whose bytes do not move any more is given up; so is one whose
// caller goes away. Both are deleted.
func TestReleaseStopsUpload(t *testing.T) {
	s := clusters(t)
	for name, stop := range map[string]struct {
		stall  time.Duration
		cancel bool
		want   error
	}{
		"stalled":   {stall: 300 * time.Millisecond, want: ErrStalled},
		"cancelled": {cancel: true, want: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			img := newImage(t, uniqueName(t), 8<<20)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			reached, _ := s.proxy.pause(t, 1<<20)
			go func() {
				<-reached
				if stop.cancel {
					cancel()
				}
			}()
			r := s.releaser(t)
			r.StallTimeout, r.Attempts = stop.stall, 1
			targets, err := r.Release(ctx, img, []string{beta})
			if !errors.Is(err, stop.want) {
				t.Errorf("release = %v; want %v", err, stop.want)
			}
			wantStates(t, targets, "beta failed")
			if left := named(t, s.client(t, beta), img.Name); len(left) > 0 {
				t.Errorf("left behind: %+v", left)
			}
		})
	}
}

// When the caller goes away between showing and hiding, the swap is finished.
func TestReleaseFinishesSwap(t *testing.T) {
	s := clusters(t)
	older := newImage(t, uniqueName(t), 1<<20)
	img := newerBuild(t, older)
	mustRelease(t, s.releaser(t), older)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	patch := func(r *http.Request) bool { return r.Method == http.MethodPatch }
	s.proxy.spoil(t, once(1, patch, func(http.ResponseWriter, *http.Request) bool { cancel(); return false }))
	if _, err := s.releaser(t).Release(ctx, img, []string{beta}); err != nil {
		t.Error(err)
	}
	s.wantImages(t, beta, &img, older)
}

// An attempt that uploaded, but cannot show: the verified image is deleted.
func TestReleaseThatCannotShow(t *testing.T) {
	s := clusters(t)
	older := newImage(t, uniqueName(t), 1<<20)
	img := newerBuild(t, older)
	mustRelease(t, s.releaser(t), older)
	uploads := 0
	s.proxy.spoil(t, func(w http.ResponseWriter, r *http.Request) bool {
		if isUpload(r) {
			uploads++
		}
		return r.Method == http.MethodPatch && answer(http.StatusBadGateway)(w, r)
	})
	targets, err := s.releaser(t).Release(t.Context(), img, []string{beta})
	if !retryable(err) || uploads != 1 {
		t.Errorf("release = %v with %d uploads; want a retryable error and one upload for all tries", err, uploads)
	}
	wantStates(t, targets, "beta failed")
	s.wantImages(t, beta, &older)
}

// The days on which a whole service dies: killed in mid-upload, down,
// hanging. Alpha is released each time; beta is repaired by the next
// release, and the name is never absent while Glance answers.
func TestBadDays(t *testing.T) {
	s := clusters(t)
	older := newImage(t, uniqueName(t), 1<<20)
	img := newImage(t, older.Name, 8<<20)
	mustRelease(t, s.releaser(t), older)
	watchAlpha, watchBeta := s.watch(t, alpha, img.Name), s.watch(t, beta, img.Name)
	r := s.releaser(t)
	r.Attempts = 2

	t.Run("killed in mid-upload", func(t *testing.T) {
		reached, resume := s.proxy.pause(t, 2<<20)
		killed := make(chan error, 1)
		go func() {
			<-reached
			killed <- s.run("down", "glance@"+beta, "--signal", "KILL")
			resume()
		}()
		targets, err := r.Release(t.Context(), img, both)
		if killed := <-killed; killed != nil {
			t.Fatal(killed)
		}
		wantStates(t, targets, "alpha visible", "beta failed", "alpha hidden")
		if !retryable(err) {
			t.Errorf("release = %v; want a retryable error", err)
		}
	})
	t.Run("down", func(t *testing.T) {
		targets, err := r.Release(t.Context(), img, both)
		wantStates(t, targets, "alpha visible", "beta failed")
		if !retryable(err) {
			t.Errorf("release = %v; want a retryable error", err)
		}
	})
	t.Run("hanging", func(t *testing.T) {
		s.up(t)
		if left := unfinishedOf(named(t, s.client(t, beta), img.Name)); len(left) != 1 || left[0].Status != images.ImageStatusSaving {
			t.Errorf("after the kill: %+v; want one image in saving", left)
		}
		reached, resume := s.proxy.pause(t, 1<<20)
		signals := make(chan error, 2)
		go func() {
			<-reached
			signals <- s.run("signal", "STOP", "glance@"+beta)
			resume()
		}()
		hanging := r
		hanging.StallTimeout, hanging.Attempts = 3*time.Second, 1
		hanging.Log = hclog.New(&hclog.LoggerOptions{Output: writerFunc(func(line []byte) {
			if bytes.Contains(line, []byte("deleting its image")) {
				signals <- s.run("signal", "CONT", "glance@"+beta)
			}
		})})
		_, err := hanging.Release(t.Context(), img, []string{beta})
		if !errors.Is(err, ErrStalled) || !retryable(err) {
			t.Fatalf("release = %v; want ErrStalled", err)
		}
		if err := errors.Join(<-signals, <-signals); err != nil {
			t.Fatal(err)
		}
		s.wantImages(t, beta, &older)
	})
	t.Run("repaired", func(t *testing.T) {
		wantStates(t, mustRelease(t, r, img), "alpha visible", "beta visible", "beta hidden")
		s.wantImages(t, alpha, &img, older)
		s.wantImages(t, beta, &img, older)
	})
	for cluster, stop := range map[string]func() (int, int){alpha: watchAlpha, beta: watchBeta} {
		if most, polls := stop(); most > 2 || polls == 0 {
			t.Errorf("%s: %d polls saw up to %d images", cluster, polls, most)
		}
	}
}

// unfinishedOf leaves out what is whole.
func unfinishedOf(all []images.Image) []images.Image {
	return slices.DeleteFunc(all, func(have images.Image) bool { return !unfinished(have) })
}

// Glance itself finds an image too large, before a byte is sent: final, with
// nothing left, while the other cluster takes it.
func TestReleaseOverSizeLimit(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	img := newImage(t, uniqueName(t), sizeCap+1)
	targets, err := s.releaser(t).Release(t.Context(), img, both)
	if !hasStatus(err, http.StatusRequestEntityTooLarge) || retryable(err) {
		t.Errorf("release = %v; want a final 413", err)
	}
	wantStates(t, targets, "alpha visible", "beta failed")
	s.wantImages(t, alpha, &img)
	if left := named(t, s.client(t, beta), img.Name); len(left) > 0 {
		t.Errorf("left behind: %+v", left)
	}
}

type writerFunc func(line []byte)

func (f writerFunc) Write(line []byte) (int, error) { f(line); return len(line), nil }
