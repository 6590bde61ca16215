package main

import (
	"slices"
	"strings"
	"sync"
)

// relayMetrics are the numbers of --metrics-file. A nil *relayMetrics counts nothing.
type relayMetrics struct {
	file string

	mu       sync.Mutex
	keys     labelCounts             // sessions by the source of the device's key
	statuses labelCounts             // sessions by request and status
	servers  map[string]*serverStats // by name, also of those before a reload

	writing chan struct{} // has a value during each write: a lock
	failing bool          // the last write failed
}

// newRelayMetrics returns the metrics for a file, or nil without one.
func newRelayMetrics(file string) *relayMetrics {
	if file == "" {
		return nil
	}
	return &relayMetrics{file: file, keys: make(labelCounts), statuses: make(labelCounts), servers: make(map[string]*serverStats), writing: make(chan struct{}, 1)}
}

// labelCounts are counters by the labels that metrics have.
type labelCounts map[string]uint64

// write writes the counters, in the order of their labels.
func (c labelCounts) write(m *metricsText) {
	var order []string
	for labels := range c {
		order = append(order, labels)
	}
	slices.Sort(order)
	for _, labels := range order {
		m.sample(float64(c[labels]), labels)
	}
}

// writeSessions writes the counters of sessions.
func (r *relayMetrics) writeSessions(m *metricsText) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.family("tacacs_relay_sessions_total", "counter", "Sessions by the file of the device's key, which is empty over TLS.")
	r.keys.write(m)
	m.family("tacacs_relay_session_status_total", "counter", "Sessions by their request and status, as in the log.")
	r.statuses.write(m)
}

// watch has a configuration counted: its servers and, so that unused ones show, its keys.
func (r *relayMetrics) watch(c *client, keys clientKeys) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.stats = make(statsByServer)
	for _, srv := range c.servers {
		if r.servers[srv.name] == nil {
			r.servers[srv.name] = new(serverStats)
		}
		c.stats[srv.name] = r.servers[srv.name]
	}
	for _, candidates := range keys {
		for _, k := range candidates {
			r.keys[label("key", k.source)] += 0
		}
	}
}

// known returns a request or a status, and "other" for a number without a name: peers choose numbers, and each would be a
// series of its own.
func known(name string) string {
	if strings.HasPrefix(name, "0x") {
		return "other"
	}
	return name
}

// count counts a session that has ended, on its last connection to a server or nil.
func (r *relayMetrics) count(s *sessionTracker, conn *serverConn) {
	if r == nil {
		return
	}
	r.mu.Lock()
	r.keys[label("key", s.key)]++
	r.statuses[label("request", known(s.request))+","+label("status", known(s.status))]++
	r.mu.Unlock()
	if conn != nil && s.took > 0 {
		if stats := conn.client.stats[conn.server.name]; stats != nil {
			stats.observe(s.took)
		}
	}
}
