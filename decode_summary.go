package main

import (
	"cmp"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"time"
)

// A decodeSummary is the result of --summary: the statuses and times of each server, up to maxServers.
type decodeSummary struct {
	servers map[netip.AddrPort]*serverCount
	others  serverCount // the servers beyond maxServers
}

const (
	maxServers  = 64
	maxTroubled = 10          // clients in the table of one problem
	slowReply   = time.Second // a session is slow if the server takes longer
)

// A serverCount counts the sessions of one server.
type serverCount struct {
	addr     netip.AddrPort
	sessions int
	statuses map[string]int
	took     histogram // of the sessions that had a reply
}

// A clientCount counts the sessions of one client.
type clientCount struct {
	addr                           netip.Addr
	sessions, noKey, noReply, slow int
	slowest                        time.Duration
}

// add counts a session.
func (s *decodeSummary) add(client *clientCount, r *sessionRecord) {
	server := s.servers[r.server]
	switch {
	case server != nil:
	case len(s.servers) == maxServers:
		server = &s.others
	default:
		server = &serverCount{addr: r.server}
		s.servers[r.server] = server
	}
	if server.statuses == nil {
		server.statuses = make(map[string]int)
	}
	if server.statuses[r.status]++; r.request == "" { // a connection without sessions
		return
	}
	server.sessions++
	if r.took > 0 {
		server.took.add(r.took)
	}
	client.sessions++
	switch r.status {
	case statusNoKey:
		client.noKey++
	case statusNoReply, statusReset:
		client.noReply++
	}
	if r.took > slowReply {
		client.slow++
	}
	client.slowest = max(client.slowest, r.took)
}

// A decodeReport is the result of decode.
type decodeReport struct {
	Command string           `json:"command"`
	Servers []*serverSummary `json:"servers"`
	Clients []*clientSummary `json:"clients"` // those with problems
	exitStatus
	empty   bool // sessions were printed instead
	keyless bool // no key was given
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

	place int // among the clients
}

// problems returns the counts of sessions with each problem, in the order of the tables.
func (c *clientSummary) problems() [3]int { return [...]int{c.NoKey, c.NoReply, c.Slow} }

// summaryQuantiles are the columns of the table.
var summaryQuantiles = []struct {
	name string
	part float64
}{{"p50", 0.5}, {"p99", 0.99}, {"max", 1}}

// newDecodeReport reports a summary, or nothing if it is nil. others counts the sessions of clients beyond maxClients.
func newDecodeReport(s *decodeSummary, clients []*clientCount, others *clientCount) *decodeReport {
	r := &decodeReport{Command: "decode", Servers: []*serverSummary{}, Clients: []*clientSummary{}, empty: s == nil}
	if r.empty {
		return r
	}
	var servers []*serverCount
	for _, server := range s.servers {
		servers = append(servers, server)
	}
	sort.SliceStable(servers, func(i, j int) bool { return servers[i].addr.Compare(servers[j].addr) < 0 })
	for _, server := range servers {
		r.addServer(addrName(server.addr.String(), server.addr.IsValid()), server)
	}
	if s.others.sessions > 0 {
		r.addServer("all others", &s.others)
	}
	sort.SliceStable(clients, func(i, j int) bool { return clients[i].addr.Less(clients[j].addr) })
	for _, c := range append(clients, others) {
		if c.noKey+c.noReply+c.slow == 0 {
			continue
		}
		name := addrName(c.addr.String(), c.addr.IsValid())
		if c == others {
			name = "all others"
		}
		r.Clients = append(r.Clients, &clientSummary{name, c.sessions, c.noKey, c.noReply, c.slow, milliseconds(c.slowest), len(r.Clients)})
	}
	return r
}

func (r *decodeReport) addServer(name string, count *serverCount) {
	s := &serverSummary{Server: name, Sessions: count.sessions, Status: count.statuses}
	if count.took.count > 0 {
		s.Took = make(map[string]float64)
		for _, q := range summaryQuantiles {
			s.Took[q.name] = milliseconds(count.took.quantile(q.part))
		}
	}
	r.Servers = append(r.Servers, s)
}

// addrName returns an address as text. Packets that come without IP have none.
func addrName(addr string, valid bool) string {
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

// line returns the table, which has at most 100 columns.
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
		var counts countList
		for status, n := range s.Status {
			counts = append(counts, &namedCount{name: status, n: n})
		}
		for _, c := range counts.sorted() {
			fmt.Fprintf(&b, "%-47s %-10s %8d\n", "", c.name, c.n)
		}
	}
	unread := "sessions that no key fits"
	if r.keyless {
		unread = "sessions that need a key"
	}
	for i, what := range [...]string{unread, "sessions without a reply", fmt.Sprintf("sessions slower than %v", slowReply)} {
		r.writeClients(&b, what, i)
	}
	return b.String()
}

// writeClients writes the table of one problem: its clients, the worst first.
func (r *decodeReport) writeClients(b *strings.Builder, what string, problem int) {
	var clients []*clientSummary
	for _, c := range r.Clients {
		if c.problems()[problem] > 0 {
			clients = append(clients, c)
		}
	}
	if len(clients) == 0 {
		return
	}
	sort.SliceStable(clients, func(i, j int) bool {
		a, b := clients[i], clients[j]
		return cmp.Or(b.problems()[problem]-a.problems()[problem], a.place-b.place) < 0
	})
	fmt.Fprintf(b, "\n%-47s %s\n", "client", what)
	for _, c := range clients[:min(len(clients), maxTroubled)] {
		fmt.Fprintf(b, "%-47s %d of %d\n", c.Client, c.problems()[problem], c.Sessions)
	}
	if more := len(clients) - maxTroubled; more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
}
