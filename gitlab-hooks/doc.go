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
// URL), ErrNotFound and ErrGone (a project; a commit), ErrRefused (GitLab will not take this, now or later) and ErrConfig
// (the Client itself is wrong). No error holds the token.
//
// Requests go through xanzy/go-gitlab, no type of which crosses this package's face. Its retries are off (it
// takes twelve seconds to give up, and ignores Retry-After), so is its rate limiter (a data race), and redirects are not
// followed (it would send the token to another host).
//
// # Which images a push changes
//
// A Mirror holds a project's history on this machine, and the contents of those files that were looked at; it needs git
// 2.39.4 or later, which can be told not to fetch by itself. Mirror.Changed compares what was handled last with what was
// pushed, never asking the push itself: whatever its size, forced, rolled back or merged. A Checkout says the same of a
// repository that somebody works in; `aibuild changed` prints it.
//
//	change, err := mirror.Changed(ctx, hooks.Push{Ref: ref, Old: head, New: after}, rules)
//	for _, image := range change.Images { ... } // in this order; with Problem: to be rejected
//
// An image is affected when a digest of its definition differs (see package definition), its source in the repository, or
// the commit of a submodule in its folder or those it depends on. A definition that was only moved is the same. Every image
// that the push touches and that is not started has its reason. Where it cannot be told what has changed, all images are
// taken. The skip markers [ci skip], [skip ci], [aibuild skip] and [aibuild skip NAME, …] count in the message of the
// newest commit. Contents are compared as they are in git: not through filters, and without Git LFS.
//
// # Statuses
//
// StatusOf says a run's state in GitLab's words, and Client.SetStatus tells it to GitLab.
//
// The package is stable as far as it goes; the receiver of hooks and the dispatcher will join it.
package hooks
