// Package definition reads and checks image definitions: a folder in git with the file aibuild.yaml, Packer's own
// template, test cases, and whatever Packer needs. It reads from an fs.FS, so that a checkout and a git tree are the same
// to it (a git tree gives the modes of its entries: cases are told by their executable bit), and it imports nothing of the rest: use it alone to check definitions, to learn what an image depends on, or -
// DecodeStrict - to read any YAML file strictly.
//
//	root, err := os.OpenRoot("/srv/images")
//	d, err := definition.Load(root.FS(), "debian-12")
//	var problems definition.Errors
//	if errors.As(err, &problems) { ... } // every problem at once, PATH:LINE: what is wrong; what to do
//
// # Rules
//
// Load refuses, before any program starts, whatever a later stage or a column of the record could not hold; nothing is cut
// in silence. Paths are relative to the definition and stay in its folder (depends_on: in the repository). A link counts
// when it leads, in one step, to a plain file of the same file system. The source (an ISO or disk in the folder) and the
// file of a checksum file:PATH need not exist yet: a program of the definition may make them after the checkout. Hidden
// names at the top of the folder (.git, .cache) are no part of the definition.
//
// # Units and defaults
//
// Sizes are whole numbers with B, KiB, MiB, GiB or TiB and become bytes; durations are 30s, 90m, 7d, 1d12h. Left out: arch
// is x86_64; output qcow2 with zlib; the matrix bios, virtio, configdrive; memory 1GiB; cpus 1; cases tests/ where that
// folder is; build.timeout 2h; test.timeout 30m; visibility private; of a case, timeout 2m.
//
// # Digests
//
// A change starts a run at the first stage it affects. Each digest covers, with defaults filled in:
//   - Build: name, arch, os, from, build.template, build.builder, build.vars, output; name, content and executable bit of every file of
//     the folder but aibuild.yaml, README*, LICENSE*, CHANGELOG* and the cases (these too when the template names their
//     folder); the same of the folders under depends_on. The bytes of the source are not in it: their own digest, as
//     SourceSHA256 gives it at the start of the run, has to be compared beside it.
//   - Test: all of test; every file of the folder of cases, executable or not.
//   - Release: all of release. Load makes sure that hardware promised there (hw_disk_bus, hw_firmware_type) is in the
//     matrix, so that a change of release alone needs no new test.
//
// In none: build.timeout, rebuild, follow_parent, update_contents. They change when a run starts or what is said about it.
//
// # Errors and stability
//
// Problems of the content are Errors, refusals by Policy are *Refused, all else is trouble in reading. Load, Definition,
// DecodeStrict, Policy and the form of the messages are stable; fields may be added.
package definition
