package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// attemptsOf returns how many answers have an earlier attempt.
func attemptsOf(list []answer) (n int) {
	for _, a := range list {
		if len(a.Attempts) > 0 {
			n++
		}
	}
	return n
}

// TestBatchSkipsDeadServer: only one request tries a server that refuses connections, and three one that does not answer,
// unless the memory is off.
func TestBatchSkipsDeadServer(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	silent := func(t *testing.T) string {
		return startFakeServer(t, func(c *fakeServerConn) {
			for c.readRequest() != nil {
			}
		}).addr
	}
	for _, tt := range []struct {
		name    string
		server  func(*testing.T) string
		line    string
		options string
		failed  int
	}{
		{"refuses", refusedAddr, papLine, "", 1},
		{"refuses dialogues", refusedAddr, asciiLine, "", 1},
		{"refuses records", refusedAddr, acctLine, "", 1},
		{"refuses, memory off", refusedAddr, papLine, " --dead-time 0", 8},
		{"is silent", silent, papLine, " --timeout 1500ms", 3},
		{"is silent to dialogues", silent, asciiLine, " --timeout 1500ms", 3},
	} {
		all.run(t, strings.Contains(tt.options, "--timeout"), tt.name, func(t *testing.T) {
			good := startFakeServer(t, (*fakeServerConn).grantAll)
			got := runWith(t, secretsInEnv, requests(8, tt.line), split("batch AT -c 1"+tt.options, "AT", tt.server(t)+","+good.addr)...)
			list := answers(t, got.out)
			if n := checkAnswers(t, list, 8); n != 8 || attemptsOf(list) != tt.failed || attemptsOf(list[:tt.failed]) != tt.failed {
				t.Errorf("%d granted, %d with an earlier attempt: %s", n, attemptsOf(list), got.err)
			}
		})
	}
}

// TestCommandFileSkipsDeadServer: so does authorize --cmd-file.
func TestCommandFileSkipsDeadServer(t *testing.T) {
	t.Parallel()
	dead, good := refusedAddr(t), startFakeServer(t, (*fakeServerConn).grantAll)
	for options, all := range map[string]bool{"": false, "--dead-time 0": true} {
		got := runWith(t, secretsInEnv, strings.Repeat("show version\n", 20), split("authorize alice "+dead+","+good.addr+" --cmd-file - --json "+options)...)
		list := answers(t, got.out)
		if n := attemptsOf(list); len(list) != 20 || got.code != classGranted.exit() || (n == 20) != all || n == 0 {
			t.Errorf("%s: %d of %d with an earlier attempt", options, n, len(list))
		}
	}
}

// TestBatchDeadServerReturns: a connect in the background brings a dead server back, with TLS only after a handshake.
// No request is spent on it.
func TestBatchDeadServerReturns(t *testing.T) {
	t.Parallel()
	pair, ca, err := selfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(writeFiles(t, map[string]string{"ca.pem": string(ca)}), "ca.pem")
	secure := &tls.Config{Certificates: pair}
	for name, overTLS := range map[string]bool{"clear": false, "TLS": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, other := listen(t), listen(t)
			first := l.Addr().String()
			if !overTLS {
				first = downAddr(t)
			}
			options := []string{first + "," + other.Addr().String(), "-c", "1", "--dead-time", "20ms"}
			var refused sync.WaitGroup
			if overTLS {
				options = append(options, "--tls", "--cacert", file)
				other = tls.NewListener(other, secure)
				refused.Go(func() {
					for range 3 { // the request, and the background twice
						if conn, err := l.Accept(); err == nil {
							conn.Close() // no handshake
						}
					}
				})
			}
			good := startFakeServerOn(t, other, (*fakeServerConn).grantAll)
			k := startBatch(t, options...)
			k.send(fmt.Sprintf(papLine, `"user":"u0"`))
			if a := k.receive(); !a.Granted || a.Server != good.addr || len(a.Attempts) != 1 {
				t.Fatalf("first answer: %+v", a)
			}
			refused.Wait()
			k.send(fmt.Sprintf(papLine, `"user":"u1"`))
			if a := k.receive(); !a.Granted || a.Server != good.addr || len(a.Attempts) != 0 {
				t.Errorf("answer while it is dead: %+v", a)
			}
			if overTLS {
				l = tls.NewListener(l, secure)
			} else if l, err = net.Listen("tcp", first); err != nil {
				t.Fatal(err)
			}
			back := startFakeServerOn(t, l, (*fakeServerConn).grantAll)
			waitUntil(t, "requests go to the first server", func() bool {
				k.send(fmt.Sprintf(papLine, `"user":"u2"`))
				a := k.receive()
				if !a.Granted || len(a.Attempts) != 0 {
					t.Errorf("answer %+v", a)
				}
				return a.Server == first
			})
			if k.end(); back.connections() < 2 { // the first one in the background
				t.Errorf("%d connections to the server that is back", back.connections())
			}
		})
	}
}

// TestPoolReplacesConnection: a shared connection that takes no new session is replaced at once, while a session on it
// is still under way. That session still gets its reply.
func TestPoolReplacesConnection(t *testing.T) {
	t.Parallel()
	var once sync.Once
	replaced := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		if c.number > 1 {
			once.Do(func() { close(replaced) })
			c.grantAll()
			return
		}
		c.Write(c.grantReply(c.readRequest()))
		list := c.readRequests(2)
		c.Write(c.grantReply(list[1], func(h *header) { h.seqNo = 4 }))
		select {
		case <-replaced:
		case <-t.Context().Done():
		}
		for c.in.Buffered() > 0 { // sent before the client read the wrong reply
			list = append(list, c.readRequest())
		}
		c.Write(c.grantReply(list[0]))
		for _, q := range list[2:] {
			c.Write(c.grantReply(q))
		}
		c.grantAll()
	})
	k := startBatch(t, s.addr, "-c", "100")
	n := 0
	send := func() {
		k.send(fmt.Sprintf(authorLine, fmt.Sprintf(`"user":"u%d"`, n)))
		n++
	}
	send()
	k.receive()
	send()
	send()
	for running := true; running; send() {
		select {
		case <-replaced:
			running = false
		case <-t.Context().Done():
			t.Fatal("the connection is not replaced")
		case <-time.After(5 * time.Millisecond):
		}
	}
	for i := 1; i < n; i++ {
		if a := k.receive(); a.Granted != (i != 2) {
			t.Errorf("answer %d: %+v %+v", i, a, a.Error)
		}
	}
	k.end()
}

