package lineage

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// payloadMax is the most that a stored payload may unpack to: GitLab's own cap
// is 25 MB.
const payloadMax = 64 << 20

// codec packs and unpacks payloads. Its coders are made once, as they hold
// large tables, and are safe for concurrent use.
var codec = sync.OnceValues(func() (c struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}, err error) {
	c.enc, err = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<20), zstd.WithEncoderCRC(false))
	if err != nil {
		return c, err
	}
	c.dec, err = zstd.NewReader(nil, zstd.WithDecoderMaxMemory(payloadMax), zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(1))
	return c, err
})

func pack(payload []byte) ([]byte, error) {
	c, err := codec()
	if err != nil {
		return nil, err
	}
	return c.enc.EncodeAll(payload, make([]byte, 0, len(payload)/3)), nil
}

func unpack(packed []byte, size int64) ([]byte, error) {
	c, err := codec()
	if err != nil {
		return nil, err
	}
	b, err := c.dec.DecodeAll(packed, make([]byte, 0, min(max(size, 0), payloadMax)))
	if err != nil {
		return nil, fmt.Errorf("unpack payload: %w", err)
	}
	return b, nil
}
