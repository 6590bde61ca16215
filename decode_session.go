package main

import (
	"cmp"
	"slices"
	"strings"
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
	frames  bool           // frame numbers are printed
	filter  recordFilter
	counts  decodeCounts

	open    queue[decodeSession]
	unused  []*decodeSession // empty, to be used again
	memory  budget           // of open sessions and the packets that they refer to
	partial budget           // of incomplete packets

	tlsOpen   int                 // open TLS conversations
	tlsOthers queue[tacacsStream] // those of other ports whose secrets are not known
	tlsMemory budget
}

// decodeCounts are the totals.
type decodeCounts struct {
	conversations int // of TACACS+
	unreadTLS     int // TLS conversations that were not read and have no line
	otherTLS      int // TLS conversations of other ports that were not read
	sessions      int
	fitted        int         // sessions that fit a key
	unread        int         // obfuscated sessions that were not read
	halfFit       string      // source of a key that fits packets of one end only
	missing       int         // bytes of TACACS+ and TLS conversations that are not in the capture
	cut           int         // frames of TACACS+ conversations that the capture cut
	strays        int         // packets without a session
	others        frameCounts // conversations that are not TACACS+
	junk          int         // bytes between packets
	dropped       int         // sessions, packets and conversations dropped to bound memory
}

// A decodeSession is an open session.
type decodeSession struct {
	tracker   sessionTracker
	stream    *tacacsStream
	typ       packetType
	key       sessionKey
	damaged   bool   // missing bytes may be its own
	cut       bool   // the body of a packet is not whole in the capture
	badHeader string // what RFC 8907 does not define: MALFORMED unless the server has decided
	badBody   string // MALFORMED
	kept      int    // bytes of packets that it refers to
	place     node[decodeSession]
}

// Bounds.
const (
	maxOpenStream = 1 << 10 // open sessions of one stream
	sessionCost   = 1 << 10 // bytes of a session beside the packets that it refers to
	maxFrames     = 64      // numbers of frames of one session

	maxUnusedSessions = 64
)

// addSecrets adds lines of a key log that are in a capture. Invalid ones are ignored.
func (d *decoder) addSecrets(lines []byte) {
	if d.keyLog == nil {
		d.keyLog = newKeyLog()
		d.keyLog.setLimit(budgetKeys - len(d.keys.keys.text))
	}
	for _, line := range strings.SplitAfter(string(lines), "\n") {
		d.keyLog.parse(line)
	}
}

// openSession opens a session, whose first body has size bytes. It drops the oldest ones to make room.
func (d *decoder) openSession(t *tacacsStream, h *header, size int) *decodeSession {
	if len(t.sessions) == maxOpenStream {
		d.dropSession(t.sessions[0])
	}
	for d.open.len > 0 && d.memory.exceeds(sessionCost+size) {
		d.dropSession(d.open.first())
	}
	var s *decodeSession
	if n := len(d.unused); n > 0 {
		s, d.unused = d.unused[n-1], d.unused[:n-1]
	} else {
		s = new(decodeSession)
	}
	s.stream, s.typ, s.kept = t, h.typ, size
	s.key.client, s.key.index = t.client, -1
	s.tracker.id = h.sessionID
	t.identify(&s.tracker.sessionRecord, time.Time{})
	s.tracker.protection, s.tracker.singleConnect = protectionOf(h.flags, t.tls != nil), t.single
	d.memory.used += sessionCost + size
	t.sessions = append(t.sessions, s)
	d.open.push(&s.place, s)
	return s
}

// keep counts more bytes that a session refers to. It drops the oldest of the other ones to make room.
func (d *decoder) keep(s *decodeSession, more int) {
	s.kept += more
	d.memory.used += more
	for d.memory.exceeds(0) && d.open.first() != s {
		d.dropSession(d.open.first())
	}
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
	o, h := &s.tracker, &s.stream.history
	switch o.close(); {
	case s.damaged || s.cut:
		o.status = statusCut
	case s.key.unread && s.mayBeOver(d.keys.keys.count > 0):
		o.status = statusNoKey
	default:
		o.reason = s.stream.closedBy()
		if o.status == statusNoReply && o.reason != "" && h.flags[h.closer]&tcpRST != 0 {
			o.status, o.reason = statusReset, o.reason[len("closed "):]
		}
	}
	d.finishSession(s)
}

