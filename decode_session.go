package main

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// A decoder decodes the sessions in streams. Its memory is bounded, and it counts what it drops for that.
type decoder struct {
	keys    keyFinder
	keyLog  *keyLog // nil for none
	port    uint16  // of TACACS+; 0 for any
	dump    *dumper // nil for none
	printer recordPrinter
	summary *decodeSummary // counts the sessions instead of printing them; nil for none
	counts  decodeCounts

	open    queue[decodeSession]
	unused  sync.Pool // of *decodeSession
	kept    int       // bytes of the packets that open sessions refer to
	partial int       // bytes of incomplete packets
	tlsOpen int       // open TLS conversations
}

// decodeCounts are the totals.
type decodeCounts struct {
	conversations int // of TACACS+
	unreadTLS     int // TLS conversations that were not read and have no line
	otherTLS      int // TLS conversations of other ports that were not read
	sessions      int
	fitted        int // sessions that fit a key
	unread        int // obfuscated sessions that were not read
	missing       int // bytes of TACACS+ and TLS conversations that are not in the capture
	cut           int // frames of TACACS+ conversations that the capture cut
	strays        int // packets without a session
	dropped       int // sessions, packets and conversations dropped to bound memory
}

// A decodeSession is an open session.
type decodeSession struct {
	tracker sessionTracker
	stream  *tacacsStream
	typ     packetType
	key     sessionKey
	damaged bool // missing bytes may be its own
	kept    int  // bytes of packets that it refers to
	place   node[decodeSession]
}

// Bounds.
const (
	maxOpenStream = 1 << 10  // open sessions of one stream
	maxOpenAll    = 16 << 10 // open sessions of all streams
	maxKeptAll    = 4 << 20  // bytes of the packets that open sessions refer to
)

// addPacket adds a packet to its session.
func (d *decoder) addPacket(t *tacacsStream, from int, at time.Time, h *header, body []byte) {
	s := t.session(h.sessionID)
	if s != nil && h.seqNo == 1 { // the session_id is used again
		d.closeSession(s)
		s = nil
	}
	if s == nil && (h.seqNo == 1 || t.partial) {
		s = d.openSession(t, h, len(body))
	} else if s == nil || !s.expects(h) {
		d.counts.strays++
		d.dumpPacket(t, from, at, h, nil, nil, nil)
		return
	}
	m, plain := d.keys.decode(&s.key, h, body, h.flags&flagUnencrypted != 0 || t.tls != nil)
	d.dumpPacket(t, from, at, h, plain, m, s.tracker.secrets)
	if h.seqNo == s.tracker.seqNo+1 {
		s.damaged = false
	}
	if s.tracker.packet(at, h, m) {
		s.kept, d.kept = s.kept+len(body), d.kept+len(body) // the record refers to the reply too
		d.finishSession(s)
	}
}

// expects reports whether a packet can be the next one of the session. One packet may be missing before it, or any number
// if the stream is partial.
func (s *decodeSession) expects(h *header) bool {
	return h.typ == s.typ && h.seqNo > s.tracker.seqNo && (h.seqNo <= s.tracker.seqNo+2 || s.stream.partial)
}

// session returns the open session with an ID, or nil.
func (t *tacacsStream) session(id uint32) *decodeSession {
	for _, s := range t.sessions {
		if s.tracker.id == id {
			return s
		}
	}
	return nil
}

// openSession opens a session, whose first body has size bytes. It drops the oldest ones to make room.
func (d *decoder) openSession(t *tacacsStream, h *header, size int) *decodeSession {
	if len(t.sessions) == maxOpenStream {
		d.dropSession(t.sessions[0])
	}
	for d.open.len == maxOpenAll || d.kept+size > maxKeptAll {
		d.dropSession(d.open.first())
	}
	s, ok := d.unused.Get().(*decodeSession)
	if !ok {
		s = new(decodeSession)
	}
	*s = decodeSession{stream: t, typ: h.typ, key: sessionKey{client: t.client, index: -1}, kept: size}
	s.tracker.id, s.tracker.peer, s.tracker.server = h.sessionID, t.peer(), t.server()
	d.kept += size
	t.sessions = append(t.sessions, s)
	d.open.push(&s.place, s)
	return s
}

// dropSession closes a session to make room. An unread session with a reply is most likely complete, which only the body
// of the reply would show, so it does not count as dropped.
func (d *decoder) dropSession(s *decodeSession) {
	if !s.key.unread || s.tracker.seqNo%2 == 1 {
		d.counts.dropped++
	}
	d.closeSession(s)
}

