package main

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A dumper writes packets as text. A nil dumper writes nothing.
type dumper struct {
	mu          sync.Mutex
	out         io.Writer
	showSecrets bool
	began       time.Time // the dump shows the time since then; zero: no times
	err         error     // of the first failed write
}

// event writes a line about something other than a packet.
func (t *dumper) event(format string, args ...any) {
	if t != nil {
		t.write(oneLine(fmt.Sprintf(format, args...)) + "\n")
	}
}

func (t *dumper) write(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.began.IsZero() {
		text = fmt.Sprintf("+%.6f %s", time.Since(t.began).Seconds(), text)
	}
	if _, err := io.WriteString(t.out, text); t.err == nil {
		t.err = err
	}
}

// close reports whether all packets were written.
func (t *dumper) close() error {
	if t == nil || t.err == nil {
		return nil
	}
	return failf(classLocal, "write the packets: %w", cause(t.err))
}

// fixedBytes is the least number of bytes before the text of a body: that of a CONTINUE.
const fixedBytes = 5

// packet writes one packet whose body is in clear: the header, the decoded fields, then a hex dump. Secret
// fields, and secrets in other fields, are masked. In a client's body that cannot be decoded all bytes after
// fixedBytes are masked. m is the message to decode into, or nil.
func (t *dumper) packet(what string, peer fmt.Stringer, h *header, body []byte, m message, secrets ...string) {
	if t == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: version %s type %s seq_no %d flags %s session_id %08x length %d\n",
		what, peer, h.version, h.typ, h.seqNo, h.flags, h.sessionID, h.length)
	if t.showSecrets {
		secrets = nil
	}
	hidden, err := markBody(body, m, secrets, func(f field, value any) {
		shown := fmt.Sprint(value)
		switch text, ok := value.(string); {
		case ok && f.secret && f.length > 0 && !t.showSecrets:
			shown = fmt.Sprintf("[redacted %d bytes]", f.length)
		case ok:
			shown = escape(redact(text, secrets))
		}
		fmt.Fprintf(&b, "  %s: %s\n", f.name, shown)
	})
	if err != nil && m != nil {
		fmt.Fprintf(&b, "  malformed: %v\n", err)
	}
	switch {
	case t.showSecrets:
		clear(hidden)
	case err != nil && h.seqNo%2 == 1: // from a client
		for i := fixedBytes; i < len(body); i++ {
			hidden[i] = true
		}
	}
	for i := 0; i < len(body); i += 16 {
		hexDumpLine(&b, i, body[i:min(i+16, len(body))], hidden[i:])
	}
	t.write(b.String())
}

// markBody decodes a body into m and marks its bytes that must not be shown: those of secret fields, and of
// secrets in other fields. If m is nil or the body is malformed, secrets are marked wherever they are. visit, if
// not nil, is called for each field.
func markBody(body []byte, m message, secrets []string, visit func(f field, value any)) (hidden []bool, err error) {
	hidden = make([]bool, len(body))
	c := codec{reading: true, buf: body}
	c.visit = func(f field, value any) {
		end := len(body) - len(c.buf)
		bytes := hidden[end-int(f.length) : end]
		if text, ok := value.(string); ok && !f.secret {
			markSecrets(bytes, text, secrets)
		}
		for i := range bytes {
			bytes[i] = bytes[i] || f.secret
		}
		if visit != nil {
			visit(f, value)
		}
	}
	c.err = errNoMessage
	if m != nil {
		c.err = nil
		c.message(m)
	}
	if c.err != nil {
		markSecrets(hidden, string(body), secrets)
	}
	return hidden, c.err
}

var errNoMessage = errors.New("no message")

// hexDumpLine writes up to 16 bytes: their offset, their values, and as text.
func hexDumpLine(b *strings.Builder, offset int, data []byte, hidden []bool) {
	values, text := "", make([]byte, len(data))
	for i, c := range data {
		value := fmt.Sprintf(" %02x", c)
		switch {
		case hidden[i]:
			value, c = " **", '*'
		case c < ' ' || c > '~':
			c = '.'
		}
		if i == 8 {
			values += " "
		}
		values, text[i] = values+value, c
	}
	fmt.Fprintf(b, "  %04x %-49s  %s\n", offset, values, text)
}
