package main

import "time"

// A belt carries loads to another goroutine, in their order, and takes the empty ones back.
type pipe[T any] struct {
	filled  chan *T
	emptied chan *T
	chunk   *T // that is being filled
}

const maxChunks = 4 // on their way

func newPipe[T any]() pipe[T] {
	b := pipe[T]{filled: make(chan *T, maxChunks), emptied: make(chan *T, maxChunks), chunk: new(T)}
	for range maxChunks {
		b.emptied <- new(T)
	}
	return b
}

// start has take called with every load, in another goroutine, and idle whenever there is none to take.
// The function that it returns hands over the last one, and waits until it was taken. The belt can start
// again then.
func (b *pipe[T]) start(take func(*T), idle func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if len(b.filled) == 0 {
				idle()
			}
			load := <-b.filled
			if load == nil {
				return
			}
			take(load)
			b.emptied <- load
		}
	}()
	return func() {
		b.send()
		b.filled <- nil
		<-done
	}
}

// pass hands over the load.
func (b *pipe[T]) send() {
	b.filled <- b.chunk
	b.chunk = <-b.emptied
}

// A decodePipe carries what the reassembler tells to the goroutine that makes sessions of it: to read a
// capture and put it together again is a third of the work.
type decodePipe struct {
	pipe[decodeBatch]
	free []*tacacsStream // to be used again
}

// A decodeBatch is some events, the bytes of all of them, and the talks that ended with it.
type decodeBatch struct {
	events []decodeEvent
	data   []byte
	over   []*tacacsStream
}

// A decodeEvent is what one call of the reassembler tells.
type decodeEvent struct {
	stream *tacacsStream
	kind   decodeEventKind
	from   int
	n      int // bytes that were said, or are missing
	at     time.Time
}

type decodeEventKind uint8

const (
	eventData decodeEventKind = iota
	eventGap
	eventClose
)

const (
	batchBytes  = 64 << 10 // about as many make a batch
	batchEvents = 1 << 11
)

// hand gives the batch away.
func (p *decodePipe) flush() {
	if len(p.chunk.events) > 0 {
		p.send()
		p.free, p.chunk.over = append(p.free, p.chunk.over...), p.chunk.over[:0]
	}
}

// add notes an event of a conversation.
func (p *decodePipe) add(c *conversation, kind decodeEventKind, from int, at time.Time, n int, data []byte) {
	t, ok := c.owner.(*tacacsStream)
	if !ok {
		if kind == eventClose {
			return
		}
		t = p.newStream(c)
		c.owner = t
	}
	c.ignored = t.ignored.Load()
	p.chunk.events = append(p.chunk.events, decodeEvent{t, kind, from, n, at})
	p.chunk.data = append(p.chunk.data, data...)
	if len(p.chunk.data) >= batchBytes || len(p.chunk.events) >= batchEvents {
		p.flush()
	}
}

// talk makes a talk of a conversation.
func (p *decodePipe) newStream(c *conversation) *tacacsStream {
	var t *tacacsStream
	if n := len(p.free); n > 0 {
		t, p.free = p.free[n-1], p.free[:n-1]
	} else {
		t = new(tacacsStream)
	}
	*t = tacacsStream{ends: c.ends, began: c.began, clientEnd: -1, partial: !c.opened, open: t.open[:0]}
	if c.opened {
		t.clientEnd = 0
	}
	for i := range t.directions {
		t.directions[i].lost = t.partial
	}
	return t
}

// said, gap and ended are what the reassembler calls.
func (p *decodePipe) onData(c *conversation, from int, at time.Time, data []byte) {
	p.add(c, eventData, from, at, len(data), data)
}

func (p *decodePipe) onGap(c *conversation, from int, at time.Time, missing int) {
	p.add(c, eventGap, from, at, missing, nil)
}

func (p *decodePipe) onClose(c *conversation, at time.Time) { p.add(c, eventClose, 0, at, 0, nil) }

// hear takes a batch of events.
func (d *decoder) consume(b *decodeBatch) {
	data := b.data
	for i := range b.events {
		switch e := &b.events[i]; e.kind {
		case eventData:
			d.onData(e.stream, e.from, e.at, data[:e.n])
			data = data[e.n:]
		case eventGap:
			d.onGap(e.stream, e.from, e.n)
		case eventClose:
			d.onClose(e.stream, e.at)
			b.over = append(b.over, e.stream)
		}
	}
	b.events, b.data = b.events[:0], b.data[:0]
}

// setOff sets both belts in motion, and stop waits until all that was told is written.
func (d *decoder) startStages() (stop func()) {
	written := d.lines.start(d.write, func() { _ = d.log.flush() }) // an error stays with the log
	heard := d.pipe.start(d.consume, d.idle)
	return func() {
		heard()
		written()
	}
}

// A decodeLines is records that wait for being written, as another goroutine does.
type decodeLines struct {
	records []sessionRecord
	kept    int // bytes of their packets
}

const (
	maxLines     = 256
	maxLinesKept = 64 << 10 // but for the last of them
)

// print has a record written, which keeps some bytes of packets in memory.
func (d *decoder) print(r *sessionRecord, kept int) {
	if d.dump != nil { // its line stands behind its packets
		d.log.write(r)
		d.log.flush()
		return
	}
	lines := d.lines.chunk
	lines.records, lines.kept = append(lines.records, *r), lines.kept+kept
	if len(lines.records) >= maxLines || lines.kept >= maxLinesKept {
		d.lines.send()
	}
}

// write writes records.
func (d *decoder) write(lines *decodeLines) {
	for i := range lines.records {
		d.log.write(&lines.records[i])
	}
	clear(lines.records)
	lines.records, lines.kept = lines.records[:0], 0
}

// idle has the lines written of all that was heard.
func (d *decoder) idle() {
	if len(d.lines.chunk.records) > 0 {
		d.lines.send()
	}
}
