package qemu

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/google/uuid"
	"github.com/kdomanski/iso9660"
)

// Seed is what a cloud would tell a guest at its first boot. The key goes to the
// image's default user, as OpenStack does it: whether that is the right one is
// for the image to show.
type Seed struct {
	InstanceID string // empty means a new UUID
	Hostname   string // empty means "guest"
	// User is who will log in. Only root makes a difference: images that close
	// root's account to keys are told not to.
	User     string
	SSHKey   string // one line as in authorized_keys; empty means no key
	UserData string // more cloud-config (YAML), put after ours
	MAC      string // the guest's, as in Spec; empty means DefaultMAC
}

var (
	seedName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?$`)
	seedID   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)
	seedKey  = regexp.MustCompile(`^[a-z0-9@.-]+ [A-Za-z0-9+/=]+( [ -~]*)?$`)
)

// NoCloud writes a NoCloud seed: an ISO 9660 image with the label cidata and the
// files meta-data, user-data and vendor-data. The guest's network is left to its
// default, DHCP. path is replaced if it is there, and is not there after an error.
func (s Seed) NoCloud(path string) error {
	s, err := s.complete()
	if err != nil {
		return err
	}
	var meta strings.Builder
	fmt.Fprintf(&meta, "instance-id: %s\nlocal-hostname: %s\n", s.InstanceID, s.Hostname)
	if s.SSHKey != "" {
		fmt.Fprintf(&meta, "public-keys:\n  - %s\n", yamlQuote(s.SSHKey))
	}
	return writeISO(path, "cidata", []file{
		{"meta-data", []byte(meta.String())},
		{"user-data", s.userData()},
		{"vendor-data", []byte("#cloud-config\n{}\n")},
	})
}

// yamlQuote: in single quotes only the quote itself is special.
func yamlQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// ConfigDrive writes an OpenStack config drive, version 2: an ISO 9660 image with
// the label config-2 and meta_data.json, user_data, vendor_data.json and
// network_data.json under openstack/latest. path is as in NoCloud.
func (s Seed) ConfigDrive(path string) error {
	s, err := s.complete()
	if err != nil {
		return err
	}
	meta, err := json.MarshalIndent(s.metaData(), "", "  ")
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	network, err := json.MarshalIndent(s.networkData(), "", "  ")
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	const latest = "openstack/latest/"
	return writeISO(path, "config-2", []file{
		{latest + "meta_data.json", meta},
		{latest + "user_data", s.userData()},
		{latest + "vendor_data.json", []byte("{}\n")},
		{latest + "network_data.json", network},
	})
}

func (s Seed) complete() (Seed, error) {
	if s.InstanceID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return s, fmt.Errorf("seed: %w", err)
		}
		s.InstanceID = id.String()
	}
	if s.Hostname == "" {
		s.Hostname = "guest"
	}
	if s.MAC == "" {
		s.MAC = DefaultMAC
	}
	s.SSHKey = strings.TrimSpace(s.SSHKey)
	first, _, _ := strings.Cut(s.UserData, "\n")
	switch {
	case !seedID.MatchString(s.InstanceID):
		return s, fmt.Errorf("seed: instance id %q: must be letters, digits, dots, - and _", s.InstanceID)
	case !seedName.MatchString(s.Hostname):
		return s, fmt.Errorf("seed: host name %q: must be letters, digits, dots and -", s.Hostname)
	case s.SSHKey != "" && !seedKey.MatchString(s.SSHKey):
		return s, errors.New("seed: ssh key: must be one line as in authorized_keys, without options")
	case strings.HasPrefix(first, "#!") || strings.HasPrefix(strings.ToLower(first), "content-type:"):
		return s, errors.New("seed: user data: must be cloud-config, as it is added to ours")
	}
	return s, nil
}

func (s Seed) userData() []byte {
	var b strings.Builder
	b.WriteString("#cloud-config\n")
	if s.User == "root" {
		b.WriteString("disable_root: false\n")
	}
	if extra := strings.TrimPrefix(s.UserData, "#cloud-config"); strings.TrimSpace(extra) != "" {
		b.WriteString(strings.TrimSpace(extra) + "\n")
	}
	if b.Len() == len("#cloud-config\n") {
		b.WriteString("{}\n")
	}
	return []byte(b.String())
}

func (s Seed) metaData() map[string]any {
	entropy := make([]byte, 512)
	rand.Read(entropy) // never fails: see crypto/rand
	meta := map[string]any{
		"uuid": s.InstanceID, "hostname": s.Hostname, "name": s.Hostname,
		"launch_index": 0, "availability_zone": "nova", "project_id": strings.Repeat("0", 32),
		"random_seed": base64.StdEncoding.EncodeToString(entropy),
	}
	if s.SSHKey != "" {
		meta["public_keys"] = map[string]string{"aibuild": s.SSHKey + "\n"}
		meta["keys"] = []map[string]string{{"name": "aibuild", "type": "ssh", "data": s.SSHKey + "\n"}}
	}
	return meta
}

func (s Seed) networkData() map[string]any {
	return map[string]any{
		"links":    []map[string]any{{"id": "net0", "type": "phy", "ethernet_mac_address": s.MAC}},
		"networks": []map[string]any{{"id": "network0", "type": "ipv4_dhcp", "link": "net0", "network_id": "network0"}},
		"services": []any{},
	}
}

type file struct {
	path    string
	content []byte
}

// writeISO relies on what the library promises for names of up to 30 characters:
// it writes them in lower case and keeps -, _ and one dot, and so Linux, which
// only cuts off the version (";1"), shows them as they are meant.
func writeISO(path, label string, files []file) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("seed %s: %w", path, err)
		}
	}()
	w, err := iso9660.NewWriter()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Cleanup()) }()
	for _, f := range files {
		if err := w.AddFile(bytes.NewReader(f.content), f.path); err != nil {
			return err
		}
	}
	out, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(w.WriteTo(out, label), out.Close()); err != nil {
		return errors.Join(err, removeFile(path))
	}
	return nil
}
