package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"github.com/klauspost/compress/zstd"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// logTimeout is how long one log may take to be read.
const logTimeout = 10 * time.Minute

// logMemory bounds what a log may ask of the decoder.
const logMemory = 32 << 20

func (s *Server) runLog(ctx context.Context, in *runPath) (*huma.StreamResponse, error) {
	run, err := s.visibleRun(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	log, err := s.openLog(run.ID)
	if errors.Is(err, lineage.ErrNotFound) && !run.Final() && run.BuildURL != "" {
		err = fmt.Errorf("log of run %s is kept when its build has ended; until then it is at %s/console: %w", run.ID, strings.TrimSuffix(run.BuildURL, "/"), lineage.ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(hctx huma.Context) {
		_, w := humago.Unwrap(hctx)
		c := http.NewResponseController(w)
		if err := c.SetWriteDeadline(time.Now().Add(logTimeout)); err != nil && !errors.Is(err, http.ErrNotSupported) {
			s.log.Debug("log of a run: no deadline", "run", run.ID, "error", err)
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, err := io.Copy(w, log)
		if err = errors.Join(err, log.Close()); err != nil {
			s.log.Warn("log of a run was cut", "run", run.ID, "request", requestID(ctx), "error", err)
			panic(http.ErrAbortHandler) // the reader must see that it is not all
		}
	}}, nil
}

// openLog finds RUN.log.zst or RUN.log.
func (s *Server) openLog(id string) (io.ReadCloser, error) {
	none := fmt.Errorf("log of run %s: %w", id, lineage.ErrNotFound)
	if s.config.Logs == nil {
		return nil, none
	}
	f, err := s.config.Logs.Open(id + ".log.zst")
	if errors.Is(err, fs.ErrNotExist) {
		f, err = s.config.Logs.Open(id + ".log")
		if errors.Is(err, fs.ErrNotExist) {
			return nil, none
		}
		return f, err
	}
	if err != nil {
		return nil, err
	}
	d, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(logMemory), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return unpacked{d, f}, nil
}

type unpacked struct {
	*zstd.Decoder
	file fs.File
}

func (u unpacked) Close() error {
	u.Decoder.Close()
	return u.file.Close()
}
