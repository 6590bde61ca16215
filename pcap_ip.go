package main

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"net/netip"
)

// A segment is the part of a TCP connection in one frame. RFC 9293 section 3.1.
type segment struct {
	flow     flow
	from     int // the end of the flow that sent it
	seq, ack uint32
	flags    tcpFlags
	data     []byte
	missing  int // bytes after data that the capture cut
}

// tcpFlags are control bits.
type tcpFlags uint8

const (
	tcpFIN tcpFlags = 0x01
	tcpSYN tcpFlags = 0x02
	tcpRST tcpFlags = 0x04
	tcpPSH tcpFlags = 0x08
	tcpACK tcpFlags = 0x10
)

// A flow is the two ends of a connection, the lesser one first, so it is the same for both directions.
type flow struct {
	addrs [2]ipNumber
	ports [2]uint16
}

func (f *flow) end(i int) netip.AddrPort {
	var addr [16]byte
	binary.BigEndian.PutUint64(addr[:], f.addrs[i].high)
	binary.BigEndian.PutUint64(addr[8:], f.addrs[i].low)
	return netip.AddrPortFrom(netip.AddrFrom16(addr).Unmap(), f.ports[i])
}

// An ipNumber is an address as a number, which is faster to compare than bytes.
type ipNumber struct{ high, low uint64 }

// newIPNumber returns the number of an address. One of IPv4 is mapped to IPv6 (RFC 4291 section 2.5.5.2).
func newIPNumber(addr []byte) ipNumber {
	if len(addr) == 4 {
		return ipNumber{low: 0xffff<<32 | uint64(binary.BigEndian.Uint32(addr))}
	}
	return ipNumber{binary.BigEndian.Uint64(addr), binary.BigEndian.Uint64(addr[8:])}
}

// A frameLayer is the part of a frame that contains one protocol.
type frameLayer struct {
	protocol protocol
	data     []byte
	cut      int // bytes after data that the capture cut
	src, dst []byte
	nested   int // encapsulations around it
}

// parse parses a frame down to its TCP segment. If there is none, it returns the protocol that is not read.
func (s *segment) parse(f *frame) (p protocol, ok bool) {
	l := frameLayer{protocol: f.link, data: f.data, cut: max(f.size-len(f.data), 0)}
	for range maxLayers {
		if l.protocol == ofIP+protocolTCP {
			if !s.parseTCP(&l) {
				return l.malformed(), false
			}
			return 0, true
		}
		if !l.descend() {
			return l.protocol, false
		}
	}
	return deepNesting, false
}

// descend goes on to the next layer. If that is not read, descend returns false, and protocol is what it contains.
func (l *frameLayer) descend() (ok bool) {
	switch l.protocol {
	case ofEther + etherIPv4:
		return l.descendIPv4()
	case ofEther + etherIPv6:
		return l.descendIPv6()
	}
	e := encapsulationOf(l.protocol)
	if e == nil {
		return false
	}
	if len(l.data) < e.size {
		return l.stop(l.malformed())
	}
	next, size := e.next, e.size
	switch {
	case e.parse != nil:
		next, size = e.parse(l.data)
	case e.at >= 0:
		number := number16(l.data, e.at)
		if next += number; next == ofEther+number && number < etherLLC {
			next = ofLLC
		}
	}
	if e.nested {
		l.nested++
	}
	switch {
	case size == notRead && next == 0:
		return false
	case size == notRead:
		return l.stop(next)
	case size > len(l.data):
		return l.stop(l.malformed())
	case l.nested > maxNested:
		return l.stop(deepNesting)
	}
	l.protocol, l.data = next, l.data[size:]
	return true
}

// stop sets the protocol that is not read.
func (l *frameLayer) stop(p protocol) (ok bool) {
	l.protocol = p
	return false
}

// malformed returns the reason why a header cannot be read.
func (l *frameLayer) malformed() protocol {
	if l.cut > 0 {
		return cutHeader
	}
	return malformedHeader
}

// descendIPv4 reads a header of RFC 791.
func (l *frameLayer) descendIPv4() (ok bool) {
	ip := l.data
	if len(ip) < 20 || ip[0]>>4 != 4 {
		return l.stop(l.malformed())
	}
	n, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if total == 0 { // with segmentation offload the length is that of the frame
		total = len(ip) + l.cut
	}
	const moreOrOffset = 0x3fff
	switch {
	case n < 20 || total < n || len(ip) < n:
		return l.stop(l.malformed())
	case binary.BigEndian.Uint16(ip[6:])&moreOrOffset != 0:
		return l.stop(ipFragment)
	}
	l.protocol, l.src, l.dst = ofIP+protocol(ip[9]), ip[12:16], ip[16:20]
	l.data, l.cut = ip[n:min(total, len(ip))], max(total-len(ip), 0)
	return true
}

// descendIPv6 reads a header of RFC 8200. Extension headers are encapsulations.
func (l *frameLayer) descendIPv6() (ok bool) {
	ip := l.data
	if len(ip) < 40 || ip[0]>>4 != 6 {
		return l.stop(l.malformed())
	}
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	if total == 40 { // as with IPv4
		total = len(ip) + l.cut
	}
	l.protocol, l.src, l.dst = ofIP+protocol(ip[6]), ip[8:24], ip[24:40]
	l.data, l.cut = ip[40:min(total, len(ip))], max(total-len(ip), 0)
	return true
}

// outerSize returns the size of a frame up to the end of its first IP packet. It is 0 if there is none, or if its header
// does not look like one.
func outerSize(link protocol, frame []byte) int {
	l := frameLayer{protocol: link, data: frame}
	for l.protocol != ofEther+etherIPv4 && l.protocol != ofEther+etherIPv6 {
		if !l.descend() {
			return 0
		}
	}
	ip, before := l.data, len(frame)-len(l.data)
	common := []byte{protocolTCP, protocolUDP, 1, 4, 41, 47} // also ICMP, IP in IP and GRE
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4 && bytes.IndexByte(common, ip[9]) >= 0:
		if size := int(binary.BigEndian.Uint16(ip[2:])); size >= 20 && ip[0]&0xf >= 5 {
			return before + size
		}
	case len(ip) >= 40 && ip[0]>>4 == 6:
		return before + 40 + int(binary.BigEndian.Uint16(ip[4:]))
	}
	return 0
}

// parseTCP parses a segment. It returns false if the header is malformed.
func (s *segment) parseTCP(l *frameLayer) (ok bool) {
	b, missing := l.data, l.cut
	n := 0
	if len(b) >= 20 {
		n = int(b[12]>>4) * 4
	}
	if n < 20 || n > len(b)+missing {
		return false
	}
	s.seq, s.ack, s.flags = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), tcpFlags(b[13])
	s.data = b[min(n, len(b)):]
	s.missing = len(b) + missing - n - len(s.data)
	src, dst := newIPNumber(l.src), newIPNumber(l.dst)
	srcPort, dstPort := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	if s.from = 0; cmp.Or(cmp.Compare(src.high, dst.high), cmp.Compare(src.low, dst.low), cmp.Compare(srcPort, dstPort)) > 0 {
		s.from = 1
	}
	s.flow.addrs[s.from], s.flow.addrs[1-s.from] = src, dst
	s.flow.ports[s.from], s.flow.ports[1-s.from] = srcPort, dstPort
	return true
}
