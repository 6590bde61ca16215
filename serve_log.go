package main

import (
	"fmt"
	"io"
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
	tell    func(format string, args ...any) // the person, that lines cannot be written

	mu     sync.Mutex
	out    io.Writer
	queue  []byte // lines that are not written yet
	err    error  // of the last write
	lost   int    // lines, since writes fail
	second int64  // since the epoch, that stamp is for: a time costs more than all else in a line
	stamp  []byte // up to the second
}

// maxQueued is how many octets of lines wait for being written, but for the last of them.
const maxQueued = 64 << 10

// note prints at once what is wrong with a connection.
func (l *sessionLog) note(peer, what string) {
	l.write(&served{Time: time.Now(), Peer: peer, Error: what})
	l.flush()
}

// write queues one line, or one object; flush sends what is queued. Where no more can wait, since
// writes fail, the line is lost.
func (l *sessionLog) write(s *served) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.queue) >= maxQueued && l.send() != nil {
		l.lost++
		return
	}
	l.append(s)
}

// flush sends what is queued. The error is that of the last write, also where nothing is queued.
func (l *sessionLog) flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.send()
}

// record writes one line at once. After an error it is not there, and will not be, unless it has
// begun: half a line would spoil the next one.
func (l *sessionLog) record(s *served) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := len(l.queue)
	l.append(s)
	line := len(l.queue) - before
	err := l.send()
	if err != nil && len(l.queue) >= line {
		l.queue = l.queue[:len(l.queue)-line]
	}
	return err
}

// append queues one line, or one object.
func (l *sessionLog) append(s *served) {
	if l.json {
		l.queue = s.appendJSON(l.queue)
		return
	}
	if now := s.Time.Unix(); now != l.second {
		l.second, l.stamp = now, s.Time.UTC().AppendFormat(l.stamp[:0], "2006-01-02T15:04:05")
	}
	ms := s.Time.Nanosecond() / 1e6
	l.queue = append(append(l.queue, l.stamp...), '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10), 'Z')
	l.queue = s.appendLine(l.queue, l.verbose)
}

// send writes what is queued, and keeps what a failed write leaves of it. It says when writes begin
// to fail, and when they no longer do.
func (l *sessionLog) send() error {
	if len(l.queue) == 0 {
		return l.err
	}
	n, err := l.out.Write(l.queue)
	l.queue = l.queue[:copy(l.queue, l.queue[n:])]
	switch {
	case err != nil && l.err == nil:
		l.tell("lines of sessions cannot be written: %v; accounting records are answered with ERROR meanwhile", cause(err))
	case err == nil && l.err != nil:
		l.tell("lines of sessions can be written again; %d were lost", l.lost)
		l.lost = 0
	}
	l.err = err
	return err
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
