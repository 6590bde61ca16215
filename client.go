package main

import (
	"net/netip"
	"time"
)

// A client is the configuration of how servers are reached. It never changes after it was made, and all requests of a
// run share it. RFC 8907 sections 4.3 and 4.4.
type client struct {
	servers       []server
	swappedHost   string // USER if it looks like a host name, for the swapped-arguments hint; or empty
	keys          []key  // the first is used; the others are tried on a reply that it does not fit
	timeout       time.Duration
	retries       int    // more rounds over the servers
	network       string // tcp, tcp4 or tcp6
	source        netip.Addr
	device        string
	remAddr       string // for the field rem_addr; empty for the address of the connection
	singleConnect bool   // to be offered
	cleartext     bool   // packets are not obfuscated: over TLS, or because --unencrypted asks for it
	tls           *tlsClient
	dump          *dumper
	unredacted    bool // replies keep what they repeat of our secrets: they are for somebody else
}

// only returns a client of that server alone.
func (c *client) only(srv server) *client {
	one := *c
	one.servers = []server{srv}
	return &one
}

// A key is a shared secret and where it came from, for the hint that names it.
type key struct {
	source string
	value  string
}

// transport returns what the connections are made of, as JSON shows it.
func (c *client) transport() string {
	if c.tls != nil {
		return "tls"
	}
	return "tcp"
}
