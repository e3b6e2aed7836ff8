// Package glance releases image files to OpenStack clusters, and keeps exactly
// one visible image per name and cluster.
//
// Use it when a tested image file has to be offered under one name in one or
// more clouds. It needs a clouds.yaml, nothing else: no database, no other
// package of this module.
//
//	releaser := glance.Releaser{CloudsFile: "/etc/openstack/clouds.yaml"}
//	targets, err := releaser.Release(ctx, image, []string{"alpha", "beta"})
//
// # What is promised
//
//   - An image is uploaded hidden (os_hidden) under a new random Glance id,
//     compared with the record (size, checksum, os_hash_value, and a digest of
//     the bytes on their way), and only then made visible; only after that are
//     the older images of the name hidden. So the name is never absent, and an
//     older image never returns but by Rollback.
//   - What an attempt started and could not finish is deleted, also when the
//     context ends. What a killed process left behind is deleted by the next
//     Release of the same image, or by Sweep.
//   - Only images of our own project that carry the property aibuild_uuid are
//     ever changed. All others are never touched, whatever their name.
//   - Everything may be repeated: what is there and right stays as it is, what
//     is missing or changed is restored, nothing else.
//
// # What the caller sees to
//
// Calls that change a name must not run twice at once: the caller holds a lock
// for the image's name. An upload in the state queued or saving is taken for
// the rest of a dead process because of that lock.
//
// Which images are held, revoked or of which number is the caller's record; a
// held image is one that the caller names to Keep.
//
// # Units, times, errors
//
// Sizes are bytes, times UTC. Each call of an API gets CallTimeout; an upload
// may last for as long as its bytes move, see StallTimeout. Each cluster is
// worked on by itself, in parallel: a failure of one is a [*ClusterError] in
// the joined error and in the cluster's [Target], and the others go on. Errors
// and logs never hold a password, an application credential's secret or a token.
//
// # Stability
//
// Exported names, fields and states only grow. The text of errors, of steps
// and of details is for people and may change.
package glance
