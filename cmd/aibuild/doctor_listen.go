package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"
)

// expiring is how long before its end a certificate or token is spoken of.
const expiring = 14 * 24 * time.Hour

// listens says whether the configuration is one of a daemon.
func (c config) listens() bool {
	return c.env("AIBUILD_LISTEN", c.Listen) != "" || c.TLS.CertFile != ""
}

// listen looks at the daemon's own door: whether secrets come in clear.
func (d *doctor) listen(ctx context.Context) {
	c := d.w.config
	address := c.env("AIBUILD_LISTEN", c.Listen)
	if address == "" {
		address = defaultListen
	}
	if c.TLS.CertFile != "" {
		d.certificate(address)
		return
	}
	loopback, err := onLoopback(ctx, address)
	switch {
	case err != nil:
		d.fails("listen", err, "set listen, or AIBUILD_LISTEN, to an address like "+defaultListen)
	case !loopback:
		d.add(warn, "listen", address+" without TLS: webhook secrets and tokens come in clear",
			"set tls.cert_file and tls.key_file, or listen on "+devListen+" behind a proxy with TLS")
	default:
		d.add(ok, "listen", address+", which only this machine reaches", "")
	}
}

// onLoopback says whether an address can be reached from this machine only.
func onLoopback(ctx context.Context, address string) (bool, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	if host == "" {
		return false, nil // all addresses
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return false, err
	}
	for _, ip := range found {
		if !ip.IP.IsLoopback() {
			return false, nil
		}
	}
	return true, nil
}

// certificate looks whether the daemon can use what is configured, and for how
// long.
func (d *doctor) certificate(address string) {
	const fix = "name a certificate and its key by tls.cert_file and tls.key_file; the daemon reads them again at SIGHUP"
	pair, err := tls.LoadX509KeyPair(d.w.config.TLS.CertFile, d.w.config.TLS.KeyFile)
	if err != nil {
		d.fails("listen", err, fix)
		return
	}
	end := pair.Leaf.NotAfter
	found := fmt.Sprintf("%s with TLS; the certificate ends on %s", address, end.UTC().Format(time.DateOnly))
	switch left := time.Until(end); {
	case left <= 0:
		d.add(bad, "listen", found, fix)
	case left < expiring:
		d.add(warn, "listen", found, fix)
	default:
		d.add(ok, "listen", found, "")
	}
}
