package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestRelayFailover: servers are tried in order, and a record that was sent is not sent again.
func TestRelayFailover(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		line  string
		mode  string
		dead  bool // the first server refuses connections; otherwise it closes them without a reply
		code  exitCode
		asked string
	}{
		{"authenticate alice AT -t pap", "", true, 0, ""},
		{"authenticate alice AT -t pap", "", false, 0, "A"},
		{"authenticate alice AT", "", false, 0, "A"},
		{"authorize alice AT", "", false, 0, "A"},
		{"account alice AT", "", true, 0, ""},
		{"account alice AT", "", false, 3, "A"},
		{"authenticate alice AT -t pap", "--single-connect", true, 0, ""},
		{"authenticate alice AT -t pap", "--single-connect", false, 0, "A"},
		{"authenticate alice AT", "--single-connect", false, 0, "A"},
		{"account alice AT", "--single-connect", true, 0, ""},
		{"account alice AT", "--single-connect", false, 3, "A"},
	} {
		t.Run(fmt.Sprint(tt.line, tt.mode, tt.dead), func(t *testing.T) {
			t.Parallel()
			var o order
			first := o.closing(t, "A")
			if tt.dead {
				first = refusedAddr(t)
			}
			s := serveWith(t)
			r := relayTo(t, first+","+s.addr, split(tt.mode)...)
			if got := r.asDevice(t, tt.line); got.code != tt.code {
				t.Errorf("got %+v", got)
			}
			lines := r.relayed(t)
			o.mu.Lock()
			defer o.mu.Unlock()
			if n := strings.Count(s.lines(t), "\n"); o.asked != tt.asked || (n == 1) != (tt.code == 0) || n > 1 {
				t.Errorf("prompted %q, %d sessions on the second server: %s", o.asked, n, lines)
			}
			if want := map[exitCode]string{0: "> alice ", 3: " NO_REPLY"}[tt.code]; !strings.Contains(lines, want) {
				t.Errorf("the log is\n%s", lines)
			}
		})
	}
}

// TestRelayLastLivingServer: a request that the only living server does not answer goes to one that was dead, which may
// live again. After an ERROR it does not, since the server lives.
func TestRelayLastLivingServer(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for _, mode := range relayModes {
		for _, tt := range []struct {
			user  string
			code  exitCode
			asked int // of the server that was dead
		}{{"error", 3, 0}, {"closed", 0, 1}, {"silence", 0, 1}} {
			all.run(t, true, tt.user+mode, func(t *testing.T) {
				var up atomic.Bool
				first := startFakeServer(t, func(c *fakeServerConn) {
					for q := c.readRequest(); q != nil && up.Load(); q = c.readRequest() {
						c.Write(c.grantReply(q))
					}
				})
				second := startFakeServer(t, func(c *fakeServerConn) {
					for q := c.readRequest(); q != nil && q.user != "closed"; q = c.readRequest() {
						switch q.user {
						case "silence":
						case "error":
							c.Write(c.reply(q, &authenReply{status: authenError}))
						default:
							c.Write(c.grantReply(q))
						}
					}
				})
				timeout := "1m"
				if tt.user == "silence" { // waits for both
					timeout = "2"
				}
				r := relayTo(t, first.addr+","+second.addr, append(split(mode), "--dead-time", "10m", "--timeout", timeout)...)
				waitUntil(t, "the first server is dead", func() bool {
					if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != 0 {
						t.Errorf("%+v", got)
					}
					return strings.Contains(r.stderr.String(), first.addr+" is dead")
				})
				up.Store(true)
				got := r.asDevice(t, "authenticate "+tt.user+" AT -t pap --timeout 1m")
				if n := first.asked(tt.user); got.code != tt.code || n != tt.asked || second.asked(tt.user) == 0 {
					t.Errorf("the first server is asked %d times: %+v", n, got)
				}
			})
		}
	}
}

