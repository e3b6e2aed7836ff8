package glance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"pgregory.net/rapid"
)

// described is an image without a file.
func described(n int) Image {
	return Image{UUID: fmt.Sprintf("01a20000-0000-7000-8000-%012d", n), Name: "debian", Format: "raw", Size: 1,
		SHA512: strings.Repeat(fmt.Sprint(n), 128), BuiltAt: time.Date(2026, 11, n, 0, 0, 0, 0, time.UTC)}
}

// inCloud is what Glance has after an upload of img.
func inCloud(img Image) images.Image {
	have := images.Image{ID: uuid.NewString(), Name: img.Name, Status: images.ImageStatusActive, DiskFormat: img.Format, ContainerFormat: "bare",
		SizeBytes: img.Size, Visibility: "private", Properties: map[string]any{"os_hash_algo": "sha512", "os_hash_value": img.SHA512}}
	for name, value := range img.properties() {
		have.Properties[name] = value
	}
	return have
}

// carryOut does in memory, step by step, what swap does in a cluster, and
// reports after each step.
func carryOut(cloud []images.Image, d decision, img Image, after func([]images.Image)) []images.Image {
	index := func(id string) int {
		return slices.IndexFunc(cloud, func(have images.Image) bool { return have.ID == id })
	}
	remove := func(gone []images.Image) {
		for _, have := range gone {
			cloud = slices.Delete(cloud, index(have.ID), index(have.ID)+1)
			after(cloud)
		}
	}
	remove(d.dead)
	if d.keep == nil {
		fresh := inCloud(img)
		fresh.Hidden = true
		cloud = append(cloud, fresh)
		d.keep = &fresh
	}
	cloud[index(d.keep.ID)].Hidden = false
	after(cloud)
	for _, have := range d.hide {
		cloud[index(have.ID)].Hidden = true
		after(cloud)
	}
	remove(d.drop)
	return cloud
}

// Whatever a cluster holds: a release that is not refused ends with its image
// alone visible, on the way the name is never absent, and a second decision
// finds nothing to do.
func TestDecideAlwaysSettles(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var cloud []images.Image
		for range rapid.IntRange(0, 6).Draw(t, "images") {
			have := inCloud(described(rapid.IntRange(1, 4).Draw(t, "build")))
			have.Hidden = rapid.Bool().Draw(t, "hidden")
			have.Status = rapid.SampledFrom([]images.ImageStatus{images.ImageStatusActive, images.ImageStatusActive,
				images.ImageStatusQueued, images.ImageStatusSaving}).Draw(t, "status")
			if rapid.IntRange(0, 4).Draw(t, "spoil") == 0 {
				have.Properties["os_hash_value"] = "other bytes"
			}
			cloud = append(cloud, have)
		}
		want := described(rapid.IntRange(1, 4).Draw(t, "release"))
		to := goal(rapid.Bool().Draw(t, "rollback"))
		d, err := decide(cloud, want, to)
		if err != nil {
			if to == back || !errors.Is(err, ErrBackwards) {
				t.Fatalf("decide = %v", err)
			}
			return
		}
		visible := func(cloud []images.Image) (uuids []string) {
			for _, have := range cloud {
				if !have.Hidden && have.Status == images.ImageStatusActive {
					uuids = append(uuids, property(have, propUUID))
				}
			}
			return uuids
		}
		had := len(visible(cloud)) > 0
		cloud = carryOut(cloud, d, want, func(now []images.Image) {
			if had && len(visible(now)) == 0 {
				t.Fatal("the name is absent")
			}
		})
		if got := visible(cloud); len(got) != 1 || got[0] != want.UUID {
			t.Fatalf("visible are %v; want %s alone", got, want.UUID)
		}
		if d, err := decide(cloud, want, to); err != nil || !d.done() {
			t.Fatalf("a repetition would do %+v, %v", d, err)
		}
	})
}

func TestDecideRefuses(t *testing.T) {
	t.Parallel()
	revoked, locked := inCloud(described(2)), inCloud(described(2))
	revoked.Properties[propState] = Revoked
	locked.Status = images.ImageStatusDeactivated
	for want, have := range map[error]images.Image{ErrRevoked: revoked, ErrDeactivated: locked} {
		if _, err := decide([]images.Image{have}, described(2), back); !errors.Is(err, want) || !errors.Is(err, ErrRefused) {
			t.Errorf("decide = %v; want %v", err, want)
		}
	}
	if _, err := decide([]images.Image{revoked}, described(1), forward); err != nil { // a revoked image holds nobody up
		t.Errorf("decide beside a newer revoked image = %v", err)
	}
}

func TestExpendable(t *testing.T) {
	t.Parallel()
	// build number -> v visible, h hidden, r revoked, q unfinished; the newest is the highest
	for _, test := range []struct {
		cloud string
		keep  int
		held  int
		want  string
	}{
		{"hhhv", 0, 0, "12"},
		{"hhhv", 3, 0, "1"},
		{"hhhv", 9, 0, ""},
		{"hhhv", 0, 1, "2"},
		{"hhvh", 0, 0, "14"}, // rolled back: 3 visible, 2 before it
		{"hhvh", 1, 0, "1"},
		{"hrv", 0, 0, "2"}, // nobody rolls back to a revoked one
		{"hhqv", 0, 0, "1"},
		{"hhh", 0, 0, "1"}, // none is visible: the two newest stay
		{"v", 0, 0, ""},
		{"vv", 0, 0, ""},
	} {
		var cloud []images.Image
		for i, kind := range test.cloud {
			have := inCloud(described(i + 1))
			have.Hidden = kind != 'v'
			if kind == 'r' {
				have.Properties[propState] = Revoked
			}
			if kind == 'q' {
				have.Status = images.ImageStatusSaving
			}
			cloud = append(cloud, have)
		}
		keep := Retention{Keep: test.keep}
		if test.held > 0 {
			keep.Held = []string{described(test.held).UUID}
		}
		got := ""
		for _, have := range expendable(cloud, keep) {
			id := property(have, propUUID)
			got += id[len(id)-1:]
		}
		if got != test.want {
			t.Errorf("%s, keep %d, held %d: %q may go; want %q", test.cloud, test.keep, test.held, got, test.want)
		}
	}
}

