package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestDistance: one typing error is a distance of one.
func TestDistance(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0}, {"", "tls", 3}, {"tls", "tls", 0}, {"tks", "tls", 1}, {"tl", "tls", 1}, {"tlls", "tls", 1}, {"kitten", "sitting", 3},
		{"tsl", "tls", 1}, {"pord", "prod", 1}, {"pxrd", "prod", 2}, {"pdro", "prod", 2}, {"badc", "abcd", 2}, {"prodst", "prodost", 1},
	} {
		if got, back := distance(tt.a, tt.b), distance(tt.b, tt.a); got != tt.want || back != tt.want {
			t.Errorf("%q and %q: got %d and %d, want %d", tt.a, tt.b, got, back, tt.want)
		}
	}
}

// TestCutPrefix covers the value [PREFIX=]FILE. An empty prefix means that the value is only a file.
func TestCutPrefix(t *testing.T) {
	t.Parallel()
	const wrong = "error"
	for _, tt := range []struct{ value, prefix, file string }{
		{"key", "", "key"},
		{"-", "", "-"},
		{"", "", ""},
		{"192.0.2.7=key", "192.0.2.7/32", "key"},
		{"192.0.2.7/24=key", "192.0.2.0/24", "key"},
		{"0.0.0.0/0=-", "0.0.0.0/0", "-"},
		{"255.255.255.255/32=/etc/ke", "255.255.255.255/32", "/etc/ke"},
		{"2001:db8::1=key", "2001:db8::1/128", "key"},
		{"2001:DB8:0::/32=a=b", "2001:db8::/32", "a=b"},
		{"::ffff:192.0.2.7=key", "192.0.2.7/32", "key"},
		{"::/0=key", "::/0", "key"},
		{"::ffff:127.0.0.0/104=key", "127.0.0.0/8", "key"},
		{"::ffff:192.0.2.7/96=key", "0.0.0.0/0", "key"},
		{"::ffff:192.0.2.0/95=key", wrong, "key"},
		{"::1=", "::1/128", ""},
		{"dead=beef", "", "dead=beef"},
		{"10=key", "", "10=key"},
		{"=key", "", "=key"},
		{"fed/ab=key", "", "fed/ab=key"},
		{"/192.0.2.7=key", "", "/192.0.2.7=key"},
		{"./192.0.2.7=key", "", "./192.0.2.7=key"},
		{"/srv/env=prod/key", "", "/srv/env=prod/key"},
		{"env=prod", "", "env=prod"},
		{"localhost=key", "", "localhost=key"},
		{"192.0.2.0/24,10.0.0.1=key", "", "192.0.2.0/24,10.0.0.1=key"},
		{"fe80::1%eth0=key", "", "fe80::1%eth0=key"},
		{"2001:db8::/32 =key", "", "2001:db8::/32 =key"},
		{"192.0.2.256=key", wrong, "key"},
		{"192.0.2.0/33=key", wrong, "key"},
		{"192.0.2/24=key", wrong, "key"},
		{"2001:db8::/129=key", wrong, "key"},
		{"10/8=key", wrong, "key"},
		{"de.ad=beef", wrong, "beef"},
	} {
		before, file, found := cutPrefix(tt.value)
		if found != (tt.prefix != "") || file != tt.file {
			t.Errorf("%q: got %q and %q, %t", tt.value, before, file, found)
		}
		if !found {
			continue
		}
		if prefix, err := parsePrefix(before); (err != nil) != (tt.prefix == wrong) || err == nil && prefix.String() != tt.prefix {
			t.Errorf("%q: got the prefix %s, %v, want %s", tt.value, prefix, err, tt.prefix)
		}
	}
}

// TestRedact checks which text is replaced as a secret.
func TestRedact(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, secrets, want string }{
		{"wrong: hunter2", "hunter2", "wrong: [redacted]"},
		{"xhunter2x, HUNTER2", "hunter2", "x[redacted]x, HUNTER2"},
		{"hunter2hunter2 hunter2", "hunter2", "[redacted] [redacted]"},
		{"hunter2new", "hunter2 hunter2new", "[redacted]"},
		{"ababababab.", "abababab", "[redacted]."},
		{"\x00\xffsecret\x1b", "\xffsecret", "\x00[redacted]\x1b"},
		{"a man, a plan", "a", "a man, a plan"},
		{"abc", "abc", "abc"},
		{"the latest test, test1, 1test, étest, testé, test", "test", "the latest [redacted], test1, 1test, étest, testé, [redacted]"},
		{"5678 in 56780, \"5678\"", "5678", "[redacted] in 56780, \"[redacted]\""},
		{"abcdef-abcde-abcdex-abcde", "abcde", "abcdef-[redacted]-abcdex-[redacted]"},
		{"abcdefg", "abcdef", "[redacted]g"},
		{"", "hunter2", ""},
		{"nothing", "", "nothing"},
	} {
		equal(t, redact(tt.text, strings.Split(tt.secrets, " ")), tt.want, tt.text, "without", tt.secrets)
	}
}

