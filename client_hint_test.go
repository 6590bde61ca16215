package main

import (
	"context"
	"go/ast"
	goparser "go/parser"
	"go/token"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// TestHintFollowsFromReply: the error and the hint for a reply that cannot be read, or that does not come, by what the
// server sent before.
func TestHintFollowsFromReply(t *testing.T) {
	t.Parallel()
	const other = "another key, long enough as well"
	dir := writeFiles(t, map[string]string{"test": testKey, "other": other})
	getPass := &authenReply{status: authenGetPass, flags: authenNoEcho}
	empty := func(h *header) { h.length = 0 }
	for _, tt := range []struct {
		name, line string
		script     func(c *fakeServerConn)
		code       exitCode
		err, hint  string // regular expressions
	}{
		{"empty body", "authenticate alice AT --key-file DIR/test", func(c *fakeServerConn) {
			c.Write(c.reply(c.readRequest(), getPass, empty)[:headerLen])
		}, 3, `AT answers with an empty body`, `either the server does not do authentication \(RFC 8907 section 3\.6\), or its key for the address 127\.0\.0\.1 differs`},
		{"empty body, two keys", "account alice AT -f start --key-file DIR/test --key-file DIR/other", func(c *fakeServerConn) {
			c.Write(c.reply(c.readRequest(), &acctReply{}, empty)[:headerLen])
		}, 3, `AT answers with an empty body`, `either the server does not do accounting \(RFC 8907 section 3\.6\), or its key for the address 127\.0\.0\.1 differs; no key can be tried on an empty body, so give each alone: next that of \S+/other`},
		{"empty body, without a key", "authenticate alice AT --unencrypted", func(c *fakeServerConn) {
			c.Write(c.reply(c.readRequest(), getPass, empty)[:headerLen])
		}, 3, `AT answers with an empty body`, `the server does not do authentication \(RFC 8907 section 3\.6\)`},
		{"empty body after a prompt", "authenticate alice AT", func(c *fakeServerConn) {
			c.act("getpass")
			c.Write(c.reply(c.readRequest(), getPass, empty)[:headerLen])
		}, 3, `AT answers with an empty body`, `see the server's log: it has answered before, so it does authentication`},
		{"empty body after a prompt, without a key", "authenticate alice AT --unencrypted", func(c *fakeServerConn) {
			c.act("getpass")
			c.Write(c.reply(c.readRequest(), getPass, empty)[:headerLen])
		}, 3, `AT answers with an empty body`, `see the server's log: it has answered before, so it does authentication`},
		{"empty body on the next connection", "check alice AT", onSecond(func(c *fakeServerConn, q *fakeRequest) { c.Write(c.reply(q, getPass, empty)[:headerLen]) }),
			3, `.*AT answers with an empty body`, `see the server's log: it has answered before, so it does authentication`},
		{"empty body to another type", "check alice AT --cmd reload", func(c *fakeServerConn) {
			q := c.readRequest()
			if q.typ == typeAuthor {
				c.Write(c.reply(q, getPass, empty)[:headerLen])
			}
			c.Write(c.grantReply(q))
		}, 3, `.*AT answers with an empty body`, `the server does not do authorization \(RFC 8907 section 3\.6\)`},
		{"unreadable on the next connection", "check alice AT", onSecond(func(c *fakeServerConn, q *fakeRequest) { c.Write(c.replyWith(q, "\x02\x00\x00\x03\x00\x00no")) }),
			5, `.*the reply of AT cannot be read with this key \(lengths do not add up\)`, `report this to the server's vendor, unless its key was changed: an earlier reply fits this key`},
		{"surplus bytes", "authenticate alice AT --key-file DIR/test --key-file DIR/other", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequest(), "\x02\x00\x00\x02\x00\x00noSURPLUS"))
		}, 5, `the reply of AT is malformed, or the key is wrong \(7 bytes after the last field\)`, `report this to the server's vendor: but for these bytes the key of \S+/test fits`},
		{"one surplus byte, second key", "authorize alice AT --key-file DIR/other --key-file DIR/test", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequestWith(other), "\x01\x00\x00\x00\x00\x00S"))
		}, 5, `the reply of AT is malformed, or the key is wrong \(1 byte after the last field\)`, `report this to the server's vendor: but for these bytes the key of \S+/test fits`},
		{"unknown status and surplus bytes", "authenticate alice AT", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequest(), "\x63\x00\x00\x02\x00\x00noSURPLUS"))
		}, 5, `the reply of AT cannot be read with this key \(lengths do not add up\)`, `the shared key differs .*127\.0\.0\.1`},
		{"bytes missing", "authenticate alice AT", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequest(), "\x02\x00\x00\x03\x00\x00no"))
		}, 5, `the reply of AT cannot be read with this key \(lengths do not add up\)`, `the shared key differs .*127\.0\.0\.1`},
		{"second key", "authenticate alice AT --key-file DIR/other --key-file DIR/test", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequestWith(other), "\x02\x00\x00\x02\x00\x00no"))
		}, 5, `the reply of AT cannot be read with this key \(lengths do not add up\)`, `the key of \S+/test fits this reply`},
		{"unreadable after a prompt", "authenticate alice AT", func(c *fakeServerConn) {
			c.act("getpass")
			c.Write(c.replyWith(c.readRequest(), "\x02\x00\x00\x02\x00\x00noSURPLUS"))
		}, 5, `the reply of AT cannot be read with this key \(lengths do not add up\)`, `report this to the server's vendor: an earlier reply fits this key`},
		{"malformed without a key", "authenticate alice AT --unencrypted", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequest(), "\x02\x00\x00\x02\x00\x00noSURPLUS"))
		}, 5, `the reply of AT is malformed: lengths do not add up`, ``},
		{"silent", "authenticate alice AT --timeout 300ms", func(c *fakeServerConn) { c.readRequests(2) },
			4, `no reply from AT within 300ms`, `check the key .*`},
		{"silent after a prompt", "authenticate alice AT --timeout 300ms", func(c *fakeServerConn) { c.act("getpass"); c.readRequests(2) },
			4, `no reply from AT within 300ms`, `try a longer --timeout: it has answered before, so its back end \(LDAP, AD\) may be slow`},
		{"silent on the next connection", "check alice AT --timeout 500ms", onSecond(func(c *fakeServerConn, _ *fakeRequest) { c.readRequest() }), 4, `.*no reply from AT within 500ms`, `try a longer --timeout: it has answered before, so its back end \(LDAP, AD\) may be slow`},
		{"silent without a key", "authenticate alice AT --timeout 300ms --unencrypted", func(c *fakeServerConn) { c.in.ReadByte(); time.Sleep(time.Second) },
			4, `no reply from AT within 300ms`, `check whether the server has a key for this client .*`},
		{"closed", "authenticate alice AT", func(c *fakeServerConn) { c.readRequest() },
			4, `AT closed the connection before it answered`, `check the server's client entry for the address 127\.0\.0\.1; an access list, a wrong key or a TLS port look the same`},
		{"closed after a prompt", "authenticate alice AT", func(c *fakeServerConn) { c.act("getpass"); c.readRequest() },
			4, `AT closed the connection before it answered`, `see the server's log: it has answered before, so its client entry and the key are right`},
		{"closed without a key", "authenticate alice AT --unencrypted", func(c *fakeServerConn) { c.readRequest() },
			4, `AT closed the connection before it answered`, `check the server's client entry for the address 127\.0\.0\.1: a server with a key for it may close like this, as do an access list and a TLS port`},
		{"unknown status", "authenticate alice AT", func(c *fakeServerConn) {
			c.Write(c.replyWith(c.readRequest(), "\x63\x00\x00\x02\x00\x00no"))
		}, 5, `AT sent the unknown status 0x63`, `report this to the server's vendor: RFC 8907 does not define this status`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := startFakeServer(t, tt.script)
			env := map[string]string{"TACACS_PLUS_PWD": testPassword}
			if !strings.Contains(tt.line, "--key-file") && !strings.Contains(tt.line, "--unencrypted") {
				env["TACACS_PLUS_KEY"] = testKey
			}
			got := runWith(t, env, "", split(tt.line, "AT", s.addr, "DIR", dir)...)
			text := got.err
			if strings.HasPrefix(tt.line, "check") {
				text = strings.ReplaceAll(got.out, "\n  hint:", "\ntacacs_plus: hint:")
				text = text[:strings.Index(text, "\n  time:")+1]
			}
			want := `(?:tacacs_plus: )?` + strings.ReplaceAll(tt.err, "AT", s.addr) + `\n`
			if tt.hint != "" {
				want += `tacacs_plus: hint: ` + tt.hint + `\n`
			}
			text = strings.TrimPrefix(text, "tacacs_plus: warning: --unencrypted: nothing is secret\n")
			runResult{code: got.code, err: text}.check(t, tt.code, ``, want)
		})
	}
}

