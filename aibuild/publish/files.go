package publish

import (
	"context"
	"fmt"
	"path"
	"strings"
)

// maxFiles is how many files of one image are listed: an image has its own, and the evidence of its tests.
const maxFiles = 10_000

// Files lists the files below a folder of an image, such as evidence, by their paths in the image's folder, sorted. Hidden
// ones are left out. Without the folder it is ErrNotFound.
func (s *Site) Files(ctx context.Context, area, name, uuid, folder string) ([]string, error) {
	if err := checkImage(area, name, uuid); err != nil {
		return nil, err
	}
	if err := checkFile(folder); err != nil {
		return nil, err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	base := path.Join(top, area, name, uuid)
	if err := t.plain(path.Join(base, folder)); err != nil {
		return nil, notFound("list", path.Join(base, folder), err)
	}
	return t.filesBelow(ctx, base, folder, nil)
}

func (t *tree) filesBelow(ctx context.Context, base, folder string, found []string) ([]string, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	infos, err := t.list(path.Join(base, folder))
	if err != nil {
		return nil, err
	}
	for _, info := range infos {
		name := path.Join(folder, info.Name())
		switch {
		case strings.HasPrefix(info.Name(), "."):
		case info.IsDir():
			if found, err = t.filesBelow(ctx, base, name, found); err != nil {
				return nil, err
			}
		case info.Mode().IsRegular():
			if found = append(found, name); len(found) > maxFiles {
				return nil, fmt.Errorf("list %s: more than %d files", path.Join(base, folder), maxFiles)
			}
		}
	}
	return found, nil
}
