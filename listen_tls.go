package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// serverTLS returns the TLS configuration of a server: TLS 1.3 only, and with a file of authorities a client certificate
// is required.
func serverTLS(ctx context.Context, pair []tls.Certificate, clientCA string) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: pair}
	if clientCA != "" {
		pool, err := readCertPool(ctx, clientCA)
		if err != nil {
			return nil, err
		}
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, pool
	}
	return config, nil
}

// handshakeFault returns why a handshake failed. It recognizes a device that does not use TLS, and names a certificate
// that is refused.
func handshakeFault(err error) string {
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
		cert := refused.UnverifiedCertificates[0]
		return fmt.Sprintf("the certificate of %s (%s) is refused: %v", cert.Subject, strings.Join(certNames(cert), ", "), refused.Err)
	}
	var record tls.RecordHeaderError
	if errors.As(err, &record) && version(record.RecordHeader[0]).major() == majorVersion {
		return "a TACACS+ packet in clear, without TLS"
	}
	return cause(err).Error()
}
