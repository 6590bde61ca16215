package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// decodeOptions are the options of decode.
type decodeOptions struct {
	keyLists list
	summary  bool
	filter   recordFilter
}

// newDecode returns the command decode, which prints the sessions in captures.
func newDecode(o *optionSet) action {
	var opts decodeOptions
	o.add(&opts.keyLists, "key-list", "FILE", "file of candidate keys, one a line; repeatable")
	o.add((*toggle)(&opts.summary), "summary", "", "print a table in place of sessions: servers with their times, clients with problems")
	opts.filter.addTo(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		inv.std.err = newQueuedWriter(ctx, inv.std.err)
		if len(inv.words) == 0 {
			inv.words = []string{"-"}
		}
		d, err := opts.newDecoder(ctx, inv)
		if err != nil {
			return nil, err
		}
		err = newDecodePipeline(d).readFiles(ctx, inv, inv.words)
		report := newDecodeReport(d.summary, d.keys.clientCounts(), &d.keys.others.count)
		report.keyless = d.keys.keys.count == 0
		if ctx.Err() != nil {
			report.ExitCode, err = classInterrupted.exit(), nil
		}
		return report, err
	}
}

// newDecoder makes a decoder with the options.
func (opts *decodeOptions) newDecoder(ctx context.Context, inv *invocation) (*decoder, error) {
	if err := inv.output.check(); err != nil {
		return nil, err
	}
	keyLog := inv.server.tls.keyLog
	if err := opts.checkStdin(inv, keyLog); err != nil {
		return nil, err
	}
	d := &decoder{port: uint16(inv.server.port), filter: opts.filter, keys: keyFinder{clients: make(map[netip.Addr]*decodeClient)},
		memory: budget{limit: budgetSessions}, partial: budget{limit: budgetPartial}, tlsMemory: budget{limit: budgetTLS}}
	if err := opts.readKeys(ctx, inv, &d.keys.keys); err != nil {
		return nil, err
	}
	if keyLog != "" {
		if err := interruptible(ctx, func() (err error) { d.keyLog, err = loadKeyLog(keyLog, inv.std.in); return err }); err != nil {
			return nil, err
		}
		d.keyLog.setLimit(budgetKeys - len(d.keys.keys.text))
	}
	log := &sessionLog{json: inv.output.json, verbose: inv.output.verbose}
	if !inv.output.quiet {
		log.out = newQueuedWriter(ctx, inv.std.out)
		log.out.what = sessionLines
	}
	d.frames = log.verbose || log.json
	d.printer = recordPrinter{pipe: newPipe(newRecordBatch), log: log, direct: inv.output.debug}
	if inv.output.debug {
		d.dump = &dumper{out: inv.std.err, showSecrets: inv.output.showSecrets}
	}
	if opts.summary {
		d.summary = &decodeSummary{servers: make(map[netip.AddrPort]*serverCount)}
	}
	return d, nil
}

// readKeys reads the candidate keys into a table. With --key-list the key of the environment is not used.
func (opts *decodeOptions) readKeys(ctx context.Context, inv *invocation, table *keyTable) (err error) {
	if len(opts.keyLists) == 0 || inv.key.sourceCount() > 0 {
		table.given, err = inv.givenKeys(ctx)
		table.count = len(table.given)
	}
	for i := 0; i < len(opts.keyLists) && err == nil; i++ {
		err = table.addList(ctx, inv, opts.keyLists[i])
	}
	return err
}

// checkStdin returns an error if several inputs come from standard input.
func (opts *decodeOptions) checkStdin(inv *invocation, keyLog string) error {
	var readers []string
	for i, files := range [...][]string{inv.words, opts.keyLists, {keyLog}} {
		for _, name := range files {
			if name == "-" {
				readers = append(readers, [...]string{"the capture", "the list of keys", "the key log"}[i])
			}
		}
	}
	return shareStdin(append(readers, inv.key.fromStdin()...))
}

