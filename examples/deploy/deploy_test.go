package deploy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

func run(t *testing.T, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// site is a copy of this folder in which somebody prepares an installation.
func site(t *testing.T) (dir string, env []string) {
	t.Helper()
	dir = t.TempDir()
	if out, err := run(t, ".", nil, "cp", "-a", ".", dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return dir, []string{"DATA=" + filepath.Join(dir, "data"), "WEB_ROOT=" + filepath.Join(dir, "www"), "HOST=host.example"}
}

// TestPrepare: secrets are made once, for the users of the containers alone, and what is missing is named.
func TestPrepare(t *testing.T) {
	dir, env := site(t)
	out, err := run(t, dir, env, "./prepare.sh")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, missing := range []string{"gitlab-token", "aibuild-token", "clouds.yaml"} {
		if !strings.Contains(out, "secrets/"+missing+" is missing") {
			t.Errorf("%s is not asked for: %s", missing, out)
		}
	}
	before := map[string]string{}
	for file, form := range map[string]string{
		"db-root": `^[0-9a-f]{40}$`, "jenkins-token": `^11[0-9a-f]{32}$`, "dsn": `^aibuild:[0-9a-f]{40}@tcp\(mariadb:3306\)/aibuild$`,
		"dsn-owner": `^aibuild_owner:[0-9a-f]{40}@tcp`, "agent-key": `^-----BEGIN OPENSSH PRIVATE KEY-----`, "agent-host-key.pub": `^ssh-ed25519 `,
	} {
		before[file] = read(t, filepath.Join(dir, "secrets", file))
		if !regexp.MustCompile(form).MatchString(before[file]) {
			t.Errorf("%s has another form than %s", file, form)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, "secrets"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm()&0o037 != 0 {
			t.Errorf("%s may be read by others: %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "secrets", "gitlab-token"), []byte("glpat-x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, env, "./prepare.sh"); err != nil || strings.Contains(out, "gitlab-token is missing") {
		t.Errorf("again: %v: %s", err, out)
	}
	for file, text := range before {
		if read(t, filepath.Join(dir, "secrets", file)) != text {
			t.Errorf("%s was made again", file)
		}
	}
	for _, folder := range []string{"data/aibuild", "data/agent", "data/jenkins", "www/images"} {
		if info, err := os.Stat(filepath.Join(dir, folder)); err != nil || !info.IsDir() {
			t.Errorf("%s: %v", folder, err)
		}
	}
}

// compose is what a compose file says, as far as it is looked at.
type compose struct {
	Services map[string]struct {
		Ports       []any
		Volumes     []string
		Devices     []string
		Restart     string
		Environment map[string]string
		Secrets     []struct{ Source string }
	}
	Secrets map[string]struct{ File string }
}

// ports are PUBLISHED:TARGET, in whichever of its two forms docker-compose prints them.
func ports(list []any) string {
	var all []string
	for _, one := range list {
		if m, ok := one.(map[string]any); ok {
			one = fmt.Sprint(m["published"], ":", m["target"])
		}
		all = append(all, fmt.Sprint(one))
	}
	return strings.Join(all, " ")
}

// TestCompose: Debian's docker-compose takes the file; ports and folders are the mission's; no secret is in it.
func TestCompose(t *testing.T) {
	dir, env := site(t)
	if out, err := run(t, dir, []string{"HOST="}, "docker-compose", "-f", "compose.yaml", "config"); err == nil || !strings.Contains(out, "HOST") {
		t.Errorf("without a host: %v: %s", err, out)
	}
	if out, err := run(t, dir, env, "./prepare.sh"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := run(t, dir, nil, "docker-compose", "-f", "compose.yaml", "config"); err != nil || !strings.Contains(out, "factory.example.org") {
		t.Errorf("as it comes: %v: %s", err, out)
	}
	cmd := exec.Command("docker-compose", "-f", "compose.yaml", "config")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("docker-compose config: %v: %s", err, out)
	}
	var c compose
	if err := yaml.Unmarshal(out, &c); err != nil {
		t.Fatal(err)
	}
	for service, port := range map[string]string{"jenkins": "49001:8080", "gitlab": "49011:49011", "aibuild": "9753:9753"} {
		if !strings.Contains(ports(c.Services[service].Ports), port) {
			t.Errorf("%s has the ports %v, not %s", service, c.Services[service].Ports, port)
		}
	}
	if volumes := strings.Join(c.Services["gitlab"].Volumes, " "); c.Services["gitlab"].Restart != "always" || !strings.Contains(volumes, ":/etc/gitlab") || !strings.Contains(volumes, ":/var/log/gitlab") || !strings.Contains(volumes, ":/var/opt/gitlab") {
		t.Errorf("gitlab: %+v", c.Services["gitlab"])
	}
	for _, service := range []string{"aibuild", "agent"} {
		if len(c.Services[service].Devices) != 1 || !strings.Contains(strings.Join(c.Services[service].Volumes, " "), "www/images:/srv/www/images:rw") {
			t.Errorf("%s: %+v", service, c.Services[service])
		}
	}
	for name, s := range c.Services {
		for _, secret := range s.Secrets {
			if c.Secrets[secret.Source].File == "" {
				t.Errorf("%s wants the secret %s, which there is not", name, secret.Source)
			}
		}
	}
	if len(c.Services["agent"].Secrets) != 2 {
		t.Errorf("the agent, where foreign code runs, has the secrets %v", c.Services["agent"].Secrets)
	}
	for file := range c.Secrets {
		if secret, err := os.ReadFile(filepath.Join(dir, "secrets", file)); err == nil && bytes.Contains(out, secret) {
			t.Errorf("the secret %s is in the file", file)
		}
	}
}

// TestUnit: systemd takes the unit, and finds little that it could do beside its work.
func TestUnit(t *testing.T) {
	unit := filepath.Join(t.TempDir(), "aibuild.service")
	if err := os.WriteFile(unit, []byte(strings.Replace(read(t, "aibuild.service"), "/usr/local/bin/aibuild", "/bin/true", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, ".", nil, "systemd-analyze", "--man=no", "verify", unit); err != nil || strings.Contains(out, "aibuild.service") {
		t.Errorf("verify: %v: %s", err, out)
	}
	if out, err := run(t, ".", nil, "systemd-analyze", "--no-pager", "--offline=yes", "--threshold=20", "security", unit); err != nil {
		t.Errorf("security: %v: %s", err, out)
	}
}

// web is Apache with the site, as Debian's own configuration would include it.
func web(t *testing.T, root string) (address string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "aibuild-site-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port
	listener.Close()
	conf, err := filepath.Abs("web/aibuild.conf")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, module := range []string{"mpm_event", "authz_core", "mime", "alias", "autoindex", "headers", "env", "setenvif", "deflate", "filter", "dir"} {
		fmt.Fprintf(&b, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", module, module)
	}
	fmt.Fprintf(&b, "User www-data\nGroup www-data\nServerName 127.0.0.1\nServerRoot %q\nDefaultRuntimeDir %q\nPidFile %q\nErrorLog %q\nListen 127.0.0.1:%d\nTypesConfig /dev/null\nAddOutputFilterByType DEFLATE text/plain text/html application/octet-stream\nDefine AIBUILD_PORT %d\nDefine AIBUILD_ROOT %s\nInclude %q\n",
		dir, dir, dir+"/pid", dir+"/error.log", port, port, root, conf)
	file := filepath.Join(dir, "apache2.conf")
	if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := run(t, dir, nil, "/usr/sbin/apache2", "-t", "-f", file); err != nil || !strings.Contains(out, "Syntax OK") || strings.Contains(strings.ToLower(out), "warn") {
		t.Fatalf("apache2 -t: %v: %s", err, out)
	}
	cmd := exec.Command("/usr/sbin/apache2", "-f", file, "-DFOREGROUND")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it is gone where the test has shown so
		_ = cmd.Wait()
	})
	address = fmt.Sprintf("http://127.0.0.1:%d", port)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if response, err := http.Get(address + "/"); err == nil {
			response.Body.Close()
			return address
		}
		if time.Now().After(end) {
			t.Fatalf("apache2 does not answer: %s", read(t, dir+"/error.log"))
		}
	}
}

// TestWebSite: types, ranges, caching; what is being written is neither listed nor served, and nothing can be sent.
func TestWebSite(t *testing.T) {
	root, err := os.MkdirTemp("", "aibuild-root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	if err := os.Chmod(root, 0o755); err != nil {
		t.Fatal(err)
	}
	const id = "0199f4a0-0000-7000-8000-000000000000"
	long := time.Now().Add(-time.Hour)
	folder := filepath.Join(root, "images/release/debian-12")
	disk := bytes.Repeat([]byte("0123456789"), 1000)
	for name, content := range map[string]string{
		id + "/debian-12.qcow2": string(disk), id + "/SHA256SUMS": "0 debian-12.qcow2\n", id + "/image.json": "{}", id + "/evidence/build/serial.log": "a log\n",
		".part-host-1/disk.qcow2": "half", "x.part": "half",
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(folder, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(filepath.Join(folder, name), long, long); err != nil { // what was written just now has a weak tag
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(root, "private.txt"), []byte("not an image"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(id, filepath.Join(folder, "latest")); err != nil {
		t.Fatal(err)
	}
	address := web(t, root)
	ask := func(method, path string, headers ...string) (*http.Response, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			request.Header.Set(headers[i], headers[i+1])
		}
		response, err := http.DefaultTransport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response, string(body)
	}
	const base = "/images/release/debian-12/"
	for _, c := range []struct{ path, kind, cache string }{
		{base + id + "/debian-12.qcow2", "application/octet-stream", "public, max-age=31536000, immutable"},
		{base + "latest/debian-12.qcow2", "application/octet-stream", "no-cache"},
		{base + id + "/SHA256SUMS", "text/plain; charset=utf-8", "no-cache"},
		{base + id + "/image.json", "application/json", "no-cache"},
		{base + id + "/evidence/build/serial.log", "text/plain; charset=utf-8", "no-cache"},
	} {
		r, _ := ask("GET", c.path, "Accept-Encoding", "gzip")
		if r.StatusCode != 200 || r.Header.Get("Content-Type") != c.kind || r.Header.Get("Cache-Control") != c.cache || r.Header.Get("X-Content-Type-Options") != "nosniff" || strings.HasSuffix(c.path, "qcow2") && r.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s: HTTP %d %v", c.path, r.StatusCode, r.Header)
		}
	}
	r, _ := ask("HEAD", base+id+"/debian-12.qcow2")
	r, body := ask("GET", base+id+"/debian-12.qcow2", "Range", "bytes=9990-", "If-Range", r.Header.Get("ETag"))
	if r.StatusCode != http.StatusPartialContent || body != "0123456789" {
		t.Errorf("the rest of an image: HTTP %d %.40q", r.StatusCode, body)
	}
	_, listing := ask("GET", base)
	if !strings.Contains(listing, id) || strings.Contains(listing, ".part") {
		t.Errorf("the listing: %s", listing)
	}
	for path, want := range map[string]int{base + ".part-host-1/disk.qcow2": 404, base + "x.part": 404, "/private.txt": 403, "/": 403, base + "../../../etc/passwd": 403} {
		if r, _ := ask("GET", path); r.StatusCode != want {
			t.Errorf("%s: HTTP %d, want %d", path, r.StatusCode, want)
		}
	}
	for _, method := range []string{"PUT", "POST", "DELETE", "TRACE"} {
		if r, _ := ask(method, base+"x"); r.StatusCode < 400 {
			t.Errorf("%s: HTTP %d", method, r.StatusCode)
		}
	}
}
