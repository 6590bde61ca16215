package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestServeConnectionLimit: connections over the limit are refused, until others end.
func TestServeConnectionLimit(t *testing.T) {
	t.Parallel()
	srv, log := newLab(), new(lockedBuffer)
	srv.listener.slots, srv.listener.log.out = make(chan struct{}, 2), newQueuedWriter(context.Background(), log)
	run := startLab(t, srv)
	first, second := dialFakeClient(t, run.addr), dialFakeClient(t, run.addr)
	for _, c := range []*fakeClient{first, second} { // both are served by now
		if err := c.login(1, flagSingleConnect); err != nil {
			t.Fatal(err)
		}
	}
	third := dialFakeClient(t, run.addr)
	third.checkEnd(t)
	if want := third.LocalAddr().String() + " refused: too many connections\n"; !strings.HasSuffix(log.String(), want) {
		t.Errorf("the lines are\n%swithout %s", log, want)
	}
	if err := second.login(2, flagSingleConnect); err != nil {
		t.Error(err)
	}
	first.Close()
	waitUntil(t, "there is room", func() bool { return len(srv.listener.slots) == 1 })
	if err := dialFakeClient(t, run.addr).login(3, 0); err != nil {
		t.Error(err)
	}
}

// TestServeRudeClients: rude clients of all kinds at once do not affect one that logs in again and again.
func TestServeRudeClients(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dribble, silent, deaf, long := dialFakeClient(t, s.addr), dialFakeClient(t, s.addr), dialFakeClient(t, s.addr), dialFakeClient(t, s.addr)
	// The deaf one asks and never reads, until nothing more goes into the connection.
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
	many := bytes.Repeat(packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}}), 1000)
	var flood sync.WaitGroup
	stop := make(chan struct{})
	t.Cleanup(func() { close(stop); deaf.Close(); flood.Wait() })
	flood.Go(func() {
		for {
			if _, err := deaf.Write(many); err != nil {
				return
			}
		}
	})
	for seed := range uint64(2) { // garbage, and garbage after the header of a packet
		flood.Go(func() {
			random := rand.NewChaCha8([32]byte{byte(seed)})
			garbage := make([]byte, 1<<16)
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := net.Dial("tcp", s.addr)
				if err != nil {
					continue
				}
				random.Read(garbage)
				if seed == 1 {
					copy(garbage, "\xc0\x03\x01\x04\x00\x00\x00\x01\x00\x00\x03\xe8")
				}
				for err == nil {
					_, err = conn.Write(garbage)
				}
				conn.Close()
			}
		})
	}
	long.Write(unhex(t, "c1 01 01 00 00000007 ffffffff"))
	data := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1}, testKey, papStart("alice", testPassword))
	began, sent := time.Now(), 0
	for i := 0; sent < len(data); i++ { // a byte of the dribbling client for each login of the other
		if err := dialFakeClient(t, s.addr).login(uint32(i), 0); err != nil {
			t.Fatal(err)
		}
		if time.Since(began) > firstTimeout/2 { // on a slow machine all the rest, before the time is over
			i = len(data) - 1
		}
		if _, err := dribble.Write(data[sent : i+1]); err != nil {
			t.Fatal(err)
		}
		sent = i + 1
	}
	var reply authenReply
	if _, err := dribble.receive(&reply); err != nil || reply.status != authenPass {
		t.Errorf("the one that dribbles is answered with %+v, %v", reply, err)
	}
	if err := silent.login(1, 0); err != nil {
		t.Errorf("the one that said nothing: %v", err)
	}
	long.checkEnd(t)
}

