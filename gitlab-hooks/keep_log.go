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

	"github.com/google/renameio/v2"
	"github.com/klauspost/compress/zstd"

	"github.com/guestos/aibuild/aibuild/lineage"
)

const (
	mostLog  = 64 << 20 // bytes of a console that are kept
	tailLog  = 20       // lines of it that a failure shows
	tailRead = 16 << 10
)

// LogFile is where the console of a run's build is kept, compressed by zstd.
func LogFile(dir, run string) string { return filepath.Join(dir, run+".log.zst") }

// keepLog copies the console of a build that has ended, and gives its last
// lines.
func (d *Dispatcher) keepLog(ctx context.Context, r lineage.Run, number int64) (tail []string, err error) {
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
		if err = errors.Join(err, packed.Close()); err != nil {
			return tail, err
		}
		return tail, file.CloseAtomicallyReplace()
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