// TestRelaySharesAfterSilence: a server that falls silent is not taken for one that loses sessions in single-connection mode,
// and the sessions at the next server share a connection. It may lose a record, which is not sent again.
func TestRelaySharesAfterSilence(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for _, line := range []string{"authenticate alice AT -t pap", "account alice AT"} {
		all.run(t, true, line, func(t *testing.T) {
			var silent atomic.Bool
			first := startFakeServer(t, func(c *fakeServerConn) {
				for q := c.readRequest(); q != nil; q = c.readRequest() {
					if !silent.Load() {
						c.Write(c.grantReply(q))
					}
				}
			})
			second := startFakeServer(t, (*fakeServerConn).grantAll)
			r := relayTo(t, first.addr+","+second.addr, "--single-connect", "--dead-time", "10m", "--timeout", "1500ms")
			r.asDevice(t, line+" --timeout 1m")
			silent.Store(true)
			waitUntil(t, "the first server is dead", func() bool {
				r.asDevice(t, line+" --timeout 1m")
				return strings.Contains(r.stderr.String(), first.addr+" is dead")
			})
			r.asDevice(t, line+" --timeout 1m")
			before := second.connections()
			for range 3 {
				if got := r.asDevice(t, line+" --timeout 1m"); got.code != 0 {
					t.Errorf("%+v", got)
				}
			}
			if n := second.connections() - before; n != 0 {
				t.Errorf("%s: %d more connections for 3 sessions", line, n)
			}
			if blamed := strings.Contains(r.stderr.String(), "does not answer some sessions"); blamed != (line[:3] == "acc") {
				t.Errorf("%s: %s", line, r.stderr)
			}
		})
	}
}

// TestRelayOnlyServer: a session without a verdict is logged with the last server that got it, and its reply, if the
// next server cannot be reached.
func TestRelayOnlyServer(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, line := range []string{"authenticate alice AT -t pap", "authorize alice AT", "account alice AT"} {
			for _, status := range []string{"ERROR", statusNoReply} {
				var o order
				first := o.closing(t, "A")
				if status == "ERROR" {
					first = serveWith(t, "--fault", "error").addr
				}
				record := filepath.Join(t.TempDir(), "record.pcap")
				r := relayTo(t, first+","+refusedAddr(t), append(split(mode), "--record", record)...)
				r.asDevice(t, line)
				r.stop()
				for what, text := range map[string]string{"lines": r.log.String(), "record": runWith(t, nil, "", "decode", record).out} {
					if !strings.Contains(text, " > "+first+" alice ") || !strings.Contains(text, " "+status) {
						t.Errorf("%s %s, %s: %s not from %s:\n%s", line, mode, status, what, first, text)
					}
				}
			}
		}
	}
}

// TestRelayRecordInDoubt: the line of a record that is not sent again names the server that may have written it.
func TestRelayRecordInDoubt(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		var o order
		first := o.closing(t, "A")
		r := relayTo(t, first+","+serveWith(t).addr, split(mode)...)
		r.asDevice(t, "account alice AT")
		r.stop()
		if lines := r.log.String(); !strings.Contains(lines, " > "+first+" alice account ") {
			t.Errorf("%s: %s is not in the line: %s", mode, first, lines)
		}
	}
}

// TestRelayOtherServerKey: a reply that does not fit the servers' key is NO_KEY, with a likely reason. The next server is
// asked, and the device gets an ERROR at the end.
func TestRelayOtherServerKey(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"wrong": "this is not the key of the server", "right": testKey})
	for _, tt := range []struct{ keys, hint string }{
		{"--key-file DIR/wrong", "the shared key differs from the server's, or the server has another key for the address 127.0.0.1"},
		{"--key-file DIR/wrong --key-file DIR/right", "the key of DIR/right fits this reply"},
	} {
		for _, mode := range relayModes {
			s := serveWith(t)
			r := relayTo(t, s.addr+","+s.addr, append(split(mode), split(tt.keys, "DIR", dir)...)...)
			got := r.asDevice(t, "authenticate alice AT -t pap")
			if got.code != classServer.exit() {
				t.Errorf("got %+v", got)
			}
			want := "the reply of AT cannot be read with this key (lengths do not add up); trying AT\n> alice authenticate pap NO_KEY: " + strings.ReplaceAll(tt.hint, "DIR", dir) + "\n"
			if got, want := r.relayed(t), strings.ReplaceAll(want, "AT", s.addr); got != want {
				t.Errorf("%s: got the log\n%swant\n%s", mode, got, want)
			}
		}
	}
}

