//go:build unix

package main

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// startRelayProcess starts a relay without a terminal. start is the command line before its own; empty for none.
func startRelayProcess(t *testing.T, env, start []string, options ...string) *process {
	t.Helper()
	p := newProcess(t, "", env, slices.Concat(start, []string{buildBinary(t), "relay", "--listen", "127.0.0.1:0"}, options)...)
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.starts(t)
	return p
}

// relays waits until a relay serves devices.
func (p *process) relays(t *testing.T) {
	t.Helper()
	waitUntil(t, "the relay listens", func() bool { return listening().MatchString(p.err.String()) })
}

// reloads sends SIGHUP and waits for the nth reload.
func (p *process) reloads(t *testing.T, n int) {
	t.Helper()
	p.gets(t, syscall.SIGHUP)
	waitUntil(t, "the relay has reloaded", func() bool { return strings.Count(p.err.String(), "tacacs_plus: reloaded\n") == n })
}

// TestRelayHangup: SIGHUP reloads a relay without a terminal, time and again, and SIGTERM ends it. A relay that was started
// with SIGHUP ignored ignores it.
func TestRelayHangup(t *testing.T) {
	t.Parallel()
	for name, start := range map[string][]string{"reloads": nil, "ignored": {"sh", "-c", `trap '' HUP; exec "$@"`, "sh"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startRelayProcess(t, nil, start, "127.0.0.1:1")
			p.relays(t)
			for n := range 3 {
				if start == nil {
					p.reloads(t, n+1)
				} else {
					p.gets(t, syscall.SIGHUP)
				}
			}
			p.gets(t, syscall.SIGTERM)
			if state, got := p.ends(); state.Signaled() || got.code != 0 || start != nil && strings.Contains(got.err, "reloaded") {
				t.Errorf("it ends with %+v", got)
			}
		})
	}
}

// TestRelayHangupAtEnd: SIGHUP does not cut off the sessions that are under way when SIGTERM comes.
func TestRelayHangupAtEnd(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := startFakeServer(t, func(c *fakeServerConn) {
		q := c.readRequest()
		<-release
		c.Write(c.grantReply(q))
	})
	p := startRelayProcess(t, nil, nil, s.addr)
	p.relays(t)
	addr := listening().FindStringSubmatch(p.err.String())[1]
	login := make(chan error, 1)
	c := dialFakeClient(t, addr)
	go func() { login <- c.login(1, 0) }()
	waitUntil(t, "the server has the login", func() bool { return s.asked("alice") == 1 })
	p.gets(t, syscall.SIGTERM)
	waitUntil(t, "the relay takes no more connections", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	})
	p.gets(t, syscall.SIGHUP)
	close(release)
	must(t, <-login)
	if state, got := p.ends(); state.Signaled() || got.code != 0 || !strings.Contains(got.out, "PASS") {
		t.Errorf("it ends with %+v", got)
	}
}

// TestRelayHangupOfOthers: SIGHUP ends the commands that do not reload.
func TestRelayHangupOfOthers(t *testing.T) {
	t.Parallel()
	p := newProcess(t, "", nil, buildBinary(t), "serve", "--listen", "127.0.0.1:0", "--user", "alice:x")
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.starts(t)
	p.relays(t)
	p.gets(t, syscall.SIGHUP)
	if _, got := p.ends(); strings.Contains(got.err, "reloaded") {
		t.Errorf("serve ends with %+v", got)
	}
}

// TestRelayReloadKeepsTypedKey: a key from stdin, which cannot be read again, outlives a reload.
func TestRelayReloadKeepsTypedKey(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	device := filepath.Join(writeFiles(t, map[string]string{"k": deviceKey}), "k")
	for _, line := range []string{"--key-file - --device-key-file " + device, "--key-file " + filepath.Join(writeFiles(t, map[string]string{"k": testKey}), "k") + " --device-key-file -"} {
		typed := testKey
		if strings.HasSuffix(line, "-") {
			typed = deviceKey
		}
		p := startRelayProcess(t, nil, nil, append([]string{s.addr}, split(line)...)...)
		io.WriteString(p.in, typed+"\n")
		p.in.Close()
		p.relays(t)
		for n := range 2 {
			p.reloads(t, n+1)
			c := dialFakeClient(t, listening().FindStringSubmatch(p.err.String())[1])
			c.key = deviceKey
			if err := c.login(1, 0); err != nil {
				t.Errorf("%s: %v", line, err)
			}
		}
		p.gets(t, syscall.SIGTERM)
		p.ends()
	}
}

