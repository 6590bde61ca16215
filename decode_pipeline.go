package main

import (
	"net/netip"
	"sync"
	"time"
)

// A decodePipeline decodes frames in three goroutines. That of the caller reassembles TCP, another one decodes
// the sessions, and a third one writes their lines. The memory of conversations, streams and sessions is used
// again: allocating them anew takes a third more CPU time.
type decodePipeline struct {
	tcp     reassembler
	events  pipe[eventBatch]
	decoder *decoder
	unused  sync.Pool // of *tacacsStream
}

// An eventBatch is some events of the reassembler.
type eventBatch struct {
	events []streamEvent
	data   []byte // of all events
}

// A streamEvent is one call of the reassembler.
type streamEvent struct {
	stream *tacacsStream
	kind   streamEventKind
	from   int
	n      int // bytes that were received, or are missing
	at     time.Time
}

type streamEventKind uint8

const (
	eventData streamEventKind = iota
	eventGap
	eventClose
)

// A batch is passed on when it has so much.
const (
	batchBytes  = 64 << 10
	batchEvents = 1 << 11
)

func newDecodePipeline(d *decoder) *decodePipeline {
	p := &decodePipeline{events: newPipe[eventBatch](), decoder: d}
	p.tcp.sender = tacacsPayload.sender
	if d.port != 0 {
		p.tcp.want = func(a, b netip.AddrPort) bool { return a.Port() == d.port || b.Port() == d.port }
	}
	p.tcp.onData = func(c *conversation, from int, at time.Time, data []byte) {
		p.addEvent(c, eventData, from, at, len(data), data)
	}
	p.tcp.onGap = func(c *conversation, from int, at time.Time, missing int) {
		p.addEvent(c, eventGap, from, at, missing, nil)
	}
	p.tcp.onClose = func(c *conversation, at time.Time) { p.addEvent(c, eventClose, 0, at, 0, nil) }
	return p
}

// start starts the other goroutines. The returned function waits until all sessions that have ended are
// written.
func (p *decodePipeline) start() (stop func()) {
	stopPrinter := p.decoder.printer.start()
	stopDecoder := p.events.start(p.consume, p.decoder.printer.flush)
	return func() {
		stopDecoder()
		stopPrinter()
	}
}

// addEvent queues an event of a conversation.
func (p *decodePipeline) addEvent(c *conversation, kind streamEventKind, from int, at time.Time, n int, data []byte) {
	t, ok := c.value.(*tacacsStream)
	if !ok {
		if kind == eventClose {
			return
		}
		if t, ok = p.unused.Get().(*tacacsStream); !ok {
			t = new(tacacsStream)
		}
		t.reset(c)
		c.value = t
	}
	c.ignored = t.ignored.Load()
	batch := p.events.chunk
	batch.events = append(batch.events, streamEvent{t, kind, from, n, at})
	batch.data = append(batch.data, data...)
	if len(batch.data) >= batchBytes || len(batch.events) >= batchEvents {
		p.flush()
	}
}

// flush passes the queued events on.
func (p *decodePipeline) flush() {
	if len(p.events.chunk.events) > 0 {
		p.events.send()
	}
}

// consume decodes a batch.
func (p *decodePipeline) consume(batch *eventBatch) {
	data := batch.data
	for i := range batch.events {
		switch e := &batch.events[i]; e.kind {
		case eventData:
			p.decoder.onData(e.stream, e.from, e.at, data[:e.n])
			data = data[e.n:]
		case eventGap:
			p.decoder.onGap(e.stream, e.from, e.n)
		case eventClose:
			p.decoder.onClose(e.stream, e.at)
			p.unused.Put(e.stream)
		}
	}
	clear(batch.events)
	batch.events, batch.data = batch.events[:0], batch.data[:0]
}
