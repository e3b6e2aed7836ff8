package api

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// imageForm is an action on an image: what its page says, and what its button does.
type imageForm struct {
	path, verb    string
	title, button string
	text          string
	said          string
	danger        bool
	clusters      bool // it can be narrowed to some
}

var imageForms = []imageForm{
	{
		path: "release", verb: lineage.VerbReleased, title: "Release ", button: "Release", said: "released", clusters: true,
		text: "It is uploaded to each cluster where it is missing, made visible there, and only then the older ones are hidden.",
	},
	{
		path: "rollback", verb: lineage.VerbRolled, title: "Roll back to ", button: "Roll back", said: "rolled-back", clusters: true, danger: true,
		text: "The older image becomes the visible one in the clusters; the newer one is hidden after that. Nothing is uploaded that is still there.",
	},
	{
		path: "revoke", verb: lineage.VerbRevoked, title: "Revoke ", button: "Revoke", said: "revoked", danger: true,
		text: "It is hidden in every cluster, taken out of images/release, and nothing is built from it any more. Where it was the visible one, the good image before becomes visible first.",
	},
	{
		path: "restore", verb: lineage.VerbRestored, title: "Restore ", button: "Restore", said: "restored",
		text: "The revocation is taken back. The image stays hidden: releasing it brings it out again.",
	},
	{
		path: "hold", verb: lineage.VerbHeld, title: "Hold ", button: "Hold", said: "held",
		text: "Nothing deletes it: neither keep of its definition, nor prune.",
	},
}

// ask shows what will be done.
func (f imageForm) ask(s *Server) func(*http.Request) (*confirmView, error) {
	return func(r *http.Request) (*confirmView, error) {
		ref := r.PathValue("ref")
		images, err := s.visible(r.Context(), lineage.Query{Ref: ref})
		if err != nil {
			return nil, err
		}
		img := images[0]
		v := &confirmView{section: "images", Title: f.title + img.Ref(), Text: f.text, Button: f.button, Danger: f.danger, Back: "/images/" + url.PathEscape(img.Ref())}
		if f.path == "rollback" && ref == img.Name {
			v.Title = "Roll back " + img.Name
			v.Text = "In each cluster the good image before the visible one returns. " + f.text
		}
		if f.path == "hold" && img.Held {
			v.Title, v.Button, v.Text = "Let go of "+img.Ref(), "Let go", "What deletes images may take it again."
		}
		if f.clusters {
			v.Choices = clusterChoices(img)
		}
		return v, nil
	}
}

// clusterChoices offers the clusters that the image is known in.
func clusterChoices(img lineage.Image) []choice {
	c := choice{Name: "cluster", Label: "In", Many: true}
	for _, t := range img.Targets {
		c.Values = append(c.Values, [2]string{t.Cluster, t.Cluster})
	}
	if len(c.Values) < 2 {
		return nil
	}
	return []choice{c}
}

// do has it done, and goes back to the image.
func (f imageForm) do(s *Server) func(*http.Request, string) (string, error) {
	return func(r *http.Request, reason string) (string, error) {
		ref := r.PathValue("ref")
		images, err := s.visible(r.Context(), lineage.Query{Ref: ref})
		if err != nil {
			return "", err
		}
		img, change, said := images[0], ImageChange{Reason: reason}, f.said
		if chosen := r.PostForm["cluster"]; f.clusters && len(chosen) < len(img.Targets) {
			change.Clusters = slices.Clone(chosen)
		}
		if f.path == "hold" && img.Held {
			change.Off, said = true, "let-go"
		}
		out, err := s.change(r.Context(), f.verb, ref, change)
		if err != nil {
			return "", err
		}
		if out.Body.Status != "done" {
			said = "under-way"
		}
		to := out.Body.Image.UUID
		if f.path == "rollback" && ref == img.Name {
			to = img.Name // another image is shown now
		}
		return "/images/" + url.PathEscape(to) + "?said=" + said, nil
	}
}