// TestServeRepliesDoNotPileUp: replies are written even if the next packet has always begun.
func TestServeRepliesDoNotPileUp(t *testing.T) {
	t.Parallel()
	h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect}
	first := packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd="}})
	next := packed(h, testKey, &authorRequest{commonFields: commonFields{user: "alice"}, args: []string{"service=shell", "cmd=", "x=" + strings.Repeat("x", 17)}})
	if len(first) != 44 || len(next) != 64 { // 16 KiB end 20 bytes into a packet, more than its header
		t.Fatal(len(first), len(next))
	}
	conn := &stream{Reader: bytes.NewReader(append(first, bytes.Repeat(next, 10_000)...))}
	newLab().serve(t.Context(), conn)
	if conn.largest > maxGathered || conn.out.Len() != 10_001*18 {
		t.Errorf("%d bytes of replies, up to %d in one write", conn.out.Len(), conn.largest)
	}
	srv := newLab() // replies that are longer than their requests
	srv.lab.args = slices.Repeat([]string{"a=" + strings.Repeat("x", 200)}, 10)
	conn = &stream{Reader: bytes.NewReader(bytes.Repeat(first, 100))}
	srv.serve(t.Context(), conn)
	if one := headerLen + 6 + 10*(1+202); conn.largest >= maxGathered+one || conn.out.Len() != 100*one {
		t.Errorf("%d bytes of long replies, up to %d in one write", conn.out.Len(), conn.largest)
	}
}

// TestServeDeadlines: how long a client can hold a connection.
func TestServeDeadlines(t *testing.T) {
	t.Parallel()
	pair, _, err := selfSigned(nil)
	if err != nil {
		t.Fatal(err)
	}
	login := packed(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect}, testKey, papStart("alice", testPassword))
	for _, tt := range []struct {
		name   string
		tls    bool
		client func(net.Conn)
		want   time.Duration
	}{
		{"silent", false, func(net.Conn) {}, firstTimeout},
		{"silent before TLS", true, func(net.Conn) {}, handshakeTimeout},
		{"half a header", false, func(c net.Conn) { c.Write(login[:5]) }, firstTimeout},
		{"dribbles", false, func(c net.Conn) {
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(time.Second)
			}
		}, firstTimeout},
		{"dribbles before TLS", true, func(c net.Conn) {
			c.Write([]byte("\x16\x03\x01\x01\x00"))
			for range 20 {
				c.Write([]byte{0})
				time.Sleep(time.Second)
			}
		}, handshakeTimeout},
		{"idle after a login", false, func(c net.Conn) {
			time.Sleep(9 * time.Second)
			c.Write(login)
			c.Read(make([]byte, 100))
		}, 9*time.Second + idleTimeout},
		{"dribbles after a login", false, func(c net.Conn) {
			c.Write(login)
			c.Read(make([]byte, 100))
			for i := range login {
				c.Write(login[i : i+1])
				time.Sleep(7 * time.Second)
			}
		}, idleTimeout},
		{"never reads", false, func(c net.Conn) { c.Write(login) }, idleTimeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server, client := net.Pipe()
				if tt.tls {
					server = tls.Server(server, &tls.Config{Certificates: pair})
				}
				var rude sync.WaitGroup
				rude.Go(func() { tt.client(client) })
				began := time.Now()
				newLab().serve(t.Context(), server)
				if took := time.Since(began); took != tt.want {
					t.Errorf("ended after %v, want %v", took, tt.want)
				}
				rude.Wait()
			})
		})
	}
}

// TestServeLongReplyDelay: a reply delay can be longer than the idle timeout.
func TestServeLongReplyDelay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newLab()
		srv.delay = 2 * time.Minute
		server, client := net.Pipe()
		var all sync.WaitGroup
		all.Go(func() { srv.serve(t.Context(), server) })
		c := newFakeClient(client)
		c.SetDeadline(time.Time{})
		began := time.Now()
		if err := c.login(1, 0); err != nil || time.Since(began) != srv.delay {
			t.Errorf("a login takes %v: %v", time.Since(began), err)
		}
		client.Close()
		all.Wait()
	})
}

