package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// tlsOptions are the options of TACACS+ over TLS 1.3. RFC 9887.
type tlsOptions struct {
	enabled    bool
	caCert     string
	cert       string
	certKey    string
	serverName string
	crls       list
	insecure   bool
	keyLog     string
}

func (t *tlsOptions) register(o *optionSet) {
	o.group = groupIdentity
	o.add((*toggle)(&t.enabled), "tls", "", "TACACS+ over TLS 1.3 (RFC 9887): port 300, no key, never a fall back to clear")
	o.group = groupServer
	o.add((*text)(&t.caCert), "cacert", "FILE", "certificates to trust, PEM (default the system's)")
	o.group = groupIdentity
	o.add((*text)(&t.cert), "cert", "FILE", "own certificate, with its chain, PEM")
	o.add((*text)(&t.certKey), "cert-key", "FILE", "its private key, PEM (default in the file of --cert)")
	o.group = groupServer
	o.add((*text)(&t.serverName), "servername", "NAME", "name that the server's certificate must have (default that of HOST)")
	o.add(&t.crls, "crl", "FILE", "revocation list, PEM or DER; repeatable")
	o.add((*toggle)(&t.insecure), "insecure", "", "do not verify the server's certificate")
	o.add((*text)(&t.keyLog), "keylog", "FILE", "append the session's secrets, for a packet analyser; decode: read them")
}

// check refuses what is said of TLS where there is none, so that nobody is in doubt whether it
// is used (RFC 9887 section 5.2).
func (t *tlsOptions) check() error {
	for _, o := range []struct {
		name  string
		given bool
	}{
		{"--cacert", t.caCert != ""}, {"--cert", t.cert != ""}, {"--cert-key", t.certKey != ""}, {"--servername", t.serverName != ""},
		{"--crl", len(t.crls) > 0}, {"--insecure", t.insecure}, {"--keylog", t.keyLog != ""},
	} {
		if o.given && !t.enabled {
			return failf(classUsage, "%s needs --tls", o.name)
		}
	}
	if t.certKey != "" && t.cert == "" {
		return failf(classUsage, "--cert-key needs --cert")
	}
	return nil
}

// A tlsClient is what all connections of one run share.
type tlsClient struct {
	config     *tls.Config
	serverName string
	crls       []*x509.RevocationList
	warn       func(format string, args ...any) // -q does not hide it
}

// client reads the files of the options. The system's roots are not read before they are needed.
func (t *tlsOptions) client(warn func(format string, args ...any)) (*tlsClient, error) {
	c := &tlsClient{serverName: t.serverName}
	var said sync.Map // a warning is for the run, not for each of its connections
	c.warn = func(format string, args ...any) {
		if _, before := said.LoadOrStore(fmt.Sprintf(format, args...), true); !before {
			warn(format, args...)
		}
	}
	c.config = &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: t.insecure, ClientSessionCache: &ticketCache{}}
	var err error
	if t.caCert != "" {
		if c.config.RootCAs, err = readCertPool(t.caCert); err != nil {
			return nil, err
		}
	}
	if t.cert != "" {
		if c.config.Certificates, err = readKeyPair(t.cert, t.certKey); err != nil {
			return nil, err
		}
	}
	for _, file := range t.crls {
		lists, err := readCRLs(file)
		if err != nil {
			return nil, err
		}
		c.crls = append(c.crls, lists...)
	}
	if t.keyLog != "" {
		f, err := os.OpenFile(t.keyLog, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return nil, failf(classUsage, "open the key log: %w", err)
		}
		c.config.KeyLogWriter = f
	}
	if t.insecure {
		warn("the server's certificate is not verified (--insecure): anybody could answer in its place")
	}
	return c, nil
}

