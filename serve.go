package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// A labServer is a TACACS+ server for the laboratory: for the first five minutes with this
// program, for looking at what a device sends, for testing clients, and for this program's own
// tests. It keeps nothing: a changed password lasts as long as the process.
type labServer struct {
	key    string
	tls    *tls.Config
	clear  bool // packets are not obfuscated: TLS
	enable string
	rules  []rule
	args   []string // what a shell session gets
	expire list     // users whose password must be changed
	delay  time.Duration
	fault  fault
	log    *sessionLog
	trace  *tracer
	slots  chan struct{} // one for each connection that may be open
	try    string        // a command line for what was made, without the address
	trust  string        // and what it needs for TLS
	first  string        // the first user

	mu    sync.Mutex
	users map[string]string // name to password
}

// What one client may cost.
const (
	maxConnections   = 1024
	maxDialogues     = 1024 // of one connection, waiting for a CONTINUE
	idleTimeout      = 60 * time.Second
	handshakeTimeout = 10 * time.Second
	shutdownTimeout  = 5 * time.Second // for the replies under way
	maxTries         = 3               // of an ASCII login
	maxGathered      = 16 << 10        // octets of replies that are written together
	keptBody         = 16 << 10        // octets of memory that a connection keeps for the next packet
)

// newServe is the command serve.
func newServe(o *optionSet) action {
	srv := &labServer{users: make(map[string]string), slots: make(chan struct{}, maxConnections)}
	var opts serveOptions
	opts.register(o, srv)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if opts.fault == "help" {
			return &page{text: faultHelp()}, nil
		}
		if err := srv.configure(ctx, inv, &opts); err != nil {
			return nil, err
		}
		return &page{}, srv.run(ctx, inv, opts.listen)
	}
}

// serveOptions are the options of serve that name files, or stand for more than one field of
// the server.
type serveOptions struct {
	listen, users, args   list
	usersFile, enableFile string
	clientCA, writeCA     string
	fault                 string
}

func (opts *serveOptions) register(o *optionSet, srv *labServer) {
	o.add(&opts.listen, "listen", "ADDR", "address and port to listen on (default 127.0.0.1:4949); repeatable")
	o.add(&opts.users, "user", "NAME:PASSWORD", "a user; repeatable")
	o.add((*text)(&opts.usersFile), "users-file", "FILE", "file with name:password on every line")
	o.add((*text)(&opts.enableFile), "enable-password-file", "FILE", "file with the password of enable (default the user's own)")
	o.add(ruleFlag{&srv.rules, true}, "permit", "REGEX", "permit the command lines that match; the first rule that matches decides,\nand with any rule what none matches is denied")
	o.add(ruleFlag{&srv.rules, false}, "deny", "REGEX", "deny the command lines that match")
	o.add(&opts.args, "arg", "AV", "argument for a shell session (default priv-lvl=15); repeatable")
	o.add(&srv.expire, "must-change", "NAME", "a user whose password has expired; repeatable")
	o.add((*seconds)(&srv.delay), "reply-delay", "TIME", "wait before every reply")
	o.add((*text)(&opts.clientCA), "client-ca", "FILE", "with --tls: require a client certificate that one of these signed, PEM")
	o.add((*text)(&opts.writeCA), "write-cacert", "FILE", "with --tls and no --cert: write the certificate that serve makes to FILE")
	o.add((*text)(&opts.fault), "fault", "NAME", "misbehave, to test clients; --fault help lists how")
}

