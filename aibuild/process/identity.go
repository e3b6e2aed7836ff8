package process

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// StartTime is when the process was started, in clock ticks since boot: with
// its pid it names a process for ever, as pids are given again. A zombie counts
// as gone.
func StartTime(pid int) (string, error) {
	path := "/proc/" + strconv.Itoa(pid) + "/stat"
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	// The command name, in parentheses, may hold anything: fields count from
	// the last one.
	_, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if !ok || len(fields) < 20 {
		return "", fmt.Errorf("%s: unexpected form", path)
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return "", fmt.Errorf("process %d has ended: %w", pid, os.ErrNotExist)
	}
	return fields[19], nil
}

// Alive says whether the process that had pid and start (from StartTime) still
// runs.
func Alive(pid int, start string) bool {
	now, err := StartTime(pid)
	return err == nil && now == start
}
