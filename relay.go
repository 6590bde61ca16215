package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A relayServer forwards packets between devices and servers. Packets are unchanged, but each side has its own key,
// or TLS. Sessions are logged.
type relayServer struct {
	listener *listener
	keys     clientKeys      // of the devices
	client   *client         // to the servers
	recorder *recorder       // nil without --record
	shared   *sharedUpstream // nil without --single-connect
	underWay atomic.Int64    // bytes of the requests of all sessions under way
	devices  sync.WaitGroup
}

// Limits of one device, beside those of the listener.
const (
	relayBuffer     = 4 << 10         // bytes, to read from one side
	relayIdle       = 5 * time.Minute // a user may be at a prompt
	maxUnderWay     = 16 << 20        // bytes of the requests under way
	maxCandidates   = 64              // keys of one device
	relayEndTimeout = linesTimeout    // for connections that are cut off at the end
)

// newRelay returns the command relay.
func newRelay(o *optionSet) action {
	var opts relayOptions
	opts.register(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		stderr := newStderrWriter(ctx, inv.std.err)
		inv.std.err = stderr
		r := &relayServer{listener: newListener()}
		if err := opts.configure(ctx, inv, r); err != nil {
			return nil, err
		}
		return &page{}, stderr.inBackground(func() error { return r.run(ctx, inv, &opts) })
	}
}

// relayOptions are the options of the devices' side.
type relayOptions struct {
	listen, listenTLS       list
	accept                  acceptOptions
	keys                    secretSource
	cert, certKey, clientCA string
	record                  string

	tls     *tls.Config // for listenTLS
	writers []*queuedWriter
}

func (opts *relayOptions) register(o *optionSet) {
	opts.keys = secretSource{what: "key of the devices", option: "--device-key-file"}
	o.add(&opts.listen, "listen", "ADDR", "address and port for devices (default 127.0.0.1:4949); repeatable")
	o.add(&opts.keys.files, "device-key-file", "FILE", "file with the devices' shared secret (default that of the servers); repeatable: [PREFIX=]FILE sets the key of the devices in PREFIX, longest matching prefix wins; among several keys the one that fits is used")
	o.add(&opts.listenTLS, "listen-tls", "ADDR", "address and port for devices over TLS; repeatable")
	o.add((*text)(&opts.cert), "listen-cert", "FILE", "with --listen-tls: certificate for devices, with its chain, PEM")
	o.add((*text)(&opts.certKey), "listen-cert-key", "FILE", "its private key, PEM (default in the file of --listen-cert)")
	o.add((*text)(&opts.clientCA), "client-ca", "FILE", "with --listen-tls: require a client certificate signed by one of these CAs, PEM")
	opts.accept.register(o)
	o.add((*text)(&opts.record), "record", "FILE", "write all packets to a capture file, not obfuscated; secrets are masked unless --show-secrets is given")
}

// configure sets up r as the command line describes it.
func (opts *relayOptions) configure(ctx context.Context, inv *invocation, r *relayServer) error {
	prefixes, err := cutPrefixes(opts.keys.option, opts.keys.files)
	if err != nil {
		return err
	}
	if err := cmp.Or(opts.check(), opts.accept.configure(r.listener), shareStdin(append(inv.key.fromStdin(), opts.keys.fromStdin()...)),
		inv.checkSources([]*secretSource{&inv.key})); err != nil {
		return err
	}
	keys, err := inv.keys(ctx)
	if err != nil {
		return err
	}
	if r.keys, err = opts.deviceKeys(ctx, inv, prefixes, keys); err != nil {
		return err
	}
	if len(opts.listenTLS) > 0 {
		if err := opts.setTLS(ctx, inv); err != nil {
			return err
		}
	}
	if r.client, err = inv.client(ctx, keys); err != nil {
		return err
	}
	if r.listener.dump = r.client.dump; r.listener.dump != nil {
		r.listener.dump.out = opts.background(r.listener.dump.out, "packets", nil)
	}
	if inv.server.singleConnect {
		r.shared = newSharedUpstream(r.client, inv.printWarning)
	}
	r.listener.log = &sessionLog{json: inv.output.json, verbose: inv.output.verbose}
	if !inv.output.quiet {
		r.listener.log.out = opts.background(inv.std.out, sessionLines, inv.logf)
	}
	if opts.record != "" {
		var file *os.File
		if err := interruptible(ctx, func() (err error) { file, err = openRecord(opts.record); return err }); err != nil {
			return err
		}
		r.recorder = newRecorder(opts.background(file, "recorded packets", inv.logf), inv.output.showSecrets)
	}
	return nil
}

