package glance

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"go.yaml.in/yaml/v3"
)

// cloud is one entry of clouds.yaml, ready for a login.
type cloud struct {
	auth     gophercloud.AuthOptions
	endpoint gophercloud.EndpointOpts
	tls      *tls.Config
	secrets  []string
}

// Clouds lists the clusters that a clouds.yaml names, sorted.
func Clouds(file string) ([]string, error) {
	entries, err := readEntries(file)
	if err != nil {
		return nil, err
	}
	return slices.Sorted(maps.Keys(entries)), nil
}

// readCloud reads the entry of one cluster. Environment variables change
// nothing: the file given is the whole truth.
func readCloud(file, cluster string) (cloud, error) {
	entries, err := readEntries(file)
	if err != nil {
		return cloud{}, err
	}
	entry, ok := entries[cluster]
	if !ok {
		known := slices.Sorted(maps.Keys(entries))
		return cloud{}, fmt.Errorf("%w: %s has no cloud %q; it names %s", ErrUnknownCluster, file, cluster, strings.Join(known, ", "))
	}
	c := cloud{secrets: secretsOf(&entry)}
	secure, err := readEntries(filepath.Join(filepath.Dir(file), "secure.yaml"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return cloud{}, err
	}
	if entry, ok := secure[cluster]; ok {
		c.secrets = append(c.secrets, secretsOf(&entry)...)
	}
	c.auth, c.endpoint, c.tls, err = clouds.Parse(clouds.WithLocations(file), clouds.WithCloudName(cluster),
		clouds.WithRegion(""), clouds.WithEndpointType(""))
	if err != nil {
		return cloud{}, fmt.Errorf("%w: %s: cloud %q: %s", ErrUnknownCluster, file, cluster, c.redact(harmless(err)))
	}
	if address, err := url.Parse(c.auth.IdentityEndpoint); err != nil || address.Host == "" {
		return cloud{}, fmt.Errorf("%w: %s: cloud %q: auth_url is not a URL with a host", ErrUnknownCluster, file, cluster)
	}
	// gophercloud would repeat a refused upload with what is left of the reader
	// (nothing), and call the empty image a success: logging in again is ours.
	c.auth.AllowReauth = false
	return c, nil
}

// redact replaces every secret of the entry.
func (c cloud) redact(text string) string {
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, "***")
		text = strings.ReplaceAll(text, url.QueryEscape(secret), "***")
	}
	return text
}

// readEntries reads the clouds of a clouds.yaml or secure.yaml.
func readEntries(file string) (map[string]yaml.Node, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; name a clouds.yaml (OS_CLIENT_CONFIG_FILE)", ErrUnknownCluster, err)
	}
	var parsed struct {
		Clouds map[string]yaml.Node `yaml:"clouds"`
	}
	if err := yaml.Unmarshal(data, &parsed); err != nil {
		return nil, fmt.Errorf("%w: %s: %s", ErrUnknownCluster, file, harmless(err))
	}
	return parsed.Clouds, nil
}

var yamlLine = regexp.MustCompile(`line (\d+)`)

// harmless is an error's text, but never that of a YAML error: it would quote
// the value that did not fit, which may be a password.
func harmless(err error) string {
	if !strings.Contains(err.Error(), "yaml") {
		return err.Error()
	}
	if line := yamlLine.FindString(err.Error()); line != "" {
		return "not valid YAML for clouds, " + line
	}
	return "not valid YAML for clouds"
}

var secretKey = regexp.MustCompile(`(?i)password|secret|token|passcode`)

// shortestSecret: replacing anything shorter would blot out ordinary text.
const shortestSecret = 4

// secretsOf collects the values of all keys that sound like a secret.
func secretsOf(node *yaml.Node) []string {
	var found []string
	for i, child := range node.Content {
		isValue := node.Kind == yaml.MappingNode && i%2 == 1
		if isValue && child.Kind == yaml.ScalarNode && len(child.Value) >= shortestSecret &&
			secretKey.MatchString(node.Content[i-1].Value) {
			found = append(found, child.Value)
		}
		found = append(found, secretsOf(child)...)
	}
	return found
}