// TestRedactServerText: no output shows a secret that a server repeats. Q occurs nowhere else.
func TestRedactServerText(t *testing.T) {
	t.Parallel()
	const password, fresh, other = "QaQbQc", "QdQeQf", "QgQhQi"
	texts := strings.Join([]string{"you said", password, fresh, other, testKey}, " ")
	reply := func(s authenStatus) *authenReply {
		return &authenReply{status: s, serverMsg: texts, data: "see " + texts}
	}
	all := []message{reply(authenGetPass), reply(authenGetData), reply(authenGetData), reply(authenFail)}
	dir := writeFiles(t, map[string]string{"new": fresh + "\n", "key": testKey + "\n"})
	for _, tt := range []struct {
		line    string
		replies []message
	}{
		{"authenticate alice AT -t pap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenPass)}},
		{"authenticate alice AT -t pap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenFollow)}},
		{"authenticate alice AT -t chap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenError)}},
		{"authenticate alice AT --password QgQhQi --answer QaQbQc --answer QdQeQf", all},
		{"authenticate alice AT --password QgQhQi --answer QaQbQc --answer QdQeQf", append(all[:3:3], reply(authenGetData))},
		{"authenticate alice AT --password QgQhQi --answer QaQbQc --answer QdQeQf", append(all[:3:3], reply(authenGetPass))},
		{"enable alice AT -t pap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenRestart)}},
		{"chpass alice AT --password QgQhQi --new-password-file DIR/new --answer QaQbQc", []message{all[0], all[1], all[2], all[3]}},
		{"bench alice AT -n 1 -t pap --password QgQhQi", []message{&authenReply{status: authenFail, serverMsg: "QgQhQi"}}},
		{"authorize alice AT", []message{&authorResponse{status: authorPassRepl, args: []string{"service=shell", "secret=" + testKey}, serverMsg: testKey, data: testKey}}},
		{"account alice AT", []message{&acctReply{status: acctSuccess, serverMsg: testKey, data: testKey}}},
	} {
		for _, form := range []string{"", " -v", " --json", " -d", " -d -v"} {
			server := newScriptServer(t, testKey, tt.replies...)
			got := runWith(t, nil, "", split(tt.line+form+" --key-file DIR/key", "AT", server.addr, "DIR", dir)...)
			shown := got.out + got.err
			if strings.Contains(shown, "Q") || strings.Contains(shown, " 51 ") || strings.Contains(shown, testKey) {
				t.Errorf("%s%s shows\n%s", tt.line, form, shown)
			}
			if command, _, _ := strings.Cut(tt.line, " "); command != "bench" && !strings.Contains(shown, "[redacted]") {
				t.Errorf("%s%s does not show the rest of the text:\n%s", tt.line, form, shown)
			}
		}
	}
	many := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			c.Write(c.reply(q, reply(authenError)))
		}
	})
	got := runWith(t, nil, "", split("check alice AT --types --password QaQbQc --key-file DIR/key --json", "AT", many.addr, "DIR", dir)...)
	if strings.Contains(got.out, password) || strings.Contains(got.out, testKey) || !strings.Contains(got.out, "[redacted]") {
		t.Errorf("check shows %+v", got)
	}
	// The requests of a batch have secrets of their own.
	server := newScriptServer(t, testKey, reply(authenPass))
	request, _ := json.Marshal(map[string]any{"command": "authenticate", "user": "alice", "authen_type": "pap", "password": password, "answers": []string{fresh, other}})
	if got := runWith(t, nil, string(request)+"\n", "batch", server.addr, "--key-file", dir+"/key"); strings.Contains(got.out, "Q") ||
		!strings.Contains(got.out, `"server_msg":"you said [redacted] [redacted] [redacted] [redacted]"`) {
		t.Errorf("batch shows %+v", got)
	}
	// A password that is part of the user name is not redacted in the name.
	server = newScriptServer(t, testKey, &authenReply{status: authenFail, serverMsg: "no user alice-1"})
	got = runWith(t, nil, "", split("authenticate alice-1 AT -t pap --password alice --key-file DIR/key", "AT", server.addr, "DIR", dir)...)
	if got.out != "FAIL: no user alice-1\n" {
		t.Errorf("got %+v", got)
	}
}

// TestQueue removes values at the beginning, in the middle and at the end, and moves them to the end.
func TestQueue(t *testing.T) {
	t.Parallel()
	type item struct {
		number int
		place  node[item]
	}
	for _, order := range [][]int{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 2, 0, 3}, {2, 0, 3, 1}} {
		var q queue[item]
		items := make([]item, 4)
		for i := range items {
			items[i].number = i
			q.push(&items[i].place, &items[i])
		}
		want := []int{0, 1, 2, 3}
		check := func(what string, number int) {
			t.Helper()
			var forward, back []int
			for n := q.oldest; n != nil && len(forward) <= len(want); n = n.newer {
				forward = append(forward, n.value.number)
			}
			for n := q.newest; n != nil && len(back) <= len(want); n = n.older {
				back = append(back, n.value.number)
			}
			slices.Reverse(back)
			if !slices.Equal(forward, want) || !slices.Equal(back, want) || q.len != len(want) {
				t.Errorf("%s %d: %v forward, %v backward, want %v", what, number, forward, back, want)
			}
		}
		without := func(number int) []int {
			return slices.DeleteFunc(want, func(n int) bool { return n == number })
		}
		check("pushed", 3)
		for _, i := range order {
			q.moveToEnd(&items[i].place)
			want = append(without(i), i)
			check("moved", i)
		}
		for _, i := range order {
			q.remove(&items[i].place)
			want = without(i)
			check("removed", i)
		}
	}
}