// mayBeOver reports whether the last packet, which was not read, may be the end of the session: the verdict, or an ABORT in
// place of an answer. The first reply of a login that continues is a prompt, as far as is known without any key.
func (s *decodeSession) mayBeOver(keys bool) bool {
	if s.tracker.seqNo%2 == 1 {
		return s.typ == typeAuthen && s.tracker.seqNo > 1
	}
	return s.tracker.packets != 2 || s.tracker.seqNo != 2 || keys
}

// finishSession prints or counts a session, removes it and reuses its memory.
func (d *decoder) finishSession(s *decodeSession) {
	r := &s.tracker.sessionRecord
	if s.key.index >= 0 && !s.key.confirmed { // nothing but the lengths suggests that the key is right
		r.forgetBodies(requestOf(s.typ))
		s.tracker.verdict, s.key.unread = false, true
	}
	d.setStatus(s)
	d.counts.sessions++
	switch {
	case s.key.unread:
		if d.counts.unread++; s.key.index >= 0 && s.key.confirmed {
			d.counts.halfFit = d.keys.keys.source(s.key.index)
		}
	case s.key.index >= 0:
		d.counts.fitted++
		r.key = d.keys.keys.source(s.key.index)
	}
	if !dated(r.at) {
		r.at = time.Time{}
	}
	d.log(s.key.client, r, s.kept)
	t := s.stream
	if r.status == statusAbort {
		t.aborted = append(t.aborted[:0], r.id)
	}
	i := slices.Index(t.sessions, s)
	if t.sessions = slices.Delete(t.sessions, i, i+1); len(t.sessions) == 0 && cap(t.sessions) > 16 {
		t.sessions = nil
	}
	d.open.remove(&s.place)
	d.memory.used -= sessionCost + s.kept
	*s = decodeSession{} // retains no packets
	if len(d.unused) < maxUnusedSessions {
		d.unused = append(d.unused, s)
	}
}

// setStatus sets the status of a session that is not the server's.
func (d *decoder) setStatus(s *decodeSession) {
	o := &s.tracker
	switch {
	case o.status == statusViolation:
	case s.badBody != "" || s.badHeader != "" && (!o.verdict || s.key.unread):
		reason := cmp.Or(s.badBody, s.badHeader)
		if o.verdict {
			reason += "; the server replied " + o.status
		}
		o.end(statusMalformed, reason)
	case s.key.unread && (o.status == "" || d.keys.keys.count > 0):
		o.end(statusNoKey, "")
	case o.status == "":
		o.status = statusCut
	case s.badHeader != "":
		o.note(s.badHeader)
	}
}

// logProblem prints what is wrong with a conversation. --summary only counts problems.
func (d *decoder) logProblem(t *tacacsStream, at time.Time, r *sessionRecord) {
	t.identify(r, at)
	if d.summary == nil && d.filter.has(r) {
		d.printer.print(r, len(r.problem))
	}
}

// log prints a record, or counts it for --summary.
func (d *decoder) log(client *decodeClient, r *sessionRecord, kept int) {
	if !d.filter.has(r) {
		return
	}
	if d.summary != nil {
		d.summary.add(&client.count, r)
	} else {
		d.printer.print(r, kept)
	}
}

// A pipe passes chunks to another goroutine in order, and gets the empty ones back.
type pipe[T any] struct {
	filled  chan *T
	emptied chan *T
	chunk   *T // being filled
}

const maxChunks = 3 // in a pipe

func newPipe[T any](newChunk func() *T) pipe[T] {
	p := pipe[T]{filled: make(chan *T, maxChunks), emptied: make(chan *T, maxChunks), chunk: newChunk()}
	for range maxChunks {
		p.emptied <- newChunk()
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

// newRecordBatch returns an empty batch with all its memory.
func newRecordBatch() *recordBatch {
	return &recordBatch{records: make([]sessionRecord, 0, maxBatchRecords)}
}

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
	p.log.writeAll(batch.records)
	clear(batch.records)
	batch.records, batch.kept = batch.records[:0], 0
}
