package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"slices"
	"time"
)

// An errRevoked refuses a chain with a revoked certificate.
type errRevoked struct {
	cert *x509.Certificate
	when time.Time
}

func (e *errRevoked) Error() string {
	return fmt.Sprintf("the certificate of %s was revoked on %s", e.cert.Subject, e.when.UTC().Format(time.DateOnly))
}

// A revocation is the lists of revoked certificates that connections are checked against.
type revocation struct {
	lists []*x509.RevocationList
	warnf func(format string, args ...any) // gets what a list does not tell; -q does not hide it
}

// check looks up every certificate of the chains in the list of its issuer, on resumption too (RFC 9887 sections 3.4
// and 3.6). One chain without a revoked certificate suffices. unverified reports whether the chains were not verified.
func (c *revocation) check(state *tls.ConnectionState, unverified bool) error {
	if len(c.lists) == 0 {
		return nil
	}
	chains := state.VerifiedChains
	if unverified {
		chains = [][]*x509.Certificate{sentChain(state.PeerCertificates)}
	}
	var err error
	for _, chain := range chains {
		if err = c.checkChain(chain); err == nil {
			return nil
		}
	}
	return err
}

// sentChain returns what replaces a verified chain: each certificate with the one that signed it, as far as the server
// sent them. It ends with nil if the last issuer was not sent.
func sentChain(sent []*x509.Certificate) []*x509.Certificate {
	chain := sent[:1:1]
	for range sent {
		last := chain[len(chain)-1]
		i := slices.IndexFunc(sent, func(c *x509.Certificate) bool { return last.CheckSignatureFrom(c) == nil })
		if i < 0 {
			return append(chain, nil)
		}
		if sent[i] == last {
			break // a root
		}
		chain = append(chain, sent[i])
	}
	return chain
}

// checkChain looks up each certificate in the lists of its issuer's name. A list that another key of that name signed is
// another issuer's, and covers nothing (RFC 5280 section 6.3.3).
func (c *revocation) checkChain(chain []*x509.Certificate) error {
	for i, cert := range chain[:len(chain)-1] {
		issuer, signed, covered := chain[i+1], false, false
		var foreign error
		for _, list := range c.lists {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
				continue
			}
			if issuer == nil {
				c.warnf("the revocation list of %s cannot be checked: the server does not send the certificate of its issuer", cert.Issuer)
			} else if err := list.CheckSignatureFrom(issuer); err != nil {
				foreign = fmt.Errorf("the revocation list of %s is not signed by it: %w", cert.Issuer, err)
				continue
			}
			signed = true
			if id := unknownCritical(list); id != nil {
				c.warnf("the revocation list of %s is not used: its critical extension %v is not known here", cert.Issuer, id)
				continue
			}
			if now := time.Now(); now.After(list.NextUpdate) && !list.NextUpdate.IsZero() || now.Before(list.ThisUpdate) {
				c.warnf("the revocation list of %s is out of date: it is for %s to %s", cert.Issuer,
					list.ThisUpdate.UTC().Format(time.DateOnly), list.NextUpdate.UTC().Format(time.DateOnly))
			}
			covered = issuer != nil
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return &errRevoked{cert, entry.RevocationTime}
				}
			}
		}
		if foreign != nil && !signed {
			c.warnf("%v", foreign)
		}
		if !covered {
			c.warnf("no revocation list of %s: whether %s was revoked is not known", cert.Issuer, cert.Subject)
		}
	}
	return nil
}

// unknownCritical returns the critical extension of a list, or of an entry, that forbids to use the list (RFC 5280
// sections 5.2 and 5.3). That is any critical one: the RFC's own belong to lists in parts, which are not supported.
func unknownCritical(list *x509.RevocationList) asn1.ObjectIdentifier {
	critical := func(e pkix.Extension) bool { return e.Critical }
	if i := slices.IndexFunc(list.Extensions, critical); i >= 0 {
		return list.Extensions[i].Id
	}
	for _, entry := range list.RevokedCertificateEntries {
		if i := slices.IndexFunc(entry.Extensions, critical); i >= 0 {
			return entry.Extensions[i].Id
		}
	}
	return nil
}
