package jenkins

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// maxLog is how much of a log one call takes, in bytes.
const maxLog = 4 << 20

// Log reads a build's console from a place on: 0, or what the call before gave as next. The place is one
// in Jenkins' file, not in the text, whose line ends are made \n. While more is true, ask again later.
//
// If next is before start, the log is shorter than it was, and the text is all of it from the beginning on. Of a text
// of more than 4 MiB, the first are given, a line that says so, and a next near the end of the log.
func (c Client) Log(ctx context.Context, path string, number, start int64) (text []byte, next int64, more bool, err error) {
	const op = "read a build's log"
	at, err := c.buildPath(op, path, number)
	if err != nil {
		return nil, 0, false, err
	}
	limit := &clip{left: maxLog}
	r := request{op: op, method: http.MethodGet, path: at + "logText/progressiveText", missing: buildHint,
		query: map[string]string{"start": strconv.FormatInt(start, 10)}, clip: limit}
	got, err := c.send(ctx, r)
	if err != nil {
		return nil, 0, false, err
	}
	if got.status != http.StatusOK {
		return nil, 0, false, c.refusal(ctx, r, got)
	}
	next, err = strconv.ParseInt(got.header.Get("X-Text-Size"), 10, 64)
	if err != nil || next < 0 {
		return nil, 0, false, c.unexpected(op, "header X-Text-Size")
	}
	text = bytes.ReplaceAll([]byte(got.body), []byte("\r\n"), []byte("\n"))
	if limit.cut {
		// A line end of the file is two bytes here, so that at least maxLog/2 of the file are behind us.
		text = fmt.Appendf(text, "\n[aibuild: the log has %d bytes; a part of it is left out here]\n", next)
		return text, next - maxLog/2, true, nil
	}
	return text, next, got.header.Get("X-More-Data") == "true", nil
}
