package main

import (
	"bufio"
	"bytes"
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

// Types and sizes of records. RFC 8446 sections 5.1 and 5.2.
const (
	recordChangeCipherSpec = 20
	recordAlert            = 21
	recordHandshake        = 22
	recordData             = 23 // the outer type of everything that is encrypted

	recordHeader = 5
	maxRecord    = recordHeader + 1<<14 + 256 // bytes
	minRecord    = recordHeader + 1 + 16      // bytes of an encrypted record: the type and the tag
)

// recordLength returns the length of the record at the start of data. ok is false if its type or version is unknown, or if
// it is too long.
func recordLength(data []byte) (n int, ok bool) {
	n = recordHeader + int(binary.BigEndian.Uint16(data[3:]))
	return n, data[0] >= recordChangeCipherSpec && data[0] <= recordData && data[1] == 3 && n <= maxRecord
}

// A tlsSuite is a cipher suite of TLS 1.3 that can be decrypted.
type tlsSuite struct {
	id     uint16
	hash   func() hash.Hash
	keyLen int // bytes
}

var tlsSuites = []tlsSuite{
	{tls.TLS_AES_128_GCM_SHA256, sha256.New, 16},
	{tls.TLS_AES_256_GCM_SHA384, sha512.New384, 32},
}

// expand is HKDF-Expand-Label without a context. RFC 8446 section 7.1.
func (s *tlsSuite) expand(secret []byte, label string, n int) []byte {
	label = "tls13 " + label
	info := string([]byte{byte(n >> 8), byte(n), byte(len(label))}) + label + "\x00"
	out, _ := hkdf.Expand(s.hash, secret, info, n) // n never exceeds the limit
	return out
}

// A tlsKey decrypts the records of one direction until its next secret. RFC 8446 sections 5.2 and 5.3.
type tlsKey struct {
	suite  *tlsSuite
	secret []byte
	aead   cipher.AEAD
	iv     [12]byte
	nonce  [12]byte
	seq    uint64 // of the next record
}

// newTLSKey makes the key of a traffic secret (RFC 8446 section 7.3). It fails if GODEBUG=fips140=only forbids
// AES-GCM with a given nonce.
func newTLSKey(suite *tlsSuite, secret []byte) (*tlsKey, error) {
	k := &tlsKey{suite: suite, secret: secret}
	copy(k.iv[:], suite.expand(secret, "iv", len(k.iv)))
	block, err := aes.NewCipher(suite.expand(secret, "key", suite.keyLen))
	if err != nil {
		return nil, err
	}
	k.aead, err = cipher.NewGCM(block)
	return k, err
}

// update makes the key that follows a KeyUpdate. RFC 8446 section 7.2.
func (k *tlsKey) update() (*tlsKey, error) {
	return newTLSKey(k.suite, k.suite.expand(k.secret, "traffic upd", k.suite.hash().Size()))
}

// open decrypts a record into dst. It tries that many sequence numbers, and returns nil if none fits.
func (k *tlsKey) open(dst, record []byte, numbers int) []byte {
	header, ciphertext := record[:recordHeader], record[recordHeader:]
	for seq := k.seq; seq < k.seq+uint64(numbers); seq++ {
		binary.BigEndian.PutUint64(k.nonce[4:], binary.BigEndian.Uint64(k.iv[4:])^seq)
		copy(k.nonce[:4], k.iv[:4])
		if plain, err := k.aead.Open(dst[:0], k.nonce[:], ciphertext, header); err == nil {
			k.seq = seq + 1
			return plain
		}
	}
	return nil
}

// A tlsDirection is the records that one end sends.
type tlsDirection struct {
	held      []byte  // the start of a record, or bytes after a gap
	hello     []byte  // the start of a handshake message in clear
	sawHello  bool    // there was a hello or a HelloRetryRequest
	over      bool    // nothing more can be read
	key       *tlsKey // decrypts the records
	next      *tlsKey // follows key; nil if unknown
	protected bool    // key is not of the handshake
	early     int     // bytes of skipped early data
	lost      int     // bytes since the last record before a gap; 0 without a gap
	attempts  int     // to decrypt a record after the gap
}

// A tlsRecord is an encrypted record that waits for its secret.
type tlsRecord struct {
	from int
	at   frameRef
	data []byte
}

// Bounds.
const (
	maxWaiting     = 64 << 10 // bytes of records that wait for a secret
	recordCost     = 64       // bytes of such a record beside its data
	maxEarlyData   = 64 << 10 // bytes
	maxHandshake   = 64 << 10 // bytes of one handshake message
	maxGapAttempts = 1 << 15  // for one gap
	maxGapRecords  = 1 << 12  // in one gap
)

// numbers returns how many sequence numbers the next record may have.
func (s *tlsDirection) numbers() int { return min(1+s.lost/minRecord, maxGapRecords) }

// keepRest returns the rest of held, or of other bytes if held is empty, in a slice that retains at most twice as much.
func keepRest(held, rest []byte) []byte {
	switch {
	case len(rest) == 0:
		return nil
	case len(rest) == len(held):
		return held // nothing of it was read
	case cap(held) < len(rest) || cap(held) > 2*len(rest)+256:
		return bytes.Clone(rest)
	}
	return append(held[:0], rest...)
}

// A keyLog has the secrets of a key log file, as written by --keylog of this program, by openssl -keylogfile, and by others
// with SSLKEYLOGFILE (RFC 9850). If a secret is missing, what was appended to the file is read.
type keyLog struct {
	file    string // empty for standard input
	size    int64  // bytes of the complete lines that were read
	lines   int
	secrets map[clientRandom]*[trafficSecrets][]byte
	order   []clientRandom // of secrets, the oldest first
	memory  budget
	dropped int // connections whose secrets were dropped to bound memory
	// searchWork is the bytes that were tried after gaps, less what the bytes that were read allow.
	searchWork int
	scratch    [maxRecord]byte // for the plaintext of one record at a time, of any conversation
}

type clientRandom [32]byte

// A secretLabel is the kind of a traffic secret. That of the server is one more than that of the client.
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
	secretsCost   = 512 // bytes that the secrets of a connection retain

	// The work to search records after gaps is linear in the input.
	maxSearchWork     = 256 << 20 // bytes
	searchWorkPerByte = 16
)

