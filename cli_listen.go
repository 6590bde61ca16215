package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"time"
)

// acceptOptions are the options of serve and relay for the connections that they accept.
type acceptOptions struct {
	proxies list
	limits  listenerLimits

	tlsOption      string // without which the following need not be given
	clientCA       string
	crls, names    list
	address        bool
	ticketLifetime time.Duration
}

// defaultTicketLifetime is the lifetime of session tickets. RFC 8446 section 4.6.1 allows a week.
const defaultTicketLifetime = 24 * time.Hour

// register declares the options. tlsOption is the one that those for TLS need.
func (o *acceptOptions) register(to *optionSet, tlsOption string) {
	o.limits, o.ticketLifetime, o.tlsOption = listenerLimits{maxConnections, maxPerAddress, shutdownTimeout}, defaultTicketLifetime, tlsOption
	to.add((*text)(&o.clientCA), "client-ca", "FILE", "with "+tlsOption+": require a client certificate signed by one of these CAs, PEM")
	to.add(&o.crls, "client-crl", "FILE", "with --client-ca: revocation list for clients, PEM or DER; repeatable")
	to.add(&o.names, "client-name", "NAME", "with --client-ca: DNS name (*. is for one label) or address in subjectAltName, one of which clients need; repeatable")
	to.add((*toggle)(&o.address), "client-address", "", "with --client-ca: the client's address must be in subjectAltName")
	to.add((*timeOrZero)(&o.ticketLifetime), "ticket-lifetime", "TIME", "with "+tlsOption+": lifetime of session tickets, each of which works once (default 24h; 0 for none)")
	to.add(&o.proxies, "proxy-protocol", "PREFIX", "connections from PREFIX begin with a PROXY header, version 1 or 2, that names the client; repeatable")
	to.add(&number{&o.limits.connections, 1, 1 << 16}, "max-connections", "N", "limit of open connections (default 1024); above it, the address that has most loses one")
	to.add(&number{&o.limits.perAddress, 1, 1 << 16}, "max-per-address", "N", "limit of open connections of one IPv4 address or IPv6 /64 (default 768)")
	to.add((*seconds)(&o.limits.drain), "drain-time", "TIME", "at the end, time for pending replies (default 4)")
}

// configure sets up l as the options describe it.
func (o *acceptOptions) configure(l *listener) error {
	l.limits = o.limits
	for _, value := range o.proxies {
		prefix, err := parsePrefix(value)
		if err != nil {
			return failf(classUsage, "--proxy-protocol \"%s\" %w", escape(value), err)
		}
		l.proxies = append(l.proxies, prefix)
	}
	return nil
}

// checkTLS checks the options for TLS. addrs are those that it is used on, if any.
func (o *acceptOptions) checkTLS(addrs []string) error {
	rules := len(o.crls) > 0 || len(o.names) > 0 || o.address
	switch addr := offLoopback(addrs); {
	case len(addrs) == 0 && (o.clientCA != "" || rules || o.ticketLifetime != defaultTicketLifetime):
		return failf(classUsage, "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need %s", o.tlsOption)
	case rules && o.clientCA == "":
		return failf(classUsage, "--client-crl, --client-name and --client-address need --client-ca")
	case addr != "" && o.clientCA == "":
		return failf(classUsage, "listening on %s over TLS needs --client-ca", escape(addr)).withHint(clientCertsRequired)
	}
	for _, name := range o.names {
		if err := checkClientName(name); err != nil {
			return failf(classUsage, "--client-name \"%s\" %w", escape(name), err)
		}
	}
	return nil
}

const clientCertsRequired = "RFC 9887 section 3.1 requires client certificates"

func checkClientName(name string) error {
	dns := strings.TrimPrefix(name, "*.")
	if _, err := netip.ParseAddr(name); err != nil && (dns == "" || strings.ContainsAny(dns, "*:/@ ") || strings.Contains(dns, "..") ||
		strings.HasPrefix(dns, ".") || strings.HasSuffix(dns, ".") || !printableASCII(dns)) {
		return errors.New("is not a DNS name, a DNS name with *. in front, or an address")
	}
	return nil
}

// reportCertificates prints that changed certificates were read or, with an error, why not.
func (inv *invocation) reportCertificates(err error) {
	if err == nil {
		inv.logf("read the changed certificates")
	} else {
		inv.printWarning(warnCertificatesKept, "%v; the certificates that were read before stay in use", err)
	}
}

// tlsServer reads the certificates of the files, or uses pair if they have none.
func (o *acceptOptions) tlsServer(ctx context.Context, inv *invocation, cert, certKey string, pair []tls.Certificate, change func(*tls.Config)) (*tlsServer, error) {
	s := &tlsServer{cert: cert, certKey: certKey, pair: pair, clientCA: o.clientCA, crls: o.crls, names: o.names, address: o.address,
		tickets: &ticketLedger{lifetime: o.ticketLifetime}, change: change, warnf: inv.printWarning, report: inv.reportCertificates}
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	inv.warnReadableKey(cert, certKey)
	if o.clientCA == "" {
		inv.warnf(warnNoClientCA, "clients need no certificate without --client-ca; %s", clientCertsRequired)
	}
	return s, nil
}
