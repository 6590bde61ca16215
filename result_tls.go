package main

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"time"
)

// tlsFacts are what -v and --json show of a TLS connection, or of a handshake that failed. What is not known is empty.
type tlsFacts struct {
	Version      string   `json:"version,omitempty"`
	CipherSuite  string   `json:"cipher_suite,omitempty"`
	Group        string   `json:"group,omitempty"`
	Resumed      bool     `json:"resumed"`
	Verified     bool     `json:"verified"`
	ServerName   string   `json:"server_name"`
	Subject      string   `json:"subject,omitempty"`
	Issuer       string   `json:"issuer,omitempty"`
	Names        []string `json:"names,omitempty"`
	NotAfter     string   `json:"not_after,omitempty"`
	notAfter     time.Time
	DaysLeft     int      `json:"-"`
	DaysLeftJSON *int     `json:"days_left,omitempty"` // filled in for JSON
	Chain        []string `json:"chain,omitempty"`
	// ClientCert is "not asked", "sent", or "asked, none to send".
	ClientCert string `json:"client_certificate,omitempty"`
	oneSided   bool   // this client has no certificate
}

// learn sets what a handshake brought, up to where it ended.
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
		t.Subject, t.Issuer, t.Names = leaf.Subject.String(), leaf.Issuer.String(), certNames(leaf)
		t.notAfter = leaf.NotAfter
		t.NotAfter = leaf.NotAfter.UTC().Format(time.RFC3339)
		t.DaysLeft = int(time.Until(leaf.NotAfter).Hours() / 24)
	}
	if len(state.VerifiedChains) > 0 {
		for _, cert := range state.VerifiedChains[0] {
			t.Chain = append(t.Chain, cert.Subject.String())
		}
	}
}

// writeFacts calls fact with each fact that is one line of -v.
func (t *tlsFacts) writeFacts(fact func(name, value string)) {
	words := []string{t.Version, t.CipherSuite, t.Group, map[bool]string{true: "resumed"}[t.Resumed], map[bool]string{false: "NOT VERIFIED"}[t.Verified]}
	fact("tls", strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	fact("tls server name", escape(t.ServerName))
	fact("tls subject", escape(t.Subject))
	fact("tls issuer", escape(t.Issuer))
	fact("tls names", escape(strings.Join(t.Names, ", ")))
	if t.NotAfter != "" {
		fact("tls expires", fmt.Sprintf("%s (%d days left)", t.NotAfter, t.DaysLeft))
	}
	if t.oneSided {
		fact("tls note", "RFC 9887 section 3.1 wants mutual authentication: --cert FILE gives this client a certificate")
	}
}

// forJSON returns a copy with all text escaped, or nil for nil.
func (t *tlsFacts) forJSON() *tlsFacts {
	if t == nil {
		return nil
	}
	shown := *t
	shown.ServerName, shown.Subject, shown.Issuer = escape(t.ServerName), escape(t.Subject), escape(t.Issuer)
	if t.NotAfter != "" {
		shown.DaysLeftJSON = &t.DaysLeft
	}
	shown.Names, shown.Chain = escapeAll(t.Names), escapeAll(t.Chain)
	return &shown
}
