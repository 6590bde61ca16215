package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"time"
)

// A decodeSummary is what --summary tells in place of the sessions: what each server answered and how
// long it took, then the clients that have trouble. Its size does not grow with the capture.
type decodeSummary struct {
	servers map[netip.AddrPort]*serverCount
	others  serverCount // the servers for which there is no room
}

const (
	maxServers  = 64
	maxTroubled = 10          // clients that are named for one kind of trouble
	slowReply   = time.Second // a server's time for a session above which it is slow
)

// A serverCount is what came of the sessions of one server.
type serverCount struct {
	sessions int
	statuses map[string]int
	took     histogram // of the sessions that had a reply
}

// A clientCount is what came of the sessions of one client.
type clientCount struct {
	sessions, noKey, noReply, slow int
	slowest                        time.Duration
}

// add counts a session.
func (s *decodeSummary) add(who *decodeClient, r *sessionRecord) {
	server := s.servers[r.server]
	switch {
	case server != nil:
	case len(s.servers) == maxServers:
		server = &s.others
	default:
		server = new(serverCount)
		s.servers[r.server] = server
	}
	if server.statuses == nil {
		server.statuses = make(map[string]int)
	}
	server.sessions++
	server.statuses[r.status]++
	if r.took > 0 {
		server.took.add(r.took)
	}
	who.count.sessions++
	switch r.status {
	case statusNoKey:
		who.count.noKey++
	case statusNoReply:
		who.count.noReply++
	}
	if r.took > slowReply {
		who.count.slow++
	}
	who.count.slowest = max(who.count.slowest, r.took)
}

// A decodeReport is what the command leaves behind: the summary, or nothing where the sessions were
// printed.
type decodeReport struct {
	Command string          `json:"command"`
	Servers []serverSummary `json:"servers"`
	Clients []clientSummary `json:"clients"` // that have trouble
	exitStatus
	empty bool
}

type serverSummary struct {
	Server   string             `json:"server"`
	Sessions int                `json:"sessions"`
	Status   map[string]int     `json:"status"`
	Took     map[string]float64 `json:"server_ms,omitempty"`
}

type clientSummary struct {
	Client    string  `json:"client"`
	Sessions  int     `json:"sessions"`
	NoKey     int     `json:"no_key,omitempty"`
	NoReply   int     `json:"no_reply,omitempty"`
	Slow      int     `json:"slow,omitempty"`
	SlowestMS float64 `json:"slowest_ms,omitempty"`
}

// summaryQuantiles are those of the table, in its order.
var summaryQuantiles = []struct {
	name string
	part float64
}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}}

// report is the summary of what was read, or an empty one where there is none.
func (d *decoder) report() *decodeReport {
	r := &decodeReport{Command: "decode", Servers: []serverSummary{}, Clients: []clientSummary{}, empty: d.summary == nil}
	if r.empty {
		return r
	}
	add := func(name string, count *serverCount) {
		s := serverSummary{Server: name, Sessions: count.sessions, Status: count.statuses}
		if count.took.count > 0 {
			s.Took = make(map[string]float64)
			for _, q := range summaryQuantiles {
				s.Took[q.name] = milliseconds(count.took.quantile(q.part))
			}
		}
		r.Servers = append(r.Servers, s)
	}
	servers := slices.Collect(maps.Keys(d.summary.servers))
	sort.Slice(servers, func(i, j int) bool { return servers[i].Compare(servers[j]) < 0 })
	for _, server := range servers {
		add(nameOf(server.String(), server.IsValid()), d.summary.servers[server])
	}
	if d.summary.others.sessions > 0 {
		add("all others", &d.summary.others)
	}
	clients := slices.Collect(maps.Values(d.clients))
	sort.Slice(clients, func(i, j int) bool { return clients[i].addr.Less(clients[j].addr) })
	for _, c := range append(clients, &d.others) {
		if n := &c.count; n.noKey+n.noReply+n.slow > 0 {
			name := nameOf(c.addr.String(), c.addr.IsValid())
			if c == &d.others {
				name = "all others"
			}
			r.Clients = append(r.Clients, clientSummary{name, n.sessions, n.noKey, n.noReply, n.slow, milliseconds(n.slowest)})
		}
	}
	return r
}

// nameOf is an address as a word; packets that come without IP have none.
func nameOf(addr string, valid bool) string {
	if !valid {
		return "unknown"
	}
	return addr
}

func (r *decodeReport) verbose() string { return r.line() }

func (r *decodeReport) json() string {
	if r.empty {
		return ""
	}
	return encodeJSON(r)
}

// line is the table: at most 100 columns.
func (r *decodeReport) line() string {
	if r.empty {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-47s %-10s %8s %10s %10s %10s\n", "server", "status", "sessions", "p50 ms", "p99 ms", "max ms")
	for _, s := range r.Servers {
		fmt.Fprintf(&b, "%-47s %-10s %8d", s.Server, "all", s.Sessions)
		for _, q := range summaryQuantiles {
			if s.Took == nil {
				fmt.Fprintf(&b, " %10s", "-")
			} else {
				fmt.Fprintf(&b, " %10.1f", s.Took[q.name])
			}
		}
		b.WriteByte('\n')
		statuses := slices.Sorted(maps.Keys(s.Status))
		sort.SliceStable(statuses, func(i, j int) bool { return s.Status[statuses[i]] > s.Status[statuses[j]] })
		for _, status := range statuses {
			fmt.Fprintf(&b, "%-47s %-10s %8d\n", "", status, s.Status[status])
		}
	}
	for _, trouble := range []struct {
		what  string
		count func(c *clientSummary) int
	}{
		{"sessions fit no key", func(c *clientSummary) int { return c.NoKey }},
		{"sessions without a reply", func(c *clientSummary) int { return c.NoReply }},
		{fmt.Sprintf("sessions took the server over %v", slowReply), func(c *clientSummary) int { return c.Slow }},
	} {
		r.troubled(&b, trouble.what, trouble.count)
	}
	return b.String()
}

// troubled writes the clients that one kind of trouble has, the worst first.
func (r *decodeReport) troubled(b *strings.Builder, what string, count func(c *clientSummary) int) {
	var clients []*clientSummary
	for i := range r.Clients {
		if c := &r.Clients[i]; count(c) > 0 {
			clients = append(clients, c)
		}
	}
	if len(clients) == 0 {
		return
	}
	sort.SliceStable(clients, func(i, j int) bool { return count(clients[i]) > count(clients[j]) })
	fmt.Fprintf(b, "\n%-47s %s\n", "client", what)
	for _, c := range clients[:min(len(clients), maxTroubled)] {
		fmt.Fprintf(b, "%-47s %d of %d\n", c.Client, count(c), c.Sessions)
	}
	if more := len(clients) - maxTroubled; more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
}
