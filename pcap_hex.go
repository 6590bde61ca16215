package main

import (
	"bufio"
	"bytes"
	"cmp"
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

	data   []byte // bytes of the dump
	done   int    // those at the start of data that were returned
	row    []byte // bytes of one line
	repeat int    // bytes that lines "*" may still add, so that work is linear in the input
}

// A hexDump is the state of one dump.
type hexDump struct {
	count     int  // bytes of the dump, including those returned
	offsets   bool // its lines have offsets
	returned  bool // its packet was returned: the rest is padding
	first     int  // bytes of the first line of the packet
	last      int  // bytes of its last line
	announced int  // size of the packet whose header was in the text above the dump; 0 for none
	repeated  bool // after a line "*": the previous line repeats up to the next offset
}

const (
	maxRepeat     = 64  // bytes that lines "*" may add for each byte of text, after the first maxFrame
	maxRecognized = 512 // bytes of a dump that are searched for headers
)

// next reads lines until a packet is complete.
func (h *hexReader) next(f *frame) error {
	if h.done > len(h.data)/2 {
		h.data, h.done = h.data[:copy(h.data, h.data[h.done:])], 0
	}
	for !h.takePacket(f, false) {
		h.in.offset, h.in.used = h.in.offset+h.in.used, 0
		line, err := h.in.buf.ReadSlice('\n')
		h.in.used = int64(len(line))
		switch {
		case err == bufio.ErrBufferFull:
			return h.in.errorf("line is over %d bytes", len(line))
		case err != nil && err != io.EOF:
			return h.in.readError(err)
		case err == io.EOF && len(line) == 0:
			if h.takePacket(f, true) {
				return nil
			}
			if !h.known {
				return h.payload.errNotCapture(h.in.name)
			}
			return io.EOF
		}
		h.repeat = min(h.repeat+maxRepeat*len(line), 1<<30)
		if h.addLine(bytes.TrimRight(line, "\r\n"), f) {
			return nil
		}
	}
	return nil
}

// takePacket returns the next packet in f if it is complete, or what there is of it if the dump has ended. The bytes stay
// valid until next is called.
func (h *hexReader) takePacket(f *frame, ended bool) bool {
	link, size := h.recognize(h.data[h.done:])
	n, rest := size, len(h.data)-h.done
	if size == 0 || size > rest {
		if !ended && rest <= maxFrame {
			return false
		}
		n, ended = rest, true
	}
	if h.dump.announced, h.dump.first = 0, 0; ended {
		h.dump = hexDump{}
	}
	if n == 0 {
		return false
	}
	h.in.frames++
	*f = frame{h.at, link, h.data[h.done : h.done+n], max(size, n), h.in.frames}
	h.done += n
	h.known = h.known || link != linkUnknown
	if link != linkNone && !ended {
		h.dump.returned, h.done = true, len(h.data)
	}
	return true
}

// recognize returns the format of bytes and the size of their first packet, or 0 if unknown.
func (h *hexReader) recognize(b []byte) (protocol, int) {
	if h.dump.announced > 0 {
		return linkNone, h.dump.announced
	}
	if size := h.payload.size(b); size > 0 {
		return linkNone, size
	}
	// Ethernet comes first: its addresses can look like either version of IP.
	for _, link := range [...]protocol{linkEthernet, linkCooked2, linkCooked, linkNull, linkRawIP} {
		if size := outerSize(link, b[:min(len(b), maxRecognized)]); size > 0 {
			return link, size
		}
	}
	return linkUnknown, 0
}

