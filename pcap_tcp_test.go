package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// tcpIP returns a segment in an IP datagram. The addresses determine the version.
func tcpIP(src, dst netip.AddrPort, seq, ack uint32, flags tcpFlags, data string) []byte {
	b := make([]byte, 0, 60+len(data))
	if src.Addr().Is4() {
		b = binary.BigEndian.AppendUint16(append(b, 0x45, 0), uint16(40+len(data)))
		b = append(b, 0, 0, 0, 0, 64, protocolTCP, 0, 0)
	} else {
		b = binary.BigEndian.AppendUint16(append(b, 0x60, 0, 0, 0), uint16(20+len(data)))
		b = append(b, protocolTCP, 64)
	}
	b = append(append(b, src.Addr().AsSlice()...), dst.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint32(b, seq)
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, 5<<4, byte(flags), 0xff, 0xff, 0, 0, 0, 0)
	return append(b, data...)
}

var (
	deviceEnd = netip.MustParseAddrPort("198.51.100.7:41234")
	serverEnd = netip.MustParseAddrPort("192.0.2.1:49")
)

// tcpEvents logs the calls of a reassembler.
type tcpEvents struct {
	reassembler
	log []string
}

func newTCPEvents() *tcpEvents {
	l := new(tcpEvents)
	l.sender = tacacsPayload.sender
	meet := func(c *conversation) {
		if c.value == nil {
			c.value = l
			l.note("%s > %s, opened %v", c.ends[0], c.ends[1], c.opened)
		}
	}
	l.onData = func(c *conversation, from int, at frameRef, data []byte) {
		if c.ignored {
			l.note("data in spite of ignored")
		}
		meet(c)
		l.note("%d %s", from, data)
		c.ignored = bytes.HasPrefix(data, []byte("IGNORE"))
	}
	l.onGap = func(c *conversation, from int, at frameRef, missing int) {
		meet(c)
		l.note("%d misses %d", from, missing)
	}
	l.onClose = func(c *conversation, at frameRef) { l.note("ended") }
	return l
}

// checkEmpty requires that only closed conversations are left.
func (r *reassembler) checkEmpty(t testing.TB, name string) {
	t.Helper()
	if r.held.used != 0 || r.others.len+r.preferred.len+r.waiting.len != 0 || len(r.conversations) != r.closed.len || r.memory.used != r.closed.len*conversationCost {
		t.Errorf("%s: %d bytes are held in %d and %d conversations, %d wait, %d of %d are kept in %d bytes", name, r.held.used, r.others.len, r.preferred.len,
			r.waiting.len, r.closed.len, len(r.conversations), r.memory.used)
	}
}

func (l *tcpEvents) note(format string, args ...any) {
	l.log = append(l.log, fmt.Sprintf(format, args...))
}

func (l *tcpEvents) ip(b []byte) { l.add(&frame{link: linkRawIP, data: b, size: len(b)}) }

// play adds the segments of a script, one a line: ">" from the client or "<" from the server, then its
// flags (of SAFR), sequence number, acknowledgement, bytes and "+N" for N bytes that the capture cut. The
// numbers count from where the client and the server begin.
func (l *tcpEvents) play(script string, client, server uint32) {
	for line := range strings.Lines(script) {
		var direction, flags, data string
		var seq, ack uint32
		var cut int
		fmt.Sscan(line, &direction, &flags, &seq, &ack, &data)
		if before, after, ok := strings.Cut(data, "+"); ok {
			data = before
			fmt.Sscan(after, &cut)
		}
		if strings.TrimSpace(line) == "" {
			continue
		}
		var bits tcpFlags
		for letter, bit := range map[string]tcpFlags{"S": tcpSYN, "A": tcpACK, "F": tcpFIN, "R": tcpRST} {
			if strings.Contains(flags, letter) {
				bits |= bit
			}
		}
		whole := data + strings.Repeat("?", cut)
		b := tcpIP(deviceEnd, serverEnd, client+seq, server+ack, bits, whole)
		if direction == "<" {
			b = tcpIP(serverEnd, deviceEnd, server+seq, client+ack, bits, whole)
		}
		l.add(&frame{link: linkRawIP, data: b[:len(b)-cut], size: len(b)})
	}
}

const (
	handshake = "> S 0 0\n< SA 0 1\n> A 1 1\n"
	goodbye   = "> FA 6 6\n< FA 6 7\n> A 7 7\n"
	opened    = "198.51.100.7:41234 > 192.0.2.1:49, opened true\n"
	middle    = "198.51.100.7:41234 > 192.0.2.1:49, opened false\n"
)

// putRight has the results of scripts that are not read live: there frames may be late.
var putRight = map[string]string{
	"acknowledged before it is seen":            opened + "0 hello\n1 world\nended\n",
	"RST before the bytes that it acknowledges": opened + "0 hello\n1 world\nended\n",
	"a gap known before the next segment":       opened + "0 misses 3\n1 world\n0 lo\nended\n",
	"only one direction, from the middle":       middle + "0 hello\n1 misses 5\n0 again\nended\n",
}

