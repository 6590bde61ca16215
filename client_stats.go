package main

import (
	"math"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

// serverStats counts what happens with one server. Any goroutine may count, without a lock.
type serverStats struct {
	events       [serverEvents]atomic.Uint64
	replies      [len(replyBuckets) + 1]atomic.Uint64 // by their time; the last is for those over all buckets
	replyTime    atomic.Int64                         // of all replies, in nanoseconds
	certNotAfter atomic.Int64                         // earliest expiry of its certificate and authorities, in seconds since the epoch, or 0
}

// A serverEvent is what serverStats counts.
type serverEvent uint8

const (
	serverOpened   serverEvent = iota // a connection was made, with the handshake
	serverClosed                      // by either side
	serverFailed                      // connecting or the handshake failed
	serverTimedOut                    // a reply did not come in time
	serverError                       // the server replied ERROR
	serverBad                         // a connection ended before the reply, or the reply cannot be used
	serverEvents   = iota
)

// replyBuckets are the upper limits of the buckets of replies.
var replyBuckets = [...]time.Duration{time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second}

// statsByServer are the counters of servers by their names. Servers that it does not have are not counted.
type statsByServer map[string]*serverStats

// count counts an event of a server.
func (m statsByServer) count(srv server, e serverEvent) {
	if s := m[srv.name]; s != nil {
		s.events[e].Add(1)
	}
}

// observe counts a reply that took some time.
func (s *serverStats) observe(took time.Duration) {
	i, _ := slices.BinarySearch(replyBuckets[:], took)
	s.replies[i].Add(1)
	s.replyTime.Add(int64(took))
}

// writeReplies writes the histogram of replies.
func (s *serverStats) writeReplies(m *metricsText, server string) {
	n := uint64(0)
	for i := range s.replies {
		limit := math.Inf(1)
		if i < len(replyBuckets) {
			limit = replyBuckets[i].Seconds()
		}
		n += s.replies[i].Load()
		m.add("_bucket", float64(n), server, label("le", strconv.FormatFloat(limit, 'f', -1, 64)))
	}
	m.add("_sum", time.Duration(s.replyTime.Load()).Seconds(), server)
	m.add("_count", float64(n), server)
}
