package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A certTest is a CA, its client certificates by name, and a server for them.
type certTest struct {
	dir    string
	ca     *testCA
	server *testServer
	cache  tls.ClientSessionCache
	start  time.Time
}

// newCertTest starts a command with --client-ca. DIR in its line is the directory of the certificates: server, and the
// clients r1 (r1.lab.example and 192.0.2.1), loopback (127.0.0.1), wild (*.lab.example) and cn (a common name only).
func newCertTest(t *testing.T, line string) *certTest {
	t.Helper()
	c := &certTest{dir: t.TempDir(), start: time.Now(), cache: tls.NewLRUClientSessionCache(1)}
	c.ca = newTestCA(t, c.dir, "ca")
	c.ca.issue(t, "server", 10, nil)
	names := func(dns string, ip string) func(*x509.Certificate) {
		return func(c *x509.Certificate) {
			if c.DNSNames, c.IPAddresses = strings.Fields(dns), nil; ip != "" {
				c.IPAddresses = []net.IP{net.ParseIP(ip)}
			}
		}
	}
	c.ca.issue(t, "r1", 11, names("other.example R1.lab.example", "192.0.2.1"))
	c.ca.issue(t, "loopback", 12, names("", "127.0.0.1"))
	c.ca.issue(t, "wild", 13, names("*.lab.example", ""))
	c.ca.issue(t, "r1.lab.example", 14, names("", ""))
	c.ca.revoke(t, "none.crl", 99, time.Now().Add(time.Hour))
	newTestCA(t, c.dir, "foreign").issue(t, "stranger", 15, names("r1.lab.example", "127.0.0.1"))
	c.server = serving(t, new(lockedBuffer), split(line, "DIR", c.dir, "PASSWORD", testPassword)...)
	return c
}

const serveCerts = "serve --listen 127.0.0.1:0 --user alice:PASSWORD --tls --cert DIR/server.pem --cert-key DIR/server.key --client-ca DIR/ca.pem "

// login sends first, then logs in with the certificate of a client. It returns what the handshake has
// agreed on.
func (c *certTest) login(t *testing.T, name, first string) (tls.ConnectionState, error) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(c.dir, name+".pem"), filepath.Join(c.dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	raw := dialFakeClient(t, c.server.addr)
	raw.Write([]byte(first))
	conn := tls.Client(raw.Conn, &tls.Config{InsecureSkipVerify: true, ServerName: "server", ClientSessionCache: c.cache,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }})
	defer conn.Close()
	client := newFakeClient(conn)
	client.key = ""
	var reply authenReply
	err = client.send(header{version: minorOne, typ: typeAuthen, seqNo: 1, flags: flagUnencrypted}, papStart("alice", testPassword))
	if err == nil {
		_, err = client.receive(&reply)
	}
	if err == nil && reply.status != authenPass {
		err = fmt.Errorf("the reply is %+v", reply)
	}
	return conn.ConnectionState(), err
}

