package harness

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
)

// Names of the cases that every test has, Plan.Builtin or not.
const (
	caseBoots = "builtin/boots"     // the console shows no sign of death, then or later
	caseLogin = "builtin/ssh-login" // SSH answers and takes the injected key
	caseImage = "builtin/image"     // the file may be booted at all; listed only when not
)

// examination is what a built-in case may look at.
type examination struct {
	facts
	plan     Plan
	hostname string
	injected string // the test's own public key
	imageMin int64  // virtual size of the image, in bytes
}

type finding struct{ result, message string }

func passed() finding { return finding{result: Passed} }
func failed(format string, args ...any) finding {
	return finding{Failed, fmt.Sprintf(format, args...)}
}
func skipped(format string, args ...any) finding {
	return finding{Skipped, fmt.Sprintf(format, args...)}
}

// builtins are the built-in cases in the order in which they are reported.
var builtins = []struct {
	name string
	look func(examination) finding
}{
	{"builtin/hostname", examination.lookHostname},
	{"builtin/cloud-init", examination.lookCloudInit},
	{"builtin/root-grew", examination.lookRootGrew},
	{"builtin/network", examination.lookNetwork},
	{"builtin/units", examination.lookUnits},
	{"builtin/machine-id", examination.lookMachineID},
	{"builtin/host-keys", examination.lookHostKeys},
	{"builtin/build-key", examination.lookBuildKey},
	{"builtin/password", examination.lookPassword},
	{"builtin/history", examination.lookHistory},
}

// BuiltinCases are the names of the built-in cases:
//
//   - builtin/boots: the console shows no panic, emergency shell, oops or endless
//     reboot, from power-on to the end
//   - builtin/ssh-login: SSH answers and takes the key that the seed injected
//   - builtin/hostname: the host name is the seed's
//   - builtin/cloud-init: cloud-init ended without errors; skipped without it
//   - builtin/root-grew: on a disk that is 1 GiB larger than the image the root
//     partition and its file system fill the disk; skipped where nothing in the
//     guest would make them (no cloud-init, growpart, growfs or repart)
//   - builtin/network: there are a default route and a name server
//   - builtin/units: systemd finished starting and no unit failed
//   - builtin/machine-id, builtin/host-keys: both were made by this boot. A file
//     that is older than the guest's uptime came with the image; and no two cells
//     may have the same one, which also catches what a boot rewrites
//   - builtin/build-key: no authorized_keys file holds a key but the injected one
//     and Plan.AllowedKeys
//   - builtin/password: no account has a usable password hash or an empty password
//   - builtin/history: no shell history is left
//
// The last three need root: they are skipped when the login can become root
// neither by itself nor by sudo without a password.
func BuiltinCases() []string {
	names := []string{caseBoots, caseLogin}
	for _, b := range builtins {
		names = append(names, b.name)
	}
	return names
}

func (e examination) lookHostname() finding {
	have, _, _ := strings.Cut(e.one("hostname"), ".")
	if have != e.hostname {
		return failed("the guest calls itself %q, the seed said %q", e.one("hostname"), e.hostname)
	}
	return passed()
}

func (e examination) lookCloudInit() finding {
	status := e.one("cloud-init")
	if e.facts["cloud-init"] == nil {
		return skipped("the guest has no cloud-init; its key and host name prove that the seed was read")
	}
	var result struct {
		V1 struct{ Errors []string } `json:"v1"`
	}
	if text := e.one("cloud-result"); text != "" {
		if err := json.Unmarshal([]byte(text), &result); err != nil {
			return failed("cloud-init wrote a result.json that is no JSON: %v", err)
		}
	}
	if len(result.V1.Errors) > 0 {
		return failed("cloud-init ended with errors: %s", lastLine(strings.Join(result.V1.Errors, "; ")))
	}
	_, state, _ := strings.Cut(status, "status: ")
	state, _, _ = strings.Cut(state, " ")
	if state != "done" && state != "degraded" { // degraded without errors: deprecated settings
		return failed("cloud-init did not end clean: %s", lastLine(status))
	}
	return passed()
}

// lookRootGrew compares ends, not sizes: other partitions may take what they like.
func (e examination) lookRootGrew() finding {
	root := e.facts["root"]
	if len(root) == 0 || len(root[0]) < 3 {
		return skipped("the root file system is on no disk")
	}
	name := root[0][0]
	numbers := strings.Fields(root[0][1] + " " + root[0][2])
	n := make([]int64, 0, 4)
	for _, s := range numbers {
		v, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			return failed("the size of %s cannot be read: %q", name, numbers)
		}
		n = append(n, v)
	}
	if len(n) != 4 {
		return failed("the size of %s cannot be read: %q", name, numbers)
	}
	if strings.HasPrefix(name, "dm-") {
		return skipped("the root file system is on %s: nothing promises that mapped devices grow", name)
	}
	const sector, mib = 512, 1 << 20
	partEnd, part, disk, fs := (n[0]+n[1])*sector, n[1]*sector, n[2]*sector, n[3]*1024
	var problem string
	switch {
	case disk <= e.imageMin:
		return failed("the disk has %d MiB, not the %d MiB that it was given", disk/mib, (e.imageMin+grow)/mib)
	case partEnd < disk-64*mib:
		problem = fmt.Sprintf("%s ends at %d of the disk's %d MiB", name, partEnd/mib, disk/mib)
	case fs < part/100*85: // file systems keep some for themselves
		problem = fmt.Sprintf("the root file system has %d of the %d MiB of %s", fs/mib, part/mib, name)
	default:
		return passed()
	}
	if e.facts["grower"] == nil {
		return skipped("%s; nothing in the guest would make it grow", problem)
	}
	return failed("the root file system did not grow: %s", problem)
}

