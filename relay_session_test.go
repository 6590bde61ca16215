package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
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
				for q := range c.requests {
					if !silent.Load() {
						c.Write(c.grantReply(q))
					}
				}
			})
			second := startFakeServer(t, (*fakeServerConn).grantAll)
			r := relayTo(t, first.addr+","+second.addr, "--single-connect", "--dead-time", "10m", "--timeout", "1500ms")
			r.asDevice(t, line+" --timeout 1m")
			if runtime.GOOS == "linux" { // has more than one loopback address
				left := dialSecondDevice(t, r)
				must(t, left.login(1, 0))
				left.checkEnd(t) // now the silence of one device is enough
			}
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
		equal(t, r.relayed(t), strings.Repeat("> alice authorize service=shell cmd= PASS_ADD\n", 5), fault, "the log")
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
			must(t, c.login(1, flagSingleConnect))
			switch m := start.(type) {
			case *authenStart:
				m.user = "eve"
			}
			fakeExchange{2, start, &authenReply{status: authenError, serverMsg: "no server answered"}, 0}.run(t, c, flagSingleConnect)
			must(t, c.login(3, flagSingleConnect))
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
		must(t, c.login(1, flags))
		if flags != 0 {
			c.Close()
		} else {
			c.checkEnd(t)
		}
		await(t, left, "the connection to the server is closed")
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
	must(t, c.login(1, flagSingleConnect))
	fakeExchange{2, papStart("alice", testPassword), &authenReply{status: authenError, serverMsg: "no server answered"}, 0}.run(t, c, flagSingleConnect)
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
				for q := range c.requests {
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
				for q := range c.requests {
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
			c := dialDevice(t, r)
			fakeExchange{1, start, askPass, minorOne}.run(t, c, flagSingleConnect)
			fakeExchange{1, answerWith("123456"), &authenReply{status: authenPass}, minorOne}.run(t, c, flagSingleConnect)
			c.Close()
			if n := s.connections(); start.typ == authenASCII && n != 1 {
				t.Errorf("%s: %d connections for a dialogue", mode, n)
			}
			want := "> alice authenticate " + start.typ.String() + " PASS\n"
			equal(t, r.relayed(t), want, mode, "the log")
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
		c := dialDevice(t, r)
		fakeExchange{1, asciiStart("alice"), askPass, 0}.run(t, c, 0)
		fakeExchange{1, answerWith("x"), &authenReply{status: authenError, serverMsg: "no server answered"}, 0}.run(t, c, 0)
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
			must(t, c.send(h, m))
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
		for _, last := range []fakeExchange{{1, answerWith(testPassword), &authenReply{status: authenPass}, 0}, {1, &authenContinue{flags: authenAbort, data: "user left"}, nil, 0}} {
			left := make(chan bool, 1)
			s := startFakeServer(t, func(c *fakeServerConn) {
				c.refuse = true
				q := c.readRequest()
				equal(t, q.flags, 0, mode, "the flags of a START")
				c.Write(c.reply(q, askPass))
				q = c.readRequest()
				if q.continues.flags&authenAbort == 0 {
					c.Write(c.reply(q, &authenReply{status: authenPass}))
				} else {
					equal(t, q.continues.data, "user left", mode, "the ABORT")
				}
				left <- c.readRequest() == nil
			})
			r := relayTo(t, s.addr, split(mode)...)
			c := dialDevice(t, r)
			fakeExchange{1, asciiStart("alice"), askPass, 0}.run(t, c, 0)
			last.run(t, c, 0)
			c.checkEnd(t)
			await(t, left, "the connection to the server is closed")
		}
	}
}

// TestRelayOtherMinorVersion: on a shared connection there are only packets with the minor version that RFC 8907 defines
// for them. Others have a connection of their own.
func TestRelayOtherMinorVersion(t *testing.T) {
	t.Parallel()
	show, enable := commonFields{user: "alice"}, papStart("alice", testPassword)
	enable.service = authenServiceEnable
	for _, mode := range relayModes {
		conns := make(chan int, 100)
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
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
			{minorOne, enable, new(authenReply), false}, // may ask for another password
			{minorOne, papStart("alice", testPassword), new(authenReply), true},
		} {
			h := header{version: tt.version, typ: typeOf(tt.request), seqNo: 1, flags: flagSingleConnect, sessionID: uint32(i)}
			must(t, c.send(h, tt.request))
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
					must(t, json.Unmarshal([]byte(l), &o))
				}
				if o.Status != "PASS" || o.ServerMS <= 0 || o.TotalMS-o.ServerMS < lost {
					t.Errorf("the log is\n%s", r.log)
				}
			})
		}
	}
}

