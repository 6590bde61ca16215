package main

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A testCA signs certificates and writes them to files for --cacert, --cert and --crl.
type testCA struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newTestCA(t *testing.T, dir, name string) *testCA {
	t.Helper()
	ca := &testCA{dir: dir, key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.write(t, name+".pem", "CERTIFICATE", der)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (ca *testCA) write(t *testing.T, file, what string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(ca.dir, file), pem.EncodeToMemory(&pem.Block{Type: what, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME.key for 127.0.0.1. change can modify the template.
func (ca *testCA) issue(t *testing.T, name string, serial int64, change func(*x509.Certificate)) {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(50 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	ca.write(t, name+".pem", "CERTIFICATE", der)
	if der, err = x509.MarshalPKCS8PrivateKey(key); err != nil {
		t.Fatal(err)
	}
	ca.write(t, name+".key", "PRIVATE KEY", der)
}

// intermediate returns an authority signed by ca.
func (ca *testCA) intermediate(t *testing.T, name string, serial int64) *testCA {
	t.Helper()
	sub := &testCA{dir: ca.dir, key: newKey(t)}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name}, NotBefore: ca.cert.NotBefore, NotAfter: ca.cert.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &sub.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if sub.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return sub
}

// revoke writes a list that revokes one serial number.
func (ca *testCA) revoke(t *testing.T, file string, serial int64, next time.Time) {
	t.Helper()
	ca.revokeFrom(t, file, serial, time.Now().Add(-2*time.Hour), next)
}

func (ca *testCA) revokeFrom(t *testing.T, file string, serial int64, from, next time.Time) {
	t.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1),
		ThisUpdate: from, NextUpdate: next,
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(serial), RevocationTime: time.Now().Add(-time.Hour)}}}, ca.cert, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	ca.write(t, file, "X509 CRL", der)
}

// testFiles writes the certificates, keys and lists of the TLS tests, and returns their directory.
func testFiles(t *testing.T) string {
	t.Helper()
	dir := writeFiles(t, map[string]string{"text": "this is not PEM\n", "garbage.pem": "-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"})
	ca, other := newTestCA(t, dir, "ca"), newTestCA(t, dir, "other-ca")
	ca.issue(t, "server", 10, nil)
	ca.issue(t, "client", 11, nil)
	ca.issue(t, "expired-client", 12, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	other.issue(t, "foreign-client", 13, nil)
	ca.issue(t, "wildcard", 14, func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"*.example.net"}, nil })
	ca.issue(t, "common-name", 15, func(c *x509.Certificate) { c.Subject.CommonName, c.IPAddresses = "127.0.0.1", nil })
	evil := newTestCA(t, dir, "evil\x1b[2J\u009b\u202e")
	evil.issue(t, "evil", 20, nil)
	ca.revoke(t, "none.crl", 99, time.Now().Add(time.Hour))
	ca.revoke(t, "server.crl", 10, time.Now().Add(time.Hour))
	ca.revoke(t, "old.crl", 99, time.Now().Add(-time.Hour))
	other.revoke(t, "other.crl", 99, time.Now().Add(time.Hour))
	forged := &testCA{dir, &x509.Certificate{Subject: ca.cert.Subject, RawSubject: ca.cert.RawSubject, SubjectKeyId: []byte{1}, KeyUsage: x509.KeyUsageCRLSign}, other.key}
	forged.revoke(t, "forged.crl", 99, time.Now().Add(time.Hour))
	ca.write(t, "encrypted.key", "ENCRYPTED PRIVATE KEY", []byte{1, 2, 3})
	return dir
}

// secureServer returns a TLS listener and the file for --cacert.
func secureServer(t *testing.T) (l net.Listener, file string) {
	t.Helper()
	pair, ca, err := selfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	dir := writeFiles(t, map[string]string{"ca.pem": string(ca)})
	return tls.NewListener(listen(t), &tls.Config{Certificates: pair}), filepath.Join(dir, "ca.pem")
}

// offeredTicket returns the session ticket in the ClientHello at the start of a stream, or "" if there is
// none. RFC 8446 sections 4.1.2 and 4.2.11.
func offeredTicket(in *bufio.Reader) string {
	head, err := in.Peek(5)
	if err != nil {
		return ""
	}
	hello, err := in.Peek(5 + int(head[3])<<8 + int(head[4]))
	if err != nil {
		return ""
	}
	b := hello[5+4+2+32:]
	skip := func(lengthBytes int) []byte { // a vector
		n := 0
		for _, o := range b[:lengthBytes] {
			n = n<<8 + int(o)
		}
		v := b[lengthBytes : lengthBytes+n]
		b = b[lengthBytes+n:]
		return v
	}
	skip(1) // session id
	skip(2) // cipher suites
	skip(1) // compression
	for b = skip(2); len(b) > 0; {
		typ := int(b[0])<<8 + int(b[1])
		b = b[2:]
		if v := skip(2); typ == 41 { // pre_shared_key
			b = v[2:]
			return string(skip(2))
		}
	}
	return ""
}
