package main

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// A tracer writes packets as text. It is nil where nobody asked for that.
type tracer struct {
	mu          sync.Mutex
	out         io.Writer
	showSecrets bool
}

// packet shows one packet whose body is in clear: the header, the decoded fields, then a hex
// dump in which the octets of secret fields are blanked. m is the message, or nil for none.
func (t *tracer) packet(what string, peer fmt.Stringer, h *header, body []byte, m layouter) {
	if t == nil {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: version %s type %s seq_no %d flags %s session_id %08x length %d\n",
		what, peer, h.version, h.typ, h.seqNo, h.flags, h.sessionID, h.length)
	hidden := make([]bool, len(body))
	if m != nil {
		c := codec{reading: true, buf: body}
		c.visit = func(f field, value any) {
			shown := fmt.Sprint(value)
			if text, ok := value.(string); ok {
				shown = escape(text)
			}
			if f.secret && f.length > 0 && !t.showSecrets {
				shown = fmt.Sprintf("[redacted %d bytes]", f.length)
				end := len(body) - len(c.buf)
				for i := end - f.length; i < end; i++ {
					hidden[i] = true
				}
			}
			fmt.Fprintf(&b, "  %s: %s\n", f.name, shown)
		}
		if c.message(m); c.err != nil {
			fmt.Fprintf(&b, "  malformed: %v\n", c.err)
			if slices.ContainsFunc(c.fields, func(f field) bool { return f.secret }) && !t.showSecrets {
				for i := len(body) - len(c.buf); i < len(body); i++ {
					hidden[i] = true // a secret is in there somewhere
				}
			}
		}
	}
	for i := 0; i < len(body); i += 16 {
		hexDumpLine(&b, i, body[i:min(i+16, len(body))], hidden[i:])
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	io.WriteString(t.out, b.String())
}

// hexDumpLine writes up to 16 octets: their offset, their values, and what is printable.
func hexDumpLine(b *strings.Builder, offset int, octets []byte, hidden []bool) {
	var values, text strings.Builder
	for i, c := range octets {
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

// A served is what one session came to, as serve prints it.
type served struct {
	Time        time.Time `json:"time"`
	Peer        string    `json:"peer"`
	User        string    `json:"user,omitempty"`
	Request     string    `json:"request,omitempty"` // authenticate, enable, chpass, authorize, account
	AuthenType  string    `json:"authen_type,omitempty"`
	Flag        string    `json:"flag,omitempty"`
	PrivLvl     uint8     `json:"priv_lvl"`
	Port        string    `json:"port,omitempty"`
	RemAddr     string    `json:"rem_addr,omitempty"`
	CommandLine string    `json:"cmd,omitempty"`
	Args        []string  `json:"arguments,omitempty"`
	Status      string    `json:"status,omitempty"`
	ServerMsg   string    `json:"server_msg,omitempty"`
	Error       string    `json:"-"` // in place of a session: what was wrong with a connection
}

// A sessionLog is standard output, shared by all connections.
type sessionLog struct {
	json    bool
	verbose bool

	mu     sync.Mutex
	out    *bufio.Writer
	second int64  // since the epoch, that stamp is for: a time costs more than all else in a line
	stamp  []byte // up to the second
}

// note prints at once what is wrong with a connection.
func (l *sessionLog) note(peer, what string) {
	l.write(&served{Time: time.Now(), Peer: peer, Error: what})
	l.flush()
}

// write queues one line, or one object; flush sends what is queued.
func (l *sessionLog) write(s *served) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.out.AvailableBuffer()
	if l.json {
		b = s.appendJSON(b)
	} else {
		if now := s.Time.Unix(); now != l.second {
			l.second, l.stamp = now, s.Time.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05")
		}
		b = append(b, l.stamp...)
		ms := s.Time.Nanosecond() / 1e6
		b = append(b, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
		b = s.appendLine(b, l.verbose)
	}
	l.out.Write(b) // a write error is kept, and flush returns it
}

func (l *sessionLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.out.Flush()
}

// appendLine writes peer, user, what was asked and the verdict; accounting records in full, and
// everything with -v.
func (s *served) appendLine(b []byte, verbose bool) []byte {
	word := func(text string) {
		if text != "" {
			b = append(append(b, ' '), text...)
		}
	}
	word(s.Peer)
	if s.Error != "" {
		word(escape(s.Error))
		return append(b, '\n')
	}
	word(quoteBlank(s.User))
	word(s.Request)
	word(s.AuthenType)
	word(s.Flag)
	if s.CommandLine != "" && s.Request == "authorize" && !verbose {
		word(quoteBlank(s.CommandLine))
	} else {
		for _, arg := range s.Args {
			word(quoteBlank(arg))
		}
	}
	if verbose {
		word(fmt.Sprintf("priv_lvl=%d port=%s rem_addr=%s", s.PrivLvl, quoteBlank(s.Port), quoteBlank(s.RemAddr)))
	}
	word(s.Status)
	if s.ServerMsg != "" {
		b = append(append(b, ": "...), oneLine(s.ServerMsg)...)
	}
	return append(b, '\n')
}

// quoteBlank escapes a word of a line, in quotes where it is empty or has a blank or a quote.
func quoteBlank(text string) string {
	text = escape(text)
	if text == "" || strings.ContainsAny(text, ` "`) {
		return `"` + strings.ReplaceAll(text, `"`, `\x22`) + `"`
	}
	return text
}

func (s *served) appendJSON(b []byte) []byte {
	if s.Error != "" {
		return append(b, encodeJSON(struct {
			Time  time.Time `json:"time"`
			Peer  string    `json:"peer"`
			Error string    `json:"error"`
		}{s.Time.UTC().Truncate(time.Millisecond), s.Peer, escape(s.Error)})...)
	}
	shown := *s
	shown.Time = s.Time.UTC().Truncate(time.Millisecond)
	for _, text := range []*string{&shown.User, &shown.Port, &shown.RemAddr, &shown.CommandLine, &shown.ServerMsg} {
		*text = escape(*text)
	}
	shown.Args = escapeAll(s.Args)
	return append(b, encodeJSON(shown)...)
}
