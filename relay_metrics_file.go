package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"slices"
	"time"
)

// metricsInterval is the time between two writes of --metrics-file.
const metricsInterval = 15 * time.Second

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
	r.metrics.writeSessions(&m)
	m.family("tacacs_relay_device_connections", "gauge", "Open connections of devices.")
	m.sample(float64(r.listener.connections()))
	config.writeServers(&m)
	m.family("tacacs_relay_tls_not_after_seconds", "gauge", "Earliest expiry of the relay's own certificate and its authorities, by its option, in seconds since the epoch.")
	config.writeExpiry(&m)
	m.family("tacacs_relay_server_tls_not_after_seconds", "gauge", "Earliest expiry of the server's certificate and its authorities, in seconds since the epoch.")
	config.eachServer(func(srv server, label string, s *serverStats) {
		if at := s.certNotAfter.Load(); at != 0 {
			m.sample(float64(at), label)
		}
	})
	return m.String()
}

// writeServers writes the counters of each server, its state and the times of its replies.
func (c *relayConfig) writeServers(m *metricsText) {
	for e, metric := range serverMetrics {
		m.family("tacacs_relay_server_"+metric.name+"_total", "counter", metric.help)
		c.eachServer(func(srv server, label string, s *serverStats) { m.sample(float64(s.events[e].Load()), label) })
	}
	m.family("tacacs_relay_server_dead", "gauge", "Whether the server is skipped while another one answers.")
	c.eachServer(func(srv server, label string, s *serverStats) { m.sample(boolValue(c.lone.dead.isDead(srv)), label) })
	m.family("tacacs_relay_server_reply_seconds", "histogram", "Time that the server took for the replies of a session.")
	c.eachServer(func(srv server, label string, s *serverStats) { s.writeReplies(m, label) })
}

// eachServer calls f with each server, its label and its counters.
func (c *relayConfig) eachServer(f func(srv server, label string, s *serverStats)) {
	for i, srv := range c.lone.servers {
		if slices.IndexFunc(c.lone.servers, func(o server) bool { return o.name == srv.name }) == i { // else it is given twice
			f(srv, label("server", srv.name), c.lone.stats[srv.name])
		}
	}
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
	every(ctx, metricsInterval, func(time.Time) { _ = r.writeMetrics(logf) })
}

// endMetrics writes the file for the last time, within linesTimeout.
func (r *relayServer) endMetrics(logf func(format string, args ...any)) {
	if r.metrics != nil {
		within(linesTimeout, func() { _ = r.writeMetrics(logf) })
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
		write("cert", c.lone.tls.current(context.Background()).config.Certificates)
	}
}
