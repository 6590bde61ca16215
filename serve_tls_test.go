package main

import (
	"crypto/tls"
	"io"
	"strings"
	"testing"
)

// TestServeTLSVersion: only TLS 1.3 is accepted (RFC 9887 section 3.2), and the alert names the reason.
func TestServeTLSVersion(t *testing.T) {
	t.Parallel()
	for _, highest := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		s := serveWith(t, "--tls")
		conn, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true, MaxVersion: highest})
		if err == nil {
			conn.Close()
		}
		if highest == tls.VersionTLS13 {
			if err != nil {
				t.Errorf("a client of TLS 1.3: %v", err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), "remote error: tls: protocol version not supported") {
			t.Errorf("a client of TLS 1.2 is let in, or without the alert: %v", err)
		}
		waitUntil(t, "the refusal is told", func() bool { return s.log.String() != "" }) // the client knows of it before
		if got := s.lines(t); !strings.HasPrefix(got, "TLS: tls: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("the lines are\n%s", got)
		}
	}
}

// TestServeClearOnTLS: TACACS+ without TLS is distinguished from other protocols.
func TestServeClearOnTLS(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ says, want string }{
		{string(packed(header{version: minorDefault, typ: typeAuthen, seqNo: 1}, testKey, asciiStart("alice"))), "TLS: a TACACS+ packet in clear, without TLS\n"},
		{string(packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}, "", papStart("alice", testPassword))), "TLS: a TACACS+ packet in clear, without TLS\n"},
		{"GET / HTTP/1.1\r\n\r\n", "TLS: tls: first record does not look like a TLS handshake\n"},
	} {
		s := serveWith(t, "--tls")
		c := dialFakeClient(t, s.addr)
		c.Write([]byte(tt.says))
		io.ReadAll(c)
		if got := s.lines(t); got != tt.want {
			t.Errorf("%q: the lines are\n%snot\n%s", tt.says, got, tt.want)
		}
	}
}

// TestServeClientCertificates: a server without --client-ca warns, and the log names a certificate that is refused.
func TestServeClientCertificates(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	const options = "--user alice:x --tls --cert DIR/server.pem --cert-key DIR/server.key"
	for extra, warned := range map[string]bool{"": true, " -q": false, " --client-ca DIR/ca.pem": false} {
		r := serveAloud(t, map[string]string{}, split(options+extra, "DIR", dir)...)
		if said := r.said.String(); strings.Contains(said, "warning: no --client-ca, so that clients need no certificate: RFC 9887 section 3.1 wants") != warned {
			t.Errorf("%q: it says %s", extra, said)
		}
	}
	s := serveWith(t, split(options+" --client-ca DIR/ca.pem", "DIR", dir)...)
	s.ask(t, "authenticate alice AT --tls --cacert "+dir+"/ca.pem --cert "+dir+"/foreign-client.pem --cert-key "+dir+"/foreign-client.key")
	waitUntil(t, "the refusal is told", func() bool { return s.log.String() != "" }) // the client knows of it before
	if got, want := s.lines(t), "TLS: the certificate of CN=foreign-client (127.0.0.1) is refused: x509: certificate signed by unknown authority"; !strings.HasPrefix(got, want) {
		t.Errorf("the lines are\n%snot\n%s", got, want)
	}
}
