package main

import (
	"cmp"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority signs certificates that no machine trusts by itself.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "an authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return a
}

func (a *authority) sign(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	template.SerialNumber, template.NotBefore = big.NewInt(time.Now().UnixNano()), time.Now().Add(-2*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, cmp.Or(a.cert, template), &key.PublicKey, cmp.Or(a.key, key))
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

// door is a TLS server before another one; how it differs from a good one is in the arguments.
func (a *authority) door(behind string, left time.Duration, ip net.IP, newest uint16) string {
	a.t.Helper()
	cert, key := a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "a server"}, NotAfter: time.Now().Add(left), IPAddresses: []net.IP{ip}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	target, err := url.Parse(behind)
	if err != nil {
		a.t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are to fail
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: newest, Certificates: []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}}
	server.StartTLS()
	a.t.Cleanup(server.Close)
	return server.URL
}

// TestOwnAuthority: Jenkins and GitLab, its git too, are spoken to where ca_file says whom to trust; a server that cannot
// prove who it is gets nothing, and what to do about it is said.
func TestOwnAuthority(t *testing.T) {
	p, ours := newPatient(t), newAuthority(t)
	pem := func(a *authority) string {
		return placed(t, filepath.Join(t.TempDir(), "ca.pem"), string(pemOf(a.cert.Raw)))
	}
	ca, others := pem(ours), pem(newAuthority(t))
	here, elsewhere := net.IPv4(127, 0, 0, 1), net.IPv4(127, 0, 0, 2)
	for _, side := range []struct {
		name, variable, behind, section string
		jenkins                         bool
	}{
		{"jenkins", "JENKINS_URL", p.jenkins.URL(), "jenkins: {", true},
		{"gitlab", "GITLAB_URL", p.gitlab.URL(), "gitlab:\n  ", false},
	} {
		good := ours.door(side.behind, time.Hour, here, tls.VersionTLS13)
		end := "\n  "
		if side.jenkins {
			end = ", "
		}
		for _, tt := range []struct{ name, url, ca, found, fix string }{
			{"the right authority", good, ca, "", ""},
			{"TLS 1.2", ours.door(side.behind, time.Hour, here, tls.VersionTLS12), ca, "", ""},
			{"no authority", good, "", "signed by unknown authority", side.name + ".ca_file"},
			{"another authority", good, others, "signed by unknown authority", side.name + ".ca_file"},
			{"expired", ours.door(side.behind, -time.Hour, here, tls.VersionTLS13), ca, "certificate has expired", "certificate of the server renewed"},
			{"another host", ours.door(side.behind, time.Hour, elsewhere, tls.VersionTLS13), ca, "certificate is valid for 127.0.0.2, not 127.0.0.1", "a name that the certificate is for"},
			{"TLS 1.1", ours.door(side.behind, time.Hour, here, tls.VersionTLS11), ca, "protocol version not supported", "TLS 1.2 or newer"},
			{"TLS 1.0", ours.door(side.behind, time.Hour, here, tls.VersionTLS10), ca, "protocol version not supported", "TLS 1.2 or newer"},
			{"no such file", good, "/nonexistent/ca.pem", side.name + ".ca_file: open /nonexistent/ca.pem", "name a readable PEM file"},
			{"no PEM", good, placed(t, filepath.Join(t.TempDir(), "ca.pem"), "nonsense"), "holds no certificate in PEM", side.name + ".ca_file"},
			{"relative", good, "ca.pem", side.name + `.ca_file must be an absolute path, not "ca.pem"`, ""},
		} {
			t.Run(side.name+": "+tt.name, func(t *testing.T) {
				p.t = t
				p.env[side.variable] = tt.url
				p.write(patientYAML)
				if tt.ca != "" {
					p.write(strings.Replace(patientYAML, side.section, side.section+fmt.Sprintf("ca_file: %q", tt.ca)+end, 1))
				}
				findings := p.ask(side.jenkins)
				if tt.found == "" {
					for _, f := range findings {
						if f.Status != ok {
							t.Errorf("%+v", f)
						}
					}
					return
				}
				if len(findings) != 1 || findings[0].Status != bad || findings[0].Check != side.name ||
					!strings.Contains(findings[0].Found, tt.found) || !strings.Contains(findings[0].Found+findings[0].Fix, tt.fix) {
					t.Errorf("got %+v, want %q and %q", findings, tt.found, tt.fix)
				}
			})
		}
	}
}
