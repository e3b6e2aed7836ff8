package api

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed static
var staticFiles embed.FS

// assets are the addresses of the static files below static/: each has a part that changes with the file, so that
// browsers ask for it once.
var assets = assetVersions()

func assetVersions() map[string]string {
	all := map[string]string{}
	err := fs.WalkDir(staticFiles, "static", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := fs.ReadFile(staticFiles, path)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(content)
		name := strings.TrimPrefix(path, "static/")
		all[name] = "/static/" + name + "?v=" + hex.EncodeToString(sum[:6])
		return nil
	})
	if err != nil {
		panic(err) // the files are in the program
	}
	return all
}

// asset is the address of a static file, for pages.
func asset(name string) string { return assets[name] }

// serveStatic serves the static files. Who asks with the file's version never needs to ask again.
func serveStatic() (http.Handler, error) {
	static, err := fs.Sub(staticFiles, "static")
	if err != nil {
		return nil, err
	}
	files := onlyFiles(http.FileServerFS(static))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if "/static/"+r.URL.Path+"?"+r.URL.RawQuery == assets[r.URL.Path] {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		files.ServeHTTP(w, r)
	}), nil
}

// onlyFiles lists no folders.
func onlyFiles(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "" || strings.HasSuffix(r.URL.Path, "/") {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
