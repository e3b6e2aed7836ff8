package gitlabtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"time"

	"github.com/guestos/aibuild/aibuild/process"
)

// backend lets git http-backend answer. It is run here, not by net/http/cgi, which refuses the chunked bodies that git
// sends from 1 MiB on, and starts programs that may outlive us.
func (s *Server) backend(w http.ResponseWriter, r *http.Request, p *project, u *user, file string) {
	out := &cgiWriter{w: w}
	command := process.Cmd{
		Path: "git", Args: []string{"http-backend"}, Dir: p.repo.dir, Stdout: out,
		Env: gitEnviron(s.home, cgiEnviron(r, p, u, file)...),
	}
	var err error
	if r.Method == http.MethodPost {
		command.Stdin = r.Body
		// The end of git is not the end of what feeds it: a caller that sends nothing more would hold us.
		defer context.AfterFunc(r.Context(), func() { http.NewResponseController(w).SetReadDeadline(time.Now()) })()
		// git begins to answer before it has read everything; Go's server would throw the rest of the body away then.
		err = http.NewResponseController(w).EnableFullDuplex()
		if errors.Is(err, http.ErrNotSupported) { // the answer of a Fault is collected first
			err = nil
		}
	}
	if err == nil {
		_, err = command.Run(r.Context())
	}
	if err == nil {
		err = out.problem()
	}
	if err == nil {
		return
	}
	s.opts.Log.Warn("git over http", "project", p.Path, "request", file, "error", err)
	if !out.begun {
		http.Error(w, "git http-backend failed", http.StatusInternalServerError)
		return
	}
	panic(http.ErrAbortHandler) // half an answer must not look whole
}

func cgiEnviron(r *http.Request, p *project, u *user, file string) []string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	env := []string{
		"GIT_PROJECT_ROOT=" + p.repo.dir, "GIT_HTTP_EXPORT_ALL=1", "PATH_INFO=/" + file, "GATEWAY_INTERFACE=CGI/1.1",
		"REQUEST_METHOD=" + r.Method, "QUERY_STRING=" + r.URL.RawQuery, "REMOTE_ADDR=" + host, "CONTENT_TYPE=" + r.Header.Get("Content-Type"),
		"GIT_PROTOCOL=" + r.Header.Get("Git-Protocol"), "HTTP_CONTENT_ENCODING=" + r.Header.Get("Content-Encoding"),
	}
	if r.ContentLength >= 0 && r.Method == http.MethodPost {
		env = append(env, "CONTENT_LENGTH="+strconv.FormatInt(r.ContentLength, 10))
	}
	if u != nil {
		env = append(env, "REMOTE_USER="+u.Username, "GL_USERNAME="+u.Username, "GL_ID=user-"+strconv.Itoa(u.ID), "GL_PROTOCOL=http")
	}
	return env
}

// maxCGIHead bounds the header of a CGI answer.
const maxCGIHead = 64 << 10

// cgiWriter turns what a CGI program prints into an answer, as it comes.
type cgiWriter struct {
	w     http.ResponseWriter
	head  []byte
	begun bool
	err   error
}

func (c *cgiWriter) Write(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	rest := b
	if !c.begun {
		if rest, c.err = c.readHead(b); !c.begun || c.err != nil {
			return len(b), c.err
		}
	}
	if _, c.err = c.w.Write(rest); c.err != nil {
		return 0, c.err
	}
	c.err = http.NewResponseController(c.w).Flush()
	return len(b), c.err
}

// readHead collects the header; what follows it is returned.
func (c *cgiWriter) readHead(b []byte) ([]byte, error) {
	c.head = append(c.head, b...)
	head, rest, found := bytes.Cut(c.head, []byte("\r\n\r\n"))
	if !found {
		if len(c.head) > maxCGIHead {
			return nil, errors.New("the header of the answer does not end")
		}
		return nil, nil
	}
	status := http.StatusOK
	for line := range strings.SplitSeq(string(head), "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("unreadable header %q", line)
		}
		value = strings.TrimSpace(value)
		if textproto.CanonicalMIMEHeaderKey(name) != "Status" {
			c.w.Header().Add(name, value)
			continue
		}
		code, _, _ := strings.Cut(value, " ")
		n, err := strconv.Atoi(code)
		if err != nil {
			return nil, fmt.Errorf("unreadable status %q", value)
		}
		status = n
	}
	c.w.WriteHeader(status)
	c.begun = true
	return rest, nil
}

func (c *cgiWriter) problem() error {
	if c.err == nil && !c.begun {
		return errors.New("no answer")
	}
	return c.err
}
