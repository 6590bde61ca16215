package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"sync"
)

// newRelay returns the command relay.
func newRelay(o *optionSet) action {
	opts := new(relayOptions)
	opts.register(o)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if opts.checkConfig {
			return opts.describe(ctx, inv)
		}
		hangups := inv.std.takeHangups()
		stderr := newStderrWriter(ctx, inv.std.err)
		inv.std.err = stderr
		r := newRelayServer()
		surviveBrokenPipe()
		if err := opts.configure(ctx, inv, r); err != nil {
			return nil, err
		}
		return &page{}, stderr.inBackground(func() error { return r.run(ctx, inv, opts, hangups) })
	}
}

// tlsConfig returns the configuration of the sockets for TLS.
func (r *relayServer) tlsConfig() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		return r.config.Load().tls.config(hello)
	}}
}

// run serves until ctx ends, then finishes pending replies. Each value of hangups is a reload.
func (r *relayServer) run(ctx context.Context, inv *invocation, opts *relayOptions, hangups <-chan struct{}) error {
	defer r.listener.close()
	record, err := openRecord(ctx, opts.record, opts.appendRecord)
	if err != nil {
		return err
	}
	if err := cmp.Or(r.listener.listen(opts.listen, nil), r.listener.listen(opts.listenTLS, r.tlsConfig())); err != nil {
		record.discard()
		return err
	}
	r.recorder = opts.startRecorder(record, inv)
	if r.metrics != nil {
		_ = r.writeMetrics(inv.logf) // which warns
	}
	for _, l := range r.listener.listeners {
		inv.logf("listening %son %s", choose(l.tls == nil, "", "for TLS "), l.Addr())
	}
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	config := r.config.Load()
	config.start(life)
	var background sync.WaitGroup
	defer background.Wait()
	background.Go(func() { config.warnUnresolved(ctx, inv.printWarning) })
	notifier := newNotifier(inv.std.env, inv.logf)
	defer notifier.serving(ctx, r.listener)()
	background.Go(func() { (&reloader{relay: r, inv: inv, opts: opts, life: life, notifier: notifier}).run(ctx, hangups) })
	go r.runMetrics(ctx, inv.logf)
	serve := func(ctx context.Context, conn net.Conn) { r.serve(ctx, life, conn) }
	return r.listener.serveUntil(ctx, serve, func() error {
		end() // whatever is still under way, so that it has its line
		within(relayEndTimeout, func() {
			r.devices.Wait()
			if shared := r.config.Load().shared; shared != nil {
				<-shared.ended
			}
		})
		r.endMetrics(inv.logf)
		return opts.close()
	})
}

// startRecorder returns the recorder of a file, or nil without one.
func (opts *relayOptions) startRecorder(file *recordFile, inv *invocation) *recorder {
	if file == nil {
		return nil
	}
	if file.removed > 0 {
		inv.logf("%s: removed a packet that was cut off at the end (%d bytes)", opts.record, file.removed)
	}
	return newRecorder(opts.background(file, "recorded packets", inv.logf), file.begun, inv.output.showSecrets)
}