func TestTCPReassemble(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, script, want string }{
		{"a connection", handshake + "> A 1 1 hello\n< A 1 6 world\n" + goodbye, opened + "0 hello\n1 world\nended\n"},
		{"every frame twice", "> S 0 0\n> S 0 0\n< SA 0 1\n< SA 0 1\n> A 1 1 hello\n> A 1 1 hello\n< A 1 6 world\n< A 1 6 world\n> FA 6 6\n> FA 6 6\n< FA 6 7\n< FA 6 7\n> A 7 7\n> A 7 7\n",
			opened + "0 hello\n1 world\nended\n"},
		{"the whole connection twice", strings.Repeat(handshake+"> A 1 1 hello\n< A 1 6 world\n"+goodbye, 2), opened + "0 hello\n1 world\nended\n"},
		{"FIN with bytes", handshake + "> FA 1 1 hello\n< FA 1 7 world\n", opened + "0 hello\n1 world\nended\n"},
		{"half-close", handshake + "> FA 1 1 hello\n< A 1 7 wor\n< FA 4 7 ld\n", opened + "0 hello\n1 wor\n1 ld\nended\n"},
		{"bytes with the SYN", "> S 0 0 hello\n< SA 0 6\n< A 1 6 world\n", opened + "0 hello\n1 world\nended\n"},
		{"the server's SYN first", "< SA 0 1\n> S 0 0\n> A 1 1 hello\n", opened + "0 hello\nended\n"},
		{"no SYN of the client", "< SA 0 1\n> A 1 1 hello\n", opened + "0 hello\nended\n"},
		{"a start in the middle", "> A 100 200 hello\n< A 200 105 world\n", middle + "0 hello\n1 world\nended\n"},
		{"a start in the middle with the server", "< A 200 105 world\n> A 105 205 hello\n", middle + "1 world\n0 hello\nended\n"},
		{"only the end", "> A 1 1\n> FA 1 1\n< FA 1 2\n> R 2 2\n", ""},
		{"refused", "> S 0 0\n< RA 0 1\n", "ended\n"},
		{"out of order", handshake + "> A 4 1 lo\n> A 3 1 l\n> A 1 1 he\n", opened + "0 he\n0 l\n0 lo\nended\n"},
		{"out of order around FIN", handshake + "< FA 3 1 rld\n> FA 6 1\n> A 1 1 hello\n< A 1 6 wo\n", opened + "0 hello\n1 wo\n1 rld\nended\n"},
		{"repeats", handshake + "> A 1 1 hello\n> A 1 1 hello\n> A 3 1 llo\n> A 3 1 llo,you\n", opened + "0 hello\n0 ,you\nended\n"},
		{"overlaps: the first copy is used", handshake + "> A 5 1 EF\n> A 3 1 cdefgh\n> A 9 1 IJ\n> A 8 1 hijk\n> A 1 1 ABx\n", opened + "0 ABx\n0 d\n0 EF\n0 gh\n0 IJ\n0 k\nended\n"},
		{"a piece inside another", handshake + "> A 3 1 CDEF\n> A 4 1 de\n> A 3 1 cdefg\n> A 1 1 AB\n", opened + "0 AB\n0 CDEF\n0 g\nended\n"},
		{"keep-alives", handshake + "> A 1 1 hello\n> A 5 1\n> A 5 1 X\n< A 0 6 X\n< A 1 6 world\n", opened + "0 hello\n1 world\nended\n"},
		{"a window probe", handshake + "> A 1 1 h\n< A 1 1\n> A 1 1 hello\n", opened + "0 h\n0 ello\nended\n"},
		{"a gap that the other side acknowledged", handshake + "> A 1 1 he\n> A 4 1 lo\n< A 1 6 world\n", opened + "0 he\n0 misses 1\n0 lo\n1 world\nended\n"},
		{"acknowledged before it is seen", handshake + "< A 1 6 world\n> A 1 6 hello\n", opened + "1 world\n0 hello\nended\n"},
		{"a gap known before the next segment", handshake + "< A 1 6 world\n> A 4 6 lo\n", opened + "1 world\n0 misses 3\n0 lo\nended\n"},
		{"two gaps", handshake + "> A 3 1 c\n> A 5 1 e\n< A 1 4\n< A 1 6\n", opened + "0 misses 2\n0 c\n0 misses 1\n0 e\nended\n"},
		{"a gap up to FIN", handshake + "> A 1 1 he\n> FA 6 1\n< A 1 7\n< A 1 7 x\n", opened + "0 he\n0 misses 3\n1 x\nended\n"},
		{"a gap up to FIN at the end", handshake + "> A 1 1 he\n> FA 6 1\n", opened + "0 he\n0 misses 3\nended\n"},
		{"FIN before the missing bytes", handshake + "> FA 6 1\n< FA 1 1\n> A 1 2 hello\n", opened + "0 hello\nended\n"},
		{"a gap at the end", handshake + "> A 1 1 he\n> A 5 1 o\n", opened + "0 he\n0 misses 2\n0 o\nended\n"},
		{"a missing answer", handshake + "> A 1 1 hello\n> A 6 6\n", opened + "0 hello\n1 misses 5\nended\n"},
		{"a missing FIN", handshake + "> A 1 1 hello\n< A 1 7\n", opened + "0 hello\nended\n"},
		{"a gap before RST", handshake + "> A 3 1 llo\n< RA 1 1\n> A 6 1 x\n", opened + "0 misses 2\n0 llo\nended\n"},
		{"RST before the bytes that it acknowledges", handshake + "> A 1 1 hello\n> RA 6 6\n< A 1 6 world\n", opened + "0 hello\nended\n"},
		{"RST of another connection", handshake + "> A 1 1 hello\n< R 5000000 0\n< A 1 6 world\n", opened + "0 hello\n1 world\nended\n"},
		{"only one direction", "> S 0 0\n> A 1 1\n> A 1 1 hello\n> A 6 6\n> FA 6 6\n", opened + "0 hello\n1 misses 5\nended\n"},
		{"only one direction, from the middle", "> A 1 1 hello\n> A 6 6 again\n", middle + "0 hello\n0 again\n1 misses 5\nended\n"},
		{"after the end", handshake + "> FA 1 1 hello\n< FA 1 7 world\n> A 6 7 X\n< A 1 7 world\n", opened + "0 hello\n1 world\nended\n"},
		{"the port reused", handshake + "> A 1 1 hello\n> S 5000 0\n< SA 7000 5001\n> A 5001 7001 again\n", opened + "0 hello\nended\n" + opened + "0 again\nended\n"},
		{"the port reused after the end", handshake + "> A 1 1 hello\n< R 1 0\n> S 5000 0\n> A 5001 7001 again\n", opened + "0 hello\nended\n" + opened + "0 again\nended\n"},
		{"the port reused after the end, no SYN", handshake + "> A 1 1 hello\n< R 1 0\n> A 5000000 7000000 again\n", opened + "0 hello\nended\n" + middle + "0 again\nended\n"},
		{"the port reused, only the server's SYN", handshake + "> A 1 1 hello\n< SA 7000 5001\n> A 5001 7001 again\n", opened + "0 hello\nended\n" + opened + "0 again\nended\n"},
		{"the port reused, no answer seen", "> S 0 0\n< SA 7000 5000000\n> A 5000000 7001 hello\n", "ended\n" + opened + "0 hello\nended\n"},
		{"the port reused, after a start in the middle with the server", "< A 1 1 world\n> S 5000 0\n> A 5001 9 hello\n", middle + "1 world\nended\n" + opened + "0 hello\nended\n"},
		{"the port reused, no SYN", handshake + "> A 1 1 hello\n< A 1 6 world\n> A 5000000 7000000 again\n", opened + "0 hello\n1 world\nended\n" + middle + "0 again\nended\n"},
		{"one side far ahead", handshake + "> A 1 1 hello\n> A 5000000 1 x\n> A 6 1 !\n", opened + "0 hello\n0 !\nended\n"},
		{"a long pause", handshake + "> A 1 1 hello\n> A 5000000 1 x\n< A 1 5000001\n> A 5000001 1 yz\n", opened + "0 hello\n0 misses 4999995\n0 yz\nended\n"},
		{"far behind", handshake + "> A 1 1 hello\n> A 4294900000 1 x\n> A 6 1 !\n", opened + "0 hello\n0 !\nended\n"},
		{"cut frames", handshake + "> A 1 1 he+3\n> A 6 1 lo\n< A 1 8 wo+3\n", opened + "0 he\n0 misses 3\n0 lo\n1 wo\n1 misses 3\nended\n"},
		{"a truncated retransmission", handshake + "> A 1 1 hello\n> A 1 1 h+4\n> A 4 1 l+4\n> A 9 1 !\n", opened + "0 hello\n0 misses 3\n0 !\nended\n"},
		{"a cut frame ahead of others", handshake + "> A 3 1 l+3\n> A 1 1 he\n> A 7 1 x\n< A 1 8\n", opened + "0 he\n0 l\n0 misses 3\n0 x\nended\n"},
		{"cut to zero bytes", handshake + "> A 1 1 +5\n> FA 6 1 +2\n< FA 1 9\n", opened + "0 misses 5\n0 misses 2\nended\n"},
		{"ignored", handshake + "> A 1 1 IGNORE\n> A 9 1 x\n< A 1 12 world\n> A 7 6 me\n> FA 12 6\n< FA 6 13\n", opened + "0 IGNORE\nended\n"},
		{"ignored while data is held", handshake + "> A 7 1 me\n> A 1 1 IGNORE\n> A 20 1 x\n< RA 1 9\n", opened + "0 IGNORE\nended\n"},
		{"ignored, then the port again", handshake + "> A 1 1 IGNORE\n> A 1000000 1 x\n> A 2000000 1 x\n> A 3000000 1 x\n> S 100 0\n> A 101 1 hello\n", opened + "0 IGNORE\nended\n" + opened + "0 hello\nended\n"},
	} {
		for _, base := range [][2]uint32{{1000, 5000}, {1<<32 - 3, 1<<32 - 4}, {1<<31 - 3, 1<<31 - 2}, {0, 1<<32 - 7004}} {
			for _, live := range []bool{true, false} {
				l := newTCPEvents()
				l.live = live
				l.play(test.script, base[0], base[1])
				l.finish(frameRef{})
				got, want := strings.Join(append(l.log, ""), "\n"), test.want
				if other := putRight[test.name]; other != "" && !live {
					want = other
				}
				equal(t, got, want, test.name, "from", base[0], "and", base[1], "live", live)
				l.checkEmpty(t, test.name)
			}
		}
	}
}

