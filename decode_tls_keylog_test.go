package main

import (
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestKeyLogGrows appends secrets to the key log while their conversation is read. The data of records that waited
// comes in order, with their times.
func TestKeyLogGrows(t *testing.T) {
	t.Parallel()
	file := filepath.Join(writeFiles(t, map[string]string{"keys": "# nothing yet\n"}), "keys")
	write := func(text string) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err == nil {
			_, err = io.WriteString(f, text)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	k, err := loadKeyLog(file, nil)
	if err != nil {
		t.Fatal(err)
	}
	l := newTLSObserver(k).feed(parseTrace(t, traceOfOpenSSL), 99)
	if !strings.Contains(l.problem, "the key log has no secret for") || len(l.log) != 0 {
		t.Error(l.state())
	}
	lines := slices.Collect(strings.Lines(keysOfOpenSSL))
	write("not a line of a key log\n" + lines[0][:40])
	l.add(0, time.Time{}, nil)
	write(lines[0][40:] + lines[1][:100])
	l.add(0, time.Time{}, nil)
	if l.problem == "" || len(l.log) != 0 {
		t.Error(l.state())
	}
	write(lines[1][100:] + strings.Join(lines[2:], ""))
	l.add(1, time.Time{}, nil)
	if info, err := os.Stat(file); err != nil || info.Size() != k.size {
		t.Errorf("%d bytes were read: %v, %v", k.size, info.Size(), err)
	}
	want := []string{"client 3: 2 bytes", "server 4: 2 bytes", "client 6: 2 bytes", "server 8: 2 bytes", "client 10: 2 bytes"}
	if !slices.Equal(l.log, want) || l.problem != "" || l.held != 0 || l.waiting != nil {
		t.Error(l.log, l.state())
	}
}

// TestKeyLogTooLate: the records that wait for a secret are bounded.
func TestKeyLogTooLate(t *testing.T) {
	t.Parallel()
	m := newFakeTLS()
	l := newTLSObserver(keyLogOf(t, "")).feed(m.hellos, 100)
	for range 100 {
		l.add(1, time.Time{}, m.traffic[1].data(strings.Repeat("x", 1000)))
		if l.held > maxWaiting || l.unreadable && (l.held > 0 || l.waiting != nil) {
			t.Fatal(l.held, len(l.waiting))
		}
	}
	if !l.unreadable || l.waiting != nil || !strings.Contains(l.problem, "no secret") {
		t.Error(l.state())
	}
}

// TestKeyLogOfAnother: records wait for a secret that does not decrypt them, or that makes no key.
func TestKeyLogOfAnother(t *testing.T) {
	t.Parallel()
	for _, keyLen := range []int{16, 7} {
		m := newFakeTLS()
		k := keyLogOf(t, "")
		l := newTLSObserver(k).feed(m.hellos, 100)
		l.add(1, time.Time{}, newTLSSealer(&tlsSuites[0], make([]byte, 32)).data("by another key"))
		l.add(1, time.Time{}, m.handshake[1].data("not read"))
		for line := range strings.Lines(m.keys) {
			k.parse(line)
		}
		suite := tlsSuites[0]
		suite.keyLen = keyLen
		l.suite = &suite
		l.add(0, time.Time{}, nil)
		want := "the secrets of the key log do not decrypt the records of the server"
		if keyLen == 7 {
			want = "crypto/aes: invalid key size 7"
		}
		if l.problem != want || l.waiting != nil || l.held != 0 || l.data[1] != "" {
			t.Error(l.state(), l.waiting)
		}
	}
}

// TestKeyLogFiles reads valid and invalid key logs.
func TestKeyLogFiles(t *testing.T) {
	t.Parallel()
	const random, secret = " 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f ", "ab"
	long := strings.Repeat(secret, 48)
	dir := writeFiles(t, map[string]string{
		"good":    "# a comment\r\n\r\nCLIENT_TRAFFIC_SECRET_0" + random + long + "\r\nCLIENT_RANDOM 00 11\nEXPORTER_SECRET" + random + "zz\n",
		"no end":  "SERVER_HANDSHAKE_TRAFFIC_SECRET" + random + long[:64],
		"empty":   "",
		"words":   "\nnot a key log\nnor this\n",
		"random":  "CLIENT_TRAFFIC_SECRET_0 0001 " + long,
		"longer":  "CLIENT_TRAFFIC_SECRET_0 " + strings.TrimSpace(random) + "00 " + long,
		"secret":  "CLIENT_TRAFFIC_SECRET_0" + random + long[:62],
		"no hex":  "CLIENT_TRAFFIC_SECRET_0" + random + long[:62] + "xy",
		"line":    "#\n" + strings.Repeat("x", 5000),
		"at most": "#" + strings.Repeat("x", maxKeyLogLine-2) + "\n",
	})
	for _, tt := range []struct{ name, err string }{
		{"good", ""}, {"no end", ""}, {"empty", ""}, {"at most", ""},
		{"words", "line 2 of the key log FILE is not a label, a client random and a secret"},
		{"random", "line 1 of the key log FILE has a client random that is not 64 hexadecimal digits"},
		{"longer", "line 1 of the key log FILE has a client random that is not 64 hexadecimal digits"},
		{"secret", "line 1 of the key log FILE has a secret that is not 64 or 96 hexadecimal digits"},
		{"no hex", "line 1 of the key log FILE has a secret that is not 64 or 96 hexadecimal digits"},
		{"line", "line 2 of the key log FILE is over 4096 bytes"},
		{"missing", "read the key log: open FILE: " + os.ErrNotExist.Error()},
		{"", "read the key log: read FILE: is a directory"},
	} {
		file := filepath.Join(dir, tt.name)
		k, err := loadKeyLog(file, nil)
		if want := strings.ReplaceAll(tt.err, "FILE", file); want == "" && err != nil || want != "" && (err == nil || classOf(err) != classUsage) {
			t.Errorf("%s: %v", tt.name, err)
		} else if want != "" && err.Error() != want && tt.name != "missing" && tt.name != "" {
			t.Errorf("%s: %v, want %s", tt.name, err, want)
		}
		var r clientRandom
		copy(r[:], unhex(t, random))
		if tt.name == "good" && hex.EncodeToString(k.secret(r, clientTrafficSecret)) != long {
			t.Error("the secret is another one")
		}
		if tt.name == "no end" && hex.EncodeToString(k.secret(r, clientHandshakeSecret+1)) != long[:64] {
			t.Error("the last line is lost")
		}
	}
	if _, err := loadKeyLog("-", strings.NewReader("x\n")); err == nil || !strings.HasPrefix(err.Error(), "line 1 of the key log standard input is not") {
		t.Error(err)
	}
	if _, err := loadKeyLog("-", &endless{}); err == nil || err.Error() != "the key log standard input is over 67108864 bytes" {
		t.Error(err)
	}
}
