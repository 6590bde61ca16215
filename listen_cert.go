package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A tlsServer is what the TLS connections of a listener share: its certificate, and the rules for those of clients. RFC
// 9887 sections 3.4 and 3.6.
type tlsServer struct {
	cert, certKey string            // files; the key is in that of cert if certKey is empty
	pair          []tls.Certificate // in place of cert, if that is empty
	clientCA      string            // file; empty: clients need no certificate
	crls          []string          // files
	names         []string          // a client's certificate must have one of these; empty: any
	address       bool              // it must have the client's address
	tickets       *ticketLedger
	change        func(*tls.Config) // of a fault; or nil
	warnf         warnFunc
	report        func(error) // is called with nil after the files were read again, and else with the reason why not

	ticketKeys *tls.Config // whose keys encrypt the tickets
	current    atomic.Pointer[tlsIdentity]
	watch      fileWatch
}

// A tlsIdentity is what was read in the files.
type tlsIdentity struct {
	config      *tls.Config
	authorities *x509.CertPool // nil: clients need no certificate
	revocation  revocation
}

// start reads the files.
func (s *tlsServer) start(ctx context.Context) error {
	s.watch.start(append([]string{s.cert, s.certKey, s.clientCA}, s.crls...), s.read, s.report)
	s.ticketKeys = new(tls.Config)
	return s.read(ctx)
}

// read reads the files and puts into use what they have.
func (s *tlsServer) read(ctx context.Context) (err error) {
	id := &tlsIdentity{config: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: s.pair, SessionTicketsDisabled: s.tickets.lifetime == 0}}
	if s.cert != "" {
		if id.config.Certificates, err = readKeyPair(ctx, s.cert, s.certKey); err != nil {
			return err
		}
	}
	if s.clientCA != "" {
		if id.authorities, err = readCertPool(ctx, s.clientCA); err != nil {
			return err
		}
		id.config.ClientAuth, id.config.ClientCAs = tls.RequireAndVerifyClientCert, id.authorities
	}
	id.revocation.warnf = warnOnce(s.warnf)
	if id.revocation.lists, err = readCRLs(ctx, s.crls); err != nil {
		return err
	}
	if s.change != nil {
		s.change(id.config)
	}
	s.current.Store(id)
	return nil
}

// refresh reads the files again if they have changed, and returns what holds now. If one cannot be read, it is what was
// read before.
func (s *tlsServer) refresh(ctx context.Context) *tlsIdentity {
	s.watch.refresh(ctx)
	return s.current.Load()
}

// config returns the configuration for a client.
func (s *tlsServer) config(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	id := s.refresh(context.WithoutCancel(hello.Context()))
	config := id.config.Clone()
	client := addrPortOf(hello.Conn.RemoteAddr()).Addr()
	config.VerifyConnection = func(state tls.ConnectionState) error { return s.verify(id, client, &state) }
	config.WrapSession = func(state tls.ConnectionState, session *tls.SessionState) ([]byte, error) {
		session.Extra = append(session.Extra, newTicketMark(time.Now()))
		return s.ticketKeys.EncryptTicket(state, session)
	}
	config.UnwrapSession = func(ticket []byte, state tls.ConnectionState) (*tls.SessionState, error) {
		session, err := s.ticketKeys.DecryptTicket(ticket, state)
		if session == nil || err != nil || !s.tickets.redeem(session.Extra, time.Now()) {
			return nil, err
		}
		return session, nil
	}
	return config, nil
}

// verify checks a client's certificate beyond its chain: revocation, names and address. It is called on resumption too,
// when the authorities may have changed.
func (s *tlsServer) verify(id *tlsIdentity, client netip.Addr, state *tls.ConnectionState) error {
	if id.authorities == nil {
		return nil
	}
	cert := state.PeerCertificates[0]
	err := id.verifyResumed(state)
	if err == nil {
		err = id.revocation.check(state, false)
	}
	if err == nil && len(s.names) > 0 && !slices.ContainsFunc(s.names, func(name string) bool { return hasName(cert, name) }) {
		err = errors.New("--client-name does not allow its names")
	}
	if err == nil && s.address && !hasAddress(cert, client) {
		err = fmt.Errorf("it is not for the address %v", client)
	}
	if err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// verifyResumed verifies the chain of a session that is resumed.
func (id *tlsIdentity) verifyResumed(state *tls.ConnectionState) (err error) {
	if !state.DidResume {
		return nil
	}
	options := x509.VerifyOptions{Roots: id.authorities, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	state.VerifiedChains, err = state.PeerCertificates[0].Verify(options)
	return err
}

// hasName reports whether a certificate is for a name: an address, or a DNS name, in which *. is for one label. The common
// name does not count.
func hasName(cert *x509.Certificate, name string) bool {
	if addr, err := netip.ParseAddr(name); err == nil {
		return hasAddress(cert, addr)
	}
	return slices.ContainsFunc(cert.DNSNames, func(have string) bool {
		if suffix, found := strings.CutPrefix(name, "*."); found {
			_, have, _ = strings.Cut(have, ".")
			return have != "" && strings.EqualFold(have, suffix)
		}
		return strings.EqualFold(have, name)
	})
}

func hasAddress(cert *x509.Certificate, addr netip.Addr) bool {
	return slices.ContainsFunc(cert.IPAddresses, func(ip net.IP) bool {
		have, ok := netip.AddrFromSlice(ip)
		return ok && have.Unmap() == addr.Unmap().WithZone("")
	})
}

// maxShownName is the longest name of a certificate in the log, in bytes.
const maxShownName = 200

// clientName returns the name of a client's certificate for the log, or "" without one.
func clientName(state *tls.ConnectionState) string {
	if len(state.VerifiedChains) == 0 {
		return ""
	}
	cert := state.PeerCertificates[0]
	if names := certNames(cert); len(names) > 0 {
		return cutAt(names[0], maxShownName)
	}
	return cutAt(cert.Subject.String(), maxShownName)
}

// handshakeFault returns why a handshake failed. It recognizes a client without TLS, and names a rejected certificate.
func handshakeFault(err error) string {
	if refused, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		cert := refused.UnverifiedCertificates[0]
		return fmt.Sprintf("client certificate of %s (%s) is refused: %s", cutAt(cert.Subject.String(), maxShownName),
			cutAt(strings.Join(certNames(cert), ", "), maxShownName), cutAt(refused.Err.Error(), maxShownName))
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion {
		return "TACACS+ packet without TLS"
	}
	if isProxyHeader(record.RecordHeader[:]) {
		return firstBytes(record.RecordHeader[:])
	}
	return cause(err).Error()
}
