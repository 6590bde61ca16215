package main

import "net/netip"

// A decodePipeline decodes frames in three goroutines: that of the caller reassembles TCP, the second decodes sessions, and
// the third writes their lines. Conversations, streams and sessions are reused: new ones take a third more CPU time.
type decodePipeline struct {
	tcp     reassembler
	events  pipe[eventBatch]
	decoder *decoder
}

// An eventBatch is some events of the reassembler.
type eventBatch struct {
	events []streamEvent
	data   []byte          // of all events
	pads   padTable        // of packets in data; empty if the decoder computes them
	unused []*tacacsStream // empty, for conversations that begin; from those that ended
}

// A streamEvent is one call of the reassembler.
type streamEvent struct {
	stream *tacacsStream
	kind   streamEventKind
	first  bool // of the stream
	from   uint8
	n      int32 // bytes that were received, or are missing
	at     frameRef
}

type streamEventKind uint8

const (
	eventData streamEventKind = iota
	eventGap
	eventClose
	eventSecrets // lines of a key log
)

// A batch has at most this much, unless one segment is larger.
const (
	batchBytes  = 64 << 10
	batchEvents = 1 << 10

	maxUnusedStreams = 1 << 8
)

// newEventBatch returns an empty batch. It has all its memory at once, since growing would touch three times as much.
func newEventBatch() *eventBatch {
	return &eventBatch{events: make([]streamEvent, 0, batchEvents), data: make([]byte, 0, batchBytes)}
}

// newStream returns an empty stream.
func (b *eventBatch) newStream() *tacacsStream {
	n := len(b.unused)
	if n == 0 {
		return new(tacacsStream)
	}
	t := b.unused[n-1]
	b.unused = b.unused[:n-1]
	return t
}

func newDecodePipeline(d *decoder) *decodePipeline {
	p := &decodePipeline{events: newPipe(newEventBatch), decoder: d}
	p.tcp.sender = tacacsPayload.sender
	p.tcp.prefer = func(a, b netip.AddrPort) bool { return d.isExpected([2]netip.AddrPort{a, b}) }
	if d.port != 0 {
		p.tcp.want = func(a, b netip.AddrPort) bool { return a.Port() == d.port || b.Port() == d.port }
	}
	p.tcp.onData = func(c *conversation, from int, at frameRef, data []byte) {
		p.addEvent(c, eventData, from, at, len(data), data)
	}
	p.tcp.onGap = func(c *conversation, from int, at frameRef, missing int) {
		p.addEvent(c, eventGap, from, at, missing, nil)
	}
	p.tcp.onClose = func(c *conversation, at frameRef) { p.addEvent(c, eventClose, 0, at, 0, nil) }
	return p
}

// start starts the other goroutines. stop waits until all ended sessions are written.
func (p *decodePipeline) start() (stop func()) {
	stopPrinter := p.decoder.printer.start()
	stopDecoder := p.events.start(p.consume, p.decoder.printer.flush)
	return func() {
		stopDecoder()
		stopPrinter()
	}
}

// addEvent queues an event of a conversation.
func (p *decodePipeline) addEvent(c *conversation, kind streamEventKind, from int, at frameRef, n int, data []byte) {
	t, known := c.value.(*tacacsStream)
	if !known {
		if kind == eventClose && !p.decoder.isExpected(c.ends) {
			return
		}
		t = p.events.chunk.newStream()
		t.begin(c)
		c.value = t
	}
	c.ignored, c.preferred = t.ignored.Load(), c.preferred || t.preferred.Load()
	if kind == eventClose {
		t.ended = c.history
	}
	p.queue(streamEvent{t, kind, !known, uint8(from), int32(n), at}, data)
}

// addSecrets queues lines of a key log in a capture.
func (p *decodePipeline) addSecrets(lines []byte) {
	p.queue(streamEvent{kind: eventSecrets, n: int32(len(lines))}, lines)
}

// queue adds an event and its data to the batch.
func (p *decodePipeline) queue(e streamEvent, data []byte) {
	if batch := p.events.chunk; len(batch.events) == batchEvents || len(batch.data)+len(data) > batchBytes {
		p.flush()
	}
	batch := p.events.chunk
	batch.events = append(batch.events, e)
	batch.data = append(batch.data, data...)
}

// flush passes the queued events on. If the decoder is behind, this goroutine computes the pads: a third of its work.
func (p *decodePipeline) flush() {
	batch := p.events.chunk
	if len(batch.events) == 0 {
		return
	}
	if len(p.events.filled) > 0 {
		p.addPads(batch)
	}
	p.events.send()
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

// consume decodes a batch.
func (p *decodePipeline) consume(batch *eventBatch) {
	data := batch.data
	p.decoder.keys.ahead = batch.pads
	for i := range batch.events {
		e := &batch.events[i]
		if e.first {
			e.stream.prepare()
		}
		switch e.kind {
		case eventData:
			p.decoder.onData(e.stream, int(e.from), &e.at, data[:e.n])
			data = data[e.n:]
		case eventGap:
			p.decoder.onGap(e.stream, int(e.from), &e.at, int(e.n))
		case eventSecrets:
			p.decoder.addSecrets(data[:e.n])
			data = data[e.n:]
		case eventClose:
			e.stream.history = e.stream.ended
			p.decoder.onClose(e.stream, &e.at)
			e.stream.reset()
			if len(batch.unused) < maxUnusedStreams {
				batch.unused = append(batch.unused, e.stream)
			}
		}
	}
	clear(batch.events)
	batch.events, batch.data = batch.events[:0], batch.data[:0]
	batch.pads.reset(0)
}