// tlsFacts are what -v and --json say of the connection, or of the handshake that failed: what did
// not come to be known is empty, and left out.
type tlsFacts struct {
	Version      string   `json:"version,omitempty"`
	CipherSuite  string   `json:"cipher_suite,omitempty"`
	Group        string   `json:"group,omitempty"`
	Resumed      bool     `json:"resumed"`
	Verified     bool     `json:"verified"`
	ServerName   string   `json:"server_name"`
	Subject      string   `json:"subject,omitempty"`
	Issuer       string   `json:"issuer,omitempty"`
	Names        []string `json:"names,omitempty"`
	NotAfter     string   `json:"not_after,omitempty"`
	notAfter     time.Time
	DaysLeft     int      `json:"-"`
	DaysLeftJSON *int     `json:"days_left,omitempty"` // filled in for JSON
	Chain        []string `json:"chain,omitempty"`
	// ClientCert is what the server asked of this client: not asked, sent, or asked and none to send.
	ClientCert string `json:"client_certificate,omitempty"`
	oneSided   bool   // there is no certificate of this client
}

// learn takes over what a handshake brought, up to where it ended.
func (t *tlsFacts) learn(state *tls.ConnectionState) {
	if state.Version != 0 {
		t.Version = tls.VersionName(state.Version)
	}
	if state.CipherSuite != 0 {
		t.CipherSuite = tls.CipherSuiteName(state.CipherSuite)
	}
	if state.CurveID != 0 {
		t.Group = state.CurveID.String()
	}
	t.Resumed = state.DidResume
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		t.Subject, t.Issuer, t.Names = leaf.Subject.String(), leaf.Issuer.String(), certNames(leaf)
		t.notAfter = leaf.NotAfter
		t.NotAfter = leaf.NotAfter.UTC().Format(time.RFC3339)
		t.DaysLeft = int(time.Until(leaf.NotAfter).Hours() / 24)
	}
	if len(state.VerifiedChains) > 0 {
		for _, cert := range state.VerifiedChains[0] {
			t.Chain = append(t.Chain, cert.Subject.String())
		}
	}
}

// block gives the facts of -v that are one line each.
func (t *tlsFacts) block(fact func(name, value string)) {
	words := []string{t.Version, t.CipherSuite, t.Group, map[bool]string{true: "resumed"}[t.Resumed], map[bool]string{false: "NOT VERIFIED"}[t.Verified]}
	fact("tls", strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	fact("tls server name", escape(t.ServerName))
	fact("tls subject", escape(t.Subject))
	fact("tls issuer", escape(t.Issuer))
	fact("tls names", escape(strings.Join(t.Names, ", ")))
	if t.NotAfter != "" {
		fact("tls expires", fmt.Sprintf("%s (%d days left)", t.NotAfter, t.DaysLeft))
	}
	if t.oneSided {
		fact("tls note", "RFC 9887 section 3.1 wants mutual authentication: --cert FILE gives this client a certificate")
	}
}

// shown is a copy with all text escaped, for JSON.
func (t *tlsFacts) shown() *tlsFacts {
	if t == nil {
		return nil
	}
	shown := *t
	shown.ServerName, shown.Subject, shown.Issuer = escape(t.ServerName), escape(t.Subject), escape(t.Issuer)
	if t.NotAfter != "" {
		shown.DaysLeftJSON = &t.DaysLeft
	}
	shown.Names, shown.Chain = escapeAll(t.Names), escapeAll(t.Chain)
	return &shown
}

// handshake makes a TLS connection of conn, at once and before any octet of TACACS+ (RFC 9887
// section 3.2). It closes conn where that fails; the facts are there all the same.
func (c *tlsClient) handshake(ctx context.Context, l *link, conn net.Conn) (net.Conn, *tlsFacts, error) {
	config := c.config.Clone()
	host, _, _ := strings.Cut(l.server.host, "%") // a certificate has no zones
	if config.ServerName = host; c.serverName != "" {
		config.ServerName = c.serverName
	}
	facts := &tlsFacts{ServerName: config.ServerName, oneSided: len(c.config.Certificates) == 0}
	// With Certificates, a certificate whose issuer the server does not name would be kept back
	// in silence; sent like this, it brings the alert that says what is wrong with it.
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if facts.oneSided {
			facts.ClientCert = "asked, none to send"
			return &tls.Certificate{}, nil
		}
		facts.ClientCert = "sent"
		return &c.config.Certificates[0], nil
	}
	config.VerifyConnection = func(state tls.ConnectionState) error { return c.checkRevocation(&state) }
	secure := tls.Client(conn, config)
	err := secure.HandshakeContext(ctx)
	state := secure.ConnectionState()
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		state.PeerCertificates = refused.UnverifiedCertificates
	}
	facts.learn(&state)
	if err != nil {
		conn.Close()
		return nil, facts, l.handshakeFailure(facts.ServerName, err)
	}
	facts.Verified = !config.InsecureSkipVerify
	facts.ClientCert = cmp.Or(facts.ClientCert, "not asked")
	return secure, facts, nil
}

