package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A header opens every packet and is never obfuscated. RFC 8907 section 4.1.
type header struct {
	version   version
	typ       packetType
	seqNo     uint8
	flags     headerFlags
	sessionID uint32
	length    uint32 // of the body, bytes
}

func (h *header) layout(c *codec) {
	uint8Field(c, "version", &h.version)
	uint8Field(c, "type", &h.typ)
	uint8Field(c, "seq_no", &h.seqNo)
	uint8Field(c, "flags", &h.flags)
	c.uint32(&h.sessionID)
	c.uint32(&h.length)
}

const (
	headerLen = 12
	// maxBody is the largest body that is read or written, in bytes. The RFC recommends 2^16 (section 4.1).
	maxBody = 65535
	// lastSeqNo is the highest number that a client may send: the reply has the next one, and seq_no must not wrap
	// (section 4.1).
	lastSeqNo = 253
)

// A version is the major version in the high four bits and the minor one in the low four.
type version uint8

const (
	majorVersion version = 0xc
	minorDefault version = majorVersion << 4
	minorOne     version = majorVersion<<4 | 1
)

func (v version) major() version { return v >> 4 }
func (v version) minor() version { return v & 0xf }
func (v version) String() string { return fmt.Sprintf("%#x.%d", uint8(v.major()), uint8(v.minor())) }

// A packetType is authentication, authorization or accounting. Section 4.1.
type packetType uint8

const (
	typeAuthen packetType = 1
	typeAuthor packetType = 2
	typeAcct   packetType = 3
)

var packetTypeNames = names{typeAuthen: "authentication", typeAuthor: "authorization", typeAcct: "accounting"}

func (t packetType) String() string { return packetTypeNames.name(uint8(t)) }

// headerFlags are the flags of a header. Unknown ones are ignored on reading and zero on writing (section 4.1).
type headerFlags uint8

const (
	flagUnencrypted   headerFlags = 0x01
	flagSingleConnect headerFlags = 0x04
)

var headerFlagNames = names{0: "UNENCRYPTED", 2: "SINGLE_CONNECT"}

func (f headerFlags) String() string { return headerFlagNames.bits(uint8(f)) }

// readHeader reads a header. got has the bytes before an error.
func readHeader(r io.Reader) (h header, got []byte, err error) {
	got = make([]byte, headerLen)
	n, err := io.ReadFull(r, got)
	if err == nil {
		h = parseHeader(got)
	}
	return h, got[:n], err
}

// append appends the 12 bytes of the header to dst. It is faster than layout.
func (h *header) append(dst []byte) []byte {
	b := [headerLen]byte{byte(h.version), byte(h.typ), h.seqNo, byte(h.flags)}
	binary.BigEndian.PutUint32(b[atSession:], h.sessionID)
	binary.BigEndian.PutUint32(b[atLength:], h.length)
	return append(dst, b[:]...)
}

// parseHeader is the inverse of append.
func parseHeader(b []byte) header {
	return header{version(b[0]), packetType(b[1]), b[2], headerFlags(b[3]), binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])}
}

// readBody reads the body of h, as it is on the wire. It refuses a length over maxBody before it allocates.
func readBody(r io.Reader, h header) ([]byte, error) {
	if h.length > maxBody {
		return nil, errBodyTooLong
	}
	body := make([]byte, h.length)
	n, err := io.ReadFull(r, body)
	return body[:n], err
}

var (
	errBodyTooLong = errors.New("the body is over 65535 bytes")
	// errBodyLength is the sign of a wrong key (section 4.5).
	errBodyLength = errors.New("lengths do not add up")
)

// appendPacket appends a packet to dst: the header, whose length it sets, then the body in clear. A codec can be used
// again.
func (c *codec) appendPacket(dst []byte, h *header, m message) ([]byte, error) {
	start := len(dst)
	*c = codec{fields: c.fields[:0], buf: h.append(dst)}
	c.message(m)
	if c.err != nil {
		return dst, c.err
	}
	n := len(c.buf) - start - headerLen
	if n > maxBody {
		return dst, fmt.Errorf("the body would be %d bytes, the limit is %d", n, maxBody)
	}
	h.length = uint32(n)
	binary.BigEndian.PutUint32(c.buf[start+atLength:], h.length)
	return c.buf, nil
}

// decode decodes all of b into m. The error is errBodyLength if b is longer or shorter than m.
func (c *codec) decode(b []byte, m message) error {
	c.fields, c.reading, c.buf, c.err, c.surplus = c.fields[:0], true, b, nil, 0
	c.message(m)
	return c.err
}

func appendPacket(dst []byte, h *header, m message) ([]byte, error) {
	return new(codec).appendPacket(dst, h, m)
}

// A message is one of the seven bodies of RFC 8907, or the header. Its layout method lists the fields once, in the order
// of the wire, for reading, writing and printing.
type message interface {
	layout(c *codec)
}

// A codec moves the fields of one message between a struct and its bytes. All bodies have one shape: fixed bytes and
// lengths first, then the variable fields in the order of their lengths.
type codec struct {
	reading bool
	buf     []byte  // the rest to read, or what was written
	fields  []field // variable fields whose lengths were moved; the fields follow at the end
	err     error   // the first one; calls after it do nothing
	surplus int     // bytes after the last field, an error
	// visit, if not nil, gets every field: dump.go prints packets with it.
	visit func(f field, value any)
}

// A field is one variable field, or one byte of the fixed part. At most 32 bytes stay in registers.
type field struct {
	name   string
	value  *string
	length int32
	secret bool // never printed: passwords, challenge responses, CONTINUE messages
}

