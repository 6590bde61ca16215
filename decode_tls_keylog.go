package main

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
)

// A keyLog holds the secrets of a key log file: what --keylog of this program writes, openssl with -keylogfile,
// and others with SSLKEYLOGFILE (RFC 9850). If a secret is missing, it is looked for in what was appended to the
// file since.
type keyLog struct {
	file    string // empty for standard input
	size    int64  // bytes of the complete lines that were read
	lines   int
	secrets map[clientRandom]*[trafficSecrets][]byte
	scratch [maxRecord]byte // for the plaintext of one record at a time, of any conversation
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
)

// loadKeyLog reads a key log file, or standard input for -. An error names the line.
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

// readAppended reads what was appended to the file. Errors are ignored. A file that is not regular has no size,
// so it is read only once.
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

// read reads lines to the end. The error is that of the first invalid line. A last line without a newline is
// read again when there is more.
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
				withHint("a key log is what --keylog writes, openssl with -keylogfile, and others with SSLKEYLOGFILE")
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

// parse reads one line. It returns what is wrong with the line, without anything that may be a secret.
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
	}
	k.secrets[random][label] = secret
	return ""
}
