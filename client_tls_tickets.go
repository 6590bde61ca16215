package main

import (
	"crypto/tls"
	"sync"
)

// A ticketCache gives every session ticket out once, so that two connections cannot be linked
// by it (RFC 9887 section 3.6, RFC 8446 appendix C.4). It lasts as long as the run.
type ticketCache struct {
	mu      sync.Mutex
	tickets map[string][]*tls.ClientSessionState
}

// maxTickets is how many unused tickets are kept for one server.
const maxTickets = 8

// Put keeps a ticket.
func (t *ticketCache) Put(server string, state *tls.ClientSessionState) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tickets == nil {
		t.tickets = make(map[string][]*tls.ClientSessionState)
	}
	if have := t.tickets[server]; state != nil && len(have) < maxTickets {
		t.tickets[server] = append(have, state)
	}
}

// Get gives a ticket away.
func (t *ticketCache) Get(server string) (*tls.ClientSessionState, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	have := t.tickets[server]
	if len(have) == 0 {
		return nil, false
	}
	t.tickets[server] = have[1:]
	return have[0], true
}
