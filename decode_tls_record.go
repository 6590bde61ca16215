package main

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"encoding/binary"
	"hash"
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

// recordLength returns the length of the record that data begins with. ok is false if its type or version is
// unknown, or if it is too long.
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
	out, err := hkdf.Expand(s.hash, secret, info, n)
	if err != nil {
		return nil // n never exceeds the limit
	}
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

// open decrypts a record into dst. It tries as many sequence numbers as given, and returns nil if none fits.
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