// TestRelayBadPackets: bad packets of a device are not forwarded.
func TestRelayBadPackets(t *testing.T) {
	t.Parallel()
	start := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 5}, deviceKey, papStart("alice", testPassword))
	with := func(at int, value byte) []byte {
		p := bytes.Clone(start)
		p[at] = value
		return p
	}
	for _, tt := range []struct {
		name   string
		data   []byte
		answer string // its header in hex, or the ERROR
		line   string
	}{
		{"UNENCRYPTED", packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 5, flags: flagUnencrypted}, "", papStart("alice", testPassword)), "ERROR", "UNENCRYPTED flag without TLS"},
		{"even", with(atSeqNo, 2), "", "even seq_no 2 from a client"},
		{"last", with(atSeqNo, 255), "", "sequence numbers exhausted"},
		{"unknown type", with(atType, 9), "c10902000000000500000000", "unknown packet type 0x09"},
		{"other protocol", []byte("GET / HTTP/1.1\r\n\r\n"), "", "not TACACS+: the first byte is 0x47"},
		{"too long", unhex(t, "c1 01 01 00 00000007 00010000"), "", "body is 65536 bytes, the limit is 65535"},
	} {
		for _, mode := range relayModes {
			s := serveWith(t)
			r := relayTo(t, s.addr, split(mode)...)
			c := dialDevice(t, r)
			c.Write(tt.data)
			if tt.answer == "ERROR" {
				var reply authenReply
				if h, err := c.receive(&reply); err != nil || reply.status != authenError || h.flags != 0 {
					t.Errorf("%s: %+v, %v", tt.name, reply, err)
				}
			} else if b := make([]byte, len(tt.answer)/2); len(b) > 0 {
				if _, err := io.ReadFull(c.in, b); err != nil || fmt.Sprintf("%x", b) != tt.answer {
					t.Errorf("%s: got the reply %x, %v", tt.name, b, err)
				}
			}
			c.checkEnd(t)
			if got := r.relayed(t); got != tt.line+"\n" || s.lines(t) != "" {
				t.Errorf("%s: the log is\n%s, the server's log is\n%s", tt.name, got, s.log)
			}
		}
	}
}

// TestRelayManyAtATime: packets of all sizes that arrive together are forwarded, in both directions.
func TestRelayManyAtATime(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t, "--arg", "note="+strings.Repeat("x", 200))
		r := relayTo(t, s.addr, split(mode)...)
		c := dialDevice(t, r)
		must(t, c.login(1000, flagSingleConnect))
		const sessions = 60 // below the limit of a device
		var all []byte
		for i := range sessions {
			args := []string{"service=shell", "cmd="}
			for range i * i % 50 {
				args = append(args, "filler*"+strings.Repeat("y", 3*i))
			}
			h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: uint32(i)}
			all = append(all, packed(h, deviceKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: args})...)
		}
		go c.Write(all)
		answered := make(map[uint32]bool)
		for range sessions {
			var reply authorResponse
			h, err := c.receive(&reply)
			if err != nil || reply.status != authorPassAdd || answered[h.sessionID] || h.sessionID >= sessions {
				t.Fatalf("%s: after %d: %+v %.100v, %v", mode, len(answered), h, reply, err)
			}
			answered[h.sessionID] = true
		}
		c.Close()
		r.relayed(t)
	}
}

// TestRelayHalfClose: a device that closes its side for writing gets the reply under way, if it comes within leaveGrace. Then
// the connection is closed, even if the server's stays open.
func TestRelayHalfClose(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		for _, m := range []*authenStart{papStart("bob", testPassword), asciiStart("bob")} {
			for try := 1; ; try++ {
				status, after := halfClosed(t, mode, m)
				if status == authenError && after >= leaveGrace && try < 20 {
					continue // the machine was busy
				}
				if status != authenPass {
					t.Errorf("%s: got %v after %v, want PASS", mode, status, after)
				}
				break
			}
		}
	}
}

// halfClosed sends a START to a relay, closes the device's side, and returns the reply, and how long after that it came.
func halfClosed(t *testing.T, mode string, m *authenStart) (status authenStatus, after time.Duration) {
	t.Helper()
	closed := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.user == "bob" {
				<-closed
				time.Sleep(leaveGrace / 4) // most likely the relay has seen it by then
			}
			c.Write(c.reply(q, &authenReply{status: authenPass}))
		}
	})
	c := dialDevice(t, relayTo(t, s.addr, append(split(mode), "--timeout", "1h")...))
	must(t, c.login(1, flagSingleConnect))
	must(t, c.send(header{version: versionOf(m), typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}, m))
	began := time.Now()
	c.Conn.(*net.TCPConn).CloseWrite()
	close(closed)
	var reply authenReply
	if _, err := c.receive(&reply); err != nil {
		t.Fatal(err)
	}
	after = time.Since(began)
	c.checkEnd(t)
	return reply.status, after
}

