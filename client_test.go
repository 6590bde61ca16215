package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestRequesterReusedConnection checks section 4.3: a server may close a connection at any time. A request
// that meets this on a reused connection is sent once more on a new one.
func TestRequesterReusedConnection(t *testing.T) {
	t.Parallel()
	const single = " --single-connect"
	for _, tt := range []struct {
		name, options string
		conns         []string // actions of the server on each connection, one for each packet
		code          exitCode
		out, err      string
	}{
		{"closed before the request", single, []string{"restart", "pass"}, 0, `PASS\n`, ``},
		{"closed at the request", single, []string{"restart close", "pass"}, 0, `PASS\n`, ``},
		{"closed again", single, []string{"restart close", "close"}, 4, ``, `.* closed the connection before it answered\n.*\n`},
		{"closed within the answer", single, []string{"restart half"}, 4, ``, `.* closed the connection in the middle of its reply, after 5 bytes\n`},
		{"closed in a dialogue", single + " --answer x", []string{"getpass getdata close"}, 4, ``, `.* closed the connection before it answered; the login may have taken effect\n.*\n`},
		{"a new one, closed", single, []string{"close"}, 4, ``, `.* closed the connection before it answered\n.*\n`},
		{"kept", single, []string{"restart pass"}, 0, `PASS\n`, ``},
		{"not asked for", "", []string{"restart", "pass"}, 0, `PASS\n`, ``},
		{"not asked for, closed", "", []string{"restart", "close"}, 4, ``, `.* closed the connection before it answered\n.*\n`},
		{"refused", single, []string{"restart-refused", "pass"}, 0, `PASS\n`, ``},
		{"refused, closed", single, []string{"restart-refused", "close"}, 4, ``, `.* closed the connection before it answered\n.*\n`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var ids sync.Map
			s := startFakeServer(t, func(c *fakeServerConn) {
				if c.number > len(tt.conns) {
					return
				}
				for action := range strings.FieldsSeq(tt.conns[c.number-1]) {
					h, _, err := c.act(action)
					if err != nil {
						t.Errorf("connection %d, %s: %v", c.number, action, err)
						return
					}
					if _, twice := ids.LoadOrStore(h.sessionID, true); twice && h.seqNo == 1 {
						t.Errorf("session_id %08x is used twice", h.sessionID)
					}
				}
			})
			got := runWith(t, secretsInEnv, "", split("authenticate alice AT"+tt.options, "AT", s.addr)...)
			if strings.Contains(tt.conns[0], "restart") {
				got.err = strings.TrimPrefix(got.err, "tacacs_plus: warning: the server requested a restart with pap instead of ascii\n")
			}
			got.check(t, tt.code, tt.out, tt.err)
			if n := s.connections(); n != len(tt.conns) {
				t.Errorf("%d connections, want %d", n, len(tt.conns))
			}
		})
	}
}

// TestRequesterRepeatsOnce: every request can be sent again, except a record that was written.
func TestRequesterRepeatsOnce(t *testing.T) {
	t.Parallel()
	author := func() dialogue {
		return &authorization{request: authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}}
	}
	login := func() dialogue {
		return &authentication{action: authenLogin, password: testPassword, chapID: -1,
			fields: commonFields{user: "alice", typ: authenPAP, service: authenServiceLogin}}
	}
	asciiLogin := func() dialogue {
		return &authentication{action: authenLogin, password: testPassword, chapID: -1,
			fields: commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}}
	}
	account := func() dialogue {
		return &record{request: acctRequest{flags: acctStart, commonFields: commonFields{user: "alice"}, args: []string{"task_id=1", "service=shell"}}}
	}
	for _, tt := range []struct {
		name    string
		request func() dialogue
		dead    bool // the connection, before the write
		first   string
		second  string
		code    exitCode
		conns   int
	}{
		{"authorization", author, false, "add close", "add", 0, 2},
		{"authentication", login, false, "add close", "pass", 0, 2},
		{"record, written", account, false, "add close", "success", 4, 1},
		{"record, not written", account, true, "add close", "success", 0, 2},
		{"authentication, within the dialogue", asciiLogin, false, "add getpass close", "getpass pass", 4, 1},
		{"authorization, not written", author, true, "add", "add", 0, 2},
		{"record", account, false, "add success", "", 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var records atomic.Int32
			s := startFakeServer(t, func(c *fakeServerConn) {
				for action := range strings.FieldsSeq([]string{tt.first, tt.second}[c.number-1]) {
					if h, _, err := c.act(action); err != nil {
						return
					} else if h.typ == typeAcct {
						records.Add(1)
					}
				}
			})
			a := requester{client: clientFor(t, s.addr), keepConn: true}
			defer a.close()
			j := &job{request: author()}
			if a.do(t.Context(), j); j.err != nil {
				t.Fatal(j.err)
			}
			if tt.dead {
				a.conn.conn = deadConn{a.conn.conn}
			}
			j = &job{request: tt.request()}
			a.do(t.Context(), j)
			if code := j.class().exit(); code != tt.code || s.connections() != tt.conns || records.Load() > 1 {
				t.Errorf("got %v after %d connections and %d records", j.err, s.connections(), records.Load())
			}
		})
	}
}

