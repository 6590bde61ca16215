package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// newServe returns the command serve.
func newServe(o *optionSet) action {
	srv := newLabServer()
	var opts serveOptions
	opts.register(o, srv)
	return func(ctx context.Context, inv *invocation) (output, error) {
		if opts.fault == "help" {
			return &page{text: faultHelp()}, nil
		}
		stderr := newStderrWriter(ctx, inv.std.err)
		inv.std.err = stderr
		surviveBrokenPipe()
		if err := opts.configure(ctx, inv, srv); err != nil {
			return nil, err
		}
		return &page{}, stderr.inBackground(func() error { return opts.run(ctx, inv, srv) })
	}
}

// serveOptions are the options of serve that are not fields of the server, and the login that it suggests at the start.
type serveOptions struct {
	listen, users, args   list
	accept                acceptOptions
	usersFile, enableFile string
	writeCA               string
	fault                 string

	firstUser string
	tryEnv    string // environment of the suggested login, for what was generated
	tryLine   string // command line of the suggested login; empty: none is suggested
	tryTLS    string // its TLS options
}

func (opts *serveOptions) register(o *optionSet, srv *labServer) {
	o.add(&opts.listen, "listen", "ADDR", "address and port to listen on (default 127.0.0.1:4949); repeatable")
	o.add(&opts.users, "user", "NAME:PASSWORD", "a user; repeatable")
	o.add((*text)(&opts.usersFile), "users-file", "FILE", "file of NAME:PASSWORD lines")
	o.add((*text)(&opts.enableFile), "enable-password-file", "FILE", "file with the enable password (default the user's own)")
	o.add(ruleFlag{&srv.lab.rules, true}, "permit", "REGEX", "permit matching command lines; the first matching --permit or --deny decides, no match denies")
	o.add(ruleFlag{&srv.lab.rules, false}, "deny", "REGEX", "deny matching command lines")
	o.add(&opts.args, "arg", "AV", "argument for a shell session (default priv-lvl=15); repeatable")
	o.add(&srv.lab.expired, "must-change", "NAME", "a user whose password has expired; repeatable")
	o.add((*toggle)(&srv.lab.challengeOnly), "challenge-only", "", "deny logins that send the password: allow chap, mschap and mschapv2 only")
	o.add(&number{&srv.listener.maxBody, 1, maxBody}, "max-packet", "BYTES", "largest body of a packet that is accepted (default 65535)")
	o.add((*seconds)(&srv.delay), "reply-delay", "TIME", "wait before every reply")
	o.add((*text)(&opts.writeCA), "write-cacert", "FILE", "with --tls and no --cert: write the generated certificate to FILE")
	opts.accept.register(o, "--tls")
	o.add((*faultName)(&opts.fault), "fault", "NAME", "misbehave to test clients; --fault help lists all faults")
}

// ruleFlag adds a rule: those of --permit and --deny keep the order of the command line.
type ruleFlag struct {
	rules  *[]rule
	permit bool
}

func (f ruleFlag) String() string { return "" }
func (f ruleFlag) Set(s string) error {
	re, err := regexp.Compile(s)
	if err != nil {
		return fmt.Errorf("is not a regular expression: %w", err)
	}
	*f.rules = append(*f.rules, rule{f.permit, re})
	return nil
}

