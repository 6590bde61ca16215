package main

// acceptOptions are the options of serve and relay for the connections that they accept.
type acceptOptions struct {
	proxies list
	limits  listenerLimits
}

func (o *acceptOptions) register(to *optionSet) {
	o.limits = listenerLimits{maxConnections, maxPerAddress, shutdownTimeout}
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