// TestSessionNumbers checks section 4.1: a session has one session_id, and seq_no increases by two from
// packet to packet of the client.
func TestSessionNumbers(t *testing.T) {
	t.Parallel()
	headers := make(chan header, 100)
	s := startFakeServer(t, func(c *fakeServerConn) {
		for _, action := range []string{"getpass", "getdata", "pass"} {
			h, _, err := c.act(action)
			if err != nil {
				t.Error(err)
			}
			h.length = 0
			headers <- h
		}
	})
	seen := make(map[uint32]bool)
	for range 20 {
		got := runWith(t, secretsInEnv, "", split("authenticate alice AT --answer 1", "AT", s.addr)...)
		got.check(t, 0, `PASS\n`, ``)
		want := header{version: minorDefault, typ: typeAuthen, seqNo: 1}
		for range 3 {
			h := <-headers
			if want.seqNo == 1 {
				want.sessionID = h.sessionID
			}
			if h != want {
				t.Errorf("got the header %+v, want %+v", h, want)
			}
			want.seqNo += 2
		}
		if seen[want.sessionID] {
			t.Errorf("session_id %08x is used twice", want.sessionID)
		}
		seen[want.sessionID] = true
	}
}

// TestClientInterrupted interrupts the client wherever it waits for the server.
func TestClientInterrupted(t *testing.T) {
	const line = "authenticate alice AT --timeout 1h"
	for name, tt := range map[string]struct {
		line   string
		server func(c *fakeServerConn) // before the interruption
	}{
		"before the reply":     {line, func(c *fakeServerConn) { c.act("close") }},
		"within the reply":     {line, func(c *fakeServerConn) { c.act("half") }},
		"in a dialogue":        {line, func(c *fakeServerConn) { c.act("getpass"); c.act("close") }},
		"in the TLS handshake": {line + " --tls --insecure", func(c *fakeServerConn) { c.in.Peek(1) }},
		"on a reused one":      {line + " --single-connect", func(c *fakeServerConn) { c.act("restart"); c.act("close") }},
		"before another one":   {"authenticate alice AT,AT --timeout 1h --retries 3", func(c *fakeServerConn) { c.act("close") }},
	} {
		t.Run(name, func(t *testing.T) {
			reached, over := make(chan struct{}), make(chan struct{})
			s := startFakeServer(t, func(c *fakeServerConn) {
				tt.server(c)
				close(reached)
				<-over
			})
			got := runUntil(t, reached, tt.line, "AT", s.addr)
			close(over)
			got.check(t, classInterrupted.exit(), ``, `(?:.*warning: .*\n)*tacacs_plus: interrupted\n`)
			if n := s.connections(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
	t.Run("before the connection", func(t *testing.T) {
		l := listen(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		j := &job{request: new(authorization)}
		(&requester{client: clientOf(t, l)}).do(ctx, j)
		if j.err == nil || j.class() != classInterrupted {
			t.Error(j.err)
		}
		checkUntouched(t, l)
	})
	t.Run("in the resolver", func(t *testing.T) {
		asked := make(chan struct{})
		notify := sync.OnceFunc(func() { close(asked) }) // one query for each address family
		resolveWith(t, func(context.Context, string, string) (net.Conn, error) {
			notify()
			silent, _ := net.Pipe()
			return silent, nil
		})
		runUntil(t, asked, line, "AT", "tac1.test").check(t, classInterrupted.exit(), ``, `tacacs_plus: interrupted\n`)
	})
}

// TestClientAborts: the client sends an ABORT (section 5.4.3) if there is no answer to a prompt, or the user
// interrupts it.
func TestClientAborts(t *testing.T) {
	t.Parallel()
	silent, _ := io.Pipe()
	for name, tt := range map[string]struct {
		person bool
		class  class
	}{
		"no answer":   {false, classDenied},
		"interrupted": {true, classInterrupted},
	} {
		t.Run(name, func(t *testing.T) {
			l := listen(t)
			last := make(chan message, 1)
			startFakeServerOn(t, l, func(c *fakeServerConn) {
				c.act("getdata")
				_, m, _ := c.act("close")
				last <- m
			})
			ctx, interrupt := context.WithCancel(t.Context())
			defer interrupt()
			q := &authentication{action: authenLogin, fields: commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}}
			r := &requester{client: clientOf(t, l)}
			if tt.person {
				r.ask = (&terminal{lines: bufio.NewReader(silent), out: writerFunc(func([]byte) { interrupt() })}).ask
			}
			j := &job{request: q}
			if r.do(ctx, j); j.err == nil || j.class() != tt.class {
				t.Errorf("got %v", j.err)
			}
			if m, ok := (<-last).(*authenContinue); !ok || ok && (m.flags != authenAbort || m.userMsg != "") {
				t.Errorf("the server's last packet is %+v", m)
			}
		})
	}
}

// askPerson runs a login in which ask answers the prompts of a server, and returns how long it took.
func askPerson(ctx context.Context, timeout time.Duration, ask askFunc, serve func(*fakeServerConn)) (*job, time.Duration) {
	conn, other := net.Pipe()
	peer := &fakeServerConn{Conn: other, server: &fakeServer{requests: make(map[string]int)}, in: bufio.NewReader(other), key: testKey}
	var replies sync.WaitGroup
	replies.Go(func() { serve(peer) })
	began := time.Now()
	c := &client{servers: make([]server, 1), keys: []key{{source: "test", value: testKey}}, timeout: timeout}
	a := requester{client: c, ask: ask, conn: &serverConn{client: c, keys: c.keys, conn: conn, established: true, idleSince: began, stopWatch: func() {}}}
	j := &job{request: &authentication{action: authenLogin, fields: commonFields{user: "alice", typ: authenASCII, service: authenServiceLogin}}}
	a.do(ctx, j)
	took := time.Since(began)
	other.Close()
	replies.Wait()
	return j, took
}

// TestClientPausesForAPerson: the timeout does not run while a person types an answer.
func TestClientPausesForAPerson(t *testing.T) {
	for name, tt := range map[string]struct {
		timeout time.Duration
		actions []string
		want    time.Duration
		status  string
	}{
		"answered": {5 * time.Second, []string{"getdata", "getdata", "pass"}, 2*time.Hour + 3*time.Second, "PASS"},
		"too slow": {2500 * time.Millisecond, []string{"getdata", "getdata", "pass"}, 2*time.Hour + 2500*time.Millisecond, ""},
		"silent":   {9 * time.Second, []string{"getdata"}, time.Hour + 9*time.Second, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				person := &terminal{out: io.Discard, lines: bufio.NewReader(readerFunc(func(p []byte) (int, error) {
					time.Sleep(time.Hour)
					return copy(p, "123456\n"), nil
				}))}
				person.stops.Do(func() {}) // without the watch for Ctrl-Z, which would not end
				j, took := askPerson(t.Context(), tt.timeout, person.ask, func(peer *fakeServerConn) {
					for _, action := range tt.actions {
						peer.in.Peek(1)
						time.Sleep(time.Second)
						peer.act(action)
					}
				})
				if took != tt.want || j.res.Status != tt.status || (j.err == nil) != (tt.status != "") {
					t.Errorf("got %v with %q, %v", took, j.res.Status, j.err)
				}
			})
		})
	}
}

// TestClientInterruptedAtAPrompt: an interruption during the prompt does not wait for the next reply.
func TestClientInterruptedAtAPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		ask := func(context.Context, string, bool) (string, error) {
			cancel(errInterrupted)
			return "123456", nil
		}
		j, took := askPerson(ctx, time.Minute, ask, func(peer *fakeServerConn) {
			peer.act("getdata")
			io.Copy(io.Discard, peer.in)
		})
		if took != 0 || j.class() != classInterrupted {
			t.Errorf("got %v after %v, want an interruption at once", j.err, took)
		}
	})
}

