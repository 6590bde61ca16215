// Tacacs_plus asks a TACACS+ server what a network device would ask it: does this password log
// in, may this user run this command, is this event recorded? It is a client of RFC 8907 for
// people, who read its one line of answer and its hints, and for scripts, which branch on its
// exit code.
//
// A request goes one way through the files: the command line (invocation.go, flags.go) becomes a
// message (authen.go, author.go, acct.go), a session carries it to a server and checks the reply
// (client.go, session.go, packet.go, crypt.go), and what it says becomes the verdict, its rendering
// and the exit code (result.go, failure.go). Many requests go the same way together (crew.go, mux.go).
package main

import (
	"context"
	"crypto/fips140"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	var code exitCode
	// The protocol is made of MD5, which a process under GODEBUG=fips140=only may not compute
	// otherwise; outside of that mode this is a plain call.
	fips140.WithoutEnforcement(func() { code = withSignals(os.Args[1:]) })
	os.Exit(int(code))
}

// unwatched is how long a run may take before signals are watched. To watch four of them costs
// a quarter of the time of a whole login, and until then their default, an end at once, will do.
const unwatched = 5 * time.Millisecond

// withSignals runs the program until it is done or told to stop.
func withSignals(args []string) exitCode {
	ctx, interrupt := context.WithCancelCause(context.Background())
	watch := sync.OnceFunc(func() {
		signals := make(chan os.Signal, 1)
		signal.Notify(signals, stopSignals()...)
		go func() {
			interrupt(interruptedBy((<-signals).(syscall.Signal)))
			signal.Stop(signals) // the next one ends even what does not look at the context
		}()
	})
	time.AfterFunc(unwatched, watch)
	code := run(ctx, args, stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, watch: watch})
	if by, ok := context.Cause(ctx).(*failure); ok && code == by.exit() {
		endBy(by.signal)
	}
	return code
}

// endBy ends the process by the signal that interrupted it: a shell ends its loop only where the
// signal ended the program. It returns on Windows, which has no signals, and for SIGQUIT, of which
// the runtime would make a stack trace.
func endBy(s syscall.Signal) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil || s == syscall.SIGQUIT {
		return
	}
	signal.Reset(s)
	if self.Signal(s) == nil {
		time.Sleep(time.Second) // it may take another thread
	}
}

// run does what the command line says and returns the exit code. Nothing below it touches the
// process's own arguments, streams or environment.
func run(ctx context.Context, args []string, std stdio) exitCode {
	inv, err := parse(commands(), args, std)
	var out output
	switch {
	case err != nil:
	case inv.help && inv.action != nil:
		out = &page{text: commandHelp(inv.command)}
	case inv.help:
		out = &page{text: help()}
	case inv.version:
		out = thisBuild()
	default:
		out, err = inv.action(ctx, inv)
		if err == nil && out.exit() == classInterrupted.exit() {
			err = interrupted(ctx) // a report of what was done until then
		}
	}
	return inv.finish(out, err)
}

// commands is the table of commands. A function, since help is one of them and prints it.
func commands() []command {
	return []command{
		{name: "authenticate", words: "USER HOST", summary: "does this password log in?", setup: newAuthenticate},
		{name: "enable", words: "USER HOST", summary: "does this password raise the privilege level (-l, default 15)?", setup: newEnable},
		{name: "chpass", words: "USER HOST", summary: "change the password", setup: newChPass},
		{name: "authorize", words: "USER HOST [ARG...]", summary: "may the user do this? (default: open a shell session)", setup: newAuthorize},
		{name: "account", words: "USER HOST [ARG...]", summary: "record this: start, stop, watchdog, watchdog-update", setup: newAccount, child: "exec"},
		{name: "check", words: "[USER] HOST", summary: "is the server well, is my key right, which types does it take?", setup: newCheck, misused: nagiosMisused},
		{name: "batch", words: "HOST", summary: "many requests from standard input, one JSON object a line", setup: newBatch},
		{name: "bench", words: "USER HOST", summary: "how many, how fast?", setup: newBench},
		{name: "serve", summary: "be a TACACS+ server for the lab and for tests", setup: newServe, server: true},
		{name: "relay", words: "HOST", summary: "stand between devices and their servers, and show what they say", setup: newRelay, server: true},
		{name: "decode", words: "[FILE...]", summary: "what devices and servers said, out of captures", setup: newDecode, offline: []string{"port", "keylog"}},
		{name: "version", summary: "print the version of this program", setup: newVersion},
		{name: "help", words: "[COMMAND]", summary: "print this text, or a command's options", setup: newHelp},
	}
}

// newVersion is the command version.
func newVersion(*optionSet) action {
	return func(context.Context, *invocation) (output, error) { return thisBuild(), nil }
}

// thisBuild is the version that the build carries: a tag, or the commit.
func thisBuild() output {
	version := "(unknown)"
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
	}
	return &page{text: fmt.Sprintf("tacacs_plus %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)}
}

// newHelp is the command help.
func newHelp(*optionSet) action {
	return func(_ context.Context, inv *invocation) (output, error) {
		switch len(inv.words) {
		case 0:
			return &page{text: help()}, nil
		case 1:
			about, err := findCommand(commands(), inv.words[0])
			if err != nil {
				return nil, err
			}
			return &page{text: commandHelp(about)}, nil
		}
		return nil, failf(classUsage, "unexpected argument \"%s\"", escape(inv.words[1]))
	}
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
(a wrong key), 6 TLS, 128+N interrupted by signal N (130 is Ctrl-C).
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
	if c.offline != nil {
		text += "\nOf the options that all commands share it takes those of the key, --" + strings.Join(c.offline, ", --") + ",\nand those of the output: tacacs_plus help lists them.\n"
	}
	if strings.Contains(c.words, "HOST") {
		text += "\ntacacs_plus help lists the options that all commands share.\n"
	}
	return text
}
