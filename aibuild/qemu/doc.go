// Package qemu inspects disk images and boots them.
//
// Use it to learn which accelerator really works here ([Tool.Probe]), to decide
// whether a disk image may be touched at all ([ReadHeader], [Tool.Check]), to
// make overlays and compact copies of it, to write the seeds that a cloud would
// offer ([Seed]), and to run a guest ([Tool.Start]) whose console is watched for
// signs of death ([Console]).
//
//	accel, err := tool.Probe(ctx)
//	err = tool.Overlay(ctx, image, "qcow2", dir+"/disk.qcow2", 0)
//	err = qemu.Seed{InstanceID: id, Hostname: "guest", SSHKey: key}.NoCloud(dir + "/seed.iso")
//	vm, err := tool.Start(ctx, qemu.Spec{Dir: dir, Disk: dir + "/disk.qcow2", SeedPath: dir + "/seed.iso", Accel: accel})
//	defer vm.Close()
//
// # Units
//
// Sizes are bytes, except where a name says otherwise; durations are wall-clock
// time.Durations. Fault.At and Event.At count from the guest's start.
//
// # Blame
//
// A [*BadImage] is the image's fault, a [Fault] is the guest's; every other error
// is ours or the machine's.
//
// # Life of a guest
//
// A guest lives until its context ends, it is closed, or this process dies, by
// kill -9 too: process.Cmd's watchdog ends it then. What even that could miss,
// and the folders that were left, [Sweep] removes later.
//
// # Clock
//
// A guest that was restored from a snapshot believes that it is the moment at
// which the snapshot was taken: its wall clock lags by the time since then, as
// do its certificates' and leases' ideas of now. Random pool, machine-id and SSH
// host keys are those of the snapshot too. Whoever restores sets the clock, for
// example with `date -u -s @SECONDS` over SSH, before it judges anything by time.
//
// The package holds no state; all its types may be used concurrently. Its
// exported names are stable.
package qemu
