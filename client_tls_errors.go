package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"time"
)

// handshakeFailure returns the error for a handshake that failed. name is the one that the certificate must have.
func handshakeFailure(srv server, timeout time.Duration, name string, err error) error {
	f := failf(classTLS, "TLS with %s: %w", srv, cause(err))
	var record tls.RecordHeaderError
	var refused *tls.CertificateVerificationError
	var revoked *errRevoked
	switch {
	case errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion:
		f.err = fmt.Errorf("TLS with %s: it answers with clear TACACS+", srv)
		return f.withHint("this is the port of the clear service; TLS has port 300. It is never used in clear instead")
	case errors.As(err, &record):
		f.err = fmt.Errorf("TLS with %s: the answer is not TLS", srv)
		return f.withHint("another service listens there; TACACS+ over TLS has port 300")
	case errors.As(err, &refused):
		return certificateFailure(srv, name, refused.Err)
	case errors.As(err, &revoked):
		return f.withHint("ask who runs the server for its new certificate")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		f.err = fmt.Errorf("TLS with %s: timed out after %v", srv, timeout)
		return f.withHint("a clear TACACS+ port waits like this; TLS has port 300")
	case isClosed(err):
		f.err = fmt.Errorf("TLS with %s: it closed the connection in the handshake", srv)
		return f.withHint("a clear TACACS+ port, or a server that does not know this client's address")
	case strings.Contains(err.Error(), "protocol version"):
		f.err = fmt.Errorf("TLS with %s: it does not speak TLS 1.3", srv)
		return f.withHint("RFC 9887 section 3.2 forbids earlier versions")
	case isAlert(err):
		return f.withHint("%s", alertHint(err))
	}
	return f
}

// certificateFailure returns the error for a server's certificate that is refused, with the option or the change on the
// server that helps.
func certificateFailure(srv server, name string, err error) error {
	f := failf(classTLS, "TLS with %s: its certificate is refused: %w", srv, err)
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	switch {
	case errors.As(err, &authority):
		f.err = fmt.Errorf("TLS with %s: its certificate is signed by an unknown authority: %s", srv, authority.Cert.Issuer)
		return f.withHint("--cacert FILE names the authority that signed it, or the certificate itself where it is self-signed")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		f.err = fmt.Errorf("TLS with %s: its certificate is not valid before %s", srv, invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
		return f.withHint("is this host's clock right?")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.err = fmt.Errorf("TLS with %s: the certificate of %s expired on %s", srv, invalid.Cert.Subject, invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		return f.withHint("the server needs a new certificate; is this host's clock right?")
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		f.err = fmt.Errorf("TLS with %s: its certificate is not for a server: the extended key usage serverAuth is missing", srv)
		return f.withHint("the server needs a certificate with serverAuth, from an authority that may give it")
	case errors.As(err, &hostname) && isDNSName(hostname.Certificate, name):
		f.err = fmt.Errorf("TLS with %s: its certificate has the address %s as a DNS name, where it does not count", srv, name)
		return f.withHint("the server needs a certificate with subjectAltName IP:%s in place of DNS:%[1]s", name)
	case errors.As(err, &hostname):
		names := strings.Join(certNames(hostname.Certificate), ", ")
		if names == "" {
			names = "no name at all (a common name does not count)"
		}
		f.err = fmt.Errorf("TLS with %s: its certificate is not for %s but for %s", srv, name, names)
		return f.withHint("--servername NAME says which name to expect")
	}
	return f.withHint("the fault is in the server's certificate or in its authority's: who runs the server can mend it")
}

// isDNSName reports whether an address is among the DNS names of a certificate, where RFC 9525 section 6.4 does not look
// for it.
func isDNSName(cert *x509.Certificate, addr string) bool {
	ip := net.ParseIP(addr)
	return ip != nil && slices.ContainsFunc(cert.DNSNames, func(name string) bool { return ip.Equal(net.ParseIP(name)) })
}

// isAlert reports whether err is a TLS alert of the other side.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// alertHint returns the option that supplies what the server's alert asks for.
func alertHint(err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "certificate required"):
		return "the server wants a certificate of this client: --cert and --cert-key"
	case strings.Contains(text, "unrecognized name"):
		return "the server has no such name: --servername NAME"
	case strings.Contains(text, "certificate"), strings.Contains(text, "access denied"), strings.Contains(text, "decrypt"):
		return "the server dislikes this client's certificate (--cert): its dates, its issuer or its name"
	}
	return ""
}

// tlsReadFailure returns an error for the first read after a handshake that succeeded, or nil for any other read: in TLS
// 1.3 only that read shows that the server refuses the client's certificate.
func tlsReadFailure(srv server, facts *tlsFacts, answered int, err error) error {
	if facts == nil || answered > 0 {
		return nil
	}
	if isAlert(err) {
		return failf(classTLS, "TLS with %s: it ended the session: %w", srv, cause(err)).withHint("%s", alertHint(err))
	}
	if isClosed(err) {
		return failf(classTLS, "TLS with %s: it closed the connection before it answered (client certificate: %s)", srv, facts.ClientCert).
			withHint("likely the client's certificate: --cert and --cert-key; some servers close without saying so")
	}
	return nil
}
