package main

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
