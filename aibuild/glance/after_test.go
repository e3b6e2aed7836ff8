package glance

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

func TestRollback(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	first := newImage(t, uniqueName(t), 1<<20)
	second := newerBuild(t, first)
	mustRelease(t, r, first)
	mustRelease(t, r, second)
	// Gone by hand in beta: there it is uploaded again.
	old := slices.IndexFunc(named(t, s.client(t, beta), first.Name), func(have images.Image) bool { return have.Hidden })
	if err := images.Delete(t.Context(), s.client(t, beta), named(t, s.client(t, beta), first.Name)[old].ID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	uploads := map[string]int{}
	r.OnState = func(target Target) {
		if target.State == Uploading {
			uploads[target.Cluster]++
		}
	}
	stop := s.watchPresence(t, alpha, first.Name)
	begin := time.Now()
	targets, err := r.Rollback(t.Context(), first, both)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("rolled back in %s", time.Since(begin))
	if most, polls := stop(); most > 2 || polls == 0 {
		t.Errorf("%d polls saw up to %d images", polls, most)
	}
	wantStates(t, targets, "alpha visible", "beta visible", "alpha hidden", "beta hidden")
	if diff := cmp.Diff(map[string]int{beta: 1}, uploads); diff != "" {
		t.Errorf("uploads (-want +got):\n%s", diff)
	}
	for _, cluster := range both {
		s.wantImages(t, cluster, &first, second)
	}
	mustRelease(t, r, second) // forward again
	s.wantImages(t, alpha, &second, first)
}

func TestRevokeAndRestore(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	good := newImage(t, uniqueName(t), 1<<20)
	bad := newerBuild(t, good)
	mustRelease(t, r, good)
	if _, err := r.Release(t.Context(), bad, []string{alpha}); err != nil {
		t.Fatal(err)
	}
	stop := s.watchPresence(t, alpha, good.Name)
	targets, err := r.Revoke(t.Context(), bad.UUID, &good, both)
	if err != nil {
		t.Fatal(err)
	}
	stop()
	wantStates(t, targets, "alpha revoked", "beta missing", "alpha visible")
	s.wantImages(t, alpha, &good, bad)
	s.wantImages(t, beta, &good)

	for what, call := range map[string]func() error{
		"release":  func() error { _, err := r.Release(t.Context(), bad, []string{alpha}); return err },
		"rollback": func() error { _, err := r.Rollback(t.Context(), bad, []string{alpha}); return err },
	} {
		if err := call(); !errors.Is(err, ErrRevoked) || !errors.Is(err, ErrRefused) {
			t.Errorf("%s of a revoked image = %v; want ErrRevoked", what, err)
		}
	}
	verified, err := r.Verify(t.Context(), alpha, []Expect{{bad, Revoked}, {good, Visible}})
	if err != nil || verified[0].State != Revoked || verified[0].Detail != "" || verified[1].State != Visible {
		t.Errorf("verify = %+v, %v", verified, err)
	}
	targets, err = r.Restore(t.Context(), bad.UUID, both)
	if err != nil {
		t.Fatal(err)
	}
	wantStates(t, targets, "alpha hidden", "beta missing")
	mustRelease(t, r, bad)
	s.wantImages(t, alpha, &bad, good)

	// Without a successor nobody gets the name until the image is restored.
	if _, err := r.Revoke(t.Context(), bad.UUID, nil, []string{alpha}); err != nil {
		t.Fatal(err)
	}
	s.wantImages(t, alpha, nil, bad, good)
	targets, err = r.Restore(t.Context(), bad.UUID, []string{alpha})
	if err != nil {
		t.Fatal(err)
	}
	wantStates(t, targets, "alpha visible")
	s.wantImages(t, alpha, &bad, good)
}

func TestKeep(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	all := []Image{newImage(t, uniqueName(t), 1<<20)}
	for range 5 {
		all = append(all, newerBuild(t, all[0]))
	}
	ids := map[string]string{}
	for _, img := range all {
		targets, err := r.Release(t.Context(), img, []string{alpha})
		if err != nil {
			t.Fatal(err)
		}
		ids[img.UUID] = targets[0].GlanceID
	}
	protect := images.UpdateOpts{images.ReplaceImageProtected{NewProtected: true}}
	if err := images.Update(t.Context(), s.client(t, alpha), ids[all[1].UUID], protect).Err; err != nil {
		t.Fatal(err)
	}
	for _, dry := range []bool{true, false} {
		keep := Retention{Name: all[0].Name, Keep: 1, Held: []string{all[2].UUID}, DryRun: dry}
		deletions, err := r.Keep(t.Context(), keep, []string{alpha})
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, d := range deletions {
			got[d.ImageUUID] = d.Deleted
			if d.Reason == "" || d.Bytes == 0 {
				t.Errorf("a deletion without reason or size: %+v", d)
			}
		}
		// 5 is visible, 4 the one before, 2 held, 1 protected.
		want := map[string]bool{all[0].UUID: !dry, all[1].UUID: false, all[3].UUID: !dry}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dry run %v: deleted (-want +got):\n%s", dry, diff)
		}
	}
	s.wantImages(t, alpha, &all[5], all[4], all[2], all[1])
	open := images.UpdateOpts{images.ReplaceImageProtected{NewProtected: false}}
	if err := images.Update(t.Context(), s.client(t, alpha), ids[all[1].UUID], open).Err; err != nil {
		t.Error(err)
	}
}

