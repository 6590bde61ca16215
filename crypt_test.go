package main

import (
	"bytes"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
)

// Three blocks: a shorter one proves little, since a wrong chaining shows past 32 bytes only.
func TestObfuscateKnownAnswer(t *testing.T) {
	h := header{version: minorDefault, seqNo: 1, sessionID: 0x01020304}
	want := unhex(t, `b1583481ac880db5262b8280808862229d87456c3cd7ead04a3eb6da725e1daf
		0ce04dc17919e6c85d12bc564afc80d8`)
	for n := range len(want) + 1 {
		got := make([]byte, n) // zeros, which show the pad itself
		obfuscate(&h, "testkey1234567890", got)
		if !bytes.Equal(got, want[:n]) {
			t.Errorf("%d bytes: got %x, want %x", n, got, want[:n])
		}
	}
}

func TestObfuscate(t *testing.T) {
	t.Parallel()
	// The last header takes the type and the flags too, which the pad does not depend on.
	headers := []header{
		{version: minorDefault, seqNo: 1, sessionID: 0x01020304},
		{version: minorOne, seqNo: 1, sessionID: 0x01020304},
		{version: minorDefault, seqNo: 2, sessionID: 0x01020304},
		{version: minorDefault, seqNo: 253, sessionID: 0xfffefdfc},
		{version: minorOne, typ: typeAcct, seqNo: 1, flags: flagSingleConnect, sessionID: 0x01020304, length: 33},
	}
	keys := []string{"", "k", "sixteen bytes!!", strings.Repeat("k", 32), strings.Repeat("k", 64), strings.Repeat("k", 400), "schlüssel\x00\xff"}
	for i, h := range headers {
		for _, key := range keys {
			for _, n := range []int{0, 1, 15, 16, 17, 33, 4096} {
				t.Run(fmt.Sprintf("header %d, key of %d, body of %d", i, len(key), n), func(t *testing.T) {
					clear := bytes.Repeat([]byte("body"), 1024)[:n]
					body := bytes.Clone(clear)
					obfuscate(&h, key, body)
					if want := referenceObfuscate(h, key, clear); !bytes.Equal(body, want) {
						t.Errorf("got %x, want %x", body, want)
					}
					obfuscate(&h, key, body)
					if !bytes.Equal(body, clear) {
						t.Errorf("twice: got %x, want %x", body, clear)
					}
				})
			}
		}
	}
}

// referenceObfuscate is section 4.5 once more, written to be compared with its text.
func referenceObfuscate(h header, key string, body []byte) []byte {
	var pad, last []byte
	for len(pad) < len(body) {
		hash := md5.New()
		binary.Write(hash, binary.BigEndian, h.sessionID)
		io.WriteString(hash, key)
		hash.Write([]byte{uint8(h.version)})
		hash.Write([]byte{h.seqNo})
		hash.Write(last)
		last = hash.Sum(nil)
		pad = append(pad, last...)
	}
	out := make([]byte, len(body))
	for i := range body {
		out[i] = body[i] ^ pad[i]
	}
	return out
}

// Only the body given is touched, not what shares its memory.
func TestObfuscateStaysInBody(t *testing.T) {
	packet := make([]byte, 40)
	obfuscate(&header{}, "key", packet[10:27])
	if !bytes.Equal(packet[:10], make([]byte, 10)) || !bytes.Equal(packet[27:], make([]byte, 13)) {
		t.Errorf("got %x, want zeros but for bytes 10 to 26", packet)
	}
}

func TestObfuscateDoesNotAllocate(t *testing.T) {
	h, key, body := header{version: minorDefault, seqNo: 1}, strings.Repeat("k", 32), make([]byte, 4096)
	if n := testing.AllocsPerRun(100, func() { obfuscate(&h, key, body) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

func BenchmarkObfuscate(b *testing.B) {
	h, key := header{version: minorDefault, seqNo: 1}, strings.Repeat("k", 32)
	for _, n := range []int{32, 4096} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(n))
			body := make([]byte, n)
			for b.Loop() {
				obfuscate(&h, key, body)
			}
		})
	}
}
