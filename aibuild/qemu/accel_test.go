package qemu

import (
	"testing"
)

func TestProbe(t *testing.T) {
	a, err := Tool{CacheDir: t.TempDir()}.Probe(testContext(t))
	t.Log(a, err)
}
