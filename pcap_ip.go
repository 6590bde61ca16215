package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
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

// A flow is the two ends of a connection, the lesser one first, so it is the same for both directions. IPv4 addresses are
// mapped to IPv6.
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

	protocolTCP       = 6
	maxIPv6Extensions = 16 // headers of one packet
)

// ipPacket returns the IP packet in a frame, or nil. known is false if the link type is not supported.
func ipPacket(link linkType, b []byte) (ip []byte, known bool) {
	var at, n int // offsets of the EtherType and of the payload
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

// isIPFamily reports whether an address family is IPv4 (2) or IPv6, whose number depends on the system.
func isIPFamily(family uint32) bool {
	switch family {
	case 2, 10, 24, 28, 30:
		return true
	}
	return false
}

// A dropReason is why a frame has no segment.
type dropReason uint8

const (
	notDropped    dropReason = iota
	dropOtherLink            // the link type is not supported
	dropNotTCP
	dropMalformed // its headers are contradictory or truncated
	dropFragment  // of IP, which is not reassembled
	dropReasons
)

// parse parses a frame down to its TCP segment.
func (s *segment) parse(f *frame) dropReason {
	ip, known := ipPacket(f.link, f.data)
	cut := max(f.size-len(f.data), 0)
	switch {
	case !known:
		return dropOtherLink
	case len(ip) >= 20 && ip[0]>>4 == 4:
		return s.parseIPv4(ip, cut)
	case len(ip) >= 40 && ip[0]>>4 == 6:
		return s.parseIPv6(ip, cut)
	case len(ip) > 0 && (ip[0]>>4 == 4 || ip[0]>>4 == 6):
		return dropMalformed
	}
	return dropNotTCP
}

// parseIPv4 parses a datagram of RFC 791. The capture lacks the last cut bytes of the frame.
func (s *segment) parseIPv4(ip []byte, cut int) dropReason {
	n, total := int(ip[0]&0xf)*4, int(binary.BigEndian.Uint16(ip[2:]))
	if total == 0 { // with segmentation offload the length is that of the frame
		total = len(ip) + cut
	}
	const moreOrOffset = 0x3fff
	switch {
	case n < 20 || total < n || len(ip) < n:
		return dropMalformed
	case ip[9] != protocolTCP:
		return dropNotTCP
	case binary.BigEndian.Uint16(ip[6:])&moreOrOffset != 0:
		return dropFragment
	}
	return s.parseTCP(ip[12:16], ip[16:20], ip[n:min(total, len(ip))], max(total-len(ip), 0))
}

// parseIPv6 parses a packet of RFC 8200. The capture lacks the last cut bytes of the frame.
func (s *segment) parseIPv6(ip []byte, cut int) dropReason {
	total := 40 + int(binary.BigEndian.Uint16(ip[4:]))
	if total == 40 { // as with IPv4
		total = len(ip) + cut
	}
	next, b := ip[6], ip[40:min(total, len(ip))]
	for range maxIPv6Extensions {
		n := 0
		switch next {
		case protocolTCP:
			return s.parseTCP(ip[8:24], ip[24:40], b, max(total-len(ip), 0))
		case 0, 43, 60, 135, 139, 140: // hop-by-hop, routing, destination options, mobility, HIP, shim6
			if len(b) >= 8 {
				n = 8 + int(b[1])*8
			}
		case 51: // authentication header
			if len(b) >= 8 {
				n = 8 + int(b[1])*4
			}
		case 44: // fragment, which may be the whole packet (RFC 6946)
			const moreOrOffset = 0xfff9
			if n = 8; len(b) >= n && binary.BigEndian.Uint16(b[2:])&moreOrOffset != 0 {
				return dropFragment
			}
		default:
			return dropNotTCP
		}
		if n == 0 || n > len(b) {
			break
		}
		next, b = b[0], b[n:]
	}
	return dropMalformed
}

// parseTCP parses a segment between two addresses. The capture lacks missing bytes after b.
func (s *segment) parseTCP(src, dst, b []byte, missing int) dropReason {
	n := 0
	if len(b) >= 20 {
		n = int(b[12]>>4) * 4
	}
	if n < 20 || n > len(b)+missing {
		return dropMalformed
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
		a, _ := netip.AddrFromSlice(addr)
		s.flow.addrs[i] = a.As16()
	}
	return notDropped
}

// dropCounts counts what was lost between frames and bytes.
type dropCounts struct {
	frames        int // all of them
	cut           int // frames that the capture cut (snapshot length), whose other bytes are used
	reasons       [dropReasons]int
	otherLink     linkType // the last unsupported link type
	conversations int      // open ones dropped to bound memory
	missing       int      // bytes reported as missing
}

// add counts a frame that has no segment.
func (d *dropCounts) add(f *frame, reason dropReason) {
	if reason == dropOtherLink {
		d.otherLink = f.link
	}
	d.reasons[reason]++
}

// String lists the losses with their counts. Other protocols are no loss.
func (d *dropCounts) String() string {
	var lost []string
	for _, loss := range []struct {
		what  string
		count int
	}{
		{"frames cut by the snapshot length", d.cut},
		{"IP fragments (not reassembled)", d.reasons[dropFragment]},
		{"frames of an unsupported link (" + d.otherLink.String() + ")", d.reasons[dropOtherLink]},
		{"malformed frames", d.reasons[dropMalformed]},
		{"conversations dropped to bound memory", d.conversations},
		{"missing bytes", d.missing},
	} {
		if loss.count > 0 {
			lost = append(lost, fmt.Sprintf("%s: %d", loss.what, loss.count))
		}
	}
	return strings.Join(lost, ", ")
}
