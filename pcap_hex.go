package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strconv"
	"strings"
	"time"
)

// A hexText is what is known of hexadecimal text so far. Lines of bytes that belong together are one dump:
// one packet, with IP around it or not, or several of TACACS+ one after the other. A dump ends where its
// offsets begin anew, and at any line that has no bytes.
type hexText struct {
	data, spare []byte    // that were gathered, and memory for the next
	row         []byte    // bytes of one line
	at          time.Time // that the text above the dump says
	count       int       // bytes of the dump, with those that were given
	offsets     bool      // its lines have offsets
	whole       bool      // its packet was given: what follows is padding
	last        int       // bytes of its last line
	words       bool      // it is of -d, which has the header in words: the bytes are the body
	repeated    bool      // a line "*": as before, up to the next offset
	known       bool      // some dump was a packet
}

// hexFrame reads lines up to and with one that completes a packet.
func (c *capture) hexFrame(f *frame) error {
	t := &c.text
	for !t.complete(f) {
		c.offset, c.used = c.offset+c.used, 0
		line, err := c.in.ReadSlice('\n')
		c.used = int64(len(line))
		switch {
		case err == bufio.ErrBufferFull:
			return c.fail("a line of more than %d bytes", len(line))
		case err != nil && err != io.EOF:
			return c.fail("%w", err)
		case err == io.EOF && len(line) == 0:
			if t.end(f) {
				return nil
			}
			if !t.known {
				return c.noCapture()
			}
			return io.EOF
		}
		if t.line(bytes.TrimRight(line, "\r\n"), f) {
			return nil
		}
	}
	return nil
}

// complete gives the packet that was gathered, if it is all there.
func (t *hexText) complete(f *frame) bool {
	link, size := t.kind()
	if size == 0 || size > len(t.data) {
		return len(t.data) > maxFrame && t.end(f)
	}
	t.give(f, link, size)
	if link != linkNone {
		t.whole, t.data = true, t.data[:0]
	}
	return true
}

// end gives what was gathered, all there or not, and is false where there is nothing.
func (t *hexText) end(f *frame) bool {
	something := len(t.data) > 0
	if something {
		link, size := t.kind()
		t.give(f, link, len(t.data))
		f.size = max(size, len(f.data))
	}
	*t = hexText{data: t.data[:0], spare: t.spare, row: t.row, at: t.at, known: t.known}
	return something
}

// give makes a frame of the first bytes. What is behind them moves, so that they stay as they are.
func (t *hexText) give(f *frame, link linkType, size int) {
	*f = frame{at: t.at, link: link, data: t.data[:size], size: size}
	t.data, t.spare = append(t.spare[:0], t.data[size:]...), t.data
	t.known = t.known || link != linkUnknown
	t.words = false
}

// kind is what the gathered bytes begin with, and how many the packet has; 0 where that is not clear.
func (t *hexText) kind() (linkType, int) {
	b := t.data
	if len(b) >= headerLen {
		h := parseHeader(b)
		fits := h.version.major() == majorVersion && packetTypeNames.has(uint8(h.typ)) && h.seqNo > 0
		if t.words || fits && h.flags&^(flagUnencrypted|flagSingleConnect) == 0 && h.length <= maxBody {
			return linkNone, headerLen + int(h.length)
		}
	}
	// Ethernet first: its addresses can look like either version of IP.
	for _, link := range [...]linkType{linkEthernet, linkCooked2, linkCooked, linkNull, linkRawIP} {
		if ip, _ := network(link, b); len(ip) > 0 {
			if size := datagramSize(ip); size > 0 {
				return link, len(b) - len(ip) + size
			}
		}
	}
	return linkUnknown, 0
}