// TestRelayReloadPipe: a reload that waits for a pipe does not stop the relay, and gives up.
func TestRelayReloadPipe(t *testing.T) {
	t.Parallel()
	a := startFakeServer(t, (*fakeServerConn).grantAll)
	r := startReloadTest(t, "host "+a.addr, reloadKeys)
	must(t, syscall.Mkfifo(filepath.Join(r.dir, "pipe"), 0o600))
	r.profile(t, "host "+a.addr, "key-file pipe", "device-key-file device.key", "listen 127.0.0.1:0")
	r.hangups <- struct{}{}
	r.goesTo(t, a, "while it waits")
	if code := r.stop(); code != 0 || strings.Contains(r.stderr.String(), "reloaded") {
		t.Errorf("the relay ends with %d and prints %s", code, r.stderr)
	}
}

// TestRelayReloadInheritedSocket: sockets of systemd belong to the addresses that a reload compares.
func TestRelayReloadInheritedSocket(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	must(t, err)
	defer file.Close()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	p := newProcess(t, "", []string{"LISTEN_FDS=1"}, "sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", buildBinary(t), "relay", s.addr)
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.ExtraFiles = append(p.ExtraFiles, file)
	p.starts(t)
	p.relays(t)
	p.reloads(t, 1)
	must(t, dialFakeClient(t, l.Addr().String()).login(1, 0))
	p.gets(t, syscall.SIGTERM)
	if _, got := p.ends(); strings.Contains(got.err, "restart") {
		t.Errorf("stderr is\n%s", got.err)
	}
}

// TestRelayFewDescriptors: the dialogues and connections of one device do not use up the descriptors of the process: another
// device logs in at once.
func TestRelayFewDescriptors(t *testing.T) {
	t.Parallel()
	s := startFakeServer(t, func(c *fakeServerConn) {
		for q := range c.requests {
			if q.user == "greedy" {
				c.Write(c.reply(q, &authenReply{status: authenGetPass}))
			} else {
				c.Write(c.grantReply(q))
			}
		}
	})
	for _, mode := range relayModes {
		limited := []string{"sh", "-c", `ulimit -n 128 && exec "$0" "$@"`, buildBinary(t)}
		p := startProcess(t, "", nil, append(limited, split("relay "+s.addr+" --listen 127.0.0.1:0 "+mode)...)...)
		waitUntil(t, "relay listens", func() bool { return listening().MatchString(p.err.String()) })
		if want := "warning: 128 open files (ulimit -n) allow only 32 connections and 48 sessions"; !strings.Contains(p.err.String(), want) {
			t.Errorf("stderr is\n%s", p.err.String())
		}
		r := &testServer{addr: listening().FindStringSubmatch(p.err.String())[1]}
		greedy := dialFakeClient(t, r.addr)
		refused := 0
		for id := range uint32(100) {
			must(t, greedy.send(header{version: minorDefault, typ: typeAuthen, seqNo: 1, flags: flagSingleConnect, sessionID: id}, asciiStart("greedy")))
			var reply authenReply
			if _, err := greedy.receive(&reply); err != nil {
				t.Fatal(id, err, p.out.String())
			}
			if reply.status == authenError {
				refused++
			}
		}
		for range 40 {
			dialFakeClient(t, r.addr)
		}
		other := dialSecondDevice(t, r)
		other.key = testKey
		if err := other.login(1, 0); err != nil || refused != 100-36 {
			t.Errorf("%s: %d dialogues refused; the other device gets %v\n%s", mode, refused, err, p.out.String())
		}
	}
}

// A fakeSystemd receives the messages of a service.
type fakeSystemd struct {
	socket string // NOTIFY_SOCKET

	mu       sync.Mutex
	messages []string // not yet returned
}

