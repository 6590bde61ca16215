package main

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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

// A labelPair is the values of two labels.
type labelPair [2]string

// labelCounts are counters (*atomic.Uint64) by their labels (labelPair).
type labelCounts struct{ counters sync.Map }

// of returns the counter of labels.
func (c *labelCounts) of(labels labelPair) *atomic.Uint64 {
	n, found := c.counters.Load(labels)
	if !found {
		n, _ = c.counters.LoadOrStore(labels, new(atomic.Uint64))
	}
	return n.(*atomic.Uint64)
}

// write writes the counters, in the order of their labels, which have these names.
func (c *labelCounts) write(m *metricsText, names ...string) {
	counts := make(map[string]uint64)
	var order []string
	c.counters.Range(func(key, n any) bool {
		var labels []string
		for i, name := range names {
			labels = append(labels, label(name, key.(labelPair)[i]))
		}
		text := strings.Join(labels, ",")
		counts[text] = n.(*atomic.Uint64).Load()
		order = append(order, text)
		return true
	})
	slices.Sort(order)
	for _, labels := range order {
		m.sample(float64(counts[labels]), labels)
	}
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
			r.keys.of(labelPair{k.source})
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
	r.keys.of(labelPair{s.key}).Add(1)
	r.statuses.of(labelPair{known(s.request), known(s.status)}).Add(1)
	if conn != nil && s.took > 0 {
		if stats := conn.client.stats[conn.server.name]; stats != nil {
			stats.observe(s.took)
		}
	}
}
