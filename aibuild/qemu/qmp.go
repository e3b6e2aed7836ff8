package qemu

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
)

// errMonitorGone: QEMU closed its end, which it does only by ending.
var errMonitorGone = errors.New("qemu has ended")

// monitor speaks QMP: JSON objects, one a line, in both directions. Several
// goroutines may run commands at once.
type monitor struct {
	conn    *os.File
	onEvent func(name string, data json.RawMessage)
	done    chan struct{}

	mu      sync.Mutex
	last    int64
	pending map[int64]chan message
}

type message struct {
	ID     int64           `json:"id"`
	Return json.RawMessage `json:"return"`
	Error  *struct {
		Class string `json:"class"`
		Desc  string `json:"desc"`
	} `json:"error"`
	Event string          `json:"event"`
	Data  json.RawMessage `json:"data"`
}

// newMonitor reads from conn until it closes.
func newMonitor(conn *os.File, onEvent func(string, json.RawMessage)) *monitor {
	m := &monitor{conn: conn, onEvent: onEvent, done: make(chan struct{}), pending: map[int64]chan message{}}
	go m.read()
	return m
}

func (m *monitor) read() {
	defer close(m.done)
	decoder := json.NewDecoder(m.conn)
	for {
		var msg message
		if err := decoder.Decode(&msg); err != nil {
			return // the end of QEMU, or our own Close
		}
		switch {
		case msg.Event != "":
			m.onEvent(msg.Event, msg.Data)
		case msg.ID != 0:
			m.deliver(msg)
		}
	}
}

func (m *monitor) deliver(msg message) {
	m.mu.Lock()
	answer := m.pending[msg.ID]
	delete(m.pending, msg.ID)
	m.mu.Unlock()
	if answer != nil {
		answer <- msg
	}
}

// run sends a command and waits for its answer.
func (m *monitor) run(ctx context.Context, command string, args any) (json.RawMessage, error) {
	id, answer, err := m.send(command, args)
	if err != nil {
		return nil, fmt.Errorf("qmp %s: %w", command, err)
	}
	defer m.forget(id)
	select {
	case msg := <-answer:
		if msg.Error != nil {
			return nil, fmt.Errorf("qmp %s: %s", command, msg.Error.Desc)
		}
		return msg.Return, nil
	case <-m.done:
		return nil, fmt.Errorf("qmp %s: %w", command, errMonitorGone)
	case <-ctx.Done():
		return nil, fmt.Errorf("qmp %s: no answer: %w", command, context.Cause(ctx))
	}
}

func (m *monitor) send(command string, args any) (int64, chan message, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.last++
	line := map[string]any{"execute": command, "id": m.last}
	if args != nil {
		line["arguments"] = args
	}
	b, err := json.Marshal(line)
	if err != nil {
		return 0, nil, err
	}
	// The socket's buffer takes every command whole, so this does not wait.
	if _, err := m.conn.Write(append(b, '\n')); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errMonitorGone, err)
	}
	answer := make(chan message, 1)
	m.pending[m.last] = answer
	return m.last, answer, nil
}

func (m *monitor) forget(id int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.pending, id)
}

// human runs a command of the human monitor, for what QMP has no words for.
func (m *monitor) human(ctx context.Context, line string) (string, error) {
	b, err := m.run(ctx, "human-monitor-command", map[string]any{"command-line": line})
	if err != nil {
		return "", fmt.Errorf("%s: %w", line, err)
	}
	var out string
	if err := json.Unmarshal(b, &out); err != nil {
		return "", fmt.Errorf("%s: %w", line, err)
	}
	return out, nil
}
