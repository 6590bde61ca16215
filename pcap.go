package main

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"strings"
	"time"
)

// A capture reads the next frame of a pcap or pcapng file, or of hexadecimal text, as soon as its bytes are there: the
// input may still grow. At the end of the input it returns io.EOF. Any other error is of class usage and names the offset;
// it comes after all complete frames.
type capture func(f *frame) error

// newCapture detects the format from the first bytes. It waits for them, and for the whole header of a pcap file. name is
// for errors. secrets, if not nil, gets the lines of TLS key logs in a pcapng file; they are valid during the call only.
func newCapture(r io.Reader, name string, payload *payloadFormat, secrets func(keyLog []byte)) (capture, error) {
	in, first, err := newCaptureReader(r, name)
	if err == nil && string(first[:3]) == "\x1f\x8b\x08" {
		unzipped, gzipErr := gzip.NewReader(in.buf)
		if gzipErr != nil {
			return nil, in.readError(gzipErr)
		}
		in, first, err = newCaptureReader(unzipped, name)
	}
	if err == nil && (string(first[:2]) == "\xff\xfe" || string(first[:2]) == "\xfe\xff") { // the mark of UTF-16
		in.buf.Discard(2)
		in, first, err = newCaptureReader(asciiReader{in.buf}, name)
	}
	if err != nil && err != io.EOF {
		return nil, in.readError(err)
	}
	magic := uint32(0)
	if len(first) == 4 {
		magic = binary.BigEndian.Uint32(first)
	}
	switch magic {
	case magicSection:
		return (&pcapngReader{in: in, secrets: secrets}).next, nil
	case magicMicro, magicMicroSwapped, magicNano, magicNanoSwapped:
		p := &pcapReader{in: in}
		if err := p.readHeader(); err != nil {
			return nil, err
		}
		return p.next, nil
	}
	for _, f := range otherFormats {
		if strings.HasPrefix(string(first), f.magic) {
			return nil, failf(classUsage, "%s is %s", name, f.what).withHint(f.hint)
		}
	}
	switch {
	case len(first) == 0:
		return nil, failf(classUsage, "%s is empty", name)
	case !isText(first):
		return nil, payload.errNotCapture(name)
	}
	if string(first[:min(len(first), 3)]) == "\ufeff" { // the mark of UTF-8
		in.buf.Discard(3)
	}
	return (&hexReader{in: in, payload: payload, repeat: maxFrame}).next, nil
}

const hintEditcap = "convert it: editcap -F pcap FILE capture.pcap"

// otherFormats are recognized by their first four bytes, to name the command that converts them.
var otherFormats = []struct{ magic, what, hint string }{
	{"\x1f\x8b", "compressed twice", "decompress it: zcat FILE | tacacs_plus decode"},
	{"\xfd7zX", "compressed with xz", "decompress it: xz -dc FILE | tacacs_plus decode"},
	{"\x28\xb5\x2f\xfd", "compressed with zstd", "decompress it: zstd -dc FILE | tacacs_plus decode"},
	{"\x04\x22\x4d\x18", "compressed with lz4", "decompress it: lz4 -dc FILE | tacacs_plus decode"},
	{"BZh", "compressed with bzip2", "decompress it: bzip2 -dc FILE | tacacs_plus decode"},
	{"PK\x03\x04", "a zip archive", "extract it: unzip -p FILE | tacacs_plus decode"},
	{"7z\xbc\xaf", "a 7z archive", "extract it: 7z e -so FILE | tacacs_plus decode"},
	{"snoo", "a snoop capture", hintEditcap},
	{"GMBU", "a Network Monitor capture", hintEditcap},
	{"iptr", "an iptrace capture", hintEditcap},
	{"\xa1\xb2\xcd\x34", "a modified pcap capture", hintEditcap},
	{"\x34\xcd\xb2\xa1", "a modified pcap capture", hintEditcap},
}

// An asciiReader reads the US-ASCII in text of UTF-16, in either byte order. Hexadecimal text needs no other characters.
type asciiReader struct{ text io.Reader }

func (r asciiReader) Read(b []byte) (int, error) {
	n, err := r.text.Read(b)
	return copy(b, bytes.ReplaceAll(b[:n], []byte{0}, nil)), err
}

func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' && c != '\n' && c != '\r' {
			return false
		}
	}
	return true
}

// A pcapReader reads the records of a pcap file.
type pcapReader struct {
	in           *captureReader
	littleEndian bool
	iface        captureInterface
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
	magic, order := binary.BigEndian.Uint32(h), binary.ByteOrder(binary.BigEndian)
	if p.littleEndian = magic == magicMicroSwapped || magic == magicNanoSwapped; p.littleEndian {
		order = binary.LittleEndian
	}
	if major := order.Uint16(h[4:]); major != 2 {
		return p.in.errorf("pcap version %d is not supported", major)
	}
	// The upper half of the link type is the length of the frame check sequence.
	p.iface = captureInterface{perSecond: 1e6, link: protocol(order.Uint32(h[20:]) & 0xffff)}
	if order.Uint32(h) == magicNano {
		p.iface.perSecond = 1e9
	}
	p.in.rest = pcapHeaderLen
	return nil
}