// configure makes srv the server that the command line describes, and opts.listen where it is
// to listen.
func (srv *labServer) configure(ctx context.Context, inv *invocation, opts *serveOptions) error {
	var err error
	if srv.fault, err = findFault(opts.fault); err != nil {
		return err
	}
	if srv.args = opts.args; len(srv.args) == 0 {
		srv.args = []string{"priv-lvl=15"}
	}
	if err := checkArgs(srv.args); err != nil {
		return err
	}
	if len(opts.listen) == 0 {
		opts.listen = list{"127.0.0.1:4949"}
	}
	readers := inv.key.fromStdin()
	if opts.usersFile == "-" {
		readers = append(readers, "the users")
	}
	if opts.enableFile == "-" {
		readers = append(readers, "the enable password")
	}
	if err := shareStdin(readers); err != nil {
		return err
	}
	if err := srv.addUsers(opts.users, opts.usersFile, inv.std.in); err != nil {
		return err
	}
	if opts.enableFile != "" {
		if srv.enable, err = readSecret(opts.enableFile, inv.std.in); err != nil {
			return failf(classUsage, "read the enable password: %w", err)
		}
	}
	if err := srv.setTLS(inv, opts.clientCA, opts.writeCA); err != nil {
		return err
	}
	if err := srv.setKey(ctx, inv, opts.listen); err != nil {
		return err
	}
	srv.log = &sessionLog{out: bufio.NewWriterSize(inv.std.out, 1<<16), json: inv.output.json, verbose: inv.output.verbose}
	if inv.output.debug {
		srv.trace = &tracer{out: inv.std.err, showSecrets: inv.output.showSecrets}
	}
	return nil
}

// addUsers collects the users of the options and of the file.
func (srv *labServer) addUsers(users []string, file string, stdin io.Reader) error {
	if file != "" {
		content, err := readSecret(file, stdin)
		if err != nil {
			return failf(classUsage, "read the users: %w", err)
		}
		for line := range strings.Lines(content) {
			if line = strings.TrimRight(line, "\r\n"); line != "" && line[0] != '#' {
				users = append(users, line)
			}
		}
	}
	for i, u := range users {
		name, password, ok := strings.Cut(u, ":")
		if !ok || name == "" {
			return failf(classUsage, "user %d is not NAME:PASSWORD", i+1)
		}
		if srv.users[name] = password; srv.first == "" {
			srv.first = name
		}
	}
	return nil
}

// setKey takes the key, or makes one and a user for a server that only this host can reach.
func (srv *labServer) setKey(ctx context.Context, inv *invocation, listen []string) error {
	ways := inv.key.ways()
	if ways > 1 || len(inv.key.files) > 1 {
		return failf(classUsage, "the key is given more than once")
	}
	made := ""
	if srv.clear {
		// no key over TLS (RFC 9887 section 3.2)
	} else if ways > 0 || inv.std.env(inv.key.env) != "" {
		keys, err := inv.key.load(ctx, inv, "")
		if err != nil {
			return err
		}
		if srv.key = keys[0].value; srv.key == "" {
			return failf(classUsage, "the key is empty")
		}
	} else {
		var b [12]byte
		rand.Read(b[:]) // never fails
		srv.key = hex.EncodeToString(b[:])
		made = "a key"
	}
	if len(srv.users) == 0 {
		srv.users["demo"] = "demo"
		made = strings.TrimPrefix(made+" and a user", " and ")
	}
	if made == "" {
		return nil
	}
	for _, addr := range listen {
		host, _, _ := net.SplitHostPort(addr)
		if a, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !a.IsLoopback()) {
			return failf(classUsage, "to listen on %s, give a key and users", escape(addr)).
				withHint("--key-file and --user; without them serve listens on loopback only, with a key of its own")
		}
	}
	if strings.Contains(made, "key") {
		inv.say("made a key: %s", srv.key)
		srv.try = "TACACS_PLUS_KEY=" + srv.key
	}
	if strings.Contains(made, "user") {
		inv.say("made a user: demo, with the password demo")
		srv.try += " TACACS_PLUS_PWD=demo tacacs_plus authenticate demo"
	} else {
		srv.try += " tacacs_plus authenticate " + srv.first
	}
	return nil
}

// run listens until ctx ends, then lets the replies under way finish.
func (srv *labServer) run(ctx context.Context, inv *invocation, listen []string) error {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, addr := range listen {
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return failf(classNetwork, "listen on %s: %w", escape(addr), cause(err))
		}
		if srv.tls != nil {
			l = tls.NewListener(l, srv.tls)
		}
		listeners = append(listeners, l)
	}
	var all sync.WaitGroup
	for _, l := range listeners {
		inv.say("listening on %s", l.Addr())
		if srv.try != "" {
			inv.say("try: %s %s%s", strings.TrimSpace(srv.try), l.Addr(), srv.trust)
		}
		all.Go(func() { srv.accept(ctx, l, &all) })
	}
	<-ctx.Done()
	for _, l := range listeners {
		l.Close()
	}
	finished := make(chan struct{})
	go func() { all.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-time.After(shutdownTimeout):
	}
	return srv.log.flush()
}