// TestTCPAnyOrder: segments in any order, repeated or overlapping, give the bytes that were sent.
func TestTCPAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		var streams [2][]byte
		var first [2]uint32
		type piece struct{ from, start, end int }
		var pieces []piece
		for from := range streams {
			streams[from] = make([]byte, 1+random.IntN(3000))
			for i := range streams[from] {
				streams[from][i] = byte(random.Uint32())
			}
			first[from] = random.Uint32()
			if seed%3 == 0 {
				first[from] = -uint32(random.IntN(len(streams[from])) + 1)
			}
			for at := 0; at < len(streams[from]); {
				end := min(at+1+random.IntN(200), len(streams[from]))
				pieces = append(pieces, piece{from, at, end})
				at = end
			}
			for range random.IntN(20) {
				start := random.IntN(len(streams[from]))
				pieces = append(pieces, piece{from, start, start + random.IntN(len(streams[from])-start+1)})
			}
		}
		if seed%2 == 0 { // some are late, within the bound of pieces
			for range len(pieces) {
				i := random.IntN(len(pieces))
				j := min(i+random.IntN(30), len(pieces)-1)
				pieces[i], pieces[j] = pieces[j], pieces[i]
			}
		} else {
			random.Shuffle(len(pieces), func(i, j int) { pieces[i], pieces[j] = pieces[j], pieces[i] })
		}
		var got [2][]byte
		ended := 0
		r := reassembler{
			onData: func(c *conversation, from int, _ frameRef, data []byte) { got[from] = append(got[from], data...) },
			onGap: func(_ *conversation, from int, _ frameRef, missing int) {
				t.Errorf("seed %d: direction %d misses %d bytes", seed, from, missing)
			},
			onClose: func(*conversation, frameRef) { ended++ },
		}
		ends := [2]netip.AddrPort{deviceEnd, serverEnd}
		send := func(from int, seq, ack uint32, flags tcpFlags, data []byte) {
			b := tcpIP(ends[from], ends[1-from], seq, ack, flags, string(data))
			r.add(&frame{link: linkIPv4, data: b, size: len(b)})
		}
		send(0, first[0]-1, 0, tcpSYN, nil)
		send(1, first[1]-1, first[0], tcpSYN|tcpACK, nil)
		for _, p := range pieces {
			send(p.from, first[p.from]+uint32(p.start), first[1-p.from], tcpACK, streams[p.from][p.start:p.end])
		}
		for from := range streams {
			send(from, first[from]+uint32(len(streams[from])), first[1-from], tcpACK|tcpFIN, nil)
		}
		for from := range streams {
			if !bytes.Equal(got[from], streams[from]) {
				t.Fatalf("seed %d: %d bytes of %d were returned, or other bytes", seed, len(got[from]), len(streams[from]))
			}
		}
		if ended != 1 || r.held.used != 0 || len(r.conversations) != 1 {
			t.Fatalf("seed %d: ended %d times, %d bytes are held for %d", seed, ended, r.held.used, len(r.conversations))
		}
	}
}

