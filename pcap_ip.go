package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// A segment is what one frame says of a TCP connection. RFC 9293 section 3.1.
type segment struct {
	flow     flow
	from     int // which end of the flow it is from
	seq, ack uint32
	flags    tcpFlags
	data     []byte
	missing  int // bytes behind them that the capture cut
}

// tcpFlags are the control bits that matter here.
type tcpFlags uint8

const (
	flagFIN tcpFlags = 0x01
	flagSYN tcpFlags = 0x02
	flagRST tcpFlags = 0x04
	flagACK tcpFlags = 0x10
)

// A flow is the two ends of a connection, the lesser one first: the same for both directions. IPv4
// addresses are mapped to IPv6.
type flow struct {
	addrs [2][16]byte
	ports [2]uint16
}

func (f *flow) end(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom16(f.addrs[i]).Unmap(), f.ports[i])
}

const (
	etherIPv4    = 0x0800
	etherIPv6    = 0x86dd
	etherVLAN    = 0x8100
	etherQinQ    = 0x88a8
	etherOldQinQ = 0x9100
	maxTags      = 8 // VLAN tags of one frame

	protocolTCP = 6
	// maxExtensions is the most extension headers of IPv6 that are gone past.
	maxExtensions = 16
)

// network is what follows the link layer, if that is IP. The link type may be one that is not known.
func network(link linkType, b []byte) (ip []byte, known bool) {
	var at, n int // of the EtherType; of what follows
	switch link {
	case linkEthernet:
		at, n = 12, 14
	case linkCooked:
		at, n = 14, 16
	case linkCooked2:
		at, n = 0, 20
	case linkNull, linkLoop:
		if len(b) < 4 || !isIPFamily(binary.LittleEndian.Uint32(b)) && !isIPFamily(binary.BigEndian.Uint32(b)) {
			return nil, true
		}
		return b[4:], true
	case linkRawIP, linkDLTRaw, linkDLTRaw14, linkIPv4, linkIPv6:
		return b, true
	default:
		return nil, false
	}
	for range maxTags {
		if len(b) < n {
			break
		}
		switch binary.BigEndian.Uint16(b[at:]) {
		case etherIPv4, etherIPv6:
			return b[n:], true
		case etherVLAN, etherQinQ, etherOldQinQ:
			at, n = n+2, n+4
		default:
			return nil, true
		}
	}
	return nil, true
}

// isIPFamily tells the address families of IPv4 and IPv6: the latter has another number on each system.
func isIPFamily(family uint32) bool {
	switch family {
	case 2, 10, 24, 28, 30:
		return true
	}
	return false
}

// segment reads a frame down to its TCP header. It is false for what has none, and counts why.
func (r *reassembler) segment(f *frame, s *segment) bool {
	ip, known := network(f.link, f.data)
	if !known {
		if r.dropped.otherLinks == 0 {
			r.dropped.otherLink = f.link
		}
		r.dropped.otherLinks++
		return false
	}
	// An offloading interface writes no length: then it is all that was on the wire.
	cut := max(f.size-len(f.data), 0)
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4:
		return r.ipv4(ip, cut, s)
	case len(ip) >= 40 && ip[0]>>4 == 6:
		return r.ipv6(ip, cut, s)
	case len(ip) > 0 && (ip[0]>>4 == 4 || ip[0]>>4 == 6):
		r.dropped.malformed++
	default:
		r.dropped.notTCP++
	}
	return false
}

// ipv4 reads a datagram of RFC 791; cut is how many bytes of it the capture lacks.
func (r *reassembler) ipv4(ip []byte, cut int, s *segment) bool {
	n, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if total == 0 {
		total = len(ip) + cut
	}
	const moreOrOffset = 0x3fff
	switch {
	case n < 20 || total < n || len(ip) < n:
		r.dropped.malformed++
	case ip[9] != protocolTCP:
		r.dropped.notTCP++
	case binary.BigEndian.Uint16(ip[6:])&moreOrOffset != 0:
		r.dropped.fragments++
	default:
		return r.tcp(ip[12:16], ip[16:20], ip[n:min(total, len(ip))], max(total-len(ip), 0), s)
	}
	return false
}

