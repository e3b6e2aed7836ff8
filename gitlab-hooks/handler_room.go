package hooks

import (
	"context"

	"golang.org/x/sync/semaphore"
)

// room is the memory that bodies may take at once. Who sends a signature is believed nothing before the whole body is
// here, and can take long to send it: so the larger a body, the fewer others it can hold up, and small ones, as nearly
// all deliveries are, wait for nobody.
type room struct {
	middle *semaphore.Weighted // in bytes
	large  *semaphore.Weighted // one at a time
}

const (
	smallBody  = 64 << 10 // bytes; they are bounded by the number of connections
	middleBody = 1 << 20
	middleRoom = 14 << 20
)

func newRoom() room { return room{semaphore.NewWeighted(middleRoom), semaphore.NewWeighted(1)} }

// take waits until there is room for a body of a length, which is negative if it is not known. give ends that.
func (m room) take(ctx context.Context, length int64) (give func(), err error) {
	lane, weight := m.large, int64(1)
	switch {
	case length >= 0 && length <= smallBody:
		return func() {}, nil
	case length >= 0 && length <= middleBody:
		lane, weight = m.middle, length
	}
	if err := lane.Acquire(ctx, weight); err != nil {
		return nil, err
	}
	return func() { lane.Release(weight) }, nil
}
