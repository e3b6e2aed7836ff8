package hooks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/guestos/aibuild/aibuild/lineage"
	"github.com/guestos/aibuild/jenkins"
)

const (
	mostLog  = 64 << 20 // bytes of a console that are kept
	tailLog  = 20       // lines of it that a failure shows
	tailRead = 16 << 10

	logWithin = 20 * time.Second // for one console, and after which a pass begins no other
	logTries  = 5                // more, after which a run ends without its console
)

// LogFile is where the console of a run's build is kept, compressed by zstd.
func LogFile(dir, run string) string { return filepath.Join(dir, run+".log.zst") }

// console keeps the console of a build that has ended, and gives its last lines; wait is not 0 where that is to be
// tried again before the run ends. Consoles are read between the looks at other runs, so that they may not take long.
func (p *pass) console(r lineage.Run, number int64) (tail []string, wait time.Duration, why error) {
	if p.logs > logWithin {
		return nil, time.Second, errLater
	}
	began := time.Now()
	ctx, cancel := context.WithTimeout(p.ctx, logWithin)
	defer cancel()
	last := p.d.unreadable(r.ID) > logTries
	tail, err := p.d.keepLog(ctx, r, number, last)
	p.logs += time.Since(began)
	if err == nil {
		p.d.readable(r.ID)
		return tail, 0, nil
	}
	if ctx.Err() == nil { // a console that takes too long says nothing of others
		_ = p.view.heard(err) // it gives the same error back
	}
	if errors.Is(err, jenkins.ErrUnavailable) && !last {
		return nil, retryIn(1, err), err
	}
	p.d.readable(r.ID)
	p.d.Log.Warn("the console of a build was not kept, or not whole", "run", r.ID, "error", err)
	return tail, 0, nil
}

// unreadable counts the tries to read a run's console, until one went well.
func (d *Dispatcher) unreadable(run string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.unread[run]++
	return d.unread[run]
}

func (d *Dispatcher) readable(run string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.unread, run)
}

// keepLog copies the console of a build that has ended, and gives its last
// lines. A part of it is kept only where it is not tried again.
func (d *Dispatcher) keepLog(ctx context.Context, r lineage.Run, number int64, last bool) (tail []string, err error) {
	to := io.Discard
	if d.LogDir != "" {
		if err := os.MkdirAll(d.LogDir, 0o750); err != nil {
			return nil, err
		}
		file, err := renameio.NewPendingFile(LogFile(d.LogDir, r.ID), renameio.WithPermissions(0o640))
		if err != nil {
			return nil, err
		}
		defer file.Cleanup() //nolint:errcheck // after the replacement there is nothing to clean up
		packed, err := zstd.NewWriter(file, zstd.WithEncoderConcurrency(1))
		if err != nil {
			return nil, err
		}
		tail, err = d.copyLog(ctx, r, number, packed)
		part := err != nil && last && len(tail) > 0
		if part {
			_, _ = fmt.Fprintf(packed, "\n[aibuild: the rest could not be read: %v]\n", err) // closing it tells
		}
		if closed := packed.Close(); closed != nil || err != nil && !part {
			return tail, errors.Join(err, closed)
		}
		return tail, errors.Join(err, file.CloseAtomicallyReplace())
	}
	return d.copyLog(ctx, r, number, to)
}

// copyLog reads the console piece by piece.
func (d *Dispatcher) copyLog(ctx context.Context, r lineage.Run, number int64, to io.Writer) (tail []string, err error) {
	var last []byte
	at, total := int64(0), 0
	for {
		text, next, more, err := d.Jenkins.Log(ctx, r.JenkinsJob, number, at)
		if err != nil {
			return logLines(last), err
		}
		if _, err := to.Write(text); err != nil {
			return logLines(last), err
		}
		last = append(last, text...)
		last = last[max(0, len(last)-tailRead):]
		if total += len(text); total > mostLog {
			_, err := fmt.Fprintf(to, "\n[aibuild: the rest is in jenkins only]\n")
			return logLines(last), err
		}
		if !more || next <= at {
			return logLines(last), nil
		}
		at = next
	}
}

// logLines are the last lines of a text that say something.
func logLines(text []byte) []string {
	var all []string
	for line := range bytes.SplitSeq(text, []byte("\n")) {
		if line := strings.TrimRight(strings.ToValidUTF8(string(line), "?"), " \r\t"); line != "" {
			all = append(all, line)
		}
	}
	return all[max(0, len(all)-tailLog):]
}
