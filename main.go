// Tacacs_plus asks a TACACS+ server what a network device would ask it: does this password log
// in, may this user run this command, is this event recorded? It is a client of RFC 8907 for
// people, who read its one line of answer and its hints, and for scripts, which branch on its
// exit code.
//
// A request goes one way through the files: the command line (flags.go) becomes a message
// (authen.go, author.go, acct.go), a session carries it to a server (client.go, packet.go,
// crypt.go), and the reply becomes a result (result.go).
package main

import (
	"cmp"
	"context"
	"crypto/fips140"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	var code class
	// The protocol is made of MD5, which a process under GODEBUG=fips140=only may not compute
	// otherwise; outside of that mode this is a plain call.
	fips140.WithoutEnforcement(func() { code = withSignals(os.Args[1:]) })
	os.Exit(int(code))
}

// unwatched is how long a run may take before signals are watched. To watch four of them costs
// a quarter of the time of a whole login, and until then their default, an end at once, will do.
const unwatched = 5 * time.Millisecond

// withSignals runs the program until it is done or told to stop. SIGHUP counts, so that a
// closed terminal loses no accounting record, unless nohup asked to ignore it.
func withSignals(args []string) class {
	ctx, interrupt := context.WithCancel(context.Background())
	watch := sync.OnceFunc(func() {
		stops := []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGQUIT}
		if !signal.Ignored(syscall.SIGHUP) {
			stops = append(stops, syscall.SIGHUP)
		}
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, stops...)
		go func() {
			<-signals
			interrupt()
			signal.Stop(signals) // the next one ends even what does not look at the context
		}()
	})
	time.AfterFunc(unwatched, watch)
	return run(ctx, args, stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, watch: watch})
}

// stdio is what run sees of the process around it.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	env      func(name string) string
	watch    func() // makes signals end the run's context from now on; nil where they do not
}

// watched is called before what a signal must not cut short: a terminal without echo, a
// command between two records.
func (s stdio) watched() {
	if s.watch != nil {
		s.watch()
	}
}

// run does what the command line says and returns the exit code. Nothing below it touches the
// process's own arguments, streams or environment.
func run(ctx context.Context, args []string, std stdio) class {
	inv, action, err := parse(args, std)
	var res *result
	if err == nil {
		res, err = action(ctx, inv)
	}
	return inv.finish(res, err)
}

// A class is why a run ended as it did: it is the exit code.
type class int

const (
	classGranted     class = 0
	classDenied      class = 1
	classUsage       class = 2
	classServer      class = 3
	classNetwork     class = 4
	classProtocol    class = 5
	classTLS         class = 6
	classInterrupted class = 130
)

func (c class) String() string {
	switch c {
	case classGranted:
		return "granted"
	case classDenied:
		return "denied"
	case classUsage:
		return "usage"
	case classServer:
		return "server error"
	case classNetwork:
		return "network"
	case classProtocol:
		return "protocol"
	case classTLS:
		return "TLS"
	case classInterrupted:
		return "interrupted"
	}
	return fmt.Sprintf("exit code %d", int(c))
}

// A failure is an error with its class, and a hint where the cause is known.
type failure struct {
	class class
	err   error
	hint  string
	final bool // no other server may be asked
	// timedOut says that no octet of an answer came in time.
	timedOut bool
}

func failf(c class, format string, args ...any) *failure {
	return &failure{class: c, err: fmt.Errorf(format, args...)}
}

func (f *failure) withHint(format string, args ...any) *failure {
	f.hint = fmt.Sprintf(format, args...)
	return f
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// asFailure gives any error a class; one without a class of its own came from this system.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return &failure{class: classUsage, err: err}
}

// A command is one row of the table below.
type command struct {
	name    string
	words   string // that stand behind it: USER, [USER], HOST, and anything else for what is left
	summary string
	// setup declares the command's own options and returns what it does.
	setup func(*optionSet) action
}

// usage is the hint for a wrong number of words.
func (c command) usage() string {
	return strings.TrimSpace("usage: tacacs_plus " + c.name + " " + c.words)
}

// An action carries a command out: a result, an error, or both.
type action func(context.Context, *invocation) (*result, error)

// commands is the table of commands. A function, since help is one of them and prints it.
func commands() []command {
	return []command{
		{"authenticate", "USER HOST", "does this password log in?", newAuthenticate},
		{"enable", "USER HOST", "does this password raise the privilege level (-l, default 15)?", newEnable},
		{"chpass", "USER HOST", "change the password", newChPass},
		{"authorize", "USER HOST [ARG...]", "may the user do this? (default: open a shell session)", newAuthorize},
		{"account", "USER HOST [ARG...]", "record this: start, stop, watchdog, watchdog-update", newAccount},
		{"check", "[USER] HOST", "is the server well, is my key right, which types does it take?", newCheck},
		{"batch", "HOST", "many requests from standard input, one JSON object a line", newBatch},
		{"bench", "USER HOST", "how many, how fast?", newBench},
		{"serve", "", "be a TACACS+ server for the lab and for tests", newServe},
		{"version", "", "print the version of this program", newVersion},
		{"help", "[COMMAND]", "print this text, or a command's options", newHelp},
	}
}

