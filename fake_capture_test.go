package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// A captureBuilder makes a capture. The time advances by a millisecond with each frame.
type captureBuilder struct {
	at     time.Time
	frames []frame
}

func newCaptureBuilder() *captureBuilder {
	return &captureBuilder{at: time.Date(2026, 11, 23, 10, 0, 0, 0, time.UTC)}
}

// pcap returns the capture as a file.
func (t *captureBuilder) pcap() []byte { return pcapOf(binary.LittleEndian, false, t.frames...) }

// pcapng returns the capture as a file, with secrets of TLS before a frame.
func (t *captureBuilder) pcapng(secrets string, before int) []byte {
	file := (&pcapngWriter{ByteOrder: binary.LittleEndian}).section().describe(linkRawIP, 0)
	for i, f := range t.frames {
		if i == before {
			file.block(blockSecrets, uint32(0x544c534b), uint32(len(secrets)), []byte(secrets))
		}
		file.packet(0, uint64(f.at.UnixMicro()), f.size, string(f.data))
	}
	return file.b
}

// A builtConn is a TCP connection in a capture. End 0 opens it.
type builtConn struct {
	*captureBuilder
	ends [2]netip.AddrPort
	seqs [2]uint32
	key  string

	version version     // of the packets that follow
	flags   headerFlags // of the packets that follow
}

// joinConn adds a connection that began before the capture. Its packets are obfuscated with key.
func (t *captureBuilder) joinConn(client, server, key string) *builtConn {
	return &builtConn{captureBuilder: t, ends: [2]netip.AddrPort{netip.MustParseAddrPort(client), netip.MustParseAddrPort(server)},
		seqs: [2]uint32{1e6 * uint32(len(t.frames)), 0xffffff00 + 1e6*uint32(len(t.frames))}, key: key, version: minorDefault}
}

// openConn adds a connection from its beginning.
func (t *captureBuilder) openConn(client, server, key string) *builtConn {
	w := t.joinConn(client, server, key)
	w.segment(0, tcpSYN, nil)
	w.segment(1, tcpSYN|tcpACK, nil)
	w.segment(0, tcpACK, nil)
	return w
}

// segment adds a frame.
func (w *builtConn) segment(from int, flags tcpFlags, data []byte) {
	ip := tcpIP(w.ends[from], w.ends[1-from], w.seqs[from], w.seqs[1-from], flags, string(data))
	w.at = w.at.Add(time.Millisecond)
	w.frames = append(w.frames, frame{at: w.at, link: linkRawIP, data: ip, size: len(ip)})
	if w.seqs[from] += uint32(len(data)); flags&(tcpSYN|tcpFIN) != 0 {
		w.seqs[from]++
	}
}

func (w *builtConn) send(from int, data []byte) { w.segment(from, tcpACK, data) }

// hello sends the hellos of a TLS conversation.
func (w *builtConn) hello(m *fakeTLS) *builtConn {
	for _, hello := range m.hellos {
		w.send(hello.from, hello.data)
	}
	return w
}

// packet returns one packet of a session.
func (w *builtConn) packet(id uint32, seqNo uint8, m message) []byte {
	clone := reflect.New(reflect.TypeOf(m).Elem()) // tests share messages, and encoding writes to one
	clone.Elem().Set(reflect.ValueOf(m).Elem())
	return packed(header{version: w.version, typ: typeOf(m), seqNo: seqNo, flags: w.flags, sessionID: id}, w.key, clone.Interface().(message))
}

// session sends the packets of a session. The first one has seq_no 1.
func (w *builtConn) session(id uint32, messages ...message) *builtConn {
	w.version = versionOf(messages[0])
	for i, m := range messages {
		w.send(i%2, w.packet(id, uint8(1+i), m))
	}
	return w
}

