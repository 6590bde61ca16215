package main

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A progressLine is a line on a terminal about a run. It is printed at once and every second, until stop.
type progressLine struct {
	out     io.Writer
	count   *atomic.Int64 // what is done
	text    func(count int64, now time.Time) string
	writing sync.Mutex
	done    chan struct{}
	printer sync.WaitGroup
}

func startProgress(out io.Writer, count *atomic.Int64, text func(count int64, now time.Time) string) *progressLine {
	p := &progressLine{out: out, count: count, text: text, done: make(chan struct{})}
	p.write(text(0, time.Now()))
	p.printer.Go(p.print)
	return p
}

func (p *progressLine) print() {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for before := int64(0); ; {
		select {
		case now := <-tick.C:
			n := p.count.Load()
			p.write(fmt.Sprintf("%s, %d in the last second", p.text(n, now), n-before))
			before = n
		case <-p.done:
			return
		}
	}
}

// write replaces the line.
func (p *progressLine) write(text string) {
	p.writing.Lock()
	defer p.writing.Unlock()
	fmt.Fprint(p.out, "\r"+text+"\x1b[K")
}

// stop removes the line.
func (p *progressLine) stop() {
	close(p.done)
	p.printer.Wait()
	p.write("")
}
