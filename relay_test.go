package main

import (
	"io"
	"testing"
)

const deviceKey = "the key of the devices"

// relayTo starts a relay to servers, for devices with a key of their own.
func relayTo(t testing.TB, host string, options ...string) *testServer {
	t.Helper()
	return serving(t, new(lockedBuffer), relayArgs(t, host, options)...)
}

func relayArgs(t testing.TB, host string, options []string) []string {
	t.Helper()
	return append([]string{"relay", host, "--listen", "127.0.0.1:0", "--device-key-file", writeFiles(t, map[string]string{"device": deviceKey})+"/device"}, options...)
}

// BenchmarkRelay is what a session costs that goes through, with the server's and the client's part.
func BenchmarkRelay(b *testing.B) {
	for _, options := range []string{"", "--no-single-connect"} {
		b.Run(options, func(b *testing.B) {
			s := serving(b, io.Discard, "serve", "--listen", "127.0.0.1:0", "--user", "alice:"+testPassword, "-q")
			r := serving(b, io.Discard, append(relayArgs(b, s.addr, nil), "-q")...)
			_ = r
		})
	}
}
