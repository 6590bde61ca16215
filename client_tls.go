package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A tlsClient is what all TLS connections of one run share. RFC 9887.
type tlsClient struct {
	config     *tls.Config
	serverName string // in place of the host; or empty
	revocation revocation
	pins       [][sha256.Size]byte // of the server's certificate, in place of chain and name; empty for none

	watch  fileWatch // of the files, in a run that follows their changes
	latest atomic.Pointer[tlsClient]
}

// follow has the files read again when they have changed.
func (c *tlsClient) follow(files []string, read func(context.Context) (*tlsClient, error), report func(error)) {
	c.latest.Store(c)
	c.watch.start(files, func(ctx context.Context) error {
		next, err := read(ctx)
		if err == nil {
			c.latest.Store(next)
		}
		return err
	}, report)
}

// current returns what holds now: after a change of the files, what was read in them.
func (c *tlsClient) current(ctx context.Context) *tlsClient {
	if c == nil || c.latest.Load() == nil { // changes are not followed
		return c
	}
	c.watch.refresh(ctx)
	return c.latest.Load()
}

// handshake makes a TLS connection of conn, before any byte of TACACS+ (RFC 9887 section 3.2). If it fails it closes
// conn and returns what is known of the handshake, beside the error.
func (c *tlsClient) handshake(ctx context.Context, srv *server, timeout time.Duration, conn net.Conn) (net.Conn, *tlsFacts, error) {
	c = c.current(ctx)
	config := c.config.Clone()
	host, _, _ := strings.Cut(srv.host, "%") // a certificate has no zones
	if config.ServerName = host; c.serverName != "" {
		config.ServerName = c.serverName
	}
	facts := &tlsFacts{ServerName: config.ServerName, oneSided: len(c.config.Certificates) == 0}
	if own := c.ownCertificate(); own != nil {
		facts.ClientSHA256, facts.ClientNotAfter = fingerprint(own), own.NotAfter.UTC()
	}
	// With Certificates, one whose issuer the server does not name would not be sent. The server's alert to it says why
	// it is refused.
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if facts.oneSided {
			facts.ClientCert = clientCertMissing
			return &tls.Certificate{}, nil
		}
		facts.ClientCert = clientCertSent
		return &c.config.Certificates[0], nil
	}
	config.VerifyConnection = func(state tls.ConnectionState) error {
		return cmp.Or(c.checkPin(state.PeerCertificates), c.revocation.check(&state, config.InsecureSkipVerify))
	}
	secure := tls.Client(conn, config)
	err := secure.HandshakeContext(ctx)
	state := secure.ConnectionState()
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		state.PeerCertificates = refused.UnverifiedCertificates
	}
	facts.learn(&state)
	if err != nil {
		conn.Close()
		return nil, facts, handshakeFailure(srv, timeout, facts, err)
	}
	facts.Pinned = len(c.pins) > 0
	facts.Verified = !config.InsecureSkipVerify || facts.Pinned
	facts.ClientCert = cmp.Or(facts.ClientCert, clientCertNotAsked)
	return secure, facts, nil
}

// errNotPinned refuses a certificate whose sum is not pinned.
var errNotPinned = errors.New("its certificate has another SHA-256")

// checkPin checks that the server's certificate is pinned and valid now. It is called on resumption too.
func (c *tlsClient) checkPin(sent []*x509.Certificate) error {
	if len(c.pins) == 0 {
		return nil
	}
	leaf, now := sent[0], time.Now()
	if sum := sha256.Sum256(leaf.Raw); !slices.Contains(c.pins, sum) {
		return fmt.Errorf("%w: %x", errNotPinned, sum)
	}
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return &tls.CertificateVerificationError{UnverifiedCertificates: sent, Err: x509.CertificateInvalidError{Cert: leaf, Reason: x509.Expired}}
	}
	return nil
}

// ownCertificate returns the certificate of this client, or nil for none.
func (c *tlsClient) ownCertificate() *x509.Certificate {
	if c == nil || len(c.config.Certificates) == 0 {
		return nil
	}
	return c.config.Certificates[0].Leaf
}

// A ticketCache returns every session ticket once, so that two connections cannot be linked by it (RFC 9887 section 3.6,
// RFC 8446 appendix C.4).
type ticketCache struct {
	mu      sync.Mutex
	tickets map[string][]*tls.ClientSessionState
}

// maxTickets is how many unused tickets are kept for a server.
const maxTickets = 8

// Put implements tls.ClientSessionCache.
func (t *ticketCache) Put(server string, state *tls.ClientSessionState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tickets == nil {
		t.tickets = make(map[string][]*tls.ClientSessionState)
	}
	if have := t.tickets[server]; state != nil && len(have) < maxTickets {
		t.tickets[server] = append(have, state)
	}
}

// Get implements tls.ClientSessionCache. It removes the ticket.
func (t *ticketCache) Get(server string) (*tls.ClientSessionState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.tickets[server]
	if len(have) == 0 {
		return nil, false
	}
	t.tickets[server] = have[1:]
	return have[0], true
}

// tlsFailure returns a failure that begins with the name of the server.
func tlsFailure(srv *server, text, hint string) *failure {
	return failf(classTLS, "TLS with %s: %s", srv, text).withHint(hint)
}