// TestRelayBadSessions: in single-connection mode a bad session ends alone, also one that waits for a CONTINUE and gets
// another packet. One that waits for its reply still gets it, and a later one passes.
func TestRelayBadSessions(t *testing.T) {
	t.Parallel()
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	const ended = "no such session, unexpected seq_no or version" // the one, or while the session ends the other
	for _, mode := range relayModes {
		s := serveWith(t)
		r := relayTo(t, s.addr, split(mode)...)
		c := dialDevice(t, r)
		unknownFlag := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect | 0x80, sessionID: 1}
		must(t, c.send(unknownFlag, papStart("alice", testPassword)))
		var first authenReply
		if h, err := c.receive(&first); err != nil || first.status != authenPass || h.flags != flagSingleConnect {
			t.Fatalf("%s: got %+v %+v, %v", mode, h, first, err)
		}
		for id := range uint32(4) {
			fakeExchange{2 + id, asciiStart("alice"), askPass, 0}.run(t, c, flagSingleConnect)
		}
		for _, bad := range []struct {
			h      header
			m      message
			answer string
		}{
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 9}, answerWith("x"), "no such session"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 5, sessionID: 3}, answerWith("x"), "unexpected seq_no or version"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 3}, answerWith(testPassword), ended},
			{header{version: minorOne, typ: typeAuthen, seqNo: 3, sessionID: 4}, answerWith("x"), "unexpected seq_no or version"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 4}, answerWith(testPassword), ended},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 5}, papStart("alice", testPassword), "malformed packet"},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 3, sessionID: 5}, answerWith(testPassword), ended},
			{header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 2}, asciiStart("bob"), "the session_id is in use"},
			{header{version: minorDefault, typ: 9, seqNo: 1, sessionID: 6}, asciiStart("bob"), ""},
		} {
			bad.h.flags = flagSingleConnect
			must(t, c.send(bad.h, bad.m))
			if bad.answer == "" {
				b := make([]byte, headerLen)
				if _, err := io.ReadFull(c.in, b); err != nil || parseHeader(b).length != 0 || parseHeader(b).seqNo != 2 {
					t.Errorf("%s: an unknown type is answered with %x, %v", mode, b, err)
				}
				continue
			}
			var reply authenReply
			if h, err := c.receive(&reply); err != nil || reply.status != authenError || !strings.Contains(bad.answer, reply.serverMsg) || h.flags != flagSingleConnect {
				t.Errorf("%s %+v: got %+v %+v, %v", mode, bad.h, h, reply, err)
			}
		}
		fakeExchange{2, answerWith(testPassword), &authenReply{status: authenPass}, 0}.run(t, c, flagSingleConnect)
		must(t, c.login(7, flagSingleConnect))
		for _, reason := range []string{"unexpected seq_no or version", "malformed CONTINUE"} {
			waitUntil(t, reason, func() bool {
				return strings.Contains(r.log.String(), " alice authenticate ascii MALFORMED: "+reason+" (")
			})
		}
	}
}

// TestRelayFairness: a device that takes all it can get does not keep another one from logging in.
func TestRelayFairness(t *testing.T) {
	t.Parallel()
	const connections, sessions = 3, 700 // more than maxPlaces together, or their packets more than maxBytes
	request := func(user string, args ...string) *authorRequest {
		return &authorRequest{commonFields: commonFields{user: user}, args: args}
	}
	large := slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, 254)
	for _, tt := range []struct {
		name  string
		modes []string
		kinds []message // mallory's requests
		other *authorRequest
	}{
		{"sessions", relayModes, []message{asciiStart("mallory"), papStart("mallory", "x"), request("mallory", "service=shell", "cmd=")}, request("alice", "service=shell", "cmd=")},
		{"large requests", relayModes[:1], []message{request("mallory", large...)}, request("alice", large...)},
	} {
		all := make([]byte, 0, 1<<20+maxBytes/connections)
		for i := uint32(0); i < sessions && len(all) <= maxBytes/connections; i++ {
			m := tt.kinds[int(i)%len(tt.kinds)]
			all = append(all, packed(header{version: versionOf(m), typ: typeOf(m), seqNo: 1, flags: flagSingleConnect, sessionID: i}, deviceKey, m)...)
		}
		for _, mode := range tt.modes {
			t.Run(tt.name+mode, func(t *testing.T) {
				t.Parallel()
				// The server answers nothing that mallory sends.
				s := startFakeServer(t, func(c *fakeServerConn) {
					for q := range c.requests {
						if q.user != "mallory" {
							c.Write(c.grantReply(q))
						}
					}
				})
				r := relayTo(t, s.addr, append(split(mode), "-q", "--timeout", "10m", "--dead-time", "0", "--drain-time", "10ms")...)
				var refused atomic.Bool
				for range connections {
					c := dialDevice(t, r)
					go c.Write(all)
					go io.Copy(writerFunc(func([]byte) { refused.Store(true) }), c.Conn)
				}
				waitUntil(t, "mallory has all that it can get", refused.Load)
				c := dialSecondDevice(t, r)
				reply := new(authorResponse)
				done := make(chan error, 1)
				go func() {
					err := c.send(header{version: minorDefault, typ: typeAuthor, seqNo: 1, sessionID: 1}, tt.other)
					if err == nil {
						_, err = c.receive(reply)
					}
					done <- err
				}()
				select { // long before the first of mallory's sessions times out
				case err := <-done:
					if err != nil || reply.status != authorPassAdd {
						t.Errorf("%v %+v, %v", reply.status, reply, err)
					}
				case <-time.After(patience / 2):
					t.Error("the request waits for mallory's sessions")
				}
			})
		}
	}
}

