package glance

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The properties of an image that Glance keeps for us.
const (
	propUUID   = "aibuild_uuid"
	propCommit = "aibuild_commit"
	propState  = "aibuild_state"
	propDate   = "image_build_date"
)

// dateLayout is the form that clouds agree on for image_build_date.
const dateLayout = "2006-01-02 15:04:05"

// Image is an image file and what is recorded of it.
type Image struct {
	UUID    string // our own; in Glance the property aibuild_uuid
	Name    string
	Arch    string // architecture: x86_64
	Distro  string // os_distro: debian
	Version string // os_version: 12
	Format  string // disk_format: qcow2 or raw

	// Path is the local file. Open is used instead where it is set, and gives
	// a new reader at each call (each attempt in each cluster takes one).
	Path string
	Open func(ctx context.Context) (io.ReadCloser, error)

	// Size (bytes) and digests (hex) as recorded when the image was built.
	// SHA512 is required: Glance tells it of the bytes that it has. SHA256 is
	// preferred for the bytes on their way, as most processors compute it
	// faster. MD5 may be empty; it is compared with Glance's checksum where both
	// are known. A Glance before Rocky (2018) tells nothing else.
	Size   int64
	SHA256 string
	SHA512 string
	MD5    string

	VirtualSize int64             // bytes; min_disk in GiB, rounded up
	MinRAM      int64             // bytes; min_ram in MiB, rounded up
	User        string            // image_original_user
	BuiltAt     time.Time         // image_build_date, in UTC; says which of two images is newer
	Commit      string            // aibuild_commit
	Visibility  string            // private, shared, community or public; empty is private
	Properties  map[string]string // of the definition; may not name what is set from the fields above
}

// Expect is an image that a cluster should have.
type Expect struct {
	Image Image
	State string // Visible, Hidden or Revoked
}

// open gives a new reader of the image's bytes.
func (img Image) open(ctx context.Context) (io.ReadCloser, error) {
	if img.Open != nil {
		return img.Open(ctx)
	}
	file, err := os.Open(img.Path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	return file, nil
}

const (
	gib = 1 << 30
	mib = 1 << 20
)

func roundUp(bytes, unit int64) int { return int((bytes + unit - 1) / unit) }

func (img Image) minDisk() int { return roundUp(img.VirtualSize, gib) }
func (img Image) minRAM() int  { return roundUp(img.MinRAM, mib) }

func (img Image) visibility() string {
	if img.Visibility == "" {
		return "private"
	}
	return img.Visibility
}

// properties are all custom properties that the image has in Glance.
func (img Image) properties() map[string]string {
	all := maps.Clone(img.Properties)
	if all == nil {
		all = map[string]string{}
	}
	for name, value := range map[string]string{
		propUUID: img.UUID, propCommit: img.Commit, propDate: img.BuiltAt.UTC().Format(dateLayout),
		"architecture": img.Arch, "os_distro": img.Distro, "os_version": img.Version, "image_original_user": img.User,
	} {
		if value != "" {
			all[name] = value
		}
	}
	return all
}

// newerThan orders images of a name: by build time, then by uuid, whose first
// bits are a time too (UUIDv7).
func newerThan(date, id, otherDate, otherID string) bool {
	if date != otherDate {
		return date > otherDate
	}
	return id > otherID
}

// reserved are names that Glance or this package gives a meaning to.
var reserved = []string{
	"architecture", "os_distro", "os_version", "image_original_user", propDate,
	"id", "name", "owner", "status", "visibility", "protected", "tags", "size", "virtual_size", "checksum",
	"disk_format", "container_format", "min_disk", "min_ram", "created_at", "updated_at", "self", "file", "schema",
	"locations", "direct_url", "stores", "os_hidden", "os_hash_algo", "os_hash_value", "deleted", "deleted_at",
}

var (
	hexDigits    = regexp.MustCompile(`^[0-9a-fA-F]*$`)
	visibilities = []string{"private", "shared", "community", "public"}
	formats      = []string{"qcow2", "raw"}
)

// check finds everything that is wrong with the description, before any
// cluster is asked.
func (img Image) check() error {
	var errs []error
	require := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, input(format, args...))
		}
	}
	_, err := uuid.Parse(img.UUID)
	require(err == nil, "image uuid %q is not a UUID", img.UUID)
	require(img.Name != "" && len(img.Name) <= 255, "image name %q is empty or longer than 255 bytes", img.Name)
	require(slices.Contains(formats, img.Format), "format %q is not one of %s", img.Format, strings.Join(formats, ", "))
	require(slices.Contains(visibilities, img.visibility()), "visibility %q is not one of %s", img.Visibility, strings.Join(visibilities, ", "))
	require(img.Size > 0, "size %d is not a number of bytes", img.Size)
	require(img.VirtualSize >= 0 && img.MinRAM >= 0, "virtual size and memory may not be negative")
	require(len(img.SHA512) == 128 && hexDigits.MatchString(img.SHA512), "sha512 is missing or not 128 hex digits")
	require((img.SHA256 == "" || len(img.SHA256) == 64) && hexDigits.MatchString(img.SHA256), "sha256 is not 64 hex digits")
	require((img.MD5 == "" || len(img.MD5) == 32) && hexDigits.MatchString(img.MD5), "md5 is not 32 hex digits")
	require(!img.BuiltAt.IsZero(), "the time of the build is missing")
	for name, value := range img.Properties {
		bad := name == "" || len(name) > 255 || slices.Contains(reserved, name) ||
			strings.HasPrefix(name, "aibuild_") || strings.HasPrefix(name, "os_glance_")
		require(!bad, "property %q has a meaning of its own and cannot be set", name)
		require(len(value) <= 65535, "property %q is longer than 65535 bytes", name)
	}
	return errors.Join(errs...)
}

// checkSource is for what needs the bytes: they are there and have the
// recorded size.
func (img Image) checkSource() error {
	if img.Open != nil {
		return nil
	}
	info, err := os.Stat(img.Path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInput, err)
	}
	if info.Size() != img.Size {
		return &DigestError{What: "size of " + img.Path, Want: fmt.Sprint(img.Size), Got: fmt.Sprint(info.Size())}
	}
	return nil
}