func findCommand(name string) (command, bool) {
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.name == name })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}

// An invocation is one command line, read: the command, the options that all commands share,
// and the words that are left.
type invocation struct {
	command  command
	std      stdio
	options  *optionSet
	caller   caller
	server   serverOptions
	output   outputOptions
	key      secretSource
	password secretSource
	words    []string  // the arguments behind USER and HOST
	tail     []string  // those of them that stood behind --
	terminal *terminal // nil where there is none
	executes bool      // --exec: standard output is the command's
}

func (inv *invocation) register(o *optionSet) {
	inv.caller.register(o)
	inv.key = secretSource{what: "key", option: "--key-file", env: "TACACS_PLUS_KEY"}
	inv.password = secretSource{what: "password", option: "--password-file", env: "TACACS_PLUS_PWD"}
	inv.server.register(o)
	o.add(&inv.key, "k key", "KEY", "the shared secret; visible to others in the process list")
	o.add(&inv.key.files, "key-file", "FILE", "file with the shared secret; - is standard input; repeatable: the first is used,\nthe others are tried on a garbled reply to name the one that fits")
	o.add(&inv.password, "password", "PASSWORD", "the password; visible to others in the process list")
	o.add(&inv.password.files, "password-file", "FILE", "file with the password; - is standard input")
	o.add((*toggle)(&inv.password.stdin), "password-stdin", "", "read the password from standard input")
	inv.output.register(o)
}

// parse reads a command line by the grammar of the help: shared options anywhere, the
// command's own behind it, one or two dashes, _ for -, and -- as their end.
func parse(args []string, std stdio) (*invocation, action, error) {
	inv := &invocation{std: std, options: newOptionSet()}
	inv.register(inv.options)
	help, version := false, false
	inv.options.add((*toggle)(&help), "h help", "", "print help")
	inv.options.add((*toggle)(&version), "version", "", "print the version")
	inv.terminal = openTerminal(std)

	var run action
	named := false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			inv.tail, args = args, nil
			inv.words = append(inv.words, inv.tail...)
		case len(arg) > 1 && arg[0] == '-':
			rest, err := inv.options.take(arg, args, named)
			if err != nil {
				inv.lookBehind(args)
				return inv, nil, err
			}
			args = rest
		case !named:
			if inv.command, named = findCommand(arg); !named {
				inv.lookBehind(args)
				return inv, nil, unknownCommand(arg)
			}
			run = inv.command.setup(inv.options)
		default:
			inv.words = append(inv.words, arg)
		}
	}
	switch {
	case help && named:
		inv.words = []string{inv.command.name}
		return inv, newHelp(nil), nil
	case help:
		return inv, newHelp(nil), nil
	case version:
		return inv, newVersion(nil), nil
	case !named:
		return inv, nil, failf(classUsage, "a command is missing").withHint("tacacs_plus help lists the commands")
	}
	return inv, run, inv.assign()
}

// lookBehind looks for --json and --nagios behind a mistake, so that a program gets its object
// and a monitor its exit code all the same.
func (inv *invocation) lookBehind(rest []string) {
	for _, arg := range rest {
		switch arg {
		case "--":
			return
		case "--json", "-json":
			inv.output.json = true
		case "--nagios", "-nagios":
			inv.options.given["nagios"] = true
		}
	}
}

// assign gives the words that are left their places, then checks all values.
func (inv *invocation) assign() error {
	take := func(option, name string, value *string) error {
		if inv.given(option) {
			return nil
		}
		if len(inv.words) == 0 || inv.given("exec") && len(inv.words) == len(inv.tail) {
			return failf(classUsage, "%s is missing", name).withHint("%s", inv.command.usage())
		}
		*value, inv.words = inv.words[0], inv.words[1:]
		return nil
	}
	more, asks := false, false
	for _, place := range strings.Fields(inv.command.words) {
		var err error
		switch place {
		case "USER":
			err = take("username", place, &inv.caller.user)
		case "[USER]": // one word alone is HOST
			if len(inv.words) > 1 || len(inv.words) == 1 && inv.given("host") {
				err = take("username", place, &inv.caller.user)
			}
		case "HOST":
			err = take("host", place, &inv.server.host)
			asks = true
		default:
			more = true
		}
		if err != nil {
			return err
		}
	}
	if len(inv.words) > 0 && !more {
		return failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[0])).withHint("%s", inv.command.usage())
	}
	if !asks {
		return nil
	}
	return cmp.Or(inv.caller.check(), inv.server.check(), inv.output.check())
}

