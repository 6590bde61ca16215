package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/netip"
	"os"
	"time"
)

// setTLS takes the certificate of the options, or makes one for loopback.
func (srv *labServer) setTLS(ctx context.Context, inv *invocation, opts *serveOptions) error {
	t, clientCA, writeCA := &inv.server.tls, opts.clientCA, opts.writeCA
	if err := t.check(); err != nil {
		return err
	}
	if !t.enabled {
		if clientCA != "" || writeCA != "" {
			return failf(classUsage, "--client-ca and --write-cacert need --tls")
		}
		return nil
	}
	if inv.key.sourceCount() > 0 {
		return errKeyOverTLS()
	}
	if t.cert != "" && writeCA != "" {
		return failf(classUsage, "--write-cacert is for a certificate that serve makes, without --cert")
	}
	const wanted = "RFC 9887 section 3.1 wants a certificate of every client"
	if addr := offLoopback(opts.listen); clientCA == "" && addr != "" {
		return failf(classUsage, "to listen on %s over TLS, give --client-ca", escape(addr)).withHint(wanted)
	}
	var pair []tls.Certificate
	var err error
	if t.cert != "" {
		pair, err = readKeyPair(ctx, t.cert, t.certKey)
	} else {
		pair, err = srv.makeCertificate(ctx, inv, writeCA)
	}
	if err != nil {
		return err
	}
	srv.clear = true
	if srv.tls, err = serverTLS(ctx, pair, clientCA); err != nil {
		return err
	}
	if srv.fault.tls != nil {
		srv.fault.tls(srv.tls)
	}
	if clientCA == "" {
		inv.warnf("no --client-ca, so that clients need no certificate: %s", wanted)
	}
	return nil
}

// makeCertificate makes a certificate and says how a client comes to trust it.
func (srv *labServer) makeCertificate(ctx context.Context, inv *invocation, writeCA string) ([]tls.Certificate, error) {
	pair, form, err := selfSigned(srv.fault.certificate)
	if err == nil && writeCA != "" {
		err = onFile(ctx, writeCA, func() error { return os.WriteFile(writeCA, form, 0o644) })
	}
	if err != nil {
		return nil, fileError("make a certificate", err)
	}
	if srv.trust = " --tls --cacert " + writeCA; writeCA == "" {
		srv.trust = " --tls --insecure"
		inv.logf("made a certificate; --write-cacert FILE writes it for clients to trust, --insecure does without")
	} else {
		inv.logf("made a certificate: clients trust it with%s", srv.trust)
	}
	return pair, nil
}

// selfSigned makes a certificate for loopback; change may spoil it. The PEM form is what
// --cacert takes.
func selfSigned(change func(*x509.Certificate)) (pair []tls.Certificate, pemForm []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: "tacacs_plus serve"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().AddDate(0, 0, 30),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{netip.MustParseAddr("127.0.0.1").AsSlice(), netip.IPv6Loopback().AsSlice()},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	pemForm = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, pemForm, nil
}
