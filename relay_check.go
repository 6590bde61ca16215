package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// describe implements --check-config: it reads everything, and returns what would run.
func (opts *relayOptions) describe(ctx context.Context, inv *invocation) (output, error) {
	config, err := opts.prepare(ctx, inv, newListener())
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, addr := range opts.listen {
		fmt.Fprintf(&b, "listen on %s\n", addr)
	}
	for _, addr := range opts.listenTLS {
		cert := config.tls.current.Load().config.Certificates[0].Leaf
		fmt.Fprintf(&b, "listen for TLS on %s, certificate of %s valid until %s\n", addr, opts.cert, cert.NotAfter.UTC().Format(time.RFC3339))
	}
	var devices []string
	for prefix, keys := range config.keys {
		name := "other devices"
		if prefix.IsValid() {
			name = "devices in " + prefix.String()
		} else if len(config.keys) == 1 {
			name = "devices"
		}
		devices = append(devices, name+": "+keySources(keys)+"\n")
	}
	slices.Sort(devices)
	b.WriteString(strings.Join(devices, ""))
	for _, srv := range config.lone.servers {
		addrs := config.addresses(ctx, srv, inv.printWarning)
		fmt.Fprintf(&b, "server %s %v: %s\n", srv, addrs, config.protection(srv, addrs))
	}
	c := config.lone
	fmt.Fprintf(&b, "timeout %v, connect timeout %v, retries %d, dead time %v\n", c.timeout, c.failoverTimeout, c.retries, *opts.deadTime)
	if opts.record != "" {
		fmt.Fprintf(&b, "record to %s\n", opts.record)
	}
	if ctx.Err() != nil {
		return nil, interrupted(ctx)
	}
	return &page{text: b.String()}, nil
}

// keySources returns where keys come from.
func keySources(keys []key) string {
	var sources []string
	for _, k := range keys {
		sources = append(sources, k.source)
	}
	switch len(keys) {
	case 0:
		return "no key"
	case 1:
		return "key from " + sources[0]
	}
	return "one of the keys from " + strings.Join(sources, ", ")
}

// protection returns how the packets to a server at one of the addresses are protected.
func (c *relayConfig) protection(srv server, addrs []netip.Addr) string {
	addr := netip.IPv4Unspecified() // of a name without an address
	if len(addrs) > 0 {
		addr = addrs[0]
	}
	switch own := c.lone.tls.ownCertificate(); {
	case !srv.tls && c.lone.unencrypted:
		return "not obfuscated"
	case !srv.tls:
		keys := c.lone.keysFor(srv, addr)
		return keySources(keys[:min(len(keys), 1)])
	case own != nil:
		return "TLS, own certificate valid until " + own.NotAfter.UTC().Format(time.RFC3339)
	}
	return "TLS"
}

// addresses returns the addresses of a server. It warns if there are none.
func (c *relayConfig) addresses(ctx context.Context, srv server, warnf warnFunc) []netip.Addr {
	limited, cancel := context.WithTimeout(ctx, c.lone.timeout)
	defer cancel()
	addrs, err := c.lone.resolve(limited, srv, new(timing))
	if err != nil && ctx.Err() == nil {
		warnf(warnUnresolved, "%v", err)
	}
	return addrs
}

// warnUnresolved warns of servers whose names have no address.
func (c *relayConfig) warnUnresolved(ctx context.Context, warnf warnFunc) {
	for _, srv := range c.lone.servers {
		c.addresses(ctx, srv, warnf)
	}
}
