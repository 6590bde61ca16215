package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
)

// serverTLS returns the TLS configuration of a server: TLS 1.3 only. With a clientCA file it requires client certificates.
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

// maxShownName is the longest name of a refused certificate in the log, in bytes.
const maxShownName = 200

// handshakeFault returns why a handshake failed. It recognizes a client without TLS, and names a rejected certificate.
func handshakeFault(err error) string {
	var refused *tls.CertificateVerificationError
	if errors.As(err, &refused) {
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