// TestClientAddresses checks the address that the client connects to, its source address, and rem_addr.
func TestClientAddresses(t *testing.T) {
	other := "127.0.0.1"
	if runtime.GOOS == "linux" {
		other = "127.0.0.2" // all of 127/8 is this host
	}
	resolveWith(t, dnsOf("127.0.0.3", "127.0.0.1", "::1"))
	for _, tt := range []struct{ host, options, peer, remAddr string }{
		{"127.0.0.1", "", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1", "-4", "127.0.0.1", "127.0.0.1"},
		{"127.0.0.1", "--source " + other, other, other},
		{"127.0.0.1", "--source " + other + " --rem-addr async", other, "async"},
		{"[::ffff:127.0.0.1]", "", "127.0.0.1", "127.0.0.1"},
		{"[::ffff:127.0.0.1]", "-4", "127.0.0.1", "127.0.0.1"},
		{"tac1.test", "-4", "127.0.0.1", "127.0.0.1"}, // the second of its addresses
		{"tac1.test", "--source 127.0.0.1", "127.0.0.1", "127.0.0.1"},
		{"[::1]", "", "::1", "::1"},
		{"[::1]", "-6", "::1", "::1"},
		{"[::1]", "--source ::1", "::1", "::1"},
		{"tac1.test", "-6", "::1", "::1"},
	} {
		l, err := net.Listen("tcp", net.JoinHostPort(map[bool]string{false: "127.0.0.1", true: "::1"}[strings.Contains(tt.peer, ":")], "0"))
		if err != nil {
			t.Log("without IPv6:", tt, err)
			continue
		}
		asked := make(chan *authorRequest, 1)
		var peer string
		startFakeServerOn(t, l, func(c *fakeServerConn) {
			peer = addrPortOf(c.RemoteAddr()).Addr().String()
			_, m, _ := c.act("add")
			asked <- m.(*authorRequest)
		})
		_, port, _ := net.SplitHostPort(l.Addr().String())
		got := runWith(t, secretsInEnv, "", split("authorize alice "+tt.host+":"+port+" "+tt.options)...)
		if got != (runResult{classGranted.exit(), "PASS_ADD\n", ""}) {
			t.Errorf("%+v: %+v", tt, got)
			continue
		}
		if m := <-asked; m.remAddr != tt.remAddr || peer != tt.peer {
			t.Errorf("%+v: the connection is from %s, rem_addr is %q", tt, peer, m.remAddr)
		}
	}
}

// TestClientNoConnection checks the errors for a name without an address and an address without a server.
func TestClientNoConnection(t *testing.T) {
	port := refusedAddr(t)[len("127.0.0.1"):]
	for _, tt := range []struct {
		dns           func(context.Context, string, string) (net.Conn, error)
		line, message string
	}{
		{dnsOf(), "tac1.test", `resolve tac1\.test: .*no such host\ntacacs_plus: hint: check the name, or give the server's address\n`},
		{func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no network") },
			"tac1.test", `resolve tac1\.test: .*no network\ntacacs_plus: hint: check the name servers of this host, or give the server's address\n`},
		{func(context.Context, string, string) (net.Conn, error) { c, _ := net.Pipe(); return c, nil },
			"tac1.test --timeout 200ms", `resolve tac1\.test: .*timeout\ntacacs_plus: hint: check the name servers of this host, or give the server's address\n`},
		{dnsOf("127.0.0.1", "::"), "tac1.test" + port + " -4 --timeout 3", `connect to .*: connection refused\n.*\n`},
		{dnsOf("127.0.0.1", "::"), "tac1.test" + port + " --source 127.0.0.1 --timeout 3", `connect to .*: connection refused\n.*\n`},
		{dnsOf("127.0.0.1"), "tac1.test -6", `tac1\.test has no IPv6 address\ntacacs_plus: hint: check -6, which restricts the address family\n`},
		{dnsOf("::1"), "tac1.test -4", `tac1\.test has no IPv4 address\ntacacs_plus: hint: .*\n`},
		{dnsOf("::1"), "tac1.test --source 127.0.0.1", `tac1\.test has no IPv4 address\ntacacs_plus: hint: .*\n`},
		{dnsOf("127.0.0.1", "127.0.0.1"), "tac1.test" + port, `connect to tac1\.test:\d+ \[127\.0\.0\.1 127\.0\.0\.1\]: connection refused\ntacacs_plus: hint: check the port: 49.*\n`},
		{dnsOf(), "127.0.0.1" + port + " --source 192.0.2.1", `connect to 127\.0\.0\.1:\d+: .*\ntacacs_plus: hint: check --source and --interface.*\n`},
	} {
		resolveWith(t, tt.dns)
		got := runWith(t, secretsInEnv, "", split("authorize alice "+tt.line)...)
		got.check(t, classNetwork.exit(), ``, `tacacs_plus: `+tt.message)
	}
}

// TestClientSwappedHost: if no connection is possible, a hint suggests what the user meant.
func TestClientSwappedHost(t *testing.T) {
	resolveWith(t, dnsOf())
	for _, tt := range []struct{ line, hint string }{
		{"authenticate 192.0.2.1 alice", "swap USER and HOST: 192.0.2.1 looks like the server"},
		{"authenticate 127.0.0.1:6001 alice", "swap USER and HOST: 127.0.0.1:6001 looks like the server"},
		{"authenticate [::1]:49 alice", "swap USER and HOST: [::1]:49 looks like the server"},
		{"authenticate tac1:49 alice", "swap USER and HOST: tac1:49 looks like the server"},
		{"check 192.0.2.1 alice", "swap USER and HOST: 192.0.2.1 looks like the server"},
		{"check [::1]:49 alice --json", "swap USER and HOST: [::1]:49 looks like the server"},
		{"bench 192.0.2.1 alice -n 1 --json", "swap USER and HOST: 192.0.2.1 looks like the server"},
		{"batch -u 192.0.2.1 -H alice", "swap USER and HOST: 192.0.2.1 looks like the server"},
		{"authenticate 192.0.2.1,192.0.2.2 alice", "swap USER and HOST: 192.0.2.1,192.0.2.2 looks like the server"},
		{"authorize tac1,tac2 alice", "swap USER and HOST: tac1,tac2 looks like the server"},
		{"check alice bob", "check the name, or give the server's address"},
		{"authenticate alice bob", "check the name, or give the server's address"},
		{"authenticate 192.0.2.1 REFUSED", "check the port: 49, or 300 for TLS"},
	} {
		got := runWith(t, secretsInEnv, `{"command":"authorize"}`, split(tt.line, "REFUSED", refusedAddr(t))...)
		if got.code != classNetwork.exit() || !strings.Contains(got.out+got.err, "hint") || !strings.Contains(got.out+got.err, tt.hint) {
			t.Errorf("%s: got %+v, want %s", tt.line, got, tt.hint)
		}
	}
	net.DefaultResolver.Dial = dnsOfName("tac1", "192.0.2.1")
	for line, hint := range map[string]string{
		"authenticate tac1 alice":          "swap USER and HOST: tac1 is the name of a host, and alice is not",
		"account tac1 alice -f start":      "swap USER and HOST: tac1 is the name of a host, and alice is not",
		"check tac1 alice,bob --timeout 3": "swap USER and HOST: tac1 is the name of a host, and alice is not",
		"authenticate tac2 alice":          "check the name, or give the server's address",
		"authenticate a@b alice":           "check the name, or give the server's address",
		"check alice":                      "check the name, or give the server's address",
	} {
		line = strings.Replace(line, "check alice", "check -H alice", 1)
		if got := runWith(t, secretsInEnv, "", split(line)...); got.code != classNetwork.exit() || !strings.Contains(got.out+got.err, "hint: "+hint+"\n") {
			t.Errorf("%s: got %+v, want %s", line, got, hint)
		}
	}
	for host, want := range map[string][2]string{
		"::1:5001": {"::1", "5001"}, "2001:db8::1:49": {"2001:db8::1", "49"}, "::1": {}, "2001:db8::1": {}, "192.0.2.1:49": {},
		"::1:0": {}, "::1:ffff": {}, "tac1": {}, "::1:70000": {},
	} {
		if addr, port := cutPort(host); [2]string{addr, port} != want {
			t.Errorf("%s: %q %q", host, addr, port)
		}
	}
	c, noBrackets := &client{timeout: time.Second}, newServer("::1:5001", 49)
	for err, message := range map[error]string{
		syscall.ENETUNREACH: "connect to [::1:5001]:49: network is unreachable", context.DeadlineExceeded: "connect to [::1:5001]:49: timed out after 1s",
	} {
		if f := c.connectFailure(&noBrackets, nil, time.Second, err); f.Error() != message || f.hint != "write an IPv6 address with a port in brackets: [::1]:5001" {
			t.Errorf("got %v, hint: %s", f, f.hint)
		}
	}
	if f := c.connectFailure(&noBrackets, nil, time.Second, syscall.ECONNREFUSED); f.hint != "check that the server runs, and the port; with --tls it is 300" {
		t.Errorf("the hint is %q", f.hint)
	}
}

// unusable are replies to a request that no client can use. A closed connection and silence are no replies.
var unusable = map[string]func(c *fakeServerConn, q *fakeRequest){
	"garbled": func(c *fakeServerConn, q *fakeRequest) { c.key += "x"; c.Write(c.grantReply(q)) },
	"empty": func(c *fakeServerConn, q *fakeRequest) {
		c.Write(c.grantReply(q, func(h *header) { h.length = 0 })[:headerLen])
	},
	"misnumbered": func(c *fakeServerConn, q *fakeRequest) { c.Write(c.grantReply(q, func(h *header) { h.seqNo = 4 })) },
	"wrong type": func(c *fakeServerConn, q *fakeRequest) {
		c.Write(c.grantReply(q, func(h *header) { h.typ = h.typ%3 + 1 }))
	},
	"cut":     func(c *fakeServerConn, q *fakeRequest) { c.Write(c.grantReply(q)[:headerLen+2]) },
	"foreign": func(c *fakeServerConn, q *fakeRequest) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) },
	"closed":  func(c *fakeServerConn, q *fakeRequest) {},
	"silent":  func(c *fakeServerConn, q *fakeRequest) { c.ends() },
}

