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

	mu    sync.Mutex
	taken int
	of    map[netip.Addr]int // places of each limitKey
}

const (
	sharePart    = 3
	shareReserve = 8 // an eighth of the places is for addresses that have none
)

func newShare(limit int, what string) *share {
	return &share{limit: limit, what: what, of: make(map[netip.Addr]int)}
}

// take reserves n places, or returns why there are none.
func (s *share) take(client netip.Addr, n int) (refused string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, free := limitKey(client), s.limit-s.taken-n
	switch held := s.of[key]; {
	case free < 0:
		return "too many " + s.what
	case held > 0 && (held+n > sharePart*free || free < s.limit/shareReserve):
		return "too many " + s.what + " from this address"
	}
	s.add(key, n)
	return ""
}

func (s *share) release(client netip.Addr, n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.add(limitKey(client), -n)
}

// add adds to the places that are taken. s.mu is locked.
func (s *share) add(key netip.Addr, n int) {
	s.taken += n
	if held := s.of[key] + n; held > 0 {
		s.of[key] = held
	} else {
		delete(s.of, key)
	}
}

// with returns s with what is taken from t. Either may be nil.
func (s *share) with(t *share) *share {
	if s == nil || t == nil {
		return cmp.Or(s, t)
	}
	for key, n := range t.of {
		s.add(key, n)
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
