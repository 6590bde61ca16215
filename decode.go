package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"strings"
	"time"
)

// A decoder makes sessions of captures. What it holds is bounded, however long they are; what is dropped
// for that is counted.
type decoder struct {
	keys   []key   // candidates; none: headers and timing only
	keyLog *keyLog // nil for none
	port   uint16  // of the conversations that count; 0: those that begin like TACACS+
	log    *sessionLog
	dump   *dumper

	tcp     reassembler
	pipe    decodePipe        // from tcp to all the rest, which is another goroutine's while a capture is read
	lines   pipe[decodeLines] // to log, which is a third one's
	clients map[netip.Addr]*decodeClient
	others  decodeClient // all clients for which there is no room
	open    decodeQueue
	kept    int            // bytes of the requests of open sessions
	partial int            // bytes of packets that are not whole yet
	tlsOpen int            // TLS conversations under way
	summary *decodeSummary // in place of the lines; nil for none
	count   decodeCounts

	// Used again for every packet, so that it costs little.
	body     []byte
	codec    codec
	messages decodeMessages
	free     []*decodeSession
}

// decodeCounts are the totals.
type decodeCounts struct {
	conversations int // that spoke TACACS+
	unreadTLS     int // that were not read, where there is no line for them
	otherTLS      int // on ports that are none of TACACS+, and not read
	sessions      int
	fitted        int // sessions that a key fits
	unread        int // sessions that were obfuscated and not read
	missing       int // bytes of the conversations that count
	strays        int // packets that belong to no session
	dropped       int // sessions and bytes given up, so that memory does not grow
}

// decodeOptions are the options of decode.
type decodeOptions struct {
	keyLists list
	summary  bool
}

// newDecode is the command decode: what devices and servers said, out of a capture.
func newDecode(o *optionSet) action {
	var opts decodeOptions
	o.add(&opts.keyLists, "key-list", "FILE", "file with a candidate key on every line; repeatable")
	o.add((*toggle)(&opts.summary), "summary", "", "a table in place of the sessions: the servers and their time, and the clients that\nhave trouble")
	return func(ctx context.Context, inv *invocation) (output, error) {
		inv.std.err = newQueuedWriter(ctx, inv.std.err)
		d, err := opts.decoder(ctx, inv)
		if err != nil {
			return nil, err
		}
		files := inv.words
		if len(files) == 0 {
			files = []string{"-"}
		}
		err = d.readFiles(ctx, inv, files)
		report := d.report()
		if ctx.Err() != nil {
			report.ExitCode, err = classInterrupted.exit(), nil
		}
		return report, err
	}
}

// decoder is what the options ask for.
func (opts *decodeOptions) decoder(ctx context.Context, inv *invocation) (*decoder, error) {
	if err := inv.output.check(); err != nil {
		return nil, err
	}
	keyLog := inv.server.tls.keyLog
	if err := opts.checkStdin(inv, keyLog); err != nil {
		return nil, err
	}
	d := &decoder{port: uint16(inv.server.port), clients: make(map[netip.Addr]*decodeClient),
		pipe: decodePipe{pipe: newPipe[decodeBatch]()}, lines: newPipe[decodeLines]()}
	var err error
	if len(opts.keyLists) == 0 || inv.key.sourceCount() > 0 { // else the environment's is not asked for
		if d.keys, err = inv.givenKeys(ctx); err != nil {
			return nil, err
		}
	}
	for _, name := range opts.keyLists {
		if err := interruptible(ctx, func() (err error) { d.keys, err = appendKeyList(d.keys, name, inv.std.in); return err }); err != nil {
			return nil, err
		}
	}
	if keyLog != "" {
		if err := interruptible(ctx, func() (err error) { d.keyLog, err = loadKeyLog(keyLog, inv.std.in); return err }); err != nil {
			return nil, err
		}
	}
	d.log = &sessionLog{json: inv.output.json, verbose: inv.output.verbose}
	if !inv.output.quiet {
		d.log.out = newQueuedWriter(ctx, inv.std.out)
		d.log.out.what = sessionLines
	}
	if opts.summary {
		d.summary = &decodeSummary{servers: make(map[netip.AddrPort]*serverCount)}
	}
	if inv.output.debug {
		d.dump = &dumper{out: inv.std.err, showSecrets: inv.output.showSecrets}
	}
	if d.port != 0 {
		d.tcp.want = func(a, b netip.AddrPort) bool { return a.Port() == d.port || b.Port() == d.port }
	}
	d.tcp.onData, d.tcp.onGap, d.tcp.onClose = d.pipe.onData, d.pipe.onGap, d.pipe.onClose
	return d, nil
}

