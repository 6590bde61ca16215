package main

import (
	"encoding/binary"
	"time"
)

// A pcapngReader reads the blocks of a pcapng file.
type pcapngReader struct {
	in         *captureReader
	order      binary.ByteOrder   // of the section
	interfaces []captureInterface // of the section
	length     uint32             // of the block; 0 before the first one
}

// magicSection is the type of a section header block: the same in both byte orders.
const magicSection = 0x0a0d0d0a

// The other blocks that are read.
const (
	blockInterface uint32 = 1
	blockOldPacket uint32 = 2
	blockSimple    uint32 = 3
	blockPacket    uint32 = 6

	maxBlock      = 1 << 24 // bytes: a longer block has a damaged length
	maxInterfaces = 1 << 14 // of a section
)

// next reads blocks up to one with a frame.
func (p *pcapngReader) next(f *frame) error {
	for {
		if err := p.endBlock(); err != nil {
			return err
		}
		typ, err := p.beginBlock()
		if err != nil {
			return err
		}
		switch typ {
		case blockInterface:
			err = p.readInterface()
		case blockPacket, blockOldPacket:
			return p.blockFrame(f, typ)
		case blockSimple:
			return p.simpleFrame(f)
		}
		if err != nil {
			return err
		}
	}
}

// beginBlock reads the type and the length of a block. A section header sets the byte order, and starts a new
// list of interfaces.
func (p *pcapngReader) beginBlock() (typ uint32, err error) {
	if err := p.in.nextRecord(); err != nil {
		return 0, err
	}
	b, err := p.in.peek(8)
	if err != nil {
		return 0, err
	}
	least := uint32(12)
	if binary.BigEndian.Uint32(b) == magicSection {
		if b, err = p.in.peek(16); err != nil {
			return 0, err
		}
		switch binary.BigEndian.Uint32(b[8:]) {
		case 0x1a2b3c4d:
			p.order = binary.BigEndian
		case 0x4d3c2b1a:
			p.order = binary.LittleEndian
		default:
			return 0, p.in.errorf("a section of pcapng without its byte-order magic")
		}
		if major := p.order.Uint16(b[12:]); major != 1 {
			return 0, p.in.errorf("version %d of pcapng is not supported", major)
		}
		p.interfaces = p.interfaces[:0]
		least = 28
	}
	typ, p.length = p.order.Uint32(b), p.order.Uint32(b[4:])
	if p.length < least || p.length > maxBlock || p.length%4 != 0 {
		return 0, p.in.errorf("a block of %d bytes", p.length)
	}
	p.in.rest = int64(p.length) - 4
	return typ, nil
}

// endBlock skips the block and checks the second copy of its length, at the end.
func (p *pcapngReader) endBlock() error {
	if p.length == 0 {
		return nil
	}
	if err := p.in.skip(p.in.rest); err != nil {
		return err
	}
	b, err := p.in.peek(4)
	if err != nil {
		return err
	}
	if second := p.order.Uint32(b); second != p.length {
		return p.in.errorf("a block of %d bytes ends as one of %d", p.length, second)
	}
	p.in.rest = 4
	return nil
}

// The options of an interface that are read.
const (
	optionEnd          = 0
	optionTSResolution = 9  // if_tsresol
	optionTSOffset     = 14 // if_tsoffset
)

// readInterface reads an interface description block.
func (p *pcapngReader) readInterface() error {
	if len(p.interfaces) == maxInterfaces {
		return p.in.errorf("more than %d interfaces", maxInterfaces)
	}
	if p.length < 20 || p.length > maxFrame {
		return p.in.errorf("an interface description of %d bytes", p.length)
	}
	b, err := p.in.peek(int(p.length) - 4)
	if err != nil {
		return err
	}
	i := captureInterface{link: linkType(p.order.Uint16(b[8:])), snapLen: p.order.Uint32(b[12:]), perSecond: 1e6}
	for b = b[16:]; len(b) >= 4; {
		option, length := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		padded := (length + 3) &^ 3
		if option == optionEnd {
			break
		}
		if b = b[4:]; padded > len(b) {
			return p.in.errorf("an option of %d bytes in %d", length, len(b))
		}
		switch {
		case option == optionTSResolution && length == 1:
			if i.perSecond = resolution(b[0]); i.perSecond == 0 {
				return p.in.errorf("a time resolution of %#02x", b[0])
			}
		case option == optionTSOffset && length == 8:
			i.offset = int64(p.order.Uint64(b))
		}
		b = b[padded:]
	}
	p.interfaces = append(p.interfaces, i)
	return nil
}

// resolution returns the time stamp units in a second for a value of if_tsresol: a power of 10, or of 2 if the
// high bit is set. It is 0 if the result does not fit 64 bits.
func resolution(value byte) uint64 {
	if value&0x80 != 0 {
		return 1 << (value & 0x7f)
	}
	if value > 19 {
		return 0
	}
	units := uint64(1)
	for range value {
		units *= 10
	}
	return units
}

// blockFrame reads an enhanced packet block, or the obsolete packet block, whose interface has 16 bits.
func (p *pcapngReader) blockFrame(f *frame, typ uint32) error {
	const fixed = 28
	if p.length < fixed+4 {
		return p.in.errorf("a packet block of %d bytes", p.length)
	}
	b, err := p.in.peek(fixed)
	if err != nil {
		return err
	}
	number := p.order.Uint32(b[8:])
	if typ == blockOldPacket {
		number = uint32(p.order.Uint16(b[8:]))
	}
	length := p.order.Uint32(b[20:])
	if length > p.length-fixed-4 {
		return p.in.errorf("a packet of %d bytes in a block of %d", length, p.length)
	}
	if number >= uint32(len(p.interfaces)) {
		return p.in.errorf("a packet of interface %d, which is not described", number)
	}
	i := &p.interfaces[number]
	at := i.stamp(uint64(p.order.Uint32(b[12:]))<<32 | uint64(p.order.Uint32(b[16:])))
	return p.in.readFrame(f, i, at, fixed, length, p.order.Uint32(b[24:]))
}

// simpleFrame reads a simple packet block. It belongs to the first interface and has no time.
func (p *pcapngReader) simpleFrame(f *frame) error {
	const fixed = 12
	if p.length < fixed+4 {
		return p.in.errorf("a simple packet block of %d bytes", p.length)
	}
	if len(p.interfaces) == 0 {
		return p.in.errorf("a packet of interface 0, which is not described")
	}
	b, err := p.in.peek(fixed)
	if err != nil {
		return err
	}
	i, size := &p.interfaces[0], p.order.Uint32(b[8:])
	length := min(size, p.length-fixed-4)
	if i.snapLen > 0 {
		length = min(length, i.snapLen)
	}
	return p.in.readFrame(f, i, time.Time{}, fixed, length, size)
}
