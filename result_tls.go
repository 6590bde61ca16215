package main

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tlsFacts describe a TLS connection, or a handshake that failed. Unknown facts are empty.
type tlsFacts struct {
	Version      string    `json:"version,omitempty"`
	CipherSuite  string    `json:"cipher_suite,omitempty"`
	Group        string    `json:"group,omitempty"`
	Resumed      bool      `json:"resumed"`
	Verified     bool      `json:"verified"`
	Pinned       bool      `json:"pinned,omitempty"` // verified by the sum alone
	ServerName   string    `json:"server_name"`
	Subject      string    `json:"subject,omitempty"`
	Issuer       string    `json:"issuer,omitempty"`
	Names        []string  `json:"names,omitempty"`
	NotAfter     time.Time `json:"not_after,omitzero"`
	SHA256       string    `json:"sha256,omitempty"`
	ClientSHA256 string    `json:"client_sha256,omitempty"`
	DaysLeftJSON *int      `json:"days_left,omitempty"` // set by forJSON; 0 is shown
	Chain        []string  `json:"chain,omitempty"`
	// ChainNotAfter is the earliest expiry of the server's certificate and its authorities, ClientNotAfter that of the
	// client's certificate.
	ChainNotAfter  time.Time `json:"chain_not_after,omitzero"`
	ClientNotAfter time.Time `json:"client_not_after,omitzero"`
	ClientCert     string    `json:"client_certificate,omitempty"` // one of the constants below
	oneSided       bool      // this client has no certificate
}

const (
	clientCertNotAsked = "not asked"
	clientCertSent     = "sent"
	clientCertMissing  = "asked, none to send"
)

// learn sets the facts of a handshake, which may have failed half way.
func (t *tlsFacts) learn(state *tls.ConnectionState) {
	if state.Version != 0 {
		t.Version = tls.VersionName(state.Version)
	}
	if state.CipherSuite != 0 {
		t.CipherSuite = tls.CipherSuiteName(state.CipherSuite)
	}
	if state.CurveID != 0 {
		t.Group = state.CurveID.String()
	}
	t.Resumed = state.DidResume
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		t.Subject, t.Issuer, t.Names = fmt.Sprint(&leaf.Subject), fmt.Sprint(&leaf.Issuer), certNames(leaf)
		t.NotAfter, t.ChainNotAfter, t.SHA256 = leaf.NotAfter.UTC(), chainExpiry(state), fingerprint(leaf)
	}
	if len(state.VerifiedChains) > 0 {
		for _, cert := range state.VerifiedChains[0] {
			t.Chain = append(t.Chain, fmt.Sprint(&cert.Subject))
		}
	}
}

// fingerprint returns the SHA-256 sum of a certificate's DER in hexadecimal.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// chainExpiry returns when the last of the verified chains ends to be valid or, without one, what the server sent.
func chainExpiry(state *tls.ConnectionState) (last time.Time) {
	chains := state.VerifiedChains
	if len(chains) == 0 {
		chains = [][]*x509.Certificate{state.PeerCertificates}
	}
	for _, chain := range chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
		if first.After(last) {
			last = first.UTC()
		}
	}
	return last
}

// daysLeft returns the whole days until an expiry, negative after it. known is false for an unknown expiry, which is zero.
func daysLeft(notAfter time.Time) (days int, known bool) {
	return int(time.Until(notAfter).Hours() / 24), !notAfter.IsZero()
}

// addTo adds each fact that is one line of -v.
func (t *tlsFacts) addTo(facts *factList) {
	words := []string{t.Version, t.CipherSuite, t.Group, choose(t.Resumed, "resumed", ""), choose(t.Verified, "", "NOT VERIFIED"), choose(t.Pinned, "pinned", "")}
	facts.add("tls", strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	facts.add("tls server name", t.ServerName)
	facts.add("tls subject", t.Subject)
	facts.add("tls issuer", t.Issuer)
	facts.add("tls names", strings.Join(t.Names, ", "))
	if days, known := daysLeft(t.NotAfter); known {
		facts.add("tls expires", fmt.Sprintf("%s (%d days left)", t.NotAfter.Format(time.RFC3339), days))
	}
	facts.add("tls sha256", t.SHA256)
	if t.ChainNotAfter != t.NotAfter {
		facts.add("tls chain expires", t.ChainNotAfter.Format(time.RFC3339))
	}
	if !t.ClientNotAfter.IsZero() {
		facts.add("tls client expires", t.ClientNotAfter.Format(time.RFC3339))
	}
	facts.add("tls client sha256", t.ClientSHA256)
	if t.oneSided {
		facts.add("tls note", "give --cert FILE for mutual authentication (RFC 9887 section 3.1)")
	}
}

// forJSON returns a copy with all text escaped, or nil for nil.
func (t *tlsFacts) forJSON() *tlsFacts {
	if t == nil {
		return nil
	}
	shown := *t
	shown.ServerName, shown.Subject, shown.Issuer = escape(t.ServerName), escape(t.Subject), escape(t.Issuer)
	if days, known := daysLeft(t.NotAfter); known {
		shown.DaysLeftJSON = &days
	}
	shown.Names, shown.Chain = escapeAll(t.Names), escapeAll(t.Chain)
	return &shown
}