// loadKeyLog reads a key log file, or standard input for -. An error names the line.
func loadKeyLog(name string, stdin io.Reader) (*keyLog, error) {
	k := newKeyLog()
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

func newKeyLog() *keyLog {
	return &keyLog{secrets: make(map[clientRandom]*[trafficSecrets][]byte), memory: budget{limit: budgetKeys}}
}

// setLimit bounds the memory of the secrets.
func (k *keyLog) setLimit(bytes int) {
	k.memory.limit = bytes
	k.dropOldest()
}

// dropOldest drops the oldest secrets that are over the limit.
func (k *keyLog) dropOldest() {
	for len(k.order) > 0 && k.memory.exceeds(0) {
		delete(k.secrets, k.order[0])
		k.order, k.memory.used, k.dropped = k.order[1:], k.memory.used-secretsCost, k.dropped+1
	}
}

// droppedSecrets returns how many connections lost their secrets.
func (k *keyLog) droppedSecrets() int {
	if k == nil {
		return 0
	}
	return k.dropped
}

// count returns how many secrets of a connection are known.
func (k *keyLog) count(random clientRandom) (n int) {
	if found := k.secrets[random]; found != nil {
		for _, secret := range found {
			if secret != nil {
				n++
			}
		}
	}
	return n
}

// secret returns a secret, or nil.
func (k *keyLog) secret(random clientRandom, label secretLabel) []byte {
	if found := k.secrets[random]; found == nil || found[label] == nil {
		k.readAppended()
	}
	if found := k.secrets[random]; found != nil {
		return found[label]
	}
	return nil
}

// readAppended reads what was appended to the file, ignoring errors. A file that is not regular has no size, so it is read
// only once.
func (k *keyLog) readAppended() {
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

// read reads lines to the end. It returns the error of the first invalid line. A last line without a newline is read again
// when there is more.
func (k *keyLog) read(from io.Reader) error {
	r := bufio.NewReaderSize(io.LimitReader(from, maxKeyLog-k.size+1), maxKeyLogLine)
	name := cmp.Or(k.file, "standard input")
	var invalid error
	for {
		line, err := r.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return failf(classUsage, "line %d of the key log %s is over %d bytes", k.lines+1, name, maxKeyLogLine)
		}
		if err != nil && err != io.EOF {
			return failf(classUsage, "read the key log: %w", err)
		}
		if problem := k.parse(string(line)); problem != "" && invalid == nil {
			invalid = failf(classUsage, "line %d of the key log %s %s", k.lines+1, name, problem).
				withHint("give a file that --keylog, openssl -keylogfile or SSLKEYLOGFILE writes")
		}
		if k.size+int64(len(line)) > maxKeyLog {
			return failf(classUsage, "the key log %s is over %d bytes", name, maxKeyLog)
		}
		if err != nil {
			return invalid
		}
		k.size, k.lines = k.size+int64(len(line)), k.lines+1
	}
}

// parse parses one line. It returns what is wrong with the line, without anything that may be a secret.
func (k *keyLog) parse(line string) (problem string) {
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
		k.order, k.memory.used = append(k.order, random), k.memory.used+secretsCost
		k.dropOldest()
	}
	if k.secrets[random] == nil {
		return ""
	}
	k.secrets[random][label] = secret
	return ""
}
