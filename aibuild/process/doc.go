// Package process is the only place in aibuild that starts programs.
//
// Use it instead of os/exec: every program runs as leader of its own process
// group, with an allow-listed environment, a deadline, and output that is
// captured (bounded) and redacted. No program outlives its caller: when the
// context ends the whole group gets TERM and, after a grace period, KILL; when
// this process dies without a chance to clean up (kill -9, out of memory), a
// watchdog inside the group does the same.
//
//	res, err := process.Cmd{Path: "qemu-img", Args: []string{"info", path}}.Run(ctx)
//
// A program that ends with a status other than 0 is a *[Error]; a program that
// is not installed matches [ErrNotFound]. Times are wall-clock durations, sizes
// are bytes. The package is safe for concurrent use and holds no state.
package process