// onSecond returns a script that grants the first request of the first connection and replies in this way to that of others.
func onSecond(reply func(c *fakeServerConn, q *fakeRequest)) func(c *fakeServerConn) {
	return func(c *fakeServerConn) {
		if q := c.readRequest(); c.number == 1 {
			c.Write(c.grantReply(q))
		} else {
			reply(c, q)
		}
	}
}

// readRequestWith reads a packet obfuscated with key.
func (c *fakeServerConn) readRequestWith(key string) *fakeRequest {
	h, _, err := c.readPacket(key)
	if err != nil {
		return nil
	}
	return &fakeRequest{header: h}
}

// replyWith returns the packet that replies to q with these bytes as its body.
func (c *fakeServerConn) replyWith(q *fakeRequest, body string) []byte {
	return c.reply(q, rawBody(body), sameFlags(q.header))
}

// A rawBody is the bytes of a body, which may break the RFC.
type rawBody string

func (b rawBody) layout(c *codec) { c.buf = append(c.buf, b...) }

// TestHintTLSPort: on a port for TLS, a server that is silent or closes wants --tls.
func TestHintTLSPort(t *testing.T) {
	t.Parallel()
	here, there := net.Pipe()
	defer here.Close()
	defer there.Close()
	for _, tt := range []struct {
		port           uint16
		tls            bool
		silent, closed string
	}{
		{49, false, "check the key", "check the server's client entry"},
		{300, false, "add --tls: port 300 is for TLS", "add --tls: port 300 is for TLS"},
		{6049, false, "add --tls: port 6049 is for TLS", "add --tls: port 6049 is for TLS"},
		{300, true, "try a longer --timeout for a slow back end (LDAP, AD)", "see the server's log"},
	} {
		l := &serverConn{client: &client{proven: new(sync.Map)}, server: newServer("tac1", tt.port), conn: here}
		if tt.tls {
			l.facts, l.cleartext = new(tlsFacts), true
		}
		if got := l.silentHint(); !strings.HasPrefix(got, tt.silent) {
			t.Errorf("silent port %d, TLS %t: the hint is %q, want %q", tt.port, tt.tls, got, tt.silent)
		}
		if got := l.closedHint(); !strings.HasPrefix(got, tt.closed) {
			t.Errorf("closed port %d, TLS %t: the hint is %q, want %q", tt.port, tt.tls, got, tt.closed)
		}
		l.proveKey(typeAuthen)
		if got := l.silentHint(); !strings.Contains(got, "it has answered before") || strings.Contains(got, "key") {
			t.Errorf("silent after a reply: the hint is %q", got)
		}
		if later := (&serverConn{client: l.client, server: l.server}); !later.keyProven(0) || !later.keyProven(typeAuthen) || later.keyProven(typeAcct) {
			t.Error("a later connection to the server does not know that the key is right, and for which type")
		}
		for _, other := range []serverConn{{server: newServer("tac2", tt.port)}, {server: newServer("tac1", 4949)}, {server: l.server, address: "192.0.2.2:49"}} {
			if other.client = l.client; other.keyProven(0) {
				t.Errorf("a reply of one server proves the key of another: %s %s", &other.server, other.address)
			}
		}
	}
}