// given says whether the command line has the option, by any of its names.
func (inv *invocation) given(option string) bool { return inv.options.given[option] }

// ask puts a request to the servers and collects what comes of it.
func (inv *invocation) ask(ctx context.Context, keys []key, q request) (*result, error) {
	c, err := inv.client(keys)
	if err != nil {
		return nil, err
	}
	res := &result{Command: inv.command.name, User: inv.caller.user, Transport: c.transport()}
	return res, c.ask(ctx, res, q)
}

// client is what the options say of the servers.
func (inv *invocation) client(keys []key) (*client, error) {
	s := &inv.server
	c := &client{servers: s.servers, keys: keys, timeout: s.timeout, retries: s.retries, network: s.network(),
		source: s.sourceAddr, device: s.device, remAddr: inv.caller.remAddr, singleConnect: s.singleConnect, clear: s.unencrypted || s.tls.enabled, warn: inv.warn}
	if inv.output.debug {
		c.trace = &tracer{out: inv.std.err, showSecrets: inv.output.showSecrets}
	}
	var err error
	if s.tls.enabled {
		c.tls, err = s.tls.client(func(format string, args ...any) { inv.say("warning: "+format, args...) })
	}
	return c, err
}

// say tells the person something that is neither a result nor an error.
func (inv *invocation) say(format string, args ...any) {
	fmt.Fprintf(inv.std.err, "tacacs_plus: %s\n", oneLine(fmt.Sprintf(format, args...)))
}

func (inv *invocation) warn(format string, args ...any) {
	if !inv.output.quiet {
		inv.say("warning: "+format, args...)
	}
}

// newVersion is the command version. The build carries it: a tag, or the commit.
func newVersion(*optionSet) action {
	return func(_ context.Context, inv *invocation) (*result, error) {
		version := "(unknown)"
		if info, ok := debug.ReadBuildInfo(); ok {
			version = info.Main.Version
		}
		_, err := fmt.Fprintf(inv.std.out, "tacacs_plus %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
		return nil, err
	}
}

// newHelp is the command help.
func newHelp(*optionSet) action {
	return func(_ context.Context, inv *invocation) (*result, error) {
		text := help()
		switch {
		case len(inv.words) > 1:
			return nil, failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[1]))
		case len(inv.words) == 1:
			cmd, ok := findCommand(inv.words[0])
			if !ok {
				return nil, unknownCommand(inv.words[0])
			}
			text = commandHelp(cmd)
		}
		_, err := io.WriteString(inv.std.out, text)
		return nil, err
	}
}

func unknownCommand(name string) error {
	return failf(classUsage, "unknown command \"%s\"", escape(name)).withHint("tacacs_plus help lists the commands")
}

// help is the whole program's help.
func help() string {
	var b strings.Builder
	b.WriteString(`Ask a TACACS+ server: authentication, authorization, accounting (RFC 8907).

    tacacs_plus authenticate alice 192.0.2.1
    tacacs_plus authenticate alice 192.0.2.1 --port 49 --authen_type=pap
    tacacs_plus authorize bob tac1,tac2 --cmd 'show version'
    tacacs_plus account alice tac1 -f start --cmd 'show version' --json

Usage: tacacs_plus [OPTION...] COMMAND [OPTION...] [USER] [HOST] [ARGUMENT...]

HOST is one server or several with commas, each name, name:port or [IPv6]:port; the next one
is asked after a failure, never after a denial.

Commands:
`)
	for _, c := range commands() {
		fmt.Fprintf(&b, "  %-13s %-19s %s\n", c.name, c.words, c.summary)
	}
	b.WriteString("\nOptions of every command that talks to a server:\n")
	shared := newOptionSet()
	new(invocation).register(shared)
	b.WriteString(shared.String())
	b.WriteString(`
The key and the password come from an option, a file, standard input, the environment
(TACACS_PLUS_KEY, TACACS_PLUS_PWD), or the person at the terminal, in this order.

Exit codes: 0 granted, 1 denied, 2 usage, 3 the server answered ERROR, 4 network, 5 protocol
(a wrong key), 6 TLS, 130 interrupted.
`)
	return b.String()
}

// commandHelp is the help of one command.
func commandHelp(c command) string {
	own := newOptionSet()
	c.setup(own)
	text := fmt.Sprintf("%s: %s\n\nUsage: %s\n", c.name, c.summary, strings.TrimSpace("tacacs_plus [OPTION...] "+c.name+" "+c.words))
	if options := own.String(); options != "" {
		text += "\nOptions of this command:\n" + options
	}
	if strings.Contains(c.words, "HOST") {
		text += "\ntacacs_plus help lists the options that all commands share.\n"
	}
	return text
}