// checkStdin refuses what more than one reader would take from standard input.
func (opts *decodeOptions) checkStdin(inv *invocation, keyLog string) error {
	var readers []string
	if len(inv.words) == 0 {
		readers = append(readers, "the capture")
	}
	for _, name := range inv.words {
		if name == "-" {
			readers = append(readers, "the capture")
		}
	}
	readers = append(readers, inv.key.fromStdin()...)
	for _, name := range opts.keyLists {
		if name == "-" {
			readers = append(readers, "the list of keys")
		}
	}
	if keyLog == "-" {
		readers = append(readers, "the key log")
	}
	return shareStdin(readers)
}

// run reads the files in their order, as if they were one, and says at the end what was read.
func (d *decoder) readFiles(ctx context.Context, inv *invocation, files []string) error {
	var wrong error
	var last time.Time
	// Memory that is never touched, and so takes no room, but counts for the collector, which would
	// otherwise go to work for every few megabytes.
	ballast := make([]byte, 6<<20)
	defer runtime.KeepAlive(ballast)
	for _, name := range files {
		stop := d.startStages()
		err := d.read(ctx, inv, name, &last)
		stop() // what is wrong with a file stands behind its packets
		if ctx.Err() != nil || d.log.failed() {
			break
		}
		if wrong == nil {
			wrong = err
		} else if err != nil {
			inv.logf("%v", err)
		}
	}
	stop := d.startStages()
	d.tcp.finish(last)
	stop()
	if err := cmp.Or(d.log.close(context.WithoutCancel(ctx)), d.dump.close()); err != nil {
		return err
	}
	if !inv.output.quiet {
		d.printTotals(inv)
	}
	if wrong == nil && len(d.keys) > 0 && d.count.unread > 0 && d.count.fitted == 0 {
		return failf(classProtocol, "no session fits any key that was given").
			withHint("the device and its server may have another key than %s", d.keys[0].source)
	}
	return wrong
}

// read reads one file, up to its end or to what is wrong with it.
func (d *decoder) read(ctx context.Context, inv *invocation, name string, last *time.Time) error {
	in, shown := inv.std.in, "standard input"
	if name != "-" {
		f, err := openFile(ctx, "capture", name)
		if err != nil {
			return err
		}
		defer f.Close()
		in, shown = f, escape(name)
	}
	c, err := newCapture(&decodeInput{ctx, in, d}, shown)
	if err != nil {
		return err
	}
	for f := new(frame); ; {
		if err := c.nextFrame(f); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		d.tcp.add(f)
		*last = f.at
	}
}

// A decodeInput is a capture that may still grow: before it waits for more, sessions are made of what was
// read. It ends with ctx, also where nothing comes.
type decodeInput struct {
	ctx  context.Context
	from io.Reader
	*decoder
}

func (in *decodeInput) Read(p []byte) (int, error) {
	if in.pipe.flush(); in.log.failed() {
		return 0, errors.New("nobody takes what comes of it")
	}
	n := 0
	err := interruptible(in.ctx, func() (err error) { n, err = in.from.Read(p); return err })
	if classOf(err) == classInterrupted {
		return 0, err
	}
	return n, err
}

// tellTotals says on standard error what was read, and what was not.
func (d *decoder) printTotals(inv *invocation) {
	n := &d.count
	inv.logf("frames: %d, conversations of TACACS+: %d, sessions: %d", d.tcp.dropped.frames, n.conversations, n.sessions)
	var lost []string
	d.tcp.dropped.missing = n.missing
	if text := d.tcp.dropped.String(); text != "" {
		lost = append(lost, text)
	}
	for _, one := range []struct {
		what  string
		count int
	}{
		{"packets that belong to no session", n.strays},
		{"TLS conversations of other ports (--port says which is TACACS+)", n.otherTLS},
		{"TLS conversations", n.unreadTLS},
		{"given up so that memory does not grow", n.dropped},
	} {
		if one.count > 0 {
			lost = append(lost, fmt.Sprintf("%s: %d", one.what, one.count))
		}
	}
	if len(lost) > 0 {
		inv.logf("not read: %s", strings.Join(lost, ", "))
	}
	switch {
	case n.unread > 0 && len(d.keys) == 0:
		inv.logf("no key was given: headers and timing only; --key-file FILE reads more")
	case n.unread > 0:
		inv.logf("sessions that fit no key: %d", n.unread)
	}
}
