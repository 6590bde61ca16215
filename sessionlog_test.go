package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// TestSessionLogFullDisk: lines that a full disk delays are complete once there is room, except records that were not
// confirmed: those that have begun are marked.
func TestSessionLogFullDisk(t *testing.T) {
	t.Parallel()
	line := func(user string) *sessionRecord {
		return &sessionRecord{at: time.UnixMilli(1000), peer: netip.MustParseAddrPort("192.0.2.9:1024"), known: true, commonFields: commonFields{user: user}, request: "account", status: "SUCCESS"}
	}
	const size = len("1970-01-01T00:00:01.000Z 192.0.2.9:1024 a account SUCCESS\n")
	for room := range 3*size + 1 {
		disk, told := &smallDisk{room: room}, new(bytes.Buffer)
		l := &sessionLog{out: newQueuedWriter(t.Context(), disk)}
		l.out.what, l.out.loss, l.out.warnf = sessionLines, "; so", func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
		l.write(line("a"))
		first := l.writeNow(line("b"))
		second := l.writeNow(line("c"))
		if done := room / size; (first == nil) != (done >= 2) || (second == nil) != (done >= 3) {
			t.Fatalf("room for %d bytes: %v, %v", room, first, second)
		}
		disk.give(1 << 20)
		if err := l.writeNow(line("d")); err != nil {
			t.Fatalf("room for %d bytes: %v, although there is room now", room, err)
		}
		// Which of a, b and c are there: whole, or begun and then not confirmed.
		var got, want string
		for i, user := range "abc" {
			switch left := room - i*size; {
			case left >= size || i == 0:
				want += string(user)
			case left > 0:
				want += "cut"
			}
		}
		for _, s := range strings.SplitAfter(disk.String(), "\n") {
			switch {
			case strings.HasSuffix(s, cutRecord):
				got += "cut"
			case len(s) == size:
				got += s[size-len("a account SUCCESS\n"):][:1]
			case s != "":
				t.Fatalf("room for %d bytes: half a line, %q", room, s)
			}
		}
		if got != want+"d" {
			t.Fatalf("room for %d bytes: the lines are of %s, not %s:\n%s", room, got, want+"d", disk)
		}
		const both = "lines of sessions cannot be written: no space left on device; so\n" +
			"lines of sessions can be written again; 0 were lost\n"
		if failed := room < 3*size; failed != (told.String() == both) || !failed && told.Len() > 0 {
			t.Fatalf("room for %d bytes: it tells %q", room, told)
		}
	}
}

// TestSessionLogLinesLost: while writes fail, the number of queued lines is limited, and the lost lines are counted.
func TestSessionLogLinesLost(t *testing.T) {
	t.Parallel()
	disk, told := new(smallDisk), new(bytes.Buffer)
	l := &sessionLog{out: newQueuedWriter(t.Context(), disk)}
	l.out.what, l.out.loss, l.out.warnf = sessionLines, "; so", func(format string, args ...any) { fmt.Fprintf(told, format+"\n", args...) }
	s := &sessionRecord{at: time.UnixMilli(1000), peer: netip.MustParseAddrPort("192.0.2.9:1024"), commonFields: commonFields{user: "alice"}, status: "PASS"}
	for round := range 2 {
		const lines = 10_000
		for range lines {
			l.write(s)
			if len(l.out.queue) > maxQueued+100 {
				t.Fatalf("%d bytes wait", len(l.out.queue))
			}
		}
		disk.give(1 << 20)
		if err := l.flush(); err != nil {
			t.Error(err)
		}
		kept := strings.Count(disk.String(), "\n")
		want := fmt.Sprintf("can be written again; %d were lost\n", lines-kept)
		if !strings.HasSuffix(told.String(), want) || kept < maxQueued/100 || strings.Count(told.String(), "\n") != 2*(round+1) {
			t.Errorf("%d lines are there, and it tells %s", kept, told)
		}
		disk.b.Reset()
		disk.give(0)
	}
}