// handshakeFailure returns the error for a handshake that failed. facts are what is known of it.
func handshakeFailure(srv *server, timeout time.Duration, facts *tlsFacts, err error) error {
	var record tls.RecordHeaderError
	var refused *tls.CertificateVerificationError
	var file *os.PathError
	if errors.As(err, &file) {
		return writeError("key log", file)
	}
	text, hint := cause(err).Error(), ""
	switch {
	case errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion:
		text = "it answers with clear TACACS+"
		hint = "use the TLS port: this one is without TLS" + otherTLSPort(srv)
	case errors.As(err, &record):
		text = "the answer is not TLS"
		hint = "check the port: another service listens there" + otherTLSPort(srv)
	case errors.As(err, &refused):
		text, hint = certificateFailure(facts.ServerName, refused.Err)
	case errors.Is(err, errNotPinned):
		hint = "compare it with the server's certificate; give it with --pin if that was renewed"
	case errors.Is(err, errRevoked):
		hint = "ask the server's operator for its new certificate"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		text = fmt.Sprintf("timed out after %v", timeout)
		hint = "check the port: one without TLS waits like this" + otherTLSPort(srv)
	case isClosed(err):
		text = "it closed the connection in the handshake"
		hint = "check the port and the server's client entry: a port without TLS, or an unknown client address" + otherTLSPort(srv)
	case strings.Contains(err.Error(), "protocol version"):
		text = "it does not support TLS 1.3"
		hint = "enable TLS 1.3 on the server: RFC 9887 section 3.2 forbids earlier versions"
	case isAlert(err):
		hint = alertHint(facts, err)
	}
	return tlsFailure(srv, text, hint)
}

// certificateFailure returns why a server's certificate is refused, and a hint with the option or the change on the server
// that helps.
func certificateFailure(name string, err error) (text, hint string) {
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	text, hint = fmt.Sprintf("its certificate is refused: %v", err), "renew the server's certificate or its authority's"
	switch {
	case errors.As(err, &authority):
		text, hint = fmt.Sprintf("its certificate is signed by an unknown authority: %s", authority.Cert.Issuer),
			"give --cacert FILE with the authority, or with the certificate itself if it is self-signed"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		text, hint = fmt.Sprintf("its certificate is not valid before %s", invalid.Cert.NotBefore.UTC().Format(time.RFC3339)),
			"check the clock of this host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		text, hint = fmt.Sprintf("the certificate of %s expired on %s", invalid.Cert.Subject, invalid.Cert.NotAfter.UTC().Format(time.RFC3339)),
			"renew the server's certificate, or check the clock of this host"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		text, hint = "its certificate is not for a server: the extended key usage serverAuth is missing",
			"give the server a certificate with serverAuth"
	case errors.As(err, &hostname) && isDNSName(hostname.Certificate, name):
		text, hint = fmt.Sprintf("its certificate has the address %s as a DNS name, which does not count", name),
			fmt.Sprintf("give the server a certificate with subjectAltName IP:%s in place of DNS:%[1]s", name)
	case errors.As(err, &hostname) && len(certNames(hostname.Certificate)) == 0:
		text, hint = fmt.Sprintf("its certificate is not for %s but for no name at all (a common name does not count)", name),
			fmt.Sprintf("give the server a certificate with subjectAltName %s:%s", choose(isAddr(name), "IP", "DNS"), name)
	case errors.As(err, &hostname):
		text, hint = fmt.Sprintf("its certificate is not for %s but for %s", name, strings.Join(certNames(hostname.Certificate), ", ")),
			"give --servername NAME if another name is expected"
	}
	return text, hint
}

// isDNSName reports whether an address is among the DNS names of a certificate, where RFC 9525 section 6.4 does not look
// for it.
func isDNSName(cert *x509.Certificate, addr string) bool {
	ip := net.ParseIP(addr)
	return ip != nil && slices.ContainsFunc(cert.DNSNames, func(name string) bool { return ip.Equal(net.ParseIP(name)) })
}

// isAlert reports whether err is a TLS alert of the other side.
func isAlert(err error) bool {
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "remote error"
}

// alertHint returns the hint for an alert of the server, or "".
func alertHint(facts *tlsFacts, err error) string {
	text := err.Error()
	switch {
	case strings.Contains(text, "certificate required"):
		return "give --cert and --cert-key: the server requires a client certificate"
	case strings.Contains(text, "unrecognized name"):
		return "give --servername NAME: the server has no such name"
	case strings.Contains(text, "certificate"), strings.Contains(text, "access denied"), strings.Contains(text, "decrypt"):
		return facts.refusalHint("check the dates, the issuer and the name of the client certificate (--cert)")
	}
	return ""
}

// refusalHint returns the hint for a server that refuses this client in TLS; sent is that for a client certificate that
// was sent.
func (t *tlsFacts) refusalHint(sent string) string {
	switch {
	case t.ClientCert == clientCertSent, t.Resumed && !t.oneSided: // the session before had the certificate
		return sent
	case t.ClientCert == clientCertMissing:
		return "give --cert and --cert-key: the server asked for a client certificate"
	}
	return "see the server's log: it did not ask for a client certificate, so something else was refused, such as the client's address"
}

// tlsReadFailure returns an error for the first read after a handshake that succeeded, or nil for any other read: in TLS
// 1.3 only that read shows that the server refuses the client's certificate. received is how much came before.
func tlsReadFailure(srv *server, facts *tlsFacts, received int, err error) *failure {
	if facts == nil || received > 0 {
		return nil
	}
	if isAlert(err) {
		return tlsFailure(srv, fmt.Sprintf("it ended the session: %v", cause(err)), alertHint(facts, err))
	}
	if isClosed(err) {
		return tlsFailure(srv, fmt.Sprintf("it closed the connection before it answered (client certificate: %s)", facts.ClientCert),
			facts.refusalHint("check the client certificate (--cert, --cert-key): some servers close without an alert"))
	}
	return nil
}
