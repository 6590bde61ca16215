package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"io"
	"strconv"
	"strings"
	"time"
)

// A hexReader reads packets from hexadecimal text. Consecutive lines of bytes are a dump: one packet with IP, or several
// packets of the payload's protocol without. A dump ends where offsets restart, and at any line without bytes.
type hexReader struct {
	in      *captureReader
	payload *payloadFormat
	known   bool      // a dump was a packet
	at      time.Time // from the last line of text with a time
	dump    hexDump

	data, spare []byte // bytes of the dump that are not returned yet, and memory to swap with
	row         []byte // bytes of one line
}

// A hexDump is the state of one dump.
type hexDump struct {
	count     int  // bytes of the dump, including those returned
	offsets   bool // its lines have offsets
	returned  bool // its packet was returned: the rest is padding
	last      int  // bytes of its last line
	announced int  // size of the packet whose header was in the text above the dump; 0 for none
	repeated  bool // after a line "*": the previous line repeats up to the next offset
}

// next reads lines until a packet is complete.
func (h *hexReader) next(f *frame) error {
	for !h.takePacket(f) {
		h.in.offset, h.in.used = h.in.offset+h.in.used, 0
		line, err := h.in.buf.ReadSlice('\n')
		h.in.used = int64(len(line))
		switch {
		case err == bufio.ErrBufferFull:
			return h.in.errorf("line is over %d bytes", len(line))
		case err != nil && err != io.EOF:
			return h.in.errorf("%w", err)
		case err == io.EOF && len(line) == 0:
			if h.endDump(f) {
				return nil
			}
			if !h.known {
				return h.payload.errNotCapture(h.in.name)
			}
			return io.EOF
		}
		if h.addLine(bytes.TrimRight(line, "\r\n"), f) {
			return nil
		}
	}
	return nil
}

// takePacket returns the packet in f if it is complete.
func (h *hexReader) takePacket(f *frame) bool {
	link, size := h.recognize()
	if size == 0 || size > len(h.data) {
		return len(h.data) > maxFrame && h.endDump(f)
	}
	h.take(f, link, size)
	if link != linkNone {
		h.dump.returned, h.data = true, h.data[:0]
	}
	return true
}

// endDump returns the rest of the dump in f, complete or not. It reports whether there is any.
func (h *hexReader) endDump(f *frame) bool {
	rest := len(h.data) > 0
	if rest {
		link, size := h.recognize()
		h.take(f, link, len(h.data))
		f.size = max(size, len(f.data))
	}
	h.dump, h.data = hexDump{}, h.data[:0]
	return rest
}

// take makes a frame of the first size bytes. It copies the rest, so that the frame stays valid.
func (h *hexReader) take(f *frame, link linkType, size int) {
	h.in.frames++
	*f = frame{h.at, link, h.data[:size], size, h.in.frames}
	h.data, h.spare = append(h.spare[:0], h.data[size:]...), h.data
	h.known = h.known || link != linkUnknown
	h.dump.announced = 0
}

// recognize returns the format of the bytes and the size of their first packet, or 0 if unknown.
func (h *hexReader) recognize() (linkType, int) {
	if h.dump.announced > 0 {
		return linkNone, h.dump.announced
	}
	if size := h.payload.size(h.data); size > 0 {
		return linkNone, size
	}
	// Ethernet comes first: its addresses can look like either version of IP.
	for _, link := range [...]linkType{linkEthernet, linkCooked2, linkCooked, linkNull, linkRawIP} {
		if ip := outerIP(link, h.data); len(ip) > 0 {
			if size := ipSize(ip); size > 0 {
				return link, len(h.data) - len(ip) + size
			}
		}
	}
	return linkUnknown, 0
}

// ipSize returns the total length in an IP header, or 0 if ip does not look like one.
func ipSize(ip []byte) int {
	switch {
	case len(ip) >= 20 && ip[0]>>4 == 4 && (ip[9] == protocolTCP || ip[9] == 17 || ip[9] == 1): // UDP, ICMP
		if size := int(binary.BigEndian.Uint16(ip[2:])); size >= 20 && ip[0]&0xf >= 5 {
			return size
		}
	case len(ip) >= 40 && ip[0]>>4 == 6:
		return 40 + int(binary.BigEndian.Uint16(ip[4:]))
	}
	return 0
}

// addLine adds a line. If it ends a dump, the rest of that dump is returned in f.
func (h *hexReader) addLine(line []byte, f *frame) (returned bool) {
	d := &h.dump
	if string(bytes.TrimSpace(line)) == "*" {
		d.repeated = true
		return false
	}
	offset, ok := h.parseLine(line)
	switch {
	case !ok && d.announced > 0 && bytes.HasPrefix(line, []byte("  ")):
		return false // a field, above the bytes
	case !ok:
		returned = h.endDump(f)
		h.readHeading(strings.Fields(string(line)))
		return returned
	case offset >= 0:
		returned = h.moveTo(offset, f)
	case d.returned || d.offsets:
		returned = h.endDump(f)
	}
	d.offsets, d.repeated = offset >= 0, false
	d.count, d.last = d.count+len(h.row), len(h.row)
	if !d.returned {
		h.data = append(h.data, h.row...)
	}
	return returned
}

