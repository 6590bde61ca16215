package main

import (
	"net/netip"
	"time"
)

// A conversation is one TCP connection. It is used again for another once ended has returned.
type conversation struct {
	// ends are its two sides. 0 is the one that opened it, where that was seen; else the one with the
	// higher port. Both are the zero AddrPort for packets that come without IP (linkOctets).
	ends    [2]netip.AddrPort
	began   time.Time // its first frame
	opened  bool      // its SYN was seen: what is said is all from the beginning
	ignored bool      // set by who listens: from now on only its end is told
	owner   any       // what it is to the one who listens; nil at first
}

// A reassembler puts the octets of TCP connections together again and tells them to who listens, always
// from the goroutine of add or finish. What is given to a function is good for the call only.
type reassembler struct {
	// want says which connections count, by the two ends in either order. It is asked for each frame
	// that could begin one. Nil is all.
	want func(a, b netip.AddrPort) bool
	// said tells octets of one end (0 or 1), in order and each once. The time is that of the frame that
	// completed them.
	said func(c *conversation, from int, at time.Time, octets []byte)
	// gap tells that the next octets of one end are not in the capture and will not come, and how many.
	gap func(c *conversation, from int, at time.Time, missing int)
	// ended tells that nothing more comes: FIN of both ends, RST, the port used again, dropped for a
	// bound, or finish. Gaps at the end were told before.
	ended func(c *conversation, at time.Time)

	dropped drops
}

// drops counts what did not become octets, and why, for the totals.
type drops struct {
	frames        int // that were given to add
	cut           int // frames that the capture cut (snapshot length); what is there counts
	fragments     int // of IP: they are not put together
	otherLinks    int // frames of a link type that is not supported
	notTCP        int // other protocols, and what is no IP
	malformed     int // headers that contradict themselves or end early
	conversations int // open ones dropped for the newest
	octets        int // told as missing by gap
	// otherLink is the first of otherLinks, to be named.
	otherLink linkType
}

// String is what was dropped, in words: "2 IP fragments, 1 cut frame"; empty for nothing.
func (d *drops) String() string { return "" }

// add takes one frame.
func (r *reassembler) add(f *frame) {}

// finish ends all conversations that are open.
func (r *reassembler) finish(at time.Time) {}