func TestSameBytes(t *testing.T) {
	t.Parallel()
	img := described(1)
	img.MD5, img.VirtualSize = strings.Repeat("a", 32), 5
	for what, spoil := range map[string]func(*images.Image){
		"size":         func(have *images.Image) { have.SizeBytes++ },
		"checksum":     func(have *images.Image) { have.Checksum = strings.Repeat("b", 32) },
		"sha512":       func(have *images.Image) { have.Properties["os_hash_value"] = strings.Repeat("b", 128) },
		"virtual_size": func(have *images.Image) { have.VirtualSize = 6 },
		"disk_format":  func(have *images.Image) { have.DiskFormat = "qcow2" },
		"digest":       func(have *images.Image) { delete(have.Properties, "os_hash_value"); have.Checksum = "" },
	} {
		have := inCloud(img)
		have.Checksum, have.VirtualSize = strings.ToUpper(img.MD5), 5
		if err := sameBytes(have, img); err != nil {
			t.Fatal(err)
		}
		spoil(&have)
		var digest *DigestError
		if err := sameBytes(have, img); !errors.As(err, &digest) || !strings.Contains(digest.What, what) {
			t.Errorf("%s differs: %v", what, err)
		}
	}
}

func TestImageCheck(t *testing.T) {
	t.Parallel()
	if err := described(1).check(); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*Image){
		"uuid":                  func(img *Image) { img.UUID = "no" },
		"name":                  func(img *Image) { img.Name = strings.Repeat("x", 256) },
		"format":                func(img *Image) { img.Format = "vmdk" },
		"visibility":            func(img *Image) { img.Visibility = "everybody" },
		"size":                  func(img *Image) { img.Size = 0 },
		"sha512":                func(img *Image) { img.SHA512 = "" },
		"sha256":                func(img *Image) { img.SHA256 = "ab" },
		"md5":                   func(img *Image) { img.MD5 = "xy" },
		"memory":                func(img *Image) { img.MinRAM = -1 },
		"time of the build":     func(img *Image) { img.BuiltAt = time.Time{} },
		`property "os_distro"`:  func(img *Image) { img.Properties = map[string]string{"os_distro": "x"} },
		`property "aibuild_x"`:  func(img *Image) { img.Properties = map[string]string{"aibuild_x": "x"} },
		`property "os_hidden"`:  func(img *Image) { img.Properties = map[string]string{"os_hidden": "x"} },
		`property "hw_machine"`: func(img *Image) { img.Properties = map[string]string{"hw_machine": strings.Repeat("x", 65536)} },
	} {
		img := described(1)
		spoil(&img)
		if err := img.check(); !errors.Is(err, ErrInput) || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: check = %v", what, err)
		}
	}
	for _, wrong := range [][]string{nil, {"a", "a"}} {
		if _, err := (Releaser{}).Release(t.Context(), described(1), wrong); !errors.Is(err, ErrInput) {
			t.Errorf("clusters %v: %v", wrong, err)
		}
	}
}

// A source that breaks ends the upload with its own error.
func TestBodyTellsItsError(t *testing.T) {
	t.Parallel()
	img := described(1)
	img.Size = 10
	source := io.MultiReader(strings.NewReader("12345"), iotest.ErrReader(os.ErrDeadlineExceeded))
	b := newBody(io.NopCloser(source), img)
	if _, err := io.ReadAll(b); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.Is(b.close(), os.ErrDeadlineExceeded) {
		t.Errorf("read = %v", err)
	}
	if _, err := b.Read(make([]byte, 1)); !errors.Is(err, errBodyClosed) {
		t.Errorf("read after close = %v", err)
	}
}

func TestPlainText(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"error":{"code":401,"message":"Say who.","title":"Unauthorized"}}`:                                        "Say who.",
		"<html>\n <head>\n  <title>413</title>\n </head>\n <body>\n  <h1>413</h1>\n  Too large<br /></body></html>": "413 Too large",
		strings.Repeat("x", 400): strings.Repeat("x", 300) + "…",
		"":                       "",
	} {
		if got := plainText([]byte(body)); got != want {
			t.Errorf("plainText(%q) = %q; want %q", body, got, want)
		}
	}
}

// A source that cannot be opened is the caller's mistake and is not repeated.
func TestSourceThatDoesNotOpen(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	img := newImage(t, uniqueName(t), 1<<10)
	tries := 0
	img.Open = func(context.Context) (io.ReadCloser, error) { tries++; return nil, os.ErrPermission }
	_, err := s.releaser(t).Release(t.Context(), img, []string{alpha})
	if !errors.Is(err, os.ErrPermission) || tries != 1 {
		t.Errorf("release = %v after %d tries", err, tries)
	}
	img.Open, img.Path = nil, img.Path+"-absent"
	if _, err := s.releaser(t).Release(t.Context(), img, []string{alpha}); !errors.Is(err, os.ErrNotExist) || !errors.Is(err, ErrInput) {
		t.Errorf("release of an absent file = %v", err)
	}
	if left := named(t, s.client(t, alpha), img.Name); len(left) > 0 {
		t.Errorf("left behind: %+v", left)
	}
}
