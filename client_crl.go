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

// errRevoked is why a chain is refused.
type errRevoked struct {
	cert *x509.Certificate
	when time.Time
}

func (e *errRevoked) Error() string {
	return fmt.Sprintf("the certificate of %s was revoked on %s", e.cert.Subject, e.when.UTC().Format(time.DateOnly))
}

// checkRevocation looks for every certificate of the chains in the list of its issuer, on
// resumption too (RFC 9887 sections 3.4 and 3.6). One chain without a revoked one suffices.
func (c *tlsClient) checkRevocation(state *tls.ConnectionState) error {
	if len(c.crls) == 0 {
		return nil
	}
	chains := state.VerifiedChains
	if c.config.InsecureSkipVerify {
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

// sentChain is what there is in place of a verified chain: each certificate with the one that
// signed it, as far as the server sent them, and nil where it did not.
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

// checkChain looks for each certificate in the lists of its issuer's name. Those that another key
// of that name signed are another issuer's, and cover nothing (RFC 5280 section 6.3.3).
func (c *tlsClient) checkChain(chain []*x509.Certificate) error {
	for i, cert := range chain[:len(chain)-1] {
		issuer, signed, covered := chain[i+1], false, false
		var foreign error
		for _, list := range c.crls {
			if !bytes.Equal(list.RawIssuer, cert.RawIssuer) {
				continue
			}
			if issuer == nil {
				c.warn("the revocation list of %s cannot be checked: the server does not send the certificate of its issuer", cert.Issuer)
			} else if err := list.CheckSignatureFrom(issuer); err != nil {
				foreign = fmt.Errorf("the revocation list of %s is not signed by it: %w", cert.Issuer, err)
				continue
			}
			signed = true
			if id := unknownCritical(list); id != nil {
				c.warn("the revocation list of %s is not used: its critical extension %v is not known here", cert.Issuer, id)
				continue
			}
			if now := time.Now(); now.After(list.NextUpdate) && !list.NextUpdate.IsZero() || now.Before(list.ThisUpdate) {
				c.warn("the revocation list of %s is out of date: it is for %s to %s", cert.Issuer,
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
			c.warn("%v", foreign)
		}
		if !covered {
			c.warn("no revocation list of %s: whether %s was revoked is not known", cert.Issuer, cert.Subject)
		}
	}
	return nil
}

// unknownCritical is the extension of a list, or of an entry in it, for which the list must not be
// used (RFC 5280 sections 5.2 and 5.3): any that is critical, since those that the RFC lets be so
// are of lists in parts, which are not put together here.
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