// startSystemd listens on a socket of that name, or in a folder of its own.
func startSystemd(t *testing.T, socket string) *fakeSystemd {
	t.Helper()
	if socket == "" {
		dir, err := os.MkdirTemp("", "") // t.TempDir may be too long for a socket
		must(t, err)
		t.Cleanup(func() { os.RemoveAll(dir) })
		socket = filepath.Join(dir, "notify")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	s := &fakeSystemd{socket: socket}
	go func() {
		for message := make([]byte, 4096); ; {
			n, err := conn.Read(message)
			if err != nil {
				return
			}
			s.mu.Lock()
			s.messages = append(s.messages, string(message[:n]))
			s.mu.Unlock()
		}
	}()
	return s
}

// receives returns the next message.
func (s *fakeSystemd) receives(t *testing.T) (message string) {
	t.Helper()
	waitUntil(t, "the service sends a message", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.messages) == 0 {
			return false
		}
		message, s.messages = s.messages[0], s.messages[1:]
		return true
	})
	return message
}

// receivesUntil returns the messages before last, and those that have come after it.
func (s *fakeSystemd) receivesUntil(t *testing.T, last string) (messages, more []string) {
	t.Helper()
	for message := s.receives(t); message != last; message = s.receives(t) {
		messages = append(messages, message)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return messages, s.messages
}

// A notifyingRelay is a relay as a service of systemd.
type notifyingRelay struct {
	stderr lockedBuffer
	cancel func()
	ended  chan struct{}
	code   exitCode
}

// startNotifying runs relay with the variables of systemd. Each value of hangups is a SIGHUP.
func startNotifying(t *testing.T, variables map[string]string, hangups chan struct{}, args ...string) *notifyingRelay {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r := &notifyingRelay{cancel: cancel, ended: make(chan struct{})}
	go func() {
		r.code = run(ctx, args, stdio{in: strings.NewReader(""), out: io.Discard, err: &r.stderr, hangups: func() <-chan struct{} { return hangups },
			env: func(name string) string {
				return cmp.Or(variables[name], map[string]string{"TACACS_PLUS_KEY": testKey}[name])
			}})
		close(r.ended)
	}()
	t.Cleanup(r.stop)
	return r
}

func (r *notifyingRelay) stop() { r.cancel(); <-r.ended }

// addr returns the address that the relay has said to listen on.
func (r *notifyingRelay) addr(t *testing.T) string {
	t.Helper()
	waitUntil(t, "the relay listens", func() bool { return listening().MatchString(r.stderr.String()) })
	return listening().FindStringSubmatch(r.stderr.String())[1]
}

const readyMessage = "READY=1\nSTATUS=serving devices"

// TestRelayNotifyUnread: the relay serves devices although nobody reads its messages.
func TestRelayNotifyUnread(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "") // t.TempDir may be too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	at := &net.UnixAddr{Name: filepath.Join(dir, "notify"), Net: "unixgram"}
	unread, err := net.ListenUnixgram("unixgram", at)
	must(t, err)
	t.Cleanup(func() { unread.Close() })
	filler, err := net.DialUnix("unixgram", nil, at)
	must(t, err)
	defer filler.Close()
	for err == nil {
		_ = filler.SetWriteDeadline(time.Now().Add(50 * time.Millisecond))
		_, err = filler.Write([]byte("full"))
	}
	s := serveWith(t)
	r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": at.Name}, nil, split("relay SERVER --listen 127.0.0.1:0", "SERVER", s.addr)...)
	got := runWith(t, secretsInEnv, "", split("authenticate alice AT -t pap", "AT", r.addr(t))...)
	got.check(t, 0, "PASS\n", "")
	waitUntil(t, "stderr has the reason", func() bool { return strings.Contains(r.stderr.String(), "notify systemd at "+at.Name+": ") })
}

