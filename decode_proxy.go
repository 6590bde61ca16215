package main

import (
	"bytes"
	"errors"
)

// stripProxyHeader returns what follows the PROXY header at the start of a conversation, or all bytes if there is none. Until
// the header is whole it returns nothing. The client that the header names is the peer then.
func (t *tacacsStream) stripProxyHeader(from int, data []byte) []byte {
	if t.started || t.clientEnd == 1-from {
		return data
	}
	held := data
	if len(t.prefix) > 0 {
		held = append(t.prefix, data...)
	}
	h, n, err := parseProxyHeader(held)
	if errors.Is(err, errCutProxyHeader) {
		t.prefix = bytes.Clone(held)
		return nil
	}
	t.prefix = nil
	if err != nil || n == 0 {
		return held
	}
	t.clientEnd = from
	if h.client.IsValid() {
		t.proxied, t.proxy = h.client, t.ends[from]
	}
	return held[n:]
}
