package main

import (
	"strconv"
	"strings"
)

// tacacsPayload recognizes TACACS+ packets in hexadecimal text.
var tacacsPayload = payloadFormat{size: packetSize, sender: packetSender, heading: parseDumpHeading, filter: "port 49"}

// packetSize returns the size of the packet at the start of b, or 0 if there is no whole header.
func packetSize(b []byte) int {
	if len(b) < headerLen {
		return 0
	}
	h := parseHeader(b)
	if h.version.major() != majorVersion || !packetTypeNames.has(uint8(h.typ)) || h.seqNo == 0 ||
		h.flags&^(flagUnencrypted|flagSingleConnect) != 0 || h.length > maxBody {
		return 0
	}
	return headerLen + int(h.length)
}

// packetSender returns 0 for a packet of a client, which has an odd seq_no, and 1 for one of a server. RFC 8907
// section 4.1.
func packetSender(packet []byte) (from int, ok bool) {
	if len(packet) < headerLen {
		return 0, false
	}
	return 1 - int(packet[2]&1), true
}

// parseDumpHeading parses the line that -d prints above each packet. The fields of the header are its last words. It sets the
// UNENCRYPTED flag, since the body follows in clear.
func parseDumpHeading(words []string) (packet []byte, size int, ok bool) {
	var names, values [6]string
	if words = words[max(len(words)-12, 0):]; len(words) == 12 {
		for i := range names {
			names[i], values[i] = words[2*i], words[2*i+1]
		}
	}
	if strings.Join(names[:], " ") != "version type seq_no flags session_id length" {
		return nil, 0, false
	}
	ok = true
	number := func(text string, base, size int) uint64 {
		v, err := strconv.ParseUint(text, base, size)
		ok = ok && err == nil
		return v
	}
	h := header{flags: flagUnencrypted}
	major, minor, _ := strings.Cut(values[0], ".")
	h.version = version(number(major, 0, 4)<<4 | number(minor, 10, 4))
	if packetTypeNames.set((*uint8)(&h.typ), values[1]) != nil {
		h.typ = packetType(number(values[1], 0, 8))
	}
	h.seqNo = uint8(number(values[2], 10, 8))
	for _, flag := range strings.Split(values[3], "|") {
		var bit uint8
		switch {
		case values[3] == "none":
		case headerFlagNames.set(&bit, flag) == nil:
			h.flags |= 1 << bit
		default:
			h.flags |= headerFlags(number(flag, 0, 8))
		}
	}
	h.sessionID, h.length = uint32(number(values[4], 16, 32)), uint32(number(values[5], 10, 16))
	var c codec
	h.layout(&c)
	return c.buf, headerLen + int(h.length), ok
}
