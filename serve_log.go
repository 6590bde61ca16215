package main

import (
	"bufio"
	"fmt"
	"sync"
	"time"
)

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

// flush sends what is queued. An error is for good: nothing can be written from then on.
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

// appendJSON writes one object, in which all that comes from the client is escaped.
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
