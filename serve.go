package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// A labServer is a TACACS+ server for the laboratory: for the first five minutes with this
// program, for looking at what a device sends, for testing clients, and for this program's own
// tests. It keeps nothing: a changed password lasts as long as the process.
type labServer struct {
	*listener
	keys    clientKeys
	tls     *tls.Config
	clear   bool // packets are not obfuscated: TLS
	enable  string
	rules   []rule
	args    []string // what a shell session gets
	expire  list     // users whose password must be changed
	delay   time.Duration
	fault   fault
	waiting atomic.Int32 // dialogues of all connections
	try     string       // a command line for what was made, without the address
	trust   string       // and what it needs for TLS
	first   string       // the first user

	mu    sync.Mutex
	users map[string]string // name to password
}

// What one client may cost, beside what gate says.
const (
	maxDialogues    = 1024 // of one connection, waiting for a CONTINUE
	maxAllDialogues = 16 << 10
	maxTries        = 3 // of an ASCII login
)

// newServe is the command serve.
func newServe(o *optionSet) action {
	srv := &labServer{listener: newListener(), users: make(map[string]string)}
	var opts serveOptions
	opts.register(o, srv)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if opts.fault == "help" {
			return &page{text: faultHelp()}, nil
		}
		inv.std.err = newQueuedWriter(ctx, inv.std.err)
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
	o.add(ruleFlag{&srv.rules, true}, "permit", "REGEX", "permit the command lines that match; the first rule that matches decides, and with any rule what none matches is denied")
	o.add(ruleFlag{&srv.rules, false}, "deny", "REGEX", "deny the command lines that match")
	o.add(&opts.args, "arg", "AV", "argument for a shell session (default priv-lvl=15); repeatable")
	o.add(&srv.expire, "must-change", "NAME", "a user whose password has expired; repeatable")
	o.add((*seconds)(&srv.delay), "reply-delay", "TIME", "wait before every reply")
	o.add((*text)(&opts.clientCA), "client-ca", "FILE", "with --tls: require a client certificate that one of these signed, PEM")
	o.add((*text)(&opts.writeCA), "write-cacert", "FILE", "with --tls and no --cert: write the certificate that serve makes to FILE")
	o.add((*faultName)(&opts.fault), "fault", "NAME", "misbehave, to test clients; --fault help lists how")
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
	if err := checkListen("listen", opts.listen); err != nil {
		return err
	}
	prefixes, err := cutPrefixes(inv.key.option, inv.key.files)
	if err != nil {
		return err
	}
	if err := srv.loadUsers(ctx, inv, opts); err != nil {
		return err
	}
	if err := interruptible(ctx, func() error { return srv.setTLS(inv, opts) }); err != nil {
		return err
	}
	if !srv.clear { // over TLS there is no key (RFC 9887 section 3.2)
		keys, err := inv.givenKeys(ctx)
		if err != nil {
			return err
		}
		if srv.keys, err = byPrefix(keys, prefixes, 1); err != nil {
			return err
		}
	}
	if err := srv.makeUp(inv, opts.listen); err != nil {
		return err
	}
	srv.log = &sessionLog{json: inv.output.json, verbose: inv.output.verbose}
	if !inv.output.quiet {
		out := newQueuedWriter(context.WithoutCancel(ctx), inv.std.out) // drain bounds its writes
		out.what, out.warnf, out.loss = sessionLines, inv.logf, "; accounting records are answered with ERROR meanwhile"
		srv.log.out = out
	}
	if inv.output.debug {
		srv.dump = &dumper{out: inv.std.err, showSecrets: inv.output.showSecrets}
	}
	return nil
}

// loadUsers reads the users and the password of enable, which may come from standard input, as the key may.
func (srv *labServer) loadUsers(ctx context.Context, inv *invocation, opts *serveOptions) (err error) {
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
	if err := srv.addUsers(ctx, inv, opts.users, opts.usersFile); err != nil {
		return err
	}
	if opts.enableFile != "" {
		srv.enable, err = inv.readSecret(ctx, "enable password", opts.enableFile, "enable password: ", firstLine)
	}
	return err
}

// addUsers collects the users of the options and of the file.
func (srv *labServer) addUsers(ctx context.Context, inv *invocation, users []string, file string) error {
	if file != "" {
		content, err := inv.readSecret(ctx, "list of users", file, "users, one NAME:PASSWORD a line, then Ctrl-D: ", readAll)
		if err != nil {
			return err
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

// makeUp makes a key and a user where there is none, for a server that only this host can reach.
func (srv *labServer) makeUp(inv *invocation, listen []string) error {
	var b [12]byte
	rand.Read(b[:]) // never fails
	own, made := hex.EncodeToString(b[:]), ""
	if !srv.clear && len(srv.keys) == 0 {
		srv.keys = clientKeys{{}: {{"made by serve", own}}}
		made = "a key"
	}
	if len(srv.users) == 0 {
		srv.users["demo"] = "demo"
		made = strings.TrimPrefix(made+" and a user", " and ")
	}
	if made == "" {
		return nil
	}
	if addr := offLoopback(listen); addr != "" {
		return failf(classUsage, "to listen on %s, give a key and users", escape(addr)).
			withHint("--key-file and --user; without them serve listens on loopback only, with a key of its own")
	}
	if strings.Contains(made, "key") {
		inv.logf("made a key: %s", own)
		srv.try = "TACACS_PLUS_KEY=" + own
	}
	if strings.Contains(made, "user") {
		inv.logf("made a user: demo, with the password demo")
		srv.try += " TACACS_PLUS_PWD=demo tacacs_plus authenticate demo"
	} else {
		srv.try += " tacacs_plus authenticate " + srv.first
	}
	return nil
}

// run listens until ctx ends, then lets the replies under way finish.
func (srv *labServer) run(ctx context.Context, inv *invocation, listen []string) error {
	defer srv.close()
	if err := srv.listen(listen, srv.tls); err != nil {
		return err
	}
	for _, l := range srv.listeners {
		inv.logf("listening on %s", l.Addr())
		if srv.try != "" {
			inv.logf("try: %s %s%s", strings.TrimSpace(srv.try), l.Addr(), srv.trust)
		}
	}
	return srv.listener.serveUntil(ctx, srv.serve, func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), linesTimeout)
		defer cancel()
		err := srv.log.close(last)
		if errors.Is(err, errBlocked) {
			go inv.logf("lines of sessions were not written: %v", errBlocked)
			time.Sleep(noticeTimeout) // standard error may be blocked too
			return nil
		}
		return err
	})
}
