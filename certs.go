package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"strings"
)

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

// certNames returns the names and addresses that a certificate is for.
func certNames(cert *x509.Certificate) []string {
	names := append([]string{}, cert.DNSNames...)
	for _, ip := range cert.IPAddresses {
		names = append(names, ip.String())
	}
	return names
}
