package publish

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Promote makes an image of images/build appear in images/release too: by hard links, so that its bytes are neither read nor
// copied, with extra (names to content, such as image.json, which has no digest) and SHA256SUMS beside them. Then latest moves forward to the
// newest image. Repeating it adds what is missing and replaces what differs in extra. The error is ErrNotFound without the
// image in images/build, and *Exists when images/release has other bytes.
func (s *Site) Promote(ctx context.Context, name, uuid string, extra map[string][]byte) error {
	if err := checkImage(Release, name, uuid); err != nil {
		return err
	}
	for file := range extra {
		if err := checkFile(file); err != nil {
			return err
		}
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return err
	}
	defer done()
	p := &promotion{tree: t, site: s, name: name, uuid: uuid, extra: extra, sums: map[string]string{}}
	if err := p.do(ctx); err != nil {
		return fmt.Errorf("publish %s %s: %w", name, uuid, s.explain(ctx, err, p.need))
	}
	return nil
}

// promotion is the work of one Promote.
type promotion struct {
	tree       *tree
	site       *Site
	name, uuid string
	extra      map[string][]byte
	known      map[string]string // SHA-256 as images/build records it
	sums       map[string]string // as images/release will
	need       int64             // bytes to copy, where links are impossible
}

func (p *promotion) source() string { return path.Join(top, Build, p.name, p.uuid) }
func (p *promotion) folder() string { return path.Join(top, Release, p.name) }
func (p *promotion) target() string { return path.Join(p.folder(), p.uuid) }

func (p *promotion) do(ctx context.Context) error {
	if err := p.tree.plain(p.source()); missing(err) {
		return fmt.Errorf("%s: %w", p.source(), ErrNotFound)
	} else if err != nil {
		return err
	}
	var err error
	if p.known, err = p.tree.readSums(p.source()); err != nil {
		return err
	}
	for _, data := range p.extra {
		p.need += int64(len(data)) + 4096
	}
	if err := p.site.enough(p.tree, p.need); err != nil {
		return err
	}
	if err := p.tree.folders(p.folder()); err != nil {
		return err
	}
	return p.site.locked(ctx, p.tree, p.folder(), func() error {
		place := p.fresh
		if p.tree.exists(p.target()) {
			place = p.refresh
		}
		if err := place(ctx); err != nil {
			return err
		}
		return settle(p.tree, p.folder(), "")
	})
}

// fresh fills a hidden folder and renames it.
func (p *promotion) fresh(ctx context.Context) (err error) {
	part := path.Join(p.folder(), partName(p.uuid))
	if err := p.tree.mkdir(part); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.site.cleanup(ctx, func(t *tree) error { return t.removeAll(part) }))
		}
	}()
	if err := p.each(ctx, "", func(file string) error {
		if err := p.tree.under(part, path.Dir(file)); err != nil {
			return err
		}
		return p.link(ctx, file, path.Join(part, file))
	}); err != nil {
		return err
	}
	for _, file := range slices.Sorted(maps.Keys(p.extra)) {
		if err := p.tree.under(part, path.Dir(file)); err != nil {
			return err
		}
		if err := p.tree.write(path.Join(part, file), p.extra[file]); err != nil {
			return err
		}
		p.digested(file)
	}
	if err := p.tree.write(path.Join(part, sumsFile), formatSums(p.sums)); err != nil {
		return err
	}
	if err := p.tree.expose(part); err != nil {
		return err
	}
	if err := p.tree.rename(part, p.target()); err != nil {
		return err
	}
	return p.tree.sync(p.folder())
}

// refresh brings an image that is in images/release already up to date, file by file, the digests last.
func (p *promotion) refresh(ctx context.Context) error {
	there, err := p.tree.readSums(p.target())
	if err != nil {
		return err
	}
	maps.Copy(p.sums, there)
	if err := p.each(ctx, "", func(file string) error {
		if digest, has := there[file]; has {
			if known := p.known[file]; known != "" && digest != known {
				return &Exists{Release, p.name, p.uuid}
			}
			return nil
		}
		if err := p.tree.folders(path.Join(p.target(), path.Dir(file))); err != nil {
			return err
		}
		return p.link(ctx, file, path.Join(p.target(), file))
	}); err != nil {
		return err
	}
	for file, data := range p.extra {
		old, err := p.tree.read(path.Join(p.target(), file), maxSmall)
		if err != nil && !missing(err) {
			return err
		}
		if err != nil || !bytes.Equal(old, data) {
			if err := p.tree.replace(p.folder(), path.Join(p.target(), file), data); err != nil {
				return err
			}
		}
		p.digested(file)
	}
	if maps.Equal(p.sums, there) {
		return nil
	}
	return p.tree.replace(p.folder(), path.Join(p.target(), sumsFile), formatSums(p.sums))
}

