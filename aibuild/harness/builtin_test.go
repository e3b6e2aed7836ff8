package harness

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	injectedKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICoCX//N/tLgLNmeyYUfXtCyZQpLtvgGC+6kVOUnwRhv aibuild-test"
	otherKey    = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKv4o9mDFlUWdHWYEZLtz3Gtf2CeIOKfvDQxtlOTxQT4 admin@example"
)

// debianFacts is what a good Debian guest says, as KEY<TAB>VALUE lines.
const debianFacts = `marker	aibuild-facts-1
uid	0
uptime	70.21
hostname	aibuild-abc.example.org
machine-id	d5c2b4f3f1f84b7e9f5e1c2d3b4a5f60	66
host-key	/etc/ssh/ssh_host_ed25519_key	41
root	vda1	2048 6289375 6291456	3061428
grower	cloud-init
grower	growpart
route	ens3
nameserver	10.0.2.3
systemd	running
cloud-init	status: done boot_status_code: enabled-by-generator detail: DataSourceNoCloud [seed=/dev/vdb]
cloud-result	{ "v1": {  "datasource": "DataSourceNoCloud",  "errors": [] }}
password	root	locked	passwd
password	root	locked	shadow
password	debian	locked	shadow
key	/home/debian/.ssh/authorized_keys	` + injectedKey + `
key	/root/.ssh/authorized_keys	no-port-forwarding,command="echo 'Please login as debian';sleep 10" ` + injectedKey + `
end	ok
`

func examineText(t *testing.T, text string) map[string]finding {
	t.Helper()
	f, err := parseFacts([]byte("Welcome!\nto\tthis guest\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	e := examination{
		facts: f, hostname: "aibuild-abc", injected: injectedKey, imageMin: 2 << 30,
		plan: Plan{User: "debian", BuildKeys: []string{buildKey}},
	}
	out := map[string]finding{}
	for _, b := range builtins {
		out[b.name] = b.look(e)
	}
	return out
}

const gone = "" // the line is not there

var builtinTests = []struct {
	name, line, with string // a line of debianFacts, and what stands there instead
	builtin, result  string
	message          string
}{
	{"other host name", "hostname\taibuild-abc.example.org", "hostname\tlocalhost", "hostname", Failed, `"localhost"`},
	{"old machine-id", "5f60\t66", "5f60\t40000", "machine-id", Failed, "came with the image"},
	{"no machine-id", "machine-id\td5c2b4f3f1f84b7e9f5e1c2d3b4a5f60\t66", gone, "machine-id", Passed, ""},
	{"age unknown", "5f60\t66", "5f60\t", "machine-id", Skipped, "cannot be told"},
	{"age of host key unknown", "ed25519_key\t41", "ed25519_key\t", "host-keys", Skipped, "cannot be told"},
	{"old host key", "ed25519_key\t41", "ed25519_key\t90000", "host-keys", Failed, "/etc/ssh/ssh_host_ed25519_key"},
	{"partition not grown", "6289375 6291456\t3061428", "4192223 6291456\t2030000", "root-grew", Failed, "vda1 ends at 2047 of the disk's 3072 MiB"},
	{"file system not grown", "\t3061428", "\t2030000", "root-grew", Failed, "has 1982 of the 3070 MiB"},
	{"disk not larger", "6289375 6291456", "4192223 4194304", "root-grew", Failed, "the disk has 2048 MiB"},
	{"lvm", "root\tvda1\t2048", "root\tdm-0\t0", "root-grew", Skipped, "dm-0"},
	{"no disk", "root\tvda1\t2048 6289375 6291456\t3061428", gone, "root-grew", Skipped, "on no disk"},
	{"no route", "route\tens3", gone, "network", Failed, "no default route"},
	{"no name server", "nameserver\t10.0.2.3", gone, "network", Failed, "resolv.conf"},
	{"failed unit", "systemd\trunning", "systemd\tdegraded\nfailed-unit\tfoo.service\nfailed-unit\tbar.mount", "units", Failed, "foo.service, bar.mount"},
	{"still starting", "systemd\trunning", "systemd\tstarting", "units", Failed, "starting"},
	{"no systemd", "systemd\trunning", gone, "units", Skipped, ""},
	{"cloud-init errors", `"errors": []`, `"errors": ["('ssh', ProcessExecutionError())"]`, "cloud-init", Failed, "ProcessExecutionError"},
	{"cloud-init disabled", "status: done", "status: disabled", "cloud-init", Failed, "disabled"},
	{"cloud-init still runs", "status: done", "status: running", "cloud-init", Failed, "running"},
	{"root password", "password\troot\tlocked\tshadow", "password\troot\thash\tshadow", "password", Failed, "root has a password in /etc/shadow"},
	{"empty password", "password\tdebian\tlocked\tshadow", "password\tdebian\tempty\tshadow", "password", Failed, "debian has an empty password"},
	{"build key", "end\tok", "key\t/root/.ssh/authorized_keys2\t" + buildKey + "\nend\tok", "build-key", Failed, "/root/.ssh/authorized_keys2 holds the build's key"},
	{"foreign key", "end\tok", "key\t/root/.ssh/authorized_keys\t" + otherKey + "\nend\tok", "build-key", Failed, "a key SHA256:"},
	{"history", "end\tok", "history\t/root/.bash_history\t12\nend\tok", "history", Failed, "/root/.bash_history"},
	{"not root: keys", "uid\t0", "uid\t1000", "build-key", Skipped, "user debian cannot become root"},
	{"not root: passwords", "uid\t0", "uid\t1000", "password", Skipped, "user debian cannot become root"},
	{"not root: history", "uid\t0", "uid\t1000", "history", Skipped, "user debian cannot become root"},
}

func TestBuiltinCases(t *testing.T) {
	good := examineText(t, debianFacts)
	for name, f := range good {
		if f != passed() {
			t.Errorf("good guest: %s: %+v", name, f)
		}
	}
	for _, tt := range builtinTests {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(debianFacts, tt.line, tt.with, 1)
			if text == debianFacts {
				t.Fatalf("%q is not in the facts", tt.line)
			}
			got := examineText(t, text)["builtin/"+tt.builtin]
			if got.result != tt.result || !strings.Contains(got.message, tt.message) {
				t.Errorf("%s: %s (%s), want %s (%s)", tt.builtin, got.result, got.message, tt.result, tt.message)
			}
		})
	}
}

