package qemu

import (
	"fmt"
	"io"
	"os"
	"syscall"
)

// maxLog is how much of a log is kept as it comes; a guest can print for ever.
const maxLog = 64 << 20

// socketPair returns two connected stream sockets: ours, with deadlines, and one
// to give away.
func socketPair(name string) (ours, theirs *os.File, err error) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket pair for %s: %w", name, err)
	}
	if err := syscall.SetNonblock(fds[0], true); err != nil {
		return nil, nil, fmt.Errorf("socket pair for %s: %w", name, err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// cappedLog writes a file of at most maxLog bytes and counts the rest.
type cappedLog struct {
	file    *os.File
	left    int64
	dropped int64
	err     error // the first one; the console goes on without its log
}

func newCappedLog(path string) (*cappedLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	return &cappedLog{file: f, left: maxLog}, nil
}

func (l *cappedLog) Write(p []byte) (int, error) {
	n := min(int64(len(p)), l.left)
	l.left -= n
	l.dropped += int64(len(p)) - n
	if n > 0 && l.err == nil {
		_, l.err = l.file.Write(p[:n])
	}
	return len(p), nil
}

// close ends the log; if it was cut, the last lines follow.
func (l *cappedLog) close(tail []string) error {
	if l.dropped > 0 && l.err == nil {
		_, l.err = fmt.Fprintf(l.file, "\n[%d bytes are left out here; the last lines follow]\n", l.dropped)
		for _, line := range tail {
			if l.err == nil {
				_, l.err = fmt.Fprintln(l.file, line)
			}
		}
	}
	if err := l.file.Close(); l.err == nil {
		l.err = err
	}
	return l.err
}

// pump copies what QEMU says to sinks until QEMU has ended.
func pump(from *os.File, sinks ...io.Writer) {
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		for _, w := range sinks {
			// These sinks never fail: the log keeps its error, the console has none.
			_, _ = w.Write(buf[:n])
		}
		if err != nil {
			return
		}
	}
}