// uint32 decodes a number. A binary.ByteOrder would be called through an interface, four times a frame.
func (p *pcapReader) uint32(b []byte) uint32 {
	if p.littleEndian {
		return binary.LittleEndian.Uint32(b)
	}
	return binary.BigEndian.Uint32(b)
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
	at := p.iface.stamp(uint64(p.uint32(h)), uint64(p.uint32(h[4:])))
	length, size := p.uint32(h[8:]), p.uint32(h[12:])
	p.in.rest = pcapRecordLen + int64(length)
	return p.in.readFrame(f, &p.iface, at, pcapRecordLen, length, size)
}

// A pcapngReader reads the blocks of a pcapng file.
type pcapngReader struct {
	in         *captureReader
	order      binary.ByteOrder   // of the section
	interfaces []captureInterface // of the section
	length     uint32             // of the block; 0 before the first one
	secrets    func(keyLog []byte)
}

// magicSection is the type of a section header block: the same in both byte orders.
const magicSection = 0x0a0d0d0a

// The other blocks that are read. The rest is skipped.
const (
	blockInterface uint32 = 1
	blockOldPacket uint32 = 2
	blockSimple    uint32 = 3
	blockPacket    uint32 = 6
	blockSecrets   uint32 = 10

	maxBlock      = 1 << 24 // bytes
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
		case blockSecrets:
			err = p.readSecrets()
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

// beginBlock reads the type and the length of a block. A section header sets the byte order and clears the interfaces.
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
			return 0, p.in.errorf("pcapng section without byte-order magic")
		}
		if major := p.order.Uint16(b[12:]); major != 1 {
			return 0, p.in.errorf("pcapng version %d is not supported", major)
		}
		p.interfaces = p.interfaces[:0]
		least = 28
	}
	typ, p.length = p.order.Uint32(b), p.order.Uint32(b[4:])
	if p.length < least || p.length > maxBlock || p.length%4 != 0 {
		return 0, p.in.errorf("invalid block length %d", p.length)
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
		return p.in.errorf("block lengths differ: %d and %d", p.length, second)
	}
	p.in.rest = 4
	return nil
}

// readSecrets reads a decryption secrets block. A TLS key log is passed on in whole lines.
func (p *pcapngReader) readSecrets() error {
	const fixed, tlsKeyLog = 16, 0x544c534b
	if p.length < fixed+4 {
		return p.in.errorf("invalid secrets block of %d bytes", p.length)
	}
	b, err := p.in.peek(fixed)
	if err != nil {
		return err
	}
	length := p.order.Uint32(b[12:])
	if length > p.length-fixed-4 {
		return p.in.errorf("secrets of %d bytes in a block of %d", length, p.length)
	}
	if p.secrets == nil || p.order.Uint32(b[8:]) != tlsKeyLog {
		return nil
	}
	for n := uint32(fixed); ; {
		if err := p.in.skip(int64(n)); err != nil {
			return err
		}
		if p.in.rest -= int64(n); length == 0 {
			return nil
		}
		n = min(length, maxFrame)
		if b, err = p.in.peek(int(n)); err != nil {
			return err
		}
		if end := bytes.LastIndexByte(b, '\n') + 1; n < length && end > 0 {
			n = uint32(end)
		}
		p.secrets(b[:n])
		length -= n
	}
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
		return p.in.errorf("invalid interface description of %d bytes", p.length)
	}
	b, err := p.in.peek(int(p.length) - 4)
	if err != nil {
		return err
	}
	i := captureInterface{link: protocol(p.order.Uint16(b[8:])), snapLen: p.order.Uint32(b[12:]), perSecond: 1e6}
	for b = b[16:]; len(b) >= 4; {
		option, length := p.order.Uint16(b), int(p.order.Uint16(b[2:]))
		padded := (length + 3) &^ 3
		if option == optionEnd {
			break
		}
		if b = b[4:]; padded > len(b) {
			return p.in.errorf("interface option of %d bytes in %d", length, len(b))
		}
		switch {
		case option == optionTSResolution && length == 1:
			if i.perSecond = resolution(b[0]); i.perSecond == 0 {
				return p.in.errorf("invalid time resolution %#02x", b[0])
			}
		case option == optionTSOffset && length == 8:
			i.offset = int64(p.order.Uint64(b))
		}
		b = b[padded:]
	}
	p.interfaces = append(p.interfaces, i)
	return nil
}

// resolution returns the time stamp units per second of an if_tsresol value: a power of 10, or of 2 if the high bit is
// set. It is 0 if the result exceeds 64 bits.
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

// blockFrame reads an enhanced packet block, or an obsolete packet block, whose interface number has 16 bits.
func (p *pcapngReader) blockFrame(f *frame, typ uint32) error {
	const fixed = 28
	if p.length < fixed+4 {
		return p.in.errorf("invalid packet block of %d bytes", p.length)
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
		return p.in.errorf("packet of %d bytes in a block of %d", length, p.length)
	}
	if number >= uint32(len(p.interfaces)) {
		return p.in.errorf("packet of undescribed interface %d", number)
	}
	i := &p.interfaces[number]
	at := i.stamp(0, uint64(p.order.Uint32(b[12:]))<<32|uint64(p.order.Uint32(b[16:])))
	return p.in.readFrame(f, i, at, fixed, length, p.order.Uint32(b[24:]))
}

// simpleFrame reads a simple packet block. It belongs to the first interface and has no time.
func (p *pcapngReader) simpleFrame(f *frame) error {
	const fixed = 12
	if p.length < fixed+4 {
		return p.in.errorf("invalid simple packet block of %d bytes", p.length)
	}
	if len(p.interfaces) == 0 {
		return p.in.errorf("packet of undescribed interface 0")
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