// TestTCPEnds: a SYN determines which end is the client, or else the ports.
func TestTCPEnds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		src, dst string
		flags    tcpFlags
		client   int // 0 for src
	}{
		{"192.0.2.1:41234", "198.51.100.7:49", tcpACK, 0},
		{"192.0.2.1:49", "198.51.100.7:41234", tcpACK, 1},
		{"198.51.100.7:41234", "192.0.2.1:49", tcpACK, 0},
		{"198.51.100.7:49", "192.0.2.1:41234", tcpACK, 1},
		{"192.0.2.1:49", "198.51.100.7:49", tcpACK, 0},
		{"198.51.100.7:49", "192.0.2.1:49", tcpACK, 0},
		{"192.0.2.1:50000", "192.0.2.1:49", tcpACK, 0},
		{"192.0.2.1:49", "192.0.2.1:50000", tcpACK, 1},
		{"[2001:db8::1]:50000", "[2001:db8::2]:49", tcpACK, 0},
		{"192.0.2.1:49", "198.51.100.7:41234", tcpSYN, 0},
		{"198.51.100.7:49", "192.0.2.1:41234", tcpSYN, 0},
		{"192.0.2.1:41234", "198.51.100.7:49", tcpSYN | tcpACK, 1},
		{"198.51.100.7:41234", "192.0.2.1:49", tcpSYN | tcpACK, 1},
	} {
		ends := [2]netip.AddrPort{netip.MustParseAddrPort(test.src), netip.MustParseAddrPort(test.dst)}
		want := [2]netip.AddrPort{ends[test.client], ends[1-test.client]}
		called := false
		r := reassembler{onData: func(c *conversation, from int, _ frameRef, _ []byte) {
			called = true
			if c.ends != want || c.ends[from] != ends[0] || c.opened != (test.flags&tcpSYN != 0) {
				t.Errorf("%s > %s: data of %d of %s, opened %v", test.src, test.dst, from, c.ends, c.opened)
			}
		}}
		b := tcpIP(ends[0], ends[1], 1, 1, test.flags, "x")
		if r.add(&frame{link: linkRawIP, data: b, size: len(b)}); !called {
			t.Errorf("%s > %s: no data", test.src, test.dst)
		}
	}
}

func TestTCPWanted(t *testing.T) {
	t.Parallel()
	l := newTCPEvents()
	l.want = func(a, b netip.AddrPort) bool { return a.Port() == 49 || b.Port() == 49 }
	other := netip.AddrPortFrom(serverEnd.Addr(), 50)
	for range 2 {
		l.ip(tcpIP(deviceEnd, other, 1, 1, tcpACK, "other"))
		l.ip(tcpIP(other, deviceEnd, 1, 1, tcpACK, "other"))
	}
	l.ip(tcpIP(serverEnd, deviceEnd, 1, 1, tcpACK, "hello"))
	if got := strings.Join(l.log, "\n"); got != middle+"1 hello" || len(l.conversations) != 1 {
		t.Errorf("%s\n%d conversations", got, len(l.conversations))
	}
}

// TestTCPBarePackets: packets without IP are one conversation.
func TestTCPBarePackets(t *testing.T) {
	t.Parallel()
	l := newTCPEvents()
	for _, p := range []struct {
		data string
		size int
	}{{"AA\x01AAAAAAAAA", 12}, {"AA\x02BBBBBBBBBB", 20}, {"AA\xfdCCCCCCCCC", 12}, {"AA\x01", 3}} {
		l.add(&frame{link: linkNone, data: []byte(p.data), size: p.size})
	}
	l.finish(frameRef{})
	const want = "invalid AddrPort > invalid AddrPort, opened false\n0 AA\x01AAAAAAAAA\n1 AA\x02BBBBBBBBBB\n1 misses 7\n0 AA\xfdCCCCCCCCC\nended"
	if got := strings.Join(l.log, "\n"); got != want || l.unread.counts[malformedHeader] != 1 {
		t.Errorf("%q, %d malformed", got, l.unread.counts[malformedHeader])
	}
	if l.finish(frameRef{}); len(l.log) != 6 {
		t.Error("the conversation ended twice")
	}
}

// manyClients returns a different address for each number.
func manyClients(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1024+uint16(i%60000))
}