// certNames are the names and addresses that a certificate is for.
func certNames(cert *x509.Certificate) []string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}

// errRevoked is why a chain is refused.
type errRevoked struct {
	cert *x509.Certificate
	when time.Time
}

func (e *errRevoked) Error() string {
	return fmt.Sprintf("the certificate of %s was revoked on %s", e.cert.Subject, e.when.UTC().Format(time.DateOnly))
}

// checkRevocation looks for every certificate of the chains in the list of its issuer, on
// resumption too (RFC 9887 sections 3.4 and 3.6). One chain without a revoked one suffices.
func (c *tlsClient) checkRevocation(state *tls.ConnectionState) error {
	if len(c.crls) == 0 {
		return nil
	}
	chains := state.VerifiedChains
	if c.config.InsecureSkipVerify {
		chains = [][]*x509.Certificate{sentChain(state.PeerCertificates)}
	}
	var err error
	for _, chain := range chains {
		if err = c.checkChain(chain); err == nil {
			return nil
		}
	}
	return err
}

// sentChain is what there is in place of a verified chain: each certificate with the one that
// signed it, as far as the server sent them, and nil where it did not.
func sentChain(sent []*x509.Certificate) []*x509.Certificate {
	chain := sent[:1:1]
	for range sent {
		last := chain[len(chain)-1]
		i := slices.IndexFunc(sent, func(c *x509.Certificate) bool { return last.CheckSignatureFrom(c) == nil })
		if i < 0 {
			return append(chain, nil)
		}
		if sent[i] == last {
			break // a root
		}
		chain = append(chain, sent[i])
	}
	return chain
}

// checkChain looks for each certificate in the lists of its issuer's name. Those that another key
// of that name signed are another issuer's (RFC 5280 section 6.3.3); all of them is an error.
func (c *tlsClient) checkChain(chain []*x509.Certificate) error {
	for i, cert := range chain[:len(chain)-1] {
		issuer, signed, covered := chain[i+1], false, false
		var foreign error
		for _, list := range c.crls {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
				continue
			}
			if issuer == nil {
				c.warn("the revocation list of %s cannot be checked: the server does not send the certificate of its issuer", cert.Issuer)
			} else if err := list.CheckSignatureFrom(issuer); err != nil {
				foreign = fmt.Errorf("the revocation list of %s is not signed by it: %w", cert.Issuer, err)
				continue
			}
			signed = true
			if id := unknownCritical(list); id != nil {
				c.warn("the revocation list of %s is not used: its critical extension %v is not known here", cert.Issuer, id)
				continue
			}
			if now := time.Now(); now.After(list.NextUpdate) && !list.NextUpdate.IsZero() || now.Before(list.ThisUpdate) {
				c.warn("the revocation list of %s is out of date: it is for %s to %s", cert.Issuer,
					list.ThisUpdate.UTC().Format(time.DateOnly), list.NextUpdate.UTC().Format(time.DateOnly))
			}
			covered = issuer != nil
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return &errRevoked{cert, entry.RevocationTime}
				}
			}
		}
		if foreign != nil && !signed {
			if !c.config.InsecureSkipVerify {
				return foreign
			}
			c.warn("%v", foreign)
		}
		if !covered {
			c.warn("no revocation list of %s: whether %s was revoked is not known", cert.Issuer, cert.Subject)
		}
	}
	return nil
}

// unknownCritical is the extension of a list, or of an entry in it, for which the list must not be
// used (RFC 5280 sections 5.2 and 5.3): any that is critical, since those that the RFC lets be so
// are of lists in parts, which are not put together here.
func unknownCritical(list *x509.RevocationList) asn1.ObjectIdentifier {
	critical := func(e pkix.Extension) bool { return e.Critical }
	if i := slices.IndexFunc(list.Extensions, critical); i >= 0 {
		return list.Extensions[i].Id
	}
	for _, entry := range list.RevokedCertificateEntries {
		if i := slices.IndexFunc(entry.Extensions, critical); i >= 0 {
			return entry.Extensions[i].Id
		}
	}
	return nil
}

