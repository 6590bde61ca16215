package main

import "time"

// A belt carries loads to another goroutine, in their order, and takes the empty ones back.
type belt[T any] struct {
	filled  chan *T
	emptied chan *T
	load    *T // that is being filled
}

const maxLoads = 4 // on their way

func newBelt[T any]() belt[T] {
	b := belt[T]{filled: make(chan *T, maxLoads), emptied: make(chan *T, maxLoads), load: new(T)}
	for range maxLoads {
		b.emptied <- new(T)
	}
	return b
}

// start has take called with every load, in another goroutine, and idle whenever there is none to take.
// The function that it returns hands over the last one, and waits until it was taken. The belt can start
// again then.
func (b *belt[T]) start(take func(*T), idle func()) (stop func()) {
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
		b.pass()
		b.filled <- nil
		<-done
	}
}

// pass hands over the load.
func (b *belt[T]) pass() {
	b.filled <- b.load
	b.load = <-b.emptied
}

// A decodePipe carries what the reassembler tells to the goroutine that makes sessions of it: to read a
// capture and put it together again is a third of the work.
type decodePipe struct {
	belt[decodeBatch]
	talks []*decodeTalk // to be used again
}

// A decodeBatch is some events, the octets of all of them, and the talks that ended with it.
type decodeBatch struct {
	events []decodeEvent
	octets []byte
	over   []*decodeTalk
}

// A decodeEvent is what one call of the reassembler tells.
type decodeEvent struct {
	talk *decodeTalk
	kind decodeEventKind
	from int
	n    int // octets that were said, or are missing
	at   time.Time
}

type decodeEventKind uint8

const (
	eventSaid decodeEventKind = iota
	eventGap
	eventEnded
)

const (
	batchOctets = 64 << 10 // about as many make a batch
	batchEvents = 1 << 11
)

// hand gives the batch away.
func (p *decodePipe) hand() {
	if len(p.load.events) > 0 {
		p.pass()
		p.talks, p.load.over = append(p.talks, p.load.over...), p.load.over[:0]
	}
}

// add notes an event of a conversation.
func (p *decodePipe) add(c *conversation, kind decodeEventKind, from int, at time.Time, n int, octets []byte) {
	t, ok := c.owner.(*decodeTalk)
	if !ok {
		if kind == eventEnded {
			return
		}
		t = p.talk(c)
		c.owner = t
	}
	c.ignored = t.ignored.Load()
	p.load.events = append(p.load.events, decodeEvent{t, kind, from, n, at})
	p.load.octets = append(p.load.octets, octets...)
	if len(p.load.octets) >= batchOctets || len(p.load.events) >= batchEvents {
		p.hand()
	}
}

// talk makes a talk of a conversation.
func (p *decodePipe) talk(c *conversation) *decodeTalk {
	var t *decodeTalk
	if n := len(p.talks); n > 0 {
		t, p.talks = p.talks[n-1], p.talks[:n-1]
	} else {
		t = new(decodeTalk)
	}
	*t = decodeTalk{ends: c.ends, began: c.began, client: -1, partial: !c.opened, open: t.open[:0]}
	if c.opened {
		t.client = 0
	}
	for i := range t.sides {
		t.sides[i].lost = t.partial
	}
	return t
}

// said, gap and ended are what the reassembler calls.
func (p *decodePipe) said(c *conversation, from int, at time.Time, octets []byte) {
	p.add(c, eventSaid, from, at, len(octets), octets)
}

func (p *decodePipe) gap(c *conversation, from int, at time.Time, missing int) {
	p.add(c, eventGap, from, at, missing, nil)
}

func (p *decodePipe) ended(c *conversation, at time.Time) { p.add(c, eventEnded, 0, at, 0, nil) }

// hear takes a batch of events.
func (d *decoder) hear(b *decodeBatch) {
	octets := b.octets
	for i := range b.events {
		switch e := &b.events[i]; e.kind {
		case eventSaid:
			d.said(e.talk, e.from, e.at, octets[:e.n])
			octets = octets[e.n:]
		case eventGap:
			d.gap(e.talk, e.from, e.n)
		case eventEnded:
			d.ended(e.talk, e.at)
			b.over = append(b.over, e.talk)
		}
	}
	b.events, b.octets = b.events[:0], b.octets[:0]
}

// setOff sets both belts in motion, and stop waits until all that was told is written.
func (d *decoder) setOff() (stop func()) {
	written := d.lines.start(d.write, func() { _ = d.log.flush() }) // an error stays with the log
	heard := d.pipe.start(d.hear, d.idle)
	return func() {
		heard()
		written()
	}
}

// A decodeLines is records that wait for being written, as another goroutine does.
type decodeLines struct {
	records []sessionRecord
	kept    int // octets of their packets
}

const (
	maxLines     = 256
	maxLinesKept = 64 << 10 // but for the last of them
)

// print has a record written, which keeps some octets of packets in memory.
func (d *decoder) print(r *sessionRecord, kept int) {
	if d.trace != nil { // its line stands behind its packets
		d.log.write(r)
		d.log.flush()
		return
	}
	lines := d.lines.load
	lines.records, lines.kept = append(lines.records, *r), lines.kept+kept
	if len(lines.records) >= maxLines || lines.kept >= maxLinesKept {
		d.lines.pass()
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
	if len(d.lines.load.records) > 0 {
		d.lines.pass()
	}
}