// TestTCPConversationBound: the conversation that was silent for the longest time is dropped first.
func TestTCPConversationBound(t *testing.T) {
	t.Parallel()
	var ended []netip.AddrPort
	active := map[*conversation]bool{}
	r := reassembler{
		onData:  func(c *conversation, _ int, _ frameRef, _ []byte) { active[c] = true },
		onClose: func(c *conversation, _ frameRef) { ended = append(ended, c.ends[0]) },
	}
	send := func(i int, seq uint32) {
		b := tcpIP(manyClients(i), serverEnd, seq, 1, tcpACK, "x")
		r.add(&frame{link: linkRawIP, data: b, size: len(b)})
	}
	const maxConversations = budgetConversations / conversationCost
	for i := range maxConversations {
		send(i, 1)
	}
	send(0, 2)
	send(3, 2)
	want := []netip.AddrPort{manyClients(1), manyClients(2), manyClients(4)}
	for i := range want {
		send(maxConversations+i, 1)
	}
	if !slices.Equal(ended, want) || r.dropped != 0 || len(r.conversations) != maxConversations || r.others.len != maxConversations {
		t.Errorf("%v ended, %d counted, %d left of %d", ended, r.dropped, r.others.len, len(r.conversations))
	}
	r.finish(frameRef{})
	if len(ended) != maxConversations+len(want) || r.others.len != 0 || r.closed.len != maxClosed || len(r.conversations) != maxClosed {
		t.Errorf("%d ended, %d open, %d kept of %d", len(ended), r.others.len, r.closed.len, len(r.conversations))
	}
	clear(active)
	send(1, 1)
	send(2, 1)
	if len(active) != 2 {
		t.Errorf("%d conversations have data", len(active))
	}
}

func TestTCPIgnoredHoldsNothing(t *testing.T) {
	t.Parallel()
	l := newTCPEvents()
	l.play(handshake+"> A 20 1 held\n> A 1 1 IGNORE\n", 0, 0)
	before := l.held.used
	l.play("> A 30 1 more\n", 0, 0)
	if before < 4+pieceCost || l.held.used != 0 || len(l.log) != 2 {
		t.Errorf("%d bytes are held, then %d: %q", before, l.held, l.log)
	}
}

// TestTCPManyConversations: a conversation that held data or was ignored does not affect later ones, and closed ones
// are dropped.
func TestTCPManyConversations(t *testing.T) {
	t.Parallel()
	l := newTCPEvents()
	for i := range 3 * maxClosed {
		client := manyClients(i)
		l.log = nil
		l.ip(tcpIP(client, serverEnd, 9, 0, tcpSYN, ""))
		l.ip(tcpIP(client, serverEnd, 12, 1, tcpACK, "E"))
		l.ip(tcpIP(client, serverEnd, 10, 1, tcpACK, "IGNORE"))
		l.ip(tcpIP(client, serverEnd, 30, 1, tcpACK, "held"))
		l.ip(tcpIP(serverEnd, client, 1, 9, tcpACK|tcpFIN, ""))
		l.ip(tcpIP(client, serverEnd, 16, 1, tcpACK|tcpFIN, ""))
		if len(l.log) != 3 || !strings.HasSuffix(l.log[0], "opened true") || l.log[1] != "0 IGNORE" || l.log[2] != "ended" {
			t.Fatalf("%d: %q", i, l.log)
		}
	}
	if len(l.conversations) > maxClosed || l.held.used != 0 {
		t.Errorf("%d conversations are kept, %d bytes held", len(l.conversations), l.held.used)
	}
}

// TestTCPHeldBound: beyond the bound of one direction, a gap is skipped.
func TestTCPHeldBound(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ n, size int }{
		{maxPieces + 1, 1},
		{maxHeldDirection/2000 + 1, 2000},
		{9, 1 << 15},
	} {
		l := newTCPEvents()
		l.play(handshake, 0, 0)
		for i := range test.n { // each after a missing byte
			if len(l.log) > 0 {
				t.Fatalf("after %d of %d bytes: %.80q", i, test.size, l.log)
			}
			l.ip(tcpIP(deviceEnd, serverEnd, uint32(2+i*(test.size+1)), 1, tcpACK, strings.Repeat("x", test.size)))
		}
		if len(l.log) != 3 || l.log[1] != "0 misses 1" || len(l.log[2]) != 2+test.size {
			t.Errorf("%d of %d bytes: %.80q", test.n, test.size, l.log)
		}
	}
}

// TestTCPHeldBoundOfAll: beyond the bound of all, the conversations that were silent for the longest time are
// released first.
func TestTCPHeldBoundOfAll(t *testing.T) {
	t.Parallel()
	gaps := []netip.AddrPort{}
	received := 0
	r := reassembler{
		onData:  func(_ *conversation, _ int, _ frameRef, data []byte) { received += len(data) },
		onGap:   func(c *conversation, _ int, _ frameRef, _ int) { gaps = append(gaps, c.ends[0]) },
		onClose: func(*conversation, frameRef) {},
	}
	const size = 30000
	n := budgetHeld/(1<<15+pieceCost) + 1
	for i := range n {
		if len(gaps) > 0 {
			t.Fatalf("%d were released after %d", len(gaps), i)
		}
		client := manyClients(i)
		for _, s := range []struct {
			seq   uint32
			flags tcpFlags
			data  string
		}{{0, tcpSYN, ""}, {2, tcpACK, strings.Repeat("x", size)}} {
			b := tcpIP(client, serverEnd, s.seq, 0, s.flags, s.data)
			r.add(&frame{link: linkRawIP, data: b, size: len(b)})
		}
	}
	if len(gaps) != n/2+1 || gaps[0] != manyClients(0) || gaps[n/2] != manyClients(n/2) || received != size*len(gaps) || r.held.used > budgetHeld/2 {
		t.Errorf("%d of %d were released, %d bytes, %d held", len(gaps), n, received, r.held.used)
	}
	r.finish(frameRef{})
	if received != size*n || r.held.used != 0 {
		t.Errorf("%d bytes of %d, %d held", received, size*n, r.held.used)
	}
}