// dialSecondDevice connects to the relay as a device with another address.
func dialSecondDevice(t *testing.T, r *testServer) *fakeClient {
	t.Helper()
	local := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := local.Dial("tcp", r.addr)
	if err != nil && runtime.GOOS != "linux" {
		t.Skipf("this system has one loopback address: %v", err)
	}
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	c := newFakeClient(conn)
	c.key = deviceKey
	return c
}

// TestRelayUnansweredShare: large requests of one device that get no reply leave room on the connection that devices share.
// The others of the device have connections of their own, until there are replies.
func TestRelayUnansweredShare(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if reply := c.grantReply(q); q.user == "alice" {
				c.Write(reply)
			} else {
				go func() { <-release; c.Write(reply) }()
			}
		}
	})
	r := relayTo(t, s.addr, "--single-connect", "--timeout", "10m", "--drain-time", "10ms")
	alice, mallory := dialSecondDevice(t, r), dialDevice(t, r)
	must(t, alice.login(1, flagSingleConnect))
	large := &authorRequest{commonFields: commonFields{user: "mallory"}, args: slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, 254)}
	send := func(id uint32) {
		must(t, mallory.send(header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: id}, large))
	}
	const many = 4
	for id := range uint32(many) {
		send(id)
	}
	waitUntil(t, "the server has all requests", func() bool { return s.asked("mallory") == many })
	must(t, alice.login(2, flagSingleConnect))
	equal(t, s.connections(), many, "connections") // of which one is shared
	close(release)
	for id := range uint32(2 * many) {
		if id >= many {
			send(id)
		}
		if _, err := mallory.receive(new(authorResponse)); err != nil {
			t.Fatal(err)
		}
	}
	equal(t, s.connections(), many, "connections after the replies")
}

// TestRelayLogFairness: while stdout is blocked, one device's long lines do not take the place of another's, and both
// devices get their replies.
func TestRelayLogFairness(t *testing.T) {
	t.Parallel()
	const logins = 20
	for _, mode := range relayModes {
		t.Run("forwarding "+mode, func(t *testing.T) {
			t.Parallel()
			s := startFakeServer(t, func(c *fakeServerConn) { c.grantAll() })
			out := new(stallingWriter)
			out.stalled.Lock()
			r := serving(t, out, append(relayArgs(t, s.addr), split(mode)...)...)
			mallory, requests := dialDevice(t, r), 0
			for _, tt := range []struct{ requests, args int }{{60, 254}, {100, 4}, {20, 0}} { // the short lines fill what is left
				m := &authorRequest{commonFields: commonFields{user: "mallory"}, args: slices.Repeat([]string{"filler*" + strings.Repeat("x", 240)}, tt.args)}
				for range tt.requests {
					requests++
					must(t, mallory.send(header{typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: uint32(requests), version: minorDefault}, m))
					if _, err := mallory.receive(new(authorResponse)); err != nil {
						t.Fatal(err)
					}
				}
			}
			waitUntil(t, "the queue has no room for mallory", func() bool {
				return strings.Contains(r.stderr.String(), "cannot write session lines: the output is blocked")
			})
			alice := dialSecondDevice(t, r)
			for i := range uint32(logins) {
				must(t, alice.login(i, flagSingleConnect))
			}
			out.stalled.Unlock()
			count := func(of string) int { return strings.Count(out.String(), of) }
			waitUntil(t, "all lines of alice are written", func() bool { return count(" alice authenticate pap PASS") == logins })
			if n := count(" mallory authorize "); n == 0 || n == requests {
				t.Errorf("%d lines of mallory are written, want some of %d", n, requests)
			}
			if code := r.stop(); code != classGranted.exit() {
				t.Errorf("exit code %d: %s", int(code), r.stderr)
			}
		})
	}
}

