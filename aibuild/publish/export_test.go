package publish

import (
	"errors"
	"strings"
)

// IdentityForTest is a hidden name whose owner was this machine's, and is dead.
func IdentityForTest(what string) (string, error) {
	fields := strings.Split(partName(what), "-")
	if len(fields) < 5 {
		return "", errors.New("no hidden name")
	}
	fields[len(fields)-2] = "1" // no process started one tick after the machine, but the kernel's own
	return strings.Join(fields, "-"), nil
}

// LiveIdentityForTest is a hidden name of this process.
func LiveIdentityForTest(what string) string { return partName(what) }
