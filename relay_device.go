package main

import (
	"bytes"
)

// A device is one device's connection to the relay.
type device struct {
	relay    *relayServer
	client   *inboundConn
	key      key             // of guest.keys, the one that fits
	messages *decodeMessages // where its packets are decoded
	codec    codec
	recorded recordedConns
}

// next reads the device's next packet and appends it to dst, its body in clear, and m. What cannot be sent
// on is answered as RFC 8907 says, and false ends the connection.
func (d *device) readPacket(dst []byte) (h header, m message, packets []byte, ok bool) {
	h, packets, ok = d.client.receive(dst)
	if !ok {
		return h, nil, dst, false
	}
	if wrong, then := checkHeader(&h, d.client.cleartext); wrong != "" {
		d.refuse(h, then, wrong, "UNENCRYPTED flag")
		return h, nil, dst, false
	}
	body := packets[len(dst)+headerLen:]
	if d.client.onPacket() {
		d.chooseKey(&h, body)
	}
	if !d.client.cleartext {
		obfuscate(&h, d.key.value, body)
	}
	m = d.messages.of(&h)
	err := d.codec.decode(body, m)
	if d.client.dump != nil { // an address costs memory
		d.client.dump.packet("received from", d.client.addr, &h, body, m)
	}
	if err != nil {
		d.refuse(h, rejectWithError, d.client.malformed(err), "a malformed packet")
		return h, nil, dst, false
	}
	return h, m, packets, true
}

// chooseKey takes the candidate that fits the first packet: of those that its lengths fit, one for which
// its fields make sense, if there is one.
func (d *device) chooseKey(h *header, body []byte) {
	best := -1
	for _, k := range d.client.keys {
		n := 0
		if len(d.client.keys) > 1 {
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
	d.client.note(note)
	switch then {
	case rejectWithHeader:
		d.client.conn.Write(appendHeader(nil, h))
	case rejectWithError:
		h.seqNo++
		h.flags = d.flags(0)
		m := errorReply(h.typ, serverMsg)
		packet, _ := appendPacket(nil, &h, m) // it fits
		d.client.dump.packet("sent to", d.client.addr, &h, packet[headerLen:], m)
		d.obfuscate(&h, packet[headerLen:])
		d.client.conn.Write(packet)
	}
}

// flags are the flags of a packet to the device, with the UNENCRYPTED flag of its side.
func (d *device) flags(f headerFlags) headerFlags {
	if f &^= flagUnencrypted; d.client.cleartext {
		f |= flagUnencrypted
	}
	return f
}

// conceal obfuscates a body for the device, unless TLS does more than that.
func (d *device) obfuscate(h *header, body []byte) {
	if !d.client.cleartext {
		obfuscate(h, d.key.value, body)
	}
}
