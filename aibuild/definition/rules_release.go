package definition

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

var propertyPattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.:-]{0,254}$`)

// ownProperties are set by aibuild or by Glance itself, never by a definition.
var ownProperties = []string{
	"architecture", "os_distro", "os_version", "min_disk", "min_ram", "image_original_user", "image_build_date",
	"name", "id", "owner", "status", "visibility", "protected", "tags", "checksum", "size", "virtual_size", "disk_format",
	"container_format", "os_hash_algo", "os_hash_value", "os_hidden", "created_at", "updated_at", "file", "self", "schema",
	"locations", "direct_url", "stores", "deleted", "deleted_at", "is_public",
}

func (l *loader) releaseRules(s *settings) {
	for i, cluster := range s.Release.Clusters {
		key := fmt.Sprintf("release.clusters.%d", i)
		switch {
		case cluster == "" && l.reported(key):
		case !clusterPattern.MatchString(cluster):
			l.at(key, fmt.Sprintf("%q is no cluster name", short(cluster)), "use its name in clouds.yaml: 1 to 60 letters, digits, . _ -")
		case slices.Contains(s.Release.Clusters[:i], cluster):
			l.at(key, cluster+" is there twice", "remove one")
		}
	}
	l.oneOf("release.visibility", s.Release.Visibility, "private", "shared", "community", "public")
	for _, name := range sortedKeys(s.Release.Properties) {
		l.propertyRules(name, s.Release.Properties[name])
	}
	if s.Release.Keep != nil && *s.Release.Keep < 1 && !l.reported("release.keep") {
		l.at("release.keep", "would delete every version", "write 1 or more, or remove the key to delete none")
	}
}

func (l *loader) propertyRules(name, value string) {
	key := "release.properties." + name
	switch {
	case !propertyPattern.MatchString(name):
		l.at(key, "is no property name", "use letters, digits and _ . : -")
	case slices.Contains(ownProperties, name) || strings.HasPrefix(name, "aibuild_"):
		l.at(key, "is set by aibuild itself", "remove it")
	case strings.HasPrefix(name, "os_glance_"):
		l.at(key, "is reserved by Glance", "remove it")
	case len(value) > 65535 || !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		l.at(key, "is no text or longer than 65535 bytes", "shorten it")
	}
}

// tested refuses a release that promises hardware which the matrix never boots.
func (l *loader) tested(s *settings) {
	promises := []struct {
		property, matrix string
		values           []string
	}{
		{"hw_disk_bus", "test.matrix.disk_bus", s.Test.Matrix.DiskBus},
		{"hw_firmware_type", "test.matrix.firmware", s.Test.Matrix.Firmware},
	}
	for _, p := range promises {
		value, given := s.Release.Properties[p.property]
		if given && !slices.Contains(p.values, value) {
			l.at("release.properties."+p.property, fmt.Sprintf("%q is not tested", short(value)), "add it to "+p.matrix+" or release what is tested: "+strings.Join(p.values, ", "))
		}
	}
}
