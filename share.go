package main

import (
	"cmp"
	"net/netip"
	"sync"
)

// A share divides a limited number of places among clients. One address can have three quarters of them as long as no
// other needs any: it has at most sharePart times as many as are free. So a new address finds a place, although others take
// what they can get.
type share struct {
	limit int
	what  string // the places are for, such as connections

	mu     sync.Mutex
	taken  int
	claims map[netip.Addr]*claim // of each limitKey
}

// A claim is the part of a share that one address has.
type claim struct {
	share *share
	key   netip.Addr
	taken int
	users int // that will call leave; without users and places the claim is dropped
}

const (
	sharePart    = 3
	shareReserve = 8 // an eighth of the places is for addresses that have none
)

func newShare(limit int, what string) *share {
	return &share{limit: limit, what: what, claims: make(map[netip.Addr]*claim)}
}

// claim returns the claim of a client. leave must follow, unless the whole share is dropped.
func (s *share) claim(client netip.Addr) *claim {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.claimOf(limitKey(client))
	c.users++
	return c
}

// claimOf returns the claim of a limitKey. s.mu is locked.
func (s *share) claimOf(key netip.Addr) *claim {
	c := s.claims[key]
	if c == nil {
		c = &claim{share: s, key: key}
		s.claims[key] = c
	}
	return c
}

// leave ends the use of a claim. Places that are taken are still to be released.
func (c *claim) leave() {
	c.share.mu.Lock()
	defer c.share.mu.Unlock()
	c.users--
	c.add(0)
}

// take reserves n places, or returns why there are none.
func (c *claim) take(n int) (refused string) {
	s := c.share
	s.mu.Lock()
	switch free := s.limit - s.taken - n; {
	case free < 0:
		refused = "too many " + s.what
	case c.taken > 0 && (c.taken+n > sharePart*free || free < s.limit/shareReserve):
		refused = "too many " + s.what + " from this address"
	default:
		c.add(n)
	}
	s.mu.Unlock()
	return refused
}

func (c *claim) release(n int) {
	c.share.mu.Lock()
	c.add(-n)
	c.share.mu.Unlock()
}

// add adds to the places that are taken. share.mu is locked.
func (c *claim) add(n int) {
	c.taken += n
	c.share.taken += n
	if c.taken == 0 && c.users == 0 {
		delete(c.share.claims, c.key)
	}
}

// with returns s with what is taken from t. Either may be nil.
func (s *share) with(t *share) *share {
	if s == nil || t == nil {
		return cmp.Or(s, t)
	}
	for key, c := range t.claims {
		s.claimOf(key).add(c.taken)
	}
	return s
}

// limitKey returns what counts as one address: an IPv4 address, or the /64 network of an IPv6 address, since one host can
// use all addresses of a /64.
func limitKey(client netip.Addr) netip.Addr {
	if client.Is4() || client.IsLinkLocalUnicast() {
		return client
	}
	network, _ := client.Prefix(64)
	return network.Addr()
}
