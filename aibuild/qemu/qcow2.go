package qemu

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// The qcow2 header, big-endian, as in QEMU's docs/interop/qcow2.txt.
type qcow2Header struct {
	Magic, Version       uint32
	BackingOffset        uint64
	BackingSize          uint32
	ClusterBits          uint32
	Size                 uint64
	CryptMethod          uint32
	L1Size               uint32
	L1Offset             uint64
	RefcountOffset       uint64
	RefcountClusters     uint32
	Snapshots            uint32
	SnapshotsOffset      uint64
	Incompatible         uint64 // from here on only version 3
	Compatible           uint64
	AutoClear            uint64
	RefcountOrder        uint32
	HeaderLength         uint32
	CompressionAndUnused [8]byte // only if HeaderLength >= 112
}

const (
	qcow2V2Length = 72
	qcow2V3Length = 104

	featureDirty       = 1 << 0
	featureCorrupt     = 1 << 1
	featureDataFile    = 1 << 2
	featureCompression = 1 << 3
	featureExtendedL2  = 1 << 4
	featuresKnown      = 1<<5 - 1

	// QEMU's own limits.
	maxL1Bytes       = 32 << 20
	maxRefcountBytes = 8 << 20
	maxSnapshots     = 65536
	maxBackingName   = 1023
)

func parseQcow2(r io.ReaderAt, h Header) (Header, error) {
	raw := make([]byte, 112)
	n, err := r.ReadAt(raw, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return h, err
	}
	if n < qcow2V2Length {
		return h, bad("truncated in the header")
	}
	var q qcow2Header
	if err := binary.Read(bytes.NewReader(raw), binary.BigEndian, &q); err != nil {
		return h, err
	}
	if q.ClusterBits < 9 || q.ClusterBits > 21 {
		return h, badf("clusters of 2^%d bytes: must be 2^9 to 2^21", q.ClusterBits)
	}
	if err := q.normalise(n); err != nil {
		return h, err
	}
	h.Version, h.ClusterBits, h.Snapshots, h.Incompatible = int(q.Version), int(q.ClusterBits), int(q.Snapshots), q.Incompatible
	if h.Compression, err = q.compression(); err != nil {
		return h, err
	}
	if q.Size > MaxVirtualSize {
		return h, tooLarge(q.Size)
	}
	h.VirtualSize = int64(q.Size)
	// Names first: they are what a report must show.
	if err := h.readNames(r, &q); err != nil {
		return h, err
	}
	if err := h.refuse(&q); err != nil {
		return h, err
	}
	return h, q.checkTables(r, h.FileSize)
}

// normalise clears the fields that a header of this version and length lacks.
func (q *qcow2Header) normalise(available int) error {
	if q.Version == 2 {
		q.Incompatible, q.RefcountOrder, q.HeaderLength, q.CompressionAndUnused = 0, 4, qcow2V2Length, [8]byte{}
		return nil
	}
	if available < qcow2V3Length || q.HeaderLength < qcow2V3Length || q.HeaderLength%8 != 0 {
		return badf("a header of %d bytes: version 3 has at least %d", min(q.HeaderLength, uint32(available)), qcow2V3Length)
	}
	if uint64(q.HeaderLength) > 1<<q.ClusterBits {
		return badf("a header of %d bytes does not fit its cluster", q.HeaderLength)
	}
	if q.HeaderLength < 112 || available < 112 {
		q.CompressionAndUnused = [8]byte{}
	}
	if q.RefcountOrder > 6 {
		return badf("refcounts of 2^%d bits: at most 2^6", q.RefcountOrder)
	}
	return nil
}

func (q *qcow2Header) compression() (string, error) {
	kind := q.CompressionAndUnused[0]
	if (kind != 0) != (q.Incompatible&featureCompression != 0) {
		return "", bad("compression type and feature bit contradict each other")
	}
	switch kind {
	case 0:
		return "zlib", nil
	case 1:
		return "zstd", nil
	}
	return "", badf("unknown compression type %d", kind)
}

// refuse is about what no image of ours may ask of whoever opens it.
func (h *Header) refuse(q *qcow2Header) error {
	switch {
	case h.BackingFile != "":
		return badf("names the backing file %q: an image must stand alone; flatten it with qemu-img convert", h.BackingFile)
	case h.DataFile != "" || q.Incompatible&featureDataFile != 0:
		return badf("keeps its data in another file, %q: an image must stand alone", h.DataFile)
	case q.CryptMethod != 0:
		return bad("is encrypted")
	case q.Incompatible&featureCorrupt != 0:
		return bad("is marked corrupt: qemu-img check -r all may repair it")
	case q.Incompatible&featureDirty != 0:
		return bad("was not closed cleanly: qemu-img check -r all repairs it")
	case q.Incompatible&^featuresKnown != 0:
		return badf("needs unknown features %#x", q.Incompatible&^featuresKnown)
	case q.Size == 0:
		return bad("claims a disk of 0 bytes")
	}
	return nil
}

