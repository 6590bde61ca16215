package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"path/filepath"
	"strings"
)

// Limits of files, in bytes. A bundle of all public authorities has 0.3 MB, the largest revocation lists have
// some 50 MB.
const (
	maxCertFile = 4 << 20
	maxCRLFile  = 128 << 20
)

// readCertPool reads the certificates to trust.
func readCertPool(ctx context.Context, file string) (*x509.CertPool, error) {
	b, err := readPEM(ctx, file, "certificate file", "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, failf(classUsage, "no readable certificate in %s", file)
	}
	return pool, nil
}

// readKeyPair reads a certificate with its chain and the key that belongs to it.
func readKeyPair(ctx context.Context, certFile, keyFile string) ([]tls.Certificate, error) {
	cert, err := readPEM(ctx, certFile, "certificate file", "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	keyFile = cmp.Or(keyFile, certFile)
	key, err := readPEM(ctx, keyFile, "private key file", "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	if bytes.Contains(key, []byte("ENCRYPTED")) {
		return nil, failf(classUsage, "the private key in %s is encrypted", keyFile).
			withHint(fmt.Sprintf("decrypt it with openssl pkey -in %s -out FILE", keyFile))
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil && strings.Contains(err.Error(), "does not match") {
		return nil, failf(classUsage, "the private key in %s does not match the certificate in %s", keyFile, certFile)
	}
	if err != nil {
		return nil, failf(classUsage, "read the certificate in %s and the private key in %s: %w", certFile, keyFile, err)
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

// readPEM reads a PEM file. One of its blocks must be of a type that ends with blockType.
func readPEM(ctx context.Context, file, what, blockType string) ([]byte, error) {
	b, err := readFile(ctx, what, file, maxCertFile)
	if err != nil {
		return nil, err
	}
	text, err := trimMark(string(b))
	if err != nil {
		return nil, failf(classUsage, "the %s %s is UTF-16", what, file).withHint("save it as UTF-8")
	}
	b = []byte(text)
	block, rest := pem.Decode(b)
	if block == nil {
		return nil, notPEM(what, file, b)
	}
	for ; block != nil; block, rest = pem.Decode(rest) {
		if strings.HasSuffix(block.Type, blockType) {
			return b, nil
		}
	}
	return nil, failf(classUsage, "the %s %s contains no %s", what, file, strings.ToLower(blockType)).
		withHint(fmt.Sprintf("check which option takes which file: this one needs a %s", strings.ToLower(blockType)))
}

// notPEM returns the error for a file without PEM, with the command that converts it.
func notPEM(what, file string, b []byte) *failure {
	f := failf(classUsage, "the %s %s is not PEM", what, file)
	var pfx struct { // PKCS #12, RFC 7292 section 4
		Version  int
		AuthSafe struct {
			Type asn1.ObjectIdentifier
			Rest asn1.RawValue
		}
		MAC asn1.RawValue `asn1:"optional"`
	}
	_, err := asn1.Unmarshal(b, &pfx)
	if ext := strings.ToLower(filepath.Ext(file)); err == nil && pfx.Version == 3 || ext == ".p12" || ext == ".pfx" { // some are BER
		return failf(classUsage, "the %s %s is PKCS #12, not PEM", what, file).
			withHint(fmt.Sprintf("convert it with openssl pkcs12 -in %s -nodes -out FILE", file))
	}
	switch {
	case bytes.Contains(b, []byte("-----BEGIN")):
		return f.withHint("copy it again from its first to its last line: it is cut off or damaged")
	case len(b) == 0 || b[0] != 0x30: // DER begins with a SEQUENCE
		return f.withHint("give a file in PEM, which has a line -----BEGIN")
	case strings.Contains(what, "key"):
		return f.withHint(fmt.Sprintf("convert a private key with openssl pkey -inform DER -in %s -out FILE", file))
	}
	return f.withHint(fmt.Sprintf("convert a certificate with openssl x509 -inform DER -in %s -out FILE", file))
}

// readCRLs reads revocation lists. Each file has one in DER, or any number in PEM.
func readCRLs(ctx context.Context, files []string) (lists []*x509.RevocationList, err error) {
	for _, file := range files {
		text, err := readFile(ctx, "revocation list", file, maxCRLFile)
		if err != nil {
			return nil, err
		}
		text = bytes.TrimPrefix(text, []byte("\ufeff"))
		block, rest := pem.Decode(text)
		if block == nil {
			block = &pem.Block{Type: crlBlock, Bytes: text}
		}
		for ; block != nil; block, rest = pem.Decode(rest) {
			if block.Type != crlBlock {
				return nil, failf(classUsage, "the revocation list %s contains a %s", file, escape(strings.ToLower(block.Type)))
			}
			list, err := x509.ParseRevocationList(block.Bytes)
			if err != nil {
				return nil, failf(classUsage, "read the revocation list %s: %w", file, err)
			}
			lists = append(lists, list)
		}
	}
	return lists, nil
}

// crlBlock is the type of a PEM block with a revocation list.
const crlBlock = "X509 CRL"