// handshakeFailure explains why there is no TLS connection.
func (l *link) handshakeFailure(name string, err error) error {
	f := failf(classTLS, "TLS with %s: %w", l.server, cause(err))
	var record tls.RecordHeaderError
	var refused *tls.CertificateVerificationError
	var revoked *errRevoked
	switch {
	case errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion:
		f.err = fmt.Errorf("TLS with %s: it answers with clear TACACS+", l.server)
		return f.withHint("this is the port of the clear service; TLS has port 300. It is never used in clear instead")
	case errors.As(err, &record):
		f.err = fmt.Errorf("TLS with %s: the answer is not TLS", l.server)
		return f.withHint("another service listens there; TACACS+ over TLS has port 300")
	case errors.As(err, &refused):
		return l.certificateFailure(name, refused.Err)
	case errors.As(err, &revoked):
		return f.withHint("ask who runs the server for its new certificate")
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		f.err = fmt.Errorf("TLS with %s: timed out after %v", l.server, l.timeout)
		return f.withHint("a clear TACACS+ port waits like this; TLS has port 300")
	case isClosed(err):
		f.err = fmt.Errorf("TLS with %s: it closed the connection in the handshake", l.server)
		return f.withHint("a clear TACACS+ port, or a server that does not know this client's address")
	case strings.Contains(err.Error(), "protocol version"):
		f.err = fmt.Errorf("TLS with %s: it does not speak TLS 1.3", l.server)
		return f.withHint("RFC 9887 section 3.2 forbids earlier versions")
	case isAlert(err):
		return f.withHint("%s", alertHint(err))
	}
	return f
}

// certificateFailure explains why the server's certificate is refused, and what is to be done
// about it: by who runs the server, or with an option that says what to expect of it.
func (l *link) certificateFailure(name string, err error) error {
	f := failf(classTLS, "TLS with %s: its certificate is refused: %w", l.server, err)
	var authority x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var hostname x509.HostnameError
	switch {
	case errors.As(err, &authority):
		f.err = fmt.Errorf("TLS with %s: its certificate is signed by an unknown authority: %s", l.server, authority.Cert.Issuer)
		return f.withHint("--cacert FILE names the authority that signed it, or the certificate itself where it is self-signed")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(invalid.Cert.NotBefore):
		f.err = fmt.Errorf("TLS with %s: its certificate is not valid before %s", l.server, invalid.Cert.NotBefore.UTC().Format(time.RFC3339))
		return f.withHint("is this host's clock right?")
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		f.err = fmt.Errorf("TLS with %s: the certificate of %s expired on %s", l.server, invalid.Cert.Subject, invalid.Cert.NotAfter.UTC().Format(time.RFC3339))
		return f.withHint("the server needs a new certificate; is this host's clock right?")
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		f.err = fmt.Errorf("TLS with %s: its certificate is not for a server: the extended key usage serverAuth is missing", l.server)
		return f.withHint("the server needs a certificate with serverAuth, from an authority that may give it")
	case errors.As(err, &hostname) && isDNSName(hostname.Certificate, name):
		f.err = fmt.Errorf("TLS with %s: its certificate has the address %s as a DNS name, where it does not count", l.server, name)
		return f.withHint("the server needs a certificate with subjectAltName IP:%s in place of DNS:%[1]s", name)
	case errors.As(err, &hostname):
		names := strings.Join(certNames(hostname.Certificate), ", ")
		if names == "" {
			names = "no name at all (a common name does not count)"
		}
		f.err = fmt.Errorf("TLS with %s: its certificate is not for %s but for %s", l.server, name, names)
		return f.withHint("--servername NAME says which name to expect")
	}
	return f.withHint("the fault is in the server's certificate or in its authority's: who runs the server can mend it")
}