// moveTo corrects the bytes of the dump by the offset of the next line: it expands a "*", and removes text after the bytes
// that looked like more of them. Any other offset starts a dump.
func (h *hexReader) moveTo(offset int, f *frame) (returned bool) {
	d := &h.dump
	n := len(h.data)
	switch {
	case offset == d.count:
	case d.returned && offset > 0:
	case d.repeated && offset > d.count && offset-d.count <= maxFrame && 0 < d.last && d.last <= n:
		for ; d.count < offset; d.count++ {
			h.data = append(h.data, h.data[len(h.data)-d.last])
		}
	case offset < d.count && offset > d.count-d.last && d.count-offset <= n:
		h.data = h.data[:n-(d.count-offset)]
	default:
		returned = h.endDump(f)
	}
	d.count = offset
	return returned
}

// parseLine reads the bytes of a line into row and returns their offset, or -1 if there is none. Two blanks end the bytes,
// since the column of characters follows; but they may also separate the halves of 16 bytes.
func (h *hexReader) parseLine(line []byte) (offset int, ok bool) {
	h.row = h.row[:0]
	first, rest := nextWord(line)
	offset, colon := -1, false
	if word := strings.TrimSuffix(string(first), ":"); len(word) < len(first) || h.isOffset(word, rest) {
		colon = len(word) < len(first)
		if offset = h.parseOffset(word, colon); offset < 0 {
			return 0, false
		}
		line = rest
	}
	for {
		word, rest := nextWord(line)
		blanks := string(line[:len(line)-len(word)-len(rest)])
		column := len(h.row) > 0 && blanks != " "
		if len(word) == 0 || column && (colon || len(h.row) != 8 || blanks != "  " || len(word) != 2) {
			break
		}
		if !h.parseBytes(word) {
			if offset < 0 {
				return 0, false
			}
			break
		}
		line = rest
	}
	return offset, len(h.row) > 0
}

// nextWord splits the first word off line, and drops the blanks before it.
func nextWord(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// isOffset reports whether a word without a colon is an offset: four to eight digits, and then a byte, or nothing at the
// end of a dump with offsets.
func (h *hexReader) isOffset(word string, rest []byte) bool {
	second, _ := nextWord(rest)
	return len(word) >= 4 && len(word) <= 8 && (len(second) == 2 || h.dump.offsets && len(second) == 0)
}

// parseOffset parses an offset, or returns -1. It is hexadecimal, but the seven digits of od are octal, or decimal if that
// is the expected offset.
func (h *hexReader) parseOffset(word string, colon bool) int {
	base := 16
	if !colon && len(word) == 7 {
		base = 8
		if decimal, err := strconv.Atoi(word); err == nil && decimal == h.dump.count {
			return decimal
		}
	}
	offset, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), base, 31)
	if err != nil {
		return -1
	}
	return int(offset)
}

// parseBytes appends the bytes of a word to row: pairs of digits, with or without colons, or ** for a hidden byte.
func (h *hexReader) parseBytes(word []byte) bool {
	if string(word) == "**" {
		h.row = append(h.row, '*')
		return true
	}
	start := len(h.row)
	for digits := range bytes.SplitSeq(word, []byte(":")) {
		var err error
		if h.row, err = hex.AppendDecode(h.row, digits); err != nil || len(digits) == 0 {
			h.row = h.row[:start]
			return false
		}
	}
	return true
}

// readHeading parses the line above a dump, which may have a time and the fields of a header.
func (h *hexReader) readHeading(words []string) {
	if at, ok := parseTime(words); ok {
		h.at = at
	}
	if header, size, ok := h.payload.heading(words); ok {
		h.data, h.dump.announced = append(h.data[:0], header...), size
	}
}

// parseTime parses the time at the start of a line: since the start of a program ("+0.123"), or that of tcpdump (time of
// day), tcpdump -tttt (with a date) or tcpdump -tt (seconds since 1970).
func parseTime(words []string) (time.Time, bool) {
	if len(words) == 0 {
		return time.Time{}, false
	}
	first := words[0]
	if since, ok := strings.CutPrefix(first, "+"); ok {
		d, err := time.ParseDuration(since + "s")
		return time.Time{}.Add(d), err == nil
	}
	if at, err := time.Parse("15:04:05", first); err == nil {
		return at.AddDate(1, 0, 0), true // in the year 1, not 0
	}
	if len(words) > 1 {
		if at, err := time.ParseInLocation("2006-01-02 15:04:05", first+" "+words[1], time.Local); err == nil {
			return at.UTC(), true
		}
	}
	if whole, _, _ := strings.Cut(first, "."); len(whole) == 10 {
		d, err := time.ParseDuration(first + "s")
		return time.Unix(0, 0).Add(d).UTC(), err == nil
	}
	return time.Time{}, false
}