// TestTCPTimes: events have the times of frames.
func TestTCPTimes(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)
	var got []string
	note := func(c *conversation, what string, at frameRef) {
		got = append(got, fmt.Sprintf("%s %d %s of %d", what, at.number, at.at.Sub(began), c.began.number))
	}
	r := reassembler{
		onData:  func(c *conversation, _ int, at frameRef, _ []byte) { note(c, "data", at) },
		onGap:   func(c *conversation, _ int, at frameRef, _ int) { note(c, "gap", at) },
		onClose: func(c *conversation, at frameRef) { note(c, "ended", at) },
	}
	for i, seq := range []uint32{1, 3, 2, 5} {
		b := tcpIP(deviceEnd, serverEnd, seq, 1, tcpACK, "x")
		r.add(&frame{number: i + 1, link: linkRawIP, at: began.Add(time.Duration(i+1) * time.Second), data: b, size: len(b)})
	}
	r.finish(frameRef{5, began.Add(time.Minute)})
	want := "data 1 1s of 1, data 3 3s of 1, data 3 3s of 1, gap 4 4s of 1, data 4 4s of 1, ended 5 1m0s of 1"
	if strings.Join(got, ", ") != want {
		t.Errorf("%s", strings.Join(got, ", "))
	}
}

// TestTCPLateFrames: the parts of a dialogue are reported in their order, even if the capture has them in another one.
func TestTCPLateFrames(t *testing.T) {
	t.Parallel()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		next := [2]uint32{1000, random.Uint32()}
		ends := [2]netip.AddrPort{deviceEnd, serverEnd}
		var frames []frame
		send := func(from int, flags tcpFlags, data string) {
			b := tcpIP(ends[from], ends[1-from], next[from], next[1-from], flags, data)
			frames = append(frames, frame{link: linkRawIP, data: b, size: len(b), number: len(frames) + 1})
			if next[from] += uint32(len(data)); flags&(tcpSYN|tcpFIN) != 0 {
				next[from]++
			}
		}
		send(0, tcpSYN, "")
		send(1, tcpSYN|tcpACK, "")
		var want []string
		for turn := range 2 + random.IntN(12) {
			from := turn % 2
			text := ""
			for range 1 + random.IntN(3) {
				data := fmt.Sprintf("%d-%d ", turn, random.IntN(1000))
				send(from, tcpACK, data)
				text += data
			}
			if random.IntN(3) == 0 {
				send(1-from, tcpACK, "") // an acknowledgement of its own
			}
			want = append(want, fmt.Sprintf("%d %s", from, text))
		}
		closer := random.IntN(2)
		send(closer, tcpFIN|tcpACK, "")
		send(1-closer, tcpFIN|tcpACK, "")
		send(closer, tcpACK, "")
		for range len(frames) { // all but the handshake may be late
			i := 2 + random.IntN(len(frames)-2)
			j := min(i+random.IntN(6), len(frames)-1)
			frames[i], frames[j] = frames[j], frames[i]
		}
		var got []string
		last := -1
		r := reassembler{
			onData: func(c *conversation, from int, _ frameRef, data []byte) {
				if from != last {
					got, last = append(got, fmt.Sprintf("%d ", from)), from
				}
				got[len(got)-1] += string(data)
			},
			onGap:   func(_ *conversation, from int, _ frameRef, n int) { t.Errorf("seed %d: %d misses %d", seed, from, n) },
			onClose: func(*conversation, frameRef) {},
		}
		for i := range frames {
			r.add(&frames[i])
		}
		if r.others.len != 0 {
			t.Errorf("seed %d: the conversation is not closed by its FINs", seed)
		}
		r.finish(frameRef{})
		if !slices.Equal(got, want) {
			t.Fatalf("seed %d:\n%q\nwant\n%q", seed, got, want)
		}
	}
}

// TestTCPLateFrameWindow: a frame may be maxLate frames late. Then its bytes are missing, without another frame of the
// conversation.
func TestTCPLateFrameWindow(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		late   int
		script string // after the handshake
		after  string // the late frame
		want   string
	}{
		{maxLate - 1, "< A 1 6 world\n", "> A 1 1 hello\n", opened + "0 hello\n1 world\n"},
		{maxLate + 1, "< A 1 6 world\n", "> A 1 1 hello\n", opened + "0 misses 5\n1 world\n"},
		{maxLate - 2, "< A 1 6 world\n> A 6 6 again\n", "> A 1 1 hello\n", opened + "0 hello\n1 world\n0 again\n"},
		{maxLate + 1, "< A 1 6 world\n> A 6 6 again\n", "> A 1 1 hello\n", opened + "0 misses 5\n1 world\n0 again\n"},
		{2*maxLate + 2, "> A 6 6 again\n", "> A 1 1 hello\n", opened + "0 hello\n1 misses 5\n0 again\n"}, // the server has not acknowledged it
		{maxLate - 1, "> A 1 1 hello\n> RA 6 6\n", "< A 1 6 world\n", opened + "0 hello\n1 world\nended\n"},
		{maxLate + 1, "> A 1 1 hello\n> RA 6 6\n", "< A 1 6 world\n", opened + "0 hello\n1 misses 5\nended\n"},
		{maxLate + 1, "> FA 6 1\n< FA 1 7\n", "> A 1 1 hello\n", opened + "0 misses 5\nended\n"},
	} {
		l := newTCPEvents()
		l.play(handshake+test.script, 1000, 5000)
		for range test.late {
			l.add(&frame{link: linkRawIP, data: tcpIP(manyClients(1), serverEnd, 1, 1, tcpACK, ""), size: 40})
		}
		l.play(test.after, 1000, 5000)
		if got := strings.Join(append(l.log, ""), "\n"); got != test.want && (test.late <= maxLate+1 || !strings.HasPrefix(test.want, got)) {
			t.Errorf("%q, %d late:\n%s\nwant\n%s", test.script, test.late, got, test.want)
		}
		l.finish(frameRef{})
		if got := strings.Join(append(l.log, ""), "\n"); strings.TrimSuffix(got, "ended\n") != strings.TrimSuffix(test.want, "ended\n") {
			t.Errorf("%q, %d late, at the end:\n%s\nwant\n%s", test.script, test.late, got, test.want)
		}
	}
}

