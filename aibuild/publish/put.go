package publish

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Sums are the digests of one file, in lower-case hex, and its sizes in bytes.
type Sums struct {
	Size      int64  `json:"size"`
	Allocated int64  `json:"allocated"` // on disk: smaller than Size when the file has holes
	SHA256    string `json:"sha256"`
	SHA512    string `json:"sha512"`
}

// Item is one image to put into images/build.
type Item struct {
	Name  string
	UUID  string
	Files map[string]string // name in the image's folder, such as evidence/serial.log, to local path; a local folder gives all in it
	Data  map[string][]byte // small files given by content
	Image string            // which of Files is the image

	// Move lets Put take the files of Files away from where they are instead of copying, where that is possible at once
	// (same file system). Those in the folder of Stage are always taken.
	Move bool
	// Finish gives more small files, such as the image's manifest, when its digests are known; nil is fine. It is not asked
	// when the image is there already.
	Finish func(Sums) (map[string][]byte, error)
	// Progress is told how many bytes of the image are done, from another goroutine; nil is fine.
	Progress func(done, total int64)
}

// reserve stays free on every file system: a full one hurts more than this image.
const reserve = 64 << 20

// Stage makes a hidden folder in the web root in which the files of an image may be written before Put, which then only
// digests and renames them: no second copy. Their places there are their names in Item.Files. It is empty on SFTP: write
// elsewhere then. Put, Unstage and Close remove it.
func (s *Site) Stage(ctx context.Context, name, uuid string) (dir string, err error) {
	if err := checkImage(Build, name, uuid); err != nil {
		return "", err
	}
	if s.local == nil {
		return "", nil
	}
	if err := ctx.Err(); err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if part := s.stages[name+"/"+uuid]; part != "" {
		return s.local.full(part), nil
	}
	folder := path.Join(top, Build, name)
	if err := s.local.folders(folder); err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	part := path.Join(folder, partName(uuid))
	if err := s.local.mkdir(part); err != nil {
		return "", fmt.Errorf("stage: %w", err)
	}
	s.stages[name+"/"+uuid] = part
	return s.local.full(part), nil
}

// Unstage removes the folder of Stage with all in it. After Put, or without Stage, it does nothing.
func (s *Site) Unstage(name, uuid string) error {
	if err := checkImage(Build, name, uuid); err != nil {
		return err
	}
	if part := s.takeStage(name, uuid); part != "" {
		return s.local.removeAll(part)
	}
	return nil
}

func (s *Site) takeStage(name, uuid string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	part := s.stages[name+"/"+uuid]
	delete(s.stages, name+"/"+uuid)
	return part
}

func (s *Site) giveStageBack(name, uuid, part string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stages[name+"/"+uuid] = part
}

// Put puts an image into images/build/NAME/UUID and gives the digests of Item.Image. The folder appears by one rename,
// with everything synced before. When it is there already with the same image, Put changes nothing and gives the digests;
// with another, it fails with *Exists. The error is a *NoSpace when the file system is too full. Whatever fails, nothing is
// left in the web root - but the folder of Stage, as its image may have cost hours: Put can be called again with it.
func (s *Site) Put(ctx context.Context, item Item) (Sums, error) {
	files, err := item.expand()
	if err != nil {
		return Sums{}, err
	}
	t, done, err := s.tree(ctx)
	if err != nil {
		return Sums{}, err
	}
	defer done()
	p := &put{Item: item, site: s, tree: t, files: files, sums: map[string]string{}, part: s.takeStage(item.Name, item.UUID)}
	if p.ours = p.part != ""; !p.ours {
		p.part = path.Join(top, Build, item.Name, partName(item.UUID))
	}
	sums, err := p.do(ctx)
	if err != nil {
		// Asked before the cleanup, which makes room again.
		err = fmt.Errorf("put %s %s: %w", item.Name, item.UUID, s.explain(ctx, err, p.need))
	}
	switch {
	case p.placed:
	case p.ours && err != nil:
		s.giveStageBack(item.Name, item.UUID, p.part)
	default:
		err = errors.Join(err, s.cleanup(ctx, func(t *tree) error { return t.removeAll(p.part) }))
	}
	if err != nil {
		return Sums{}, err
	}
	return sums, nil
}