// TestHintOtherPort: a hint names the port that the server may have, but not the one that was tried.
func TestHintOtherPort(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		port         uint16
		tls          bool
		refused, end string // the hint if it was refused; the end of the one for another service
	}{
		{49, false, "check that the server runs, and the port; with --tls it is 300", ""},
		{4949, false, "check the port: 49, or 300 for TLS", "; TACACS+ has port 49"},
		{300, false, "check that the server runs, and the port; Cisco ISE listens for TLS on 6049", "; TACACS+ has port 49"},
		{300, true, "check that the server runs, and the port; Cisco ISE listens for TLS on 6049", "; Cisco ISE listens for TLS on 6049"},
		{6049, true, "check that the server runs, and the port", ""},
		{49, true, "check that the server runs, and the port; TLS has port 300, and 6049 on Cisco ISE", "; TLS has port 300, and 6049 on Cisco ISE"},
	} {
		c, l := new(client), &serverConn{server: newServer("tac1", tt.port)}
		if tt.tls {
			l.server.tls, l.facts = true, new(tlsFacts)
		}
		if got := c.connectFailure(&l.server, nil, time.Second, syscall.ECONNREFUSED); got.hint != tt.refused {
			t.Errorf("port %d, TLS %t: the hint is %q, want %q", tt.port, tt.tls, got.hint, tt.refused)
		}
		equal(t, l.otherPort(), tt.end, "port", tt.port, "TLS", tt.tls)
		if !tt.tls {
			continue
		}
		equal(t, asFailure(handshakeFailure(&l.server, time.Second, new(tlsFacts), context.DeadlineExceeded)).hint, "check the port: one without TLS waits like this"+tt.end, "port", tt.port, "the hint")
	}
}

