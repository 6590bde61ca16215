package main

import (
	"context"
	"io"
	"net"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A proxyCommand is a command whose stdin and stdout are the connection to a server. All connections of a run share it.
type proxyCommand struct {
	words  []string
	mu     sync.Mutex
	stderr io.Writer // for what the commands print, guarded by mu
}

// hostBytes are the bytes of a host that --proxy-command can have: a shell elsewhere may read them.
const hostBytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:%-"

// newProxyCommand splits --proxy-command into words as a shell does, and checks the servers. Its errors do not repeat the
// command, which may contain a secret.
func newProxyCommand(command string, servers []server) (*proxyCommand, error) {
	for _, srv := range servers {
		if srv.host[0] == '-' || strings.TrimLeft(srv.host, hostBytes) != "" {
			return nil, failf(classUsage, "the host \"%s\" is not allowed with --proxy-command", escape(srv.host)).
				withHint("use letters, digits and ._:%- only, and no - at the start")
		}
	}
	const end = 0 // of a word
	var text []byte
	quote, begun := byte(0), false
	for i := 0; i < len(command); i++ {
		b := command[i]
		switch {
		case b == '\\' && quote == 0 && i+1 < len(command), b == '\\' && quote == '"' && strings.ContainsAny(command[i+1:min(i+2, len(command))], "\\\"$`\n"):
			i++
			if b = command[i]; b == '\n' { // the line goes on
				continue
			}
		case b == quote:
			quote = 0
			continue
		case quote == 0 && (b == '\'' || b == '"'):
			quote, begun = b, true // perhaps an empty word
			continue
		case quote == 0 && (b == ' ' || b == '\t' || b == '\n'):
			if !begun {
				continue
			}
			b = end
		}
		text, begun = append(text, b), b != end
	}
	if quote != 0 {
		return nil, failf(classUsage, "--proxy-command has a quote that is not closed")
	}
	if text = append(text, end); !begun {
		text = text[:len(text)-1]
	}
	if len(text) == 0 {
		return nil, failf(classUsage, "--proxy-command has no command")
	}
	return &proxyCommand{words: strings.Split(string(text[:len(text)-1]), string(rune(end)))}, nil
}

// A proxyProcess is a command that runs for one connection.
type proxyProcess struct {
	kill    context.CancelFunc
	ended   chan struct{} // closed at its end, before that of the connection
	failure *failure      // set before ended
	command *proxyCommand
	printed []byte // the end of its stderr
}

// wordsFor returns the words for a server. The host adds no word and no variable.
func (c *proxyCommand) wordsFor(srv *server) []string {
	variables := strings.NewReplacer("%%", "%", "%h", srv.host, "%p", strconv.Itoa(int(srv.port)))
	words := slices.Clone(c.words)
	for i, word := range words {
		words[i] = variables.Replace(word)
	}
	return words
}

// start starts the command for a server.
func (c *proxyCommand) start(srv *server) (net.Conn, *proxyProcess, error) {
	words := c.wordsFor(srv)
	ctx, kill := context.WithCancel(context.Background())
	p := &proxyProcess{kill: kill, ended: make(chan struct{}), command: c}
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Stderr, cmd.Env, cmd.WaitDelay = p, withoutSecrets(cmd.Environ()), time.Second
	detach(cmd)
	closeFilesOnExec()
	conn, far, err := connectStreams(cmd)
	if err == nil {
		if err = cmd.Start(); err == nil {
			go p.wait(cmd, srv, far)
			return conn, p, nil
		}
		conn.Close()
		far.Close()
	}
	kill()
	if lacksResources(err) {
		return nil, nil, failf(classLocal, "run --proxy-command: %w", err).withHint(hintOpenFiles)
	}
	return nil, nil, failf(classUsage, "run --proxy-command: %w", err)
}

// wait waits for the end of the command, which ends the connection.
func (p *proxyProcess) wait(cmd *exec.Cmd, srv *server, far io.Closer) {
	if err := cmd.Wait(); err != nil {
		text := strings.TrimSpace(string(p.printed))
		if text = text[strings.LastIndexAny(text, "\r\n")+1:]; text != "" {
			text = ": " + escape(text)
		}
		p.failure = failf(classNetwork, "connection to %s by %s: %w%s", srv, escape(cmd.Args[0]), err, text)
	}
	close(p.ended)
	far.Close()
}

// Write passes on what the command prints on stderr.
func (p *proxyProcess) Write(b []byte) (int, error) {
	p.printed = append(p.printed, b...)
	p.printed = p.printed[max(0, len(p.printed)-500):]
	p.command.mu.Lock()
	_, _ = p.command.stderr.Write(b) // the command goes on without it
	p.command.mu.Unlock()
	return len(b), nil
}

// failed returns why the command has failed, or nil. A nil process has not.
func (p *proxyProcess) failed() *failure {
	if p == nil || !tryReceive(p.ended) {
		return nil
	}
	return p.failure
}

// end ends the command after the connection, and waits for it. With flush the command first gets the time to pass on what
// was written last, such as an ABORT, and to end by itself.
func (p *proxyProcess) end(flush bool) {
	if p == nil {
		return
	}
	if flush {
		select {
		case <-p.ended:
		case <-time.After(time.Second):
		}
	}
	p.kill()
	<-p.ended
}

// withoutSecrets returns the environment without this program's own variables.
func withoutSecrets(env []string) []string {
	return slices.DeleteFunc(env, func(variable string) bool {
		return strings.HasPrefix(strings.ToUpper(variable), "TACACS_PLUS_") // Windows ignores case
	})
}