// TestRelayUnreadReplies: a device that does not read its replies is cut off when they are too many, or after the timeout of
// a server. Nothing stays reserved for it.
func TestRelayUnreadReplies(t *testing.T) {
	t.Parallel()
	for replies, want := range map[int]time.Duration{1: patience + time.Second, 20: 0} {
		synctest.Test(t, func(t *testing.T) {
			d, _ := pipeDevice(t)
			began := time.Now()
			for range replies {
				d.send(nil, header{version: minorDefault, typ: typeAuthor, seqNo: 2}, &authorResponse{serverMsg: long(10000)})
			}
			d.running.Wait()
			equal(t, time.Since(began), want, "it took")
			if d.client.extendDeadline() || len(d.out) > 0 || d.relay.unread.taken != 0 {
				t.Errorf("goes on: %t; %d bytes are queued, %d reserved", d.client.extendDeadline(), len(d.out), d.relay.unread.taken)
			}
		})
	}
}

// TestRelayWaitsForDevice: a device that leaves many replies unread is not read from until it has read them.
func TestRelayWaitsForDevice(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, remote := pipeDevice(t)
		d.unread = newShare(maxBytes, "bytes of replies").claim(d.client.addr.Addr())
		for len(d.out) < maxReplies {
			d.send(nil, header{version: minorDefault, typ: typeAuthor, seqNo: 2}, &authorResponse{serverMsg: long(1000)})
			synctest.Wait() // for the first, which is being written
		}
		read := make(chan struct{})
		go func() {
			d.waitForSpace()
			close(read)
		}()
		if synctest.Wait(); tryReceive(read) {
			t.Error("the relay does not wait")
		}
		go io.Copy(io.Discard, remote)
		<-read
		d.running.Wait()
	})
}

// TestRelayWritesInTurn: one goroutine writes at a time, and sessions that have none of their own do not wait for it.
func TestRelayWritesInTurn(t *testing.T) {
	t.Parallel()
	for _, ofSession := range []bool{false, true} {
		d, remote := pipeDevice(t)
		first := make(chan struct{})
		go func() {
			defer close(first)
			var s *relayedSession
			if ofSession {
				s = &relayedSession{device: d, alone: true}
			}
			d.send(s, header{version: minorDefault, typ: typeAcct, seqNo: 2}, &acctReply{serverMsg: "1"})
			if ofSession {
				d.deliver()
			}
		}()
		begun := make([]byte, 1) // the rest of the packet cannot be written yet
		if _, err := remote.Read(begun); err != nil {
			t.Fatal(err)
		}
		d.writing.Lock()
		busy := d.busy
		d.writing.Unlock()
		for seqNo := range uint8(3) {
			d.send(&relayedSession{device: d, alone: true}, header{version: minorDefault, typ: typeAcct, seqNo: 4 + 2*seqNo}, &acctReply{})
			d.deliver() // returns at once
		}
		in := io.MultiReader(bytes.NewReader(begun), remote)
		for _, want := range []uint8{2, 4, 6, 8} {
			h, _, err := readHeader(in)
			if err == nil {
				_, err = readBody(in, h)
			}
			if h.seqNo != want || err != nil || !busy {
				t.Errorf("of a session: %t: got seq_no %d, %v, want %d; busy: %t", ofSession, h.seqNo, err, want, busy)
			}
		}
		<-first
		d.running.Wait()
		if d.busy || len(d.out) > 0 {
			t.Errorf("of a session: %t: busy: %t, %d bytes are queued", ofSession, d.busy, len(d.out))
		}
	}
}

// TestRelayPoolDoesNotWait: a pool goes on when a device does not take its replies, which then follow in their order.
func TestRelayPoolDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, overTLS := range []bool{false, true} { // where no write can be cut short
		synctest.Test(t, func(t *testing.T) {
			d, remote := pipeDevice(t)
			d.client.cleartext = overTLS
			send := func(seqNo uint8, size int) (due bool) {
				return d.send(&relayedSession{device: d, batched: true}, header{version: minorDefault, typ: typeAcct, seqNo: seqNo, flags: flagUnencrypted}, &acctReply{serverMsg: long(size)})
			}
			equal(t, send(2, 100), false, "a small reply is to be written")
			equal(t, d.busy, false, "a reply is written before deliverSoon,")
			go func() {
				if _, err := remote.Read(make([]byte, 1)); err != nil {
					t.Error(err)
				}
				equal(t, send(4, flushAt), true, "many bytes are to be written")
			}()
			began := time.Now()
			d.deliverSoon(true)
			equal(t, time.Since(began), choose(overTLS, 0, writeGrace), "the pool waited for")
			synctest.Wait()
			send(6, 1)
			d.deliverSoon(true)
			time.Sleep(patience)
			equal(t, time.Since(began), patience+choose(overTLS, 0, writeGrace), "the pool waited for")
			in := io.MultiReader(bytes.NewReader([]byte{byte(minorDefault)}), remote)
			for _, want := range []uint8{2, 4, 6} {
				h, _, err := readHeader(in)
				if err == nil {
					_, err = readBody(in, h)
				}
				if h.seqNo != want || err != nil {
					t.Errorf("got seq_no %d, %v, want %d", h.seqNo, err, want)
				}
			}
			d.running.Wait()
			d.deliverSoon(true) // nothing
			if d.busy || d.broken || len(d.out) > 0 || d.relay.unread.taken != 0 {
				t.Errorf("busy: %t, broken: %t, %d bytes are queued, %d reserved", d.busy, d.broken, len(d.out), d.relay.unread.taken)
			}
		})
	}
}

