// Tacacs_plus is a TACACS+ client (RFC 8907, RFC 9887): it tests what a server would reply to a network
// device. It prints one line of result and hints for people, and its exit code is for scripts.
//
// The command line (flags.go, cli_*.go) becomes a message (authen.go, author.go, acct.go). A client
// (client*.go) sends it and checks the reply (packet.go, crypt.go). The reply becomes a result
// (result.go) and the exit code (failure.go).
package main

import (
	"context"
	"crypto/fips140"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

func main() {
	var code exitCode
	// TACACS+ needs MD5, which GODEBUG=fips140=only forbids; in any other mode this is a plain call.
	fips140.WithoutEnforcement(func() { code = withSignals(os.Args[1:]) })
	os.Exit(int(code))
}

// withSignals runs the program. The first stop signal cancels the context, with itself as the cause;
// the second one ends the process. SIGHUP is none for a command that takes it.
func withSignals(args []string) exitCode {
	ctx, interrupt := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 8) // a stop signal must not be lost behind a SIGHUP
	signal.Notify(signals, stopSignals()...)
	hangups := hangups{received: make(chan struct{}, 1)}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for received := range signals {
			switch {
			case received == nil: // the end of the run
				return
			case received == syscall.SIGHUP && hangups.deliver():
				continue
			case hangups.taken.Load():
				signal.Ignore(syscall.SIGHUP) // a late reload does not end it early
			}
			signal.Stop(signals) // before the cancellation, after which a second signal may follow
			interrupt(interruptedBy(received.(syscall.Signal)))
			return
		}
	}()
	code := run(ctx, args, stdio{in: os.Stdin, out: os.Stdout, err: os.Stderr, env: os.Getenv, sockets: inheritedSockets(), hangups: hangups.take, terminal: controllingTerminal})
	select {
	case signals <- nil: // behind what has arrived, such as the signal that ended the command of --exec
	case <-watched:
	}
	<-watched
	if by, ok := context.Cause(ctx).(*failure); ok && code == by.exit() {
		endBy(by.signal)
	}
	return code
}

// hangups passes SIGHUP to a command that reloads its configuration.
type hangups struct {
	taken    atomic.Bool
	received chan struct{}
}

// take implements stdio.hangups. The SIGHUP of a terminal that is closed still ends the program.
func (h *hangups) take() <-chan struct{} {
	if os.Getenv("NOTIFY_SOCKET") == "" && hasControllingTerminal() {
		return nil
	}
	h.taken.Store(true)
	return h.received
}

// deliver passes a SIGHUP on. It reports false if no command takes it.
func (h *hangups) deliver() bool {
	if !h.taken.Load() {
		return false
	}
	select {
	case h.received <- struct{}{}:
	default: // one is waiting
	}
	return true
}

// endBy ends the process by the signal that interrupted it, since a shell ends its loop only then.
// It returns on Windows, which has no signals, and for SIGQUIT and SIGABRT, which print a stack trace.
func endBy(s syscall.Signal) {
	self, err := os.FindProcess(os.Getpid())
	if err != nil || s == syscall.SIGQUIT || s == syscall.SIGABRT {
		return
	}
	signal.Reset(s)
	if self.Signal(s) == nil {
		time.Sleep(time.Second) // another thread may receive it
	}
}

// run executes one command line and returns the exit code. Nothing below it uses os.Args, os.Stdout
// or os.Getenv.
func run(ctx context.Context, args []string, std stdio) exitCode {
	ctx, end := context.WithCancel(ctx)
	defer end() // whatever runs in the background
	if task := readTask(args); task != nil {
		return task.answer(ctx, commands, std)
	}
	inv, err := parse(commands, args, std)
	var out output
	switch {
	case err != nil:
	case inv.help && inv.action != nil:
		out = &page{text: commandHelp(&inv.command)}
	case inv.help:
		out = &page{text: mainHelp(commands)}
	case inv.version:
		out = thisBuild().page()
	default:
		out, err = inv.carryOut(ctx)
	}
	return inv.finish(out, err)
}

// commands is the table of commands.
var commands = []command{
	{name: "authenticate", also: "authentication", summary: "does this password log in?", user: required, host: required, shared: clientGroups, setup: newAuthenticate,
		examples: []string{"alice 192.0.2.1", "alice tac1,tac2 --authen-type pap --all"}},
	{name: "enable", summary: "does this password raise the privilege level?", user: required, host: required, shared: clientGroups, setup: newEnable,
		examples: []string{"alice tac1", "alice tac1 -l 7 --password-file FILE"}},
	{name: "chpass", also: "passwd password", summary: "change the password", user: required, host: required, shared: clientGroups, setup: newChPass,
		examples: []string{"alice tac1", "alice tac1 --new-password-file FILE"}},
	{name: "authorize", also: "authorization", summary: "may the user do this? (default: open a shell)", user: required, host: required, rest: argHint, shared: clientGroups, setup: newAuthorize,
		examples: []string{"bob tac1,tac2 --cmd 'show version'", "bob tac1 service=ppp protocol=ip --require timeout=60"}},
	{name: "account", also: "accounting acct", summary: "record this: start, stop, watchdog", user: required, host: required, rest: argHint, shared: clientGroups, setup: newAccount, child: "exec", misused: execMisused,
		examples: []string{"alice tac1 -f start --cmd 'show version' --json", "alice tac1 --exec -- make install"}},
	{name: "login", summary: "all that a device does when a user logs in", user: required, host: required, rest: argHint, shared: clientGroups, setup: newLoginCommand,
		examples: []string{"alice tac1", "alice tac1,tac2 -t pap --cmd 'show version' --all"}},
	{name: "check", also: "test ping", summary: "is the server up and the key correct?", user: optional, host: required, everyServer: true, shared: clientGroups, setup: newCheck, misused: checkMisused,
		examples: []string{"tac1,tac2 --timeout 2", "alice tac1,tac2 --types --interval 10s"}},
	{name: "batch", summary: "many requests, one JSON object a line", host: required, shared: poolGroups, setup: newBatch,
		examples: []string{"tac1 <requests", "tac1,tac2 -c 64 --key-file FILE <requests >results"}},
	{name: "bench", summary: "load test", user: required, host: required, shared: poolGroups, setup: newBench,
		examples: []string{"alice tac1 -t pap -c 64 -n 100000", "alice tac1 --rate 500 --duration 1m"}},
	{name: "serve", summary: "run a TACACS+ server for labs and tests", setup: newServe, shared: groupIdentity | groupKey | groupOutput,
		examples: []string{"", "--user alice:secret --permit '^show' --deny ."}},
	{name: "relay", also: "proxy", summary: "proxy devices to servers", host: required, shared: poolGroups &^ (groupRequest | groupPassword), setup: newRelay,
		examples: []string{"tac1 --key-file FILE --device-key-file FILE", "tac1 --tls --cacert FILE --record seen.pcap"}},
	{name: "decode", summary: "sessions in a capture", rest: "[FILE...]", setup: newDecode, shared: groupKey | groupOutput, extra: "port keylog",
		examples: []string{"--key-file FILE capture.pcap", "--key-list FILE --summary *.pcapng"}},
	{name: "completion", summary: "shell completion script for bash, zsh or fish", rest: "SHELL", setup: newCompletion,
		examples: []string{"bash >/etc/bash_completion.d/tacacs_plus", "fish >~/.config/fish/completions/tacacs_plus.fish"}},
	{name: "version", summary: "print the version of this program", setup: newVersion},
	{name: "help", summary: "print this text, or a command's options", rest: "[COMMAND]", setup: newHelp,
		examples: []string{"authorize", "--man | man -l -"}},
}