// TestTCPPreferred: other conversations make room for preferred ones.
func TestTCPPreferred(t *testing.T) {
	t.Parallel()
	var ended []netip.AddrPort
	r := reassembler{
		prefer: func(a, b netip.AddrPort) bool { return a.Port() == 49 || b.Port() == 49 },
		onData: func(c *conversation, _ int, _ frameRef, data []byte) {
			c.preferred = c.preferred || string(data) == "T"
		},
		onClose: func(c *conversation, _ frameRef) { ended = append(ended, c.ends[1]) },
	}
	send := func(i int, server string, data string) {
		b := tcpIP(manyClients(i), netip.MustParseAddrPort(server), uint32(1+i), 1, tcpACK, data)
		r.add(&frame{link: linkRawIP, data: b, size: len(b)})
	}
	const most = budgetConversations / conversationCost
	send(0, "192.0.2.1:49", "x")
	send(1, "192.0.2.1:443", "T") // which the consumer prefers from its next segment on
	send(1, "192.0.2.1:443", "T")
	b := tcpIP(manyClients(1), netip.MustParseAddrPort("192.0.2.1:443"), 3, 1, tcpACK, "x")
	r.add(&frame{link: linkRawIP, data: b, size: len(b)})
	for i := range 2 * most {
		send(2+i, "192.0.2.1:80", "x")
	}
	if r.dropped != 0 || len(ended) != most+2 || slices.ContainsFunc(ended, func(a netip.AddrPort) bool { return a.Port() != 80 }) || r.preferred.len != 2 {
		t.Errorf("%d dropped, %d preferred", r.dropped, r.preferred.len)
	}
	for i := range most + 1 {
		send(2+2*most+i, "192.0.2.1:49", "x")
	}
	if r.dropped != 3 || r.others.len != 0 || r.preferred.len != most || ended[len(ended)-1].Port() != 443 && ended[len(ended)-3].Port() != 49 {
		t.Errorf("%d others, %d preferred, %v ended at last", r.others.len, r.preferred.len, ended[len(ended)-3:])
	}
	r.finish(frameRef{})
	r.checkEmpty(t, "at the end")
}

// TestTCPRetained: what a reassembler retains for input of any kind stays in its budgets.
func TestTCPRetained(t *testing.T) {
	x := func(n int) string { return strings.Repeat("x", n) }
	for _, test := range []struct {
		name  string
		n     int
		bytes func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string))
	}{
		{"open conversations", 40000, func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string)) {
			add(i, 0, 1, 1, "x")
		}},
		{"a small piece each", 40000, func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string)) {
			add(i, 0, 1, 1, "x")
			add(i, 0, 9, 1, "x")
		}},
		{"many small pieces each", 60000, func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string)) {
			add(i/100, 0, uint32(1+2*(i%100)), 1, "x")
		}},
		{"large pieces", 6000, func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string)) {
			add(i, 0, 1, 1, "x")
			add(i, 0, 9, 1, x(1400))
		}},
		{"held and then delivered", 30000, func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string)) {
			add(i, 0, 1, 1, "x")
			for k := range uint32(5) {
				add(i, 0, 20-2*k, 1, "xx")
			}
			add(i, 0, 2, 1, x(30))
		}},
		{"answers before requests", 30000, func(r *reassembler, i int, add func(client, back int, seq, ack uint32, data string)) {
			add(i, 0, 1, 1, "x")
			add(i, 1, 1, 100, x(500))
		}},
	} {
		before := heapInUse()
		r := &reassembler{onData: func(*conversation, int, frameRef, []byte) {}, onGap: func(*conversation, int, frameRef, int) {}, onClose: func(*conversation, frameRef) {}}
		buf := make([]byte, 0, 4096)
		for i := range test.n {
			test.bytes(r, i, func(client, back int, seq, ack uint32, data string) {
				ends := [2]netip.AddrPort{manyClients(client), serverEnd}
				buf = append(buf[:0], tcpIP(ends[back], ends[1-back], seq, ack, tcpACK, data)...)
				r.add(&frame{link: linkRawIP, data: buf, size: len(buf)})
			})
		}
		used := r.memory.used + r.held.used
		retained := int(heapInUse() - before)
		if limit := budgetConversations + budgetHeld + 1<<20; retained > limit || retained > used+1<<20 || r.memory.used > budgetConversations || r.held.used > budgetHeld {
			t.Errorf("%s: %d bytes are retained, %d and %d are counted", test.name, retained, r.memory.used, r.held.used)
		}
		runtime.KeepAlive(r)
	}
}