// TestRelayNotify: systemd learns that the relay serves devices once it does, and that it stops before the end of the
// replies under way. The socket has a path, or a name in Linux.
func TestRelayNotify(t *testing.T) {
	t.Parallel()
	server := listen(t)
	for _, socket := range []string{"", "@tacacs_plus test " + strconv.Itoa(os.Getpid())} {
		if socket != "" && runtime.GOOS != "linux" {
			continue
		}
		systemd := startSystemd(t, socket)
		r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": systemd.socket}, nil, append(relayArgs(t, server.Addr().String()), "--drain-time", "60")...)
		equal(t, systemd.receives(t), readyMessage, "the first message")
		device, login := dialFakeClient(t, r.addr(t)), make(chan error, 1)
		device.key = deviceKey
		go func() { login <- device.login(1, 0) }()
		conn, err := server.Accept()
		must(t, err)
		upstream := newFakeClient(conn)
		h, err := upstream.receive(new(authenStart))
		must(t, err)
		r.cancel()
		equal(t, systemd.receives(t), "STOPPING=1", "the second message")
		h.seqNo++
		upstream.send(h, &authenReply{status: authenPass})
		must(t, <-login)
		upstream.Close()
		device.Close()
		<-r.ended
		if r.code != classGranted.exit() || strings.Contains(r.stderr.String(), "systemd") {
			t.Errorf("%q: exit code %d, %s", socket, r.code, &r.stderr)
		}
		must(t, sendDatagram(systemd.socket, "end"))
		equal(t, systemd.receives(t), "end", "the last message")
	}
}

// TestRelayNotifyFailure: a relay that cannot start is never ready. One that cannot reach systemd serves devices, with one
// warning.
func TestRelayNotifyFailure(t *testing.T) {
	t.Parallel()
	server, systemd := serveWith(t), startSystemd(t, "")
	for _, test := range []struct {
		option, value string
		code          exitCode
	}{
		{"--listen", server.addr, classNetwork.exit()},
		{"--device-key-file", "missing", classUsage.exit()},
		{"--max-connections", "none", classUsage.exit()},
	} {
		r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": systemd.socket}, nil, append(relayArgs(t, server.addr), test.option, test.value)...)
		<-r.ended
		if r.code != test.code {
			t.Errorf("%s: exit code %d, %s", test.option, r.code, &r.stderr)
		}
	}
	must(t, sendDatagram(systemd.socket, "end"))
	equal(t, systemd.receives(t), "end", "of a relay that does not start")
	socket := systemd.socket + " gone"
	r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "4000"}, nil, relayArgs(t, server.addr)...)
	warning := "tacacs_plus: notify systemd at " + socket + ": no such file or directory\n"
	waitUntil(t, "the relay warns", func() bool { return strings.Contains(r.stderr.String(), warning) })
	got := runWith(t, map[string]string{"TACACS_PLUS_KEY": deviceKey, "TACACS_PLUS_PWD": testPassword}, "", "authenticate", "alice", r.addr(t))
	r.stop()
	if got.code != classGranted.exit() || r.code != classGranted.exit() || strings.Count(r.stderr.String(), "systemd") != 1 {
		t.Errorf("%+v; exit code %d, %s", got, r.code, &r.stderr)
	}
}

// TestRelayWatchdog: the watchdog is fed if it is meant for this process.
func TestRelayWatchdog(t *testing.T) {
	t.Parallel()
	server := serveWith(t)
	self := strconv.Itoa(os.Getpid())
	for _, test := range []struct {
		limit, pid string
		fed        bool
	}{
		{"40000", self, true}, {"40000", "", true}, {"1", self, true},
		{"4000", "1", false}, {"", self, false}, {"0", self, false}, {"-4000", self, false}, {"4 s", self, false}, {"99999999999999999999", self, false},
	} {
		systemd := startSystemd(t, "")
		r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": systemd.socket, "WATCHDOG_USEC": test.limit, "WATCHDOG_PID": test.pid}, nil, relayArgs(t, server.addr)...)
		want := []string{readyMessage}
		if test.fed {
			want = append(want, "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1")
		}
		for _, message := range want {
			equal(t, systemd.receives(t), message, test)
		}
		if got := runWith(t, map[string]string{"TACACS_PLUS_KEY": deviceKey, "TACACS_PLUS_PWD": testPassword}, "", "authenticate", "alice", r.addr(t)); got.code != classGranted.exit() {
			t.Errorf("%+v: %+v", test, got)
		}
		r.stop()
		before, after := systemd.receivesUntil(t, "STOPPING=1")
		if test.fed {
			before = slices.DeleteFunc(before, func(message string) bool { return message == "WATCHDOG=1" })
		}
		if len(before) > 0 || len(after) > 0 || r.code != classGranted.exit() {
			t.Errorf("%+v: then %q, STOPPING and %q, exit code %d", test, before, after, r.code)
		}
	}
}

