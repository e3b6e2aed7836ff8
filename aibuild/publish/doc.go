// Package publish puts images into images/build and images/release of a web root, so that a reader sees a whole image or
// none. The root is a folder of this machine or a folder behind SFTP; both behave alike. Use it alone to publish any file
// with its digests.
//
//	site, err := publish.Open(ctx, publish.Config{Root: "/srv/www", URL: "https://images.example.com"})
//	sums, err := site.Put(ctx, publish.Item{Name: "debian-12", UUID: id, Image: "debian-12.qcow2",
//		Files: map[string]string{"debian-12.qcow2": "/var/tmp/out.qcow2"}})
//	err = site.Promote(ctx, "debian-12", id, map[string][]byte{"image.json": story})
//
// # What is where
//
// images/build/NAME/UUID/ holds the files of Put and SHA256SUMS, which lists all that is final. images/release/NAME/UUID/ holds hard links to them (all but
// manifest.json, the journal), what Promote adds, and its own SHA256SUMS, which sha256sum -c reads. The journal and image.json have
// no digest: WriteFile replaces them while the image lives. images/release/NAME/latest
// is a link to the newest UUID there; as UUIDv7 sorts by time it only moves forward, and goes back only when Retract takes
// the newest away. Folders and files are world-readable (0755, 0644).
//
// # Promises
//
// Files are written in a hidden folder .part-… beside their place, synced, and appear by one rename; the source is read once
// for copy and digests; holes stay holes. A uuid that is there is never overwritten: the same bytes again are fine, others
// are an *Exists. A process that dies leaves at most a .part-… folder, whose name says who made it: Sweep removes those of
// dead processes. Names never lead out of the root: folders go through os.Root, links in the place of folders and files are
// refused. Bytes are sizes, hex is lower case, times are those of the file system.
//
// Over SFTP, the server must be OpenSSH's or offer its extensions hardlink, posix-rename, statvfs and fsync, and host keys
// come from a known_hosts file only. A folder cannot be synced over SFTP: after a power loss of the server, the rename that
// the server had acknowledged may be undone; it is never half-done.
//
// # Errors and stability
//
// ErrNotFound, *NoSpace, *Exists, *Corrupt, *BadName and *Unreachable are for errors.Is and errors.As; all else is trouble
// of the file system, the server or the network. Site and the layout of the folders are stable.
// A Site may be used by several goroutines at once.
package publish
