package jenkinstest

import "fmt"

// The versions that a Server can be.
const (
	Profile2300    = "2.300"   // June 2021, on Jetty 9.4
	ProfileCurrent = "current" // 2.541.3, January 2026, on Jetty 12
)

// profile is what differs between the versions.
type profile struct {
	version string // X-Jenkins
	jetty   string

	foldedStatus     int  // of a trigger that joins an item in the queue: 303 since 2.308
	plainErrors      bool // "not buildable", and since 2.524 400 "not parameterized", say so on Jetty's error page
	queueItemPage    bool // /queue/item/N/ answers text, since 2.469
	inProgress       bool // builds have inProgress, since 2.369
	ownNotFound      bool // 404 pages are Jenkins' own
	trailingDot      bool // a name must not end with a dot
	relativeRedirect bool // redirects of the container have no host
	builtInName      string
	builtInDisplay   string
	builtInText      string // description of the built-in node
	builtInLog       string // in a build's first lines
	loading          string
	restarting       string
	problem          string // headline of the page for what went wrong inside
	jettyHome        string
	jettyCharset     string
}

func profileOf(name string) (profile, error) {
	switch name {
	case Profile2300:
		return profile{
			version: "2.300", jetty: "9.4.41.v20210516", foldedStatus: 201,
			builtInName: "master", builtInDisplay: "master", builtInText: "the master Jenkins node", builtInLog: "Building on master",
			loading:    "Please wait while Jenkins is getting ready to work",
			restarting: "Please wait while Jenkins is restarting",
			problem:    "A problem occurred while processing the request.",
			jettyHome:  "https://eclipse.org/jetty", jettyCharset: "utf-8",
		}, nil
	case ProfileCurrent, "":
		return profile{
			version: "2.541.3", jetty: "12.1.3", foldedStatus: 303, plainErrors: true, queueItemPage: true, inProgress: true,
			ownNotFound: true, trailingDot: true, relativeRedirect: true,
			builtInName: "built-in", builtInDisplay: "Built-In Node", builtInText: "the Jenkins controller's built-in node",
			builtInLog: "Building on the built-in node",
			loading:    "Jenkins is getting ready to work",
			restarting: "Jenkins is restarting",
			problem:    "A problem occurred while processing the request",
			jettyHome:  "https://jetty.org/", jettyCharset: "ISO-8859-1",
		}, nil
	}
	return profile{}, fmt.Errorf("no profile %q; there are %q and %q", name, Profile2300, ProfileCurrent)
}
