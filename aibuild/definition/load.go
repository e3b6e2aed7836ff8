package definition

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"
)

// File is the name of the file that makes a folder a definition.
const File = "aibuild.yaml"

// settings is aibuild.yaml as it is written.
type settings struct {
	Name string `yaml:"name"`
	Arch string `yaml:"arch"`
	OS   struct {
		Distro  string `yaml:"distro"`
		Version string `yaml:"version"`
	} `yaml:"os"`
	From struct {
		ISO      string `yaml:"iso"`
		Disk     string `yaml:"disk"`
		Image    string `yaml:"image"`
		Checksum string `yaml:"checksum"`
	} `yaml:"from"`
	Build struct {
		Template string            `yaml:"template"`
		Builder  string            `yaml:"builder"`
		Vars     map[string]string `yaml:"vars"`
		Timeout  time.Duration     `yaml:"timeout"`
	} `yaml:"build"`
	Output struct {
		Format   string `yaml:"format"`
		Compress string `yaml:"compress"`
	} `yaml:"output"`
	Test struct {
		Matrix struct {
			Firmware   []string `yaml:"firmware"`
			DiskBus    []string `yaml:"disk_bus"`
			Datasource []string `yaml:"datasource"`
		} `yaml:"matrix"`
		Memory  Size          `yaml:"memory"`
		CPUs    int           `yaml:"cpus"`
		User    string        `yaml:"user"`
		Cases   string        `yaml:"cases"`
		Timeout time.Duration `yaml:"timeout"`
	} `yaml:"test"`
	Release struct {
		Clusters   []string          `yaml:"clusters"`
		Visibility string            `yaml:"visibility"`
		Properties map[string]string `yaml:"properties"`
		Keep       *int              `yaml:"keep"`
	} `yaml:"release"`
	Rebuild        time.Duration `yaml:"rebuild"`
	FollowParent   bool          `yaml:"follow_parent"`
	DependsOn      []string      `yaml:"depends_on"`
	UpdateContents string        `yaml:"update_contents"`
}

// The defaults of what a definition leaves out.
const (
	defaultBuildTimeout = 2 * time.Hour
	defaultTestTimeout  = 30 * time.Minute
	defaultCaseTimeout  = 2 * time.Minute
	defaultMemory       = Size(1 << 30)
	defaultCases        = "tests"
)

// Load reads and checks the definition in the folder dir of fsys, a slash-separated path as fs.ValidPath wants it.
// fsys is the repository (os.Root.FS, os.DirFS or a git tree): depends_on may name any folder of it, nothing beyond.
// What is wrong with the definition comes as Errors, all of it at once; any other error is trouble in reading.
func Load(fsys fs.FS, dir string) (*Definition, error) {
	if !fs.ValidPath(dir) {
		return nil, fmt.Errorf("load definition: %q is no path inside the repository; name the folder that holds %s", dir, File)
	}
	l := &loader{fsys: fsys, dir: dir, decoder: newDecoder(path.Join(dir, File))}
	data, err := l.read(File, maxFile+1)
	if err != nil {
		return nil, err
	}
	if data == nil {
		return nil, l.problems.sorted()
	}
	var s settings
	if err := l.decode(data, &s); err != nil {
		return nil, err
	}
	if l.unread {
		return nil, l.problems.sorted()
	}
	fill(&s)
	l.rules(&s)
	d := s.definition(dir)
	if err := l.folder(d); err != nil {
		return nil, err
	}
	if err := l.problems.sorted(); err != nil {
		return nil, err
	}
	if d.Digests, err = l.digests(d); err != nil {
		return nil, err
	}
	return d, nil
}

// loader is the work on one definition.
type loader struct {
	decoder
	fsys fs.FS
	dir  string
	tree *tree   // the files of the folder
	deps []*tree // those of depends_on, in its order
}

// read gives a small file of the folder, nil after a problem.
func (l *loader) read(name string, limit int64) ([]byte, error) {
	full := path.Join(l.dir, name)
	info, err := lstat(l.fsys, full)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		l.problem(0, "is not there", "run aibuild init NAME to make a definition, or name the folder of one")
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	if !info.Mode().IsRegular() {
		l.problem(0, "is "+kind(info.Mode())+", not a plain file", "put the file itself here")
		return nil, nil
	}
	file, err := l.fsys.Open(full)
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	defer file.Close() // reading only: nothing can be lost
	data, err := io.ReadAll(io.LimitReader(file, limit))
	if err != nil {
		return nil, fmt.Errorf("read definition: %w", err)
	}
	if data == nil {
		data = []byte{}
	}
	return data, nil
}

// fill sets the defaults, so that writing one out changes nothing.
func fill(s *settings) {
	text := func(value *string, standard string) {
		if *value == "" {
			*value = standard
		}
	}
	list := func(value *[]string, standard string) {
		if *value == nil {
			*value = []string{standard}
		}
	}
	// An empty list or map asks for as much as none at all, and must have the same digest.
	s.Build.Vars, s.Release.Properties = orNil(s.Build.Vars), orNil(s.Release.Properties)
	if len(s.Release.Clusters) == 0 {
		s.Release.Clusters = nil
	}
	text(&s.Arch, "x86_64")
	text(&s.Output.Format, "qcow2")
	if s.Output.Format == "raw" {
		text(&s.Output.Compress, "none")
	}
	text(&s.Output.Compress, "zlib")
	list(&s.Test.Matrix.Firmware, "bios")
	list(&s.Test.Matrix.DiskBus, "virtio")
	list(&s.Test.Matrix.Datasource, "configdrive")
	text(&s.Release.Visibility, "private")
	if s.Test.Memory == 0 {
		s.Test.Memory = defaultMemory
	}
	if s.Test.CPUs == 0 {
		s.Test.CPUs = 1
	}
	if s.Build.Timeout == 0 {
		s.Build.Timeout = defaultBuildTimeout
	}
	if s.Test.Timeout == 0 {
		s.Test.Timeout = defaultTestTimeout
	}
}

func orNil(m map[string]string) map[string]string {
	if len(m) == 0 {
		return nil
	}
	return m
}

// definition is what the settings say; paths without their final slash.
func (s *settings) definition(dir string) *Definition {
	return &Definition{
		Dir: dir, Name: s.Name, Arch: s.Arch,
		OS:     OS{s.OS.Distro, s.OS.Version},
		From:   From{clean(s.From.ISO), clean(s.From.Disk), s.From.Image, s.From.Checksum},
		Build:  Build{clean(s.Build.Template), s.Build.Builder, s.Build.Vars, s.Build.Timeout},
		Output: Output{s.Output.Format, s.Output.Compress},
		Test: Test{
			Matrix: Matrix{s.Test.Matrix.Firmware, s.Test.Matrix.DiskBus, s.Test.Matrix.Datasource},
			Memory: int64(s.Test.Memory), CPUs: s.Test.CPUs, User: s.Test.User, Cases: clean(s.Test.Cases), Timeout: s.Test.Timeout,
		},
		Release: Release{s.Release.Clusters, s.Release.Visibility, s.Release.Properties, s.Release.Keep},
		Rebuild: s.Rebuild, FollowParent: s.FollowParent, DependsOn: s.DependsOn, UpdateContents: s.UpdateContents,
	}
}
