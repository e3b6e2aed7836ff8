package publish

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

const maxSums = 4 << 20 // bytes of one SHA256SUMS

// formatSums writes what sha256sum -c reads.
func formatSums(sums map[string]string) []byte {
	var text strings.Builder
	for _, name := range slices.Sorted(maps.Keys(sums)) {
		fmt.Fprintf(&text, "%s  %s\n", sums[name], name)
	}
	return []byte(text.String())
}

// readSums gives the digests that a folder of the tree records.
func (t *tree) readSums(folder string) (map[string]string, error) {
	data, err := t.read(path.Join(folder, sumsFile), maxSums)
	if err != nil {
		return nil, err
	}
	sums := map[string]string{}
	for number, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
		digest, name, found := strings.Cut(line, "  ")
		if !found || !isDigest(digest) || checkFile(name) != nil {
			return nil, fmt.Errorf("%s line %d is damaged", path.Join(folder, sumsFile), number+1)
		}
		sums[name] = digest
	}
	return sums, nil
}

func isDigest(text string) bool {
	raw, err := hex.DecodeString(text)
	return err == nil && len(raw) == sha256.Size && strings.ToLower(text) == text
}

func sumOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:])
}
