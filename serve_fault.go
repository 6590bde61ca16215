package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// A fault is one way a broken or hostile server misbehaves. It changes the message of a reply, its bytes, or how they are
// sent. The zero fault changes nothing.
type fault struct {
	name string
	help string

	authenReply *authenReply // in place of the reply, which follows later
	once        bool         // authenReply is the first reply of a session only
	only        authenType   // sessions with authenReply; 0: all
	authorReply *authorResponse
	acctReply   *acctReply

	version    version                           // XORed to the reply's
	keySuffix  string                            // appended to the key
	clearReply bool                              // without obfuscation
	body       func(typ packetType, body []byte) // changes the body before it is obfuscated
	packet     func(packet []byte)               // changes the packet after that
	emptyBody  bool
	longArgs   bool // authorReply has as many arguments as fit, of the largest size

	sends        func(conn net.Conn, p []byte) error // replaces the write
	foreign      string                              // is sent in place of the reply
	cutAt        int                                 // bytes of the reply that are sent; 0: all
	stays        bool                                // stays connected after a session
	refuseSingle bool
	closeAfter   int // sessions of a connection; 0: none
	swallowAfter int // sessions of a connection; 0: none

	tls         func(*tls.Config)
	certificate func(*x509.Certificate) // the generated one
}

// errDone closes a connection on purpose.
var errDone = io.EOF

// faults are all faults in the order of --fault help: messages, stalled and closed connections, key and header, lengths and
// texts, single-connection mode, TLS, and other protocols.
var faults = []fault{
	{name: "noecho-pass", help: "PASS with the NOECHO flag", authenReply: &authenReply{authenPass, authenNoEcho, "", ""}},
	{name: "getuser", help: "ask for the user name again", authenReply: &authenReply{authenGetUser, 0, "Username: ", ""}, once: true},
	{name: "getdata", help: "ask for a token, without echo", authenReply: &authenReply{authenGetData, authenNoEcho, "Token: ", ""}, once: true},
	{name: "getpass-forever", help: "ask for the password again and again", authenReply: &authenReply{authenGetPass, authenNoEcho, "Password: ", ""}},
	{name: "restart", help: "RESTART ascii logins, offering pap and chap", authenReply: &authenReply{authenRestart, 0, "", "\x02\x03"}, only: authenASCII},
	{name: "restart-empty", help: "RESTART without a type to try", authenReply: &authenReply{authenRestart, 0, "type not allowed here", ""}},
	{name: "follow", help: "FOLLOW to another server", authenReply: &authenReply{authenFollow, 0, "", "@192.0.2.1"},
		authorReply: &authorResponse{status: authorFollow, data: "@192.0.2.1"}, acctReply: &acctReply{status: acctFollow, data: "@192.0.2.1"}},
	{name: "error", help: "ERROR, with the reason in data", authenReply: &authenReply{authenError, 0, "", "database down"},
		authorReply: &authorResponse{status: authorError, data: "database down"}, acctReply: &acctReply{status: acctError, data: "database down"}},
	{name: "fail", help: "FAIL with a message", authenReply: &authenReply{authenFail, 0, "\nAccount locked\b\n", ""},
		authorReply: &authorResponse{status: authorFail, serverMsg: "\nDenied by policy\n", args: []string{"reason=policy"}}},
	{name: "silent", help: "never reply", stays: true, sends: func(conn net.Conn, p []byte) error { return nil }},
	{name: "close", help: "close before the reply", sends: func(net.Conn, []byte) error { return errDone }},
	{name: "reset", help: "reset the connection before the reply", sends: func(conn net.Conn, p []byte) error {
		if a, ok := conn.(*acceptedConn); ok {
			conn = a.Conn
		}
		if c, ok := conn.(*net.TCPConn); ok {
			c.SetLinger(0)
		}
		return errDone
	}},
	{name: "close-after-header", help: "close after the header of the reply", cutAt: headerLen},
	{name: "header-cut", help: "close within the header", cutAt: 5},
	{name: "body-cut", help: "close within the body", cutAt: headerLen + 3},
	{name: "body-stall", help: "stop within the body and stay connected", stays: true, cutAt: headerLen + 3},
	{name: "header-split", help: "send the header in two segments", sends: func(conn net.Conn, p []byte) error {
		conn.Write(p[:5])
		time.Sleep(20 * time.Millisecond)
		_, err := conn.Write(p[5:])
		return err
	}},
	{name: "drip", help: "send one byte every 50 ms", sends: func(conn net.Conn, p []byte) error {
		for i := range p {
			if _, err := conn.Write(p[i : i+1]); err != nil {
				return err
			}
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	}},
	{name: "wrong-key", help: "obfuscate with another key", keySuffix: "x"},
	{name: "unencrypted", help: "reply in clear with the UNENCRYPTED flag (without over TLS)", clearReply: true, packet: func(p []byte) { p[atFlags] ^= byte(flagUnencrypted) }},
	{name: "seq-plus-7", help: "seq_no 7 too high", packet: func(p []byte) { p[atSeqNo] += 7 }},
	{name: "seq-same", help: "the seq_no of the request", packet: func(p []byte) { p[atSeqNo]-- }},
	{name: "session", help: "another session_id", packet: func(p []byte) { p[atSession] ^= 0xff }},
	{name: "type", help: "another packet type", packet: func(p []byte) { p[atType] = p[atType]%3 + 1 }},
	{name: "major-version", help: "another major version", packet: func(p []byte) { p[atVersion] = 0xb0 }},
	{name: "minor-version", help: "the other minor version, also in the obfuscation", version: 1},
	{name: "length-max", help: "claim a body of 2^32-1 bytes", packet: func(p []byte) { copy(p[atLength:], "\xff\xff\xff\xff") }},
	{name: "lengths-overflow", help: "field lengths beyond the end of the body", body: func(typ packetType, body []byte) {
		copy(body[choose(typ == typeAcct, 0, 2):], "\xff\xff\xff\xff")
	}},
	{name: "empty-body", help: "the header alone, length 0 (RFC 8907 section 3.6)", emptyBody: true},
	{name: "unknown-status", help: "a status that RFC 8907 does not define", authenReply: &authenReply{0x63, 0, "", ""},
		authorReply: &authorResponse{status: 0x63}, acctReply: &acctReply{status: 0x63}},
	{name: "non-utf8", help: "a message that is not UTF-8", authenReply: &authenReply{authenPass, 0, "caf\xe9 \xff\xfe", ""},
		authorReply: &authorResponse{status: authorPassAdd, serverMsg: "caf\xe9"}, acctReply: &acctReply{status: acctSuccess, serverMsg: "caf\xe9"}},
	{name: "terminal-escape", help: "terminal control sequences in the message", authenReply: &authenReply{authenPass, 0, "\x1b[2J\x1b]0;owned\x07\u009b31mred\r\nline", "\x1b[H"},
		authorReply: &authorResponse{status: authorPassAdd, serverMsg: "\x1b[2J", args: []string{"x=\x1b[2J"}}, acctReply: &acctReply{status: acctSuccess, serverMsg: "\x1b[2J"}},
	{name: "args-max", help: "255 arguments of 255 bytes", longArgs: true},
	{name: "unknown-mandatory", help: "PASS_REPL with an unknown mandatory argument", authorReply: &authorResponse{status: authorPassRepl, args: []string{"service=shell", "frobnicate=yes"}}},
	{name: "single-close", help: "agree to single-connection mode, close after one session", closeAfter: 1},
	{name: "single-swallow", help: "agree to single-connection mode, ignore the second session", swallowAfter: 1},
	{name: "single-refused", help: "do not agree to single-connection mode", refuseSingle: true},
	{name: "tls-1.2", help: "with --tls: speak TLS 1.2 only", tls: func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12 }},
	{name: "tls-expired", help: "with --tls: an expired certificate", certificate: func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }},
	{name: "tls-not-yet", help: "with --tls: a certificate that is not valid yet", certificate: func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }},
	{name: "tls-wrong-name", help: "with --tls: a certificate for another name", certificate: func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = []string{"other.example"}, nil }},
	{name: "tls-unknown-ca", help: "with --tls: a certificate other than the one written", tls: func(c *tls.Config) {
		if pair, _, err := selfSigned(nil); err == nil {
			c.Certificates = pair
		}
	}},
	{name: "tls-alert", help: "reply like a TLS server", foreign: "\x15\x03\x01\x00\x02\x02\x46"},
	{name: "http", help: "reply like a web server", foreign: "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"},
}