// TestRelayTLSFaults: after a failed TLS handshake with the server, the device gets an ERROR.
func TestRelayTLSFaults(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		if f.tls == nil && f.certificate == nil {
			continue
		}
		for _, mode := range relayModes {
			t.Run(f.name+mode, func(t *testing.T) {
				t.Parallel()
				ca := filepath.Join(t.TempDir(), "ca.pem")
				s := serveWith(t, "--tls", "--write-cacert", ca, "--fault", f.name)
				r := relayTo(t, s.addr, append(split(mode), "--tls", "--cacert", ca)...)
				if got := r.asDevice(t, "authenticate alice AT -t pap"); got.code != classServer.exit() {
					t.Errorf("got %+v", got)
				}
				if got := r.relayed(t); !strings.Contains(got, "alice authenticate pap NO_REPLY\n") || strings.Count(got, "\n") != 2 {
					t.Errorf("the log is\n%s", got)
				}
			})
		}
	}
}

// TestRelayFaults: what a broken server sends and the device can judge has the same result through the relay as without it.
// The relay answers for what it detects itself: with ERROR, and with FAIL if the reply breaks the rule of the UNENCRYPTED
// flag (RFC 8907 section 10.5.2).
func TestRelayFaults(t *testing.T) {
	t.Parallel()
	lines := []string{"authenticate alice AT", "authenticate alice AT -t pap --single-connect", "authorize alice AT", "account alice AT --task-id 1"}
	forwarded := make(map[string]bool)
	for _, name := range strings.Fields("error fail follow restart getdata getpass-forever getuser minor-version unknown-status") {
		forwarded[name] = true
	}
	for _, f := range faults {
		if f.tls != nil || f.certificate != nil {
			continue // these have their own tests
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			var all sync.WaitGroup // at the same time, since some wait for a timeout
			relayTimeout, timeout := "20s", " --timeout 20s"
			if f.stays || f.name == "session" { // no reply
				relayTimeout, timeout = "500ms", " --timeout 10s"
			}
			s := serveWith(t, "--fault", f.name)
			for _, line := range lines {
				direct := sync.OnceValue(func() runResult { return s.ask(t, line+" --timeout "+relayTimeout) })
				for _, mode := range relayModes {
					if mode != "" && (strings.Contains(line, "pap") || strings.Contains(line, "authorize")) {
						continue // a dialogue and a record are enough for the shared connection
					}
					all.Go(func() {
						t.Run(mode+line, func(t *testing.T) {
							r := relayTo(t, s.addr, append(split(mode), "--timeout", relayTimeout)...)
							all.Go(func() { direct() })
							through, direct := r.asDevice(t, line+timeout), direct()
							want := direct.code
							switch {
							case forwarded[f.name], through.out == direct.out && direct.code < classNetwork.exit():
							case f.name == "unencrypted" && !strings.HasPrefix(line, "account"):
								want = classDenied.exit()
							default:
								want = classServer.exit()
							}
							if through.code != want || forwarded[f.name] && through.out != direct.out {
								t.Errorf("through the relay %d %q %s, without %d %q %s", int(through.code), through.out, through.err, int(direct.code), direct.out, direct.err)
							}
						})
					})
				}
			}
			all.Wait()
		})
	}
}

// TestRelayBrokenSingleConnect: a server that grants single-connection mode and breaks it. Each device still gets its reply.
func TestRelayBrokenSingleConnect(t *testing.T) {
	t.Parallel()
	for _, fault := range []string{"single-close", "single-swallow", "single-refused"} {
		s := serveWith(t, "--fault", fault)
		r := relayTo(t, s.addr, "--single-connect", "--timeout", "1s")
		for i := range 5 {
			if got := r.asDevice(t, "authorize alice AT --timeout 10s"); got.code != 0 {
				t.Errorf("%s: %d: %+v", fault, i, got)
			}
		}
		if got := r.relayed(t); got != strings.Repeat("> alice authorize service=shell cmd= PASS_ADD\n", 5) {
			t.Errorf("%s: the log is\n%s", fault, got)
		}
	}
}