// What crashes leave: half uploads, two visible images, two copies.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	older := newImage(t, uniqueName(t), 1<<20)
	img := newerBuild(t, older)
	first := mustRelease(t, r, older)
	mustRelease(t, r, img)
	c := s.client(t, alpha)
	show := images.UpdateOpts{images.ReplaceImageHidden{NewHidden: false}}
	if err := images.Update(t.Context(), c, first[0].GlanceID, show).Err; err != nil {
		t.Fatal(err)
	}
	_, err := images.Create(t.Context(), c, images.CreateOpts{Name: img.Name, DiskFormat: "raw", ContainerFormat: "bare",
		Properties: map[string]string{"aibuild_uuid": uuid.NewString()}}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	targets, err := r.Sweep(t.Context(), alpha, img.Name, "")
	if err != nil {
		t.Fatal(err)
	}
	wantStates(t, targets, "alpha missing", "alpha hidden")
	s.wantImages(t, alpha, &img, older)

	if err := images.Update(t.Context(), c, first[0].GlanceID, show).Err; err != nil {
		t.Fatal(err)
	}
	if _, err := r.Sweep(t.Context(), alpha, img.Name, older.UUID); err != nil { // a rollback that crashed
		t.Fatal(err)
	}
	s.wantImages(t, alpha, &older, img)
}

func TestVerify(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	older := newImage(t, uniqueName(t), 1<<20)
	img, absent := newerBuild(t, older), newerBuild(t, older)
	first := mustRelease(t, r, older)
	mustRelease(t, r, img)
	verify := func(want ...Expect) []Target {
		t.Helper()
		targets, err := r.Verify(t.Context(), alpha, want)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range targets[len(want):] {
			if target.Name == img.Name && len(want) > 1 {
				t.Errorf("an unexpected target: %+v", target)
			}
		}
		return targets[:len(want)]
	}
	targets := verify(Expect{img, Visible}, Expect{older, Hidden}, Expect{absent, Visible})
	wantStates(t, targets, "alpha visible", "alpha hidden", "alpha missing")
	if targets[0].Detail+targets[1].Detail != "" {
		t.Errorf("details where all is well: %+v", targets)
	}
	pruned := verify(Expect{Image{UUID: img.UUID, Name: img.Name}, Visible})[0]
	if pruned.State != Visible || !strings.Contains(pruned.Detail, "no digest") {
		t.Errorf("an image of which little is recorded: %+v", pruned)
	}
	_, err := images.Update(t.Context(), s.client(t, alpha), first[0].GlanceID, images.UpdateOpts{
		images.ReplaceImageHidden{NewHidden: false},
		images.UpdateImageProperty{Op: images.ReplaceOp, Name: "os_version", Value: "13"},
	}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	other := img
	other.SHA512 = older.SHA512
	targets = verify(Expect{older, Hidden}, Expect{other, Visible})
	want := []string{
		`os_version is "13", recorded is "12"; it is visible, recorded is hidden; 2 images of the name are visible`,
		`os_hash_value (sha512) in Glance is ` + img.SHA512 + `, but the record says ` + older.SHA512 + `; 2 images of the name are visible`,
	}
	if diff := cmp.Diff(want, []string{targets[0].Detail, targets[1].Detail}); diff != "" {
		t.Errorf("details (-want +got):\n%s", diff)
	}
	wantStates(t, targets, "alpha changed", "alpha changed")
	mustRelease(t, r, img)
	s.wantImages(t, alpha, &img, older)
}