// TestHintUnlessReason: a server that gives the reason of a FAIL or an ERROR gets no hint that says less.
func TestHintUnlessReason(t *testing.T) {
	t.Parallel()
	const log = ": see the server's log: "
	for _, tt := range []struct {
		line  string
		reply message
		code  exitCode
		hint  bool
	}{
		{"authenticate alice AT", &authenReply{status: authenFail, serverMsg: "Account locked until 14:00"}, 1, false},
		{"authenticate alice AT", &authenReply{status: authenFail}, 1, true},
		{"authenticate alice AT", &authenReply{status: authenFail, serverMsg: "% Login incorrect.\r\n"}, 1, true},
		{"authenticate alice AT", &authenReply{status: authenFail, data: "Account locked"}, 1, false},
		{"authenticate alice AT", &authenReply{status: authenFail, serverMsg: "Login incorrect", data: "Account locked"}, 1, true},
		{"authenticate alice AT", &authenReply{status: authenError}, 3, true},
		{"authenticate alice AT", &authenReply{status: authenError, serverMsg: "LDAP is down"}, 3, false},
		{"authenticate alice AT", &authenReply{status: authenError, data: "LDAP is down"}, 3, false},
		{"authorize alice AT", &authorResponse{status: authorError, serverMsg: " \n"}, 3, true},
		{"authorize alice AT", &authorResponse{status: authorError, serverMsg: " \n", data: "no such service"}, 3, false},
		{"authorize alice AT", &authorResponse{status: authorError, serverMsg: "no such service"}, 3, false},
		{"account alice AT -f start", &acctReply{status: acctError}, 3, true},
		{"account alice AT -f start", &acctReply{status: acctError, serverMsg: "disk full"}, 3, false},
	} {
		s := newScriptServer(t, testKey, tt.reply)
		if got := runWith(t, secretsInEnv, "", split(tt.line+" -v", "AT", s.addr)...); got.code != tt.code || strings.Contains(strings.Replace(got.err, "hint: see", ": see", 1), log) != tt.hint {
			t.Errorf("%s, %+v: got %+v, want %d and a hint: %t", tt.line, tt.reply, got, int(tt.code), tt.hint)
		}
	}
}

