// Package harness decides whether an image is good: it boots overlays of that
// very file as OpenStack would boot it, looks inside, runs test cases in the
// guest and returns one verdict with the evidence for it.
//
// Use it when a disk image exists and somebody must know whether it may be
// released. It needs QEMU (qemu-system-x86_64, qemu-img, OVMF for UEFI cells)
// and nothing else: no Packer, no database, no cloud.
//
//	h := harness.Harness{QEMU: qemu.Tool{}}
//	report, err := h.Test(ctx, harness.Plan{
//		Image:    "/srv/debian-12.qcow2",
//		Format:   "qcow2",
//		Cells:    []harness.Cell{{Firmware: "uefi", DiskBus: "scsi", Datasource: "configdrive"}},
//		User:     "debian",
//		Builtin:  true,
//		Evidence: "/srv/evidence",
//	})
//
// # Words
//
// A cell is one way of booting the image: firmware, disk bus and datasource. A
// case is one question put to the booted guest. Built-in cases are named
// builtin/NAME (see [BuiltinCases]); the others are executables that the image's
// author wrote: exit status 0 passes, 77 skips, anything else fails, and a case
// that passes only when run again is flaky, which counts as passed and is shown.
//
// A case runs in the folder of the copied test files with these variables:
// AIBUILD_CELL, AIBUILD_CASE, AIBUILD_FIRMWARE, AIBUILD_DISK_BUS,
// AIBUILD_DATASOURCE, AIBUILD_USER and AIBUILD_ATTEMPT. Standard output and
// standard error are one stream. Isolated cases run last, each from a snapshot
// of the freshly booted guest, so that none sees what another did.
//
// # Whose fault
//
// A verdict is passed, failed (the image's fault) or error (we could not tell:
// QEMU was killed, the host's disk was full). The error of [Harness.Test] is nil
// for passed and failed, and never nil otherwise; a cell that could not be judged
// is tried once more before that. A plan that cannot be carried out gives a
// *[PlanError] and no report.
//
// # Units and time
//
// Memory is in bytes. Every deadline (booting, cloud-init, each case) is
// multiplied by the accelerator's scale, so that the same plan holds on KVM and
// under emulation; while a guest boots, the time for which it waits for a processor
// of a busy machine does not count. Guests take one of nproc/2 slots that all processes of the
// machine share; waiting for a slot counts towards no deadline.
//
// # What is left behind
//
// The evidence folder only: report.json, junit.xml and for each cell the serial
// log, a screenshot, QEMU's command line and standard error, and every case's
// output. The private SSH key lives in memory; no process and no temporary folder
// survives the call, cancelled or not. After a kill -9, qemu.Sweep on WorkDir
// clears what was left.
//
// # Stability
//
// The exported names and the JSON of [Report] are stable: fields are added, not
// renamed or removed.
package harness
