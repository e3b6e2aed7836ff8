package glance

import (
	"context"
	"net/url"
	"slices"
	"strconv"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/pagination"
)

// pageSize of lists; Glance caps it itself (api_limit_max, 1000).
const pageSize = 200

// query filters a list of images. Unlike gophercloud's own it can ask for a
// custom property.
type query url.Values

func (q query) ToImageListQuery() (string, error) { return "?" + url.Values(q).Encode(), nil }

// list gets all images that a filter lets through, hidden ones included, of
// any visibility (Glance leaves both out unless asked).
func (s *session) list(ctx context.Context, filter map[string]string) ([]images.Image, error) {
	var all []images.Image
	for _, hidden := range []bool{false, true} {
		q := query{"os_hidden": {strconv.FormatBool(hidden)}, "visibility": {"all"}, "limit": {strconv.Itoa(pageSize)}}
		for name, value := range filter {
			q[name] = []string{value}
		}
		for {
			page, more, err := s.page(ctx, q)
			if err != nil {
				return nil, err
			}
			all = append(all, page...)
			if !more {
				break
			}
			q["marker"] = []string{page[len(page)-1].ID}
		}
	}
	return all, nil
}

// page gets one page, so that a long list does not share one call's deadline,
// and says whether there are more.
func (s *session) page(ctx context.Context, q query) (page []images.Image, more bool, err error) {
	err = s.call(ctx, "list", func(ctx context.Context) error {
		return images.List(s.image, q).EachPage(ctx, func(_ context.Context, p pagination.Page) (bool, error) {
			next, err := p.NextPageURL()
			if err != nil {
				return false, err
			}
			page, err = images.ExtractImages(p)
			more = next != "" && len(page) > 0
			return false, err
		})
	})
	return page, more, err
}

// ours: in our project and with our mark. Nothing else may be changed.
func (s *session) ours(have images.Image) bool {
	return have.Owner == s.project.ID && property(have, propUUID) != ""
}

// inventory lists our images of a name and, where none of them is the image
// with this uuid, also that one, whatever its name is now. Either may be empty.
func (s *session) inventory(ctx context.Context, name, id string) ([]images.Image, error) {
	var found []images.Image
	isIt := func(have images.Image) bool { return property(have, propUUID) == id }
	for _, filter := range []struct{ key, value string }{{"name", name}, {propUUID, id}} {
		if filter.value == "" || slices.ContainsFunc(found, isIt) {
			continue
		}
		listed, err := s.list(ctx, map[string]string{filter.key: filter.value, "owner": s.project.ID})
		if err != nil {
			return nil, err
		}
		for _, have := range listed {
			if s.ours(have) {
				found = append(found, have)
			}
		}
	}
	return found, nil
}
