package main

import (
	"context"
	"net"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestClientKeepAlive: a connection that is kept notices by itself that the other side has gone.
func TestClientKeepAlive(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		c := clientOf(t, listen(t))
		c.singleConnect, c.timeout = kept, 8*time.Second
		j := &job{}
		c.begin(j, time.Now())
		l, err := c.dial(t.Context(), j)
		must(t, err)
		defer l.close()
		raw, err := l.conn.(*net.TCPConn).SyscallConn()
		must(t, err)
		get := func(level, option int) (value int) {
			if e := raw.Control(func(fd uintptr) { value, err = syscall.GetsockoptInt(int(fd), level, option) }); e != nil || err != nil {
				t.Fatal(e, err)
			}
			return value
		}
		if on := get(syscall.SOL_SOCKET, syscall.SO_KEEPALIVE) != 0; on != kept {
			t.Errorf("kept %t: keep-alive %t", kept, on)
		}
		if limit := get(syscall.IPPROTO_TCP, tcpUserTimeout); limit != map[bool]int{true: 4000}[kept] {
			t.Errorf("kept %t: TCP_USER_TIMEOUT is %d ms", kept, limit)
		}
		if !kept {
			continue
		}
		if idle, interval, count := get(syscall.IPPROTO_TCP, syscall.TCP_KEEPIDLE), get(syscall.IPPROTO_TCP, syscall.TCP_KEEPINTVL), get(syscall.IPPROTO_TCP, syscall.TCP_KEEPCNT); idle != 15 || interval != 5 || count != 3 {
			t.Errorf("keep-alive after %d s, every %d s, %d times", idle, interval, count)
		}
	}
}

// blackholeAddr returns an address that does not answer a connect: the queue of its listener is full.
func blackholeAddr(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { syscall.Close(fd) })
	must(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	must(t, syscall.Listen(fd, 0))
	at, err := syscall.Getsockname(fd)
	must(t, err)
	addr := (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: at.(*syscall.SockaddrInet4).Port}).String()
	for {
		conn, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { conn.Close() })
	}
}

// TestClientConnectTimeout: an address that does not answer costs --connect-timeout, also if it is the last one. The
// result says how long.
func TestClientConnectTimeout(t *testing.T) {
	t.Parallel()
	dead, good := blackholeAddr(t), serveWith(t)
	got := runWith(t, secretsInEnv, "", split("authenticate alice AT --connect-timeout 250ms --json", "AT", dead+","+good.addr)...)
	list := answers(t, got.out)
	if len(list) != 1 || !list[0].Granted || len(list[0].Attempts) != 1 {
		t.Fatalf("got %+v", got)
	}
	if a := list[0].Attempts[0]; a.Server != dead || a.Address != dead || a.Message != "connect to "+dead+": timed out after 250ms" {
		t.Errorf("attempt %+v", a)
	}
	for options, want := range map[string]string{"--connect-timeout 150ms": "timed out after 150ms", "--timeout 350ms": "timed out after 350ms", "--timeout 350ms --connect-timeout 5": "timed out after 350ms"} {
		if got = runWith(t, secretsInEnv, "", split("authenticate alice "+dead+" "+options)...); got.code != classNetwork.exit() || !strings.Contains(got.err, want) {
			t.Errorf("%s: got %+v", options, got)
		}
	}
}

// TestClientNextAddressLimit: each address has the limit for a connect, of which the first one loses the time for the name.
// Without another server the time for the name does not count. It is not parallel, since it changes the resolver.
func TestClientNextAddressLimit(t *testing.T) {
	t.Parallel()
	_, port, _ := net.SplitHostPort(blackholeAddr(t))
	l, err := net.Listen("tcp", "127.0.0.2:"+port)
	must(t, err)
	defer l.Close()
	const limit = 250 * time.Millisecond
	for _, tt := range []struct {
		name, next string // servers
		addrs      []string
		delay      time.Duration // of the name server
		failed     int           // addresses
	}{
		{"first.limit.test", ",127.0.0.3", []string{"127.0.0.1", "127.0.0.2"}, 0, 1},
		{"only.limit.test", "", []string{"127.0.0.2"}, limit + 100*time.Millisecond, 0},
	} {
		ctx := resolvedBy(t.Context(), func(ctx context.Context, network, addr string) (net.Conn, error) {
			time.Sleep(tt.delay)
			return dnsOf(tt.addrs...)(ctx, network, addr)
		})
		c := clientFor(t, tt.name+":"+port+tt.next)
		c.connectTimeout, c.failoverTimeout = limit, limit
		j := new(job)
		c.begin(j, time.Now())
		conn, err := c.dial(ctx, j)
		if err != nil || len(j.res.Attempts) != tt.failed {
			t.Errorf("%v: %v, attempts %+v", tt.addrs, err, j.res.Attempts)
			continue
		}
		conn.close()
	}
}

// TestBatchBlackhole: one request tries a server that does not answer a connect, and the others do not, also if they are
// in flight at the same time. A connect that had next to no time says nothing of the server.
func TestBatchBlackhole(t *testing.T) {
	t.Parallel()
	var all subtests
	defer all.Wait()
	good := startFakeServer(t, (*fakeServerConn).grantAll)
	for line, failed := range map[string]int{"-c 1 --connect-timeout 2s": 1, "-c 4 --connect-timeout 2s": 1, "-c 1 --timeout 90ms": 4} {
		all.run(t, true, line, func(t *testing.T) {
			got := runWith(t, secretsInEnv, requests(4, papLine), split("batch "+blackholeAddr(t)+","+good.addr+" "+line)...)
			list := answers(t, got.out)
			if n := checkAnswers(t, list, 4); n != 4 && failed == 1 || attemptsOf(list) != failed {
				t.Errorf("%d granted, %d with an earlier attempt: %s", n, attemptsOf(list), got.err)
			}
		})
	}
}

// TestClientLeftWhileConnecting: a device that leaves while the connect is under way counts as unanswered.
func TestClientLeftWhileConnecting(t *testing.T) {
	t.Parallel()
	c := clientFor(t, blackholeAddr(t)+","+refusedAddr(t))
	c.dead = newDeadServers(t.Context(), c.servers, time.Hour, c.tryConnect)
	ctx, leave := context.WithTimeout(t.Context(), leftAfter+100*time.Millisecond)
	defer leave()
	var all sync.WaitGroup
	for range deadAfter {
		all.Go(func() {
			j := &job{}
			c.begin(j, time.Now())
			if _, err := c.dial(ctx, j); err == nil {
				t.Error("connected")
			}
		})
	}
	if all.Wait(); !c.dead.skips(c.servers[0]) {
		t.Error("the server is not dead")
	}
}
