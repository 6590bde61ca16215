package main

import "encoding/binary"

// A pcapReader reads the records of a pcap file.
type pcapReader struct {
	in    *captureReader
	order binary.ByteOrder
	iface captureInterface
}

// The first four bytes of a pcap file, as a big-endian number.
const (
	magicMicro        = 0xa1b2c3d4 // times in microseconds
	magicNano         = 0xa1b23c4d // times in nanoseconds
	magicMicroSwapped = 0xd4c3b2a1 // a little-endian file
	magicNanoSwapped  = 0x4d3cb2a1
)

const (
	pcapHeaderLen = 24 // of the file
	pcapRecordLen = 16 // of the header of a frame
)

// readHeader reads the header of the file.
func (p *pcapReader) readHeader() error {
	h, err := p.in.peek(pcapHeaderLen)
	if err != nil {
		return err
	}
	p.order = binary.BigEndian
	if magic := p.order.Uint32(h); magic == magicMicroSwapped || magic == magicNanoSwapped {
		p.order = binary.LittleEndian
	}
	if major := p.order.Uint16(h[4:]); major != 2 {
		return p.in.errorf("version %d of pcap is not supported", major)
	}
	// The upper half of the link type is the length of the frame check sequence, which counts as padding.
	p.iface = captureInterface{perSecond: 1e6, link: linkType(p.order.Uint32(h[20:]) & 0xffff)}
	if p.order.Uint32(h) == magicNano {
		p.iface.perSecond = 1e9
	}
	p.in.rest = pcapHeaderLen
	return nil
}

// next reads a frame.
func (p *pcapReader) next(f *frame) error {
	if err := p.in.nextRecord(); err != nil {
		return err
	}
	h, err := p.in.peek(pcapRecordLen)
	if err != nil {
		return err
	}
	at := p.iface.stamp(uint64(p.order.Uint32(h))*p.iface.perSecond + uint64(p.order.Uint32(h[4:])))
	length, size := p.order.Uint32(h[8:]), p.order.Uint32(h[12:])
	p.in.rest = pcapRecordLen + int64(length)
	return p.in.readFrame(f, &p.iface, at, pcapRecordLen, length, size)
}
