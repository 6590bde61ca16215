package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"strings"
	"time"
)

// A tlsClient is what all connections of one run share.
type tlsClient struct {
	config     *tls.Config
	serverName string
	crls       []*x509.RevocationList
	warn       func(format string, args ...any) // -q does not hide it
}

// handshake makes a TLS connection of conn, before any byte of TACACS+ (RFC 9887 section 3.2). If it fails it closes
// conn and returns what is known of the handshake, beside the error.
func (c *tlsClient) handshake(ctx context.Context, srv server, timeout time.Duration, conn net.Conn) (net.Conn, *tlsFacts, error) {
	config := c.config.Clone()
	host, _, _ := strings.Cut(srv.host, "%") // a certificate has no zones
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
		return nil, facts, handshakeFailure(srv, timeout, facts.ServerName, err)
	}
	facts.Verified = !config.InsecureSkipVerify
	facts.ClientCert = cmp.Or(facts.ClientCert, "not asked")
	return secure, facts, nil
}