// digested notes the digest of a file of extra.
func (p *promotion) digested(file string) {
	if file != story {
		p.sums[file] = sumOf(p.extra[file])
	}
}

// each calls link for every file of images/build that belongs into images/release.
func (p *promotion) each(ctx context.Context, below string, link func(file string) error) error {
	entries, err := p.tree.list(path.Join(p.source(), below))
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		file := path.Join(below, entry.Name())
		_, replaced := p.extra[file]
		switch {
		case strings.HasPrefix(entry.Name(), ".") || file == journal || file == story || file == sumsFile || replaced:
		case entry.IsDir():
			err = p.each(ctx, file, link)
		case !entry.Mode().IsRegular():
			err = fmt.Errorf("%s: not a plain file; look who made it, then remove it", path.Join(p.source(), file))
		default:
			err = link(file)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// link makes a hard link; where the two areas are on different file systems, a copy.
func (p *promotion) link(ctx context.Context, file, place string) error {
	from := path.Join(p.source(), file)
	digest := p.known[file]
	err := p.tree.link(from, place)
	if p.tree.root != nil && (errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EMLINK)) {
		return p.copy(ctx, from, place, file)
	}
	if err != nil {
		return err
	}
	if digest == "" { // added after Put
		if digest, err = p.tree.sha256(ctx, from); err != nil {
			return err
		}
	}
	p.sums[file] = digest
	return nil
}

func (p *promotion) copy(ctx context.Context, from, place, file string) error {
	source, err := p.tree.root.OpenFile(from, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer source.Close() // reading only: nothing can be lost
	info, err := source.Stat()
	if err != nil {
		return err
	}
	p.need = allocated(info)
	if err := p.site.enough(p.tree, p.need); err != nil {
		return err
	}
	sums, err := copyFile(ctx, p.tree, source, place, nil)
	if err != nil {
		return err
	}
	if want := p.known[file]; want != "" && sums.SHA256 != want {
		return &Corrupt{p.tree.full(from), want, sums.SHA256}
	}
	p.sums[file] = sums.SHA256
	return nil
}

// expose syncs a hidden folder with all below it and opens it to readers.
func (t *tree) expose(part string) error {
	entries, err := t.readDir(part)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if !entry.IsDir() {
			continue
		}
		if err := t.expose(path.Join(part, entry.Name())); err != nil {
			return err
		}
	}
	return errors.Join(t.chmod(part, 0o755), t.sync(part))
}

// settle points latest to the newest image of a folder of images/release, other than without; without any, it goes.
func settle(t *tree, folder, without string) error {
	entries, err := t.list(folder)
	if err != nil {
		return err
	}
	newest := ""
	for _, entry := range entries {
		if entry.IsDir() && isUUID(entry.Name()) && entry.Name() != without {
			newest = max(newest, entry.Name())
		}
	}
	link := path.Join(folder, latest)
	current, err := t.readlink(link)
	switch {
	case err == nil && current == newest:
		return nil
	case err != nil && !missing(err):
		if info, statErr := t.lstat(link); statErr != nil || info.Mode()&fs.ModeSymlink == 0 {
			return fmt.Errorf("%s is no link; look who made it, then remove it: %w", link, err)
		}
		return err
	case newest == "" && err != nil:
		return nil
	case newest == "":
		return errors.Join(t.removeAll(link), t.sync(folder))
	}
	next := path.Join(folder, partName(latest))
	if err := t.symlink(newest, next); err != nil {
		return err
	}
	if err := t.rename(next, link); err != nil {
		return errors.Join(err, t.removeAll(next))
	}
	return t.sync(folder)
}

// Retract takes an image out of images/release, where latest goes back to the newest that remains. It stays in images/build,
// so that Promote brings it back. An image that is not there is no error.
func (s *Site) Retract(ctx context.Context, name, uuid string) error {
	err := s.Remove(ctx, Release, name, uuid)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}
