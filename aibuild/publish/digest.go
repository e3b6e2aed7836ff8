package publish

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

const (
	chunkSize = 1 << 20
	chunks    = 8 // in flight: the whole memory of a copy, whatever the file's size
)

// zeros stands for every part of every hole.
var zeros = make([]byte, chunkSize)

// chunk is a part of a file that digests and writer share. The last of them gives its buffer back.
type chunk struct {
	data   []byte
	offset int64
	hole   bool
	users  atomic.Int32
}

// Digest reads a local file once for all digests. Holes are not read. progress may be nil; it gets bytes.
func Digest(ctx context.Context, path string, progress func(done, total int64)) (Sums, error) {
	file, err := os.Open(path)
	if err != nil {
		return Sums{}, fmt.Errorf("digest: %w", err)
	}
	defer file.Close() // reading only: nothing can be lost
	return stream(ctx, file, nil, progress)
}

// stream reads a local file once, digests it, and writes it to out (unless nil) with the same holes.
func stream(ctx context.Context, file *os.File, out *output, progress func(done, total int64)) (Sums, error) {
	before, err := file.Stat()
	if err != nil {
		return Sums{}, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if !before.Mode().IsRegular() {
		return Sums{}, fmt.Errorf("read %s: not a plain file", file.Name())
	}
	sums := Sums{Size: before.Size(), Allocated: allocated(before)}
	hashes := map[*string]hash.Hash{&sums.SHA256: sha256.New(), &sums.SHA512: sha512.New()}
	users := make([]func(*chunk) error, 0, len(hashes)+1)
	for _, h := range hashes {
		users = append(users, func(c *chunk) error { _, err := h.Write(c.data); return err })
	}
	if out != nil {
		users = append(users, out.writeChunk)
	}
	if err := share(ctx, file, before.Size(), users, progress); err != nil {
		return Sums{}, err
	}
	after, err := file.Stat()
	if err != nil {
		return Sums{}, fmt.Errorf("read %s: %w", file.Name(), err)
	}
	if after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		return Sums{}, fmt.Errorf("read %s: the file changed meanwhile; let its writer end first", file.Name())
	}
	for field, h := range hashes {
		*field = hex.EncodeToString(h.Sum(nil))
	}
	return sums, nil
}

// share reads the file and gives every chunk to every user, each in a goroutine of its own.
func share(ctx context.Context, file *os.File, size int64, users []func(*chunk) error, progress func(done, total int64)) error {
	group, ctx := errgroup.WithContext(ctx)
	free := make(chan []byte, chunks)
	for range chunks {
		free <- nil // allocated at first use: a small file needs one
	}
	queues := make([]chan *chunk, len(users))
	for i, use := range users {
		queue := make(chan *chunk, chunks)
		queues[i] = queue
		group.Go(func() error {
			for c := range queue {
				if err := use(c); err != nil {
					return err
				}
				if c.users.Add(-1) == 0 && !c.hole {
					free <- c.data[:cap(c.data)]
				}
			}
			return nil
		})
	}
	group.Go(func() error {
		defer func() {
			for _, queue := range queues {
				close(queue)
			}
		}()
		return extents(file, size, func(start, end int64, hole bool) error {
			for offset := start; offset < end; offset += chunkSize {
				c := &chunk{offset: offset, hole: hole, data: zeros[:min(chunkSize, end-offset)]}
				if err := c.fill(ctx, file, free); err != nil {
					return err
				}
				c.users.Store(int32(len(users))) // at most three
				for _, queue := range queues {
					select {
					case queue <- c:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
				if progress != nil {
					progress(offset+int64(len(c.data)), size)
				}
			}
			return nil
		})
	})
	return group.Wait()
}

// fill reads the chunk's bytes into a free buffer, waiting for one.
func (c *chunk) fill(ctx context.Context, file *os.File, free chan []byte) error {
	if c.hole {
		return ctx.Err()
	}
	select {
	case buffer := <-free:
		if buffer == nil {
			buffer = newBuffer()
		}
		c.data = buffer[:len(c.data)]
	case <-ctx.Done():
		return ctx.Err()
	}
	if _, err := file.ReadAt(c.data, c.offset); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("the file became shorter meanwhile; let its writer end first")
		}
		return fmt.Errorf("read %s: %w", file.Name(), err)
	}
	return nil
}

// extents walks the data and the holes of a file in order. A file system that knows no holes has one extent of data.
func extents(file *os.File, size int64, each func(start, end int64, hole bool) error) error {
	for at := int64(0); at < size; {
		data, err := unix.Seek(int(file.Fd()), at, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO):
			data = size // only a hole is left
		case err != nil:
			data = at
		}
		data = min(data, size)
		if data > at {
			if err := each(at, data, true); err != nil {
				return err
			}
		}
		if data == size {
			return nil
		}
		hole, err := unix.Seek(int(file.Fd()), data, unix.SEEK_HOLE)
		if err != nil || hole <= data {
			hole = size
		}
		at = min(hole, size)
		if err := each(data, at, false); err != nil {
			return err
		}
	}
	return nil
}

// allocated is what a local file takes on disk; the size where the system does not tell.
func allocated(info os.FileInfo) int64 {
	if stat, ok := unixStat(info); ok {
		return stat.Blocks * 512
	}
	return info.Size()
}