// hintTexts matches the hints of an output: on stderr, in the lines of check, in JSON and in the message for Ansible.
var hintTexts = pattern(`hint"?: ?"?((?:[^"\\\n]|\\.)*)`)

// optionsInHint matches options in a hint.
var optionsInHint = pattern(`(?:^|[ (])--?([a-z0-9][a-z0-9-]*)`)

// otherCommands matches hints with the options of another command.
var otherCommands = pattern(`\b(openssl|tcpdump|ulimit|tacacs_plus help) `)

// checkHintOptions fails the test if a hint of a run names an option that its command does not have or cannot use.
func checkHintOptions(t *testing.T, args []string, output string) {
	t.Helper()
	i := slices.IndexFunc(args, func(arg string) bool {
		return slices.ContainsFunc(commands, func(c command) bool { return c.name == arg })
	})
	if i < 0 {
		return
	}
	for _, hint := range hintTexts().FindAllStringSubmatch(output, -1) {
		if foreign := foreignOptions(args[i], hint[1]); len(foreign) > 0 {
			t.Errorf("%q: the hint names options that %s does not have, %q: %s", args, args[i], foreign, hint[1])
		}
	}
}

// foreignOptions returns the options in a hint that a command does not have or cannot use.
func foreignOptions(name, hint string) (foreign []string) {
	c, err := findCommand(commands, name, "")
	if err != nil || otherCommands().MatchString(hint) {
		return nil
	}
	inv := newInvocation(commands, stdio{})
	if err := inv.setCommand(name); err != nil {
		return nil
	}
	for _, found := range optionsInHint().FindAllStringSubmatch(hint, -1) {
		o := inv.options.find(found[1])
		if o == nil || !c.accepts(o) && o.long != "help" || name == "chpass" && o.long == "authen-type" {
			foreign = append(foreign, found[1])
		}
	}
	return foreign
}

// optionHints are the hints with options, and the commands that can print them.
var optionHints = map[string]string{
	"run serve %s --tls, or set FileDescriptorName in the socket unit":                                                                              "serve",
	"add --tls, or use the port without TLS: this is a TLS port":                                                                                    clientCommands,
	"give --key-file %s=FILE, or --key-file FILE for all other servers":                                                                             clientCommands,
	"add --tls: port %d is for TLS":                                                                                                                 clientCommands,
	"add --append, or move the file away":                                                                                                           "relay",
	"add \"password\" to the request, or give one for all with --password-file or TACACS_PLUS_PWD":                                                  "batch",
	"check --source and --interface: the address must be this host's, and of the server's family":                                                   clientCommands,
	"compare it with the server's certificate; give it with --pin if that was renewed":                                                              clientCommands,
	"check that the server runs, and the port; with --tls it is 300":                                                                                clientCommands,
	"check the address, firewalls, routes and the VRF (--interface, --source)":                                                                      clientCommands,
	"check the client certificate (--cert, --cert-key): some servers close without an alert":                                                        clientCommands,
	"check the dates, the issuer and the name of the client certificate (--cert)":                                                                   clientCommands,
	"check the key (some servers drop unreadable packets), or try a longer --timeout for a slow back end (LDAP, AD)":                                clientCommands,
	"check whether the server has a key for this client (some servers drop such packets), or try a longer --timeout for a slow back end (LDAP, AD)": clientCommands,
	"give --cacert FILE with the authority, or with the certificate itself if it is self-signed":                                                    clientCommands,
	"give --cert and --cert-key: the server asked for a client certificate":                                                                         clientCommands,
	"give --cert and --cert-key: the server requires a client certificate":                                                                          clientCommands,
	"with --as %s, --authen-type is one of %s":                                                                                                      "authorize check",
	"give --device-key-file FILE":                                                                                                                   "relay",
	"give --key-file and --user, or listen on loopback":                                                                                             "serve",
	"give --new-password-file FILE":                                                                                                                 "chpass",
	"give --password-file FILE, or set TACACS_PLUS_PWD":                                                                                             "authenticate enable chpass", // which have deferred prompts
	"give --servername NAME if another name is expected":                                                                                            clientCommands,
	"give --servername NAME: the server has no such name":                                                                                           clientCommands,
	"quote the command line: --cmd '%s'%s":                                                                                                          "authorize account",
	"remove --key and --key-file (RFC 9887 section 3.2)":                                                                                            clientCommands + " serve",
	"replace --unencrypted with --key-file: the server has a key for this client":                                                                   clientCommands,
	"run the command by itself to see whether it connects; if so, check the key, or try a longer --timeout":                                         "authenticate enable chpass authorize account check",
	"split the file, or ask one server at a time without --all":                                                                                     "authorize",
	"tacacs_plus account USER HOST --exec -- COMMAND...":                                                                                            "account",
	"try a longer --timeout for a slow back end (LDAP, AD)":                                                                                         clientCommands,
	"try a longer --timeout: it has answered before, so its back end (LDAP, AD) may be slow":                                                        clientCommands,
	"try another --authen-type: the server does not accept ":                                                                                        "authenticate enable check batch bench",
	"use --cr to send cmd-arg=<cr>":                                                                                                                 "authorize account",
	"use --source to choose the local address":                                                                                                      clientCommands,
	"use -H %s for the server, or -u %[1]s for a user of that name":                                                                                 "check",
	"use -u for a user whose name begins with @":                                                                                                    "authenticate enable chpass authorize account check bench",
	"--fault help lists them":                                                                                                                       "serve",
}

