package main

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"
)

// TestSharingRenewed: a crew that found shared connections of no use makes way for another after a minute,
// which takes the next session; one that shares stays.
func TestSharingRenewed(t *testing.T) {
	for _, shares := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			refused := netip.MustParseAddrPort(refusedAddr(t))
			s := newSharing(&client{servers: []server{newServer("127.0.0.1", refused.Port())}, timeout: time.Second, singleConnect: shares}, func(string, ...any) {})
			ctx, cancel := context.WithCancel(t.Context())
			gone, ended := make(chan struct{}), make(chan struct{})
			go func() { s.run(ctx, gone); close(ended) }()
			synctest.Wait()
			first := s.team.Load()
			time.Sleep(teamAge)
			first.bell.ring()
			if synctest.Wait(); s.team.Load() != first {
				t.Errorf("shares %t: another crew within a minute", shares)
			}
			time.Sleep(time.Nanosecond)
			if shares {
				first.bell.ring()
			} else {
				home := make(chan *forwarded, 1)
				f := &forwarded{home: home, head: header{typ: typeAcct, version: minorDefault, seqNo: 1}, message: new(acctRequest)}
				f.job = job{request: f, owner: f}
				s.put(f)
				if <-home; classOf(f.job.err) != classNetwork {
					t.Errorf("the session came to %v", f.job.err)
				}
			}
			if synctest.Wait(); (s.team.Load() == first) != shares {
				t.Errorf("shares %t: the crew is the first: %t", shares, s.team.Load() == first)
			}
			cancel()
			close(gone)
			<-ended
		})
	}
}
