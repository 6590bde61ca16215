//go:build unix

package main

import (
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
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
	if err := <-login; err != nil {
		t.Error(err)
	}
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
	if err := syscall.Mkfifo(filepath.Join(r.dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
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
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s := startFakeServer(t, (*fakeServerConn).grantAll)
	p := newProcess(t, "", []string{"LISTEN_FDS=1"}, "sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", buildBinary(t), "relay", s.addr)
	p.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.ExtraFiles = append(p.ExtraFiles, file)
	p.starts(t)
	p.relays(t)
	p.reloads(t, 1)
	if err := dialFakeClient(t, l.Addr().String()).login(1, 0); err != nil {
		t.Error(err)
	}
	p.gets(t, syscall.SIGTERM)
	if _, got := p.ends(); strings.Contains(got.err, "restart") {
		t.Errorf("stderr is\n%s", got.err)
	}
}
