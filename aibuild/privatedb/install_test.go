package privatedb_test

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/guestos/aibuild/aibuild/privatedb"
)

// Databases that are made at the same moment keep out of each other's way: MariaDB's installer uses the folder for
// temporary files, and a server that starts tidies that up.
func TestManyAreMadeAtOnce(t *testing.T) {
	errs := make([]error, 6)
	var group sync.WaitGroup
	for i := range errs {
		dir, err := os.MkdirTemp("/dev/shm", "aibuild-privatedb-")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		group.Go(func() {
			db, err := privatedb.Open(t.Context(), privatedb.Config{Dir: dir})
			if err != nil {
				errs[i] = fmt.Errorf("database %d: %w", i, err)
				return
			}
			errs[i] = errors.Join(db.Close(), privatedb.Stop(t.Context(), dir))
		})
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Error(err)
	}
}
