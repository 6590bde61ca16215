package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"time"
)

// A frame is one packet of a capture.
type frame struct {
	// at is when it was taken, UTC. Zero where the capture does not say (simple packets of pcapng, most
	// hexadecimal text); in the year 1 where it says a time without a date: what lies between two is right.
	at   time.Time
	link linkType // what data begins with
	data []byte   // good until the next frame is read
	size int      // bytes it had on the wire: more than len(data) where the capture cut it
}

// A linkType is what the bytes of a frame begin with, by its number in pcap and pcapng.
type linkType uint32

const (
	linkNull     linkType = 0 // BSD loopback
	linkEthernet linkType = 1
	linkDLTRaw   linkType = 12 // raw IP, where a system's own number got into the file
	linkDLTRaw14 linkType = 14 // the same of OpenBSD
	linkRawIP    linkType = 101
	linkLoop     linkType = 108 // OpenBSD loopback
	linkCooked   linkType = 113 // Linux: tcpdump -i any
	linkIPv4     linkType = 228
	linkIPv6     linkType = 229
	linkCooked2  linkType = 276

	linkNone    linkType = 1 << 16   // one packet of TACACS+, out of hexadecimal text
	linkUnknown linkType = 1<<16 + 1 // hexadecimal text that begins like no packet
)

// String names those, too, that people meet and that are not read.
func (l linkType) String() string {
	switch l {
	case linkUnknown:
		return "hexadecimal text that begins like no packet"
	case 9, 50:
		return fmt.Sprintf("link type %d (PPP)", uint32(l))
	case 105, 119, 127, 163, 192:
		return fmt.Sprintf("link type %d (IEEE 802.11)", uint32(l))
	case 239:
		return fmt.Sprintf("link type %d (NFLOG)", uint32(l))
	}
	return fmt.Sprintf("link type %d", uint32(l))
}

// maxFrame is the most bytes of a frame: the limit of tcpdump and Wireshark.
const maxFrame = 1 << 18

// A capture is a pcap or pcapng file or hexadecimal text, a file or a stream that still grows: a frame is
// given as soon as its bytes are there.
type capture struct {
	name   string
	in     *bufio.Reader // holds the longest frame in one piece
	offset int64         // of the record that is being read
	used   int64         // bytes of it that were read
	rest   int64         // bytes of it that are still to be passed over: the frame that was given
	read   func(f *frame) error
	err    error // which ended it

	order      binary.ByteOrder // of the file, or of the section
	interfaces []captureInterface
	length     uint32 // of the block of pcapng
	text       hexText
}

// A captureInterface is what the packets of one interface have in common; a pcap file has one.
type captureInterface struct {
	link      linkType
	snapLen   uint32 // of pcapng; 0 for no limit
	perSecond uint64 // units of its time stamps
	offset    int64  // seconds to add to them
}

// The first bytes of the formats, as a big-endian reader sees them.
const (
	magicMicro        = 0xa1b2c3d4
	magicNano         = 0xa1b23c4d
	magicMicroSwapped = 0xd4c3b2a1
	magicNanoSwapped  = 0x4d3cb2a1
	magicSection      = 0x0a0d0d0a // the type of pcapng's section header block: the same in both orders
	magicGzip         = 0x1f8b
)