// isDNSName says that an address is among the DNS names of a certificate. RFC 9525 section 6.4
// looks for it among the addresses alone.
func isDNSName(cert *x509.Certificate, addr string) bool {
	ip := net.ParseIP(addr)
	return ip != nil && slices.ContainsFunc(cert.DNSNames, func(name string) bool { return ip.Equal(net.ParseIP(name)) })
}

// isAlert says that the other side ended the session, with a word about the cause.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// alertHint says which option supplies what the server's alert asks for.
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

// tlsReadFailure explains an error of the first read after a handshake that succeeded: in TLS
// 1.3 that is where the server says, or does not say, what is wrong with the client's certificate.
func (s *session) tlsReadFailure(err error) error {
	if s.facts == nil || s.link.answered > 0 {
		return nil
	}
	if isAlert(err) {
		return failf(classTLS, "TLS with %s: it ended the session: %w", s.server, cause(err)).withHint("%s", alertHint(err))
	}
	if isClosed(err) {
		return failf(classTLS, "TLS with %s: it closed the connection before it answered (client certificate: %s)", s.server, s.facts.ClientCert).
			withHint("likely the client's certificate: --cert and --cert-key; some servers close without saying so")
	}
	return nil
}

// readPEM reads a file that must hold, in PEM, a block of a type that ends with holds.
func readPEM(file, what, holds string) ([]byte, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, failf(classUsage, "read the %s: %w", what, err)
	}
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, failf(classUsage, "the %s %s is not PEM", what, file).
			withHint("a PEM file has a line -----BEGIN; openssl x509 -inform DER converts a certificate")
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, holds) {
			return b, nil
		}
	}
	return nil, failf(classUsage, "the %s %s holds no %s", what, file, strings.ToLower(holds)).
		withHint("--cacert and --cert take certificates, --cert-key takes a private key")
}

func readCertPool(file string) (*x509.CertPool, error) {
	b, err := readPEM(file, "certificate file", "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, failf(classUsage, "the certificate file %s holds no certificate that can be read", file)
	}
	return pool, nil
}

// readKeyPair reads a certificate with its chain and the key that belongs to it.
func readKeyPair(certFile, keyFile string) ([]tls.Certificate, error) {
	cert, err := readPEM(certFile, "certificate file", "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	if keyFile == "" {
		keyFile = certFile
	}
	key, err := readPEM(keyFile, "private key file", "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, failf(classUsage, "the private key of %s is encrypted", keyFile).
			withHint("openssl pkey -in %s -out FILE writes it without a passphrase", keyFile)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil && strings.Contains(err.Error(), "does not match") {
		return nil, failf(classUsage, "the private key of %s does not belong to the certificate of %s", keyFile, certFile)
	}
	if err != nil {
		return nil, failf(classUsage, "the certificate of %s and the private key of %s: %w", certFile, keyFile, err)
	}
	return []tls.Certificate{pair}, nil
}

// readCRLs reads revocation lists: one in DER, or any number in PEM.
func readCRLs(file string) ([]*x509.RevocationList, error) {
	rest, err := os.ReadFile(file)
	if err != nil {
		return nil, failf(classUsage, "read the revocation list: %w", err)
	}
	var lists []*x509.RevocationList
	for {
		der := rest
		block, more := pem.Decode(rest)
		if block != nil {
			der = block.Bytes
		} else if lists != nil {
			return lists, nil
		}
		if block != nil && block.Type != "X509 CRL" {
			return nil, failf(classUsage, "the revocation list %s holds a %s", file, escape(strings.ToLower(block.Type)))
		}
		list, err := x509.ParseRevocationList(der)
		if err != nil {
			return nil, failf(classUsage, "the revocation list %s: %w", file, err)
		}
		if lists = append(lists, list); block == nil {
			return lists, nil
		}
		rest = more
	}
}

// A ticketCache gives every session ticket out once, so that two connections cannot be linked
// by it (RFC 9887 section 3.6, RFC 8446 appendix C.4). It lasts as long as the run.
type ticketCache struct {
	mu      sync.Mutex
	tickets map[string][]*tls.ClientSessionState
}

// maxTickets is how many unused tickets are kept for one server.
const maxTickets = 8

// Put keeps a ticket.
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

// Get gives a ticket away.
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