// TestQueuedWriterWaits: a write waits for the output, after the end of the context for blockedLimit, and later writes
// do not wait.
func TestQueuedWriterWaits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		reads := make(chan struct{})
		w := newQueuedWriter(ctx, writerFunc(func([]byte) { reads <- struct{}{} }))
		write := func(read, duration time.Duration, want error) {
			t.Helper()
			if read > 0 {
				go func() { time.Sleep(read); <-reads }()
			}
			began := time.Now()
			if n, err := w.Write([]byte("text")); (n == 4) != (want == nil) || err != want || time.Since(began) != duration {
				t.Errorf("a write returns %d, %v after %v", n, err, time.Since(began))
			}
		}
		write(time.Hour, time.Hour, nil)
		cancel()
		write(blockedLimit/2, blockedLimit/2, nil)
		write(0, blockedLimit, errBlocked)
		write(0, 0, errBlocked)
		w.mu.Lock()
		if len(w.queue) > 0 {
			t.Errorf("%d bytes are queued for a blocked output", len(w.queue))
		}
		w.mu.Unlock()
		<-reads
	})
}

// TestQueuedWriterInBackground: a write in the background does not wait. The rest of a failed write is written later,
// in order, and data beyond maxBackground is lost.
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
			synctest.Wait()
		}
		write("one ", nil)
		write("two ", nil)
		time.Sleep(2 * gatherTime) // both are being written
		write("three ", nil)
		proceed(io.ErrShortWrite)
		if out.String() != "o" {
			t.Fatalf("%q is written", out)
		}
		write("four ", nil) // makes the writer retry the rest
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
		if err := w.close(ctx); !errors.Is(err, errBlocked) || err.Error() != "write lines: the output is blocked" {
			t.Errorf("closed with %v", err)
		}
		proceed(nil)
		proceed(nil)
		if out.String() != before+"x"+y {
			t.Errorf("%d bytes are written, want %d", out.Len(), len(before+"x"+y))
		}
		want := []string{"cannot write lines: short write", "lines are written again (0 lost)",
			"cannot write lines: the output is blocked", "lines are written again (2 lost)"}
		if !slices.Equal(reports, want) {
			t.Errorf("reported %q, want %q", reports, want)
		}
	})
}