// TestRelayLoneDialogue: a dialogue has its own connection, which does not offer single-connection mode and is closed with
// it. The device is granted that mode nevertheless.
func TestRelayLoneDialogue(t *testing.T) {
	t.Parallel()
	offered, left := make(chan headerFlags, 1), make(chan bool, 1)
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		offered <- q.flags
		c.Write(c.reply(q, askPass))
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
		left <- c.readRequest() == nil
	})
	r := relayTo(t, s.addr, "--single-connect")
	c, numbers := dialDevice(t, r), make(map[uint32]uint8)
	fakeExchange{1, asciiStart("alice"), askPass, 0}.run(t, c, numbers, flagSingleConnect)
	fakeExchange{1, answerWith(testPassword), &authenReply{status: authenPass}, 0}.run(t, c, numbers, flagSingleConnect)
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the connection is not closed")
	}
	if flags := <-offered; flags != 0 {
		t.Errorf("the flags of the START are %v", flags)
	}
}

// TestRelayPromptForPAP: a prompt in reply to PAP is forwarded unchanged, and the session has a status.
func TestRelayPromptForPAP(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t, "--fault", "getuser")
		r := relayTo(t, s.addr, split(mode)...)
		c := dialDevice(t, r)
		if err := c.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 1, flags: flagSingleConnect}, papStart("alice", testPassword)); err != nil {
			t.Fatal(err)
		}
		var reply authenReply
		if _, err := c.receive(&reply); err != nil || reply.status != authenGetUser {
			t.Errorf("%s: got the reply %+v, %v", mode, reply, err)
		}
		c.Close()
		waitUntil(t, "the session has ended", func() bool { return r.log.String() != "" })
		if got := r.relayed(t); got != "> alice authenticate pap ABANDONED\n" {
			t.Errorf("%s: the log is\n%s", mode, got)
		}
	}
}

// TestRelayUnanswered: if no server answers, the device gets an ERROR, and its connection goes on in single-connection mode.
func TestRelayUnanswered(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, start := range []message{papStart("alice", testPassword), asciiStart("alice")} {
			s := startFakeServer(t, func(c *fakeServerConn) {
				for q := c.readRequest(); q != nil && q.user != "eve"; q = c.readRequest() {
					c.Write(c.reply(q, &authenReply{status: authenPass}))
				}
			})
			c := dialDevice(t, relayTo(t, s.addr, split(mode)...))
			if err := c.login(1, flagSingleConnect); err != nil {
				t.Error(err)
			}
			switch m := start.(type) {
			case *authenStart:
				m.user = "eve"
			}
			fakeExchange{2, start, &authenReply{status: authenError, serverMsg: "no server answered"}, 0}.run(t, c, make(map[uint32]uint8), flagSingleConnect)
			if err := c.login(3, flagSingleConnect); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestRelayClosesServerConn: the connection to the server is closed with the device's connection, and without
// single-connection mode with the session.
func TestRelayClosesServerConn(t *testing.T) {
	t.Parallel()
	for _, flags := range []headerFlags{flagSingleConnect, 0} {
		left := make(chan struct{})
		s := startFakeServer(t, func(c *fakeServerConn) {
			c.refuse = flags == 0
			c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
			c.readRequest()
			close(left)
		})
		c := dialDevice(t, relayTo(t, s.addr))
		if err := c.login(1, flags); err != nil {
			t.Error(err)
		}
		if flags != 0 {
			c.Close()
		} else {
			c.checkEnd(t)
		}
		select {
		case <-left:
		case <-time.After(patience):
			t.Errorf("flags %v: the connection to the server is not closed", flags)
		}
	}
}

// TestRelayKeyChanges: a reply that no longer fits the key causes one line, that of its session.
func TestRelayKeyChanges(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		c.Write(c.reply(c.readRequest(), &authenReply{status: authenPass}))
		q := c.readRequest()
		c.key = "another key than before"
		c.Write(c.reply(q, &authenReply{status: authenPass}))
		c.readRequest()
	})
	r := relayTo(t, s.addr)
	c := dialDevice(t, r)
	if err := c.login(1, flagSingleConnect); err != nil {
		t.Error(err)
	}
	fakeExchange{2, papStart("alice", testPassword), &authenReply{status: authenError, serverMsg: "no server answered"}, 0}.run(t, c, make(map[uint32]uint8), flagSingleConnect)
	if got := r.relayed(t); !strings.HasPrefix(got, "> alice authenticate pap PASS\n> alice authenticate pap NO_KEY: ") || strings.Count(got, "\n") != 2 {
		t.Errorf("the log is\n%s", got)
	}
}

