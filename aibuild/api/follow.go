package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Consoles reads the console of a run's build while it grows, as jenkins.Client
// does: from a place on, with the next one, and whether there will be more.
type Consoles interface {
	Console(ctx context.Context, run lineage.Run, start int64) (text []byte, next int64, more bool, err error)
}

const (
	followEvery = time.Second // a console is looked at
	followKept  = 1 << 20     // bytes of its end that are kept for who comes later
	followLine  = 64 << 10    // a longer line is cut
)

// follows are the consoles that somebody follows: each is read once, for all.
type follows struct {
	server *Server
	every  time.Duration
	most   int // followers of all consoles

	mu    sync.Mutex
	of    map[string]*follow // by run
	users int
	done  chan struct{} // closed: the server stops
	work  sync.WaitGroup
}

func newFollows(s *Server) *follows {
	return &follows{server: s, every: followEvery, most: 500, of: map[string]*follow{}, done: make(chan struct{})}
}

// follow is the end of one console. Offsets are bytes of its text, so that
// whoever comes back goes on where he was, here or in the log that is kept.
type follow struct {
	run    string
	cancel context.CancelFunc
	users  int // guarded by follows.mu

	mu      sync.Mutex
	base    int64  // offset of text
	text    []byte // whole lines
	rest    []byte // a line that is not whole yet
	ended   bool
	changed chan struct{} // closed when there is news
}

// join follows the console of a run that has not ended; call leave at the end.
func (f *follows) join(run string) (*follow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	select {
	case <-f.done:
		return nil, &Problem{Code: CodeBusy, Detail: "the server stops; ask again in a moment"}
	default:
	}
	if f.users >= f.most {
		return nil, &Problem{Code: CodeBusy, Detail: fmt.Sprintf("%d followers of logs are as many as this server takes; ask again later", f.most), retryAfter: "30"}
	}
	f.users++
	one := f.of[run]
	if one == nil {
		ctx, cancel := context.WithCancel(context.Background())
		one = &follow{run: run, cancel: cancel, changed: make(chan struct{})}
		f.of[run] = one
		f.work.Go(func() { f.read(ctx, one) })
	}
	one.users++
	return one, nil
}

func (f *follows) leave(one *follow) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.users--
	if one.users--; one.users == 0 {
		one.cancel()
		delete(f.of, one.run)
	}
}

// stop ends all followers: they come back to the next server.
func (f *follows) stop() {
	f.mu.Lock()
	select {
	case <-f.done:
	default:
		close(f.done)
	}
	for _, one := range f.of {
		one.cancel()
	}
	f.mu.Unlock()
	f.work.Wait()
}

// read follows a console until its build has ended or nobody follows any more.
// What cannot be read now is tried again: Jenkins may be restarting.
func (f *follows) read(ctx context.Context, one *follow) {
	place, wait := int64(0), f.every
	for {
		next, more, err := f.readOnce(ctx, one, place)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			f.server.log.Debug("a console that is followed cannot be read now", "run", one.run, "error", err)
			wait = min(2*wait, 30*time.Second)
		case !more:
			one.end()
			return
		default:
			place, wait = next, f.every
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// readOnce takes what is new. A run that has no build yet has no console yet; of
// one that has ended the last lines are still to come.
func (f *follows) readOnce(ctx context.Context, one *follow, place int64) (next int64, more bool, err error) {
	run, err := f.server.config.Store.Run(ctx, one.run)
	if err != nil {
		return place, true, err
	}
	if run.Build == 0 {
		return place, !run.Final(), nil
	}
	text, next, more, err := f.server.config.Consoles.Console(ctx, run, place)
	if err == nil {
		one.add(text)
		return next, more, nil
	}
	if run.Final() {
		one.add([]byte("\n[aibuild: the rest could not be read]\n"))
		f.server.log.Warn("the end of a console that is followed cannot be read", "run", run.ID, "error", err)
		return place, false, nil
	}
	return place, true, err
}

// add takes text that has come. Only whole lines are shown.
func (o *follow) add(text []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rest = append(o.rest, text...)
	whole := bytes.LastIndexByte(o.rest, '\n') + 1
	if whole == 0 && len(o.rest) > followLine {
		whole = len(o.rest)
	}
	if whole == 0 {
		return
	}
	o.text = append(o.text, o.rest[:whole]...)
	o.rest = append([]byte(nil), o.rest[whole:]...)
	if over := len(o.text) - followKept; over > 0 {
		if line := bytes.IndexByte(o.text[over:], '\n'); line >= 0 {
			over += line + 1
		}
		o.base += int64(over)
		o.text = append([]byte(nil), o.text[over:]...)
	}
	o.tell()
}

func (o *follow) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text, o.rest, o.ended = append(o.text, o.rest...), nil, true
	o.tell()
}

// tell wakes who waits; the lock is held.
func (o *follow) tell() {
	close(o.changed)
	o.changed = make(chan struct{})
}

// from gives a piece of the text after an offset, how much before it is not kept
// any more, whether that is all there will be, and what to wait for where it is
// all there is now.
func (o *follow) from(offset int64) (piece []byte, lost int64, ended bool, changed <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if offset < o.base {
		lost = o.base - offset
		offset = o.base
	}
	if at := offset - o.base; at < int64(len(o.text)) {
		piece = o.text[at:min(int64(len(o.text)), at+followLine)]
		if cut := bytes.LastIndexByte(piece, '\n'); cut >= 0 {
			piece = piece[:cut+1]
		}
	}
	return append([]byte(nil), piece...), lost, o.ended && offset-o.base+int64(len(piece)) >= int64(len(o.text)), o.changed
}

// keptPieces gives the kept log of a run piece by piece, from an offset on.
func (s *Server) keptPieces(run string, offset int64, give func([]byte) error) error {
	log, err := s.openLog(run)
	if err != nil {
		return err
	}
	defer log.Close() //nolint:errcheck // it was only read
	if _, err := io.CopyN(io.Discard, log, offset); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	for piece := make([]byte, 0, followLine); ; {
		n, err := io.ReadFull(log, piece[len(piece):cap(piece)])
		piece = piece[:len(piece)+n]
		last := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !last {
			return err
		}
		whole := bytes.LastIndexByte(piece, '\n') + 1
		if whole == 0 || last {
			whole = len(piece)
		}
		if whole > 0 {
			if err := give(piece[:whole]); err != nil {
				return err
			}
		}
		if last {
			return nil
		}
		piece = piece[:copy(piece[:cap(piece)], piece[whole:])]
	}
}
