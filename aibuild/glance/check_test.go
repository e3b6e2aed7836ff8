package glance

import (
	"bytes"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"go.yaml.in/yaml/v3"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	for _, test := range []struct {
		cluster string
		public  bool
		project string
	}{{"alpha", false, "images"}, {"alpha-appcred", false, "images"}, {"beta-admin", true, "admin"}} {
		health, err := s.releaser(t).Check(t.Context(), test.cluster)
		if err != nil {
			t.Fatal(err)
		}
		if !health.CanCreate || health.CanPublish != test.public || health.Project != test.project ||
			len(health.Roles) == 0 || !slices.Contains(health.Versions, "v2.15") || len(health.Problems) > 0 {
			t.Errorf("check = %+v", health)
		}
	}
	if left := named(t, s.client(t, "beta-admin"), "aibuild-check"); len(left) > 0 {
		t.Errorf("check left %+v", left)
	}
}

// edited writes a clouds.yaml whose entry alpha was changed.
func (s *stack) edited(t *testing.T, edit func(entry, auth map[string]any)) string {
	t.Helper()
	data, err := os.ReadFile(s.cloudsFile())
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Clouds map[string]map[string]any `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	edit(file.Clouds[alpha], file.Clouds[alpha]["auth"].(map[string]any))
	if data, err = yaml.Marshal(file); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "clouds.yaml")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Each way in which a cluster cannot be used has words of its own, and no
// error tells a secret.
func TestCheckSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	page := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>hello")) }))
	t.Cleanup(page.Close)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	const canary = "canary-4711"
	address := func(url string) func(entry, auth map[string]any) {
		return func(_, auth map[string]any) { auth["auth_url"], auth["password"] = url, canary }
	}
	for name, test := range map[string]struct {
		edit      func(entry, auth map[string]any)
		op, hint  string
		retryable bool
	}{
		"wrong password": {func(_, auth map[string]any) { auth["password"] = canary }, "login", "password", false},
		"wrong project":  {func(_, auth map[string]any) { auth["project_name"] = "no-such" }, "login", "password", false},
		"nobody there":   {address("http://" + closed.Addr().String() + "/v3"), "login", "nothing listens", true},
		"no such host":   {address("http://keystone.invalid:5000/v3"), "login", "does not resolve", false},
		"silence":        {address("http://" + silent.Addr().String() + "/v3"), "login", "no answer in time", true},
		"unknown CA":     {address(secure.URL + "/v3"), "login", "cacert", false},
		"no TLS there":   {address(strings.Replace(web.URL, "http:", "https:", 1) + "/v3"), "login", "TLS failed", false},
		"not Keystone":   {address(web.URL + "/v3"), "login", "does not lead to Keystone", false},
		"a web page":     {address(page.URL), "login", "auth_url", false},
		"wrong region":   {func(entry, _ map[string]any) { entry["region_name"] = "no-such" }, "endpoint", "region_name", false},
		"no auth_url":    {address(""), "login", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var log bytes.Buffer
			r := Releaser{CloudsFile: s.edited(t, test.edit), Log: hclog.New(&hclog.LoggerOptions{Output: &log, Level: hclog.Trace})}
			r.CallTimeout = 20 * time.Second
			if name == "silence" {
				r.CallTimeout = time.Second
			}
			_, err := r.Check(t.Context(), alpha)
			var cluster *ClusterError
			if !errors.As(err, &cluster) || cluster.Cluster != alpha || cluster.Op != test.op ||
				!strings.Contains(cluster.Hint, test.hint) || cluster.Retryable != test.retryable {
				t.Errorf("check = %#v (%v)", err, err)
			}
			if text := err.Error() + log.String(); strings.Contains(text, canary) {
				t.Errorf("the password is told: %s", text)
			}
		})
	}
}

// Whoever answers a login with a redirection does not get the password sent on.
func TestRedirectionIsNotFollowed(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	followed := make(chan string, 9)
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { followed <- r.URL.Path }))
	defer thief.Close()
	door := httptest.NewServer(http.RedirectHandler(thief.URL, http.StatusTemporaryRedirect))
	defer door.Close()
	file := s.edited(t, func(_, auth map[string]any) { auth["auth_url"] = door.URL + "/v3" })
	_, err := Releaser{CloudsFile: file}.Check(t.Context(), alpha)
	var cluster *ClusterError
	if !errors.As(err, &cluster) || !strings.Contains(cluster.Hint, "redirects") || cluster.Retryable || len(followed) > 0 {
		t.Errorf("check = %v after %d requests elsewhere", err, len(followed))
	}
}

func TestCloudsFile(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	names, err := Clouds(s.cloudsFile())
	want := []string{"alpha", "alpha-admin", "alpha-appcred", "alpha-consumer", "beta", "beta-admin", "beta-appcred", "beta-consumer"}
	if diff := cmp.Diff(want, names); diff != "" || err != nil {
		t.Errorf("clouds: %v (-want +got):\n%s", err, diff)
	}
	_, err = s.releaser(t).Check(t.Context(), "gamma")
	if !errors.Is(err, ErrUnknownCluster) || !strings.Contains(err.Error(), "it names alpha,") {
		t.Errorf("unknown cluster = %v", err)
	}
}

// The secret is in secure.yaml, the rest in clouds.yaml.
func TestSecureFile(t *testing.T) {
	t.Parallel()
	s := clusters(t)
	var password any
	file := s.edited(t, func(_, auth map[string]any) {
		password = auth["password"]
		delete(auth, "password")
	})
	secure, err := yaml.Marshal(map[string]any{"clouds": map[string]any{alpha: map[string]any{"auth": map[string]any{"password": password}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(filepath.Dir(file), "secure.yaml"), secure, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Releaser{CloudsFile: file}).Check(t.Context(), alpha); err != nil {
		t.Error(err)
	}
}

// A clouds.yaml that cannot be read is named with its line, never quoted.
func TestBrokenCloudsFile(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"not YAML":   "clouds:\n  alpha: {auth: {password: [canary-4711}\n",
		"wrong type": "clouds:\n  alpha:\n    auth: {auth_url: 'http://127.0.0.1/v3', username: u, password: {canary-4711: 1}}\n",
		"a list":     "clouds: [canary-4711]\n",
		"empty":      "",
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "clouds.yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Releaser{CloudsFile: file}.Check(t.Context(), alpha)
			if !errors.Is(err, ErrUnknownCluster) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "canary") {
				t.Errorf("check = %v", err)
			}
		})
	}
	if _, err := Clouds(filepath.Join(t.TempDir(), "absent.yaml")); !errors.Is(err, ErrUnknownCluster) || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("absent file = %v", err)
	}
}

// No error, log line or target of a troubled release holds the password, the
// application credential's secret or a token, even where a service echoes them.
func TestSecretsStayUntold(t *testing.T) {
	s := clusters(t)
	data, err := os.ReadFile(s.cloudsFile())
	if err != nil {
		t.Fatal(err)
	}
	var file yaml.Node
	if err := yaml.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	secrets := secretsOf(&file)
	if len(secrets) != 8 {
		t.Fatalf("%d secrets in clouds.yaml; want 8", len(secrets))
	}
	s.proxy.spoil(t, func(w http.ResponseWriter, r *http.Request) bool {
		token := r.Header.Get("X-Auth-Token")
		secrets = append(secrets, token)
		http.Error(w, "you said "+token+" and know "+strings.Join(secrets, " "), http.StatusInternalServerError)
		return true
	})
	for _, cluster := range []string{beta, beta + "-appcred"} {
		var told bytes.Buffer
		r := s.releaser(t)
		r.Log = hclog.New(&hclog.LoggerOptions{Output: &told, Level: hclog.Trace})
		targets, err := r.Release(t.Context(), newImage(t, uniqueName(t), 1<<10), []string{cluster})
		text := told.String() + targets[0].Error + err.Error()
		if !strings.Contains(text, "you said ***") {
			t.Errorf("no redacted echo in %s", text)
		}
		entry, err := readCloud(s.cloudsFile(), cluster)
		if err != nil {
			t.Fatal(err)
		}
		for _, secret := range append(entry.secrets, secrets[8:]...) {
			if strings.Contains(text, secret) {
				t.Errorf("%q is told: %s", secret, text)
			}
		}
	}
}