// TestPoolDrainsFew: at most maxDraining connections are drained at a time, each until its sessions have ended.
func TestPoolDrainsFew(t *testing.T) {
	p := newPool(clientFor(t, "tac1"), 2*maxDraining)
	var others []net.Conn
	for i := range maxDraining + 1 {
		conn, other := net.Pipe()
		others = append(others, other)
		p.mux = newMux(&serverConn{client: p.client, keys: p.client.keys, server: p.client.servers[0], conn: conn, answered: 1, noNewSessions: true, stopWatch: func() {}}, p.wakeup.ch, nil, discardWarning)
		j := &job{request: new(authorization)}
		p.client.begin(j, time.Now())
		j.session.conn, j.session.deadline = p.mux.conn, time.Now().Add(patience)
		p.mux.inFlight.push(&j.place, j)
		p.mux.byID[0] = j
		p.retireShared(t.Context(), p.client.servers[0])
		if drained := p.mux == nil; drained != (i < maxDraining) || p.draining != min(i+1, maxDraining) || p.inFlight() != i+1 {
			t.Errorf("connection %d: drained %t, %d at a time, %d jobs", i, drained, p.draining, p.inFlight())
		}
	}
	for _, other := range others {
		other.Close()
	}
	p.workers.Wait()
	if len(p.fromDraining) != maxDraining || len(p.drained) != maxDraining {
		t.Errorf("%d jobs and %d connections have ended", len(p.fromDraining), len(p.drained))
	}
	for len(p.fromDraining) > 0 {
		if j := <-p.fromDraining; !strings.Contains(fmt.Sprint(j.err), "closed") {
			t.Errorf("job: %v", j.err)
		}
	}
}

// TestPoolFirstWait: requests do not wait longer than maxFirstWait for the first reply on a shared connection.
func TestPoolFirstWait(t *testing.T) {
	t.Parallel()
	others := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		if q == nil {
			return
		}
		if q.user == "u0" {
			select {
			case <-others:
			case <-t.Context().Done():
			}
		}
		c.Write(c.grantReply(q))
		c.grantAll()
	})
	k := startBatch(t, s.addr, "-c", "4")
	k.send(fmt.Sprintf(papLine, `"user":"u0"`))
	waitUntil(t, "the first request arrives", func() bool { return s.asked("u0") == 1 })
	for i := 1; i < 4; i++ {
		k.send(fmt.Sprintf(papLine, fmt.Sprintf(`"user":"u%d"`, i)))
	}
	waitUntil(t, "the others arrive", func() bool { return s.asked("u1")+s.asked("u2")+s.asked("u3") == 3 })
	close(others)
	for i := range 4 {
		if a := k.receive(); !a.Granted {
			t.Errorf("answer %d: %+v", i, a)
		}
	}
	k.end()
}

// TestPoolReadsIdleConnection: the pool notices that the server has closed an idle connection, and closes it too, before
// there is another request.
func TestPoolReadsIdleConnection(t *testing.T) {
	t.Parallel()
	ended := make(chan int, 1)
	s := startFakeServer(t, startingWith(func(c *fakeServerConn) {
		c.Write(c.grantReply(c.readRequest()))
		c.Conn.(*net.TCPConn).CloseWrite()
		ended <- c.ends()
	}))
	k := startBatch(t, s.addr)
	k.send(fmt.Sprintf(acctLine, `"user":"u0"`))
	k.receive()
	if n := <-ended; n != 0 {
		t.Errorf("%d more packets", n)
	}
	k.send(fmt.Sprintf(acctLine, `"user":"u1"`))
	if a := k.receive(); !a.Granted {
		t.Errorf("record on a new connection: %+v", a)
	}
	if got := k.end(); strings.Contains(got.err, "busy connections") {
		t.Errorf("an idle connection counts as busy: %s", got.err)
	}
}

// TestMuxIdle: the wait on an idle connection ends at its time, after a wakeup, and at the end of ctx.
func TestMuxIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, other := net.Pipe()
		defer other.Close()
		defer conn.Close()
		w := &wakeup{ch: make(chan struct{}, 1)}
		l := &serverConn{client: new(client), conn: conn}
		w.conn.Store(l)
		m := newMux(l, w.ch, func() {}, discardWarning)
		ended, end := context.WithCancel(t.Context())
		end()
		began := time.Now()
		m.idle(ended, time.Time{})
		w.notify()
		m.idle(t.Context(), time.Time{})
		if m.idle(t.Context(), began.Add(time.Minute)); time.Since(began) != time.Minute {
			t.Errorf("waited %v", time.Since(began))
		}
		go func() {
			time.Sleep(time.Second)
			w.notify()
		}()
		if m.idle(t.Context(), time.Time{}); time.Since(began) != time.Minute+time.Second || len(w.ch) != 0 || l.noNewSessions {
			t.Errorf("waited %v", time.Since(began))
		}
		other.Close()
		if m.idle(t.Context(), time.Time{}); !l.noNewSessions {
			t.Error("the end of the connection is not noticed")
		}
	})
}