// readFiles reads the files in the order of their first frames, as if they were one capture. At the end it prints the totals.
func (p *decodePipeline) readFiles(ctx context.Context, inv *invocation, files []string) error {
	d := p.decoder
	var firstErr error
	var last frameRef
	if len(files) > 1 {
		if err := interruptible(ctx, func() error { files = captureOrder(files, &tacacsPayload); return nil }); err != nil {
			return err
		}
	}
	for _, name := range files {
		stop := p.start()
		err := p.readFile(ctx, inv, name, &last)
		stop() // before the error is printed, so that the packets come first
		if ctx.Err() != nil || d.printer.log.failed() {
			break
		}
		if firstErr == nil {
			firstErr = err
		} else if err != nil {
			inv.logf("%v", err)
		}
	}
	stop := p.start()
	p.tcp.finish(last)
	stop()
	_ = d.printer.log.flush() // ends with ctx if the output is blocked, which close does not; its error is that of close
	if err := cmp.Or(d.printer.log.close(context.WithoutCancel(ctx)), d.dump.close()); err != nil {
		return err
	}
	if !inv.output.quiet {
		p.printTotals(inv)
	}
	if firstErr == nil && d.keys.keys.count > 0 && d.counts.unread > 0 && d.counts.fitted == 0 {
		err := failf(classProtocol, "no key fits any session")
		if d.counts.halfFit != "" {
			return err.withHint(fmt.Sprintf("the device and its server have different keys: that of %s fits one of them", d.counts.halfFit))
		}
		return err.withHint(fmt.Sprintf("give the devices' key: it is not %s", d.keys.keys.tried()))
	}
	return firstErr
}

// readFile reads one file up to its end or to an error. It sets last to the time of the last frame.
func (p *decodePipeline) readFile(ctx context.Context, inv *invocation, name string, last *frameRef) error {
	in, shown := inv.std.in, "standard input"
	if name != "-" {
		f, err := openFile(ctx, "capture", name)
		if err != nil {
			return err
		}
		defer f.Close()
		in, shown = f, escape(name)
	}
	p.tcp.live = !isRegular(in)
	next, err := newCapture(p.liveReader(ctx, in), shown, &tacacsPayload, p.addSecrets)
	if err != nil {
		return err
	}
	for f := new(frame); ; {
		if err := next(f); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		p.tcp.add(f)
		*last = f.ref()
	}
}

// A readFunc is a Read method.
type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

// maxRead is how many bytes are read at once: more would leave the cache of the processor before they are decoded.
const maxRead = 64 << 10

// liveReader returns a reader for a capture that may still grow: unless it is a regular file, the frames read so far are
// decoded before each Read waits. A Read returns when ctx ends.
func (p *decodePipeline) liveReader(ctx context.Context, in io.Reader) readFunc {
	return func(b []byte) (int, error) {
		if p.tcp.live {
			p.flush()
		}
		if p.decoder.printer.log.failed() {
			return 0, errors.New("the output cannot be written")
		}
		n := 0
		err := interruptible(ctx, func() (err error) { n, err = in.Read(b[:min(len(b), maxRead)]); return err })
		if classOf(err) == classInterrupted {
			return 0, err // n may still change
		}
		return n, err
	}
}

// printTotals prints the counts to stderr.
func (p *decodePipeline) printTotals(inv *invocation) {
	n := &p.decoder.counts
	inv.logf("frames: %d, TACACS+ conversations: %d, sessions: %d", p.tcp.frames, n.conversations, n.sessions)
	var lost []string
	for _, loss := range []struct {
		what  string
		count int
	}{
		{"frames cut by the snapshot length", n.cut},
		{"missing bytes", n.missing},
		{"packets without a session", n.strays},
		{"bytes between packets", n.junk},
		{"TLS conversations on other ports (--port N reads them)", n.otherTLS},
		{"TLS conversations", n.unreadTLS},
		{"dropped to bound memory", n.dropped + p.tcp.dropped + p.decoder.keyLog.droppedSecrets()},
	} {
		if loss.count > 0 {
			lost = append(lost, fmt.Sprintf("%s: %d", loss.what, loss.count))
		}
	}
	if len(lost) > 0 {
		inv.logf("not read: %s", strings.Join(lost, ", "))
	}
	p.tcp.unread.addAll(&n.others)
	if others := p.tcp.unread.String(); others != "" {
		inv.logf("other traffic, not read: %s", others)
	}
	switch {
	case n.unread > 0 && p.decoder.keys.keys.count == 0:
		inv.logf("no key given: only headers and timing were read (--key-file FILE)")
	case n.unread > 0:
		inv.logf("sessions that no key fits: %d", n.unread)
	}
}