// replyingWith returns a server that grants u0 and replies in this way to all others.
func replyingWith(t *testing.T, reply func(c *fakeServerConn, q *fakeRequest)) *fakeServer {
	t.Helper()
	return startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		if q != nil && q.user == "u0" {
			c.Write(c.grantReply(q))
			q = c.readRequest()
		}
		if q != nil {
			reply(c, q)
		}
	})
}

// TestClientRecordIsSentOnce: a record that was sent is not sent again after a reply that cannot be used, or none: neither
// to the same server nor to another, with --retries or without. A login is.
func TestClientRecordIsSentOnce(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	for name, reply := range unusable {
		for _, line := range []string{
			"account u1 AT", "account u1 AT --single-connect", "batch AT -c 1 " + acctLine, "batch AT -c 1 " + papLine, "batch AT -c 1 " + asciiLine, "authenticate u1 AT", "authenticate u1 AT -t pap --single-connect", "authorize u1 AT",
		} {
			all.run(t, name == "silent", name+" "+line, func(t *testing.T) {
				first, second := replyingWith(t, reply), startFakeServer(t, (*fakeServerConn).grantAll)
				args, input, batch := strings.Cut(line, " {")
				if batch {
					input = requests(2, "{"+input)
				}
				args += " --timeout 2"
				got := runWith(t, secretsInEnv, input, split(args, "AT", first.addr+","+second.addr)...)
				record := strings.Contains(line, "account")
				if sent := second.asked("u1") > 0; sent == record || (got.code == classGranted.exit()) == record {
					t.Errorf("sent to the second server: %t, got %+v", sent, got)
				}
				if record && (first.asked("u1") != 1 || !strings.Contains(got.out+got.err, "the record may be written, so it is not sent again")) {
					t.Errorf("sent %d times, got %+v", first.asked("u1"), got)
				}
				if !record {
					return
				}
				alone := replyingWith(t, reply)
				got = runWith(t, secretsInEnv, input, split(args+" --retries 2", "AT", alone.addr)...)
				if alone.asked("u1") != 1 || got.code == classGranted.exit() {
					t.Errorf("with --retries sent %d times, got %+v", alone.asked("u1"), got)
				}
			})
		}
	}
}

