package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"path/filepath"
)

// trust makes the transport to a server whose certificate an own authority has
// signed: what the PEM file holds counts instead of what the machine trusts, as
// git has it. Nil, which means the usual one, where no file is named. key is the
// file's in the configuration.
func trust(key, file string) (http.RoundTripper, error) {
	if file == "" {
		return nil, nil
	}
	if !filepath.IsAbs(file) { // git, which reads it too, works in folders of its own
		return nil, usagef("%s must be an absolute path, not %q", key, file)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usagef("%s: %v; name a readable PEM file with the certificate of the authority", key, err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, usagef("%s: %s holds no certificate in PEM; write that of the authority into it", key, file)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots}
	return transport, nil
}

func (c config) trustGitLab() (http.RoundTripper, error) {
	return trust("gitlab.ca_file", c.GitLab.CAFile)
}

func (c config) trustJenkins() (http.RoundTripper, error) {
	return trust("jenkins.ca_file", c.Jenkins.CAFile)
}