// addLine adds a line. If it ends a dump, the rest of that dump is returned in f.
func (h *hexReader) addLine(line []byte, f *frame) (returned bool) {
	d := &h.dump
	if string(bytes.TrimSpace(line)) == "*" {
		d.repeated = true
		return false
	}
	offset, ok := h.parseLine(line)
	if !ok && d.announced == 0 && h.parseList(line) {
		offset, ok = -1, true
	}
	switch {
	case !ok && d.announced > 0 && bytes.HasPrefix(line, []byte("  ")):
		return false // a field, above the bytes
	case !ok && d.offsets && len(bytes.TrimSpace(line)) == 0:
		return false // the next offset shows whether the dump has ended
	case !ok:
		returned = h.takePacket(f, true)
		words := strings.Fields(string(line))
		if at, ok := parseTime(words); ok {
			h.at = at
		}
		if header, size, ok := h.payload.heading(words); ok {
			h.done = len(h.data) // the bytes before are returned, and still in use
			h.data, h.dump.announced = append(h.data, header...), size
		}
		return returned
	case offset >= 0:
		returned = h.moveTo(offset, f)
	case d.returned || d.offsets || h.startsPacket():
		returned = h.takePacket(f, true)
	}
	d.offsets, d.repeated = offset >= 0, false
	d.count, d.last = d.count+len(h.row), len(h.row)
	d.first = cmp.Or(d.first, d.last)
	if !d.returned {
		h.data = append(h.data, h.row...)
	}
	return returned
}

// startsPacket reports whether a line without offset begins another packet, although the one before it is incomplete. In a
// dump of one packet only the last line is shorter than the first one, and none is longer.
func (h *hexReader) startsPacket() bool {
	link, size := h.recognize(h.row)
	if h.done == len(h.data) || h.dump.announced > 0 || size == 0 {
		return false
	}
	before, _ := h.recognize(h.data[h.done:])
	return link == linkNone && before == linkNone || size == len(h.row) || len(h.row) > h.dump.first || h.dump.last < h.dump.first
}

// moveTo corrects the bytes of the dump by the offset of the next line: it expands a "*", and removes text after the bytes
// that looked like more of them. Any other offset starts a dump.
func (h *hexReader) moveTo(offset int, f *frame) (returned bool) {
	d := &h.dump
	n := len(h.data) - h.done
	more := offset - d.count
	switch {
	case more == 0:
	case d.returned && offset > 0:
	case !d.offsets && 0 < d.count && d.count <= 4: // a number above the dump
		h.data, *d = h.data[:h.done], hexDump{}
	case 0 < more && more < 16 && offset%16 == 0 && d.last == n: // the first line of a dump of memory begins with blanks
	case d.repeated && more > 0 && more <= min(maxFrame, h.repeat) && 0 < d.last && d.last <= n:
		h.repeat -= more
		for range more {
			h.data = append(h.data, h.data[len(h.data)-d.last])
		}
	case more < 0 && -more < d.last && -more <= n:
		h.data = h.data[:len(h.data)+more]
	default:
		returned = h.takePacket(f, true)
	}
	d.count = offset
	return returned
}