// accept takes connections, each for a goroutine of its own, up to the limit.
func (srv *labServer) accept(ctx context.Context, l net.Listener, all *sync.WaitGroup) {
	for {
		conn, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(10 * time.Millisecond) // out of file descriptors, most likely
			continue
		}
		select {
		case srv.slots <- struct{}{}:
			all.Go(func() {
				srv.serve(ctx, conn)
				<-srv.slots
			})
		default:
			srv.log.note(conn.RemoteAddr().String(), "refused: too many connections")
			conn.Close()
		}
	}
}

// A peer is one client's connection.
type peer struct {
	*labServer
	conn      net.Conn
	addr      string // where conn comes from
	in        *bufio.Reader
	out       []byte                  // replies that wait for being written together
	dialogues map[uint32]*authSession // authentications that wait for a CONTINUE
	single    bool                    // single-connection mode (RFC 8907 section 4.3)
	begun     bool                    // the first packet was read
	sessions  int                     // that were begun
	waits     time.Time               // since when the deadlines are counted

	// Used again for every packet, so that a login costs the server little.
	codec codec
	body  []byte
	spare *authSession
}

// serve reads packets until the client goes, breaks a rule, or is idle for too long. Replies
// are written when nothing more is there to be read.
func (srv *labServer) serve(ctx context.Context, conn net.Conn) {
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if secure, ok := conn.(*tls.Conn); ok {
		conn.SetDeadline(time.Now().Add(handshakeTimeout))
		if err := secure.HandshakeContext(ctx); err != nil {
			srv.log.note(conn.RemoteAddr().String(), "TLS: "+cause(err).Error())
			return
		}
	}
	p := &peer{labServer: srv, conn: conn, addr: conn.RemoteAddr().String(), in: bufio.NewReaderSize(conn, 16<<10),
		dialogues: make(map[uint32]*authSession)}
	for more := true; more; {
		if len(p.out) >= maxGathered && p.flush() != nil {
			break
		}
		if !wholePacket(p.in) {
			if p.flush() != nil {
				break
			}
			if p.stillHere(); ctx.Err() != nil {
				break
			}
		}
		more = p.packet()
	}
	p.flush()
	for id, d := range p.dialogues {
		p.abandon(id, d)
	}
	p.log.flush()
}

// stillHere moves the deadlines of the connection, at most once a second: that costs more than
// a login does.
func (p *peer) stillHere() {
	if now := time.Now(); now.Sub(p.waits) > time.Second {
		p.waits = now
		p.conn.SetDeadline(now.Add(idleTimeout))
	}
}

// flush writes the log, then the replies. What account replies does not depend on this: it has
// written its record before.
func (p *peer) flush() error {
	err := p.log.flush()
	if len(p.out) > 0 {
		p.stillHere()
		err = errors.Join(err, p.fault.write(p.conn, p.out))
		p.out = p.out[:0]
	}
	return err
}

// packet reads one packet and replies to it; false ends the connection.
func (p *peer) packet() bool {
	h, body, ok := p.receive()
	if !ok {
		return false
	}
	if !p.begun {
		p.begun, p.single = true, h.flags&flagSingleConnect != 0 && !p.fault.refuseSingle
	}
	replyHead := p.replyHeader(h)
	if !p.accepts(h, &replyHead) {
		return false
	}
	if h.seqNo == 1 {
		p.sessions++
	}
	if f := p.fault.swallowAfter; f > 0 && p.sessions > f {
		return true
	}
	if !p.clear {
		obfuscate(&h, p.key, body)
	}
	reply, over, err := p.decide(h, body)
	if err != nil {
		what := fmt.Sprintf("a packet that does not fit the key of %d characters", utf8.RuneCountInString(p.key))
		if p.clear {
			what = "a malformed packet"
		}
		p.refuse(&replyHead, what+": "+err.Error(), what)
		return false
	}
	if reply == nil { // ABORT: the session is over without a reply
		return p.single
	}
	p.send(&replyHead, reply)
	if f := p.fault.closeAfter; over && f > 0 && p.sessions >= f {
		return false
	}
	return p.single || !over
}