// TestClientPasswordIsSentOnce: what may have changed the password or may be a one-time code is not sent again after a reply
// that cannot be used, or none. A password is.
func TestClientPasswordIsSentOnce(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	const change, answers = "chpass u1 AT --new-password-file DIR/new", "authenticate u1 AT --answer 123456"
	dir := writeFiles(t, map[string]string{"new": "new password"})
	for _, tt := range []struct{ line, prompts, effect string }{
		{change, "getdata", ""}, {change, "getdata getpass", "the password may be changed"}, {change, "getpass getpass", "the password may be changed"},
		{answers, "getpass", ""}, {answers, "getpass getdata", "the login may have taken effect"}, {answers, "getdata", "the login may have taken effect"},
		{"authenticate u1 AT", "getpass", ""}, {answers + " --answer-repeated", "password password", "the login may have taken effect"},
	} {
		for _, name := range []string{"garbled", "cut", "closed", "silent"} {
			all.run(t, name == "silent", name+" "+tt.prompts+" "+tt.line, func(t *testing.T) {
				script := func(c *fakeServerConn) {
					for prompt := range strings.FieldsSeq(tt.prompts) {
						if prompt == "password" {
							c.Write(c.reply(c.readRequest(), &authenReply{status: authenGetPass, serverMsg: "Password:"}))
							continue
						}
						c.act(prompt)
					}
					unusable[name](c, c.readRequest())
				}
				first, second := startFakeServer(t, script), startFakeServer(t, script)
				line := split(tt.line+" --timeout "+choose(name == "silent", "1500ms", "1h"), "AT", first.addr+","+second.addr, "DIR", dir)
				got := runWith(t, secretsInEnv, "", line...)
				if again := second.asked("u1") > 0; again == (tt.effect != "") || !again && !strings.Contains(got.err, "; "+tt.effect+", so it is not sent again\n") || got.code < 4 {
					t.Errorf("sent to the second server: %t, got %+v", again, got)
				}
				if got = runWith(t, secretsInEnv, "", split(strings.Join(line, " "), ","+second.addr, "")...); !strings.Contains(got.err, choose(tt.effect == "", "", "; "+tt.effect+"\n")) {
					t.Errorf("one server: got %+v", got)
				}
			})
		}
	}
}

