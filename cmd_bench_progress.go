package main

import (
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"
)

// progress prints a line on the terminal at once and every second, until stop is called. Warnings replace it.
func (b *bench) progress(out io.Writer) (stop func()) {
	var writing sync.Mutex
	write := func(format string, args ...any) {
		writing.Lock()
		defer writing.Unlock()
		fmt.Fprintf(out, "\r"+format+"\x1b[K", args...)
	}
	warnf := b.warnf
	b.warnf = func(w warning, format string, args ...any) {
		write("")
		warnf(w, format, args...)
	}
	write("%s", b.progressText(0, time.Now()))
	done := make(chan struct{})
	var printer sync.WaitGroup
	printer.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for before := int64(0); ; {
			select {
			case now := <-tick.C:
				n := b.tally.count.Load()
				write("%s, %d in the last second", b.progressText(n, now), n-before)
				before = n
			case <-done:
				write("")
				return
			}
		}
	})
	return func() { close(done); printer.Wait(); b.warnf = warnf }
}

// progressText returns how far the run is when n requests are done.
func (b *bench) progressText(n int64, now time.Time) string {
	elapsed := now.Sub(b.tally.began).Truncate(time.Second)
	if elapsed < 0 {
		return fmt.Sprintf("warm-up, %v left", -elapsed)
	}
	text := strconv.FormatInt(n, 10)
	if b.n > 0 {
		text += fmt.Sprintf(" of %d", b.n)
	}
	text += " requests"
	if failed := b.tally.notGranted.Load(); failed > 0 {
		text += fmt.Sprintf(", %d not granted", failed)
	}
	if b.duration > 0 {
		text += fmt.Sprintf(", %v of %v", min(elapsed, b.duration), b.duration)
	}
	return text
}