// readNames reads the backing file's name and the header extensions.
func (h *Header) readNames(r io.ReaderAt, q *qcow2Header) error {
	cluster := uint64(1) << q.ClusterBits
	end := cluster
	if q.BackingOffset != 0 {
		if q.BackingSize > maxBackingName || q.BackingOffset > cluster || q.BackingOffset+uint64(q.BackingSize) > cluster {
			h.BackingFile = "(unreadable)"
			return badf("names a backing file outside its first cluster")
		}
		name, err := readPart(r, h.FileSize, q.BackingOffset, uint64(q.BackingSize), "the backing file's name")
		if err != nil {
			return err
		}
		if h.BackingFile = strings.ToValidUTF8(string(name), "?"); h.BackingFile == "" {
			h.BackingFile = "(unnamed)"
		}
		end = q.BackingOffset
	}
	if q.Incompatible&featureDataFile != 0 {
		h.DataFile = "(unnamed)"
	}
	return h.readExtensions(r, uint64(q.HeaderLength), end)
}

const (
	extensionEnd           = 0
	extensionBackingFormat = 0xe2792aca
	extensionDataFile      = 0x44415441
)

func (h *Header) readExtensions(r io.ReaderAt, at, end uint64) error {
	if at >= end {
		return nil
	}
	// One read: an image can hold a quarter of a million empty extensions.
	area, err := readPart(r, h.FileSize, at, end-at, "the header")
	if err != nil {
		return err
	}
	for len(area) >= 8 {
		kind, size := binary.BigEndian.Uint32(area), int(binary.BigEndian.Uint32(area[4:]))
		if kind == extensionEnd {
			return nil
		}
		if area = area[8:]; size > len(area) {
			return badf("header extension %#x of %d bytes leaves its cluster", kind, size)
		}
		h.setName(kind, area[:size])
		area = area[min((size+7)&^7, len(area)):]
	}
	return nil
}

func (h *Header) setName(kind uint32, value []byte) {
	name := strings.ToValidUTF8(string(value[:min(len(value), maxBackingName)]), "?")
	switch {
	case kind == extensionBackingFormat:
		h.BackingFormat = name
	case kind == extensionDataFile && name != "":
		h.DataFile = name
	}
}

// checkTables makes sure that the tables are where the header says, all of them
// in the file: a truncated image must not wait for its reader to be found out.
func (q *qcow2Header) checkTables(r io.ReaderAt, fileSize int64) error {
	cluster := uint64(1) << q.ClusterBits
	l2Entry := uint64(8)
	if q.Incompatible&featureExtendedL2 != 0 {
		l2Entry = 16
	}
	perL2 := cluster / l2Entry * cluster
	if need := (q.Size + perL2 - 1) / perL2; uint64(q.L1Size) < need || uint64(q.L1Size)*8 > maxL1Bytes {
		return badf("an L1 table of %d entries for a disk that needs %d", q.L1Size, need)
	}
	if q.RefcountClusters == 0 || uint64(q.RefcountClusters)*cluster > max(maxRefcountBytes, cluster) {
		return badf("a refcount table of %d clusters", q.RefcountClusters)
	}
	if q.Snapshots > maxSnapshots {
		return badf("%d internal snapshots: at most %d", q.Snapshots, maxSnapshots)
	}
	for _, table := range []struct {
		name         string
		offset, size uint64
	}{
		{"refcount table", q.RefcountOffset, uint64(q.RefcountClusters) * cluster},
		{"L1 table", q.L1Offset, uint64(q.L1Size) * 8},
		{"snapshot table", q.SnapshotsOffset, uint64(q.Snapshots) * 40},
	} {
		if table.size == 0 {
			continue
		}
		if table.offset == 0 || table.offset%cluster != 0 {
			return badf("the %s lies at %d, not at a cluster's start", table.name, table.offset)
		}
		if err := within(fileSize, table.offset, table.size, "the "+table.name); err != nil {
			return err
		}
	}
	return q.checkL1(r, fileSize)
}

const l1OffsetMask = 0x00fffffffffffe00

func (q *qcow2Header) checkL1(r io.ReaderAt, fileSize int64) error {
	cluster := uint64(1) << q.ClusterBits
	l1, err := readPart(r, fileSize, q.L1Offset, uint64(q.L1Size)*8, "the L1 table")
	if err != nil {
		return err
	}
	for i := 0; i < len(l1); i += 8 {
		offset := binary.BigEndian.Uint64(l1[i:]) & l1OffsetMask
		if offset == 0 {
			continue
		}
		if offset%cluster != 0 {
			return badf("L1 entry %d points to %d, not to a cluster's start", i/8, offset)
		}
		if err := within(fileSize, offset, cluster, "an L2 table"); err != nil {
			return err
		}
	}
	return nil
}

func within(fileSize int64, offset, size uint64, what string) error {
	if offset > uint64(fileSize) || size > uint64(fileSize)-offset {
		return badf("truncated: %s needs bytes %d to %d of a file of %d", what, offset, offset+size, fileSize)
	}
	return nil
}

func readPart(r io.ReaderAt, fileSize int64, offset, size uint64, what string) ([]byte, error) {
	if err := within(fileSize, offset, size, what); err != nil {
		return nil, err
	}
	b := make([]byte, size)
	if _, err := r.ReadAt(b, int64(offset)); err != nil {
		return nil, err
	}
	return b, nil
}
