package main

import (
	"crypto/tls"
	"strings"
	"testing"
)

// TestServeTLSVersion: TLS 1.3 or nothing (RFC 9887 section 3.2), and the alert says so.
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
		if got := s.lines(t); !strings.HasPrefix(got, "TLS: ") || strings.Count(got, "\n") != 1 {
			t.Errorf("the lines are\n%s", got)
		}
	}
}