// parseLine reads the bytes of a line into row and returns their offset, or -1 if there is none. Two blanks end the bytes,
// since the column of characters follows; but they may also separate the halves of 16 bytes.
func (h *hexReader) parseLine(line []byte) (offset int, ok bool) {
	h.row = h.row[:0]
	first, rest := nextWord(line)
	word, colon := strings.CutSuffix(string(first), ":")
	colon = colon && !strings.ContainsAny(word, ":-")
	if offset = -1; colon || h.isOffset(word, rest) {
		if offset = h.parseOffset(word, colon); offset < 0 {
			return 0, false
		}
		line = rest
	}
	for {
		word, rest := nextWord(line)
		blanks := string(line[:len(line)-len(word)-len(rest)])
		column := len(h.row) > 0 && blanks != " "
		if column && offset < 0 && len(bytes.TrimSpace(line)) > 2*len(h.row) {
			return 0, false // a number, and text
		}
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

// parseList reads the bytes of a list in the source of a program: 0x12, 0x34, or "\x12\x34".
func (h *hexReader) parseList(line []byte) bool {
	h.row = h.row[:0]
	if i := bytes.Index(line, []byte(`\x`)); i >= 0 {
		quote := byte(0)
		if q := bytes.LastIndexAny(line[:i], "\"'`"); q >= 0 {
			i, quote = q+1, line[q]
		}
		for text := string(line[i:]); text != "" && (quote > 0 || text[0] == '\\'); {
			value, _, rest, err := strconv.UnquoteChar(text, quote)
			if err != nil || value > 0xff {
				break
			}
			h.row, text = append(h.row, byte(value)), rest
		}
		return len(h.row) > 0
	}
	line = bytes.ToLower(line)
	i := bytes.Index(line, []byte("0x"))
	before := bytes.TrimSpace(line[:max(i, 0)])
	if i < 0 || len(before) > 0 && !bytes.ContainsAny(before[len(before)-1:], "={[(") {
		return false
	}
	for _, word := range bytes.FieldsFunc(line[i:], func(r rune) bool { return r <= ' ' || strings.ContainsRune(",;{}[]()", r) }) {
		value, err := strconv.ParseUint(string(word), 0, 8)
		if err != nil || len(word) > 4 || !bytes.HasPrefix(word, []byte("0x")) {
			break
		}
		h.row = append(h.row, byte(value))
	}
	return len(h.row) > 0
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
// end of a dump with offsets. Before longer words it needs the prefix 0x, or it has another length and the expected value.
func (h *hexReader) isOffset(word string, rest []byte) bool {
	second, _ := nextWord(rest)
	digits, prefixed := strings.CutPrefix(word, "0x")
	switch {
	case len(digits) < 4 || len(digits) > 8:
		return false
	case len(second) == 0:
		return h.dump.offsets
	case prefixed:
		return true
	}
	offset := h.parseOffset(word, true)
	if len(second) == 2 {
		return h.dump.offsets || h.dump.count == 0 || offset == 0
	}
	return len(second) == 4 && len(digits) > 4 && (offset == 0 || h.dump.offsets && offset == h.dump.count)
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

// parseBytes appends the bytes of a word to row: pairs of digits, between colons or hyphens if there are any, or ** for a
// hidden byte.
func (h *hexReader) parseBytes(word []byte) bool {
	if string(word) == "**" {
		h.row = append(h.row, '*')
		return true
	}
	start, size := len(h.row), len(word)
	if bytes.ContainsAny(word, ":-") {
		size = 2
	}
	for err := error(nil); len(word) > 0; word = word[min(size+1, len(word)):] {
		ended := len(word) == size || len(word) > size && (word[size] == ':' || word[size] == '-')
		if h.row, err = hex.AppendDecode(h.row, word[:min(size, len(word))]); err != nil || !ended {
			h.row = h.row[:start]
			return false
		}
	}
	return true
}

// parseTime parses the time at the start of a line: since the start of a program ("+0.123", or 12.345678 of FortiGate), or
// that of tcpdump (time of day), tcpdump -tttt (with a date) or tcpdump -tt (seconds since 1970). There may be a number of
// the frame before it.
func parseTime(words []string) (at time.Time, ok bool) {
	if len(words) > 1 && strings.Trim(strings.TrimSuffix(words[0], ":"), "0123456789") == "" {
		words = words[1:]
	}
	if len(words) == 0 {
		return time.Time{}, false
	}
	first := words[0]
	if at, err := time.Parse("15:04:05", first); err == nil {
		return at.AddDate(1, 0, 0), true // in the year 1, not 0
	}
	if at, err := time.ParseInLocation("2006-01-02 15:04:05", strings.Join(words[:min(len(words), 2)], " "), time.Local); err == nil {
		return at.UTC(), true
	}
	whole, fraction, _ := strings.Cut(first, ".")
	d, err := time.ParseDuration(strings.TrimPrefix(first, "+") + "s")
	if err == nil && len(whole) == 10 && whole[0] != '+' {
		return time.Unix(0, 0).Add(d).UTC(), true
	}
	return time.Time{}.Add(d), err == nil && (whole[:min(1, len(whole))] == "+" || len(fraction) == 6)
}
