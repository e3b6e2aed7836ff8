package glance

import (
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// states reduces targets to what most tests compare.
func states(targets []Target) []string {
	var all []string
	for _, target := range targets {
		all = append(all, target.Cluster+" "+target.State)
	}
	return all
}

func wantStates(t *testing.T, targets []Target, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, states(targets)); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

func mustRelease(t *testing.T, r Releaser, img Image) []Target {
	t.Helper()
	targets, err := r.Release(t.Context(), img, both)
	if err != nil {
		t.Fatal(err)
	}
	return targets
}

func TestRelease(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	var sent int64
	r.OnProgress = func(p Progress) { sent = max(sent, p.Sent) }
	name := uniqueName(t)
	first, second := newImage(t, name, 3<<20), newImage(t, name, 5<<20)

	targets := mustRelease(t, r, first)
	wantStates(t, targets, "alpha visible", "beta visible")
	if targets[0].Hash != "sha512:"+first.SHA512 || sent != first.Size {
		t.Errorf("hash %s, %d bytes sent; want %s, %d", targets[0].Hash, sent, first.SHA512, first.Size)
	}
	stopAlpha, stopBeta := s.watch(t, alpha, name), s.watch(t, beta, name)
	again := mustRelease(t, r, first)
	if again[0].GlanceID != targets[0].GlanceID || again[1].GlanceID != targets[1].GlanceID {
		t.Errorf("a repetition uploaded anew: %v, before %v", again, targets)
	}
	wantStates(t, mustRelease(t, r, second), "alpha visible", "beta visible", "alpha hidden", "beta hidden")
	for _, stop := range []func() (int, int){stopAlpha, stopBeta} {
		if most, polls := stop(); most > 2 || polls == 0 {
			t.Errorf("%d polls saw up to %d images", polls, most)
		}
	}
	for _, cluster := range both {
		s.wantImages(t, cluster, &second, first)
	}
	r.OnState = func(target Target) { t.Errorf("a refusal changed %+v", target) }
	refused, err := r.Release(t.Context(), first, both)
	if !errors.Is(err, ErrBackwards) || !errors.Is(err, ErrRefused) {
		t.Errorf("release of an older image = %v; want ErrBackwards", err)
	}
	wantStates(t, refused, "alpha failed", "beta failed")
	s.wantImages(t, alpha, &second, first)
}

// Everything that DESIGN says is set, is set, from the moment of creation.
func TestReleaseSettings(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	img := newImage(t, uniqueName(t), 1<<20)
	img.VirtualSize = img.Size
	targets, err := s.releaser(t).Release(t.Context(), img, []string{"alpha-appcred"})
	if err != nil {
		t.Fatal(err)
	}
	have, err := images.Get(t.Context(), s.client(t, alpha), targets[0].GlanceID).Extract()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]any{
		"name": have.Name, "min_disk": have.MinDiskGigabytes, "min_ram": have.MinRAMMegabytes, "disk": have.DiskFormat,
		"container": have.ContainerFormat, "visibility": string(have.Visibility), "hidden": have.Hidden,
	}
	for _, p := range []string{"aibuild_uuid", "aibuild_commit", "architecture", "os_distro", "os_version", "image_original_user", "image_build_date", "hw_disk_bus"} {
		got[p] = have.Properties[p]
	}
	want := map[string]any{
		"name": img.Name, "min_disk": 1, "min_ram": 300, "disk": "raw", "container": "bare", "visibility": "private", "hidden": false,
		"aibuild_uuid": img.UUID, "aibuild_commit": "0123abcd", "architecture": "x86_64", "os_distro": "debian", "os_version": "12",
		"image_original_user": "debian", "image_build_date": img.BuiltAt.Format("2006-01-02 15:04:05"), "hw_disk_bus": "virtio",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
}

// What was deleted, hidden or changed by hand comes back; the rest stays.
func TestReleaseRepairs(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	r := s.releaser(t)
	img := newImage(t, uniqueName(t), 1<<20)
	before := mustRelease(t, r, img)

	a, b := s.client(t, alpha), s.client(t, beta)
	if err := images.Delete(t.Context(), a, before[0].GlanceID).ExtractErr(); err != nil {
		t.Fatal(err)
	}
	_, err := images.Update(t.Context(), b, before[1].GlanceID, images.UpdateOpts{
		images.ReplaceImageHidden{NewHidden: true}, images.ReplaceImageMinRam{NewMinRam: 7},
		images.ReplaceImageName{NewName: "renamed"}, images.UpdateImageProperty{Op: images.RemoveOp, Name: "os_distro"},
	}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	steps, err := r.Plan(t.Context(), img, both)
	if err != nil {
		t.Fatal(err)
	}
	var verbs []string
	for _, step := range steps {
		verbs = append(verbs, step.Cluster+" "+step.Verb)
	}
	want := []string{"alpha upload", "alpha show", "beta repair", "beta repair", "beta repair", "beta show"}
	if diff := cmp.Diff(want, verbs); diff != "" {
		t.Errorf("plan (-want +got):\n%s", diff)
	}
	after := mustRelease(t, r, img)
	if after[0].GlanceID == before[0].GlanceID || after[1].GlanceID != before[1].GlanceID {
		t.Errorf("ids %v, before %v; want a new one in alpha only", after, before)
	}
	for _, cluster := range both {
		s.wantImages(t, cluster, &img)
	}
	steps, err = r.Plan(t.Context(), img, both)
	if err != nil || len(steps) != 2 || steps[0].Verb != "none" || steps[1].Verb != "none" {
		t.Errorf("plan after the repair = %v, %v; want nothing to do", steps, err)
	}
}

// A published byte was flipped, or the file was cut or grew: nothing of it is
// ever a whole image in a cluster.
func TestReleaseRefusesOtherBytes(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	for name, spoil := range map[string]func(data []byte) []byte{
		"flipped": func(data []byte) []byte { data[len(data)-1] ^= 1; return data },
		"cut":     func(data []byte) []byte { return data[:len(data)-1] },
		"grown":   func(data []byte) []byte { return append(data, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, bad := newImage(t, uniqueName(t), 1<<20), newImage(t, uniqueName(t), 1<<20)
			bad.Name = good.Name
			mustRelease(t, s.releaser(t), good)
			data, err := os.ReadFile(bad.Path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(bad.Path, spoil(data), 0o600); err != nil {
				t.Fatal(err)
			}
			targets, err := s.releaser(t).Release(t.Context(), bad, both)
			var digest *DigestError
			if !errors.As(err, &digest) || !errors.Is(err, ErrRefused) || retryable(err) {
				t.Errorf("release = %v; want a DigestError that is not retryable", err)
			}
			wantStates(t, targets, "alpha failed", "beta failed")
			for _, cluster := range both {
				s.wantImages(t, cluster, &good)
			}
		})
	}
}

// Images of others are never touched, whatever their name.
func TestReleaseLeavesAliensAlone(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	img := newImage(t, uniqueName(t), 1<<20)
	own, admin := s.client(t, alpha), s.client(t, alpha+"-admin")
	public := images.ImageVisibilityPublic
	made, err := images.Create(t.Context(), own, images.CreateOpts{Name: img.Name, DiskFormat: "raw", ContainerFormat: "bare"}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := images.Create(t.Context(), admin, images.CreateOpts{Name: img.Name, DiskFormat: "raw", ContainerFormat: "bare",
		Visibility: &public, Properties: map[string]string{"aibuild_uuid": img.UUID}}).Extract()
	if err != nil {
		t.Fatal(err)
	}
	r := s.releaser(t)
	mustRelease(t, r, img)
	mustRelease(t, r, newerBuild(t, img))
	if _, err := r.Sweep(t.Context(), alpha, img.Name, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Keep(t.Context(), Retention{Name: img.Name}, both); err != nil {
		t.Fatal(err)
	}
	for _, alien := range []*images.Image{made, foreign} {
		have, err := images.Get(t.Context(), admin, alien.ID).Extract()
		if err != nil {
			t.Fatal(err)
		}
		if have.Hidden || !have.UpdatedAt.Equal(alien.UpdatedAt) {
			t.Errorf("alien image %s was changed: %+v", alien.ID, have)
		}
	}
	targets, err := r.Verify(t.Context(), alpha, []Expect{{img, Hidden}})
	if err != nil {
		t.Fatal(err)
	}
	aliens := 0
	for _, target := range targets {
		if target.State == Alien && (target.GlanceID == made.ID || target.GlanceID == foreign.ID) {
			aliens++
		}
	}
	if aliens != 2 {
		t.Errorf("verify found %d of 2 aliens: %+v", aliens, targets)
	}
	for _, alien := range []*images.Image{made, foreign} {
		if err := images.Delete(t.Context(), admin, alien.ID).ExtractErr(); err != nil {
			t.Error(err)
		}
	}
}

// newerBuild is another image of the same name.
func newerBuild(t *testing.T, img Image) Image {
	t.Helper()
	return newImage(t, img.Name, int(img.Size)+512)
}