// put is the work of one Put.
type put struct {
	Item
	site   *Site
	tree   *tree
	part   string            // the hidden folder
	ours   bool              // it is Stage's, and may hold what an earlier try brought there
	files  map[string]string // Item.Files without folders
	sums   map[string]string // SHA-256 of what lies in part
	moved  []string          // sources that were linked and may go
	need   int64
	placed bool
}

func (p *put) target() string { return path.Join(top, Build, p.Name, p.UUID) }

func (p *put) do(ctx context.Context) (Sums, error) {
	if err := p.tree.folders(path.Join(top, Build, p.Name)); err != nil {
		return Sums{}, err
	}
	if p.tree.exists(p.target()) {
		return p.same(ctx)
	}
	if err := p.room(); err != nil {
		return Sums{}, err
	}
	if !p.tree.exists(p.part) {
		if err := p.tree.mkdir(p.part); err != nil {
			return Sums{}, err
		}
	}
	sums, err := p.fill(ctx)
	if err != nil {
		return Sums{}, err
	}
	if err := p.seal(); err != nil {
		return Sums{}, err
	}
	if err := p.tree.rename(p.part, p.target()); err != nil {
		if p.tree.exists(p.target()) {
			return p.same(ctx) // another one was first
		}
		return Sums{}, err
	}
	p.placed = true
	for _, source := range p.moved {
		if err := os.Remove(source); err != nil && !missing(err) {
			p.site.log.Warn("a moved file stays in its old place too", "path", source, "error", err)
		}
	}
	return sums, p.tree.sync(path.Join(top, Build, p.Name))
}

// same says whether the image that is there has the same bytes.
func (p *put) same(ctx context.Context) (Sums, error) {
	there := path.Join(p.target(), p.Image)
	want, err := Digest(ctx, p.files[p.Image], p.Progress)
	if err != nil {
		return Sums{}, err
	}
	got, err := p.tree.sha256(ctx, there)
	if err != nil && !missing(err) {
		return Sums{}, err
	}
	if got != want.SHA256 {
		return Sums{}, &Exists{Build, p.Name, p.UUID}
	}
	return want, nil
}

// room asks for the space of what has to be copied, before anything is.
func (p *put) room() error {
	for name, source := range p.files {
		if p.staged(name, source) {
			continue
		}
		info, err := os.Stat(source)
		if err != nil {
			return err
		}
		p.need += min(allocated(info), info.Size()) + 4096
	}
	for _, data := range p.Data {
		p.need += int64(len(data)) + 4096
	}
	return p.site.enough(p.tree, p.need)
}

// staged says that a file lies where it belongs in the hidden folder already.
func (p *put) staged(name, source string) bool {
	return p.tree.root != nil && filepath.ToSlash(source) == p.tree.full(path.Join(p.part, name))
}

// fill brings every file into the hidden folder.
func (p *put) fill(ctx context.Context) (image Sums, err error) {
	for _, name := range slices.Sorted(maps.Keys(p.files)) {
		if err := p.tree.under(p.part, path.Dir(name)); err != nil {
			return image, err
		}
		progress := p.Progress
		if name != p.Image {
			progress = nil
		}
		sums, err := p.bring(ctx, name, p.files[name], progress)
		if err != nil {
			return image, err
		}
		p.sums[name] = sums.SHA256
		if name == p.Image {
			image = sums
		}
	}
	if err := p.finish(image); err != nil {
		return image, err
	}
	for _, name := range slices.Sorted(maps.Keys(p.Data)) {
		if err := p.tree.under(p.part, path.Dir(name)); err != nil {
			return image, err
		}
		if err := p.write(name, p.Data[name]); err != nil {
			return image, err
		}
		p.sums[name] = sumOf(p.Data[name])
	}
	delete(p.sums, journal)
	return image, p.write(sumsFile, formatSums(p.sums))
}