// close closes the connection.
func (w *builtConn) close() {
	w.segment(0, tcpFIN|tcpACK, nil)
	w.segment(1, tcpFIN|tcpACK, nil)
	w.segment(0, tcpACK, nil)
}

func typeOf(m message) packetType {
	switch m.(type) {
	case *authorRequest, *authorResponse:
		return typeAuthor
	case *acctRequest, *acctReply:
		return typeAcct
	}
	return typeAuthen
}

func versionOf(m message) version {
	if start, ok := m.(*authenStart); ok {
		return start.typ.minor()
	}
	return minorDefault
}

// manySessions returns a capture of n sessions of all kinds from many devices. Half of them are in
// single-connection mode.
func manySessions(n int, key string) []byte {
	t := newCaptureBuilder()
	fields := commonFields{privLvl: 15, typ: authenASCII, service: authenServiceLogin, user: "alice", port: "tty0", remAddr: "203.0.113.77"}
	args := []string{"service=shell", "cmd=show", "cmd-arg=running-config", "cmd-arg=<cr>"}
	record := append([]string{"task_id=12345", "start_time=1763892000", "timezone=UTC"}, args...)
	kinds := [][]message{
		{papStart("alice", testPassword), &authenReply{status: authenPass}},
		{asciiStart("alice"), &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}, answerWith(testPassword), &authenReply{status: authenPass}},
		{&authorRequest{authenMethodTACACSPlus, fields, args}, &authorResponse{status: authorPassAdd}},
		{&acctRequest{acctStop, authenMethodTACACSPlus, fields, record}, &acctReply{status: acctSuccess}},
		{papStart("bob", "no"), &authenReply{status: authenFail, serverMsg: "Login incorrect"}},
	}
	var single *builtConn
	for i := range n {
		client := fmt.Sprintf("10.%d.%d.%d:%d", i>>8&3, i&0xff, 1, 10000+i%50000)
		if i%2 == 0 {
			w := t.openConn(client, "192.0.2.1:49", key)
			w.session(uint32(i), kinds[i%len(kinds)]...).close()
			continue
		}
		if i%200 == 1 {
			if single != nil {
				single.close()
			}
			single = t.openConn(client, "192.0.2.1:49", key)
		}
		single.session(uint32(i), kinds[i%len(kinds)]...)
	}
	single.close()
	return t.pcap()
}

// decodeWith runs decode with a capture on standard input, and the key of the tests.
func decodeWith(t *testing.T, capture []byte, options string, pairs ...string) runResult {
	t.Helper()
	return runWith(t, map[string]string{"TACACS_PLUS_KEY": testKey}, string(capture), split("decode "+options, pairs...)...)
}

const (
	deviceAddr = "198.51.100.7:41234"
	serverAddr = "192.0.2.1:49"
)

var (
	askForPass = &authenReply{status: authenGetPass, flags: authenNoEcho, serverMsg: "Password: "}
	askForUser = &authenReply{status: authenGetUser, serverMsg: "Username: "}
	passed     = &authenReply{status: authenPass}
	showRun    = &authorRequest{authenMethodTACACSPlus, commonFields{privLvl: 15, typ: authenASCII, service: authenServiceLogin, user: "bob", port: "tty2", remAddr: "::1"},
		[]string{"service=shell", "cmd=show", "cmd-arg=run", "cmd-arg=<cr>"}}
	stopRecord = &acctRequest{acctStop, authenMethodTACACSPlus, commonFields{privLvl: 1, typ: authenASCII, service: authenServiceLogin, user: "bob", port: "tty2", remAddr: "::1"},
		[]string{"task_id=7", "service=shell"}}
	recorded = &acctReply{status: acctSuccess}
)

// pipelineOf returns a pipeline as the command makes it, with the key of the tests.
func pipelineOf(t testing.TB, capture []byte, options string) (*decodePipeline, *invocation, *lockedBuffer) {
	out := new(lockedBuffer)
	inv, err := parse(commands, split("decode "+options), stdio{in: bytes.NewReader(capture), out: out, err: io.Discard, env: func(string) string { return testKey }})
	must(t, err)
	d, err := new(decodeOptions).newDecoder(t.Context(), inv)
	must(t, err)
	return newDecodePipeline(d), inv, out
}

