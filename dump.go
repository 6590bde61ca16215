package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// A tracer writes packets as text. It is nil where nobody asked for that.
type dumper struct {
	mu          sync.Mutex
	out         io.Writer
	showSecrets bool
	began       time.Time // lines have the time since then; zero for none
	err         error     // of the first write that failed
}

// event tells what else happens on the way to a server.
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
	_, err := io.WriteString(t.out, text)
	t.err = cmp.Or(t.err, err)
}

// close says whether all packets were written.
func (t *dumper) close() error {
	if t == nil || t.err == nil {
		return nil
	}
	return failf(classUsage, "write the packets: %w", cause(t.err))
}

// fixedBytes are what every body begins with before any text can: a CONTINUE has the fewest.
const fixedBytes = 5

// packet shows one packet whose body is in clear: the header, the decoded fields, then a hex dump in
// which the bytes of secret fields are blanked, and those of secrets that stand elsewhere. Where a
// client's body is not what its header says, nobody knows where in it a password stands: then all
// that can be text is blanked. m is the message, or nil for none.
func (t *dumper) packet(what string, peer fmt.Stringer, h *header, body []byte, m message, secrets ...string) {
	if t == nil {
		return
	}
	if t.showSecrets {
		secrets = nil
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: version %s type %s seq_no %d flags %s session_id %08x length %d\n",
		what, peer, h.version, h.typ, h.seqNo, h.flags, h.sessionID, h.length)
	hidden := make([]bool, len(body))
	if decoded := m != nil && t.fields(&b, hidden, body, m, secrets); !decoded && !t.showSecrets {
		markSecrets(hidden, string(body), secrets)
		for i := fixedBytes; i < len(body) && h.seqNo%2 == 1; i++ { // a server's are even
			hidden[i] = true
		}
	}
	for i := 0; i < len(body); i += 16 {
		hexDumpLine(&b, i, body[i:min(i+16, len(body))], hidden[i:])
	}
	t.write(b.String())
}

// fields writes the fields of a body and marks what of it is hidden. It says whether the body is m.
func (t *dumper) fields(b *strings.Builder, hidden []bool, body []byte, m message, secrets []string) bool {
	c := codec{reading: true, buf: body}
	c.visit = func(f field, value any) {
		shown := fmt.Sprint(value)
		if text, ok := value.(string); ok {
			end := len(body) - len(c.buf)
			data := hidden[end-f.length : end]
			if f.secret && f.length > 0 && !t.showSecrets {
				shown = fmt.Sprintf("[redacted %d bytes]", f.length)
				for i := range data {
					data[i] = true
				}
			} else {
				markSecrets(data, text, secrets)
				shown = escape(redact(text, secrets))
			}
		}
		fmt.Fprintf(b, "  %s: %s\n", f.name, shown)
	}
	c.message(m)
	if c.err != nil {
		fmt.Fprintf(b, "  malformed: %v\n", c.err)
	}
	return c.err == nil
}

// hexDumpLine writes up to 16 bytes: their offset, their values, and what is printable.
func hexDumpLine(b *strings.Builder, offset int, data []byte, hidden []bool) {
	var values, text strings.Builder
	for i, c := range data {
		if i == 8 {
			values.WriteByte(' ')
		}
		switch {
		case hidden[i]:
			values.WriteString(" **")
			text.WriteByte('*')
		case c < ' ' || c > '~':
			fmt.Fprintf(&values, " %02x", c)
			text.WriteByte('.')
		default:
			fmt.Fprintf(&values, " %02x", c)
			text.WriteByte(c)
		}
	}
	fmt.Fprintf(b, "  %04x %-49s  %s\n", offset, values.String(), text.String())
}