// TestServeTooManyDialogues: the number of dialogues that wait on one connection is limited. The others go on, and
// each that ends makes room.
func TestServeTooManyDialogues(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	c := dialFakeClient(t, s.addr)
	numbers := make(map[uint32]uint8)
	take := func(session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session, say, want, 0}.do(t, c, numbers, flagSingleConnect)
	}
	ask, pass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, &authenReply{status: authenPass}
	again := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password incorrect. Password: "}
	refused := &authenReply{status: authenError, serverMsg: "too many sessions"}
	for i := range uint32(maxDialogues) {
		take(i, asciiStart("alice"), ask)
	}
	take(maxDialogues, asciiStart("alice"), refused)
	take(maxDialogues, says(testPassword), &authenReply{status: authenError, serverMsg: "no such session"})
	take(maxDialogues, papStart("alice", testPassword), pass) // it waits for nothing
	take(0, says("no"), again)
	take(0, says(testPassword), pass)
	take(maxDialogues, asciiStart("alice"), ask)
	take(0, asciiStart("alice"), refused)
	for i := range uint32(maxDialogues) {
		take(i+1, says(testPassword), pass)
	}
}

// TestServeAllDialogues: the number of dialogues that wait on all connections is limited. Each that ends, is aborted
// or loses its connection makes room.
func TestServeAllDialogues(t *testing.T) {
	t.Parallel()
	srv := newLab()
	addr := startLab(t, srv).addr
	first, second := dialFakeClient(t, addr), dialFakeClient(t, addr)
	numbers := make(map[uint32]uint8)
	ask, pass := &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, &authenReply{status: authenPass}
	refused := &authenReply{status: authenError, serverMsg: "too many sessions"}
	take := func(c *fakeClient, session uint32, say message, want *authenReply) {
		t.Helper()
		fakeExchange{session: session, say: say, want: want}.do(t, c, numbers, flagSingleConnect)
	}
	srv.waiting.Store(maxAllDialogues - 2) // of others
	take(first, 1, asciiStart("alice"), ask)
	take(second, 2, asciiStart("alice"), ask)
	take(first, 3, asciiStart("alice"), refused)
	take(second, 4, papStart("alice", testPassword), pass)
	take(first, 1, asciiStart("alice"), ask) // in the place of the one before
	take(second, 5, asciiStart("alice"), refused)
	take(second, 2, says(testPassword), pass)
	take(first, 6, asciiStart("alice"), ask)
	take(second, 7, asciiStart("alice"), refused)
	first.Close()
	waitUntil(t, "the places are free", func() bool { return srv.waiting.Load() == maxAllDialogues-2 })
	take(second, 8, asciiStart("alice"), ask)
	take(second, 9, asciiStart("alice"), ask)
	take(second, 10, asciiStart("alice"), refused)
}

// TestServeDialogueMemory: what dialogues with the largest packets hold. It does not run in parallel, since it
// measures the memory of the process.
func TestServeDialogueMemory(t *testing.T) {
	const dialogues = 100
	srv := newLab()
	p := newLabConn(srv, new(stream))
	feed := func(id uint32, seqNo uint8, m message) {
		body, err := encoded(m)
		if err != nil {
			t.Fatal(err)
		}
		h := &header{version: minorDefault, typ: typeAuthen, seqNo: seqNo, sessionID: id}
		decide := p.continueAuthen
		if seqNo == 1 {
			decide = p.startAuthen
		}
		if _, over, err := decide(h, body); over || err != nil {
			t.Fatalf("%+v ends the dialogue: %v", m, err)
		}
	}
	chpass := &authenStart{action: authenChPass, commonFields: commonFields{typ: authenASCII, service: authenServiceLogin, user: "alice"}}
	before := heapInUse()
	for id := range uint32(dialogues) {
		large := strings.Repeat("x", 60_000)
		feed(2*id, 1, asciiStart(""))
		feed(2*id, 3, &authenContinue{userMsg: "alice", data: large})
		feed(2*id+1, 1, chpass)
		feed(2*id+1, 3, says(testPassword))
		feed(2*id+1, 5, &authenContinue{userMsg: "new", data: large})
	}
	if after := heapInUse(); after > before+2*dialogues*4096 {
		t.Errorf("%d dialogues hold %d KiB", 2*dialogues, (after-before)>>10)
	}
	runtime.KeepAlive(p)
}
