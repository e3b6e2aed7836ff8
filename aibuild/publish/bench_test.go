package publish_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/guestos/aibuild/aibuild/publish"
)

// BenchmarkPut puts a file of 2 GiB with 1152 MiB of data. Its metric x-limit is the time of Put divided by what no program
// can go below: the slower of SHA-256 and SHA-512 alone, or the CPU of both divided by the cores. Bound: 1.3.
func BenchmarkPut(b *testing.B) {
	source := benchFile(b)
	site, err := publish.Open(b.Context(), publish.Config{Root: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer site.Close()
	var ratios []float64
	for b.Loop() {
		wall256, cpu256 := hashAlone(b, source, sha256.New())
		wall512, cpu512 := hashAlone(b, source, sha512.New())
		limit := max(wall256, wall512, (cpu256+cpu512)/time.Duration(runtime.NumCPU()))
		id := benchID(b)
		start := time.Now()
		if _, err := site.Put(b.Context(), item(id, source)); err != nil {
			b.Fatal(err)
		}
		ratios = append(ratios, float64(time.Since(start))/float64(limit))
		if err := site.Remove(b.Context(), publish.Build, name, id); err != nil {
			b.Fatal(err)
		}
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-limit")
	b.ReportMetric(maxRSS(b), "MiB-RSS")
}

// BenchmarkPromote is the step from images/build to images/release. Bound: 20 ms.
func BenchmarkPromote(b *testing.B) {
	source := filepath.Join(b.TempDir(), "image")
	if err := os.WriteFile(source, bytes.Repeat([]byte("image"), 1<<20), 0o600); err != nil {
		b.Fatal(err)
	}
	site, err := publish.Open(b.Context(), publish.Config{Root: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	defer site.Close()
	id := benchID(b)
	if _, err := site.Put(b.Context(), item(id, source)); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := site.Promote(b.Context(), name, id, map[string][]byte{"image.json": []byte("{}")}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := site.Retract(b.Context(), name, id); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

func benchFile(b *testing.B) string {
	source := filepath.Join(b.TempDir(), "disk.raw")
	file, err := os.Create(source)
	if err != nil {
		b.Fatal(err)
	}
	block := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for i := range int64(1152) {
		if _, err := file.WriteAt(block, i*2048/1152<<20); err != nil {
			b.Fatal(err)
		}
	}
	if err := errors.Join(file.Truncate(2<<30), file.Sync(), file.Close()); err != nil {
		b.Fatal(err)
	}
	return source
}

func hashAlone(b *testing.B, source string, h hash.Hash) (wall, cpu time.Duration) {
	file, err := os.Open(source)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	start, before := time.Now(), usage(b)
	if _, err := io.CopyBuffer(struct{ io.Writer }{h}, struct{ io.Reader }{file}, make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	after := usage(b)
	return time.Since(start), time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
}

func usage(b *testing.B) (r syscall.Rusage) {
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return r
}

func maxRSS(b *testing.B) float64 {
	r := usage(b)
	return float64(r.Maxrss) / 1024
}

func benchID(b *testing.B) string {
	id, err := uuid.NewV7()
	if err != nil {
		b.Fatal(err)
	}
	return id.String()
}
