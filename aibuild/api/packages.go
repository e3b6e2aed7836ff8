package api

import (
	"context"
	"net/http"
	"slices"

	"github.com/guestos/aibuild/aibuild/lineage"
)

type withPackageInput struct {
	Name     string `path:"name" maxLength:"190" doc:"of the package, exactly"`
	Version  string `query:"version" maxLength:"128" doc:"exactly this one, as its manager writes it"`
	Released bool   `query:"released" doc:"only images that a cluster shows now"`
	Cursor   string `query:"cursor" maxLength:"2000" doc:"as the page before gave it"`
	Limit    int    `query:"limit" doc:"1 to 1000; 0 = 50"`
}

// installedPage is one page of the images that have a package.
type installedPage struct {
	Images []lineage.Installed `json:"images" nullable:"false"`
	Next   string              `json:"next,omitempty" doc:"the cursor of the next page; absent on the last"`
}

type installedOutput struct{ Body installedPage }

// packageList is what is installed in one image.
type packageList struct {
	Packages []lineage.Package `json:"packages" nullable:"false" doc:"by manager, name, architecture and version; none where no test has listed them"`
}

type packagesOutput struct{ Body packageList }

func (s *Server) registerPackages() {
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/packages/{name}", id: "images-with-package", need: mayRead,
		summary: "the images that have a package, and where they are",
		text: "By version, newest image first; with `released` only newest image first. " +
			"A token of some projects sees their images only, but a recorder sees all; a page may have fewer images than its limit, or none, and still name a next one.",
	}, s.withPackage)
	handle(s, operation{
		method: http.MethodGet, path: "/api/v1/images/{ref}/packages", id: "image-packages", need: mayRead, problems: []int{409},
		summary: "what is installed in an image, as its latest tests found it",
	}, s.packages)
}

func (s *Server) withPackage(ctx context.Context, in *withPackageInput) (*installedOutput, error) {
	who := bearer(ctx)
	list, next, err := s.config.Store.WithPackage(ctx, lineage.PackageQuery(*in))
	if err != nil {
		return nil, err
	}
	list = slices.DeleteFunc(list, func(i lineage.Installed) bool { return !seesImagesOf(who, i.Project) })
	return &installedOutput{Body: installedPage{list, next}}, nil
}

func (s *Server) packages(ctx context.Context, in *imageInput) (*packagesOutput, error) {
	images, err := s.visible(ctx, lineage.Query{Ref: in.Ref})
	if err != nil {
		return nil, err
	}
	list, err := s.config.Store.Packages(ctx, images[0].UUID)
	if err != nil {
		return nil, err
	}
	return &packagesOutput{Body: packageList{list}}, nil
}