// decode decodes a frame and prints its sessions without other goroutines.
func (p *decodePipeline) decode(f *frame) {
	p.tcp.add(f)
	for len(p.events.filled) > 0 {
		batch := <-p.events.filled
		p.consume(batch)
		p.events.emptied <- batch
	}
	p.consume(p.events.chunk)
	p.decoder.printer.write(p.decoder.printer.pipe.chunk)
}

// decodeAll decodes the frames of a capture.
func (p *decodePipeline) decodeAll(t *captureBuilder) {
	for i := range t.frames {
		p.decode(&t.frames[i])
	}
}

// checkEmpty requires that nothing is held when all input is read.
func (d *decoder) checkEmpty(t testing.TB) {
	t.Helper()
	if d.open.len != 0 || d.open.oldest != nil || d.open.newest != nil || d.memory.used != 0 || d.partial.used != 0 || d.tlsOpen != 0 || d.tlsMemory.used != 0 || d.tlsOthers.len != 0 {
		t.Errorf("%d sessions are open, with %d bytes, %d bytes are held, %d TLS conversations are open, with %d bytes", d.open.len, d.memory.used, d.partial.used, d.tlsOpen, d.tlsMemory.used)
	}
}

// A tlsWrite is bytes that one end sent at once.
type tlsWrite struct {
	from int
	data []byte
}

func parseTrace(t testing.TB, text string) (writes []tlsWrite) {
	t.Helper()
	for line := range strings.Lines(strings.TrimSpace(text)) {
		data := unhex(t, line[1:])
		if line[0] == ' ' {
			last := &writes[len(writes)-1]
			last.data = append(last.data, data...)
		} else {
			writes = append(writes, tlsWrite{strings.Index("><", line[:1]), data})
		}
	}
	return writes
}

func keyLogOf(t testing.TB, text string) *keyLog {
	t.Helper()
	k, err := loadKeyLog("-", strings.NewReader(text))
	must(t, err)
	return k
}

// A tlsObserver records the data of a conversation.
type tlsObserver struct {
	*tlsConversation
	data [2]string
	log  []string // sender, time and size of each piece of data
}

func newTLSObserver(k *keyLog) *tlsObserver {
	l := &tlsObserver{}
	l.tlsConversation = newTLSConversation(k, func(from int, at frameRef, data []byte) {
		l.data[from] += string(data)
		l.log = append(l.log, fmt.Sprintf("%s %d: %d bytes", endNames[from], at.at.Unix(), len(data)))
	})
	return l
}

// feed adds writes to the conversation in pieces of up to size bytes. Their time is the index of the write.
func (l *tlsObserver) feed(writes []tlsWrite, size int) *tlsObserver {
	random := rand.New(rand.NewPCG(1, uint64(size)))
	for i, w := range writes {
		for rest := bytes.Clone(w.data); len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(size))
			l.add(w.from, frameRef{at: time.Unix(int64(i), 0)}, rest[:n])
			clear(rest[:n]) // valid during the call only
			rest = rest[n:]
		}
	}
	return l
}

// state returns all that is known of the conversation.
func (l *tlsObserver) state() string {
	return fmt.Sprintf("name %q cipher %q alert %q problem %q early %v data %q",
		l.serverName, l.cipher, l.alert, l.problem, l.earlyData, l.data)
}

func (l *tlsObserver) check(t *testing.T, want string) {
	t.Helper()
	equal(t, l.state(), want)
}

// A tlsSealer encrypts the records of one direction. TestTLSVectors checks the key that it uses.
type tlsSealer struct{ *tlsKey }

