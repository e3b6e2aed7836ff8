// Package jenkins talks to a Jenkins controller: it starts builds, says how they go, and ends them.
//
// A Client needs the controller's URL, a user and that user's API token (not the password: tokens need no
// crumb). The user needs Overall/Read, and on the jobs' folder Job/Read, Job/Build and Job/Cancel. Check says whether
// URL and token work, MayStart, Job and Label what else is missing.
//
// # Following a run
//
// A build is started with a parameter that no other has, AIBUILD_RUN_ID, which the job must declare: Jenkins drops
// undeclared parameters without a word, and makes one build of two that have equal ones. Start gives the id of a queue
// item, Queued says which build became of it, Build whether that one has ended. Each call is one request, and none
// is repeated by itself, so a program that follows many builds asks for Queue and Builds, which read all at once.
//
//	started, err := client.Start(ctx, "aibuild/build", map[string]string{"AIBUILD_RUN_ID": id})
//	if errors.Is(err, jenkins.ErrUnavailable) {
//		found, err := client.FindByRunID(ctx, "aibuild/build", id) // the answer was lost, maybe not the build
//	}
//
// Jenkins forgets an item five minutes after it left the queue, and in a restart, of which OnSession hears.
// FindByRunID finds the build all the same.
//
// Jobs are named by their path, folder/job, as Jenkins names them: a branch of a multibranch job is
// job/feature%2Fname. Addresses in answers are read for ids and paths alone; the URLs in what the Client returns begin
// with its own. Sizes are bytes, times are UTC.
//
// # Setting up
//
// Plan compares a Pipeline job and the shared library of its folder with a Spec, and Apply makes one of the changes. Only
// what the Spec speaks of is changed in a config.xml; every other byte stays as it is.
//
// # Errors
//
// Errors are *Error. errors.Is tells the reasons apart: ErrAuth (nobody, or a wrong token), ErrForbidden (the
// user lacks a permission, which the error names), ErrNotFound (Jenkins is there, and knows no such thing),
// ErrNotBuildable (the job is disabled, or a plugin vetoes), ErrParameters (the job wants other parameters),
// ErrUnavailable (worth trying again, after RetryAfter if that is set; a start may have happened), ErrProtocol (what
// answers is not Jenkins, or not at this URL) and ErrConfig (the Client itself is wrong, or what it was called
// with), and of a setup ErrForeign (what is there was made by somebody else) and ErrRefused (Jenkins does not take it). No
// error holds the token.
//
// Requests go through gojenkins, of which only the transport is used (CreateJenkins, NewAPIRequest,
// Requester.Do). Its high-level calls lose the status and the body of every answer that is not JSON, take an
// empty 502 for a good answer, post nothing when a job is already queued, and panic when a connection breaks.
//
// The package is stable. Package jenkinstest is a Jenkins to test against.
package jenkins