// message moves the whole message. The lengths must add up to the body exactly, so nothing after that check can go out
// of range (section 4.5).
func (c *codec) message(m message) {
	m.layout(c)
	if c.err != nil {
		return
	}
	var text string // all variable fields in one allocation
	if c.reading {
		sum := 0
		for i := range c.fields {
			sum += int(c.fields[i].length)
		}
		if sum != len(c.buf) {
			c.err, c.surplus = errBodyLength, max(len(c.buf)-sum, 0)
			return
		}
		text = string(c.buf)
	}
	for i := range c.fields {
		f := &c.fields[i]
		if c.reading {
			*f.value, text, c.buf = text[:f.length], text[f.length:], c.buf[f.length:]
		} else {
			c.buf = append(c.buf, *f.value...)
		}
		if c.visit != nil {
			c.visit(*f, *f.value)
		}
	}
}

// number moves an unsigned number of size bytes, in network order.
func (c *codec) number(v uint32, size int) uint32 {
	if c.err != nil {
		return v
	}
	if !c.reading {
		for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
			c.buf = append(c.buf, byte(v>>shift))
		}
		return v
	}
	if len(c.buf) < size {
		c.err = errBodyLength
		return 0
	}
	v = 0
	for _, b := range c.buf[:size] {
		v = v<<8 | uint32(b)
	}
	c.buf = c.buf[size:]
	return v
}

// byte is number for one byte.
func (c *codec) byte(v uint8) uint8 {
	switch {
	case c.err != nil:
	case !c.reading:
		c.buf = append(c.buf, v)
	case len(c.buf) == 0:
		c.err = errBodyLength
		return 0
	default:
		v, c.buf = c.buf[0], c.buf[1:]
	}
	return v
}

// uint8Field moves one byte of an enumeration or a set of flags.
func uint8Field[T ~uint8](c *codec, name string, v *T) {
	if n := c.byte(uint8(*v)); c.reading {
		*v = T(n) // an encoded message may be shared, and is not written to
	}
	if c.visit != nil && c.err == nil {
		c.visit(field{name: name, length: 1}, *v)
	}
}

func (c *codec) uint32(v *uint32) {
	if n := c.number(*v, 4); c.reading {
		*v = n
	}
}

// length moves the length of a variable field, in size bytes. The field itself follows at the end.
func (c *codec) length(name string, size int, value *string) {
	c.addField(field{name: name, value: value}, size)
}

// secret is length for a secret field.
func (c *codec) secret(name string, size int, value *string) {
	c.addField(field{name: name, value: value, secret: true}, size)
}

func (c *codec) addField(f field, size int) {
	if !c.reading {
		n, limit := len(*f.value), 1<<(8*size)-1
		if n > limit && c.err == nil {
			c.err = fmt.Errorf("%s is %d bytes, the limit is %d", f.name, n, limit)
		}
		f.length = int32(n)
	}
	f.length = int32(c.number(uint32(f.length), size))
	c.fields = append(c.fields, f)
}

// count moves the number of arguments. lengths, later in the same layout, moves their lengths.
func (c *codec) count(args *[]string) {
	if len(*args) > maxArgs && !c.reading && c.err == nil {
		c.err = fmt.Errorf("%d arguments, the limit is %d", len(*args), maxArgs)
	}
	n := int(c.number(uint32(len(*args)), 1))
	if c.reading {
		*args = nil
		if n > len(c.buf) && c.err == nil { // each of them has a length
			c.err = errBodyLength
		}
		if n > 0 && c.err == nil {
			*args = make([]string, n)
		}
	}
}

func (c *codec) lengths(args []string) {
	for i := range args {
		c.length("arg", 1, &args[i])
	}
}

// names are the names of an enumeration, by value. An empty one is not defined.
type names []string

func (n names) name(v uint8) string {
	if n.has(v) {
		return n[v]
	}
	return fmt.Sprintf("0x%02x", v)
}

func (n names) has(v uint8) bool { return int(v) < len(n) && n[v] != "" }

// set is the inverse of name, for the command line.
func (n names) set(v *uint8, s string) error {
	for i, name := range n {
		if name != "" && strings.EqualFold(name, s) {
			*v = uint8(i)
			return nil
		}
	}
	return notOneOf(n.known())
}

func notOneOf(known []string) error {
	return fmt.Errorf("is not one of %s", strings.Join(known, " "))
}

func (n names) known() []string {
	return slices.DeleteFunc(slices.Clone(n), func(name string) bool { return name == "" })
}

// bits returns the names of the bits that are set in v; n has the name of 1<<i at i.
func (n names) bits(v uint8) string {
	var set []string
	for i := range uint8(8) {
		if bit := uint8(1) << i; v&bit != 0 {
			if n.has(i) {
				set = append(set, n[i])
			} else {
				set = append(set, fmt.Sprintf("0x%02x", bit))
			}
		}
	}
	if set == nil {
		return "none"
	}
	return strings.Join(set, "|")
}

// Offsets in a header (section 4.1), for code that changes one field of an encoded packet.
const (
	atVersion = 0
	atType    = 1
	atSeqNo   = 2
	atFlags   = 3
	atSession = 4
	atLength  = 8
)

// flushAt is how many bytes of packets are written even while there is more to read, so that the other side has work.
const flushAt = 1024

// wholePacket reports whether the next packet can be read from in without waiting.
func wholePacket(in *bufio.Reader) bool {
	if in.Buffered() < headerLen {
		return false
	}
	b, _ := in.Peek(headerLen)
	h := parseHeader(b)
	return h.length > maxBody || in.Buffered() >= headerLen+int(h.length)
}

const (
	maxArgs   = 255 // arguments in one message
	maxArgLen = 255 // bytes of one argument, the separator included
)
