package main

// A pipe passes chunks to another goroutine, in order, and gets the empty ones back.
type pipe[T any] struct {
	filled  chan *T
	emptied chan *T
	chunk   *T // that is being filled
}

const maxChunks = 4 // on their way

func newPipe[T any]() pipe[T] {
	p := pipe[T]{filled: make(chan *T, maxChunks), emptied: make(chan *T, maxChunks), chunk: new(T)}
	for range maxChunks {
		p.emptied <- new(T)
	}
	return p
}

// start calls consume with every chunk, in another goroutine, and idle whenever it has to wait for one. The
// returned function sends the last chunk and waits until it is consumed. The pipe can be started again then.
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

// start starts the goroutine. The returned function waits until all records are written.
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