// TestListenClientRules: certificates of clients must have one of the names, the client's address, and must not be revoked.
// A common name does not count.
func TestListenClientRules(t *testing.T) {
	t.Parallel()
	const byName, byAddress = "--client-name does not allow its names", "it is not for the address"
	c := newCertTest(t, "serve --listen 127.0.0.1:0 --tls")
	c.ca.revoke(t, "r1.crl", 11, time.Now().Add(time.Hour))
	from := func(addr string) string {
		return string(proxyV2Header(netip.MustParseAddrPort(addr), netip.MustParseAddrPort("127.0.0.1:300")))
	}
	for _, tt := range []struct {
		options string
		clients map[string]string // why each is refused; empty if not
		header  string
	}{
		{"", map[string]string{"r1": "", "loopback": "", "wild": "", "r1.lab.example": "", "stranger": "signed by unknown authority"}, ""},
		{"--client-name r1.lab.example", map[string]string{"r1": "", "loopback": byName, "wild": byName, "r1.lab.example": byName, "stranger": "unknown authority"}, ""},
		{"--client-name *.LAB.example", map[string]string{"r1": "", "loopback": byName, "r1.lab.example": byName}, ""},
		{"--client-name *.example", map[string]string{"r1": "", "wild": byName}, ""}, // other.example
		{"--client-name lab.example --client-name *.r1.lab.example", map[string]string{"r1": byName}, ""},
		{"--client-name r2 --client-name 127.0.0.1", map[string]string{"r1": byName, "loopback": ""}, ""},
		{"--client-address", map[string]string{"r1": byAddress, "loopback": "", "r1.lab.example": byAddress}, ""},
		{"--client-address --proxy-protocol 127.0.0.1", map[string]string{"r1": "", "loopback": byAddress + " 192.0.2.1"}, from("192.0.2.1:1024")},
		{"--client-address --proxy-protocol 127.0.0.1", map[string]string{"r1": "", "loopback": byAddress}, from("[::ffff:192.0.2.1]:1024")},
		{"--client-address --client-name r1.lab.example", map[string]string{"r1": byAddress, "loopback": byName}, ""},
		{"--client-crl DIR/none.crl --client-crl DIR/r1.crl", map[string]string{"r1": "was revoked on", "loopback": ""}, ""},
	} {
		c.server.stop()
		c.server = serving(t, new(lockedBuffer), split(serveCerts+tt.options, "DIR", c.dir, "PASSWORD", testPassword)...)
		for name, want := range tt.clients {
			c.cache = nil
			before := len(c.server.log.String())
			if _, err := c.login(t, name, tt.header); (err == nil) != (want == "") {
				t.Errorf("%s, %s: %v, want %q", tt.options, name, err, want)
			}
			refusal := "client certificate of CN=" + name
			if want != "" {
				waitUntil(t, "the refusal has its line", func() bool {
					line := c.server.log.String()[before:]
					return strings.Contains(line, refusal) && strings.Contains(line, want)
				})
			}
		}
	}
}

// TestListenClientName: the lines of serve and relay have the name of the client's certificate.
func TestListenClientName(t *testing.T) {
	t.Parallel()
	behind := serveWith(t)
	for _, command := range []string{serveCerts, "relay " + behind.addr + " --listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key --client-ca DIR/ca.pem "} {
		c := newCertTest(t, command+"--json --client-name *.lab.example --client-name 127.0.0.1")
		for name, want := range map[string]string{"r1": "other.example", "loopback": "127.0.0.1", "wild": "*.lab.example"} {
			c.cache = nil
			if _, err := c.login(t, name, ""); (err == nil) != (want != "") {
				t.Errorf("%s: %v", name, err)
			}
			if want != "" {
				waitUntil(t, "the line has the name", func() bool { return strings.Contains(c.server.log.String(), `"certificate":"`+want+`"`) })
			}
		}
	}
}

// TestListenTickets: a ticket resumes a session once, within its lifetime.
func TestListenTickets(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		options string
		pause   time.Duration
		want    string // which connections are resumed
	}{
		{"", 0, "false true true"},
		{"--ticket-lifetime 0", 0, "false false false"},
		{"--ticket-lifetime 5ms", 10 * time.Millisecond, "false false false"},
	} {
		c := newCertTest(t, serveCerts+tt.options)
		var resumed []string
		for range 3 {
			state, err := c.login(t, "r1", "")
			if err != nil {
				t.Fatal(err)
			}
			resumed = append(resumed, fmt.Sprint(state.DidResume))
			time.Sleep(tt.pause)
		}
		if got := strings.Join(resumed, " "); got != tt.want {
			t.Errorf("%q: resumed %s, want %s", tt.options, got, tt.want)
		}
	}
	c := newCertTest(t, serveCerts)
	same := &firstTicket{}
	for i, want := range []bool{false, true, false, false} {
		c.cache = same
		if state, err := c.login(t, "r1", ""); err != nil || state.DidResume != want {
			t.Errorf("connection %d: %v, resumed %t, want %t", i, err, state.DidResume, want)
		}
	}
}

