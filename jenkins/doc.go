// Package jenkins talks to a Jenkins controller.
//
// A Client needs the controller's URL, a user and that user's API token (not the password: tokens need no
// crumb). Check says whether they work, which version answers and who is logged in; `aibuild doctor --jenkins`
// prints it.
//
//	health, err := jenkins.Client{URL: "https://ci.example.org", User: "aibuild", Token: token}.Check(ctx)
//	var failed *jenkins.Error
//	if errors.As(err, &failed) {
//		fmt.Println(failed, failed.Hint)
//	}
//
// Errors are *Error. errors.Is tells the reasons apart: ErrAuth (nobody, or a wrong token), ErrForbidden (the
// user lacks a permission, which the error names), ErrUnavailable (worth trying again), ErrProtocol (what answers
// is not Jenkins, or not at this URL) and ErrConfig (the Client itself is wrong). No error holds the token.
//
// Requests go through gojenkins, of which only the transport is used (CreateJenkins, NewAPIRequest,
// Requester.Do). Its high-level calls lose the status and the body of every answer that is not JSON, take an
// empty 502 for a good answer, post nothing when a job is already queued, and panic when a connection breaks.
//
// The package is stable as far as it goes; starting and following builds will be added to Client.
package jenkins