func TestRootNeedNotGrowWithoutGrower(t *testing.T) {
	text := strings.Replace(debianFacts, "6289375 6291456", "4192223 6291456", 1)
	text = strings.ReplaceAll(text, "grower", "other")
	if got := examineText(t, text)["builtin/root-grew"]; got.result != Skipped || !strings.Contains(got.message, "nothing in the guest") {
		t.Errorf("root-grew: %+v, want it skipped", got)
	}
}

func TestAllowedKeyMayStay(t *testing.T) {
	f, err := parseFacts([]byte(debianFacts + "key\t/root/.ssh/authorized_keys\t" + otherKey + "\n"))
	if err != nil {
		t.Fatal(err)
	}
	e := examination{facts: f, injected: injectedKey, plan: Plan{AllowedKeys: []string{otherKey}}}
	if got := e.lookBuildKey(); got != passed() {
		t.Errorf("build-key with an allowed key: %+v, want passed", got)
	}
}

func TestFactsOfAStrangeLogin(t *testing.T) {
	tests := []struct{ name, out, message string }{
		{"forced command", `Please login as the user "debian" rather than the user "root".`, "Please login as"},
		{"nothing", "", "runs no shell command"},
		{"cut off", "marker\taibuild-facts-1\nuid\t0\n", "stopped in the middle"},
	}
	for _, tt := range tests {
		if _, err := parseFacts([]byte(tt.out)); err == nil || !strings.Contains(err.Error(), tt.message) {
			t.Errorf("%s: %v, want an error with %q", tt.name, err, tt.message)
		}
	}
}

// TestSharedIdentity: what a boot rewrites is new by its age, but the same in
// every cell.
func TestSharedIdentity(t *testing.T) {
	run := testRun{}
	cell := func(name, id, key string) outcome {
		return outcome{
			report: CellReport{Cell: name}, facts: facts{"machine-id": {{id, "1"}}}, hostKey: key,
			cases: []CaseResult{{Cell: name, Case: "builtin/machine-id", Result: Passed}, {Cell: name, Case: "builtin/host-keys", Result: Passed}},
		}
	}
	outcomes := []outcome{cell("a", "1111", "SHA256:x"), cell("b", "2222", "SHA256:y"), cell("c", "1111", "SHA256:y")}
	run.compare(outcomes)
	var got []string
	for _, o := range outcomes {
		for _, c := range o.cases {
			if c.Result == Failed {
				got = append(got, c.Cell+"/"+c.Case+": "+c.Message)
			}
		}
	}
	want := []string{
		"c/builtin/machine-id: a and c have the same machine-id: it came with the image",
		"c/builtin/host-keys: b and c have the same SSH host key: it came with the image",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shared identities (-want +got):\n%s", diff)
	}
}