// datagramSize is the length that an IP header states, where this is one as far as can be seen; else 0.
func datagramSize(ip []byte) int {
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

// line takes one line. Where that ends the dump before it gives what was gathered of it.
func (t *hexText) line(line []byte, f *frame) (given bool) {
	if string(bytes.TrimSpace(line)) == "*" {
		t.repeated = true
		return false
	}
	offset, ok := t.parse(line)
	switch {
	case !ok && t.words && bytes.HasPrefix(line, []byte("  ")):
		return false // a field, above the bytes
	case !ok:
		given = t.end(f)
		t.heading(strings.Fields(string(line)))
		return given
	case offset >= 0:
		given = t.follow(offset, f)
	case t.whole || t.offsets:
		given = t.end(f)
	}
	t.offsets, t.repeated = offset >= 0, false
	t.count, t.last = t.count+len(t.row), len(t.row)
	if !t.whole {
		t.data = append(t.data, t.row...)
	}
	return given
}

// follow puts what was gathered right by the offset of the next line: a "*" stands for lines like the one
// before, and words behind the bytes may have looked like more of them. Any other offset begins a dump.
func (t *hexText) follow(offset int, f *frame) (given bool) {
	n := len(t.data)
	switch {
	case offset == t.count:
	case t.whole && offset > 0:
	case t.repeated && offset > t.count && offset-t.count <= maxFrame && 0 < t.last && t.last <= n:
		for ; t.count < offset; t.count++ {
			t.data = append(t.data, t.data[len(t.data)-t.last])
		}
	case offset < t.count && offset > t.count-t.last && t.count-offset <= n:
		t.data = t.data[:n-(t.count-offset)]
	default:
		given = t.end(f)
	}
	t.count = offset
	return given
}

// parse reads a line of bytes into row, with the offset in front of them, or -1. It is not ok where the
// line is none. What follows two blanks is the column of characters, unless it is the second half of 16
// bytes.
func (t *hexText) parse(line []byte) (offset int, ok bool) {
	t.row = t.row[:0]
	first, rest := nextWord(line)
	offset, colon := -1, false
	if word := strings.TrimSuffix(string(first), ":"); len(word) < len(first) || t.isOffset(word, rest) {
		colon = len(word) < len(first)
		if offset = t.offset(word, colon); offset < 0 {
			return 0, false
		}
		line = rest
	}
	for {
		word, rest := nextWord(line)
		blanks := string(line[:len(line)-len(word)-len(rest)])
		column := len(t.row) > 0 && blanks != " "
		if len(word) == 0 || column && (colon || len(t.row) != 8 || blanks != "  " || len(word) != 2) {
			break
		}
		if !t.byteWord(word) {
			if offset < 0 {
				return 0, false
			}
			break
		}
		line = rest
	}
	return offset, len(t.row) > 0
}

// nextWord cuts the first word off, and the blanks in front of it.
func nextWord(line []byte) (word, rest []byte) {
	line = bytes.TrimLeft(line, " \t")
	if i := bytes.IndexAny(line, " \t"); i >= 0 {
		return line[:i], line[i:]
	}
	return line, nil
}

// isOffset tells an offset without a colon from bytes: it has four to eight digits, and the word behind it
// is one byte, or there is none where a dump with offsets ends.
func (t *hexText) isOffset(word string, rest []byte) bool {
	second, _ := nextWord(rest)
	return len(word) >= 4 && len(word) <= 8 && (len(second) == 2 || t.offsets && len(second) == 0)
}

// offset reads an offset: hexadecimal, but for od, whose offsets have seven digits: octal, or decimal where
// that fits. It is -1 for what is none.
func (t *hexText) offset(word string, colon bool) int {
	base := 16
	if !colon && len(word) == 7 {
		base = 8
		if decimal, err := strconv.Atoi(word); err == nil && decimal == t.count {
			return decimal
		}
	}
	at, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), base, 31)
	if err != nil {
		return -1
	}
	return int(at)
}

// byteWord appends the bytes of a word to row: pairs of digits, or ** for one that -d blanked.
func (t *hexText) byteWord(word []byte) bool {
	if string(word) == "**" {
		t.row = append(t.row, '*')
		return true
	}
	start := len(t.row)
	for len(word) > 0 {
		n := min(2, len(word))
		v, err := strconv.ParseUint(string(word[:n]), 16, 8)
		if n < 2 || err != nil {
			t.row = t.row[:start]
			return false
		}
		t.row = append(t.row, byte(v))
		if word = word[2:]; len(word) > 1 && word[0] == ':' {
			word = word[1:]
		}
	}
	return true
}

// heading reads the line above a dump: the time that tcpdump and -d put in front, and the header that -d has
// in words.
func (t *hexText) heading(words []string) {
	if at, ok := timeWords(words); ok {
		t.at = at
	}
	if h, ok := headerWords(words); ok {
		h.flags |= flagUnencrypted // the bytes below are in clear
		packet := codec{buf: t.data[:0]}
		h.layout(&packet)
		t.data, t.words = packet.buf, true
	}
}

// timeWords reads a time in front of a line: since the start (-d), of a day, or a whole one (tcpdump, with
// -tt or -tttt too).
func timeWords(words []string) (time.Time, bool) {
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
	if whole, _, _ := strings.Cut(first, "."); len(whole) == 10 { // seconds since 1970
		d, err := time.ParseDuration(first + "s")
		return time.Unix(0, 0).Add(d).UTC(), err == nil
	}
	return time.Time{}, false
}

// headerWords reads the header at the end of the line that -d has above each packet.
func headerWords(words []string) (h header, ok bool) {
	const fields = 12
	if len(words) < fields {
		return h, false
	}
	words = words[len(words)-fields:]
	var values [fields / 2]string
	for i, name := range []string{"version", "type", "seq_no", "flags", "session_id", "length"} {
		if words[2*i] != name {
			return h, false
		}
		values[i] = words[2*i+1]
	}
	major, minor, _ := strings.Cut(values[0], ".")
	number := func(text string, base, size int) uint64 {
		v, err := strconv.ParseUint(text, base, size)
		ok = ok && err == nil
		return v
	}
	ok = true
	h.version = version(number(major, 0, 4)<<4 | number(minor, 10, 4))
	if packetTypeNames.set((*uint8)(&h.typ), values[1]) != nil {
		h.typ = packetType(number(values[1], 0, 8))
	}
	h.seqNo = uint8(number(values[2], 10, 8))
	if values[3] != "none" {
		for flag := range strings.SplitSeq(values[3], "|") {
			var bit uint8
			if headerFlagNames.set(&bit, flag) == nil {
				h.flags |= 1 << bit
			} else {
				h.flags |= headerFlags(number(flag, 0, 8))
			}
		}
	}
	h.sessionID = uint32(number(values[4], 16, 32))
	h.length = uint32(number(values[5], 10, 16))
	return h, ok
}
