package main

import (
	"crypto/tls"
	"sync"
)

// A ticketCache returns every session ticket once, so that two connections cannot be linked by it (RFC 9887 section 3.6,
// RFC 8446 appendix C.4).
type ticketCache struct {
	mu      sync.Mutex
	tickets map[string][]*tls.ClientSessionState
}

// maxTickets is how many unused tickets are kept for a server.
const maxTickets = 8

// Put implements tls.ClientSessionCache.
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

// Get implements tls.ClientSessionCache. It removes the ticket.
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