// A firstTicket is a cache that returns the first ticket again and again.
type firstTicket struct{ state *tls.ClientSessionState }

func (c *firstTicket) Get(string) (*tls.ClientSessionState, bool) { return c.state, c.state != nil }
func (c *firstTicket) Put(_ string, state *tls.ClientSessionState) {
	if c.state == nil {
		c.state = state
	}
}

// hideChange gives every file the same size and time, as a file system that keeps whole seconds can.
func (c *certTest) hideChange(t *testing.T) {
	t.Helper()
	files, err := os.ReadDir(c.dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Join(c.dir, file.Name())
		data, err := os.ReadFile(name)
		if err == nil {
			err = os.WriteFile(name, append(data, strings.Repeat("\n", max(0, 4096-len(data)))...), 0o600)
		}
		if err == nil {
			err = os.Chtimes(name, time.Time{}, c.start)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestListenResumption: revocation and authorities are checked again when a session is resumed, with the files as they are
// then.
func TestListenResumption(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *certTest){
		"was revoked on":    func(c *certTest) { c.ca.revoke(t, "none.crl", 11, time.Now().Add(time.Hour)) },
		"unknown authority": func(c *certTest) { newTestCA(t, c.dir, "ca") },
	} {
		c := newCertTest(t, serveCerts+"--client-crl DIR/none.crl")
		c.hideChange(t)
		for range 2 {
			if _, err := c.login(t, "r1", ""); err != nil {
				t.Fatal(err)
			}
		}
		change(c)
		c.hideChange(t)
		if _, err := c.login(t, "r1", ""); err == nil {
			t.Errorf("%s: the client gets in", name)
		}
		waitUntil(t, "the handshake has its line", func() bool { return strings.Count(c.server.log.String(), "\n") == 3 })
		if got := c.server.lines(t); !strings.Contains(got, name) {
			t.Errorf("the log is\n%s, want %s", got, name)
		}
	}
}

// TestListenCertificateFiles: certificates that have changed are used from the next handshake on. A file that cannot be
// read changes nothing, and has one warning.
func TestListenCertificateFiles(t *testing.T) {
	t.Parallel()
	c := newCertTest(t, serveCerts)
	c.cache = nil
	serial := func(want int64) {
		t.Helper()
		state, err := c.login(t, "r1", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := state.PeerCertificates[0].SerialNumber.Int64(); got != want {
			t.Errorf("the certificate is number %d, want %d", got, want)
		}
	}
	c.hideChange(t)
	serial(10)
	c.ca.issue(t, "server", 20, nil)
	c.hideChange(t)
	serial(20)
	if err := os.WriteFile(filepath.Join(c.dir, "server.pem"), []byte("this is not PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		serial(20)
	}
	os.Remove(filepath.Join(c.dir, "server.pem"))
	serial(20)
	c.ca.issue(t, "new", 30, nil)
	os.Rename(filepath.Join(c.dir, "new.key"), filepath.Join(c.dir, "server.key"))
	serial(20)
	os.Rename(filepath.Join(c.dir, "new.pem"), filepath.Join(c.dir, "server.pem"))
	serial(30)
	waitUntil(t, "the last change is in the log", func() bool {
		return strings.Count(c.server.stderr.String(), "read the changed certificates\n") == 3 // the first hides later ones
	})
	got := c.server.stderr.String()
	if n := strings.Count(got, "is not PEM; the certificates that were read before stay in use\n"); n != 1 || strings.Count(got, "warning") != 2 {
		t.Errorf("stderr is\n%s", got)
	}
}

// TestListenTicketLedger: a ticket that was used is never accepted again, also when there are too many to remember.
func TestListenTicketLedger(t *testing.T) {
	t.Parallel()
	l, now := &ticketLedger{lifetime: time.Hour}, time.Now()
	var marks [][]byte
	for i := range 3 * maxUsedTickets {
		mark := newTicketMark(now.Add(time.Duration(2 * i)))
		marks = append(marks, mark)
		if !l.redeem([][]byte{mark}, now.Add(time.Duration(2*i+1))) {
			t.Fatalf("ticket %d is not accepted", i)
		}
	}
	if len(l.used) > maxUsedTickets {
		t.Errorf("%d tickets are kept", len(l.used))
	}
	for i, mark := range marks {
		if l.redeem([][]byte{mark}, now.Add(time.Second)) {
			t.Fatalf("ticket %d is accepted twice", i)
		}
	}
	for name, marks := range map[string][][]byte{"none": nil, "short": {{1}}, "two": {newTicketMark(now.Add(time.Minute)), newTicketMark(now.Add(time.Minute))},
		"old": {newTicketMark(now.Add(time.Minute))}} {
		if l.redeem(marks, now.Add(61*time.Minute+time.Nanosecond)) {
			t.Errorf("%s: accepted", name)
		}
	}
	if fresh := newTicketMark(now.Add(time.Minute)); !l.redeem([][]byte{fresh}, now.Add(61*time.Minute)) {
		t.Error("a ticket is not accepted at the end of its lifetime")
	}
}

// TestListenCertificateOptions covers the errors in the options, of serve and relay alike.
func TestListenCertificateOptions(t *testing.T) {
	t.Parallel()
	dir := testFiles(t)
	const rules, wanted = "--client-crl, --client-name and --client-address need --client-ca", "\ntacacs_plus: hint: " + clientCertsRequired
	for _, tt := range []struct{ options, want string }{
		{"TLS --client-name r1", rules},
		{"TLS --client-address", rules},
		{"TLS --client-crl DIR/none.crl", rules},
		{"--client-ca DIR/ca.pem", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need OPTION"},
		{"--client-address", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need OPTION"},
		{"--ticket-lifetime 1h", "--client-ca, --client-crl, --client-name, --client-address and --ticket-lifetime need OPTION"},
		{"TLS --client-ca DIR/ca.pem --client-name *", "--client-name \"*\" is not a DNS name, a DNS name with *. in front, or an address"},
		{"TLS --client-ca DIR/ca.pem --client-name r*.example", "--client-name \"r*.example\" is not a DNS name, a DNS name with *. in front, or an address"},
		{"TLS --client-ca DIR/ca.pem --client-name 192.0.2.0/24", "--client-name \"192.0.2.0/24\" is not a DNS name, a DNS name with *. in front, or an address"},
		{"TLS --client-ca DIR/ca.pem --client-crl DIR/none", "read the revocation list: open DIR/none: no such file or directory"},
		{"TLS --client-ca DIR/text", "the certificate file DIR/text is not PEM\ntacacs_plus: hint: give a file in PEM, which has a line -----BEGIN"},
		{"ANY", "listening on 0.0.0.0:0 over TLS needs --client-ca" + wanted},
	} {
		for command, options := range map[string][]string{"serve --user a:b": {"--tls --cert DIR/server.pem --cert-key DIR/server.key", "--listen", "--tls"},
			"relay 127.0.0.1 -k testkey1234567890": {"--listen-tls 127.0.0.1:0 --listen-cert DIR/server.pem --listen-cert-key DIR/server.key", "--listen-tls", "--listen-tls"}} {
			line := strings.Replace(command+" "+tt.options, "TLS", options[0], 1)
			line = strings.Replace(line, "ANY", options[0]+" "+options[1]+" 0.0.0.0:0", 1)
			got := runWith(t, nil, "", split(line, "DIR", dir)...)
			want := "tacacs_plus: " + strings.NewReplacer("DIR", dir, "OPTION", options[2]).Replace(tt.want) + "\n"
			if got.code != classUsage.exit() || got.err != want {
				t.Errorf("%s: %+v, want %s", line, got, want)
			}
		}
	}
}
