// Package hooks turns pushes to GitLab into builds. It begins with the GitLab client that this needs.
//
// A Client needs GitLab's URL and an access token with the scope "api" (commit statuses need it; of a project,
// a group or a person). Check says whether they work, which version answers and who is logged in;
// `aibuild doctor --gitlab` prints it.
//
//	health, err := hooks.Client{URL: "https://gitlab.example.org", Token: token}.Check(ctx)
//	var failed *hooks.Error
//	if errors.As(err, &failed) {
//		fmt.Println(failed, failed.Hint)
//	}
//
// Errors are *Error. errors.Is tells the reasons apart: ErrAuth (a wrong, expired or revoked token), ErrForbidden (the
// token may not do this), ErrUnavailable (worth trying again), ErrProtocol (what answers is not GitLab, or not at this
// URL) and ErrConfig (the Client itself is wrong). No error holds the token.
//
// Requests go through xanzy/go-gitlab, no type of which crosses this package's face. Its retries are off (it
// takes twelve seconds to give up, and ignores Retry-After), so is its rate limiter (a data race), and redirects are not
// followed (it would send the token to another host).
//
// The package is stable as far as it goes; the receiver of hooks and the dispatcher will join it.
package hooks
