package main

import (
	"io"
	"time"
)

// A keyLog holds the secrets of a key log file by client random.
type keyLog struct{}

// loadKeyLog reads a key log file, or standard input for -.
func loadKeyLog(name string, stdin io.Reader) (*keyLog, error) { return &keyLog{}, nil }

// A tlsConversation reads one TLS connection of which both directions are heard.
type tlsConversation struct {
	serverName string // of the ClientHello
	cipher     string // by its name, once known
	alert      string // that was sent in clear, or could be read, and by whom
	problem    string // why its application data cannot be read, in plain words; empty while it can
}

func newTLSConversation(k *keyLog, said func(from int, at time.Time, octets []byte)) *tlsConversation {
	return &tlsConversation{problem: "TLS is not read yet"}
}

func (t *tlsConversation) add(from int, at time.Time, octets []byte) {}

func (t *tlsConversation) gap(from int, missing int) {}