// TestRelayErrorFailover: after a readable ERROR of the first server the next one is asked, for every kind of request. If
// all fail, the device gets the last ERROR of a server.
func TestRelayErrorFailover(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, line := range []string{"authenticate alice AT", "authenticate alice AT -t pap", "authorize alice AT", "account alice AT --task-id 7"} {
			bad, good := serveWith(t, "--fault", "error"), serveWith(t)
			r := relayTo(t, bad.addr+","+good.addr, split(mode)...)
			if got := r.asDevice(t, line); got.code != 0 {
				t.Errorf("%s %s: %+v", mode, line, got)
			}
			if lines := r.relayed(t); !strings.Contains(lines, bad.addr+" answered ERROR: ") || strings.Count(lines, "> alice ") != 1 {
				t.Errorf("%s %s: the log is\n%s", mode, line, lines)
			}
			only := relayTo(t, bad.addr, split(mode)...)
			if got := only.asDevice(t, line); got.code != classServer.exit() || !strings.HasPrefix(got.out, "ERROR: database down") {
				t.Errorf("%s %s: %+v", mode, line, got)
			}
		}
	}
}

// TestRelayRecordOnce: a record is sent to no other server, and not again, after a reply that cannot be used.
func TestRelayRecordOnce(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, fault := range []string{"wrong-key", "empty-body", "seq-plus-7", "close", "lengths-overflow"} {
			var asked atomic.Int32
			first := startFakeServer(t, func(c *fakeServerConn) {
				for q := c.readRequest(); q != nil; q = c.readRequest() {
					asked.Add(1)
					reply := c.reply(q, &acctReply{status: acctSuccess})
					switch fault {
					case "wrong-key":
						obfuscate(&header{sessionID: 1}, "another", reply[headerLen:])
					case "empty-body":
						reply = c.reply(q, &acctReply{})[:headerLen]
						copy(reply[atLength:], "\x00\x00\x00\x00")
					case "seq-plus-7":
						reply[atSeqNo] += 7
					case "lengths-overflow":
						reply = append(reply, 0)
						reply[headerLen-1]++
					case "close":
						return
					}
					c.Write(reply)
				}
			})
			second := serveWith(t)
			r := relayTo(t, first.addr+","+second.addr, append(split(mode), "--retries", "2")...)
			if got := r.asDevice(t, "account alice AT --task-id 7"); got.code != classServer.exit() {
				t.Errorf("%s %s: %+v", mode, fault, got)
			}
			if lines := second.lines(t); asked.Load() != 1 || lines != "" {
				t.Errorf("%s %s: %d records for the first server, and for the second\n%s", mode, fault, asked.Load(), lines)
			}
		}
	}
}

// TestRelayFlagViolation: after a reply in clear no other server is asked. It counts as FAIL, for accounting as ERROR. RFC
// 8907 section 10.5.2.
func TestRelayFlagViolation(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for line, want := range map[string]string{"authenticate alice AT": "FAIL", "authenticate alice AT -t pap": "FAIL", "authorize alice AT": "FAIL",
			"account alice AT --task-id 7": "ERROR: the reply of the server was not used"} {
			first, second := serveWith(t, "--fault", "unencrypted"), serveWith(t)
			r := relayTo(t, first.addr+","+second.addr, split(mode)...)
			if got := r.asDevice(t, line); !strings.HasPrefix(got.out, want) {
				t.Errorf("%s %s: %+v", mode, line, got)
			}
			if lines := r.relayed(t); !strings.Contains(lines, " VIOLATION: ") || second.lines(t) != "" {
				t.Errorf("%s %s: the log is\n%s", mode, line, lines)
			}
		}
	}
}