func (e examination) lookNetwork() finding {
	if e.facts["route"] == nil {
		return failed("there is no default route")
	}
	if e.facts["nameserver"] == nil {
		return failed("/etc/resolv.conf names no server")
	}
	return passed()
}

func (e examination) lookUnits() finding {
	state := e.one("systemd")
	if e.facts["systemd"] == nil {
		return skipped("the guest does not run systemd")
	}
	var units []string
	for _, u := range e.facts["failed-unit"] {
		units = append(units, u[0])
	}
	if len(units) > 0 {
		return failed("failed: %s", strings.Join(units, ", "))
	}
	if state != "running" && state != "degraded" { // degraded by units that were reset since
		return failed("systemd did not finish starting: it is %q", state)
	}
	return passed()
}

const noAge = "the age of %s cannot be told: the guest has neither stat nor date -r"

func (e examination) lookMachineID() finding {
	if e.facts["machine-id"] == nil || e.one("machine-id") == "uninitialized" {
		return passed()
	}
	line := e.facts["machine-id"][0]
	older, known := e.olderThanBoot(line[len(line)-1])
	if !known {
		return skipped(noAge, "/etc/machine-id")
	}
	if older {
		return failed("/etc/machine-id (%s) came with the image: every guest would have the same; empty the file at the end of the build", line[0])
	}
	return passed()
}

func (e examination) lookHostKeys() finding {
	var baked []string
	for _, line := range e.facts["host-key"] {
		older, known := e.olderThanBoot(line[len(line)-1])
		if !known {
			return skipped(noAge, line[0])
		}
		if older {
			baked = append(baked, line[0])
		}
	}
	if len(baked) > 0 {
		return failed("came with the image, so that every guest would have the same: %s; delete them at the end of the build", strings.Join(baked, ", "))
	}
	return passed()
}

func (e examination) needsRoot() finding {
	return skipped("only root could tell, and user %s cannot become root (sudo -n)", e.plan.User)
}

func (e examination) lookBuildKey() finding {
	if !e.isRoot() {
		return e.needsRoot()
	}
	known := blobs(e.plan.AllowedKeys)
	known = append(known, blobs([]string{e.injected})...)
	build := blobs(e.plan.BuildKeys)
	var found []string
	for _, line := range e.facts["key"] {
		key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(strings.Join(line[1:], "\t")))
		if err != nil || slices.Contains(known, string(key.Marshal())) {
			continue // sshd takes no line that it cannot read either
		}
		what := "a key"
		if slices.Contains(build, string(key.Marshal())) {
			what = "the build's key"
		}
		found = append(found, strings.TrimSpace(fmt.Sprintf("%s holds %s %s %s", line[0], what, ssh.FingerprintSHA256(key), comment)))
	}
	if len(found) > 0 {
		return failed("%s: whoever has the private half can log in everywhere; delete it at the end of the build", strings.Join(found, "; "))
	}
	return passed()
}

// blobs are public keys in a form that can be compared. Plans are checked before,
// so that every line is a key.
func blobs(lines []string) []string {
	var out []string
	for _, line := range lines {
		if key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(line)); err == nil {
			out = append(out, string(key.Marshal()))
		}
	}
	return out
}

func (e examination) lookPassword() finding {
	if !e.isRoot() {
		return e.needsRoot()
	}
	var found []string
	for _, line := range e.facts["password"] {
		if len(line) != 3 {
			continue
		}
		switch user, state, file := line[0], line[1], line[2]; state {
		case "hash":
			found = append(found, user+" has a password in /etc/"+file)
		case "empty":
			found = append(found, user+" has an empty password in /etc/"+file)
		}
	}
	if len(found) > 0 {
		return failed("%s; lock it at the end of the build (passwd -l)", strings.Join(found, "; "))
	}
	if len(e.facts["password"]) == 0 {
		return failed("/etc/passwd cannot be read")
	}
	return passed()
}

func (e examination) lookHistory() finding {
	if !e.isRoot() {
		return e.needsRoot()
	}
	var found []string
	for _, line := range e.facts["history"] {
		found = append(found, line[0])
	}
	if len(found) > 0 {
		return failed("left from the build: %s", strings.Join(found, ", "))
	}
	return passed()
}
