package main

import (
	"bytes"
)

// A device is one device's connection to the relay.
type device struct {
	relay    *relayServer
	client   *inboundConn
	key      key         // of client.keys, the one that fits
	messages *messageSet // its packets are decoded into these
	codec    codec
	recorded recordedConns
}

// readPacket reads the device's next packet and appends it to dst, with the body in clear; m is the body. ok is false
// if the connection is to end. A packet that cannot be forwarded is answered as RFC 8907 requires.
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
	if d.client.dump != nil { // converting the address allocates
		d.client.dump.packet("received from", d.client.addr, &h, body, m)
	}
	if err != nil {
		d.refuse(h, rejectWithError, d.client.malformed(err), "a malformed packet")
		return h, nil, dst, false
	}
	return h, m, packets, true
}

// chooseKey chooses the key that fits the first packet best.
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

// fits returns how well a key fits a packet: 1 if the lengths do, 2 if the fields are plausible too.
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

// refuse logs what is wrong with the packet of h, and replies as RFC 8907 requires.
func (d *device) refuse(h header, then rejection, problem, serverMsg string) {
	d.client.note(problem)
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

// flags returns the flags of a packet to the device, with the UNENCRYPTED flag of its side.
func (d *device) flags(f headerFlags) headerFlags {
	if f &^= flagUnencrypted; d.client.cleartext {
		f |= flagUnencrypted
	}
	return f
}

// obfuscate obfuscates a body for the device, unless it uses TLS.
func (d *device) obfuscate(h *header, body []byte) {
	if !d.client.cleartext {
		obfuscate(h, d.key.value, body)
	}
}