// TestQueuedWriterShares: after a failed write too, a client has a share of the queue only.
func TestQueuedWriterShares(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := new(relayOptions).background(fullDisk{}, "lines", nil)
		one, other := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
		text := make([]byte, 100<<10)
		for range 3 {
			for range 20 {
				_ = w.addOf(one, text)
				w.start()
				time.Sleep(2 * gatherTime) // for the write
			}
			w.mu.Lock()
			if n := len(w.queue); n < maxBackground/2 || n > maxUnshared+(maxBackground-maxUnshared)*sharePart/(sharePart+1) {
				t.Errorf("%d bytes of one client are queued", n)
			}
			w.mu.Unlock()
		}
		if err := w.addOf(other, text); err != nil {
			t.Errorf("another client: %v", err)
		}
		time.Sleep(2 * gatherTime)
		written := new(relayOptions).background(io.Discard, "lines", nil)
		for range 30 {
			if err := written.addOf(one, text); err != nil {
				t.Fatalf("after a write: %v", err)
			}
			written.start()
			time.Sleep(2 * gatherTime)
		}
	})
}

// TestQueuedWriterWarningBlocked: a warning that blocks, as with a stopped stderr, does not stop the writer. Failures
// that begin and end meanwhile make one warning.
func TestQueuedWriterWarningBlocked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk, printed := new(smallDisk), make(chan string)
		w := newQueuedWriter(t.Context(), disk)
		w.what, w.warnf = "lines", func(format string, args ...any) { printed <- fmt.Sprintf(format, args...) }
		write := func(room int, ok bool) {
			t.Helper()
			disk.give(room)
			if _, err := w.Write([]byte("text\n")); (err == nil) != ok {
				t.Errorf("a write returns %v", err)
			}
			synctest.Wait()
		}
		loseOne := func() {
			t.Helper()
			write(0, false)
			for len(w.queue) < maxQueued {
				w.add([]byte("more\n"))
			}
			if err := w.add([]byte("more\n")); err == nil {
				t.Error("a full queue accepts a line")
			}
			write(1<<20, true)
		}
		check := func(want string) {
			t.Helper()
			equal(t, <-printed, want, "printed")
			synctest.Wait()
		}
		write(0, false)
		write(100, true)
		loseOne()
		check("cannot write lines: no space left on device")
		loseOne() // while the next warning is blocked
		check("lines are written again (1 lost)")
		check("lines are written again (1 lost)")
		select {
		case text := <-printed:
			t.Errorf("printed %q too", text)
		default:
		}
	})
}

// TestQueuedWriterReportsError: a write returns the number of written bytes, and the rest is not retried.
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
						addr := (&labRun{stderr: messages}).waitFor(t, listening())[1]
						close(pipe.deaf)
						for i := range uint32(3) {
							c := dialFakeClient(t, addr)
							must(t, c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: i}, papStart("alice", testPassword)))
							if strings.HasPrefix(line, "relay") {
								if _, err := c.receive(new(authenReply)); err != nil {
									t.Errorf("a device gets no reply: %v", err)
								}
							}
						}
					}
					cancel()
					await(t, done, "the program ends")
				})
			})
		}
	}
}

// TestQueuedWriterUnreadAtEnd: an interruption ends a program whose only write, at its end, is blocked.
func TestQueuedWriterUnreadAtEnd(t *testing.T) {
	t.Parallel()
	file := filepath.Join(writeFiles(t, map[string]string{"capture": string(manySessions(5, testKey))}), "capture")
	pipe := &blockedWriter{deaf: make(chan struct{}), stuck: make(chan struct{}, 1), end: make(chan struct{})}
	defer close(pipe.end)
	close(pipe.deaf)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan exitCode, 1)
	go func() {
		done <- run(ctx, []string{"decode", file}, stdio{in: strings.NewReader(""), out: pipe, err: new(lockedBuffer), env: func(string) string { return testKey }})
	}()
	<-pipe.stuck
	cancel()
	code := await(t, done, "the program ends")
	if code != classInterrupted.exit() {
		t.Errorf("exit code %d", int(code))
	}
}

// TestTerminalMissing: an input that is no terminal gets no prompts.
func TestTerminalMissing(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "input"))
	must(t, err)
	defer file.Close()
	null, err := os.Open(os.DevNull)
	must(t, err)
	defer null.Close()
	r, w, err := os.Pipe()
	must(t, err)
	defer r.Close()
	defer w.Close()

	for name, std := range map[string]stdio{
		"file": {in: file}, os.DevNull: {in: null}, "pipe": {in: r}, "text": {in: strings.NewReader("x\n")}, "nothing": {},
	} {
		terminal := openTerminal(std.in, io.Discard)
		if terminal != nil {
			t.Errorf("%s counts as a terminal", name)
		}
		if answer, err := terminal.ask(context.Background(), "prompt", true); answer != "" || !errors.Is(err, errNoAnswer) {
			t.Errorf("%s: a prompt returns %q, %v", name, answer, err)
		}
	}
}
