package lineage_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/guestos/aibuild/aibuild/lineage"
)

// A program that built an image by its own means tells its story, and asks for
// the newest good one later.
func Example() {
	ctx := context.Background()
	store, err := lineage.Open(ctx, lineage.Config{DSN: "aibuild@unix(/run/mysqld/mysqld.sock)/aibuild"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	if err := store.Migrate(ctx); err != nil {
		fmt.Println(err)
		return
	}
	image := uuid.Must(uuid.NewV7()).String()
	err = store.Record(ctx, lineage.Record{
		ID: uuid.NewString(), At: time.Now(), Actor: "ann", Channel: "cli", ImageUUID: image, Verb: lineage.VerbBuilt,
		Built: &lineage.Built{
			Name: "debian-12", OSType: "debian", OSVer: "12", FromISO: "https://example.org/debian-12.iso",
			Artifact: lineage.Artifact{Format: "qcow2", Size: 512 << 20, SHA256: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
		},
	})
	if down := (*lineage.Unavailable)(nil); errors.As(err, &down) {
		fmt.Println("write the record into a journal, and send it again later")
		return
	}
	good, err := store.Resolve(ctx, lineage.Query{Name: "debian-12", Good: true})
	if errors.Is(err, lineage.ErrNotFound) {
		fmt.Println("no image of debian-12 has passed its tests yet")
		return
	}
	for _, i := range good {
		fmt.Println(i.Ref(), i.Artifact.SHA256)
	}
}