// receive reads one packet, its body as it is on the wire; false where there is none, or one
// that must not be read. The body is good until the next one is read.
func (p *peer) receive() (h header, body []byte, ok bool) {
	head, err := p.in.Peek(headerLen)
	if err != nil {
		if len(head) > 0 {
			p.log.note(p.addr, "ended in the middle of a packet")
		}
		return h, nil, false
	}
	h = parseHeader(head)
	if h.version.major() != majorVersion {
		p.log.note(p.addr, fmt.Sprintf("not TACACS+: the first octet is 0x%02x", head[0]))
		return h, nil, false
	}
	if h.length > maxBody {
		p.log.note(p.addr, fmt.Sprintf("a body of %d octets, the limit is %d", h.length, maxBody))
		return h, nil, false
	}
	p.in.Discard(headerLen)
	body = slices.Grow(p.body[:0], int(h.length))[:h.length]
	if p.body = body; len(body) > keptBody {
		p.body = nil
	}
	if _, err := io.ReadFull(p.in, body); err != nil {
		p.log.note(p.addr, "ended in the middle of a packet")
		return h, nil, false
	}
	return h, body, true
}

// replyHeader is the header of the reply to a packet with the header h: of the flags it has
// those that this server knows (RFC 8907 section 4.1). The length follows with the body.
func (p *peer) replyHeader(h header) header {
	h.seqNo++
	h.flags &= flagUnencrypted
	if p.single {
		h.flags |= flagSingleConnect
	}
	return h
}

// accepts judges what a header says of its session. Where it does not accept that it tells the
// client, unless seq_no leaves no number for a reply (RFC 8907 section 4.1).
func (p *peer) accepts(h header, replyHead *header) bool {
	switch {
	case h.seqNo > lastSeqNo:
		p.log.note(p.addr, "the sequence numbers of a session are used up")
		return false
	case h.seqNo%2 == 0 || h.typ < typeAuthen || h.typ > typeAcct:
		// RFC 8907 section 3.6: the same header with the next number and no body.
		p.log.note(p.addr, fmt.Sprintf("a packet of type %s with seq_no %d", h.typ, h.seqNo))
		replyHead.length = 0
		head := codec{buf: p.out}
		replyHead.layout(&head)
		p.out = head.buf
		return false
	case p.clear != (h.flags&flagUnencrypted != 0):
		// RFC 8907 section 10.5.2, and over TLS RFC 9887 section 4: the flag must fit, always.
		replyHead.flags ^= flagUnencrypted
		p.refuse(replyHead, "the UNENCRYPTED flag does not fit the transport", "UNENCRYPTED flag")
		return false
	}
	return true
}

// refuse logs what is wrong with a packet, and replies to it with an ERROR of its type.
func (p *peer) refuse(replyHead *header, note, serverMsg string) {
	p.log.note(p.addr, note)
	p.send(replyHead, errorReply(replyHead.typ, serverMsg))
}

// errorReply is the ERROR of one packet type.
func errorReply(typ packetType, msg string) layouter {
	switch typ {
	case typeAuthen:
		return &authenReply{status: authenError, serverMsg: msg}
	case typeAuthor:
		return &authorResponse{status: authorError, serverMsg: msg}
	}
	return &acctReply{status: acctError, serverMsg: msg}
}

// send queues a reply, with what the fault makes of it.
func (p *peer) send(h *header, m layouter) {
	if p.delay > 0 {
		time.Sleep(p.delay)
	}
	h.version ^= p.fault.version
	start := len(p.out)
	out, err := p.codec.appendPacket(p.out, h, m)
	if err != nil {
		p.log.note(p.addr, "the reply does not fit: "+err.Error())
		return
	}
	p.out = out
	packet := out[start:]
	if p.fault.body != nil {
		p.fault.body(h.typ, packet[headerLen:])
	}
	p.trace.packet("sent to", p.conn.RemoteAddr(), h, packet[headerLen:], m)
	if !p.clear && !p.fault.clearReply {
		obfuscate(h, p.key+p.fault.keySuffix, packet[headerLen:])
	}
	if p.fault.packet != nil {
		p.out = append(p.out[:start], p.fault.packet(packet)...)
	}
}