// configure sets up srv as the command line describes it.
func (opts *serveOptions) configure(ctx context.Context, inv *invocation, srv *labServer) error {
	var err error
	if srv.fault, err = findFault(opts.fault); err != nil {
		return err
	}
	if srv.lab.args = opts.args; len(opts.args) == 0 {
		srv.lab.args = []string{"priv-lvl=15"}
	}
	clear, secure := (*[]string)(&opts.listen), (*[]string)(nil)
	if inv.server.tls.enabled {
		clear, secure = secure, clear
	}
	if err := srv.listener.inherit(inv.std.sockets, clear, secure); err != nil {
		return err
	}
	if len(opts.listen) == 0 {
		opts.listen = list{"127.0.0.1:4949"}
	}
	if err := cmp.Or(checkArgs(srv.lab.args), checkListen("listen", opts.listen), opts.accept.configure(srv.listener)); err != nil {
		return err
	}
	prefixes, err := cutPrefixes(inv.key.option, inv.key.files)
	if err != nil {
		return err
	}
	if err := opts.loadUsers(ctx, inv, srv); err != nil {
		return err
	}
	if err := opts.setTLS(ctx, inv, srv); err != nil {
		return err
	}
	var keys []key
	if srv.tls == nil { // over TLS there is no key (RFC 9887 section 3.2)
		keys, err = inv.givenKeys(ctx)
		if err == nil && slices.ContainsFunc(keys, func(k key) bool { return k.value == "" }) {
			err = errEmptyKey()
		}
		if err != nil {
			return err
		}
		if srv.keys, err = byPrefix(keys, prefixes, 1); err != nil {
			return err
		}
	}
	if err := opts.addDefaults(inv, srv); err != nil {
		return err
	}
	inv.warnShortKeys(keys)
	srv.listener.log = &sessionLog{json: inv.output.json, verbose: inv.output.verbose}
	if !inv.output.quiet {
		out := newQueuedWriter(context.WithoutCancel(ctx), inv.std.out) // drain bounds its writes
		out.background, out.what, out.warnf, out.loss = true, sessionLines, inv.logf, "; accounting is answered with ERROR"
		srv.listener.log.out = out
	}
	if inv.output.debug {
		srv.listener.dump = &dumper{out: inv.std.err, showSecrets: inv.output.showSecrets}
	}
	return nil
}

// loadUsers reads the users and the enable password. One of them or the key can come from stdin.
func (opts *serveOptions) loadUsers(ctx context.Context, inv *invocation, srv *labServer) (err error) {
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
	if err := opts.addUsers(ctx, inv, srv.lab.users); err != nil {
		return err
	}
	if opts.enableFile != "" {
		srv.lab.enable, err = inv.readSecret(ctx, "enable password", opts.enableFile, "enable password: ")
	}
	return err
}

// addUsers adds the users of --user and --users-file.
func (opts *serveOptions) addUsers(ctx context.Context, inv *invocation, users map[string]string) error {
	const what = "list of users"
	lines := slices.Clone(opts.users)
	if opts.usersFile != "" {
		content, err := inv.readText(ctx, what, opts.usersFile, "users, one NAME:PASSWORD a line, then Ctrl-D: ", readAll)
		if err != nil {
			return err
		}
		if content, err = trimMark(content); err != nil {
			return errUTF16(what, "from "+sourceName(opts.usersFile))
		}
		if strings.Trim(content, "\r\n") == "" {
			return errNothingIn(what, opts.usersFile)
		}
		lines = append(lines, strings.SplitAfter(content, "\n")...)
	}
	for i, line := range lines {
		where := fmt.Sprintf("user %d", i+1)
		if n := i - len(opts.users); n >= 0 {
			if where = fmt.Sprintf("line %d of %s", n+1, sourceName(opts.usersFile)); strings.Trim(line, "\r\n") == "" || line[0] == '#' {
				continue
			}
		}
		name, password, ok := strings.Cut(line, ":")
		if !ok || name == "" {
			return failf(classUsage, "%s is not NAME:PASSWORD", where)
		}
		if _, twice := users[name]; twice {
			return failf(classUsage, "%s repeats the user %s", where, escape(name))
		}
		var err error
		if password, err = inv.cleanSecret("password", "of "+escape(name), password); err != nil {
			return err
		}
		users[name] = password
		opts.firstUser = cmp.Or(opts.firstUser, name)
	}
	return nil
}

