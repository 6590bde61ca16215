package main

import (
	"encoding/binary"
	"net/netip"
	"time"
)

// A pcapConn is a TCP connection in a pcap file that is written. End 0 opens it.
type pcapConn struct {
	ends [2]netip.AddrPort
	next [2]uint32 // sequence numbers
}

const maxSegment = 32 << 10 // bytes of data in a TCP segment that is written

// appendPcapHeader appends the header of a pcap file of raw IP, with times in microseconds.
func appendPcapHeader(b []byte) []byte {
	b = binary.LittleEndian.AppendUint32(b, magicMicro)
	b = binary.LittleEndian.AppendUint16(b, 2) // version 2.4
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = append(b, make([]byte, 8)...)
	b = binary.LittleEndian.AppendUint32(b, maxFrame)
	return binary.LittleEndian.AppendUint32(b, uint32(linkRawIP))
}

// appendOpen appends the frames that open the connection.
func (c *pcapConn) appendOpen(b []byte, at time.Time) []byte {
	b = c.appendSegment(b, at, 0, tcpSYN, nil)
	b = c.appendSegment(b, at, 1, tcpSYN|tcpACK, nil)
	return c.appendSegment(b, at, 0, tcpACK, nil)
}

// appendData appends the frames for bytes that one end sends.
func (c *pcapConn) appendData(b []byte, at time.Time, from int, data []byte) []byte {
	for ; len(data) > maxSegment; data = data[maxSegment:] {
		b = c.appendSegment(b, at, from, tcpACK, data[:maxSegment])
	}
	return c.appendSegment(b, at, from, tcpPSH|tcpACK, data)
}

// appendClose appends the frames that close the connection.
func (c *pcapConn) appendClose(b []byte, at time.Time) []byte {
	b = c.appendSegment(b, at, 0, tcpFIN|tcpACK, nil)
	b = c.appendSegment(b, at, 1, tcpFIN|tcpACK, nil)
	return c.appendSegment(b, at, 0, tcpACK, nil)
}

// appendSegment appends one frame.
func (c *pcapConn) appendSegment(b []byte, at time.Time, from int, flags tcpFlags, data []byte) []byte {
	record := len(b)
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(at.Nanosecond()/1000))
	b = append(b, make([]byte, 8)...) // the size, twice
	ip := len(b)
	src, dst := c.ends[from], c.ends[1-from]
	b, pseudo := appendIPHeader(b, src.Addr(), dst.Addr(), tcpHeaderLen+len(data))
	tcp := len(b)
	b = binary.BigEndian.AppendUint16(b, src.Port())
	b = binary.BigEndian.AppendUint16(b, dst.Port())
	b = binary.BigEndian.AppendUint32(b, c.next[from])
	ack := c.next[1-from]
	if flags&tcpACK == 0 {
		ack = 0
	}
	b = binary.BigEndian.AppendUint32(b, ack)
	b = append(b, tcpHeaderLen/4<<4, byte(flags), 0xff, 0xff, 0, 0, 0, 0)
	b = append(b, data...)
	binary.BigEndian.PutUint16(b[tcp+16:], checksum(pseudo, b[tcp:]))
	size := uint32(len(b) - ip)
	binary.LittleEndian.PutUint32(b[record+8:], size)
	binary.LittleEndian.PutUint32(b[record+12:], size)
	if c.next[from] += uint32(len(data)); flags&(tcpSYN|tcpFIN) != 0 {
		c.next[from]++
	}
	return b
}

const (
	ipv4HeaderLen = 20
	tcpHeaderLen  = 20
)

// appendIPHeader appends the IP header of a TCP segment of size bytes: IPv6, unless both addresses are IPv4. sum is that of
// the pseudo-header, which is part of TCP's checksum.
func appendIPHeader(b []byte, src, dst netip.Addr, size int) (header []byte, sum uint32) {
	sum = protocolTCP + uint32(size)
	ip := len(b)
	if src.Is4() && dst.Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(ipv4HeaderLen+size))
		b = append(b, 0, 0, 0x40, 0, 64, protocolTCP, 0, 0)
		b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
		binary.BigEndian.PutUint16(b[ip+10:], checksum(0, b[ip:]))
		return b, addSum(sum, b[ip+12:])
	}
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(size))
	b = append(b, protocolTCP, 64)
	src16, dst16 := src.As16(), dst.As16()
	b = append(append(b, src16[:]...), dst16[:]...)
	return b, addSum(sum, b[ip+8:])
}

// addSum adds the 16-bit numbers in b to a checksum's sum, which stays below 1<<16. RFC 1071.
func addSum(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
		sum = sum&0xffff + sum>>16
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum&0xffff + sum>>16
}

// checksum returns the checksum of b, continuing a sum.
func checksum(sum uint32, b []byte) uint16 {
	return ^uint16(addSum(sum, b))
}
