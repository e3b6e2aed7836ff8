package api

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/lineage"
)

// followPause is how long a follower waits before he comes back.
const followPause = time.Second

// FollowLog copies the log of a run to w while it grows, and gives the run's
// state at its end. A connection that is lost is made again, and goes on where
// it was.
func (c *Client) FollowLog(ctx context.Context, id string, w io.Writer) (state string, err error) {
	if err := c.setup(); err != nil {
		return "", err
	}
	f := &follower{client: c, run: id, w: w}
	for {
		state, err := f.once(ctx)
		if state != "" || ctx.Err() != nil {
			return state, errors.Join(err, context.Cause(ctx))
		}
		if _, away := errors.AsType[*lineage.Unavailable](err); err != nil && !away {
			return "", err
		}
		c.log().Debug("the log is followed again", "run", id, "after", f.last, "error", err)
		if err := sleep(ctx, followPause); err != nil {
			return "", fmt.Errorf("follow log of run %s: %w", id, err)
		}
	}
}

type follower struct {
	client *Client
	run    string
	last   string // id of the last event
	w      io.Writer
}

// once reads one connection to its end.
func (f *follower) once(ctx context.Context) (state string, err error) {
	k := call{op: "follow log of run", method: http.MethodGet, path: []string{"runs", f.run, "log", "follow"}}
	if f.last != "" {
		k.header = http.Header{"Last-Event-Id": {f.last}}
	}
	resp, err := f.client.send(ctx, k, nil)
	if err != nil {
		return "", f.client.away(ctx, k, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err != nil {
			return "", f.client.away(ctx, k, err)
		}
		return "", f.client.refusal(k, resp, b)
	}
	if kind := mediaType(resp); kind != streamType {
		return "", &NotAServer{f.client.server(), resp.StatusCode, "it sends " + kind}
	}
	return f.events(ctx, k, resp.Body)
}

// events reads events until the last one. That a connection ends before is no
// more than that the server is away.
func (f *follower) events(ctx context.Context, k call, stream io.Reader) (state string, err error) {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 4*followLine)
	var event, id string
	var data []string
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "event":
			event = value
		case "id":
			id = value
		case "data":
			data = append(data, value)
		}
		if lines.Text() != "" {
			continue
		}
		if event == "end" {
			return strings.Join(data, ""), nil
		}
		if event == "log" {
			if _, err := io.WriteString(f.w, strings.Join(data, "\n")+"\n"); err != nil {
				return "", fmt.Errorf("follow log of run %s: %w", f.run, err)
			}
			f.last = id
		}
		event, data = "", nil
	}
	err = lines.Err()
	if err == nil {
		err = io.ErrUnexpectedEOF
	}
	return "", f.client.away(ctx, k, err)
}
