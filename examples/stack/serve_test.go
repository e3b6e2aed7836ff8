package stack_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"go.yaml.in/yaml/v3"

	"github.com/guestos/aibuild/aibuild/process"
)

var client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true}}

// checkDatabase uses the DSN as aibuild would, and tries what it must not be able to do.
func checkDatabase(t *testing.T, env map[string]string) {
	t.Helper()
	db, err := sql.Open("mysql", env["AIBUILD_DSN"])
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var name string
	if err := db.QueryRow("SELECT DATABASE()").Scan(&name); err != nil || name != "aibuild" {
		t.Fatalf("SELECT DATABASE() = %q, %v; want aibuild", name, err)
	}
	if _, err := db.Exec("CREATE TABLE IF NOT EXISTS stack_check (n INT PRIMARY KEY)"); err != nil {
		t.Errorf("create a table in aibuild: %v", err)
	}
	if _, err := db.Exec("INSERT IGNORE INTO stack_check VALUES (1)"); err != nil {
		t.Errorf("insert: %v", err)
	}
	if _, err := db.Exec("CREATE DATABASE other"); err == nil {
		t.Error("the account aibuild may create the database other")
	}
	if _, err := db.Exec("SELECT * FROM mysql.global_priv"); err == nil {
		t.Error("the account aibuild may read mysql.global_priv")
	}
}

// checkWeb publishes files as aibuild does and fetches them.
func checkWeb(t *testing.T, env map[string]string) {
	t.Helper()
	folder := filepath.Join(env["AIBUILD_WEB_ROOT"], "images", "release", "web-check")
	for name, text := range map[string]string{
		"disk.qcow2": "0123456789", ".part-x/disk.qcow2": "half", "disk.qcow2.part": "half", "SHA256SUMS": "sums",
	} {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	base := env["AIBUILD_WEB_URL"] + "/images/release/web-check/"
	tests := []struct {
		name, path, byteRange string
		status                int
		body, contentType     string
	}{
		{"whole", "disk.qcow2", "", 200, "0123456789", "application/octet-stream"},
		{"range", "disk.qcow2", "bytes=2-4", 206, "234", "application/octet-stream"},
		{"sums", "SHA256SUMS", "", 200, "sums", "text/plain; charset=utf-8"},
		{"work folder", ".part-x/disk.qcow2", "", 404, "", ""},
		{"work file", "disk.qcow2.part", "", 404, "", ""},
		{"outside", "../../../../supervisor/pid", "", 400, "", ""},
	}
	for _, test := range tests {
		status, header, body := get(t, base+test.path, http.Header{"Range": {test.byteRange}})
		if status != test.status {
			t.Errorf("%s: status %d, want %d", test.name, status, test.status)
		}
		if test.body != "" && (body != test.body || header.Get("Content-Type") != test.contentType) {
			t.Errorf("%s: %q as %q, want %q as %q", test.name, body, header.Get("Content-Type"), test.body, test.contentType)
		}
	}
	_, _, listing := get(t, base, nil)
	if !strings.Contains(listing, "disk.qcow2") || strings.Contains(listing, "part") {
		t.Errorf("the listing should show disk.qcow2 and no work file:\n%s", listing)
	}
}

func get(t *testing.T, address string, header http.Header) (int, http.Header, string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, values := range header {
		if values[0] != "" {
			request.Header[name] = values
		}
	}
	return do(t, request)
}

func do(t *testing.T, request *http.Request) (int, http.Header, string) {
	t.Helper()
	answer, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, answer.Header, string(body)
}

// checkSFTP puts a file with OpenSSH's own client and fetches it from the web server.
func checkSFTP(t *testing.T, env map[string]string) {
	t.Helper()
	target, err := url.Parse(env["STACK_SFTP_URL"])
	if err != nil {
		t.Fatal(err)
	}
	options := []string{
		"-F", "/dev/null", "-i", env["AIBUILD_SFTP_KEY_FILE"], "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
		"-o", "UserKnownHostsFile=" + env["AIBUILD_SFTP_KNOWN_HOSTS"], "-o", "StrictHostKeyChecking=yes",
	}
	local := filepath.Join(t.TempDir(), "put")
	if err := os.WriteFile(local, []byte("by sftp"), 0o600); err != nil {
		t.Fatal(err)
	}
	batch := fmt.Sprintf("put %s %s/images/build/sftp-check\nchmod 644 %[2]s/images/build/sftp-check\n", local, target.Path)
	account := target.User.Username() + "@" + target.Hostname()
	put := process.Cmd{
		Path: "sftp", Args: append(options, "-b", "-", "-P", target.Port(), account),
		Stdin: strings.NewReader(batch), Timeout: patience,
	}
	if _, err := put.Run(context.Background()); err != nil {
		t.Fatal(err)
	}
	if _, _, body := get(t, env["AIBUILD_WEB_URL"]+"/images/build/sftp-check", nil); body != "by sftp" {
		t.Errorf("the web server serves %q, want what sftp has put", body)
	}
	shell := process.Cmd{Path: "ssh", Args: append(options, "-p", target.Port(), account, "echo", "a", "shell"), Timeout: patience}
	if got, err := shell.Run(context.Background()); err == nil || strings.Contains(string(got.Stdout), "a shell") {
		t.Errorf("ssh ran a command; want SFTP alone: %v", err)
	}
}

// cloud is an entry of clouds.yaml.
type cloud struct {
	AuthType string            `yaml:"auth_type"`
	Auth     map[string]string `yaml:"auth"`
}

func clouds(t *testing.T, env map[string]string) map[string]cloud {
	t.Helper()
	text, err := os.ReadFile(env["OS_CLIENT_CONFIG_FILE"])
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Clouds map[string]cloud }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file.Clouds
}