// background returns a writer that sessions do not wait for.
func (opts *relayOptions) background(to io.Writer, what string, warnf func(format string, args ...any)) *queuedWriter {
	w := newQueuedWriter(context.Background(), to)
	w.background, w.what, w.warnf = true, what, warnf
	opts.writers = append(opts.writers, w)
	return w
}

// check refuses options that exclude each other, and a relay that other hosts could use without a key or a
// certificate.
func (opts *relayOptions) check() error {
	if len(opts.listen)+len(opts.listenTLS) == 0 {
		opts.listen = list{"127.0.0.1:4949"}
	}
	if err := cmp.Or(checkListen("listen", opts.listen), checkListen("listen-tls", opts.listenTLS)); err != nil {
		return err
	}
	switch secure := len(opts.listenTLS) > 0; {
	case !secure && (opts.cert != "" || opts.certKey != "" || opts.clientCA != ""):
		return failf(classUsage, "--listen-cert, --listen-cert-key and --client-ca need --listen-tls")
	case secure && opts.cert == "":
		return failf(classUsage, "--listen-tls needs --listen-cert")
	}
	if addr := offLoopback(opts.listenTLS); addr != "" && opts.clientCA == "" {
		return failf(classUsage, "listening on %s over TLS needs --client-ca", escape(addr)).
			withHint("RFC 9887 section 3.1 requires client certificates")
	}
	if addr := offLoopback(opts.listen); addr != "" && len(opts.keys.files) == 0 {
		return failf(classUsage, "listening on %s needs --device-key-file", escape(addr)).
			withHint("give the key of the devices, or listen on loopback")
	}
	if len(opts.listen) == 0 && len(opts.keys.files) > 0 {
		return failf(classUsage, "--device-key-file needs --listen: devices over TLS have no key")
	}
	return nil
}

// setTLS reads the TLS files of the devices' side.
func (opts *relayOptions) setTLS(ctx context.Context, inv *invocation) error {
	inv.warnReadableKey(opts.cert, opts.certKey)
	pair, err := readKeyPair(ctx, opts.cert, opts.certKey)
	if err == nil {
		opts.tls, err = serverTLS(ctx, pair, opts.clientCA)
	}
	return err
}

// deviceKeys returns the keys of the devices: those of the option, else the first key of the servers.
func (opts *relayOptions) deviceKeys(ctx context.Context, inv *invocation, prefixes []netip.Prefix, servers []key) (clientKeys, error) {
	switch {
	case len(opts.listen) == 0:
		return nil, nil
	case len(opts.keys.files) > 0:
		keys, err := inv.loadSecret(ctx, &opts.keys, "")
		if err != nil {
			return nil, err
		}
		inv.warnShortKeys(keys)
		return byPrefix(keys, prefixes, maxCandidates)
	case len(servers) == 0:
		return nil, failf(classUsage, "the key of the devices is missing").withHint("give --device-key-file FILE")
	}
	return clientKeys{{}: servers[:1]}, nil
}

// run serves until ctx ends, then finishes pending replies.
func (r *relayServer) run(ctx context.Context, inv *invocation, opts *relayOptions) error {
	defer r.listener.close()
	if err := cmp.Or(r.listener.listen(opts.listen, nil), r.listener.listen(opts.listenTLS, opts.tls)); err != nil {
		return err
	}
	for i, l := range r.listener.listeners {
		if i < len(opts.listen) {
			inv.logf("listening on %s", l.Addr())
		} else {
			inv.logf("listening for TLS on %s", l.Addr())
		}
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	gone := make(chan struct{})
	var carried sync.WaitGroup
	if r.shared != nil {
		carried.Go(func() { r.shared.run(life, gone) })
	}
	serve := func(ctx context.Context, conn net.Conn) { r.serve(ctx, life, conn) }
	return r.listener.serveUntil(ctx, serve, func() error {
		end() // whatever is still under way, so that it has its line
		go func() { r.devices.Wait(); close(gone) }()
		select {
		case <-gone:
			carried.Wait()
		case <-time.After(relayEndTimeout):
		}
		return opts.close()
	})
}

// close writes what is still queued, to all outputs at the same time.
func (opts *relayOptions) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), linesTimeout)
	defer cancel()
	errs := make([]error, len(opts.writers))
	var all sync.WaitGroup
	for i, w := range opts.writers {
		all.Go(func() { errs[i] = w.close(ctx) })
	}
	all.Wait()
	return cmp.Or(errs...)
}

