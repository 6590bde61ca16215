package main

import (
	"encoding/binary"
	"time"
)

// The blocks of pcapng that are read.
const (
	blockInterface uint32 = 1
	blockOldPacket uint32 = 2
	blockSimple    uint32 = 3
	blockPacket    uint32 = 6
	// maxBlock bounds what is passed over as one block: more is a damaged length.
	maxBlock = 1 << 24
	// maxInterfaces is the most that a section may describe.
	maxInterfaces = 1 << 14
)

// pcapngFrame reads blocks up to and with one that has a packet.
func (c *capture) pcapngFrame(f *frame) error {
	for {
		if err := c.endBlock(); err != nil {
			return err
		}
		typ, err := c.beginBlock()
		if err != nil {
			return err
		}
		switch typ {
		case blockInterface:
			err = c.describe()
		case blockPacket, blockOldPacket:
			return c.blockFrame(f, typ)
		case blockSimple:
			return c.simpleFrame(f)
		}
		if err != nil {
			return err
		}
	}
}

// beginBlock reads the type and the length of a block, and what a section header says: the order of the
// bytes. Its interfaces are its own.
func (c *capture) beginBlock() (typ uint32, err error) {
	if err := c.begin(); err != nil {
		return 0, err
	}
	b, err := c.peek(8)
	if err != nil {
		return 0, err
	}
	least := uint32(12)
	if binary.BigEndian.Uint32(b) == magicSection {
		if b, err = c.peek(16); err != nil {
			return 0, err
		}
		switch binary.BigEndian.Uint32(b[8:]) {
		case 0x1a2b3c4d:
			c.order = binary.BigEndian
		case 0x4d3c2b1a:
			c.order = binary.LittleEndian
		default:
			return 0, c.fail("a section of pcapng without its byte-order magic")
		}
		if major := c.order.Uint16(b[12:]); major != 1 {
			return 0, c.fail("version %d of pcapng is not supported", major)
		}
		c.interfaces = c.interfaces[:0]
		least = 28
	}
	typ, c.length = c.order.Uint32(b), c.order.Uint32(b[4:])
	if c.length < least || c.length > maxBlock || c.length%4 != 0 {
		return 0, c.fail("a block of %d bytes", c.length)
	}
	c.rest = int64(c.length) - 4
	return typ, nil
}

// endBlock goes past the block: its length stands at the end once more.
func (c *capture) endBlock() error {
	if c.length == 0 {
		return nil // before the first
	}
	if err := c.skip(c.rest); err != nil {
		return err
	}
	b, err := c.peek(4)
	if err != nil {
		return err
	}
	if again := c.order.Uint32(b); again != c.length {
		return c.fail("a block of %d bytes ends as one of %d", c.length, again)
	}
	c.rest = 4
	return nil
}

// The options of an interface that are read.
const (
	optionEnd          = 0
	optionTSResolution = 9  // if_tsresol
	optionTSOffset     = 14 // if_tsoffset
)

// describe reads an interface description block.
func (c *capture) describe() error {
	if len(c.interfaces) == maxInterfaces {
		return c.fail("more than %d interfaces", maxInterfaces)
	}
	if c.length < 20 || c.length > maxFrame {
		return c.fail("an interface description of %d bytes", c.length)
	}
	b, err := c.peek(int(c.length) - 4)
	if err != nil {
		return err
	}
	i := captureInterface{link: linkType(c.order.Uint16(b[8:])), snapLen: c.order.Uint32(b[12:]), perSecond: 1e6}
	for b = b[16:]; len(b) >= 4; {
		option, length := c.order.Uint16(b), int(c.order.Uint16(b[2:]))
		padded := (length + 3) &^ 3
		if option == optionEnd {
			break
		}
		if b = b[4:]; padded > len(b) {
			return c.fail("an option of %d bytes in %d", length, len(b))
		}
		switch {
		case option == optionTSResolution && length == 1:
			if i.perSecond = resolution(b[0]); i.perSecond == 0 {
				return c.fail("a time resolution of %#02x", b[0])
			}
		case option == optionTSOffset && length == 8:
			i.offset = int64(c.order.Uint64(b))
		}
		b = b[padded:]
	}
	c.interfaces = append(c.interfaces, i)
	return nil
}

// resolution is the units in a second that if_tsresol stands for: a power of 10, or of 2 where the first
// bit is set; 0 for what does not fit 64 bits.
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
func (c *capture) blockFrame(f *frame, typ uint32) error {
	const fixed = 28
	if c.length < fixed+4 {
		return c.fail("a packet block of %d bytes", c.length)
	}
	b, err := c.peek(fixed)
	if err != nil {
		return err
	}
	number := c.order.Uint32(b[8:])
	if typ == blockOldPacket {
		number = uint32(c.order.Uint16(b[8:]))
	}
	length := c.order.Uint32(b[20:])
	if length > c.length-fixed-4 {
		return c.fail("a packet of %d bytes in a block of %d", length, c.length)
	}
	if number >= uint32(len(c.interfaces)) {
		return c.fail("a packet of interface %d, which is not described", number)
	}
	i := &c.interfaces[number]
	at := i.stamp(uint64(c.order.Uint32(b[12:]))<<32 | uint64(c.order.Uint32(b[16:])))
	return c.packet(f, i, at, fixed, length, c.order.Uint32(b[24:]))
}

// simpleFrame reads a simple packet block: of the first interface, without a time.
func (c *capture) simpleFrame(f *frame) error {
	const fixed = 12
	if c.length < fixed+4 {
		return c.fail("a simple packet block of %d bytes", c.length)
	}
	if len(c.interfaces) == 0 {
		return c.fail("a packet of interface 0, which is not described")
	}
	b, err := c.peek(fixed)
	if err != nil {
		return err
	}
	i, size := &c.interfaces[0], c.order.Uint32(b[8:])
	length := min(size, c.length-fixed-4)
	if i.snapLen > 0 {
		length = min(length, i.snapLen)
	}
	return c.packet(f, i, time.Time{}, fixed, length, size)
}
