package main

import (
	"cmp"
	"context"
	"io"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A relayServer puts the sessions of devices to servers. Messages are unchanged, but each side has its own key, or TLS.
// Sessions are logged.
type relayServer struct {
	listener *listener
	config   atomic.Pointer[relayConfig]
	recorder *recorder     // nil without --record
	metrics  *relayMetrics // nil without --metrics-file
	devices  sync.WaitGroup
	sessions sync.Pool // relayedSessions, to be used again

	// What devices share. A device that has most is refused first.
	bytes      *share // for sessions under way
	unanswered *share // bytes of requests on the connection of --single-connect
	unread     *share // bytes of replies
}

// A relayConfig is how devices and servers are reached.
type relayConfig struct {
	keys         clientKeys // of the devices
	tls          *tlsServer // for devices; nil without --listen-tls
	lone, kept   *client    // to the servers: a connection for one session, and one for many
	shared       *upstream  // nil without --single-connect
	refuseSingle bool       // no single-connection mode for devices
}

const (
	relayBuffer     = 4 << 10                 // bytes, to read from a device
	relayIdle       = 5 * time.Minute         // a user may be at a prompt
	relayConnect    = 1500 * time.Millisecond // default of --connect-timeout: devices wait 3 to 5 s
	maxPlaces       = 2048
	sessionSize     = 16 << 10 // bytes that a session counts for with its first packet, unless that is larger
	maxBytes        = 32 << 20
	maxCandidates   = 64                     // keys of one device
	relayEndTimeout = 500 * time.Millisecond // for connections that are cut off at the end
)

func newRelayServer() *relayServer {
	return &relayServer{listener: newListener(), bytes: newShare(maxPlaces*sessionSize, "sessions"),
		unanswered: newShare(maxUnanswered, "bytes without a reply"), unread: newShare(maxBytes, "bytes of replies")}
}

// newRelayConfig returns the configuration for a client. With singleConnect devices share connections to the servers.
func newRelayConfig(c *client, keys clientKeys, singleConnect bool, note func(string)) *relayConfig {
	kept := *c
	kept.forwards, kept.singleConnect = true, true
	lone := kept
	lone.singleConnect = false
	config := &relayConfig{keys: keys, lone: &lone, kept: &kept}
	if singleConnect {
		config.shared = newUpstream(&kept, maxPlaces, note) // has room for all sessions
	}
	return config
}

// relayOptions are the options of the devices' side.
type relayOptions struct {
	listen, listenTLS list
	accept            acceptOptions
	keys              secretSource
	cert, certKey     string
	record            string
	appendRecord      bool
	metricsFile       string
	metrics           *relayMetrics
	noSingleConnect   bool
	sendProxy         bool
	deadTime          *time.Duration
	checkConfig       bool

	inherited, inheritedTLS []string // addresses of sockets that systemd has opened
	writers                 []*queuedWriter
}

func (opts *relayOptions) register(o *optionSet) {
	opts.keys = secretSource{what: "key of the devices", option: "--device-key-file"}
	o.add(&opts.listen, "listen", "ADDR", "address and port for devices (default 127.0.0.1:4949); repeatable")
	o.add(&opts.keys.files, "device-key-file", "FILE", "file with the devices' shared secret (default that of the servers); repeatable: [PREFIX=]FILE sets the key of the devices in PREFIX, longest matching prefix wins; among several keys the one that fits is used")
	o.add(&opts.listenTLS, "listen-tls", "ADDR", "address and port for devices over TLS; repeatable")
	o.add((*text)(&opts.cert), "listen-cert", "FILE", "with --listen-tls: certificate for devices, with its chain, PEM")
	o.add((*text)(&opts.certKey), "listen-cert-key", "FILE", "its private key, PEM (default in the file of --listen-cert)")
	opts.accept.register(o, "--listen-tls")
	o.add((*toggle)(&opts.sendProxy), "send-proxy", "", "begin connections to the servers with a PROXY header, version 2, that names the device")
	o.add((*toggle)(&opts.noSingleConnect), "no-device-single-connect", "", "refuse single-connection mode to devices")
	o.add((*text)(&opts.record), "record", "FILE", "write all packets to a new capture file, not obfuscated; secrets are masked unless --show-secrets is given")
	o.add((*toggle)(&opts.appendRecord), "append", "", "let --record append to a file that it has written before")
	o.add((*text)(&opts.metricsFile), "metrics-file", "FILE", "write metrics for Prometheus to FILE, which is replaced atomically, every 15 s and at the end")
	o.add((*toggle)(&opts.checkConfig), "check-config", "", "read everything and print what would run, then exit")
	opts.deadTime = addDeadTime(o)
}

// configure sets up r as the command line describes it.
func (opts *relayOptions) configure(ctx context.Context, inv *invocation, r *relayServer) error {
	config, err := opts.prepare(ctx, inv, r.listener)
	if err != nil {
		return err
	}
	r.config.Store(config)
	r.metrics = opts.metrics
	if n := maxDescriptors(); r.fitDescriptors(n) {
		inv.printWarning(warnFewDescriptors, "%d open files (ulimit -n) allow only %d connections and %d sessions", n, r.listener.limits.connections, r.bytes.limit/sessionSize)
	}
	if r.listener.dump = config.lone.dump; r.listener.dump != nil {
		r.listener.dump.out = opts.background(r.listener.dump.out, "packets", nil)
	}
	r.listener.log = &sessionLog{json: inv.output.json, verbose: inv.output.verbose}
	if !inv.output.quiet {
		r.listener.log.out = opts.background(inv.std.out, sessionLines, inv.logf)
	}
	return nil
}

// fitDescriptors lowers the limits so that they need no more than n descriptors, and reports whether it did. A connection
// needs one, and one to a server; a session can need one. The rest is for PROXY headers and files.
func (r *relayServer) fitDescriptors(n int) (lowered bool) {
	limits := &r.listener.limits
	connections, sessions := min(limits.connections, n/4), r.bytes.limit/sessionSize
	sessions = min(sessions, n-n/8-2*connections)
	lowered = connections < limits.connections || sessions*sessionSize < r.bytes.limit
	limits.connections, r.bytes.limit = connections, sessions*sessionSize
	return lowered
}

// prepare takes over the sockets of systemd for l, checks the options, and reads all files.
func (opts *relayOptions) prepare(ctx context.Context, inv *invocation, l *listener) (*relayConfig, error) {
	if err := l.inherit(inv.std.sockets, &opts.inherited, &opts.inheritedTLS); err != nil {
		return nil, err
	}
	if err := opts.check(inv, l); err != nil {
		return nil, err
	}
	opts.metrics = newRelayMetrics(opts.metricsFile)
	return opts.read(ctx, inv)
}

// read reads all files of the options, and returns the configuration that they describe.
func (opts *relayOptions) read(ctx context.Context, inv *invocation) (*relayConfig, error) {
	prefixes, err := cutPrefixes(opts.keys.option, opts.keys.files)
	if err != nil {
		return nil, err
	}
	keys, err := inv.keys(ctx)
	if err != nil {
		return nil, err
	}
	deviceKeys, err := opts.deviceKeys(ctx, inv, prefixes, keys)
	if err != nil {
		return nil, err
	}
	var secure *tlsServer
	if len(opts.listenTLS) > 0 {
		if secure, err = opts.accept.tlsServer(ctx, inv, opts.cert, opts.certKey, nil, nil); err != nil {
			return nil, err
		}
	}
	c, err := opts.serverClient(ctx, inv, keys)
	if err != nil {
		return nil, err
	}
	opts.metrics.watch(c, deviceKeys)
	config := newRelayConfig(c, deviceKeys, inv.server.singleConnect, func(text string) { inv.printWarning(warnConnectionReuse, "%s", text) })
	config.tls, config.refuseSingle = secure, opts.noSingleConnect
	return config, nil
}

// serverClient returns the client to the servers.
func (opts *relayOptions) serverClient(ctx context.Context, inv *invocation, keys []key) (*client, error) {
	inv.server.deadTime = *opts.deadTime
	c, err := inv.client(ctx, keys)
	if err != nil {
		return nil, err
	}
	if t := &inv.server.tls; c.tls != nil {
		read := func(ctx context.Context) (*tlsClient, error) { return t.client(ctx, inv.printWarning) }
		c.tls.follow(append([]string{t.caCert, t.cert, t.certKey}, t.crls...), read, inv.reportCertificates)
	}
	c.sendProxy, c.failoverTimeout = opts.sendProxy, cmp.Or(inv.server.connect, relayConnect)
	if c.dead != nil {
		c.dead.changed = func(srv server, why error) {
			if why != nil {
				inv.logf("%s is dead: %v", srv, why)
			} else {
				inv.logf("%s is alive", srv)
			}
		}
	}
	return c, nil
}

// background returns a writer that sessions do not wait for.
func (opts *relayOptions) background(to io.Writer, what string, warnf func(format string, args ...any)) *queuedWriter {
	w := newQueuedWriter(context.Background(), to)
	w.background, w.what, w.warnf = true, what, warnf
	opts.writers = append(opts.writers, w)
	return w
}

// check refuses options that exclude each other, and a relay that other hosts could use without a key or a
// certificate. It sets the limits of l.
func (opts *relayOptions) check(inv *invocation, l *listener) error {
	opts.listen, opts.listenTLS = append(opts.listen, opts.inherited...), append(opts.listenTLS, opts.inheritedTLS...)
	if len(opts.listen)+len(opts.listenTLS) == 0 {
		opts.listen = list{"127.0.0.1:4949"}
	}
	if opts.sendProxy && inv.server.singleConnect {
		return failf(classUsage, "--send-proxy excludes --single-connect: its connections are of many devices")
	}
	return cmp.Or(checkListen("listen", opts.listen), checkListen("listen-tls", opts.listenTLS), opts.checkTLS(), opts.checkClear(),
		opts.accept.configure(l), shareStdin(append(inv.key.fromStdin(), opts.keys.fromStdin()...)), inv.checkSources([]*secretSource{&inv.key}))
}

// checkTLS checks the options for devices over TLS.
func (opts *relayOptions) checkTLS() error {
	switch secure := len(opts.listenTLS) > 0; {
	case !secure && (opts.cert != "" || opts.certKey != ""):
		return failf(classUsage, "--listen-cert and --listen-cert-key need --listen-tls")
	case secure && opts.cert == "":
		return failf(classUsage, "--listen-tls needs --listen-cert")
	}
	return opts.accept.checkTLS(opts.listenTLS)
}

// checkClear checks the options for devices without TLS.
func (opts *relayOptions) checkClear() error {
	if addr := offLoopback(opts.listen); addr != "" && len(opts.keys.files) == 0 {
		return failf(classUsage, "listening on %s needs --device-key-file", escape(addr)).
			withHint("give the key of the devices, or listen on loopback")
	}
	if len(opts.listen) == 0 && len(opts.keys.files) > 0 {
		return failf(classUsage, "--device-key-file needs --listen: devices over TLS have no key")
	}
	return nil
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
	}
	i := slices.IndexFunc(servers, func(k key) bool { return k.server == "" })
	if i < 0 {
		return nil, failf(classUsage, "the key of the devices is missing").withHint("give --device-key-file FILE")
	}
	return clientKeys{{}: servers[i : i+1]}, nil
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
