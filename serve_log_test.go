package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestServeLines checks the log as text, with -v and as JSON.
func TestServeLines(t *testing.T) {
	t.Parallel()
	const esc = "\x1b[2J\u009b\r\nalice"
	author := func(args ...string) *authorRequest {
		return &authorRequest{commonFields: commonFields{privLvl: 15, user: "alice", port: "tty 1"}, args: args}
	}
	sessions := []struct {
		say             message
		text, verb, obj string
	}{
		{papStart("alice", testPassword),
			"alice authenticate pap PASS\n",
			"alice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 PASS\n",
			`{"session_id":"00000001","user":"alice","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","status":"PASS","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{papStart(esc, testPassword),
			`\x1b[2J\xc2\x9b\x0d\nalice authenticate pap FAIL: Login incorrect` + "\n",
			`\x1b[2J\xc2\x9b\x0d\nalice authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 FAIL: Login incorrect` + "\n",
			`{"session_id":"00000001","user":"\\x1b[2J\\xc2\\x9b\\x0d\\nalice","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","status":"FAIL","server_msg":"Login incorrect","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{papStart(`bob" authenticate pap PASS "`, ""),
			`"bob\x22 authenticate pap PASS \x22" authenticate pap FAIL: Login incorrect` + "\n",
			`"bob\x22 authenticate pap PASS \x22" authenticate pap priv_lvl=1 port=tty1 rem_addr=192.0.2.7 FAIL: Login incorrect` + "\n",
			`{"session_id":"00000001","user":"bob\" authenticate pap PASS \"","request":"authenticate","authen_type":"pap","priv_lvl":1,"port":"tty1","rem_addr":"192.0.2.7","status":"FAIL","server_msg":"Login incorrect","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{author("service=shell", "cmd=show", "cmd-arg=<tags> & \x1b", "cmd-arg=<cr>"),
			`alice authorize "show <tags> & \x1b" PASS_ADD` + "\n",
			`alice authorize service=shell cmd=show "cmd-arg=<tags> & \x1b" cmd-arg=<cr> priv_lvl=15 port="tty 1" rem_addr="" PASS_ADD` + "\n",
			`{"session_id":"00000001","user":"alice","request":"authorize","authen_type":"not_set","priv_lvl":15,"port":"tty 1","cmd":"show <tags> & \\x1b","arguments":["service=shell","cmd=show","cmd-arg=<tags> & \\x1b","cmd-arg=<cr>"],"status":"PASS_ADD","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{author("service=shell", "cmd=reload"),
			`alice authorize reload FAIL: command not permitted` + "\n",
			`alice authorize service=shell cmd=reload priv_lvl=15 port="tty 1" rem_addr="" FAIL: command not permitted` + "\n",
			`{"session_id":"00000001","user":"alice","request":"authorize","authen_type":"not_set","priv_lvl":15,"port":"tty 1","cmd":"reload","arguments":["service=shell","cmd=reload"],"status":"FAIL","server_msg":"command not permitted","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
		{&acctRequest{flags: acctStop, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "elapsed_time=3", "service=shell", "cmd=show", "cmd-arg=\x1b[H a"}},
			`alice account stop task_id=7 elapsed_time=3 service=shell cmd=show "cmd-arg=\x1b[H a" SUCCESS` + "\n",
			`alice account stop task_id=7 elapsed_time=3 service=shell cmd=show "cmd-arg=\x1b[H a" priv_lvl=0 port="" rem_addr="" SUCCESS` + "\n",
			`{"session_id":"00000001","user":"alice","request":"account","authen_type":"not_set","flag":"stop","priv_lvl":0,"cmd":"show \\x1b[H a","arguments":["task_id=7","elapsed_time=3","service=shell","cmd=show","cmd-arg=\\x1b[H a"],"status":"SUCCESS","packets":2,"key":"TACACS_PLUS_KEY"}` + "\n"},
	}
	var text, verb, obj string
	for _, s := range sessions {
		text, verb, obj = text+s.text, verb+s.verb, obj+s.obj
	}
	const garbage = "not TACACS+: the first byte is 0x00"
	for options, want := range map[string]string{
		"":          text + garbage + "\n",
		"--verbose": verb + garbage + "\n",
		"--json":    obj + `{"error":"` + garbage + `"}` + "\n",
	} {
		s := serveWith(t, append(split(options), "--deny", "^reload", "--permit", ".")...)
		for _, session := range sessions {
			c := dialFakeClient(t, s.addr)
			fakeExchange{session: 1, send: session.say}.run(t, c, make(map[uint32]uint8), 0)
			if _, err := io.ReadAll(c); err != nil {
				t.Fatal(err)
			}
		}
		c := dialFakeClient(t, s.addr)
		c.Write(make([]byte, headerLen))
		c.checkEnd(t)
		if got := s.lines(t); got != want {
			t.Errorf("%s: got the log\n%swant\n%s", options, got, want)
		}
	}
}

// TestServeRecordIsWrittenFirst: SUCCESS is sent only after the record was written to stdout.
func TestServeRecordIsWrittenFirst(t *testing.T) {
	t.Parallel()
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	fakeExchange{session: 1, send: record, want: &acctReply{status: acctSuccess}}.run(t, c, make(map[uint32]uint8), 0)
	if got := s.log.String(); !strings.HasSuffix(got, " alice account start task_id=7 service=shell SUCCESS\n") {
		t.Errorf("stdout is %q", got)
	}
	srv := newLab()
	srv.listener.log.out = newQueuedWriter(context.Background(), fullDisk{})
	conn := &stream{Reader: bytes.NewReader(packed(header{version: minorDefault, typ: typeAcct, seqNo: 1}, testKey, record))}
	srv.serve(t.Context(), conn)
	var reply acctReply
	if h, err := (&fakeClient{in: bufio.NewReader(&conn.out), key: testKey}).receive(&reply); err == nil && reply.status != acctError {
		t.Errorf("got the reply %+v %+v, but nothing can be written", h, reply)
	}
}

// TestServeRecordError: a record that cannot be written is answered with ERROR.
func TestServeRecordError(t *testing.T) {
	t.Parallel()
	srv := newLab()
	srv.listener.log.out = newQueuedWriter(context.Background(), fullDisk{})
	conn := &stream{Reader: bytes.NewReader(packed(header{version: minorDefault, typ: typeAcct, seqNo: 1}, testKey, &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}}))}
	srv.serve(t.Context(), conn)
	var reply acctReply
	if _, err := (&fakeClient{in: bufio.NewReader(&conn.out), key: testKey}).receive(&reply); err != nil || reply.status != acctError {
		t.Errorf("got the reply %+v, %v", reply, err)
	}
	if err := startLab(t, srv).stop(); err == nil {
		t.Error("run returns no error although a line was lost")
	}
}

// TestServeQuiet: -q prints neither sessions nor notes on connections, and records are accepted.
func TestServeQuiet(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "-q")
	if err := dialFakeClient(t, s.addr).login(1, 0); err != nil {
		t.Error(err)
	}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	fakeExchange{session: 1, send: record, want: &acctReply{status: acctSuccess}}.run(t, dialFakeClient(t, s.addr), make(map[uint32]uint8), 0)
	c := dialFakeClient(t, s.addr)
	c.Write(make([]byte, headerLen))
	c.checkEnd(t)
	if got := s.lines(t); got != "" {
		t.Errorf("the log is\n%s", got)
	}
}

// TestServeOnFullDisk: while stdout is full, logins succeed and records are answered with ERROR, on one connection.
// Once there is room, the lines of the logins appear.
func TestServeOnFullDisk(t *testing.T) {
	t.Parallel()
	srv, disk := newLab(), new(smallDisk)
	srv.listener.log.out = newQueuedWriter(context.Background(), disk)
	c := dialFakeClient(t, startLab(t, srv).addr)
	numbers := make(map[uint32]uint8)
	take := func(say, want message) {
		t.Helper()
		fakeExchange{session: 1, send: say, want: want}.run(t, c, numbers, flagSingleConnect)
		delete(numbers, 1)
	}
	login, pass := papStart("alice", testPassword), &authenReply{status: authenPass}
	record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=7", "service=shell"}}
	unwritten := &acctReply{status: acctError, serverMsg: "the record could not be written"}
	take(login, pass)
	take(record, unwritten)
	take(record, unwritten)
	take(login, pass)
	disk.give(1 << 20)
	take(record, &acctReply{status: acctSuccess})
	const pap, start = "alice authenticate pap PASS\n", "alice account start task_id=7 service=shell SUCCESS\n"
	if got := stamps.ReplaceAllString(disk.String(), ""); got != pap+pap+start {
		t.Errorf("the log is\n%s", got)
	}
}

// TestServeEndsWithoutReader: a server with blocked output ends within five seconds of a signal, even if stderr is
// the same pipe, and every acknowledged record is written.
func TestServeEndsWithoutReader(t *testing.T) {
	t.Parallel()
	var all sync.WaitGroup // subtests run at the same time, since most of them wait
	defer all.Wait()
	for _, name := range []string{"standard output", "both"} {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				out, stderr := &blockedWriter{deaf: make(chan struct{}), stuck: make(chan struct{}, 1), end: make(chan struct{})}, new(lockedBuffer)
				t.Cleanup(func() { close(out.end) })
				std := stdio{in: strings.NewReader(""), out: out, err: stderr, env: func(string) string { return testKey }}
				messages := stderr
				if name == "both" {
					std.err, messages = out, &out.lockedBuffer
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				done := make(chan exitCode, 1)
				go func() { done <- run(ctx, split("serve --listen 127.0.0.1:0 --user alice:x"), std) }()
				addr := (&labRun{stderr: messages}).waitFor(t, listening)[1]
				record := &acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell"}}
				for range 3 {
					fakeExchange{session: 1, send: record, want: &acctReply{status: acctSuccess}}.run(t, dialFakeClient(t, addr), make(map[uint32]uint8), 0)
				}
				close(out.deaf)
				var waiting []*fakeClient
				for range 3 {
					c := dialFakeClient(t, addr)
					fakeExchange{session: 1, send: record}.run(t, c, make(map[uint32]uint8), 0)
					waiting = append(waiting, c)
				}
				<-out.stuck
				cancel()
				select {
				case code := <-done:
					if code != classGranted.exit() {
						t.Errorf("exit code %d", code)
					}
				case <-time.After(30 * time.Second):
					t.Error("it does not return")
				}
				if got := strings.Count(out.String(), " alice account start task_id=1 service=shell SUCCESS\n"); got != 3 {
					t.Errorf("%d records are written, 3 were acknowledged", got)
				}
				for _, c := range waiting {
					c.SetDeadline(time.Now().Add(10 * time.Millisecond))
					if _, err := c.receive(new(acctReply)); err == nil {
						t.Error("a record was acknowledged but not written")
					}
				}
				const why = "tacacs_plus: lines of sessions were not written: the output is blocked\n"
				if name != "both" && !strings.HasSuffix(stderr.String(), why) {
					t.Errorf("stderr is %s", stderr)
				}
			})
		})
	}
}

// TestServeLastLines: connections that do not end in time do not delay the queued lines.
func TestServeLastLines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv, log, all, stuck := newLab(), new(lockedBuffer), new(sync.WaitGroup), make(chan struct{})
		srv.listener.log.out = newQueuedWriter(context.Background(), log)
		srv.listener.log.write(&sessionRecord{commonFields: commonFields{user: "alice"}, status: "PASS"})
		all.Go(func() { <-stuck })
		began := time.Now()
		err := drain(all, func() error { return srv.listener.log.close(t.Context()) })
		if elapsed := time.Since(began); err != nil || elapsed != shutdownTimeout || !strings.HasSuffix(log.String(), "alice PASS\n") {
			t.Errorf("the end takes %v, %v, and the log is\n%s", elapsed, err, log)
		}
		close(stuck)
		all.Wait()
	})
}

// TestServeDebug: --debug prints packets of both directions, with the password only if --show-secrets is given.
func TestServeDebug(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options         string
		packets, secret bool
	}{{"", false, false}, {"--debug", true, false}, {"--debug --show-secrets", true, true}} {
		r := serveVerbose(t, map[string]string{"TACACS_PLUS_KEY": testKey}, append(split(tt.options), "--user", "alice:"+testPassword)...)
		if err := dialFakeClient(t, r.addr).login(7, 0); err != nil {
			t.Fatal(err)
		}
		if err := r.stop(); err != nil {
			t.Error(err)
		}
		stderr := r.stderr.String()
		for _, what := range []string{"received from", "sent to"} {
			packet := regexp.MustCompile(what + ` 127\.0\.0\.1:\d+: version 0xc\.1 type authentication .* session_id 00000007 `)
			if got := packet.MatchString(stderr); got != tt.packets {
				t.Errorf("%s: packets %s the server are shown: %t", tt.options, what, got)
			}
		}
		if got := strings.Contains(stderr, testPassword); got != tt.secret {
			t.Errorf("%s: the password is shown: %t", tt.options, got)
		}
	}
}
