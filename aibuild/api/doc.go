// Package api is the story over HTTP: the server that `aibuild serve` runs, and
// the client of it. It owns the HTTP framework and the metrics; nothing of
// either is part of its face.
//
// # When to use it
//
// [New] makes a [Server] on a *lineage.Store; serve its Handler, and Close it
// before the store. A [Client] records from machines that must not have the
// database's password, such as Jenkins agents: it is an aibuild.Recorder and
// gives the errors that the store gives, so a pipeline does not know which of
// the two it has.
//
// # What the server has
//
// Everything below /api/ needs a token. Open are /healthz (the process
// answers), /readyz (the database is usable; how Jenkins and GitLab are is in
// its body), /metrics, /openapi.json, /docs, /static and the page of a run,
// /runs/ID, which says nothing without a token. Config.OpenPages (serve --dev)
// shows that page, and nothing else, without one to who is on the same machine.
//
//	POST   /api/v1/runs               open a run: start an image, or register a Jenkins build
//	GET    /api/v1/runs               runs, last opened first
//	GET    /api/v1/runs/ID            one run: image_uuid, from, caps
//	POST   /api/v1/runs/ID/cancel     ask for its end
//	POST   /api/v1/runs/ID/retry      the next attempt
//	GET    /api/v1/runs/ID/log        its console
//	POST   /api/v1/records            steps of the story, as they are journalled
//	GET    /api/v1/resolve            find images: all of lineage.Query, what a cluster showed at a time too
//	GET    /api/v1/images             images, newest first
//	GET    /api/v1/images/REF         one image
//	GET    /api/v1/images/REF/history the images of a name, and the runs that made none
//	GET    /api/v1/images/REF/cells   its tests, and the files of their evidence
//	GET    /api/v1/images/REF/evidence/FILE
//	GET    /api/v1/images/REF/family  what it was built from, and what from it
//	GET    /api/v1/clusters           what each cluster shows, or should
//	GET    /api/v1/search             what a text may mean
//	GET    /api/v1/events             the audit
//	GET    /api/v1/caps               what a project may do
//	GET    /api/v1/pushes             what GitLab told of, and what became of it
//	POST   /api/v1/locks              take the lock on an image name
//	POST   /api/v1/locks/ID/renew     keep it
//	DELETE /api/v1/locks/ID           give it back
//
// # Tokens and roles
//
// A token is aib_ and 43 digits; only its sha256 is stored ([NewToken],
// [HashToken]). The token is looked at first, then the role, and only then what
// was sent: without a token every address below /api/ is 401, whether it exists
// or not, and a role that may not do something is told 403 before a body is
// read or a run looked for.
//
//   - viewer reads.
//   - operator starts, cancels and retries runs too.
//   - releaser records releases, rollbacks, revocations and holds too, under the
//     verbs of these.
//   - admin records everything, transfers and prunes.
//   - recorder is a Jenkins job. It belongs to projects, reads, locks and
//     records what its builds do.
//
// A token may be bound to projects (a recorder must be). It then sees the runs
// and images of these only: others are not_found when they are read, and
// other_project when they are written to. A recorder does see all images,
// because an image may be built from any other.
//
// # What a recorder may write
//
// It names its Jenkins build (job and number) with every batch. It writes to
// runs of its projects that are triggering, in_jenkins_queue or building. The
// first write binds the run to the build; another build is a conflict from then
// on. A run makes one image, which has its id, name, project and ref; a release
// also records that older images of the name were hidden. The state goes
// forward only, and the end of a run that the daemon follows stays the daemon's
// to tell. What has ended, or was not started, is a conflict; the exact
// repetition of what was recorded is not, at any time.
//
// Its build is of the job that the configuration names for the project
// (Config.Job); the run has the job as it is spelled there. All unfinished runs of
// one build are of one project and one ref, a retry is of its run's ref, and what
// is published or released must be an image of a ref that may. Of events without
// a payload it writes noted only.
//
// A build that nobody started from here opens a run by itself, as building; the
// daemon follows it like its own.
//
// A project that Config.Caps does not know has no recorder: everything is
// refused_by_rule, gitlab.projects. People record for it as their role lets them.
//
// Config.Caps is enforced again on what is built, published and released:
// names, refs and clusters. The answer is refused_by_rule with the rule's key,
// and the client gives the same *definition.Refused that the pipeline gives.
// The visibility of an image in a cloud is not part of a record, so it is
// checked by the build alone.
//
// Who and by what (actor, channel) are set from the token, and times in the
// future to now: a record cannot claim to be the daemon's.
//
// # Locks
//
// The server holds the store's own lock for a client, as long as the client
// renews it within Config.LockTTL (30 s). A client that dies blocks a name for
// no longer. When the server is restarted its locks are gone: the client's
// unlock gives *lineage.LockLost. At most 64 are held at once, and at most 8 with
// one token (a process that has one may have more, up to 16); who comes then
// waits as for a lock. A request may be repeated under its id.
//
// A client sends the fences of its locks with its records. When somebody else
// has had such a lock since it was granted, the record of what it locks is a
// conflict. After a restart the server knows of the holders since then only.
//
// # Errors
//
// The server tells every error as a [Problem] (RFC 9457) whose code is stable;
// /docs lists them. The client gives *lineage.Unavailable when the server or its
// database cannot be used now, and the typed errors of lineage and definition
// for the rest; beyond them
//
//   - [*Denied]: the token may not.
//   - [*NotAServer]: what answers is no aibuild server, redirects elsewhere, or
//     has a certificate that is not trusted. The token is sent nowhere else.
//   - [*Plaintext], from [Client.Check]: a warning, the token is readable on the
//     way.
//
// No token is in any error, log, metric or page.
//
// # Units and limits
//
// Times are UTC, sizes bytes, durations milliseconds where the name says so. A
// body has at most 8 MiB and is not compressed; a request is answered within
// Config.Timeout (30 s), a log or a file of evidence is read within ten minutes.
// An answer to GET has an ETag, and is not sent again to who names it in
// If-None-Match; answers of more than a packet come as gzip to who takes that. A
// token may ask Config.Rate times a second (500, and 1000 at once); beyond that
// it is too_many_requests, with Retry-After.
//
// # Stability
//
// Stable: paths, codes, JSON fields (they only grow) and exported names.
package api
