package main

import (
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"
)

// A ticketLedger decides whether a session ticket may be used: once, within its lifetime (RFC 9887 section 3.6, RFC 8446
// appendix C.4).
type ticketLedger struct {
	lifetime time.Duration // 0: there are no tickets

	mu    sync.Mutex
	used  map[ticketID]time.Time // when each was issued
	floor time.Time              // tickets that were issued before are not accepted
}

type ticketID [16]byte

// maxUsedTickets is how many used tickets are kept. Above that, all tickets that were issued so far become invalid.
const maxUsedTickets = 16 << 10

// newTicketMark returns what a ticket carries: its id, and the time when it was issued.
func newTicketMark(now time.Time) []byte {
	var id ticketID
	rand.Read(id[:]) // never fails
	return binary.BigEndian.AppendUint64(id[:], uint64(now.UnixNano()))
}

// redeem reports whether the ticket with these marks may be used now. Then it may not be used again.
func (t *ticketLedger) redeem(marks [][]byte, now time.Time) bool {
	if len(marks) != 1 || len(marks[0]) != len(ticketID{})+8 {
		return false
	}
	id := ticketID(marks[0])
	issued := time.Unix(0, int64(binary.BigEndian.Uint64(marks[0][len(id):])))
	t.mu.Lock()
	defer t.mu.Unlock()
	_, used := t.used[id]
	if used || now.Sub(issued) > t.lifetime || !issued.After(t.floor) {
		return false
	}
	if len(t.used) >= maxUsedTickets {
		t.forget(now)
	}
	if t.used == nil {
		t.used = make(map[ticketID]time.Time)
	}
	t.used[id] = issued
	return true
}

// forget removes the tickets that are too old anyway. If those are few, it removes all and makes the others invalid too.
func (t *ticketLedger) forget(now time.Time) {
	for id, issued := range t.used {
		if now.Sub(issued) > t.lifetime {
			delete(t.used, id)
		}
	}
	if len(t.used) >= maxUsedTickets/2 {
		clear(t.used)
		t.floor = now
	}
}