// newCapture tells from the first bytes what the input is. The name is for errors, which are of the class
// usage. It waits for the first bytes, and for the whole header of a pcap file.
func newCapture(r io.Reader, name string) (*capture, error) {
	c := &capture{name: name, in: bufio.NewReaderSize(r, maxFrame+1<<12)}
	first, err := c.in.Peek(4)
	if err != nil && err != io.EOF {
		return nil, c.fail("%w", err)
	}
	magic := uint32(0)
	if len(first) == 4 {
		magic = binary.BigEndian.Uint32(first)
	}
	switch {
	case len(first) == 0:
		return nil, failf(classUsage, "%s is empty", name)
	case magic == magicSection:
		c.read = c.pcapngFrame
	case magic == magicMicro || magic == magicMicroSwapped || magic == magicNano || magic == magicNanoSwapped:
		c.read = c.pcapFrame
		err = c.pcapHeader(magic)
	case magic>>16 == magicGzip:
		err = failf(classUsage, "%s is compressed", name).withHint("decompress it first: zcat FILE | tacacs_plus decode")
	case !isText(first):
		err = c.noCapture()
	default:
		c.read = c.hexFrame
		err = nil // fewer than four bytes
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func isText(b []byte) bool {
	for _, o := range b {
		if o < ' ' && o != '\t' && o != '\n' && o != '\r' {
			return false
		}
	}
	return true
}

func (c *capture) noCapture() error {
	return failf(classUsage, "%s is no capture: neither pcap, pcapng, nor hexadecimal text of packets", c.name).
		withHint("take one with: tcpdump -w FILE port 49")
}

// fail is an error in the record at the offset.
func (c *capture) fail(format string, args ...any) error {
	return failf(classUsage, "%s at offset %d: %w", c.name, c.offset, fmt.Errorf(format, args...))
}

// next reads a frame. At the end of the input it is io.EOF. Any other error is of the class usage and
// names the offset; all frames up to there were given.
func (c *capture) nextFrame(f *frame) error {
	if c.err == nil {
		c.err = c.read(f)
	}
	return c.err
}

// begin goes on to the next record.
func (c *capture) begin() error {
	err := c.skip(c.rest)
	c.offset, c.used, c.rest = c.offset+c.used, 0, 0
	return err
}

// peek gives the next n bytes without going past them: good until the next call. Where there are none at
// all at the beginning of a record it is io.EOF.
func (c *capture) peek(n int) ([]byte, error) {
	b, err := c.in.Peek(n)
	if err == io.EOF && (len(b) > 0 || c.used > 0) {
		err = c.fail("%w", errEndsInside)
	} else if err != nil && err != io.EOF {
		err = c.fail("%w", err)
	}
	return b, err
}

// skip goes past n bytes, which need not fit into memory.
func (c *capture) skip(n int64) error {
	done, err := c.in.Discard(int(n))
	c.used += int64(done)
	if err == io.EOF {
		return c.fail("%w", errEndsInside)
	} else if err != nil {
		return c.fail("%w", err)
	}
	return nil
}

var errEndsInside = errors.New("the input ends in the middle of a record")

// pcapHeader reads the header of a pcap file.
func (c *capture) pcapHeader(magic uint32) error {
	h, err := c.peek(24)
	if err != nil {
		return err
	}
	c.order = binary.BigEndian
	if magic == magicMicroSwapped || magic == magicNanoSwapped {
		c.order = binary.LittleEndian
	}
	if major := c.order.Uint16(h[4:]); major != 2 {
		return c.fail("version %d of pcap is not supported", major)
	}
	// The upper half of the link type says how long the frame check sequence is: padding, for us.
	i := captureInterface{perSecond: 1e6, link: linkType(c.order.Uint32(h[20:]) & 0xffff)}
	if c.order.Uint32(h) == magicNano {
		i.perSecond = 1e9
	}
	c.interfaces = append(c.interfaces, i)
	c.rest = 24
	return nil
}

// pcapFrame reads a record of a pcap file.
func (c *capture) pcapFrame(f *frame) error {
	if err := c.begin(); err != nil {
		return err
	}
	h, err := c.peek(16)
	if err != nil {
		return err
	}
	i := &c.interfaces[0]
	at := i.stamp(uint64(c.order.Uint32(h))*i.perSecond + uint64(c.order.Uint32(h[4:])))
	length := c.order.Uint32(h[8:])
	c.rest = 16 + int64(length)
	return c.packet(f, i, at, 16, length, c.order.Uint32(h[12:]))
}

// packet makes a frame of length bytes that follow the n bytes of the record's header.
func (c *capture) packet(f *frame, i *captureInterface, at time.Time, n int, length, size uint32) error {
	if length > maxFrame {
		return c.fail("a packet of %d bytes, the limit is %d", length, maxFrame)
	}
	b, err := c.peek(n + int(length))
	if err != nil {
		return err
	}
	*f = frame{at: at, link: i.link, data: b[n:], size: int(min(size, math.MaxInt32))}
	return nil
}

// stamp is the time of a frame: ticks since 1970 in units of the interface. Those that no calendar has
// are zero.
func (i *captureInterface) stamp(ticks uint64) time.Time {
	seconds := ticks / i.perSecond
	hi, lo := bits.Mul64(ticks%i.perSecond, 1e9)
	nano, _ := bits.Div64(hi, lo, i.perSecond)
	const last = 253402300799 // of the year 9999
	if at := int64(seconds) + i.offset; seconds <= last && at >= 0 && at <= last {
		return time.Unix(at, int64(nano)).UTC()
	}
	return time.Time{}
}