// setTLS reads the certificate of the options, or generates one for loopback.
func (opts *serveOptions) setTLS(ctx context.Context, inv *invocation, srv *labServer) error {
	t := &inv.server.tls
	if !t.enabled && inv.typed("tls") {
		t.clear(inv.typed)
	}
	if err := cmp.Or(t.check(t.enabled), srv.fault.check(t)); err != nil {
		return err
	}
	if !t.enabled {
		if opts.writeCA != "" {
			return failf(classUsage, "--write-cacert needs --tls")
		}
		return opts.accept.checkTLS(nil)
	}
	if inv.key.sourceCount() > 0 {
		return errKeyOverTLS()
	}
	if t.cert != "" && opts.writeCA != "" {
		return failf(classUsage, "--write-cacert and --cert exclude each other")
	}
	if err := opts.accept.checkTLS(opts.listen); err != nil {
		return err
	}
	var pair []tls.Certificate
	if t.cert == "" {
		var err error
		if pair, err = opts.generateCertificate(ctx, inv, srv.fault); err != nil {
			return err
		}
	}
	server, err := opts.accept.tlsServer(ctx, inv, t.cert, t.certKey, pair, srv.fault.tls)
	if err != nil {
		return err
	}
	srv.tls = &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: server.config}
	return nil
}

// generateCertificate returns a new certificate, and prints how clients trust it.
func (opts *serveOptions) generateCertificate(ctx context.Context, inv *invocation, f *fault) ([]tls.Certificate, error) {
	pair, pemForm, err := selfSigned(f.certificate)
	if err == nil && opts.writeCA != "" {
		err = onFile(ctx, opts.writeCA, func() error {
			name, _, err := followLinks(opts.writeCA)
			if err != nil {
				return err
			}
			return os.WriteFile(name, pemForm, 0o644)
		})
	}
	if err != nil {
		return nil, fileError("generate a certificate", err)
	}
	if opts.writeCA == "" {
		opts.tryTLS = " --tls --insecure"
		inv.logf("generated a certificate: clients need --insecure, or its copy from --write-cacert FILE")
	} else {
		opts.tryTLS = " --tls --cacert " + opts.writeCA
		inv.logf("generated a certificate: clients trust it with%s", opts.tryTLS)
	}
	return pair, nil
}

// addDefaults generates a key and adds a user if there are none, for a server that only this host can reach.
func (opts *serveOptions) addDefaults(inv *invocation, srv *labServer) error {
	noKey, noUser := srv.tls == nil && len(srv.keys) == 0, len(srv.lab.users) == 0
	for _, name := range srv.lab.expired {
		if _, known := srv.lab.users[name]; !known && (!noUser || name != "demo") {
			return failf(classUsage, "--must-change %s is not a user", escape(name))
		}
	}
	if !noKey && !noUser {
		return nil
	}
	if addr := offLoopback(opts.listen); addr != "" {
		return failf(classUsage, "listening on %s needs a key and users", escape(addr)).
			withHint("give --key-file and --user, or listen on loopback")
	}
	if noKey {
		var b [12]byte
		rand.Read(b[:]) // never fails
		value := hex.EncodeToString(b[:])
		srv.keys = clientKeys{{}: {{source: "generated by serve", value: value}}}
		inv.logf("generated a key: %s", value)
		opts.tryEnv = "TACACS_PLUS_KEY=" + value + " "
	}
	user := opts.firstUser
	if noUser {
		user = "demo"
		srv.lab.users[user] = "demo"
		inv.logf("added user demo with password demo")
		opts.tryEnv += "TACACS_PLUS_PWD=demo "
	}
	opts.tryLine = "tacacs_plus authenticate " + user
	return nil
}

// run serves until ctx ends, then finishes pending replies.
func (opts *serveOptions) run(ctx context.Context, inv *invocation, srv *labServer) error {
	defer srv.listener.close()
	if err := srv.listener.listen(opts.listen, srv.tls); err != nil {
		return err
	}
	for _, l := range srv.listener.listeners {
		inv.logf("listening on %s", l.Addr())
		if opts.tryLine != "" {
			inv.logf("try: %s%s %s%s", opts.tryEnv, opts.tryLine, l.Addr(), opts.tryTLS)
		}
	}
	return srv.listener.serveUntil(ctx, srv.serve, func() error {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), linesTimeout)
		defer cancel()
		err := srv.listener.log.close(last)
		if errors.Is(err, errBlocked) {
			inv.logf("session lines lost: %v", errBlocked)
			return nil
		}
		return err
	})
}
