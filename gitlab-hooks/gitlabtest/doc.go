// Package gitlabtest is a stand-in GitLab for tests and demonstrations: bare repositories that real git pushes to,
// webhooks by GitLab's rules, the part of its API that builds need, and every way in which all that goes wrong.
//
//	s, err := gitlabtest.Start(gitlabtest.Options{})                                         // defer s.Close()
//	_, err = s.CreateProject(ctx, gitlabtest.Project{Path: "group/images"})
//	_, err = s.AddHook("group/images", gitlabtest.Hook{URL: receiver, Token: "secret"})
//	git("push", s.CloneURL("group/images", s.RootToken()), "main")                           // the hooks are queued
//	err = s.Idle(ctx)                                                                        // and now delivered
//
// It needs git and curl (git's own hooks report with it). Everything is in memory but the repositories, which
// Options.Home keeps.
//
// # What it is faithful to
//
// GitLab's and Gitaly's source, in three versions (see [Profile]).
//
//   - Pushes: by smart HTTP with a token, or to [Server.RepositoryPath]; partial and shallow fetches, any object by its
//     id, protected branches and GitLab's words when it refuses.
//   - What becomes of a push: refs are grouped by type and action, and a group of more than three has no hooks at all;
//     the commits of a payload (the newest 20, oldest first, of what a plain exclusion finds) and their true number; a
//     rename as an addition, its old name nowhere; a file that becomes a link as removed and added; created, forced,
//     rolled back and deleted branches, annotated and lightweight tags; SHA-256 repositories.
//   - Payloads: fields, their order and types, of push and tag push, for project and system hooks.
//   - Deliveries: headers with GitLab's spelling, secret tokens, Standard-Webhooks signatures, branch filters, custom
//     headers and templates; 10 s; redirects are successes that are not followed; nothing is retried; a disabled hook
//     loses events; 25 MB; the log; the Test button and Resend, at most five a minute.
//   - The API: login, scopes and roles; pages (with the second page that GitLab always claims branches and trees to
//     have), keysets, comparisons with their limits, raw files, commit statuses with their state machine, rows and lock,
//     hooks, protected branches, and the very texts of its refusals.
//
// [Options.AutoDisable] is off, as on self-managed instances.
//
// # What it is not
//
// There is no web interface, no SSH (its URL is told, but nothing listens there), no group hook (a second project hook
// is the same to a receiver), no merge request, no CI and so no pipeline but those of commit statuses, whose own hooks
// are not sent; no avatar, LFS, fork or file hook, no recursion check, and no rate limit but the two above (a
// [Fault] makes others). What is not in the list above is 404. Hooks may always call local addresses. GitLab delivers
// hooks of one event in no order; here those of one hook keep theirs, until a [Trouble] or
// [Options.HookWorkers] changes that. Payloads are built before git push returns, not soon after. Text that is not UTF-8
// is taken for Latin-1, where GitLab guesses. The wording of a refused signing token, and of what the HTTP client of
// GitLab calls a broken connection, is our own.
//
// # Things that go wrong
//
// [Server.Disturb] drops, delays, doubles, reorders, forges and cuts deliveries. [Server.Fail] makes requests, git's
// own too, fail, hang, come late, or lose their answer after they were carried out. [Server.HoldStatuses] keeps a commit's
// statuses locked, [Server.CollectGarbage] loses commits that were forced away, [Server.RevokeToken] revokes.
//
// # Units, errors, stability
//
// Sizes are bytes. Errors of methods say what was asked for wrongly. The package follows GitLab: a new version of it may
// change what tests see. Safe for concurrent use.
package gitlabtest