// A faultName is the value of --fault: one of faults, or help.
type faultName string

func (n *faultName) String() string     { return string(*n) }
func (n *faultName) Set(s string) error { return (*text)(n).Set(s) }

// known returns the values of --fault, for help and completion.
func (n *faultName) known() []string {
	known := []string{"help"}
	for _, f := range faults {
		known = append(known, f.name)
	}
	return known
}

// findFault returns the fault of a name; an empty name is no fault.
func findFault(name string) (*fault, error) {
	i := slices.IndexFunc(faults, func(f fault) bool { return f.name == name })
	switch {
	case name == "":
		return new(fault), nil
	case i < 0:
		return nil, failf(classUsage, "unknown fault \"%s\"", escape(name)).withHint("--fault help lists them")
	}
	f := faults[i]
	if f.longArgs {
		args := slices.Repeat([]string{"a=" + strings.Repeat("x", maxArgLen-2)}, maxArgs)
		f.authorReply = &authorResponse{status: authorPassAdd, args: args}
	}
	return &f, nil
}

// check refuses a fault that has no effect with the TLS options.
func (f *fault) check(t *tlsOptions) error {
	wrong := ""
	switch {
	case !t.enabled && (f.tls != nil || f.certificate != nil):
		wrong = "needs --tls"
	case t.enabled && f.keySuffix != "":
		wrong = "and --tls exclude each other"
	case t.cert != "" && f.certificate != nil:
		wrong = "and --cert exclude each other"
	default:
		return nil
	}
	return failf(classUsage, "--fault %s %s", f.name, wrong)
}

// faultHelp returns the output of --fault help: a line for every fault.
func faultHelp() string {
	var b strings.Builder
	for _, f := range faults {
		fmt.Fprintf(&b, "%-19s %s\n", f.name, f.help)
	}
	return b.String()
}

// write sends packets as the fault requires. An error ends the connection.
func (f *fault) write(conn net.Conn, packets []byte) error {
	if f.sends != nil {
		return f.sends(conn, packets)
	}
	if f.foreign != "" {
		packets = []byte(f.foreign)
	} else if f.cutAt > 0 {
		packets = packets[:min(f.cutAt, len(packets))]
	}
	_, err := conn.Write(packets)
	if (f.foreign != "" || f.cutAt > 0) && !f.stays {
		return errDone
	}
	return err
}

// selfSigned returns a new certificate for loopback and its PEM form for --cacert. change may alter it.
func selfSigned(change func(*x509.Certificate)) (pair []tls.Certificate, pemForm []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: "tacacs_plus serve"},
		NotBefore:   time.Now().Add(-time.Hour),
		NotAfter:    time.Now().AddDate(0, 0, 30),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		DNSNames:    []string{"localhost"},
		IPAddresses: []net.IP{netip.MustParseAddr("127.0.0.1").AsSlice(), netip.IPv6Loopback().AsSlice()},
	}
	if change != nil {
		change(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	pemForm = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, pemForm, nil
}