// TestRelayUnit: the command of the unit starts a relay from a profile, and starts it again if it records.
func TestRelayUnit(t *testing.T) {
	t.Parallel()
	unit := contentOf(t, "systemd/tacacs_plus-relay@.service")
	match := regexp.MustCompile(`(?m)^ExecStart=/usr/bin/tacacs_plus (.*)/etc/tacacs_plus/%i$`).FindStringSubmatch(string(unit))
	if match == nil {
		t.Fatal("the unit does not start a profile")
	}
	server, systemd := serveWith(t), startSystemd(t, "")
	profile := "host " + server.addr + "\nkey-file server.key\nlisten 127.0.0.1:0\n"
	for _, lines := range []string{profile, profile + "record seen.pcap\n"} {
		dir := writeFiles(t, map[string]string{"branch": lines, "server.key": testKey})
		for range 2 {
			r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": systemd.socket}, nil, strings.Fields(match[1]+filepath.Join(dir, "branch"))...)
			waitUntil(t, "the relay starts", func() bool {
				select {
				case <-r.ended:
					t.Fatalf("it ends: %s", &r.stderr)
				default:
				}
				return listening().MatchString(r.stderr.String())
			})
			if got := runWith(t, secretsInEnv, "", "authenticate", "alice", r.addr(t)); got.code != classGranted.exit() {
				t.Errorf("%+v", got)
			}
			r.stop()
			if before, _ := systemd.receivesUntil(t, "STOPPING=1"); !slices.Equal(before, []string{readyMessage}) || r.code != classGranted.exit() {
				t.Errorf("got %q, exit code %d, %s", before, r.code, &r.stderr)
			}
		}
		if got, err := os.ReadFile(filepath.Join(dir, "seen.pcap")); (err == nil) != strings.Contains(lines, "record") || err == nil && bytes.Count(got, []byte("alice")) < 2 {
			t.Errorf("the record: %d bytes, %v", len(got), err)
		}
	}
}

// A timedListener is a listening socket without connections. Accept ends at the deadline.
type timedListener struct {
	accepts  func() error // nil: it waits for the deadline
	stuck    atomic.Bool  // Accept does not return
	closed   atomic.Bool
	deadline time.Time
}

func (l *timedListener) Addr() net.Addr                { return &net.TCPAddr{} }
func (l *timedListener) Close() error                  { l.closed.Store(true); return nil }
func (l *timedListener) SetDeadline(t time.Time) error { l.deadline = t; return nil }

func (l *timedListener) Accept() (net.Conn, error) {
	for l.stuck.Load() {
		time.Sleep(time.Second)
	}
	if l.closed.Load() {
		return nil, net.ErrClosed
	}
	if l.accepts != nil && time.Until(l.deadline) > 0 {
		time.Sleep(100 * time.Millisecond)
		return &remoteConn{stream: stream{Reader: strings.NewReader("")}, addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}}, l.accepts()
	}
	time.Sleep(time.Until(l.deadline))
	return nil, os.ErrDeadlineExceeded
}

// TestRelayWatchdogStarves: the watchdog is fed while every socket accepts connections or has none, also when some of them
// cannot be accepted.
func TestRelayWatchdogStarves(t *testing.T) {
	t.Parallel()
	noMore := &net.OpError{Op: "accept", Err: syscall.EMFILE}
	for name, test := range map[string]struct {
		accepts func() error
		stuck   bool
		fed     bool
	}{
		"no connections":      {fed: true},
		"connections":         {accepts: func() error { return nil }, fed: true},
		"one in ten accepted": {accepts: oneIn(10, noMore), fed: true},
		"none accepted":       {accepts: func() error { return noMore }},
		"stuck":               {stuck: true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			other, tested := new(timedListener), &timedListener{accepts: test.accepts}
			l := newListener()
			l.listeners = []listeningSocket{{Listener: other}, {Listener: tested}}
			var fed atomic.Int32
			n := &notifier{watchdog: 20 * time.Second, send: func(state string) {
				if state == "WATCHDOG=1" {
					fed.Add(1)
				}
			}}
			wait := n.serving(ctx, l)
			var all sync.WaitGroup
			tested.stuck.Store(test.stuck)
			for i := range l.listeners {
				all.Go(func() { l.accept(ctx, l.listeners[i], &all, func(context.Context, net.Conn) {}) })
			}
			time.Sleep(20 * time.Second) // what happened before counts for a while
			fed.Store(0)
			time.Sleep(time.Minute)
			if got := fed.Load(); (got > 0) != test.fed || test.fed && got < 10 {
				t.Errorf("%s: fed %d times in a minute", name, got)
			}
			tested.stuck.Store(false)
			cancel()
			wait()
			l.close()
			all.Wait()
		})
	}
}