// decide decodes a request and decides on it. over says that the session ends with the reply; a
// reply of nil, that it ends without one; an error, that the body does not decode.
func (p *peer) decide(h header, body []byte) (reply layouter, over bool, err error) {
	switch {
	case h.typ != typeAuthen && h.seqNo != 1:
		return errorReply(h.typ, "seq_no is not 1"), true, nil
	case h.typ == typeAuthor:
		var m authorRequest
		if err := p.decode(&h, body, &m); err != nil {
			return nil, false, err
		}
		return p.fault.author(p.authorize(&m)), true, nil
	case h.typ == typeAcct:
		var m acctRequest
		if err := p.decode(&h, body, &m); err != nil {
			return nil, false, err
		}
		return p.fault.acct(p.account(&m)), true, nil
	case h.seqNo == 1:
		return p.startAuthen(&h, body)
	}
	return p.continueAuthen(&h, body)
}

// decode reads the body of a packet into m.
func (p *peer) decode(h *header, body []byte, m layouter) error {
	err := p.codec.decode(body, m)
	p.trace.packet("received from", p.conn.RemoteAddr(), h, body, m)
	return err
}

// startAuthen decides on a START. One with the session_id of a dialogue takes its place.
func (p *peer) startAuthen(h *header, body []byte) (reply layouter, over bool, err error) {
	if d := p.dialogues[h.sessionID]; d != nil {
		p.abandon(h.sessionID, d)
	}
	if p.spare == nil {
		p.spare = new(authSession)
	}
	d := p.spare
	*d = authSession{served: served{Time: time.Now(), Peer: p.addr}, version: h.version}
	if err := p.decode(h, body, &d.start); err != nil {
		return nil, false, err
	}
	reply, over = p.settle(h, d, p.replyToStart(d))
	return reply, over, nil
}

// continueAuthen decides on a CONTINUE. It has the version of the START and the next seq_no,
// and an ABORT gets no reply (RFC 8907 sections 4.1 and 5.4.3).
func (p *peer) continueAuthen(h *header, body []byte) (reply layouter, over bool, err error) {
	var m authenContinue
	if err := p.decode(h, body, &m); err != nil {
		return nil, false, err
	}
	d := p.dialogues[h.sessionID]
	var r *authenReply
	switch {
	case d == nil:
		return errorReply(h.typ, "no such session"), true, nil
	case h.seqNo != d.seqNo+2 || h.version != d.version:
		r = &authenReply{status: authenError, serverMsg: "seq_no or version does not follow the packet before"}
	case m.flags&authenAbort != 0:
		p.end(h.sessionID, d, "ABORT", m.data)
		return nil, true, nil
	case h.seqNo == lastSeqNo:
		r = &authenReply{status: authenError, serverMsg: "sequence numbers are used up"}
	default:
		r = d.next(m.userMsg)
	}
	reply, over = p.settle(h, d, r)
	return reply, over, nil
}

// settle keeps the dialogue d where r, or what the fault makes of r, asks for a CONTINUE, and
// ends it where not.
func (p *peer) settle(h *header, d *authSession, r *authenReply) (reply layouter, over bool) {
	d.seqNo = h.seqNo
	r = p.fault.authen(d, r)
	switch r.status {
	case authenGetUser, authenGetData, authenGetPass:
		if len(p.dialogues) < maxDialogues || h.seqNo > 1 {
			if p.dialogues[h.sessionID] = d; d == p.spare {
				p.spare = nil
			}
			return r, false
		}
		r = &authenReply{status: authenError, serverMsg: "too many sessions"}
	}
	p.end(h.sessionID, d, r.status.String(), r.serverMsg)
	return r, true
}

// abandon ends a dialogue that the client left without an answer.
func (p *peer) abandon(id uint32, d *authSession) {
	p.end(id, d, "ABANDONED", "the client did not answer")
}

// end forgets a dialogue and logs what it came to.
func (p *peer) end(id uint32, d *authSession, status, msg string) {
	delete(p.dialogues, id)
	d.Status, d.ServerMsg = status, msg
	p.log.write(&d.served)
}

// An authSession is one authentication in progress. next replies to what the client says next.
type authSession struct {
	served
	version version
	seqNo   uint8 // of the client's last packet
	start   authenStart
	next    func(said string) *authenReply
	tries   int
	faulted bool
}
