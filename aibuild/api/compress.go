package api

import (
	"net/http"
	"strings"

	"github.com/klauspost/compress/gzhttp"
	"github.com/klauspost/compress/gzip"
)

// compressed sends what is worth it as gzip to who takes that. Bodies are never
// taken compressed, and a log that is followed goes out line by line.
func compressed(h http.Handler) (http.Handler, error) {
	wrap, err := gzhttp.NewWrapper(
		gzhttp.EnableZstd(false), gzhttp.MinSize(1400), gzhttp.CompressionLevel(gzip.BestSpeed), gzhttp.SuffixETag(zippedTag), gzhttp.SetContentType(false),
		gzhttp.ContentTypes([]string{"application/json", "application/openapi+json", problemType, "text/html", "text/css", "text/javascript", "text/plain", "image/svg+xml"}),
	)
	if err != nil {
		return nil, err
	}
	zipped := wrap(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/follow") {
			h.ServeHTTP(w, r)
			return
		}
		zipped.ServeHTTP(w, r)
	}), nil
}
