//go:build unix

package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// activated starts the program with sockets as systemd passes them. names has a name for each socket.
func activated(t *testing.T, names string, sockets []*os.File, args ...string) *process {
	t.Helper()
	p := newProcess(t, "", []string{fmt.Sprint("LISTEN_FDS=", len(sockets)), "LISTEN_FDNAMES=" + names},
		slices.Concat([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", buildBinary(t)}, args)...)
	p.ExtraFiles = sockets
	p.starts(t)
	return p
}

// listenFile returns a socket that listens on a free port, and its address.
func listenFile(t *testing.T, addr string) (*os.File, string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", addr)
	must(t, err)
	t.Cleanup(func() { l.Close() })
	file, err := l.(*net.TCPListener).File()
	must(t, err)
	t.Cleanup(func() { file.Close() })
	return file, l.Addr().String()
}

// listens waits until a process listens on all addresses, and checks that there are no others.
func (p *process) listens(t *testing.T, want ...string) {
	t.Helper()
	var got []string
	waitUntil(t, "the program listens", func() bool {
		got = nil
		for _, m := range listening().FindAllStringSubmatch(p.err.String(), -1) {
			got = append(got, m[1])
		}
		return len(got) >= len(want)
	})
	if !slices.Equal(got, want) {
		t.Errorf("it listens on %v, want %v", got, want)
	}
}

// TestListenInheritedSockets: serve and relay use the sockets of systemd in place of the default address, and that of the
// name tls for TLS.
func TestListenInheritedSockets(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	plain, plainAddr := listenFile(t, "127.0.0.1:0")
	p := activated(t, "tacacs_plus.socket", []*os.File{plain}, "serve", "--user", "alice:"+testPassword)
	p.listens(t, plainAddr)
	if got := runWith(t, secretsInEnv, "", "authenticate", "alice", plainAddr); got.code != classGranted.exit() {
		t.Errorf("serve: %+v", got)
	}
	clear, clearAddr := listenFile(t, "127.0.0.1:0")
	secure, secureAddr := listenFile(t, "127.0.0.1:0")
	r := activated(t, "devices:tls", []*os.File{clear, secure}, split("relay "+plainAddr+
		" --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca DIR/ca.pem", "DIR", dir)...)
	r.listens(t, clearAddr, secureAddr)
	if got := runWith(t, secretsInEnv, "", "authenticate", "alice", clearAddr); got.code != classGranted.exit() {
		t.Errorf("relay: %+v", got)
	}
	if got := runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, "", split("authenticate alice "+secureAddr+
		" --tls --cacert DIR/ca.pem --cert DIR/client.pem --cert-key DIR/client.key", "DIR", dir)...); got.code != classGranted.exit() {
		t.Errorf("relay over TLS: %+v", got)
	}
	tls, tlsAddr := listenFile(t, "127.0.0.1:0")
	s := newProcess(t, "", []string{"LISTEN_FDS=1", "LISTEN_FDNAMES=tls"}, "sh", "-c",
		`unset TACACS_PLUS_KEY; LISTEN_PID=$$ exec "$@"`, "sh", buildBinary(t), "serve", "--tls", "--listen", "127.0.0.1:0")
	s.ExtraFiles = []*os.File{tls}
	s.starts(t)
	waitUntil(t, "serve listens on both", func() bool { return len(listening().FindAllString(s.err.String(), -1)) == 2 })
	if !strings.Contains(s.err.String(), "listening on "+tlsAddr+"\n") {
		t.Errorf("stderr is\n%s", &s.err)
	}
}

// TestListenInheritedRefused: what holds for the addresses of --listen also holds for inherited sockets.
func TestListenInheritedRefused(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	local, _ := listenFile(t, "127.0.0.1:0")
	public, publicAddr := listenFile(t, ":0")
	unixSocket, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	must(t, err)
	defer unixSocket.Close()
	file, err := unixSocket.(*net.UnixListener).File()
	must(t, err)
	defer file.Close()
	outgoing, err := net.Dial("unix", unixSocket.Addr().String())
	must(t, err)
	defer outgoing.Close()
	connected, err := outgoing.(*net.UnixConn).File()
	must(t, err)
	defer connected.Close()
	text, err := os.Open(filepath.Join(dir, "text"))
	must(t, err)
	defer text.Close()
	const certs = " --listen-cert DIR/server.pem --listen-cert-key DIR/server.key"
	for _, tt := range []struct {
		name, line string
		socket     *os.File
		want       string
	}{
		{"tls", "serve", local, "inherited socket tls is for TLS\ntacacs_plus: hint: run serve with --tls, or set FileDescriptorName in the socket unit"},
		{"x", "serve --tls", local, "inherited socket x is without TLS\ntacacs_plus: hint: run serve without --tls, or set FileDescriptorName in the socket unit"},
		{"x\x1b", "serve", file, "inherited socket x\\x1b is not a TCP socket"},
		{"x", "serve", connected, "inherited socket x does not listen\ntacacs_plus: hint: set Accept=no in the socket unit"},
		{"", "relay tac1", text, "inherited socket unknown: socket operation on non-socket"},
		{"x", "serve", public, "listening on " + publicAddr + " needs a key and users\ntacacs_plus: hint: give --key-file and --user, or listen on loopback"},
		{"x", "relay tac1", public, "listening on " + publicAddr + " needs --device-key-file\ntacacs_plus: hint: give the key of the devices, or listen on loopback"},
		{"tls", "relay tac1" + certs, public, "listening on " + publicAddr + " over TLS needs --client-ca\ntacacs_plus: hint: " + clientCertsRequired},
		{"tls", "relay tac1", local, "--listen-tls needs --listen-cert"},
	} {
		p := activated(t, tt.name, []*os.File{tt.socket}, split(tt.line, "DIR", dir)...)
		if _, got := p.ends(); got.code != classUsage.exit() || !strings.HasSuffix(got.err, "tacacs_plus: "+tt.want+"\n") {
			t.Errorf("%s, %s: %+v, want %s", tt.line, tt.name, got, tt.want)
		}
	}
}

// TestListenInheritedChildren: child processes get neither the sockets nor their variables. Sockets that are for another
// process are left alone.
func TestListenInheritedChildren(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	socket, _ := listenFile(t, "127.0.0.1:0")
	const script = `echo "${LISTEN_PID-none} ${LISTEN_FDS-none} ${LISTEN_FDNAMES-none}"; if [ -e /dev/fd/3 ]; then echo open; else echo closed; fi`
	p := activated(t, "x", []*os.File{socket}, "account", "alice", s.addr, "--exec", "--", "sh", "-c", script)
	if _, got := p.ends(); got.code != 0 || !strings.HasPrefix(got.out, "none none none\nclosed\n") {
		t.Errorf("got %+v", got)
	}
	p = startProcess(t, s.addr, []string{"LISTEN_PID=1", "LISTEN_FDS=1", "LISTEN_FDNAMES=x"}, buildBinary(t), "account", "alice", "AT", "--exec", "--", "sh", "-c", script)
	if _, got := p.ends(); got.code != 0 || !strings.HasPrefix(got.out, "1 1 x\n") {
		t.Errorf("got %+v", got)
	}
}

// TestListenSystemd: the sockets come from systemd itself.
func TestListenSystemd(t *testing.T) {
	t.Parallel()
	activate, err := exec.LookPath("systemd-socket-activate")
	if err != nil {
		t.Skip("systemd-socket-activate is missing")
	}
	l, err := net.Listen("tcp", "127.77.0.1:0") // no other test takes a port of this address
	must(t, err)
	addr := l.Addr().String()
	l.Close()
	p := startProcess(t, "", nil, activate, "--listen="+addr, "--fdname=devices", "-E", "TACACS_PLUS_KEY", "-E", "GORACE", buildBinary(t), "serve", "--user", "alice:"+testPassword)
	waitUntil(t, "systemd listens", func() bool { return strings.Contains(p.err.String(), "Listening on ") })
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", addr)
	if got.code != classGranted.exit() {
		t.Errorf("%+v, %s", got, &p.err)
	}
	p.listens(t, addr)
}

// TestListenBrokenPipe: serve and relay go on when the reader of their output has gone. Other commands end.
func TestListenBrokenPipe(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	binary := buildBinary(t)
	for _, output := range []string{"stdout", "stderr"} {
		for _, line := range []string{"serve --user alice:PASSWORD", "relay " + s.addr} {
			if output == "stderr" && line[0] == 's' {
				continue // both have the same writer of messages
			}
			reader, writer, err := os.Pipe()
			must(t, err)
			socket, addr := listenFile(t, "127.0.0.1:0")
			p := newProcess(t, "", []string{"LISTEN_FDS=1"}, slices.Concat([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh", binary}, split(line, "PASSWORD", testPassword), []string{"--debug"})...)
			p.ExtraFiles = []*os.File{socket}
			if output == "stdout" {
				p.Stdout = writer
			} else {
				p.Stderr = writer
			}
			reader.Close()
			p.starts(t)
			writer.Close()
			for range 3 {
				if got := runWith(t, secretsInEnv, "", "authenticate", "alice", addr); got.code != classGranted.exit() {
					t.Errorf("%s, %s: %+v", line, output, got)
				}
			}
			p.gets(t, syscall.SIGTERM)
			state, got := p.ends()
			if output == "stdout" && (state.Signaled() || got.code != classLocal.exit() || !strings.Contains(got.err, "write session lines: write /dev/stdout: broken pipe (3 lost)\n")) ||
				output == "stderr" && (state.Signaled() || got.code != classGranted.exit() || strings.Count(got.out, " PASS") != 3) {
				t.Errorf("%s, %s: %+v", line, output, got)
			}
		}
	}
	reader, writer, err := os.Pipe()
	must(t, err)
	reader.Close()
	p := newProcess(t, "", nil, binary, "help")
	p.Stdout = writer
	p.starts(t)
	writer.Close()
	if state, got := p.ends(); !state.Signaled() || state.Signal() != syscall.SIGPIPE {
		t.Errorf("help: %+v", got)
	}
}
