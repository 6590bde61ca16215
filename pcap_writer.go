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
	start := len(b)
	src, dst := c.ends[from], c.ends[1-from]
	b, pseudo := appendIPHeader(append(b, make([]byte, pcapRecordLen)...), src.Addr(), dst.Addr(), tcpHeaderLen+len(data))
	tcp := len(b)
	b = append(append(b, make([]byte, tcpHeaderLen)...), data...)
	record, header := b[start:], b[tcp:]
	size := uint32(len(record) - pcapRecordLen)
	binary.LittleEndian.PutUint32(record, uint32(at.Unix()))
	binary.LittleEndian.PutUint32(record[4:], uint32(at.Nanosecond()/1000))
	binary.LittleEndian.PutUint32(record[8:], size)
	binary.LittleEndian.PutUint32(record[12:], size)
	binary.BigEndian.PutUint16(header, src.Port())
	binary.BigEndian.PutUint16(header[2:], dst.Port())
	binary.BigEndian.PutUint32(header[4:], c.next[from])
	if flags&tcpACK != 0 {
		binary.BigEndian.PutUint32(header[8:], c.next[1-from])
	}
	header[12], header[13], header[14], header[15] = tcpHeaderLen/4<<4, byte(flags), 0xff, 0xff
	binary.BigEndian.PutUint16(header[16:], checksum(pseudo, header))
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
	ip, v4 := len(b), src.Is4() && dst.Is4()
	if n := ipv4HeaderLen + size; v4 {
		b = append(b, 0x45, 0, byte(n>>8), byte(n), 0, 0, 0x40, 0, 64, protocolTCP, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, byte(size>>8), byte(size), protocolTCP, 64)
		src, dst = netip.AddrFrom16(src.As16()), netip.AddrFrom16(dst.As16())
	}
	addrs := len(b)
	b = append(append(b, src.AsSlice()...), dst.AsSlice()...)
	if v4 {
		binary.BigEndian.PutUint16(b[ip+10:], checksum(0, b[ip:]))
	}
	return b, addSum(protocolTCP+uint32(size), b[addrs:])
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
