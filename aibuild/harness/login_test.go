package harness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"
)

// A server that speaks once and then no more is seen for what it is, also when
// the boot deadline comes before the handshake's own.
func TestWaitCountsTheAttemptThatTheDeadlineEnds(t *testing.T) {
	for _, tt := range []struct {
		name, says string
		want       contact
	}{
		{"speaks", "SSH-2.0-hangs\r\n", noHandshake},
		{"says nothing", "", noContact},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := newLogin("root")
			if err != nil {
				t.Fatal(err)
			}
			var seen sightings
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := l.wait(ctx, speaker(t, tt.says), time.Minute, &seen); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("wait: %v, want the deadline", err)
			}
			if seen.best != tt.want || (seen.best == noHandshake) != (seen.last != nil) {
				t.Errorf("seen %+v, want %d as the furthest", seen, tt.want)
			}
		})
	}
}

// speaker accepts connections, says its word and keeps them open.
func speaker(t *testing.T, word string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			t.Cleanup(func() { conn.Close() })
			fmt.Fprint(conn, word)
		}
	}()
	return listener.Addr().String()
}
