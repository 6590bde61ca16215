package main

import (
	"bufio"
	"cmp"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash"
	"io"
	"os"
	"slices"
	"strings"
)

// A keyLog holds the secrets of a key log file by client random: what --keylog of this program
// writes, openssl's -keylogfile, and SSLKEYLOGFILE of others (RFC 9850). A regular file may grow
// meanwhile: it is read on when a secret is not there.
type keyLog struct {
	file    string // empty for standard input
	size    int64  // bytes that were read, of whole lines
	lines   int
	secrets map[clientRandom]*[trafficSecrets][]byte
	scratch [maxRecord]byte // of the conversations, which open one record after the other
}

type clientRandom [32]byte

// A secretLabel says which of the traffic secrets of a connection one is: that of the server
// follows that of the client.
type secretLabel uint8

const (
	clientHandshakeSecret secretLabel = 0
	clientTrafficSecret   secretLabel = 2
	trafficSecrets                    = 4
)

var secretLabels = [trafficSecrets]string{
	"CLIENT_HANDSHAKE_TRAFFIC_SECRET", "SERVER_HANDSHAKE_TRAFFIC_SECRET", "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0",
}

const (
	maxKeyLog     = 64 << 20 // bytes
	maxKeyLogLine = 4096
)

// loadKeyLog reads a key log file, or standard input for -. What is wrong with it is an error of
// usage, with the line.
func loadKeyLog(name string, stdin io.Reader) (*keyLog, error) {
	k := &keyLog{secrets: make(map[clientRandom]*[trafficSecrets][]byte)}
	if name == "-" {
		return k, k.read(stdin)
	}
	k.file = name
	f, err := os.Open(name)
	if err != nil {
		return nil, failf(classUsage, "read the key log: %w", err)
	}
	defer f.Close()
	return k, k.read(f)
}

// secret looks for a secret, nil for none.
func (k *keyLog) secret(random clientRandom, label secretLabel) []byte {
	if found := k.secrets[random]; found == nil || found[label] == nil {
		k.readOn()
	}
	if found := k.secrets[random]; found != nil {
		return found[label]
	}
	return nil
}

// readOn reads what was written to the file since. What is wrong with that is passed over. What is
// no regular file has no size, and is read once.
func (k *keyLog) readOn() {
	if info, err := os.Stat(k.file); err != nil || info.Size() <= k.size {
		return
	}
	f, err := os.Open(k.file)
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Seek(k.size, io.SeekStart); err == nil {
		k.read(f)
	}
}

// read reads lines to the end; the error is of the first one that is wrong. A last line that has
// no end yet is read again when there is more.
func (k *keyLog) read(from io.Reader) error {
	r := bufio.NewReaderSize(io.LimitReader(from, maxKeyLog-k.size+1), maxKeyLogLine)
	name := cmp.Or(k.file, "standard input")
	var wrong error
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return failf(classUsage, "line %d of the key log %s is over %d bytes", k.lines+1, name, maxKeyLogLine)
		}
		if err != nil && err != io.EOF {
			return failf(classUsage, "read the key log: %w", err)
		}
		if bad := k.parse(string(line)); bad != "" && wrong == nil {
			wrong = failf(classUsage, "line %d of the key log %s %s", k.lines+1, name, bad).
				withHint("a key log is what --keylog writes, openssl with -keylogfile, and others with SSLKEYLOGFILE")
		}
		if k.size+int64(len(line)) > maxKeyLog {
			return failf(classUsage, "the key log %s is over %d bytes", name, maxKeyLog)
		}
		if err != nil {
			return wrong
		}
		k.size, k.lines = k.size+int64(len(line)), k.lines+1
	}
}

// parse takes one line, and says what is wrong with it, without what may be a secret.
func (k *keyLog) parse(line string) (wrong string) {
	words := strings.Fields(line)
	if len(words) == 0 || line[0] == '#' {
		return ""
	}
	if len(words) != 3 {
		return "is not a label, a client random and a secret"
	}
	label := slices.Index(secretLabels[:], words[0])
	if label < 0 {
		return "" // of TLS 1.2, of early data, of exporters
	}
	var random clientRandom
	if b, err := hex.DecodeString(words[1]); err != nil || copy(random[:], b) != len(random) || len(b) != len(random) {
		return "has a client random that is not 64 hexadecimal digits"
	}
	secret, err := hex.DecodeString(words[2])
	if err != nil || len(secret) != sha256.Size && len(secret) != sha512.Size384 {
		return "has a secret that is not 64 or 96 hexadecimal digits"
	}
	if k.secrets[random] == nil {
		k.secrets[random] = new([trafficSecrets][]byte)
	}
	k.secrets[random][label] = secret
	return ""
}

// A tlsSuite is a cipher suite of TLS 1.3 that can be read.
type tlsSuite struct {
	id     uint16
	hash   func() hash.Hash
	keyLen int // bytes
}

var tlsSuites = []tlsSuite{
	{tls.TLS_AES_128_GCM_SHA256, sha256.New, 16},
	{tls.TLS_AES_256_GCM_SHA384, sha512.New384, 32},
}

// A tlsKey opens the records of one side until its next secret. RFC 8446 sections 5.2 and 5.3.
type tlsKey struct {
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte
	seq    uint64 // of the next record
	secret []byte
}

// newKey makes the key of a traffic secret (RFC 8446 section 7.3). It fails where the program is
// told to do without AES-GCM under given nonces (GODEBUG=fips140=only).
func (t *tlsConversation) newKey(secret []byte) *tlsKey {
	k := &tlsKey{secret: secret}
	copy(k.iv[:], t.suite.expand(secret, "iv", len(k.iv)))
	block, err := aes.NewCipher(t.suite.expand(secret, "key", t.suite.keyLen))
	if err == nil {
		k.aead, err = cipher.NewGCM(block)
	}
	if err != nil {
		t.giveUp(err.Error())
		return nil
	}
	return k
}

// expand is HKDF-Expand-Label without a context. RFC 8446 section 7.1.
func (s *tlsSuite) expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := string([]byte{byte(n >> 8), byte(n), byte(len(label))}) + label + "\x00"
	out, err := hkdf.Expand(s.hash, secret, info, n)
	if err != nil {
		return nil // n is never over its limit
	}
	return out
}

// open opens a record into dst with the next sequence number, or one of as many as are given.
func (k *tlsKey) open(dst, record []byte, numbers int) []byte {
	header, sealed := record[:recordHeader], record[recordHeader:]
	for seq := k.seq; seq < k.seq+uint64(numbers); seq++ {
		binary.BigEndian.PutUint64(k.nonce[4:], binary.BigEndian.Uint64(k.iv[4:])^seq)
		copy(k.nonce[:4], k.iv[:4])
		if plain, err := k.aead.Open(dst[:0], k.nonce[:], sealed, header); err == nil {
			k.seq = seq + 1
			return plain
		}
	}
	return nil
}
