package publish

import (
	"io"
	"net/http"
	"time"

	"github.com/hashicorp/go-hclog"
)

// The two areas of the web root.
const (
	Build   = "build"   // images/build: an image as soon as it is built
	Release = "release" // images/release: an image whose tests have passed
)

// Config says where the images are.
type Config struct {
	Root       string       // absolute path, or sftp://user@host:port/path; the document root that holds images/
	URL        string       // where the web server shows Root, such as https://images.example.com
	KeyFile    string       // private key for SFTP
	KnownHosts string       // host keys for SFTP, in OpenSSH's form
	HTTP       *http.Client // for downloads; nil is a client of our own
	Now        func() time.Time
	Log        hclog.Logger
}

// Sums are the digests of one file, in lower-case hex, and its sizes in bytes.
type Sums struct {
	Size      int64  `json:"size"`
	Allocated int64  `json:"allocated"` // on disk: smaller than Size when the file has holes
	SHA256    string `json:"sha256"`
	SHA512    string `json:"sha512"`
	MD5       string `json:"md5"`
}

// Item is one image to put into images/build.
type Item struct {
	Name  string
	UUID  string
	Files map[string]string // name in the image's folder, such as evidence/serial.log, to local path
	Data  map[string][]byte // small files given by content
	Image string            // which of Files is the image
	// Progress is told how much of the image has been read.
	Progress func(done, total int64)
}

// Entry is one image in an area.
type Entry struct {
	Area, Name, UUID string
	Size             int64     // bytes of all files
	Allocated        int64     // bytes on disk
	Reclaim          int64     // bytes that Remove would free: what no hard link shares
	Modified         time.Time // when the folder appeared
	Latest           bool      // images/release/NAME/latest points here
}

// reader is what OpenFile gives.
type reader = io.ReadSeekCloser

