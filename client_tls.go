package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"time"
)

// A tlsClient is what all TLS connections of one run share. RFC 9887.
type tlsClient struct {
	config     *tls.Config
	serverName string // in place of the host; or empty
	revocation revocation
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
	// Certificates would silently withhold a certificate whose issuer the server does not name. Sent like this, it
	// brings the alert that tells what is wrong with it.
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		if facts.oneSided {
			facts.ClientCert = "asked, none to send"
			return &tls.Certificate{}, nil
		}
		facts.ClientCert = "sent"
		return &c.config.Certificates[0], nil
	}
	config.VerifyConnection = func(state tls.ConnectionState) error { return c.revocation.check(&state, config.InsecureSkipVerify) }
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