func (p *put) write(name string, data []byte) error {
	if err := p.clear(name); err != nil {
		return err
	}
	return p.tree.write(path.Join(p.part, name), data)
}

// clear removes what an earlier try brought.
func (p *put) clear(name string) error {
	if !p.ours {
		return nil
	}
	return p.tree.removeAll(path.Join(p.part, name))
}

// finish asks for the files that need the image's digests.
func (p *put) finish(image Sums) error {
	if p.Finish == nil {
		return nil
	}
	more, err := p.Finish(image)
	if err != nil {
		return err
	}
	for name := range more {
		_, given := p.Data[name]
		if err := checkFile(name); err != nil {
			return err
		}
		if given || p.files[name] != "" || name == sumsFile {
			return fmt.Errorf("%s is given twice", name)
		}
	}
	data := maps.Clone(p.Data)
	if data == nil {
		data = map[string][]byte{}
	}
	maps.Copy(data, more)
	p.Data = data
	return nil
}

// bring takes or copies one file, and digests it in the same read.
func (p *put) bring(ctx context.Context, name, source string, progress func(done, total int64)) (Sums, error) {
	place := path.Join(p.part, name)
	if p.staged(name, source) {
		return p.adopt(ctx, place, progress)
	}
	if err := p.clear(name); err != nil {
		return Sums{}, err
	}
	if p.Move && p.tree.root != nil && p.linkIn(source, place) == nil {
		p.moved = append(p.moved, source)
		return p.adopt(ctx, place, progress)
	}
	return copyIn(ctx, p.tree, source, place, progress)
}

// linkIn makes a hard link of a file outside of the root; the folder's descriptor keeps it inside.
func (p *put) linkIn(source, place string) error {
	folder, err := p.tree.root.Open(path.Dir(place))
	if err != nil {
		return err
	}
	defer folder.Close() // only its descriptor was used
	return unix.Linkat(unix.AT_FDCWD, source, int(folder.Fd()), path.Base(place), 0)
}

// adopt digests and syncs a file that is in place already.
func (p *put) adopt(ctx context.Context, place string, progress func(done, total int64)) (Sums, error) {
	file, err := p.tree.root.OpenFile(place, os.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Sums{}, err
	}
	// A hint: what is still in memory goes to the disk while it is digested; the sync below reports what is wrong.
	_ = unix.SyncFileRange(int(file.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
	sums, err := stream(ctx, file, nil, progress)
	err = errors.Join(err, file.Sync(), file.Close())
	if err != nil {
		return Sums{}, err
	}
	return sums, p.tree.chmod(place, 0o644)
}

// copyIn copies a local file into the tree.
func copyIn(ctx context.Context, t *tree, source, place string, progress func(done, total int64)) (Sums, error) {
	file, err := os.OpenFile(source, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return Sums{}, err
	}
	defer file.Close() // reading only: nothing can be lost
	return copyFile(ctx, t, file, place, progress)
}

func copyFile(ctx context.Context, t *tree, file *os.File, place string, progress func(done, total int64)) (Sums, error) {
	out, err := t.create(place)
	if err != nil {
		return Sums{}, err
	}
	sums, err := stream(ctx, file, out, progress)
	if err != nil {
		return Sums{}, errors.Join(err, out.Close())
	}
	return sums, t.finish(out, place, sums.Size)
}

// seal removes what nobody listed, syncs the folders, and opens them to readers - who see the hidden name still.
func (p *put) seal() error {
	folders := []string{p.part}
	for i := 0; i < len(folders); i++ {
		entries, err := p.tree.readDir(folders[i])
		if err != nil {
			return err
		}
		for _, entry := range entries {
			full := path.Join(folders[i], entry.Name())
			name := strings.TrimPrefix(full, p.part+"/")
			switch {
			case entry.IsDir():
				folders = append(folders, full)
			case !p.listed(name):
				if err := p.tree.removeAll(full); err != nil {
					return err
				}
			}
		}
	}
	return p.tree.expose(p.part)
}

func (p *put) listed(name string) bool {
	_, digested := p.sums[name]
	return digested || name == journal || name == sumsFile
}