func newTLSSealer(suite *tlsSuite, secret []byte) *tlsSealer {
	k, err := newTLSKey(suite, secret)
	if err != nil {
		panic(err)
	}
	return &tlsSealer{k}
}

// seal returns an encrypted record: content, its type, and zeros.
func (s *tlsSealer) seal(typ byte, content string, zeros int) []byte {
	plain := append(append([]byte(content), typ), make([]byte, zeros)...)
	nonce := bytes.Clone(s.iv[:])
	binary.BigEndian.PutUint64(nonce[4:], binary.BigEndian.Uint64(nonce[4:])^s.seq)
	s.seq++
	header := binary.BigEndian.AppendUint16([]byte{recordData, 3, 3}, uint16(len(plain)+s.aead.Overhead()))
	return s.aead.Seal(header, nonce, plain, header)
}

func (s *tlsSealer) data(content string) []byte { return s.seal(recordData, content, 0) }

// A fakeTLS is a conversation with known secrets.
type fakeTLS struct {
	keys      string
	hellos    []tlsWrite
	handshake [2]*tlsSealer
	traffic   [2]*tlsSealer
}

// clearRecord returns a record in clear.
func clearRecord(typ byte, content []byte) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{typ, 3, 3}, uint16(len(content))), content...)
}

// prefixed returns content after its length, which has size bytes.
func prefixed(size int, content ...byte) []byte {
	n := binary.BigEndian.AppendUint32(nil, uint32(len(content)))
	return append(n[4-size:], content...)
}

func clientHelloOf(random []byte, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, random, prefixed(1), prefixed(2, 0x13, 1), prefixed(1, 0), prefixed(2, extensions...))
	return append([]byte{1}, prefixed(3, body...)...)
}

func serverHelloOf(suite uint16, extensions ...byte) []byte {
	body := slices.Concat([]byte{3, 3}, make([]byte, 32), prefixed(1), []byte{byte(suite >> 8), byte(suite), 0}, prefixed(2, extensions...))
	return append([]byte{2}, prefixed(3, body...)...)
}

var isTLS13 = []byte{0, 43, 0, 2, 3, 4}

func newFakeTLS(extensions ...byte) *fakeTLS {
	suite := &tlsSuites[0]
	m := &fakeTLS{}
	random := bytes.Repeat([]byte{7}, 32)
	for i, label := range secretLabels {
		secret := bytes.Repeat([]byte{byte(i + 1)}, 32)
		m.keys += fmt.Sprintf("%s %x %x\n", label, random, secret)
		if s := newTLSSealer(suite, secret); i < 2 {
			m.handshake[i] = s
		} else {
			m.traffic[i-2] = s
		}
	}
	m.hellos = []tlsWrite{
		{0, clearRecord(recordHandshake, clientHelloOf(random, extensions...))},
		{1, clearRecord(recordHandshake, serverHelloOf(suite.id, isTLS13...))},
	}
	return m
}

// afterHandshake returns an observer that has seen the handshake.
func (m *fakeTLS) afterHandshake(t *testing.T) *tlsObserver {
	l := newTLSObserver(keyLogOf(t, m.keys)).feed(m.hellos, 1<<16)
	for from, s := range m.handshake {
		l.add(from, frameRef{}, s.seal(recordHandshake, "Finished", 0))
	}
	return l
}

// The simple handshake of RFC 8448 section 3, with AES-128. In a trace, > is the client and < the server.
var (
	//go:embed testdata/tls_rfc8448.trace
	traceOfRFC string
	//go:embed testdata/tls_rfc8448.keylog
	keysOfRFC string
)

// A conversation of openssl's s_client with its s_server, with AES-256. The client requests new keys of both
// sides ("K"), and then updates its own ("k").
var (
	//go:embed testdata/tls_openssl.trace
	traceOfOpenSSL string
	//go:embed testdata/tls_openssl.keylog
	keysOfOpenSSL string
)