// TestRelayPromptAnswered: a prompt for PAP, or for ASCII with minor version 1, reaches the device, and its CONTINUE the
// server.
func TestRelayPromptAnswered(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "SMS passcode: "}
	for _, mode := range relayModes {
		for _, start := range []*authenStart{papStart("alice", testPassword), asciiStart("alice")} {
			s := startFakeServer(t, func(c *fakeServerConn) {
				for q := c.readRequest(); q != nil; q = c.readRequest() {
					switch {
					case q.seqNo == 1:
						c.Write(c.reply(q, askPass))
					case q.continues != nil && q.continues.userMsg == "123456":
						c.Write(c.reply(q, &authenReply{status: authenPass}))
					}
				}
			})
			record := filepath.Join(t.TempDir(), "record.pcap")
			r := relayTo(t, s.addr, append(split(mode), "--record", record)...)
			c, numbers := dialDevice(t, r), make(map[uint32]uint8)
			fakeExchange{1, start, askPass, minorOne}.run(t, c, numbers, flagSingleConnect)
			fakeExchange{1, answerWith("123456"), &authenReply{status: authenPass}, minorOne}.run(t, c, numbers, flagSingleConnect)
			c.Close()
			if n := s.connections(); start.typ == authenASCII && n != 1 {
				t.Errorf("%s: %d connections for a dialogue", mode, n)
			}
			want := "> alice authenticate " + start.typ.String() + " PASS\n"
			if got := r.relayed(t); got != want {
				t.Errorf("%s: the log is\n%s", mode, got)
			}
			if got := runWith(t, nil, "", "decode", record); !strings.Contains(got.out, strings.TrimPrefix(want, "> ")) && !strings.Contains(got.out, " PASS (") {
				t.Errorf("%s: decode prints\n%s%s", mode, got.out, got.err)
			}
		}
	}
}

// TestRelayLaterReplies: the reply to a CONTINUE has the time limit of a server, too. No other server is asked, since it does
// not know the session.
func TestRelayLaterReplies(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	for _, mode := range relayModes {
		s := startFakeServer(t, func(c *fakeServerConn) {
			c.Write(c.reply(c.readRequest(), askPass))
			c.readRequest()
			c.readRequest() // the end
		})
		second := serveWith(t)
		r := relayTo(t, s.addr+","+second.addr, append(split(mode), "--timeout", "1s")...)
		c, numbers := dialDevice(t, r), make(map[uint32]uint8)
		fakeExchange{1, asciiStart("alice"), askPass, 0}.run(t, c, numbers, 0)
		fakeExchange{1, answerWith("x"), &authenReply{status: authenError, serverMsg: "no server answered"}, 0}.run(t, c, numbers, 0)
		c.checkEnd(t)
		if lines := second.lines(t); lines != "" {
			t.Errorf("%s: the second server got\n%s", mode, lines)
		}
	}
}

// TestRelayDeviceLeaves: a login of a device that has gone is not put to the next server. A record is, unless it was sent.
func TestRelayDeviceLeaves(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, m := range []message{papStart("alice", testPassword), asciiStart("alice"), &acctRequest{commonFields: commonFields{user: "alice"}, flags: acctStart, args: []string{"task_id=1", "service=shell"}}} {
			came := make(chan struct{})
			first := startFakeServer(t, func(c *fakeServerConn) {
				if c.number == 1 {
					q := c.readRequest()
					close(came)
					time.Sleep(2 * leaveGrace)
					if q.typ == typeAcct {
						c.Write(c.reply(q, &acctReply{status: acctError}))
					}
				}
			})
			second := serveWith(t)
			r := relayTo(t, first.addr+","+second.addr, append(split(mode), "--timeout", "2s")...)
			c := dialDevice(t, r)
			h := header{typ: typeAuthen, version: versionOf(m), seqNo: 1, sessionID: 5}
			if _, ok := m.(*acctRequest); ok {
				h.typ = typeAcct
			}
			if err := c.send(h, m); err != nil {
				t.Fatal(err)
			}
			<-came
			c.Close()
			waitUntil(t, "the session has ended", func() bool { return strings.Contains(r.log.String(), " alice ") })
			r.stop()
			if _, dialogue := m.(*authenStart); dialogue && (mode == "" || h.version == minorDefault) && !strings.HasSuffix(r.log.String(), " NO_REPLY: closed by the client\n") || strings.Contains(r.log.String(), "interrupted") {
				t.Errorf("%s %T: the log is\n%s", mode, m, r.log)
			}
			if lines := second.lines(t); strings.Contains(lines, "alice") != (h.typ == typeAcct) {
				t.Errorf("%s %T: the second server got\n%s", mode, m, lines)
			}
		}
	}
}

