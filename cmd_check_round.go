package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A checkFormat is the form of the report. Without one of these it is text or, with --json, JSON.
type checkFormat struct {
	nagios, prometheus bool
	limits             nagiosLimits
}

// A checkReport is the result of one round of checks.
type checkReport struct {
	report
	Servers []*serverCheck   `json:"servers"`
	Skipped []*skippedTarget `json:"skipped,omitempty"`

	format      checkFormat
	ownCert     *x509.Certificate // of this client; nil for none
	interrupted bool
}

// A skippedTarget is an address that is not checked.
type skippedTarget struct {
	Server string `json:"server"`
	Reason string `json:"reason"`
}

// checkTargets checks all targets side by side. Then it tries a wrong password once for each name, unless a login was
// denied: the servers have the same accounts, most likely.
func (r *checkReport) checkTargets(ctx context.Context, targets []*target, plan *checkPlan) {
	targets = r.skipUnrouted(targets)
	r.Servers = make([]*serverCheck, len(targets))
	startConcurrent(len(targets), func(i int) {
		if r.Servers[i] = newServerCheck(targets[i], plan); targets[i].err == nil {
			r.Servers[i].run(ctx)
		}
	}).Wait()
	if !plan.negative {
		return
	}
	denied := slices.ContainsFunc(r.Servers, func(s *serverCheck) bool { return s.anyDenied })
	var once []*serverCheck // one address of each name
	for _, s := range r.Servers {
		s.negativeSkipped = denied
		if !denied && s.Login != "" && !slices.ContainsFunc(once, func(o *serverCheck) bool { return o.server().sameName(s.server()) }) {
			once = append(once, s)
		}
	}
	startConcurrent(len(once), func(i int) { once[i].tryWrongPassword(ctx) }).Wait()
}

// skipUnrouted returns the targets without the addresses of a family that this host does not have, such as IPv6. They
// stay if a name has no other address.
func (r *checkReport) skipUnrouted(targets []*target) (kept []*target) {
	own := localAddrs()
	for _, t := range targets {
		srv := &t.client.servers[0]
		another := false
		for _, o := range targets {
			other := &o.client.servers[0]
			another = another || other.sameName(*srv) && hasFamily(own, other.addr)
		}
		if !another || hasFamily(own, srv.addr) {
			kept = append(kept, t)
			continue
		}
		family := choose(srv.addr.Is4(), "IPv4", "IPv6")
		r.Skipped = append(r.Skipped, &skippedTarget{t.name(), "this host has no " + family + " address"})
	}
	return kept
}

// localAddrs returns the addresses of this host.
func localAddrs() (own []netip.Addr) {
	list, _ := net.InterfaceAddrs() // without a list nothing is skipped
	for _, a := range list {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			own = append(own, p.Addr().Unmap())
		}
	}
	return own
}

// hasFamily reports whether a host with these addresses has one from which it may reach addr: of its family, and for
// the same scope.
func hasFamily(own []netip.Addr, addr netip.Addr) bool {
	return !addr.IsValid() || len(own) == 0 || slices.ContainsFunc(own, func(o netip.Addr) bool {
		return o.Is4() == addr.Is4() && o.IsLoopback() == addr.IsLoopback() && (addr.Is4() || o.IsLinkLocalUnicast() == addr.IsLinkLocalUnicast())
	})
}

// nagiosLimits are the limits above which a server that replies is not OK.
type nagiosLimits struct {
	warn, crit time.Duration // 0: none
	certDays   dayLimits
}

// dayLimits are the days that a certificate must have left: below warn is WARNING, below crit CRITICAL.
type dayLimits struct{ warn, crit int }

func (d *dayLimits) String() string { return "" }

// Set implements flag.Value: WARN or WARN,CRIT. Without CRIT it is the default, or WARN if that is less.
func (d *dayLimits) Set(s string) error {
	warn, crit, both := strings.Cut(s, ",")
	w, err := strconv.Atoi(warn)
	c := min(w, 7)
	if both && err == nil {
		c, err = strconv.Atoi(crit)
	}
	if err != nil || c < 0 || c > w || w > 3650 {
		return fmt.Errorf("must be WARN or WARN,CRIT: days from 0 to 3650, CRIT not above WARN")
	}
	*d = dayLimits{w, c}
	return nil
}

// state returns the state of a certificate with so many days left.
func (d dayLimits) state(days int) exitCode {
	switch {
	case days < d.crit:
		return nagiosCritical
	case days < d.warn:
		return nagiosWarning
	}
	return nagiosOK
}
