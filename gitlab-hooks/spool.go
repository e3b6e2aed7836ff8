package hooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/renameio/v2"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// Spool keeps deliveries on disk while the database is away: one file each,
// synced before Add returns, drained in the order in which they came. Events
// that come to the database directly meanwhile may overtake them: the dispatcher
// puts the events of a ref in order by the commits that they name.
type Spool struct {
	dir   string
	quota int64

	mu    sync.Mutex
	bytes int64
	count int
	last  int64 // number of the newest file
}

// spooled is the content of a file.
type spooled struct {
	Event   lineage.HookEvent `json:"event"`
	Payload []byte            `json:"payload"`
}

const (
	spoolEnd   = ".event"
	damagedEnd = ".damaged"
)

// errSpoolFull says that the quota is reached.
var errSpoolFull = errors.New("the spool of deliveries has reached its quota")

// OpenSpool makes the folder if it is not there. Quota is in bytes.
func OpenSpool(dir string, quota int64) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	s := &Spool{dir: dir, quota: quota}
	names, err := s.list()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			return nil, fmt.Errorf("spool: %w", err)
		}
		s.bytes, s.count = s.bytes+info.Size(), s.count+1
		if _, err := fmt.Sscanf(name, "%d", &s.last); err != nil {
			return nil, fmt.Errorf("spool: %s has no number: %w", name, err)
		}
	}
	return s, nil
}

// list gives the files, oldest first.
func (s *Spool) list() ([]string, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("spool: %w", err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), spoolEnd) && e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	slices.Sort(names)
	return names, nil
}

// Add stores one event. When it returns nil the event survives a power loss.
func (s *Spool) Add(e lineage.HookEvent) error {
	if e.ReceivedAt.IsZero() {
		e.ReceivedAt = time.Now().UTC()
	}
	data, err := json.Marshal(spooled{e, e.Payload})
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bytes+int64(len(data)) > s.quota {
		return fmt.Errorf("%w of %d bytes", errSpoolFull, s.quota)
	}
	s.last = max(s.last+1, time.Now().UnixNano()) // also after a restart with a clock that went back
	name := fmt.Sprintf("%020d%s", s.last, spoolEnd)
	milestone("before spool")
	if err := renameio.WriteFile(filepath.Join(s.dir, name), data, 0o600); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	if err := syncFolder(s.dir); err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.bytes, s.count = s.bytes+int64(len(data)), s.count+1
	milestone("after spool")
	return nil
}

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// SpoolStats is how full a spool is.
type SpoolStats struct {
	Events int
	Bytes  int64
	Quota  int64
}

// Stats is cheap.
func (s *Spool) Stats() SpoolStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return SpoolStats{s.count, s.bytes, s.quota}
}

// Drain gives the events to the inbox, oldest first, and says how many. A
// process that is killed in between gives some twice, which their keys show. A
// file that cannot be read now stays for the next time, one that holds no event
// is put aside; both are in the error, and hold up no other.
func (s *Spool) Drain(ctx context.Context, inbox Inbox) (n int, err error) {
	if s.Stats().Events == 0 {
		return 0, nil
	}
	names, err := s.list()
	if err != nil {
		return 0, err
	}
	var trouble []error
	for batch := range slices.Chunk(names, 16) {
		var events []lineage.HookEvent
		var files []string
		for _, name := range batch {
			data, err := os.ReadFile(filepath.Join(s.dir, name))
			if err != nil { // no descriptor may be left, or the disk be in trouble
				trouble = append(trouble, fmt.Errorf("spool: %w; the delivery stays there, and is read again", err))
				continue
			}
			e, err := unspooled(data)
			if err != nil {
				trouble = append(trouble, s.putAside(name, err))
				continue
			}
			events, files = append(events, e), append(files, name)
		}
		if len(events) > 0 {
			if _, err := inbox.AcceptEvents(ctx, events); err != nil {
				return n, errors.Join(append(trouble, fmt.Errorf("drain the spool: %w", err))...)
			}
			milestone("after drain")
		}
		for _, name := range files {
			if err := s.remove(name); err != nil {
				return n, errors.Join(append(trouble, err)...)
			}
			milestone("after removal")
			n++
		}
	}
	return n, errors.Join(trouble...)
}

// unspooled is the event that a file holds.
func unspooled(data []byte) (lineage.HookEvent, error) {
	var f spooled
	if err := json.Unmarshal(data, &f); err != nil {
		return lineage.HookEvent{}, err
	}
	f.Event.Payload = f.Payload
	return f.Event, f.Event.Validate()
}

// putAside keeps a damaged file for people, out of the way.
func (s *Spool) putAside(name string, cause error) error {
	from := filepath.Join(s.dir, name)
	info, err := os.Stat(from)
	if err == nil {
		err = os.Rename(from, strings.TrimSuffix(from, spoolEnd)+damagedEnd)
	}
	if err == nil {
		s.forget(info.Size())
	}
	return errors.Join(fmt.Errorf("spool: %s is damaged and was put aside as %s: %w", name, damagedEnd, cause), err)
}

func (s *Spool) remove(name string) error {
	path := filepath.Join(s.dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil {
		return fmt.Errorf("spool: %w", err)
	}
	s.forget(info.Size())
	return nil
}

func (s *Spool) forget(size int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes, s.count = s.bytes-size, s.count-1
}
