// Command harness boots any disk image as OpenStack would, runs the built-in
// cases in it, and says whether it is good. No definition, no Packer, no
// database, no cloud.
//
//	harness IMAGE.qcow2 USER EVIDENCE
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"

	"github.com/guestos/aibuild/aibuild/harness"
	"github.com/guestos/aibuild/aibuild/qemu"
)

func main() {
	if len(os.Args) != 4 {
		log.Fatal("usage: harness IMAGE.qcow2 USER EVIDENCE")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	h := harness.Harness{QEMU: qemu.Tool{}}
	report, err := h.Test(ctx, harness.Plan{
		Image: os.Args[1], Format: "qcow2", User: os.Args[2], Evidence: os.Args[3], Memory: 256 << 20, Builtin: true,
		Cells: []harness.Cell{{Firmware: harness.BIOS, DiskBus: harness.Virtio, Datasource: harness.NoCloud}},
	})
	if err != nil {
		log.Fatal(err) // we could not tell
	}
	for _, c := range report.Cases {
		fmt.Println(c.Result, c.Case, c.Message)
	}
	fmt.Println(report.Verdict, report.Decider)
	if report.Verdict != harness.Passed {
		stop()
		os.Exit(3)
	}
}