// closeSession closes a session whose last packet did not end it.
func (d *decoder) closeSession(s *decodeSession) {
	if s.tracker.close(); s.damaged {
		s.tracker.status = statusCut
	}
	// A reply that could be the verdict. The first one of a login that continues is a prompt, as far as is known without any
	// key.
	if s.key.unread && s.tracker.seqNo%2 == 0 && (s.tracker.packets != 2 || s.tracker.seqNo != 2 || len(d.keys.keys) > 0) {
		s.tracker.status = statusNoKey
	}
	d.finishSession(s)
}

// finishSession prints or counts a session, removes it and reuses its memory.
func (d *decoder) finishSession(s *decodeSession) {
	r := &s.tracker.sessionRecord
	if s.key.index >= 0 && !s.key.confirmed { // nothing but the lengths suggests that the key is right
		*r = sessionRecord{at: r.at, peer: r.peer, server: r.server, id: r.id, request: requestOf(s.typ),
			status: r.status, took: r.took, total: r.total, packets: r.packets}
		s.key.unread = true
	}
	if s.key.unread && (r.status == "" || len(d.keys.keys) > 0) {
		r.status = statusNoKey
	}
	d.counts.sessions++
	switch {
	case s.key.unread:
		d.counts.unread++
	case s.key.index >= 0:
		d.counts.fitted++
		r.key = d.keys.keys[s.key.index].source
	}
	if d.summary != nil {
		d.summary.add(&s.key.client.count, r)
	} else {
		d.printer.print(r, s.kept)
	}
	t := s.stream
	i := slices.Index(t.sessions, s)
	t.sessions = slices.Delete(t.sessions, i, i+1)
	d.open.remove(&s.place)
	d.kept -= s.kept
	d.unused.Put(s)
}

// dumpPacket prints a packet for -d.
func (d *decoder) dumpPacket(t *tacacsStream, from int, at time.Time, h *header, body []byte, m message, secrets []string) {
	if d.dump == nil {
		return
	}
	prefix := fmt.Sprintf("%s >", t.ends[from])
	if !at.IsZero() {
		prefix = at.UTC().Format(timeLayout) + " " + prefix
	}
	d.dump.packet(prefix, t.ends[1-from], h, body, m, secrets...)
}

// A pipe passes chunks to another goroutine in order, and gets the empty ones back.
type pipe[T any] struct {
	filled  chan *T
	emptied chan *T
	chunk   *T // being filled
}

const maxChunks = 4 // in a pipe

func newPipe[T any]() pipe[T] {
	p := pipe[T]{filled: make(chan *T, maxChunks), emptied: make(chan *T, maxChunks), chunk: new(T)}
	for range maxChunks {
		p.emptied <- new(T)
	}
	return p
}

// start calls consume with every chunk in another goroutine, and idle before it waits for one. stop sends the last chunk
// and waits until it is consumed; then the pipe can be started again.
func (p *pipe[T]) start(consume func(*T), idle func()) (stop func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if len(p.filled) == 0 {
				idle()
			}
			chunk := <-p.filled
			if chunk == nil {
				return
			}
			consume(chunk)
			p.emptied <- chunk
		}
	}()
	return func() {
		p.send()
		p.filled <- nil
		<-done
	}
}

// send passes the chunk on.
func (p *pipe[T]) send() {
	p.filled <- p.chunk
	p.chunk = <-p.emptied
}

// A recordPrinter passes session records to a goroutine that writes them to the session log.
type recordPrinter struct {
	pipe   pipe[recordBatch]
	log    *sessionLog
	direct bool // write each record at once: its line follows the packets that -d prints
}

// A recordBatch is records that wait to be written.
type recordBatch struct {
	records []sessionRecord
	kept    int // bytes of the packets that they refer to
}

const (
	maxBatchRecords = 256
	maxBatchKept    = 64 << 10 // the last record may exceed it
)

// start starts the goroutine. stop waits until all records are written.
func (p *recordPrinter) start() (stop func()) {
	return p.pipe.start(p.write, func() { _ = p.log.flush() }) // the log keeps the error
}

// print queues a record, which refers to kept bytes of packets.
func (p *recordPrinter) print(r *sessionRecord, kept int) {
	if p.direct {
		p.log.write(r)
		p.log.flush()
		return
	}
	batch := p.pipe.chunk
	batch.records, batch.kept = append(batch.records, *r), batch.kept+kept
	if len(batch.records) >= maxBatchRecords || batch.kept >= maxBatchKept {
		p.pipe.send()
	}
}

// flush passes the queued records on.
func (p *recordPrinter) flush() {
	if len(p.pipe.chunk.records) > 0 {
		p.pipe.send()
	}
}

func (p *recordPrinter) write(batch *recordBatch) {
	for i := range batch.records {
		p.log.write(&batch.records[i])
	}
	clear(batch.records)
	batch.records, batch.kept = batch.records[:0], 0
}