// TestRelayLineBeforeReply: the line of a session is written before its reply, so that the lines of a client that sends one
// request after the other are in their order. A pool that is not the device's own does not wait for the device.
func TestRelayLineBeforeReply(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(s *relayedSession){
		"alone":  func(s *relayedSession) { s.runAlone(); s.device.running.Done() },
		"own":    func(s *relayedSession) { d := s.device; s.batched = true; s.jobDone(nil); d.finishBatch() },
		"shared": func(s *relayedSession) { s.jobDone(nil) },
	} {
		synctest.Test(t, func(t *testing.T) {
			d, remote := pipeDevice(t)
			lines, blocked := net.Pipe()
			d.client.log = &sessionLog{out: newQueuedWriter(t.Context(), blocked)}
			must(t, d.client.log.out.add(make([]byte, maxQueued))) // so that the line waits for the output
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			d.logins, d.records = ctx, ctx // so that no server answers
			d.left = true                  // so that nothing is noted
			close(d.ended)
			h := header{version: minorOne, typ: typeAuthen, seqNo: 1, sessionID: 7}
			s := &relayedSession{device: d, last: devicePacket{header: h, message: papStart("alice", "x")}}
			s.config = newRelayConfig(clientFor(t, "127.0.0.1:1"), nil, false, nil)
			s.job.request = s
			d.client.initTracker(&s.tracker)
			s.tracker.packet(time.Now(), &s.last.header, s.last.message)
			d.running.Add(1)
			returned := make(chan struct{})
			go func() { end(s); close(returned) }()
			synctest.Wait()
			equal(t, d.busy, false, name+": the reply is written before the line,")
			go io.Copy(io.Discard, lines)
			synctest.Wait()
			equal(t, d.busy, true, name+": the reply is being written,")
			equal(t, tryReceive(returned), name == "shared", name+": the session does not wait for the device:")
			h, _, err := readHeader(remote)
			equal(t, h.seqNo, 2, name)
			must(t, err)
			go io.Copy(io.Discard, remote)
			d.running.Wait()
			blocked.Close()
		})
	}
}

// TestRelayWakesUpstream: an upstream is woken once for the sessions of one read.
func TestRelayWakesUpstream(t *testing.T) {
	t.Parallel()
	d, _ := pipeDevice(t)
	p := newPool(d.config.kept, maxOfDevice)
	d.waiting = newUpstream(d.config.kept, maxOfDevice, nil)
	d.waiting.pool.Store(p)
	d.wakeUpstream()
	equal(t, p.wakeup.received(), true, "the pool is woken:")
	d.wakeUpstream()
	equal(t, p.wakeup.received(), false, "the pool is woken again:")
}

// TestRelayBatches: sessions of the device's own pool are batched, as those of a shared one are not.
func TestRelayBatches(t *testing.T) {
	t.Parallel()
	d, _ := pipeDevice(t)
	ctx, cancel := context.WithCancel(t.Context())
	d.records, d.client.single = ctx, true
	packet := devicePacket{header: header{version: minorOne, typ: typeAuthen, seqNo: 1}, message: papStart("alice", "x")}
	for _, shared := range []bool{false, true} {
		s := &relayedSession{device: d, config: newRelayConfig(&client{timeout: patience}, nil, shared, nil), last: packet}
		if u := d.upstreamFor(s); u == nil || s.batched == shared || (u == s.config.shared) != shared {
			t.Errorf("shared: %t: batched: %t, the upstream is %v", shared, s.batched, u)
		}
	}
	cancel()
	<-d.upstream.ended
}

