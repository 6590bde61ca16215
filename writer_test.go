package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestQueuedWriterWaits: a write waits for the output, after the end of the context for blockedLimit, and then never
// again.
func TestQueuedWriterWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		reads := make(chan struct{})
		w := newQueuedWriter(ctx, writerFunc(func([]byte) { reads <- struct{}{} }))
		write := func(read, takes time.Duration, want error) {
			t.Helper()
			if read > 0 {
				go func() { time.Sleep(read); <-reads }()
			}
			began := time.Now()
			if n, err := w.Write([]byte("text")); (n == 4) != (want == nil) || err != want || time.Since(began) != takes {
				t.Errorf("a write returns %d, %v after %v", n, err, time.Since(began))
			}
		}
		write(time.Hour, time.Hour, nil)
		cancel()
		write(blockedLimit/2, blockedLimit/2, nil)
		write(0, blockedLimit, errBlocked)
		write(0, 0, errBlocked)
		if len(w.queue) > 0 {
			t.Errorf("%d bytes are queued for a blocked output", len(w.queue))
		}
		<-reads
	})
}

// TestQueuedWriterInBackground: a write in the background does not wait. What a failed write leaves is written later,
// in order, and what exceeds maxBackground is lost.
func TestQueuedWriterInBackground(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		results, out := make(chan error, 1), new(strings.Builder)
		var reports []string
		w := new(relayOptions).background(writeTo(func(p []byte) (int, error) {
			if err := <-results; err != nil {
				n, _ := out.Write(p[:1])
				return n, err
			}
			return out.Write(p)
		}), "lines", func(format string, args ...any) {
			reports = append(reports, fmt.Sprintf(format, args...))
		})
		write := func(text string, want error) {
			t.Helper()
			began := time.Now()
			if _, err := io.WriteString(w, text); err != want || time.Since(began) > 0 {
				t.Fatalf("%.10s: %v after %v, want %v", text, err, time.Since(began), want)
			}
		}
		proceed := func(result error) {
			t.Helper()
			results <- result
			time.Sleep(2 * gatherTime)
		}
		write("one ", nil)
		write("two ", nil)
		time.Sleep(2 * gatherTime) // both are being written
		write("three ", nil)
		proceed(io.ErrShortWrite)
		if out.String() != "o" {
			t.Fatalf("%q is written", out)
		}
		write("four ", nil) // has the rest tried again
		proceed(nil)
		const before = "one two three four "
		if out.String() != before {
			t.Fatalf("%q is written, want %q", out, before)
		}
		write("x", nil)
		time.Sleep(2 * gatherTime)
		y := strings.Repeat("y", maxBackground)
		write(y, nil)
		write("z", errBlocked)
		write("z", errBlocked)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.close(ctx); !errors.Is(err, errBlocked) || err.Error() != "write the lines: the output is blocked" {
			t.Errorf("closed with %v", err)
		}
		proceed(nil)
		proceed(nil)
		if out.String() != before+"x"+y {
			t.Errorf("%d bytes are written, want %d", out.Len(), len(before+"x"+y))
		}
		want := []string{"lines cannot be written: short write", "lines can be written again; 0 were lost",
			"lines cannot be written: the output is blocked", "lines can be written again; 2 were lost"}
		if !slices.Equal(reports, want) {
			t.Errorf("reported %q, want %q", reports, want)
		}
	})
}

// TestQueuedWriterReportsError: a write returns how much of it was written, and the rest is not tried again.
func TestQueuedWriterReportsError(t *testing.T) {
	t.Parallel()
	disk := &smallDisk{room: 6}
	w := newQueuedWriter(t.Context(), disk)
	for _, want := range []int{4, 2, 0} {
		if n, err := w.Write([]byte("text")); n != want || (err == nil) != (n == 4) {
			t.Errorf("a write returns %d, %v, want %d", n, err, want)
		}
	}
	disk.give(10)
	if n, err := w.Write([]byte("more")); n != 4 || err != nil || disk.String() != "textte"+"more" {
		t.Errorf("a write returns %d, %v, and the disk has %q", n, err, disk.String())
	}
}

// TestQueuedWriterUnread: if stdout, stderr or both are blocked, devices still get replies, and the program ends.
func TestQueuedWriterUnread(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // subtests run at the same time, since most of them wait
	defer all.Wait()
	s := serveWith(t)
	for _, line := range []string{"relay AT --listen 127.0.0.1:0", "relay AT --listen 127.0.0.1:0 -d", "relay AT --listen 127.0.0.1:0 -d --single-connect",
		"serve --listen 127.0.0.1:0 -d --user alice:x", "decode", "decode -d"} {
		for _, unread := range []string{"out", "err", "both"} {
			all.Go(func() {
				t.Run(line+unread, func(t *testing.T) {
					pipe, messages := &blockedWriter{deaf: make(chan struct{}), stuck: make(chan struct{}, 1), end: make(chan struct{})}, new(lockedBuffer)
					t.Cleanup(func() { close(pipe.end) })
					in, feed := io.Pipe()
					defer feed.Close()
					std := stdio{in: in, out: pipe, err: messages, env: func(string) string { return testKey }}
					switch unread {
					case "err":
						std.out, std.err, messages = new(lockedBuffer), pipe, &pipe.lockedBuffer
					case "both":
						std.err, messages = pipe, &pipe.lockedBuffer
					}
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					done := make(chan exitCode, 1)
					go func() { done <- run(ctx, split(line, "AT", s.addr), std) }()
					if strings.HasPrefix(line, "decode") {
						close(pipe.deaf)
						feed.Write(manySessions(5, testKey))
					} else {
						addr := (&labRun{said: messages}).waitFor(t, listening)[1]
						close(pipe.deaf)
						for i := range uint32(3) {
							c := dialFakeClient(t, addr)
							if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: i}, papStart("alice", testPassword)); err != nil {
								t.Fatal(err)
							}
							if strings.HasPrefix(line, "relay") {
								if _, err := c.receive(new(authenReply)); err != nil {
									t.Errorf("a device is not answered: %v", err)
								}
							}
						}
					}
					cancel()
					select {
					case <-done:
					case <-time.After(patience):
						t.Error("it does not end")
					}
				})
			})
		}
	}
}
