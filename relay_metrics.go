package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// relayMetrics are the numbers of --metrics-file. Sessions are counted without a lock. A nil *relayMetrics counts nothing.
type relayMetrics struct {
	file     string
	keys     labelCounts // sessions by the source of the device's key
	statuses labelCounts // sessions by request and status

	mu      sync.Mutex
	servers map[string]*serverStats // by name, also of those before a reload

	writing chan struct{} // has a value during each write: a lock
	failing bool          // the last write failed
}

// newRelayMetrics returns the metrics for a file, or nil without one.
func newRelayMetrics(file string) *relayMetrics {
	if file == "" {
		return nil
	}
	return &relayMetrics{file: file, servers: make(map[string]*serverStats), writing: make(chan struct{}, 1)}
}

const metricsInterval = 15 * time.Second

// A labelPair is the values of two labels.
type labelPair [2]string

// labelCounts are counters by their labels.
type labelCounts struct {
	mu       sync.Mutex // guards the replacement of counters
	counters atomic.Pointer[map[labelPair]*atomic.Uint64]
}

// of returns the counter of labels.
func (c *labelCounts) of(labels labelPair) *atomic.Uint64 {
	if n := c.all()[labels]; n != nil {
		return n
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[labelPair]*atomic.Uint64)
	for have, n := range c.all() {
		all[have] = n
	}
	if all[labels] == nil {
		all[labels] = new(atomic.Uint64)
	}
	c.counters.Store(&all)
	return all[labels]
}

func (c *labelCounts) all() map[labelPair]*atomic.Uint64 {
	if all := c.counters.Load(); all != nil {
		return *all
	}
	return nil
}

// write writes the counters, in the order of their labels, which have these names.
func (c *labelCounts) write(m *metricsText, names ...string) {
	var samples []string
	for values, n := range c.all() {
		var labels []string
		for i, name := range names {
			labels = append(labels, label(name, values[i]))
		}
		samples = append(samples, sampleOf(float64(n.Load()), labels))
	}
	slices.Sort(samples)
	for _, sample := range samples {
		m.add("", sample)
	}
}

// watch has a configuration counted: its servers and, so that unused ones show, its keys.
func (r *relayMetrics) watch(c *client, keys clientKeys) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.stats = make(map[string]*serverStats)
	for _, srv := range c.servers {
		if r.servers[srv.name] == nil {
			r.servers[srv.name] = new(serverStats)
		}
		c.stats[srv.name] = r.servers[srv.name]
	}
	for _, candidates := range keys {
		for _, k := range candidates {
			r.keys.of(labelPair{k.source})
		}
	}
}

// count counts a session that has ended.
func (r *relayMetrics) count(s *relayedSession) {
	if r == nil {
		return
	}
	r.keys.of(labelPair{s.tracker.key}).Add(1)
	r.statuses.of(labelPair{s.tracker.request, s.tracker.status}).Add(1)
	if conn := s.job.session.conn; conn != nil && s.tracker.took > 0 {
		if stats := conn.client.stats[conn.server.name]; stats != nil {
			stats.observe(s.tracker.took)
		}
	}
}

// serverMetrics are the counters of each server.
var serverMetrics = [serverEvents]struct{ name, help string }{
	serverOpened:   {"opens", "Connections made to the server."},
	serverClosed:   {"closes", "Connections to the server that were closed, by either side."},
	serverFailed:   {"failures", "Connects and TLS handshakes that failed."},
	serverTimedOut: {"timeouts", "Requests without a reply in time."},
	serverError:    {"errors", "Requests that the server answered with ERROR."},
	serverBad:      {"bad_replies", "Requests with a reply that cannot be used, or whose connection ended before the reply."},
}

