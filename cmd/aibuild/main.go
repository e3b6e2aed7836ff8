// Command aibuild turns image definitions into tested, published and released
// GuestOS images, and answers where an image came from and where it is.
//
// Results go to stdout, alone; everything else to stderr. Exit codes: 0 ok,
// 1 infrastructure (retry), 2 usage or configuration, 3 the image or template
// failed, 4 not found, 5 refused by a rule, 130 and 143 cancelled.
package main

import (
	"os"
	"runtime/debug"
)

// Where the garbage collector begins to work harder. A companion of builds stays
// small, however long their logs and large their images are; a daemon with a
// thousand clients would do nothing else.
const (
	memoryLimit  = 24 << 20
	serveLimit   = 40 << 20
	servePercent = 400 // of what lives: below its limit a daemon has better things to do
)

// limitMemory leaves it to who has set GOMEMLIMIT or GOGC.
func limitMemory(bytes int64, percent int) {
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(bytes)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(percent)
	}
}

// version is set by the build.
var version = "unknown"

func main() {
	limitMemory(memoryLimit, 100)
	w := &world{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(w.main(os.Args))
}
