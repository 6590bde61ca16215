package main

import "crypto/subtle"

// A padTable has the pads of packets (RFC 8907 section 4.5) for one key, in the order of the packets.
type padTable struct {
	key   int // its index in the keyTable
	pads  []packetPad
	bytes []byte // of all pads
}

// A packetPad is the pad of the packet with a header.
type packetPad struct {
	header header
	bytes  []byte
}

// Bounds of a padTable.
const (
	maxPads    = 1 << 10
	maxSkipped = 16 // pads before that of a packet, of packets that were not decoded
)

// reset empties the table, for another key.
func (t *padTable) reset(key int) {
	t.key, t.pads, t.bytes = key, t.pads[:0], t.bytes[:0]
}

// add computes the pads of the packets at the start of data, up to one that is not whole.
func (t *padTable) add(data []byte, key string) {
	for len(t.pads) < maxPads {
		size := packetSize(data)
		if size == 0 || size > len(data) {
			return
		}
		h, start := parseHeader(data), len(t.bytes)
		t.bytes = append(t.bytes, make([]byte, h.length)...)
		t.pads = append(t.pads, packetPad{h, t.bytes[start:]})
		obfuscate(&h, key, t.bytes[start:])
		data = data[size:]
	}
}

// addPads computes the pads of a batch, for the key that most likely fits.
func (p *decodePipeline) addPads(batch *eventBatch) {
	index := int(p.decoder.keys.latest.Load())
	key, _, ok := p.decoder.keys.keys.at(index)
	if !ok {
		return
	}
	batch.pads.reset(index)
	data := batch.data
	for i := range batch.events {
		switch e := &batch.events[i]; e.kind {
		case eventData:
			batch.pads.add(data[:e.n], key)
			data = data[e.n:]
		case eventSecrets:
			data = data[e.n:]
		}
	}
}

// obfuscate is like the function obfuscate, for a key of k.keys. It uses the pad that was computed ahead, if there
// is one.
func (k *keyFinder) obfuscate(h *header, index int, body []byte) {
	for i := range k.ahead.pads[:min(len(k.ahead.pads), maxSkipped)] {
		if p := &k.ahead.pads[i]; p.header == *h && k.ahead.key == index {
			subtle.XORBytes(body, body, p.bytes)
			k.ahead.pads = k.ahead.pads[i:]
			return
		}
	}
	value, _, _ := k.keys.at(index)
	obfuscate(h, value, body)
}