// serve handles one device's connection. When ctx ends, no more is read. When life ends, nothing is waited for any more.
func (r *relayServer) serve(ctx, life context.Context, conn net.Conn) {
	r.devices.Add(1)
	defer r.devices.Done()
	defer conn.Close()
	_, secure := conn.(*tls.Conn)
	c := r.listener.newInboundConn(ctx, conn, r.keys, secure, relayBuffer)
	if c == nil {
		return
	}
	defer context.AfterFunc(ctx, c.stopReading)()
	defer context.AfterFunc(life, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	d := &device{relay: r, client: c, messages: new(messageSet)}
	if len(c.keys) > 0 {
		d.key = c.keys[0] // until the first packet shows which one is right
	}
	c.idle = relayIdle
	if !c.extendDeadline() {
		return
	}
	if r.shared != nil {
		d.serveShared(life)
	} else {
		d.serveDirect(life)
	}
	if r.recorder != nil {
		r.recorder.end(&d.recorded)
	}
	r.listener.log.flush()
}

// A device is one device's connection to the relay.
type device struct {
	relay    *relayServer
	client   *inboundConn
	key      key         // of client.keys, the one that fits
	messages *messageSet // its packets are decoded into these
	codec    codec
	recorded recordedConns
}

// readPacket reads the device's next packet and appends it to dst, with the body in clear; m is the body. ok is false
// if the connection is to end. A packet that cannot be forwarded is answered as RFC 8907 requires.
func (d *device) readPacket(dst []byte) (h header, m message, packets []byte, ok bool) {
	h, packets, ok = d.client.receive(dst)
	if !ok {
		return h, nil, dst, false
	}
	if wrong, then := checkHeader(&h, d.client.cleartext); wrong != "" {
		d.refuse(h, then, wrong, "UNENCRYPTED flag")
		return h, nil, dst, false
	}
	body := packets[len(dst)+headerLen:]
	if d.client.onPacket() {
		d.chooseKey(&h, body)
	}
	if !d.client.cleartext {
		obfuscate(&h, d.key.value, body)
	}
	m = d.messages.of(&h)
	err := d.codec.decode(body, m)
	if d.client.dump != nil { // converting the address allocates
		d.client.dump.packet("received from", d.client.addr, &h, body, m)
	}
	if err != nil {
		d.refuse(h, rejectWithError, d.client.malformed(err), "malformed packet")
		return h, nil, dst, false
	}
	d.client.prove(&h, m)
	return h, m, packets, true
}

// chooseKey chooses the key that fits the first packet best.
func (d *device) chooseKey(h *header, body []byte) {
	best := -1
	for _, k := range d.client.keys {
		n := 0
		if len(d.client.keys) > 1 {
			n = d.fits(h, body, k)
		}
		if n > best {
			best, d.key = n, k
		}
	}
}

// fits returns how well a key fits a packet: 1 if the lengths do, 2 if the fields are plausible too.
func (d *device) fits(h *header, body []byte, k key) int {
	try, m := bytes.Clone(body), d.messages.of(h)
	obfuscate(h, k.value, try)
	switch {
	case d.codec.decode(try, m) != nil:
		return 0
	case !plausible(m):
		return 1
	}
	return 2
}

// refuse logs what is wrong with the packet of h, and replies as RFC 8907 requires.
func (d *device) refuse(h header, then rejection, problem, serverMsg string) {
	d.client.note(problem)
	switch then {
	case rejectWithHeader:
		d.client.conn.Write(appendHeader(nil, h))
	case rejectWithError:
		h.seqNo++
		h.flags = d.flags(0)
		m := errorReply(h.typ, serverMsg)
		packet, _ := appendPacket(nil, &h, m) // it fits
		d.client.dump.packet("sent to", d.client.addr, &h, packet[headerLen:], m)
		d.obfuscate(&h, packet[headerLen:])
		d.client.conn.Write(packet)
	}
}

// flags returns the flags of a packet to the device, with the UNENCRYPTED flag of its side.
func (d *device) flags(f headerFlags) headerFlags {
	if f &^= flagUnencrypted; d.client.cleartext {
		f |= flagUnencrypted
	}
	return f
}

// obfuscate obfuscates a body for the device, unless it uses TLS.
func (d *device) obfuscate(h *header, body []byte) {
	if !d.client.cleartext {
		obfuscate(h, d.key.value, body)
	}
}
