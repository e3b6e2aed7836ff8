package lineage

// Action is what somebody wants done with an image after it was built.
type Action struct {
	Verb     string   // VerbReleased, VerbRolled, VerbRevoked, VerbRestored, VerbHeld or VerbUnheld
	Image    string   // uuid; empty for a rollback to the good image before
	Name     string   // of the image
	Clusters []string // of a release or rollback; empty: all that are meant
	Reason   string
	Actor    string
}
