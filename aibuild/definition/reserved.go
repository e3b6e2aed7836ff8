package definition

// Reserved lists the words of the command line, which no image may be called: where NAME may stand, a command must not
// be meant. It is sorted.
var Reserved = []string{
	"all", "audit", "boot", "build", "cancel", "changed", "clusters", "completion", "create", "db", "diff", "doctor", "gate", "gitlab",
	"help", "history", "hold", "image", "images", "import-published", "init", "jenkins", "latest", "list", "log", "man", "migrate", "open", "package",
	"prune", "publish", "pushes", "record", "release", "restore", "retry", "revoke", "rollback", "run", "runs", "search", "serve", "setup", "show",
	"start", "status", "test", "token", "transfer", "tree", "validate", "version", "watch",
}
