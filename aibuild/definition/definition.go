package definition

import "time"

// Definition is a checked image definition with every default filled in.
type Definition struct {
	Dir  string // the folder inside the file system given to Load
	Name string // [a-z0-9][a-z0-9._-]{0,62}
	Arch string // x86_64

	OS      OS
	From    From
	Build   Build
	Output  Output
	Test    Test
	Release Release

	Rebuild        time.Duration // a new run when the newest good image is older; 0 is never
	FollowParent   bool          // rebuild when the image named by From.Image has a new good version
	DependsOn      []string      // folders, relative to Dir, whose content belongs to the build
	UpdateContents string        // what changed, in words; empty means the commit messages

	Cases   []Case   // the executables of Test.Cases, sorted by name
	Files   []string // every file of the folder, relative to Dir, sorted
	Digests Digests
}

// OS says which operating system the image holds.
type OS struct {
	Distro  string // at most 20 bytes, such as debian
	Version string // at most 10 bytes, such as 12
}

// From is the source of the image: exactly one of ISO, Disk and Image is set.
type From struct {
	ISO      string // https URL, or path relative to the definition
	Disk     string // the same, for an image that already boots
	Image    string // NAME or NAME@N of an image that aibuild made
	Checksum string // sha256:HEX or file:PATH; empty with Image
}

// Build says how Packer makes the image.
type Build struct {
	Template string            // path relative to the definition
	Builder  string            // which of the template's qemu builds, by Packer's name for it; empty where there is one
	Vars     map[string]string // variables of the template
	Timeout  time.Duration
}

// Output is the form in which the image is kept.
type Output struct {
	Format   string // qcow2 or raw
	Compress string // none, zlib or zstd; none with raw
}

// Test says in which machines the image is booted and what is run there.
type Test struct {
	Matrix  Matrix
	Memory  int64 // bytes
	CPUs    int
	User    string // the account that gets the SSH key
	Cases   string // folder of the cases, relative to the definition; empty when there is none
	Timeout time.Duration
}

// Matrix lists the machines: every combination of the three is one cell.
type Matrix struct {
	Firmware   []string // bios, uefi
	DiskBus    []string // virtio, scsi
	Datasource []string // nocloud, configdrive
}

// Cell is one machine of the matrix.
type Cell struct{ Firmware, DiskBus, Datasource string }

// String is the cell's name in records and evidence, such as bios-virtio-nocloud.
func (c Cell) String() string { return c.Firmware + "-" + c.DiskBus + "-" + c.Datasource }

// Cells lists the combinations in the order in which the definition names them.
func (m Matrix) Cells() []Cell {
	var cells []Cell
	for _, firmware := range m.Firmware {
		for _, bus := range m.DiskBus {
			for _, source := range m.Datasource {
				cells = append(cells, Cell{firmware, bus, source})
			}
		}
	}
	return cells
}

// Release says where the image goes once its tests have passed.
type Release struct {
	Clusters   []string
	Visibility string            // private, shared, community or public
	Properties map[string]string // Glance properties besides those that aibuild sets
	Keep       *int              // versions kept in a cluster; nil hides old ones and deletes none
}

// Case is one executable that runs in the guest. It passes with exit status 0, is skipped with 77 and fails with any other.
type Case struct {
	Name     string // the file's name without its extension
	Path     string // relative to the definition
	Timeout  time.Duration
	Sudo     bool
	Isolated bool // gets a guest of its own, restored from a warm snapshot
	Retries  int
	Tags     []string
}

// Digests name the state of what each stage reads, as SHA-256 in hex. See the package documentation for what counts.
type Digests struct{ Build, Test, Release string }