// clientCommands are the commands that connect to servers.
const clientCommands = "authenticate enable chpass authorize account check batch bench relay"

// TestHintOptions: a hint names only options that each command that can print it has. checkHintOptions does the same for
// every run of a test; this test finds the hints that no test prints.
func TestHintOptions(t *testing.T) {
	t.Parallel()
	found := make(map[string]bool)
	for hint := range hintsInSource(t) {
		if optionsInHint().MatchString(hint) && !otherCommands().MatchString(hint) {
			found[hint] = true
			if _, known := optionHints[hint]; !known {
				t.Errorf("a new hint names options: %q: add it to optionHints, with the commands that can print it", hint)
			}
		}
	}
	for hint, names := range optionHints {
		if !found[hint] {
			t.Errorf("no hint %q", hint)
		}
		for name := range strings.FieldsSeq(names) {
			if foreign := foreignOptions(name, hint); len(foreign) > 0 {
				t.Errorf("%s can print a hint with options that it does not have, %q: %s", name, foreign, hint)
			}
		}
	}
}

// hintsInSource returns the string literals in the calls of withHint, in the functions and constants that are named for a
// hint, and in what is assigned to a field hint.
func hintsInSource(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*.go")
	must(t, err)
	hints := make(map[string]bool)
	collect := func(n ast.Node) {
		ast.Inspect(n, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
				text, _ := strconv.Unquote(lit.Value) // the parser has accepted it
				hints[text] = true
			}
			return true
		})
	}
	isHint := func(e ast.Expr) bool {
		switch e := e.(type) {
		case *ast.Ident:
			return strings.HasPrefix(e.Name, "hint") || strings.HasSuffix(e.Name, "Hint")
		case *ast.SelectorExpr:
			return strings.HasSuffix(strings.ToLower(e.Sel.Name), "hint")
		}
		return false
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := goparser.ParseFile(token.NewFileSet(), name, nil, 0)
		must(t, err)
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				for _, arg := range n.Args {
					if isHint(n.Fun) {
						collect(arg)
					}
				}
			case *ast.FuncDecl:
				if isHint(n.Name) {
					collect(n.Body)
				}
			case *ast.AssignStmt:
				if slices.ContainsFunc(n.Lhs, isHint) {
					collect(n)
				}
			case *ast.ValueSpec:
				if slices.ContainsFunc(n.Names, func(id *ast.Ident) bool { return isHint(id) }) {
					collect(n)
				}
			}
			return true
		})
	}
	return hints
}
