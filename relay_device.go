package main

import (
	"bytes"
	"context"
)

// A device is one device's connection to the relay.
type device struct {
	*relayServer
	*inboundConn
	ctx      context.Context // at its end no more is read
	key      key             // of guest.keys, the one that fits
	messages *decodeMessages // where its packets are decoded
	codec    codec
	recorded recordedConns
}

// next reads the device's next packet and appends it to dst, its body in clear, and m. What cannot be sent
// on is answered as RFC 8907 says, and false ends the connection.
func (d *device) readPacket(dst []byte) (h header, m message, packets []byte, ok bool) {
	h, packets, ok = d.receive(dst)
	if !ok {
		return h, nil, dst, false
	}
	d.in = growReader(d.in, d.conn)
	if wrong, then := checkHeader(&h, d.cleartext); wrong != "" {
		d.refuse(h, then, wrong, "UNENCRYPTED flag")
		return h, nil, dst, false
	}
	body := packets[len(dst)+headerLen:]
	if !d.sawPacket {
		d.sawPacket = true
		d.chooseKey(&h, body)
	}
	if !d.cleartext {
		obfuscate(&h, d.key.value, body)
	}
	m = d.messages.of(&h)
	err := d.codec.decode(body, m)
	if d.dump != nil { // an address costs memory
		d.dump.packet("received from", d.addr, &h, body, m)
	}
	if err != nil {
		d.refuse(h, rejectWithError, d.malformed(err), "a malformed packet")
		return h, nil, dst, false
	}
	return h, m, packets, true
}

// chooseKey takes the candidate that fits the first packet: of those that its lengths fit, one for which
// its fields make sense, if there is one.
func (d *device) chooseKey(h *header, body []byte) {
	best := -1
	for _, k := range d.inboundConn.keys {
		n := 0
		if len(d.inboundConn.keys) > 1 {
			n = d.fits(h, body, k)
		}
		if n > best {
			best, d.key = n, k
		}
	}
}

// fits says how well a key fits a packet: 1 by its lengths, 2 by what its fields say too.
func (d *device) fits(h *header, body []byte, k key) int {
	try, m := bytes.Clone(body), d.messages.of(h)
	obfuscate(h, k.value, try)
	switch {
	case d.codec.decode(try, m) != nil:
		return 0
	case !plausible(m):
		return 1
	}
	return 2
}

// refuse notes what is wrong with the packet of h, and tells the device as far as there is an answer.
func (d *device) refuse(h header, then rejection, note, serverMsg string) {
	d.log.note(d.addr, note)
	switch then {
	case rejectWithHeader:
		d.conn.Write(appendHeader(nil, h))
	case rejectWithError:
		h.seqNo++
		h.flags = d.flags(0)
		m := errorReply(h.typ, serverMsg)
		packet, _ := appendPacket(nil, &h, m) // it fits
		d.dump.packet("sent to", d.addr, &h, packet[headerLen:], m)
		d.obfuscate(&h, packet[headerLen:])
		d.conn.Write(packet)
	}
}

// flags are the flags of a packet to the device, with the UNENCRYPTED flag of its side.
func (d *device) flags(f headerFlags) headerFlags {
	if f &^= flagUnencrypted; d.cleartext {
		f |= flagUnencrypted
	}
	return f
}

// conceal obfuscates a body for the device, unless TLS does more than that.
func (d *device) obfuscate(h *header, body []byte) {
	if !d.cleartext {
		obfuscate(h, d.key.value, body)
	}
}
