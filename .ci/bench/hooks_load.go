package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// clients is how many connections send at once.
const clients = 32

// sent is what one time of sending came to.
type sent struct {
	done  int
	wall  time.Duration
	times []time.Duration // of each request, sorted
	cpu   []time.Duration // of the servers
}

func (l *sent) add(more sent) {
	l.done, l.wall = l.done+more.done, l.wall+more.wall
	for i, d := range more.cpu {
		if i == len(l.cpu) {
			l.cpu = append(l.cpu, 0)
		}
		l.cpu[i] += d
	}
	l.times = append(l.times, more.times...)
	slices.Sort(l.times)
}

// each is the processor time that a server took for one request, in microseconds.
func (l sent) each(server int) float64 {
	return float64(l.cpu[server]) / float64(time.Microsecond) / float64(max(l.done, 1))
}

func (l sent) rate() float64 { return float64(l.done) / l.wall.Seconds() }

func (l sent) quantile(q float64) time.Duration {
	if len(l.times) == 0 {
		return 0
	}
	return l.times[min(int(q*float64(len(l.times))), len(l.times)-1)]
}

// send lets all clients work for so long. Each has its own do, which open makes:
// one request, n of which are numbered through.
func send(ctx context.Context, long time.Duration, open func() (do func(n uint64) error, close func() error, err error)) (sent, error) {
	var numbers atomic.Uint64
	var mu sync.Mutex
	var l sent
	var errs []error
	var wg sync.WaitGroup
	ready := make(chan struct{})
	var opened sync.WaitGroup
	opened.Add(clients)
	for range clients {
		wg.Go(func() {
			do, closeIt, err := open()
			opened.Done()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
				return
			}
			<-ready
			var times []time.Duration
			for start := time.Now(); time.Since(start) < long && ctx.Err() == nil; {
				began := time.Now()
				if err = do(numbers.Add(1)); err != nil {
					break
				}
				times = append(times, time.Since(began))
			}
			err = errors.Join(err, closeIt())
			mu.Lock()
			defer mu.Unlock()
			l.times = append(l.times, times...)
			errs = append(errs, err)
		})
	}
	opened.Wait()
	start := time.Now()
	close(ready)
	wg.Wait()
	l.wall, l.done = time.Since(start), len(l.times)
	slices.Sort(l.times)
	return l, errors.Join(errs...)
}

// wire speaks just enough HTTP to post one thing again and again for little:
// the machine is the server's.
type wire struct {
	conn net.Conn
	in   *bufio.Reader
}

func dialWire(address string) (*wire, error) {
	conn, err := net.DialTimeout("tcp", address, 10*time.Second)
	if err != nil {
		return nil, err
	}
	return &wire{conn, bufio.NewReaderSize(conn, 4<<10)}, nil
}

// post sends a whole request, and gives the status and the body of its answer,
// which is good until the next one.
func (w *wire) post(request []byte) (status int, body []byte, err error) {
	if err := w.conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return 0, nil, err
	}
	if _, err := w.conn.Write(request); err != nil {
		return 0, nil, err
	}
	length := -1
	for first := true; ; first = false {
		l, err := w.in.ReadSlice('\n')
		if err != nil {
			return 0, nil, err
		}
		l = bytes.TrimRight(l, "\r\n")
		switch {
		case first:
			if len(l) < 12 {
				return 0, nil, fmt.Errorf("no HTTP: %q", l)
			}
			if status, err = strconv.Atoi(string(l[9:12])); err != nil {
				return 0, nil, err
			}
		case len(l) == 0:
			if length < 0 {
				return 0, nil, errors.New("an answer without Content-Length")
			}
			body = make([]byte, length)
			_, err = io.ReadFull(w.in, body)
			return status, body, err
		default:
			if name, value, _ := bytes.Cut(l, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
				if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
					return 0, nil, err
				}
			}
		}
	}
}

func readAll(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, 16<<20))
	return string(b), err
}
