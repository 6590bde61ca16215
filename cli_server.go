package main

import (
	"net/netip"
	"time"
)

// serverOptions are the options for the servers and the connection to them.
type serverOptions struct {
	host          string
	port          int
	timeout       time.Duration
	retries       int
	ipv4, ipv6    bool
	source        string
	device        string
	singleConnect bool
	unencrypted   bool
	tls           tlsOptions

	servers    []server // of host, set by check
	sourceAddr netip.Addr
}

func (s *serverOptions) register(o groupOptions) {
	s.timeout = 10 * time.Second
	o.add((*anyText)(&s.host), "H host", "HOST", "servers, in place of the word HOST")
	o.add(&number{&s.port, 1, 65535}, "p port", "PORT", "port of servers without one of their own (default 49; 300 with --tls)")
	o.add((*seconds)(&s.timeout), "timeout", "TIME", "limit for each server: seconds (2.5) or a duration (500ms) (default 10)")
	o.add(&number{&s.retries, 0, 1000}, "retries", "N", "retry the whole server list N times (default 0)")
	o.add((*toggle)(&s.ipv4), "4", "", "use IPv4 only")
	o.add((*toggle)(&s.ipv6), "6", "", "use IPv6 only")
	o.add((*text)(&s.source), "source", "ADDR", "local address to connect from")
	o.add((*text)(&s.device), "interface", "DEV", "network device or VRF to connect through (Linux)")
	o.add((*toggle)(&s.singleConnect), "single-connect", "", "ask for single-connection mode")
	o.add((*toggle)(&s.unencrypted), "unencrypted", "", "no key: everything is readable on the wire")
}

func (s *serverOptions) check() (err error) {
	if err := s.tls.check(); err != nil {
		return err
	}
	if s.tls.enabled && s.unencrypted {
		return failf(classUsage, "--tls and --unencrypted exclude each other")
	}
	if s.port == 0 {
		if s.port = 49; s.tls.enabled {
			s.port = 300
		}
	}
	if s.servers, err = parseServers(s.host, uint16(s.port)); err != nil {
		return err
	}
	if s.ipv4 && s.ipv6 {
		return failf(classUsage, "-4 and -6 exclude each other")
	}
	if s.source != "" {
		if s.sourceAddr, err = netip.ParseAddr(s.source); err != nil {
			return failf(classUsage, "--source \"%s\" is not an address", escape(s.source))
		}
		if s.ipv4 && !s.sourceAddr.Is4() || s.ipv6 && s.sourceAddr.Is4() {
			return failf(classUsage, "--source %s has the other address family", s.source)
		}
	}
	if s.device != "" && !canBindToDevice {
		return failf(classUsage, "--interface works on Linux only").withHint("--source chooses the local address")
	}
	return nil
}

func (s *serverOptions) network() string {
	switch {
	case s.ipv4 || s.sourceAddr.IsValid() && s.sourceAddr.Is4():
		return "tcp4"
	case s.ipv6 || s.sourceAddr.IsValid():
		return "tcp6"
	}
	return "tcp"
}