// oneIn returns a function that returns err except every n-th time.
func oneIn(n int, err error) func() error {
	calls := 0
	return func() error {
		if calls++; calls%n == 0 {
			return nil
		}
		return err
	}
}

// TestRelayWatchdogBlocked: the watchdog is not fed while no connection can be admitted.
func TestRelayWatchdogBlocked(t *testing.T) {
	t.Parallel()
	l := newListener()
	l.listeners = []listeningSocket{{Listener: listen(t)}}
	var fed atomic.Int32
	n := &notifier{watchdog: 4 * time.Millisecond, send: func(string) { fed.Add(1) }}
	ctx, cancel := context.WithCancel(t.Context())
	wait := n.serving(ctx, l)
	var all sync.WaitGroup
	all.Go(func() { l.accept(ctx, l.listeners[0], &all, nil) })
	waitUntil(t, "the watchdog is fed", func() bool { return fed.Load() > 3 })
	l.mu.Lock()
	before := fed.Load()
	time.Sleep(reactionTime)
	if got := fed.Load() - before; got > 1 {
		t.Errorf("fed %d times more", got)
	}
	l.mu.Unlock()
	before = fed.Load()
	waitUntil(t, "the watchdog is fed again", func() bool { return fed.Load() > before+3 })
	cancel()
	wait()
	l.close()
	all.Wait()
}

// TestRelayNotifyReload: systemd learns when a reload begins, by its own clock, and how it has ended.
func TestRelayNotifyReload(t *testing.T) {
	t.Parallel()
	server, systemd := serveWith(t), startSystemd(t, "")
	args := relayArgs(t, server.addr)
	keyFile := args[len(args)-1]
	hangups := make(chan struct{})
	r := startNotifying(t, map[string]string{"NOTIFY_SOCKET": systemd.socket}, hangups, args...)
	equal(t, systemd.receives(t), readyMessage, "the first message")
	for _, test := range []struct{ key, then string }{
		{"another key of the devices", readyMessage},
		{"", "READY=1\nSTATUS=not reloaded: no key of the devices in " + keyFile},
		{deviceKey, readyMessage},
	} {
		must(t, os.WriteFile(keyFile, []byte(test.key), 0o600))
		before := monotonicTime().Microseconds()
		hangups <- struct{}{}
		began := systemd.receives(t)
		after := monotonicTime().Microseconds()
		text, found := strings.CutPrefix(began, "RELOADING=1\nMONOTONIC_USEC=")
		if usec, err := strconv.ParseInt(text, 10, 64); !found || err != nil || usec < before || usec > after {
			t.Errorf("%q: got %q, between %d and %d", test.key, began, before, after)
		}
		equal(t, systemd.receives(t), test.then, test.key)
	}
	r.cancel()
	equal(t, systemd.receives(t), "STOPPING=1", "the last message")
}

// TestRelayNotifyClock: the time is that since the host has started, as in /proc/uptime.
func TestRelayNotifyClock(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Skip("there is no /proc/uptime")
	}
	uptime, err := time.ParseDuration(strings.Fields(string(text))[0] + "s")
	if got := monotonicTime(); err != nil || got <= 0 || got > uptime+patience {
		t.Errorf("got %v at %v, %v", got, uptime, err)
	}
	if first := monotonicTime(); monotonicTime() < first {
		t.Error("the time goes back")
	}
}

// TestRelayCheckNoFiles: without --record and --metrics-file no file is tried, not even one in the working directory.
func TestRelayCheckNoFiles(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	must(t, os.Remove(dir))
	must(t, new(relayOptions).tryFiles(t.Context()))
}
