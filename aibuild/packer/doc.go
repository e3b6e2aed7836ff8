// Package packer runs HashiCorp Packer, 1.2.5 to current, and reads what it says.
//
// Use it to learn what a template declares before anything runs ([ReadTemplate]),
// to have Packer check it ([Tool.Validate]) and to make an image with it
// ([Tool.Build]):
//
//	tool := packer.Tool{CacheDir: "/var/cache/aibuild/packer"}
//	image, err := tool.Build(ctx, packer.Job{
//		Template: "/src/images/debian-12/debian.pkr.hcl",
//		WorkDir:  "/var/tmp/run-17", Evidence: "/var/tmp/run-17-evidence",
//		Vars:         map[string]string{"iso_url": url, "iso_checksum": "sha256:…"},
//		WatchConsole: true,
//	})
//
// # What a template must do
//
// It has one build of the qemu builder (others are left out; of several, Job.Builder
// names one), makes qcow2 or raw, and takes iso_url and iso_checksum from
// variables, so that the image comes from where its definition says. The
// variables may have any name. Other names of [WellKnown] are passed where they
// are declared. Templates are never changed; Packer reads a copy, in a working
// folder of its own, in which relative paths mean what they mean in the original.
//
// # The console
//
// A shell script of ours stands before QEMU in Packer's PATH. It gives the guest
// a serial line that is logged, unless the template has its own, a log of the
// BIOS and a monitor; it binds forwarded ports to 127.0.0.1, and asks for tcg in
// the place of KVM where Job.Accel says that KVM does not work. The console is
// read by [qemu.Console]: a sign of death ends the build within seconds, where
// Packer would wait for its SSH timeout. A template that runs QEMU by an absolute
// path, or sends its serial line to a socket or terminal, cannot be watched: then
// Artifact.ConsoleWatched is false and an event of kind note says why. A guest
// that says nothing on its serial line shows no sign there.
//
// # Errors
//
// What goes wrong is a [*Failed]: whose fault (Blame), what (Code), one sentence,
// the last lines, the evidence. Problems of a template are listed as PATH:LINE in
// Lines and are [Problems] below it. A cancelled build is a *Failed too, for which
// errors.Is(err, context.Canceled) holds. Any other error is a misuse of this
// package. After an error only the evidence is left.
//
// # Units and limits
//
// Durations are wall-clock. Of each log the first and the last 2 MiB are kept.
// Memory does not grow with what Packer or the guest prints; a line is cut at 64
// KiB. A slow Job.Progress never holds up Packer: what does not fit into 1 MiB is
// counted and left out, and at the end it gets 2 s to finish.
//
// Secrets are masked in events, errors and evidence; while the build runs they
// stand in files of mode 0600 in the work folder, never in arguments.
//
// The exported names are stable.
package packer
