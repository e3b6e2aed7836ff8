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

// memoryLimit is where the garbage collector begins to work harder: a companion
// of builds stays small, however long their logs and large their images are.
const memoryLimit = 24 << 20

// version is set by the build.
var version = "unknown"

func main() {
	debug.SetMemoryLimit(memoryLimit)
	w := &world{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, getenv: os.Getenv}
	os.Exit(w.main(os.Args))
}
