package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/guestos/aibuild/aibuild/lineage"
)

func TestClustersAndFamily(t *testing.T) {
	s := newTold(t)
	newest, _, err := s.store.Images(t.Context(), lineage.Filter{Name: "tiny", Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	child, grandchild := builtRecord(newID(), "child", other), builtRecord(newID(), "grandchild", project)
	child.Built.Artifact.ParentUUID, grandchild.Built.Artifact.ParentUUID = s.image, child.ImageUUID
	checked := releasedRecord(s.image, "alpha", lineage.TargetVisible, newID())
	checked.Released.CheckedAt = day.Add(time.Hour)
	s.stored(child, grandchild, checked, releasedRecord(newest[0].UUID, "alpha", lineage.TargetUploading, ""), releasedRecord(s.theirs, "alpha", lineage.TargetVisible, newID()), releasedRecord(s.theirs, "beta", lineage.TargetMissing, newID()))
	all, mine := s.client(s.token(RoleViewer)), s.client(s.token(RoleViewer, project))
	want, err := s.store.Clusters(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got, err := all.Clusters(t.Context()); err != nil || cmp.Diff(want, got) != "" || len(got["alpha"]) != 3 || got["alpha"][1].Ref() != "tiny@2" || got["alpha"][2].Ref() != "tiny@1" || len(got["beta"]) != 1 {
		t.Errorf("%v %v", got, err)
	}
	if got, err := mine.Clusters(t.Context()); err != nil || len(got["alpha"]) != 2 || got["alpha"][1].ImageUUID != s.image || len(got["beta"]) != 0 {
		t.Errorf("of one project: %v %v", got, err)
	}
	list := into[clusterList](t, s.send("GET", "/api/v1/clusters", s.token(RoleViewer), nil))
	if len(list.Clusters) != 2 || list.Clusters[0].Cluster != "alpha" || !list.Clusters[0].CheckedAt.Equal(day.Add(time.Hour)) || !list.Clusters[1].CheckedAt.IsZero() {
		t.Errorf("clusters = %+v", list)
	}
	for _, c := range []struct {
		client   *Client
		ref      string
		up, down string
	}{
		{all, "tiny@1", "[]", "[child@1]"}, {all, "child", "[tiny@1]", "[grandchild@1]"}, {all, "grandchild", "[child@1 tiny@1]", "[]"},
		{mine, "tiny@1", "[]", "[]"}, {mine, "grandchild", "[]", "[]"},
	} {
		f, err := c.client.Family(t.Context(), c.ref)
		if err != nil || names(f.Ancestors) != c.up || names(f.Children) != c.down {
			t.Errorf("family of %s: %s, %s, %v; want %s and %s", c.ref, names(f.Ancestors), names(f.Children), err, c.up, c.down)
		}
	}
	for _, ref := range []string{"none", "child"} {
		if _, err := mine.Family(t.Context(), ref); kindOf(err) != "not found" {
			t.Errorf("family of %s: %v", ref, err)
		}
	}
}
