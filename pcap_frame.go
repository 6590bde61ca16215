package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"time"
)

// A frameRef refers to a frame of a capture.
type frameRef struct {
	number int // in its file, counted from 1 as in Wireshark
	// at is the time of capture in UTC. It is zero if unknown, as in simple packets of pcapng and most hexadecimal
	// text. It is in the year 1 if the text has times without a date: only differences mean something.
	at time.Time
}

// dated reports whether a time of a capture has a date.
func dated(at time.Time) bool { return !at.Before(firstDate) }

var firstDate = time.Date(2, 1, 1, 0, 0, 0, 0, time.UTC)

// A frame is one packet of a capture.
type frame struct {
	at     time.Time
	link   protocol // the format that data begins with
	data   []byte   // valid until the next frame is read
	size   int      // bytes on the wire: more than len(data) if the capture cut the frame
	number int      // in its file, from 1
}

func (f *frame) ref() frameRef { return frameRef{f.number, f.at} }

// A protocol is what a part of a frame contains: a number, and the space that it belongs to.
type protocol uint64

// The spaces of numbers.
const (
	ofLink   protocol = iota << 48 // link types of pcap
	ofEther                        // EtherTypes
	ofIP                           // IP protocols
	ofUDP                          // ports
	ofTCP                          // ports
	ofPPP                          // PPP protocols
	ofLLC                          // service access points of IEEE 802.2
	ofSNAP                         // an organization and its number
	ofGRE                          // protocols of GRE that are no EtherTypes
	ofFamily                       // address families of BSD loopback
	ofNone                         // reasons below

	maxNumber = 1<<48 - 1
)

// Link types: the format of the first bytes of a frame, by its number in pcap and pcapng.
const (
	linkNull      = ofLink + 0 // BSD loopback
	linkEthernet  = ofLink + 1
	linkPPP       = ofLink + 9
	linkDLTRaw    = ofLink + 12 // raw IP, by the number that some systems use internally
	linkDLTRaw14  = ofLink + 14 // the same of OpenBSD
	linkPPPHDLC   = ofLink + 50
	linkPPPoE     = ofLink + 51
	linkRawIP     = ofLink + 101
	linkCiscoHDLC = ofLink + 104
	linkLoop      = ofLink + 108 // OpenBSD loopback
	linkCooked    = ofLink + 113 // Linux: tcpdump -i any
	linkIPv4      = ofLink + 228
	linkIPv6      = ofLink + 229
	linkCooked2   = ofLink + 276
	linkNone      = ofLink + 1<<16     // hexadecimal text: a packet of the payload's protocol, without IP
	linkUnknown   = ofLink + 1<<16 + 1 // hexadecimal text that is not recognized
)

// maxFrame is the size limit of a frame in bytes, the same as that of tcpdump and Wireshark.
const maxFrame = 1 << 18

// A payloadFormat recognizes the packets of one protocol in hexadecimal text, where they may lack IP headers.
type payloadFormat struct {
	// size returns the size of the packet at the start of b, or 0 if there is none.
	size func(b []byte) int
	// sender returns which end sent a packet: 0 is the client. It fails if the packet is too short.
	sender func(packet []byte) (from int, ok bool)
	// heading parses the line of text above the bytes of a packet. If the line describes a header, heading returns
	// the bytes of the header and the size of the whole packet.
	heading func(words []string) (header []byte, size int, ok bool)
	filter  string // of tcpdump, for a hint
}

// errNotCapture returns the error for an input of unknown format.
func (p *payloadFormat) errNotCapture(name string) error {
	return failf(classUsage, "%s is not a capture (pcap, pcapng or a hex dump of packets)", name).
		withHint(fmt.Sprintf("capture with tcpdump -w FILE %s, or convert text with text2pcap TEXT FILE", p.filter))
}

// A captureReader reads the records of a capture.
type captureReader struct {
	name   string        // for errors
	buf    *bufio.Reader // holds the longest frame in one piece
	offset int64         // of the record that is being read
	used   int64         // bytes read of the record
	rest   int64         // bytes left to skip of the record
	frames int           // that were read
}

// newCaptureReader also returns the first four bytes. They are fewer, and there is an error, if the input ends before.
func newCaptureReader(r io.Reader, name string) (c *captureReader, first []byte, err error) {
	c = &captureReader{name: name, buf: bufio.NewReaderSize(r, maxFrame+1<<12)}
	first, err = c.buf.Peek(4)
	return c, first, err
}

// errorf returns an error in the record that is being read.
func (c *captureReader) errorf(format string, args ...any) error {
	return failf(classUsage, "%s at offset %d: %w", c.name, c.offset, fmt.Errorf(format, args...))
}

// nextRecord skips the rest of the record.
func (c *captureReader) nextRecord() error {
	err := c.skip(c.rest)
	c.offset, c.used, c.rest = c.offset+c.used, 0, 0
	return err
}

// peek returns the next n bytes without consuming them. They are valid until the next call. The error is io.EOF if the
// input ends between records.
func (c *captureReader) peek(n int) ([]byte, error) {
	b, err := c.buf.Peek(n)
	if err != nil && (err != io.EOF || len(b) > 0 || c.used > 0) {
		err = c.readError(err)
	}
	return b, err
}

// skip skips n bytes, which may exceed the buffer.
func (c *captureReader) skip(n int64) error {
	done, err := c.buf.Discard(int(n))
	if c.used += int64(done); err != nil {
		return c.readError(err)
	}
	return nil
}

// readError returns the error for a record that cannot be read to its end.
func (c *captureReader) readError(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF { // the latter of gzip
		err = errors.New("truncated record")
	}
	return c.errorf("%w", err)
}

// A captureInterface describes the frames of one interface. A pcap file has one.
type captureInterface struct {
	link      protocol
	snapLen   uint32 // of pcapng; 0 for no limit
	perSecond uint64 // units of its time stamps
	offset    int64  // seconds to add to them
}

// stamp returns the time of a time stamp: seconds since 1970, and units of the interface. It is zero beyond the year 9999.
func (i *captureInterface) stamp(seconds, ticks uint64) time.Time {
	if ticks >= i.perSecond {
		seconds, ticks = seconds+ticks/i.perSecond, ticks%i.perSecond
	}
	hi, lo := bits.Mul64(ticks, 1e9)
	nano, _ := bits.Div64(hi, lo, i.perSecond)
	const last = 253402300799 // of the year 9999
	if at := int64(seconds) + i.offset; seconds <= last && at >= 0 && at <= last {
		return time.Unix(at, int64(nano)).UTC()
	}
	return time.Time{}
}

// readFrame sets f to the length bytes that follow the n bytes of the record's header. size is the length on the wire.
func (c *captureReader) readFrame(f *frame, i *captureInterface, at time.Time, n int, length, size uint32) error {
	if length > maxFrame {
		return c.errorf("packet is %d bytes, the limit is %d", length, maxFrame)
	}
	b, err := c.peek(n + int(length))
	if err != nil {
		return err
	}
	c.frames++
	f.at, f.link, f.data, f.size, f.number = at, i.link, b[n:], int(min(size, math.MaxInt32)), c.frames
	return nil
}