// ipv6 reads a packet of RFC 8200.
func (r *reassembler) ipv6(ip []byte, cut int, s *segment) bool {
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	if total == 40 {
		total = len(ip) + cut
	}
	next, b := ip[6], ip[40:min(total, len(ip))]
	for range maxExtensions {
		n := 0
		switch next {
		case protocolTCP:
			return r.tcp(ip[8:24], ip[24:40], b, max(total-len(ip), 0), s)
		case 0, 43, 60, 135, 139, 140: // hop-by-hop, routing, destination options, mobility, HIP, shim6
			if len(b) >= 8 {
				n = 8 + int(b[1])*8
			}
		case 51: // authentication header
			if len(b) >= 8 {
				n = 8 + int(b[1])*4
			}
		case 44: // fragment: one that is the whole packet is as good as none (RFC 6946)
			const moreOrOffset = 0xfff9
			if n = 8; len(b) >= n && binary.BigEndian.Uint16(b[2:])&moreOrOffset != 0 {
				r.dropped.fragments++
				return false
			}
		default:
			r.dropped.notTCP++
			return false
		}
		if n == 0 || n > len(b) {
			break
		}
		next, b = b[0], b[n:]
	}
	r.dropped.malformed++
	return false
}

// tcp reads a segment between two addresses; missing is how many bytes behind b the capture lacks.
func (r *reassembler) tcp(src, dst, b []byte, missing int, s *segment) bool {
	n := 0
	if len(b) >= 20 {
		n = int(b[12]>>4) * 4
	}
	if n < 20 || n > len(b)+missing {
		r.dropped.malformed++
		return false
	}
	s.seq, s.ack, s.flags = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), tcpFlags(b[13])
	s.data = b[min(n, len(b)):]
	s.missing = len(b) + missing - n - len(s.data)
	s.from = 0
	ports := [2]uint16{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])}
	if c := bytes.Compare(src, dst); c > 0 || c == 0 && ports[0] > ports[1] {
		s.from = 1
		src, dst = dst, src
		ports[0], ports[1] = ports[1], ports[0]
	}
	s.flow.ports = ports
	for i, addr := range [2][]byte{src, dst} {
		to := &s.flow.addrs[i]
		if len(addr) == 4 {
			*to = [16]byte{10: 0xff, 11: 0xff}
		}
		copy(to[16-len(addr):], addr)
	}
	return true
}

// drops counts what did not become bytes, and why, for the totals.
type drops struct {
	frames        int // that were given to add
	cut           int // frames that the capture cut (snapshot length); what is there counts
	fragments     int // of IP: they are not put together
	otherLinks    int // frames of a link type that is not supported
	notTCP        int // other protocols, and what is no IP
	malformed     int // headers that contradict themselves or end early
	conversations int // open ones dropped for the newest
	missing       int // told as missing by gap
	// otherLink is the first of otherLinks, to be named.
	otherLink linkType
}

// String is what was lost, in words, each with its count; empty for nothing. Other protocols are no loss.
func (d *drops) String() string {
	var lost []string
	for _, one := range []struct {
		what  string
		count int
	}{
		{"frames cut by the snapshot length", d.cut},
		{"IP fragments (not put together)", d.fragments},
		{"frames of a link that is not supported (" + d.otherLink.String() + ")", d.otherLinks},
		{"malformed frames", d.malformed},
		{"conversations given up for newer ones", d.conversations},
		{"missing bytes", d.missing},
	} {
		if one.count > 0 {
			lost = append(lost, fmt.Sprintf("%s: %d", one.what, one.count))
		}
	}
	return strings.Join(lost, ", ")
}
