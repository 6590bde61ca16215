package main

import (
	"net/netip"
	"time"
)

// A client is what is known of the servers and of how to reach them. It does not change, and all
// who ask share it. RFC 8907 sections 4.3 and 4.4.
type client struct {
	servers       []server
	swappedHost   string // to be a server, where USER and HOST stand the wrong way round; empty for nothing
	keys          []key  // the first is used; the others are tried on a reply that it does not fit
	timeout       time.Duration
	retries       int    // more rounds over the servers
	network       string // tcp, tcp4 or tcp6
	source        netip.Addr
	device        string
	remAddr       string // for the field rem_addr; empty for the address of the connection
	singleConnect bool   // to be offered
	cleartext     bool   // packets go without obfuscation: over TLS, or asked for in so many words
	tls           *tlsClient
	dump          *dumper
	unredacted    bool                             // what servers say is somebody else's, who gets all of it
	warnf         func(format string, args ...any) // gets warnings; nil where nobody wants them
}

func (c *client) warn(format string, args ...any) {
	if c.warnf != nil {
		c.warnf(format, args...)
	}
}

// A key is a shared secret and where it came from, for the hint that names it.
type key struct {
	source string
	value  string
}

var ()
