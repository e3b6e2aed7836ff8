package hooks

import (
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// handlerLog writes down what a receiver does not take: whoever set up a webhook looks there for why nothing comes of
// it. Anybody can send such deliveries, so each class has one line a minute.
type handlerLog struct {
	mu      sync.Mutex
	classes map[string]*sparse // as bounded as those of HandlerStats
	hosts   map[string]bool    // that were warned of
}

// sparse lets one line a minute through, and counts the others.
type sparse struct {
	limit *rate.Limiter
	left  int64
}

const mostHosts = 20

// turnedAway logs a delivery that is refused or ignored: never its body, its token or its signature.
func (h *Handler) turnedAway(r *http.Request, a reply) {
	if left, ok := h.notes.turn(a.class, h.Now()); ok {
		h.Log.Warn("a delivery is not taken", "answer", a.Status, "code", a.Code, "class", a.class, "reason", a.Reason,
			"remote", remote(r), "left_out", left)
	}
}

// turn says whether a class may be logged now, and how many of it were not since the last time.
func (l *handlerLog) turn(class string, now time.Time) (left int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.classes[class]
	if c == nil {
		c = &sparse{limit: rate.NewLimiter(rate.Every(time.Minute), 1)}
		if l.classes == nil {
			l.classes = map[string]*sparse{}
		}
		l.classes[class] = c
	}
	if !c.limit.AllowN(now, 1) {
		c.left++
		return 0, false
	}
	left, c.left = c.left, 0
	return left, true
}

// elsewhere warns, once for each host, of a proven delivery that names another GitLab than the configured one: most
// often GitLab's external URL is not gitlab.url. It counts as of the configured one all the same, as secrets belong to
// one instance, and nothing is ever fetched from an address that a delivery names.
func (h *Handler) elsewhere(r *http.Request) {
	said, ours := hostOf(r.Header.Get("X-Gitlab-Instance")), hostOf(h.GitLabURL)
	if said == "" || ours == "" || said == ours || !h.notes.news(said) {
		return
	}
	h.Log.Warn("a proven delivery names another gitlab than gitlab.url; it is taken as of gitlab.url: "+
		"compare that with gitlab's external url",
		"named", said, "gitlab.url", ours, "remote", remote(r))
}

// news says whether a host was not warned of yet. What comes after many hosts is none.
func (l *handlerLog) news(host string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.hosts[host] || len(l.hosts) >= mostHosts {
		return false
	}
	if l.hosts == nil {
		l.hosts = map[string]bool{}
	}
	l.hosts[host] = true
	return true
}

// hostOf is the host of an address with its port, for comparing and for people; empty where it has none.
func hostOf(address string) string {
	u, err := url.Parse(strings.TrimSpace(address))
	if err != nil {
		return ""
	}
	return strings.ToLower(cut(clean(u.Host), 255))
}

// remote is the address of who sent a request, without the port, which is another one each time.
func remote(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