// metricsText returns the metrics of the relay.
func (r *relayServer) metricsText() string {
	var m metricsText
	config := r.config.Load()
	m.family("tacacs_relay_sessions_total", "counter", "Sessions by the file of the device's key, which is empty over TLS.")
	r.metrics.keys.write(&m, "key")
	m.family("tacacs_relay_session_status_total", "counter", "Sessions by their request and status, as in the log.")
	r.metrics.statuses.write(&m, "request", "status")
	m.family("tacacs_relay_device_connections", "gauge", "Open connections of devices.")
	m.sample(float64(r.listener.connections()))
	for e, metric := range serverMetrics {
		m.family("tacacs_relay_server_"+metric.name+"_total", "counter", metric.help)
		config.eachServer(func(srv server, labels string, s *serverStats) { m.sample(float64(s.events[e].Load()), labels) })
	}
	m.family("tacacs_relay_server_dead", "gauge", "Whether the server is skipped while another one answers.")
	config.eachServer(func(srv server, labels string, s *serverStats) {
		m.sample(boolValue(config.lone.dead.isDead(srv)), labels)
	})
	m.family("tacacs_relay_server_reply_seconds", "histogram", "Time that the server took for the replies of a session.")
	config.eachServer(func(srv server, labels string, s *serverStats) { s.writeReplies(&m, labels) })
	m.family("tacacs_relay_tls_not_after_seconds", "gauge", "Earliest expiry of the relay's own certificate and its authorities, by its option, in seconds since the epoch.")
	config.writeExpiry(&m)
	m.family("tacacs_relay_server_tls_not_after_seconds", "gauge", "Earliest expiry of the server's certificate and its authorities, in seconds since the epoch.")
	config.eachServer(func(srv server, labels string, s *serverStats) {
		if at := s.certNotAfter.Load(); at != 0 {
			m.sample(float64(at), labels)
		}
	})
	return m.String()
}

// eachServer calls f with each server, its label and its counters.
func (c *relayConfig) eachServer(f func(srv server, labels string, s *serverStats)) {
	seen := make(map[*serverStats]bool) // a server may be given twice
	for _, srv := range c.lone.servers {
		if s := c.lone.stats[srv.name]; !seen[s] {
			seen[s] = true
			f(srv, label("server", srv.name), s)
		}
	}
}

// startMetrics writes the file for the first time. An error is a mistake of the operator, but not that the disk is full.
func (r *relayServer) startMetrics(logf func(format string, args ...any)) error {
	if r.metrics == nil {
		return nil
	}
	err := r.writeMetrics(logf)
	if lacksResources(err) {
		return nil
	}
	return err
}

// writeMetrics writes the file. It warns when writes begin to fail, and when they succeed again.
func (r *relayServer) writeMetrics(logf func(format string, args ...any)) error {
	m := r.metrics
	m.writing <- struct{}{}
	defer func() { <-m.writing }()
	err := replaceFile("metrics", m.file, r.metricsText(), 0o644)
	if failing := err != nil; failing != m.failing {
		if m.failing = failing; failing {
			logf("%v", err)
		} else {
			logf("metrics are written again")
		}
	}
	return err
}

// runMetrics writes the file at each interval, until ctx ends.
func (r *relayServer) runMetrics(ctx context.Context, logf func(format string, args ...any)) {
	if r.metrics == nil {
		return
	}
	ticker := time.NewTicker(metricsInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			_ = r.writeMetrics(logf)
		}
	}
}

// endMetrics writes the file for the last time, within linesTimeout.
func (r *relayServer) endMetrics(logf func(format string, args ...any)) {
	if r.metrics == nil {
		return
	}
	written := make(chan struct{})
	go func() { _ = r.writeMetrics(logf); close(written) }()
	select {
	case <-written:
	case <-time.After(linesTimeout):
	}
}

// writeExpiry writes the expiry of each certificate of the relay.
func (c *relayConfig) writeExpiry(m *metricsText) {
	write := func(option string, pairs []tls.Certificate) {
		var first time.Time
		for _, pair := range pairs {
			for _, der := range pair.Certificate {
				if cert, err := x509.ParseCertificate(der); err == nil && (first.IsZero() || cert.NotAfter.Before(first)) {
					first = cert.NotAfter
				}
			}
		}
		if !first.IsZero() {
			m.sample(float64(first.Unix()), label("option", option))
		}
	}
	if c.tls != nil {
		write("listen-cert", c.tls.refresh(context.Background()).config.Certificates)
	}
	if c.lone.tls != nil {
		write("cert", c.lone.tls.config.Certificates)
	}
}
