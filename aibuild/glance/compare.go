package glance

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// property is a custom property of an image, empty where it has none.
func property(have images.Image, name string) string {
	value, _ := have.Properties[name].(string)
	return value
}

// digestOf is Glance's own digest of the bytes: algorithm:HEX, or empty.
func digestOf(have images.Image) string {
	algorithm, value := property(have, "os_hash_algo"), property(have, "os_hash_value")
	if value == "" {
		return ""
	}
	return algorithm + ":" + value
}

// sameBytes compares what Glance says about its bytes with the record. Where
// Glance knows no digest that the record knows, that is an error, too.
func sameBytes(have images.Image, want Image) error {
	type pair struct{ what, want, got string }
	pairs := []pair{
		{"size in Glance", fmt.Sprint(want.Size), fmt.Sprint(have.SizeBytes)},
		{"disk_format", want.Format, have.DiskFormat},
		{"container_format", "bare", have.ContainerFormat},
	}
	if have.VirtualSize > 0 && want.VirtualSize > 0 {
		pairs = append(pairs, pair{"virtual_size in Glance", fmt.Sprint(want.VirtualSize), fmt.Sprint(have.VirtualSize)})
	}
	proven := false
	digest := func(what, recorded, got string) {
		if recorded != "" && got != "" {
			proven = true
			pairs = append(pairs, pair{what, strings.ToLower(recorded), strings.ToLower(got)})
		}
	}
	digest("checksum (md5) in Glance", want.MD5, have.Checksum)
	switch property(have, "os_hash_algo") {
	case "sha512":
		digest("os_hash_value (sha512) in Glance", want.SHA512, property(have, "os_hash_value"))
	case "sha256":
		digest("os_hash_value (sha256) in Glance", want.SHA256, property(have, "os_hash_value"))
	}
	for _, p := range pairs {
		if p.want != p.got {
			return &DigestError{What: p.what, Want: p.want, Got: p.got}
		}
	}
	if !proven {
		return &DigestError{What: "digest in Glance", Want: "a sha512, sha256 or md5", Got: "none that can be compared"}
	}
	return nil
}

// difference is one setting that is not as recorded, and how to put it right.
type difference struct {
	text  string
	patch images.Patch
}

// differences finds everything that can be changed in place: all but the bytes.
// Properties that others added are theirs.
func differences(have images.Image, want Image) []difference {
	var found []difference
	compare := func(name, got, recorded string, patch images.Patch) {
		if got != recorded {
			found = append(found, difference{fmt.Sprintf("%s is %q, recorded is %q", name, got, recorded), patch})
		}
	}
	compare("name", have.Name, want.Name, images.ReplaceImageName{NewName: want.Name})
	compare("visibility", string(have.Visibility), want.visibility(),
		images.UpdateVisibility{Visibility: images.ImageVisibility(want.visibility())})
	compare("min_disk", fmt.Sprint(have.MinDiskGigabytes), fmt.Sprint(want.minDisk()), images.ReplaceImageMinDisk{NewMinDisk: want.minDisk()})
	compare("min_ram", fmt.Sprint(have.MinRAMMegabytes), fmt.Sprint(want.minRAM()), images.ReplaceImageMinRam{NewMinRam: want.minRAM()})
	recorded := want.properties()
	for _, name := range slices.Sorted(maps.Keys(recorded)) {
		compare(name, property(have, name), recorded[name],
			images.UpdateImageProperty{Op: images.AddOp, Name: name, Value: recorded[name]})
	}
	return found
}

func texts(found []difference) string {
	var all []string
	for _, d := range found {
		all = append(all, d.text)
	}
	return strings.Join(all, ", ")
}

// unfinished: somebody began to upload it and has not ended.
func unfinished(have images.Image) bool {
	switch have.Status {
	case images.ImageStatusQueued, images.ImageStatusSaving, images.ImageStatusUploading, images.ImageStatusImporting, images.ImageStatusKilled:
		return true
	}
	return false
}

// gone: Glance itself is deleting it.
func gone(have images.Image) bool {
	return have.Status == images.ImageStatusDeleted || have.Status == images.ImageStatusPendingDelete
}