// TestRelayClosesAfterDialogue: without single-connection mode both connections are closed after a dialogue, an ABORT and a
// refused single-connect. RFC 8907 section 4.3, RFC 9887 section 3.2.
func TestRelayClosesAfterDialogue(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	for _, mode := range relayModes {
		for _, last := range []fakeExchange{{1, answerWith(testPassword), &authenReply{status: authenPass}, 0}, {1, &authenContinue{flags: authenAbort}, nil, 0}} {
			left := make(chan bool, 1)
			s := startFakeServer(t, func(c *fakeServerConn) {
				c.refuse = true
				c.Write(c.reply(c.readRequest(), askPass))
				if q := c.readRequest(); q.continues.flags&authenAbort == 0 {
					c.Write(c.reply(q, &authenReply{status: authenPass}))
				}
				left <- c.readRequest() == nil
			})
			r := relayTo(t, s.addr, split(mode)...)
			c, numbers := dialDevice(t, r), make(map[uint32]uint8)
			fakeExchange{1, asciiStart("alice"), askPass, 0}.run(t, c, numbers, 0)
			last.run(t, c, numbers, 0)
			c.checkEnd(t)
			select {
			case <-left:
			case <-time.After(patience):
				t.Errorf("%s: the connection to the server stays open", mode)
			}
		}
	}
}

// TestRelayOtherMinorVersion: on a shared connection there are only packets with the minor version that RFC 8907 defines
// for them. Others have a connection of their own.
func TestRelayOtherMinorVersion(t *testing.T) {
	t.Parallel()
	show := commonFields{user: "alice"}
	for _, mode := range relayModes {
		conns := make(chan int, 100)
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := c.readRequest(); q != nil; q = c.readRequest() {
				conns <- c.number
				c.Write(c.grantReply(q, sameFlags(q.header)))
			}
		})
		c := dialDevice(t, relayTo(t, s.addr, split(mode)...))
		shared := 0
		for i, tt := range []struct {
			version version
			request message
			reply   message
			shared  bool
		}{
			{minorOne, papStart("alice", testPassword), new(authenReply), true},
			{minorOne, &authorRequest{commonFields: show}, new(authorResponse), false},
			{minorDefault, &authorRequest{commonFields: show}, new(authorResponse), true},
			{minorOne, &acctRequest{flags: acctStart, commonFields: show}, new(acctReply), false},
			{minorDefault, &acctRequest{flags: acctStart, commonFields: show}, new(acctReply), true},
			{minorDefault, papStart("alice", testPassword), new(authenReply), false},
			{minorOne, asciiStart("alice"), new(authenReply), false},
			{minorOne, papStart("alice", testPassword), new(authenReply), true},
		} {
			h := header{version: tt.version, typ: typeOf(tt.request), seqNo: 1, flags: flagSingleConnect, sessionID: uint32(i)}
			if err := c.send(h, tt.request); err != nil {
				t.Fatal(err)
			}
			if _, err := c.receive(tt.reply); err != nil {
				t.Fatalf("%s, %d: %v", mode, i, err)
			}
			conn := <-conns
			if shared == 0 {
				shared = conn
			}
			if (conn == shared) != tt.shared {
				t.Errorf("%s: request %d is on connection %d, the shared one is %d", mode, i, conn, shared)
			}
		}
	}
}

// TestRelayServerTime: the time in a line is that of the server that answered, without the time that another one took.
func TestRelayServerTime(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	const lost = 2000 // ms
	for _, mode := range relayModes {
		for _, line := range []string{"authenticate alice AT -t pap", "authenticate alice AT"} {
			all.run(t, true, mode+line, func(t *testing.T) {
				silent := startFakeServer(t, func(c *fakeServerConn) { c.readRequest(); c.readRequest() })
				r := relayTo(t, silent.addr+","+serveWith(t).addr, append(split(mode), "--json", "--timeout", "2s", "--retries", "9")...)
				r.asDevice(t, line+" --timeout 60")
				r.stop()
				var o recordObject
				for l := range strings.Lines(r.log.String()) {
					if err := json.Unmarshal([]byte(l), &o); err != nil {
						t.Fatal(err)
					}
				}
				if o.Status != "PASS" || o.ServerMS <= 0 || o.TotalMS-o.ServerMS < lost {
					t.Errorf("the log is\n%s", r.log)
				}
			})
		}
	}
}
