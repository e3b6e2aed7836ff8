package hooks

// failpoint is called before and after each commit. Only tests of this package
// can set it: to see what a process that dies just there leaves behind.
var failpoint func(point string)

func milestone(point string) {
	if failpoint != nil {
		failpoint(point)
	}
}
