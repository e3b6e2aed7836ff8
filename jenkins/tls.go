package jenkins

import (
	"crypto/x509"
	"errors"
	"strings"
)

// TLSHint says what to do where no connection came about as a server could not prove who it is, or speaks only what is
// not safe any more; empty for all other errors. caFile is the setting that names the certificate of an own authority.
func TLSHint(err error, caFile string) string {
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "name the certificate of its authority as " + caFile + ", or let this machine trust it"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "write the url with a name that the certificate is for, or have one made for this name"
	}
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		return "have the certificate of the server renewed, and check the clock of this machine"
	}
	if strings.Contains(err.Error(), "tls: protocol version not supported") || strings.Contains(err.Error(), "tls: server selected unsupported protocol version") {
		return "the server has no TLS 1.2 or newer: let it, or the proxy before it, speak that"
	}
	return ""
}