// TestClientRecordAfterError: a record to which a server readably replies ERROR goes to the next one.
func TestClientRecordAfterError(t *testing.T) {
	t.Parallel()
	for _, change := range []func(*header){func(*header) {}, func(h *header) { h.version ^= 1 }} {
		for _, line := range []string{"account u1 AT", "batch AT -c 1"} {
			first := replyingWith(t, func(c *fakeServerConn, q *fakeRequest) { c.Write(c.reply(q, &acctReply{status: acctError}, change)) })
			second := startFakeServer(t, (*fakeServerConn).grantAll)
			got := runWith(t, secretsInEnv, requests(2, acctLine), split(line, "AT", first.addr+","+second.addr)...)
			if got.code != classGranted.exit() || first.asked("u1") != 1 || second.asked("u1") != 1 {
				t.Errorf("%s: sent %d and %d times, got %+v", line, first.asked("u1"), second.asked("u1"), got)
			}
		}
	}
}

// TestClientConnectLimit checks the limit for the connect to one address.
func TestClientConnectLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const s = time.Second
		ctx, cancel := context.WithTimeout(t.Context(), 10*s)
		defer cancel()
		for _, tt := range []struct {
			explicit, failover time.Duration
			addrs              int
			another            bool
			want               time.Duration
		}{
			{0, 0, 1, false, 10 * s}, {0, 0, 2, true, 5 * s},
			{0, 3 * s, 1, false, 10 * s}, {0, 3 * s, 1, true, 3 * s}, {0, 3 * s, 5, true, 2 * s}, {0, 3 * s, 2, false, 5 * s},
			{4 * s, 4 * s, 1, false, 4 * s}, {4 * s, 4 * s, 1, true, 4 * s}, {20 * s, 20 * s, 1, true, 10 * s},
		} {
			c := &client{timeout: 10 * s, connectTimeout: tt.explicit, failoverTimeout: tt.failover}
			equal(t, c.connectLimit(ctx, tt.addrs, tt.another), tt.want, tt)
		}
	})
}

// TestClientResolveLimit: the limit for a connect holds for a name server that does not answer too, while another server is
// left. It is not parallel, since it changes the resolver.
func TestClientResolveLimit(t *testing.T) {
	t.Parallel()
	ctx := resolvedBy(t.Context(), func(context.Context, string, string) (net.Conn, error) {
		_, client := net.Pipe()
		return client, nil
	})
	silent := newServer("silent.test", portClear)
	const limit = 50 * time.Millisecond
	for _, tt := range []struct {
		what              string
		servers           []server
		timeout, explicit time.Duration
		limited           bool
	}{
		{"two servers", []server{silent, named("B")}, 4 * time.Second, 0, true},
		{"two servers, --connect-timeout", []server{silent, named("B")}, 4 * time.Second, limit, true},
		{"one server", []server{silent}, 4 * limit, 0, false},
		{"one server, --connect-timeout", []server{silent}, 4 * limit, limit, false},
	} {
		c := &client{servers: tt.servers, timeout: tt.timeout, connectTimeout: tt.explicit, failoverTimeout: limit}
		j := new(job)
		c.begin(j, time.Now())
		_, err := c.dial(ctx, j)
		if early := time.Now().Before(j.session.deadline); early != tt.limited || classOf(err) != classNetwork || outcomeOf(err) != outcomeNotSent {
			t.Errorf("%s: %v, before the timeout: %t", tt.what, err, early)
		}
	}
}

