package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"sync"
)

// tlsOptions are the options of TACACS+ over TLS 1.3 (RFC 9887).
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

// register declares the options for either side of a connection, and those for the servers.
func (t *tlsOptions) register(o, server groupOptions) {
	o.add((*toggle)(&t.enabled), "tls", "", "TACACS+ over TLS 1.3 (RFC 9887): port 300, no key, no fallback to cleartext")
	server.add((*text)(&t.caCert), "cacert", "FILE", "certificates to trust, PEM (default the system's)")
	o.add((*text)(&t.cert), "cert", "FILE", "client certificate, with its chain, PEM")
	o.add((*text)(&t.certKey), "cert-key", "FILE", "its private key, PEM (default in the file of --cert)")
	server.add((*text)(&t.serverName), "servername", "NAME", "name that the server's certificate must have (default: that in HOST)")
	server.add(&t.crls, "crl", "FILE", "revocation list, PEM or DER; repeatable")
	server.add((*toggle)(&t.insecure), "insecure", "", "do not verify the server's certificate")
	server.add((*text)(&t.keyLog), "keylog", "FILE", "append the secrets of TLS sessions to FILE, for decode and other packet analysers")
}

// check rejects TLS options without --tls, so that it is never in doubt whether TLS is used (RFC 9887 section
// 5.2).
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

// client reads the files of the options. The system's roots are read only when they are needed.
func (t *tlsOptions) client(ctx context.Context, warn func(format string, args ...any)) (*tlsClient, error) {
	c := &tlsClient{serverName: t.serverName}
	var shown sync.Map // each warning is printed once for the run, not for each of its connections
	c.revocation.warnf = func(format string, args ...any) {
		if _, before := shown.LoadOrStore(fmt.Sprintf(format, args...), true); !before {
			warn(format, args...)
		}
	}
	c.config = &tls.Config{MinVersion: tls.VersionTLS13, InsecureSkipVerify: t.insecure, ClientSessionCache: &ticketCache{}}
	var err error
	if t.caCert != "" {
		if c.config.RootCAs, err = readCertPool(ctx, t.caCert); err != nil {
			return nil, err
		}
	}
	if t.cert != "" {
		if c.config.Certificates, err = readKeyPair(ctx, t.cert, t.certKey); err != nil {
			return nil, err
		}
	}
	for _, file := range t.crls {
		lists, err := readCRLs(ctx, file)
		if err != nil {
			return nil, err
		}
		c.revocation.lists = append(c.revocation.lists, lists...)
	}
	if t.keyLog != "" {
		if c.config.KeyLogWriter, err = openKeyLog(ctx, t.keyLog); err != nil {
			return nil, err
		}
	}
	if t.insecure {
		warn("the server's certificate is not verified (--insecure): any host could answer in its place")
	}
	return c, nil
}

// openKeyLog opens the file to which the secrets of TLS sessions are appended.
func openKeyLog(ctx context.Context, name string) (*os.File, error) {
	var f *os.File
	err := onFile(ctx, name, func() (err error) {
		f, err = os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		return err
	})
	if err != nil {
		return nil, fileError("open the key log", err)
	}
	return f, nil
}