// TestRelayReleases: what a session reserves is free again when it has ended or was refused.
func TestRelayReleases(t *testing.T) {
	t.Parallel()
	d, _ := pipeDevice(t)
	h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, length: 100}
	s := &relayedSession{device: d, last: devicePacket{header: h}, expected: 3, answers: make(chan devicePacket, 1)}
	d.client.initTracker(&s.tracker)
	s.tracker.version = minorDefault
	equal(t, d.admit(s), "")
	h.seqNo = 3
	equal(t, d.resume(devicePacket{header: h}), "")
	equal(t, d.relay.bytes.taken, sessionSize+headerLen+100)
	d.end(s)
	equal(t, d.relay.bytes.taken, 0, "bytes at the end")
	for range 3 {
		s := &relayedSession{device: d, last: devicePacket{header: h}}
		s.last.header.sessionID = uint32(len(d.sessions)) + 1
		s.tracker.id = s.last.header.sessionID
		equal(t, d.admit(s), "")
		d.running.Add(1)
		d.endLater(s, false)
	}
	equal(t, d.relay.bytes.taken, 3*sessionSize, "bytes of a batch")
	d.finishBatch()
	d.running.Wait()
	equal(t, d.relay.bytes.taken+len(d.sessions), 0, "bytes and sessions after a batch")
	d.relay.config.Store(d.config)
	local, remote := net.Pipe()
	remote.Close()
	d.relay.serve(t.Context(), t.Context(), local)
	for _, c := range []*claim{d.bytes, d.unanswered, d.unread} {
		equal(t, c.users, 1, "devices with a claim when one has left, of", c.share.what)
	}
	for size, want := range map[int]string{sessionSize: "", sessionSize + 1: "too many sessions"} {
		d.bytes = newShare(sessionSize, "sessions").claim(d.client.addr.Addr())
		s.last.header.length = uint32(size - headerLen)
		equal(t, d.admit(s), want)
		delete(d.sessions, h.sessionID)
	}
	for id := range uint32(maxSessions) {
		d.sessions[id+1] = s
	}
	equal(t, d.admit(s), "too many sessions")
}

// TestRelayPromptTime: all prompts of a session share the time that a person has.
func TestRelayPromptTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d, remote := pipeDevice(t)
		go io.Copy(io.Discard, remote)
		h := header{version: minorDefault, typ: typeAuthen, seqNo: 1}
		s := &relayedSession{device: d, alone: true, promptTime: relayIdle, last: devicePacket{header: h, message: asciiStart("alice")},
			response: &authenReply{status: authenGetPass}, answers: make(chan devicePacket, 1)}
		d.client.initTracker(&s.tracker)
		s.tracker.packet(time.Now(), &h, s.last.message)
		d.sessions[0] = s
		time.AfterFunc(relayIdle-time.Minute, func() {
			d.resume(devicePacket{header: header{version: minorDefault, typ: typeAuthen, seqNo: 3}, message: answerWith("1"), at: time.Now()})
		})
		for _, want := range []error{nil, errNoAnswer} {
			if _, err := s.ask(t.Context(), "", false); err != want {
				t.Errorf("got %v, want %v", err, want)
			}
		}
		if took := time.Since(s.last.at); took != time.Minute {
			t.Errorf("the second prompt waits for %v", took)
		}
	})
}

// TestRelayUpstreamCloses: an upstream that ends fails the sessions that no connection has carried.
func TestRelayUpstreamCloses(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	u, o := newUpstream(&client{}, maxOfDevice, nil), new(jobErrors)
	for range 2 {
		equal(t, u.put(&job{owner: o}), true)
	}
	flushed := 0
	u.run(ctx, func() { flushed = len(*o) })
	equal(t, flushed, 2, "sessions flushed")
	equal(t, fmt.Sprint(*o), fmt.Sprint([]error{errInterrupted, errInterrupted}))
	equal(t, u.put(new(job)), false, "a job that follows is taken:")
}

// jobErrors collects the errors of jobs that are done.
type jobErrors []error

func (e *jobErrors) jobDone(j *job) { *e = append(*e, j.err) }

// pipeDevice returns a device of a relay, and the other end of its connection, which has no buffer.
func pipeDevice(t *testing.T) (*device, net.Conn) {
	t.Helper()
	r := newRelayServer()
	r.unread = newShare(100<<10, "bytes of replies")
	r.listener.log = &sessionLog{out: newQueuedWriter(context.Background(), io.Discard)}
	local, remote := net.Pipe()
	t.Cleanup(func() { remote.Close() })
	keys := clientKeys{{}: {{source: "test", value: testKey}}}
	config := newRelayConfig(&client{timeout: patience}, keys, false, nil)
	return newDevice(r, config, r.listener.newInboundConn(t.Context(), local, keys, false, relayBuffer)), remote
}

// TestRelayContinuesTogether: two CONTINUEs that come together do not mix.
func TestRelayContinuesTogether(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--user", "bob:another password")
	c := dialDevice(t, relayTo(t, s.addr))
	askPass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	for id := uint32(1); id < 40; id += 2 {
		var together []byte
		for i, user := range []string{"alice", "bob"} {
			fakeExchange{id + uint32(i), asciiStart(user), askPass, 0}.run(t, c, flagSingleConnect)
			h := header{version: minorDefault, typ: typeAuthen, seqNo: 3, flags: flagSingleConnect, sessionID: id + uint32(i)}
			together = append(together, packed(h, deviceKey, answerWith([]string{testPassword, "another password"}[i]))...)
		}
		_, err := c.Write(together)
		must(t, err)
		c.receives(t, authenPass)
		c.receives(t, authenPass)
	}
}

