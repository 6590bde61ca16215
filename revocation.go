package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// errRevoked refuses a chain with a revoked certificate.
var errRevoked = errors.New("was revoked")

// A revocation is the lists of revoked certificates that connections are checked against.
type revocation struct {
	lists []*x509.RevocationList
	warnf warnFunc // not silenced by -q
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

// sentChain builds a chain from the certificates that the server sent, in place of a verified one. It ends with nil if
// the last issuer was not sent.
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

// checkChain looks up each certificate in the lists of its issuer's name. A list that another key signed is ignored (RFC
// 5280 section 6.3.3).
func (c *revocation) checkChain(chain []*x509.Certificate) error {
	for i, cert := range chain[:len(chain)-1] {
		issuer, issuerName, signed, covered := chain[i+1], &cert.Issuer, false, false
		var foreign error
		for _, list := range c.lists {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
				continue
			}
			if issuer == nil {
				c.warnf(warnCRLUnchecked, "cannot check the revocation list of %s: the server did not send the issuer's certificate", issuerName)
			} else if err := list.CheckSignatureFrom(issuer); err != nil {
				foreign = fmt.Errorf("the revocation list of %s is not signed by it: %w", issuerName, err)
				continue
			}
			signed = true
			if id := unknownCritical(list); id != nil {
				c.warnf(warnCRLUnchecked, "the revocation list of %s is ignored: unknown critical extension %v", issuerName, id)
				continue
			}
			if now := time.Now(); now.After(list.NextUpdate) && !list.NextUpdate.IsZero() || now.Before(list.ThisUpdate) {
				c.warnf(warnCRLExpired, "the revocation list of %s is out of date: valid from %s to %s", issuerName,
					list.ThisUpdate.UTC().Format(time.DateOnly), list.NextUpdate.UTC().Format(time.DateOnly))
			}
			covered = issuer != nil
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(cert.SerialNumber) == 0 {
					return fmt.Errorf("the certificate of %s %w on %s", &cert.Subject, errRevoked, entry.RevocationTime.UTC().Format(time.DateOnly))
				}
			}
		}
		if foreign != nil && !signed {
			c.warnf(warnCRLUnchecked, "%v", foreign)
		}
		if !covered {
			c.warnf(warnCRLMissing, "no revocation list of %s: cannot tell whether %s was revoked", issuerName, &cert.Subject)
		}
	}
	return nil
}

// unknownCritical returns the critical extension of a list or an entry that forbids to use the list (RFC 5280 sections 5.2
// and 5.3): any one, since the RFC's own belong to partial lists, which are not supported.
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

// warnOnce returns a warnFunc that prints each text only once.
func warnOnce(warn warnFunc) warnFunc {
	var shown sync.Map
	return func(w warning, format string, args ...any) {
		if _, before := shown.LoadOrStore(fmt.Sprintf(format, args...), true); !before {
			warn(w, format, args...)
		}
	}
}