// TestRequesterRedialFails: a request that met the end of a connection is tried on a new one, once.
func TestRequesterRedialFails(t *testing.T) {
	t.Parallel()
	l := listen(t)
	s := startFakeServerOn(t, l, func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		stopListening(t, l)
		c.readRequest()
	})
	r := requester{client: clientFor(t, s.addr), keepConn: true}
	defer r.close()
	for _, class := range []class{classGranted, classNetwork} {
		j := &job{request: &authorization{request: authorRequest{args: []string{"service=shell", "cmd="}}}}
		if r.do(t.Context(), j); j.class() != class || j.turn != 0 {
			t.Errorf("%v, turn %d", j.err, j.turn)
		}
	}
}

// TestClientHasNextServer: another server is left if a later turn goes to one, but not to one that is skipped.
func TestClientHasNextServer(t *testing.T) {
	a, b := named("A"), named("B")
	for _, tt := range []struct {
		servers []server
		retries int
		turn    int
		dead    bool // B
		want    bool
	}{
		{[]server{a}, 0, 0, false, false}, {[]server{a}, 3, 0, false, false}, {[]server{a, a}, 0, 0, false, false},
		{[]server{a, b}, 0, 0, false, true}, {[]server{a, b}, 0, 1, false, false}, {[]server{a, b}, 1, 1, false, true}, {[]server{a, b}, 1, 3, false, false},
		{[]server{a, b}, 0, 0, true, false}, {[]server{a, b}, 1, 1, true, true},
	} {
		c := &client{servers: tt.servers, retries: tt.retries}
		c.dead = newDeadServers(t.Context(), tt.servers, time.Hour, nil)
		j := &job{order: tt.servers, turn: tt.turn}
		if tt.dead {
			c.dead.connectFailed(b, errDown)
		}
		equal(t, c.hasNextServer(j), tt.want, tt)
	}
}

// TestClientNextTurn: a job skips dead servers in its first round only.
func TestClientNextTurn(t *testing.T) {
	servers := []server{named("A"), named("B"), named("C")}
	c := &client{servers: servers, retries: 1}
	c.dead = newDeadServers(t.Context(), servers, time.Hour, nil)
	c.dead.connectFailed(named("B"), errDown)
	j := &job{}
	c.begin(j, time.Now())
	asked := j.server().host
	for more := true; more; {
		c.dead.connectFailed(*j.server(), errDown)
		if j.turn, more = c.nextTurn(j); more {
			asked += j.server().host
		}
	}
	if asked != "ACBACB" { // all are dead after the second
		t.Errorf("asked %s", asked)
	}
	c.dead.answered(named("C"), time.Now())
	j = &job{}
	c.begin(j, time.Now())
	asked = j.server().host
	for more := true; more; {
		if j.turn, more = c.nextTurn(j); more {
			asked += j.server().host
		}
	}
	if asked != "CCAB" {
		t.Errorf("with two dead servers, asked %s", asked)
	}
}

// TestClientRecordSilence checks which ends of a session count as a first reply that did not come.
func TestClientRecordSilence(t *testing.T) {
	ended, end := context.WithCancel(t.Context())
	end()
	now := time.Now()
	for _, tt := range []struct {
		name    string
		came    outcome
		session session
		ctx     context.Context
		counts  bool
	}{
		{"timed out", outcomeTimedOut, session{unanswered: true}, t.Context(), true},
		{"timed out at once", outcomeTimedOut, session{unanswered: true, deadline: now.Add(minReplyTime - 1)}, t.Context(), false},
		{"timed out on a connection that answered", outcomeTimedOut, session{unanswered: true, reused: true}, t.Context(), true},
		{"answered before", outcomeTimedOut, session{}, t.Context(), false},
		{"lost", outcomeConnLost, session{unanswered: true}, t.Context(), true},
		{"lost a connection that answered", outcomeConnLost, session{unanswered: true, reused: true}, t.Context(), false},
		{"not sent", outcomeNotSent, session{unanswered: true}, t.Context(), true},
		{"not sent on a connection that answered", outcomeNotSent, session{unanswered: true, reused: true}, t.Context(), false},
		{"another service", outcomeUnreadable, session{unanswered: true}, t.Context(), true},
		{"never begun", outcomeDecided, session{unanswered: true}, t.Context(), false},
		{"the flag", outcomeFlagViolation, session{unanswered: true}, t.Context(), false},
		{"interrupted", outcomeDecided, session{unanswered: true, sentAt: now.Add(-time.Minute)}, ended, true},
		{"interrupted soon", outcomeDecided, session{unanswered: true}, ended, false},
	} {
		servers := []server{named("A"), named("B")}
		c := &client{servers: servers, dead: newDeadServers(t.Context(), servers, time.Hour, nil)}
		for range deadAfter {
			j := &job{order: servers, session: tt.session, err: errDown}
			if j.session.sentAt.IsZero() {
				j.session.sentAt = now
			}
			if j.session.deadline.IsZero() {
				j.session.deadline = now.Add(time.Minute)
			}
			c.recordSilence(tt.ctx, j, tt.came)
		}
		if dead := c.dead.skips(named("A")); dead != tt.counts {
			t.Errorf("%s: dead %t", tt.name, dead)
		}
	}
}