// TestRelayEndsAfterReplies: a request that comes together with a packet that ends the connection is still answered.
func TestRelayEndsAfterReplies(t *testing.T) {
	t.Parallel()
	for _, mode := range relayModes {
		s := serveWith(t)
		c := dialDevice(t, relayTo(t, s.addr, split(mode)...))
		must(t, c.login(1, flagSingleConnect))
		h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}
		request := packed(h, deviceKey, papStart("alice", testPassword))
		h.flags |= flagUnencrypted
		_, err := c.Write(append(request, packed(h, deviceKey, papStart("alice", testPassword))...))
		must(t, err)
		for range 2 { // the reply, and the ERROR for the second, in any order
			var reply authenReply
			if _, err := c.receive(&reply); err != nil || reply.status != authenPass && reply.status != authenError {
				t.Errorf("%s: got %+v, %v", mode, reply, err)
			}
		}
		c.checkEnd(t)
	}
}

// TestRelayPromptThenNoServer: after a prompt on a shared connection the session is put again; if no server can be reached then, the device gets
// an ERROR, not the prompt.
func TestRelayPromptThenNoServer(t *testing.T) {
	for _, mode := range relayModes {
		l := listen(t)
		s := startFakeServerOn(t, l, func(c *fakeServerConn) {
			for q := range c.requests {
				if q.user == "bob" {
					l.Close()
					c.Write(c.reply(q, &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "P: "}))
					continue
				}
				c.Write(c.grantReply(q))
			}
		})
		r := relayTo(t, s.addr, split(mode)...)
		c := dialDevice(t, r)
		must(t, c.login(1, flagSingleConnect))
		h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: 2}
		must(t, c.send(h, papStart("bob", testPassword)))
		c.receives(t, authenError)
		t.Logf("%s:\n%s", mode, r.relayed(t))
	}
}

// TestRelayOwnThenShared: a reload between two sessions of one read, after which devices share a connection, does not forget the first.
func TestRelayOwnThenShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		d, _ := pipeDevice(t)
		d.records, d.logins = ctx, ctx
		d.client.single = true
		c := clientFor(t, "127.0.0.1:1")
		own := newRelayConfig(c, nil, false, func(string) {})
		shared := newRelayConfig(c, nil, true, func(string) {})
		d.relay.config.Store(own)
		u := d.ownUpstream(own)
		synctest.Wait() // its pool sleeps
		begin := func(id uint32) {
			h := header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: id}
			d.newMessage(&h)
			equal(t, d.begin(devicePacket{header: h, message: papStart("alice", "x"), at: time.Now()}), "")
		}
		begin(1)
		d.relay.config.Store(shared) // by a reload
		begin(2)
		d.wakeUpstream()
		synctest.Wait()
		time.Sleep(time.Hour)
		if u.jobs.first() != nil {
			t.Error("after an hour nothing has begun the first session")
		}
	})
}

// TestRelayPoolReplaced: a pool that is replaced ends, although a device has asked it for the next session.
func TestRelayPoolReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer synctest.Wait()
		defer cancel()
		d, _ := pipeDevice(t)
		d.records = ctx
		u := newUpstream(clientFor(t, "127.0.0.1:1,127.0.0.1:2"), maxOfDevice, d.client.note)
		d.upstream = u
		go u.run(ctx, d.finishBatch)
		synctest.Wait()
		p := u.pool.Load()
		conn, other := net.Pipe()
		p.mux = newMux(&serverConn{client: p.client, keys: p.client.keys, server: p.client.servers[1], conn: conn, answered: 1, established: true, stopWatch: func() {}}, &p.wakeup, p.beforeWait, discardWarning)
		p.mux.state = &p.state
		p.lower[p.client.servers[0].name] = reuseSequential
		p.wakeup.notify()
		time.Sleep(poolAge + time.Second)
		ended := make(chan struct{})
		go func() { io.Copy(io.Discard, other); close(ended) }()
		synctest.Wait()
		// wakeUpstream, whose goroutine is descheduled between its two calls
		equal(t, u.pool.Load().tryStart(d.records), false)
		synctest.Wait()
		u.notify()
		synctest.Wait()
		if u.pool.Load() == p {
			t.Error("not replaced")
		}
		time.Sleep(10 * time.Hour)
		select {
		case <-ended:
		default:
			t.Error("the pool that was replaced still keeps its connection after 10 hours")
			other.Close()
		}
	})
}