// TestTCPHistory: the flags of both ends tell how a connection went that carried nothing.
func TestTCPHistory(t *testing.T) {
	t.Parallel()
	const syn, ack, fin, rst = tcpSYN, tcpACK, tcpFIN, tcpRST
	for _, test := range []struct {
		name, script string
		want         tcpHistory
	}{
		{"refused", "> S 0 0\n< RA 0 1\n", tcpHistory{[2]tcpFlags{syn, rst | ack}, 1, 2, 0}},
		{"no answer", "> S 0 0\n> S 0 0\n", tcpHistory{[2]tcpFlags{syn, 0}, -1, 2, 0}},
		{"the client closes", handshake + "> FA 1 1\n< FA 1 2\n", tcpHistory{[2]tcpFlags{syn | ack | fin, syn | ack | fin}, 0, 5, 0}},
		{"the server closes", handshake + "< FA 1 1\n> FA 1 2\n", tcpHistory{[2]tcpFlags{syn | ack | fin, syn | ack | fin}, 1, 5, 0}},
		{"the client resets", handshake + "> A 1 1 hello\n> R 6 1\n", tcpHistory{[2]tcpFlags{syn | ack | rst, syn | ack}, 0, 5, 0}},
		{"the server resets, cut", handshake + "> A 1 1 he+3\n< RA 1 6\n", tcpHistory{[2]tcpFlags{syn | ack, syn | ack | rst}, 1, 5, 1}},
		{"the middle", "< A 200 105 world\n> A 105 205 hello\n", tcpHistory{[2]tcpFlags{ack, ack}, -1, 2, 0}},
	} {
		l := newTCPEvents()
		var got tcpHistory
		l.onClose = func(c *conversation, _ frameRef) { got = c.history }
		l.play(test.script, 1000, 5000)
		if l.finish(frameRef{}); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

// FuzzReassemble: for any frames, data is delivered at most once, and the bounds hold.
func FuzzReassemble(f *testing.F) {
	seed := func(frames ...[]byte) {
		var b []byte
		for _, frame := range frames {
			b = binary.BigEndian.AppendUint16(b, uint16(len(frame)))
			b = append(b, frame...)
		}
		f.Add(uint16(linkRawIP), b)
	}
	hello := tcpIP(deviceEnd, serverEnd, 1, 1, tcpACK, "hello")
	syn, fin := tcpIP(deviceEnd, serverEnd, 0, 0, tcpSYN, ""), tcpIP(deviceEnd, serverEnd, 6, 2, tcpFIN|tcpACK, "")
	answer := tcpIP(serverEnd, deviceEnd, 1, 6, tcpACK, "world")
	seed(syn, hello, answer, fin)
	seed(tcpIP(deviceEnd, serverEnd, 9, 1, tcpACK, "x"), hello, hello[:42], syn, tcpIP(serverEnd, deviceEnd, 1<<31, 1<<31, tcpACK, "far"), answer)
	seed(tcpIP(netip.MustParseAddrPort("[2001:db8::7]:41234"), netip.MustParseAddrPort("[2001:db8::1]:49"), 1, 1, tcpACK, "hello"))
	f.Add(uint16(linkEthernet), append([]byte{0, 59, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x81, 0, 0, 5, 8, 0}, hello...))
	f.Fuzz(func(t *testing.T, link uint16, b []byte) {
		open := map[*conversation]bool{}
		received := 0
		r := reassembler{
			onData: func(c *conversation, from int, _ frameRef, b []byte) {
				open[c] = true
				if received += len(b); len(b) == 0 || c.ignored || from != 0 && from != 1 {
					t.Fatalf("%q from %d, ignored %v", b, from, c.ignored)
				}
				c.ignored = b[0] == 'I'
			},
			onGap: func(c *conversation, from int, _ frameRef, missing int) {
				open[c] = true
				if missing <= 0 || c.ignored {
					t.Fatalf("%d missing from %d, ignored %v", missing, from, c.ignored)
				}
			},
			onClose: func(c *conversation, _ frameRef) { delete(open, c) },
		}
		r.live = link%2 == 0
		for rest := b; len(rest) >= 2; {
			size := int(binary.BigEndian.Uint16(rest)) & 0x7ff
			n := min(size, len(rest)-2)
			r.add(&frame{link: protocol(link), data: rest[2 : 2+n], size: size})
			if rest = rest[2+n:]; r.held.used > budgetHeld {
				t.Fatalf("%d bytes are held", r.held.used)
			}
		}
		r.finish(frameRef{})
		if len(open) > 0 || r.held.used != 0 || received > len(b) {
			t.Fatalf("%d conversations are not closed, %d bytes are held, %d bytes of data in %d", len(open), r.held.used, received, len(b))
		}
	})
}

// BenchmarkReassemble measures the time for a segment of short connections.
func BenchmarkReassemble(b *testing.B) {
	const connections = 1000
	var frames []frame
	say := func(client netip.AddrPort, back bool, seq, ack uint32, flags tcpFlags, size int) {
		src, dst := client, serverEnd
		if back {
			src, dst = dst, src
		}
		ip := tcpIP(src, dst, seq, ack, flags, strings.Repeat("x", size))
		frames = append(frames, frame{link: linkRawIP, data: ip, size: len(ip)})
	}
	for i := range connections {
		client := manyClients(i)
		say(client, false, 0, 0, tcpSYN, 0)
		say(client, true, 0, 1, tcpSYN|tcpACK, 0)
		say(client, false, 1, 1, tcpACK, 0)
		say(client, false, 1, 1, tcpACK, 45)
		say(client, true, 1, 46, tcpACK, 18)
		say(client, false, 46, 19, tcpACK|tcpFIN, 0)
		say(client, true, 19, 47, tcpACK|tcpFIN, 0)
		say(client, false, 47, 20, tcpACK, 0)
	}
	r := reassembler{
		onData:  func(*conversation, int, frameRef, []byte) {},
		onGap:   func(*conversation, int, frameRef, int) { b.Fatal("a gap") },
		onClose: func(*conversation, frameRef) {},
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		r.add(&frames[i])
		for _, at := range []int{24, 28} { // new sequence numbers, so that the next round is not a repetition
			number := frames[i].data[at : at+4]
			binary.BigEndian.PutUint32(number, binary.BigEndian.Uint32(number)+1<<16)
		}
		if i++; i == len(frames) {
			i = 0
		}
	}
}