// TestClientTriedAddresses: the result has every address that was tried, with its error.
func TestClientTriedAddresses(t *testing.T) {
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	_, port, _ := net.SplitHostPort(s.addr)
	resolveWith(t, dnsOf("127.0.0.2", "127.0.0.3", "127.0.0.1"))
	name := "tac1.test:" + port
	list := answers(t, runWith(t, secretsInEnv, "", "authorize", "alice", name, "--json").out)
	if len(list) != 1 || !list[0].Granted || list[0].Server != name || len(list[0].Attempts) != 2 {
		t.Fatalf("got %+v", list)
	}
	for i, a := range list[0].Attempts {
		addr := fmt.Sprintf("127.0.0.%d", i+2)
		if a.Server != name || a.Address != addr+":"+port || a.Class != "network" || a.Message != "connect to "+name+" ["+addr+"]: connection refused" || a.Hint == "" {
			t.Errorf("attempt %d: %+v", i, a)
		}
	}
	got := runWith(t, secretsInEnv, "", "authorize", "alice", name, "-v")
	if want := "attempt: 127.0.0.2:" + port + ": connect to " + name + " [127.0.0.2]: connection refused\n"; !strings.Contains(got.out, want) {
		t.Errorf("-v prints %s, want %s", got.out, want)
	}

	// The last address of a server that fails is that of its attempt.
	resolveWith(t, dnsOf("127.0.0.2", "127.0.0.3"))
	list = answers(t, runWith(t, secretsInEnv, "", "authorize", "alice", name+","+s.addr, "--json").out)
	if len(list) != 1 || !list[0].Granted || len(list[0].Attempts) != 2 || list[0].Attempts[0].Address != "127.0.0.2:"+port || list[0].Attempts[1].Address != "127.0.0.3:"+port {
		t.Errorf("got %+v", list)
	}
}

// TestClientDeviceNames: --vrf is another name of --interface, on the command line and in a profile.
func TestClientDeviceNames(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dir := writeFiles(t, map[string]string{"profile": "vrf no-such-device\n"})
	for line, want := range map[string]string{
		"--vrf no-such-device":                            "check --source and --interface",
		"--interface no-such-device --vrf no-such-device": "check --source and --interface",
		"@" + filepath.Join(dir, "profile"):               "check --source and --interface",
		"--interface one --vrf two":                       `option --vrf: "two" is not "one", which was given before: --interface and --vrf are the same`,
		"--vrf one --interface two":                       `option --interface: "two" is not "one"`,
	} {
		if got := runWith(t, secretsInEnv, "", split("authenticate alice AT "+line, "AT", s.addr)...); !strings.Contains(got.err, want) && !(strings.Contains(want, "check") && strings.Contains(got.err, "--interface needs Linux")) {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestClientDeadTime checks the values of --dead-time.
func TestClientDeadTime(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]time.Duration{"0": 0, "0s": 0, "0.0": 0, "2.5": 2500 * time.Millisecond, "1m": time.Minute, "-1": -1, "": -1, "25h": -1, "x": -1} {
		o := newOptionSet()
		got := addDeadTime(o)
		if err := o.find("dead-time").value.Set(value); (err != nil) != (want < 0) || err == nil && *got != want {
			t.Errorf("%q: %v, %v", value, *got, err)
		}
	}
	if *addDeadTime(newOptionSet()) != 30*time.Second {
		t.Error("the default is not 30 s")
	}
}

// TestClientNotSentAgain: the error of a record that is not sent again has the cause, the class and the hint.
func TestClientNotSentAgain(t *testing.T) {
	c := &client{servers: []server{named("A"), named("B")}}
	cause := errors.New("cause")
	j := &job{request: &record{}, err: &attemptError{failf(classNetwork, "why: %w", cause).withHint("do this"), outcomeTimedOut}}
	c.begin(j, time.Now())
	if again := c.recordOutcome(t.Context(), j, discardWarning); again || !errors.Is(j.err, cause) || classOf(j.err) != classNetwork || asFailure(j.err).hint != "do this" ||
		!regexp.MustCompile(`^why: cause; the record may be written`).MatchString(j.err.Error()) {
		t.Errorf("%t, %v", again, j.err)
	}
	j = &job{request: &record{}, turn: 1, err: &attemptError{failf(classNetwork, "why"), outcomeTimedOut}}
	if c.begin(j, time.Now()); c.recordOutcome(t.Context(), j, discardWarning) || j.err.Error() != "why" {
		t.Errorf("without another server: %v", j.err)
	}
}