// session is a token and the image service's URL that came with it.
type session struct{ token, image string }

// login asks Keystone for a token, with a password or an application credential.
func login(t *testing.T, c cloud) session {
	t.Helper()
	type object = map[string]any
	domain := object{"name": "Default"}
	auth := object{
		"identity": object{"methods": []string{"password"}, "password": object{"user": object{
			"name": c.Auth["username"], "password": c.Auth["password"], "domain": domain}}},
		"scope": object{"project": object{"name": c.Auth["project_name"], "domain": domain}},
	}
	if c.AuthType == "v3applicationcredential" {
		auth = object{"identity": object{"methods": []string{"application_credential"}, "application_credential": object{
			"id": c.Auth["application_credential_id"], "secret": c.Auth["application_credential_secret"]}}}
	}
	status, header, body := send(t, http.MethodPost, c.Auth["auth_url"]+"/auth/tokens", "", object{"auth": auth})
	if status != http.StatusCreated {
		t.Fatalf("login at %s: %d %s", c.Auth["auth_url"], status, body)
	}
	var answer struct {
		Token struct {
			Catalog []struct {
				Type      string
				Endpoints []struct{ Interface, URL string }
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		t.Fatal(err)
	}
	for _, service := range answer.Token.Catalog {
		for _, endpoint := range service.Endpoints {
			if service.Type == "image" && endpoint.Interface == "public" {
				return session{header.Get("X-Subject-Token"), endpoint.URL}
			}
		}
	}
	t.Fatal("no public image service in the catalog")
	return session{}
}

// send makes a call with a JSON body, or with bytes as they are.
func send(t *testing.T, method, address, token string, body any) (int, http.Header, string) {
	t.Helper()
	data, contentType := []byte(nil), "application/json"
	switch body := body.(type) {
	case nil:
	case []byte:
		data, contentType = body, "application/octet-stream"
	default:
		var err error
		if data, err = json.Marshal(body); err != nil {
			t.Fatal(err)
		}
	}
	request, err := http.NewRequest(method, address, bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", contentType)
	if token != "" {
		request.Header.Set("X-Auth-Token", token)
	}
	return do(t, request)
}

// upload makes an image of these bytes and returns the status of the upload itself.
func (s session) upload(t *testing.T, data []byte) (status int, id string) {
	t.Helper()
	status, _, body := send(t, http.MethodPost, s.image+"/v2/images", s.token, map[string]any{
		"name": "stack-check", "disk_format": "raw", "container_format": "bare"})
	var image struct{ ID string }
	if err := json.Unmarshal([]byte(body), &image); err != nil || status != http.StatusCreated {
		t.Fatalf("create an image: %d %s", status, body)
	}
	status, _, _ = send(t, http.MethodPut, s.image+"/v2/images/"+image.ID+"/file", s.token, data)
	return status, image.ID
}

// checkClusters logs in with every entry and stores an image in each cluster.
func checkClusters(t *testing.T, env map[string]string, names ...string) {
	t.Helper()
	entries := clouds(t, env)
	if len(entries) != 4*len(names) {
		t.Errorf("clouds.yaml has %d entries, want 4 for each of %v", len(entries), names)
	}
	for _, name := range names {
		for _, suffix := range []string{"", "-admin", "-appcred", "-consumer"} {
			s := login(t, entries[name+suffix])
			if status, _, body := send(t, http.MethodGet, s.image+"/v2/images", s.token, nil); status != http.StatusOK {
				t.Errorf("%s%s: list images: %d %s", name, suffix, status, body)
			}
		}
		s := login(t, entries[name])
		data := []byte("an image of " + name + time.Now().String())
		status, id := s.upload(t, data)
		if status != http.StatusNoContent {
			t.Errorf("%s: upload: %d", name, status)
		}
		if _, _, body := send(t, http.MethodGet, s.image+"/v2/images/"+id+"/file", s.token, nil); body != string(data) {
			t.Errorf("%s: the image reads %q, want %q", name, body, data)
		}
	}
}
