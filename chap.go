package main

import (
	"bytes"
	"crypto/des"
	"crypto/md5"
	"crypto/sha1"
	"encoding/binary"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// challengeSize returns the length of a random challenge, in bytes, or 0 for types without one. For MS-CHAP it is the
// only one allowed (RFC 8907 sections 5.4.2.3 to 5.4.2.5).
func challengeSize(t authenType) int {
	switch t {
	case authenMSCHAP:
		return 8
	case authenCHAP, authenMSCHAPv2:
		return 16
	}
	return 0
}

// maxCHAPChallenge, in bytes, keeps id, challenge and response within the 255 bytes of START's data.
const maxCHAPChallenge = 255 - 1 - md5.Size

// chapData returns the data field of a START for one of the challenge types: id, challenge and response. peer is the peer
// challenge of MS-CHAP v2, 16 bytes; the other types ignore it.
func chapData(t authenType, user, password string, id byte, challenge, peer []byte) (string, error) {
	if err := checkChallengePassword(t, password); err != nil {
		return "", err
	}
	var response []byte
	switch t {
	case authenCHAP:
		response = chapResponse(id, password, challenge)
	case authenMSCHAP:
		// Zeros in place of the LAN Manager response, which can be cracked offline (RFC 2433 section 6). The last byte
		// means: use the NT response.
		response = join(make([]byte, 24), desResponse(ntHash(password), challenge), []byte{1})
	case authenMSCHAPv2: // RFC 2759 section 4; the zeros are reserved
		hash := challengeHash(peer, challenge, user)
		response = join(peer, make([]byte, 8), desResponse(ntHash(password), hash), []byte{0})
	}
	return string(join([]byte{id}, challenge, response)), nil
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// checkChallengePassword reports a password that the hash of the type is not defined for.
func checkChallengePassword(t authenType, password string) error {
	if (t == authenMSCHAP || t == authenMSCHAPv2) && !utf8.ValidString(password) {
		return failf(classUsage, "the password is not UTF-8, which %s needs", t)
	}
	return nil
}

// chapResponse returns MD5 over id, secret and challenge. RFC 1994 section 4.1.
func chapResponse(id byte, secret string, challenge []byte) []byte {
	sum := md5.Sum(join([]byte{id}, []byte(secret), challenge))
	return sum[:]
}

// ntHash returns MD4 over the password in UTF-16, little endian. RFC 2433 appendix A.3.
func ntHash(password string) []byte {
	var input []byte
	for _, u := range utf16.Encode([]rune(password)) {
		input = binary.LittleEndian.AppendUint16(input, u)
	}
	return md4(input)
}

// desResponse encrypts an 8-byte challenge with a 16-byte hash, padded with zeros, as three
// DES keys. RFC 2433 appendix A.5.
func desResponse(hash, challenge []byte) []byte {
	var key [21]byte
	copy(key[:], hash)
	var response []byte
	for i := 0; i < len(key); i += 7 {
		response = append(response, desEncrypt(key[i:i+7], challenge)...)
	}
	return response
}

// challengeHash hashes both challenges and the user name without its domain. RFC 2759 section 8.2.
func challengeHash(peer, challenge []byte, user string) []byte {
	if _, name, found := strings.Cut(user, `\`); found {
		user = name
	}
	sum := sha1.Sum(join(peer, challenge, []byte(user)))
	return sum[:8]
}

// desEncrypt encrypts one block with a key of 56 bits. They are spread over eight bytes, since DES ignores the parity bit
// of each.
func desEncrypt(key7, block []byte) []byte {
	var wide [8]byte
	copy(wide[1:], key7)
	packed := binary.BigEndian.Uint64(wide[:])
	var key [8]byte
	for i := range key {
		key[i] = byte(packed>>(49-7*i)) << 1
	}
	cipher, _ := des.NewCipher(key[:]) // fails only for other lengths
	out := make([]byte, des.BlockSize)
	cipher.Encrypt(out, block)
	return out
}

// md4Rounds are the rounds of MD4. RFC 1320 section 3.4.
var md4Rounds = [3]struct {
	f     func(x, y, z uint32) uint32
	add   uint32
	order [16]int
	shift [4]int
}{
	{func(x, y, z uint32) uint32 { return x&y | ^x&z }, 0,
		[16]int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, [4]int{3, 7, 11, 19}},
	{func(x, y, z uint32) uint32 { return x&y | x&z | y&z }, 0x5a827999,
		[16]int{0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15}, [4]int{3, 5, 9, 13}},
	{func(x, y, z uint32) uint32 { return x ^ y ^ z }, 0x6ed9eba1,
		[16]int{0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15}, [4]int{3, 9, 11, 15}},
}

// md4 returns the hash of RFC 1320, which the standard library does not have.
func md4(message []byte) []byte {
	length := uint64(len(message)) * 8
	padded := append(slices.Clone(message), 0x80)
	for len(padded)%64 != 56 {
		padded = append(padded, 0)
	}
	padded = binary.LittleEndian.AppendUint64(padded, length)

	state := [4]uint32{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476}
	for ; len(padded) > 0; padded = padded[64:] {
		a, b, c, d := state[0], state[1], state[2], state[3]
		for round := range md4Rounds {
			r := &md4Rounds[round]
			for i, k := range &r.order {
				word := binary.LittleEndian.Uint32(padded[4*k:])
				a, b, c, d = d, bits.RotateLeft32(a+r.f(b, c, d)+word+r.add, r.shift[i%4]), b, c
			}
		}
		state[0] += a
		state[1] += b
		state[2] += c
		state[3] += d
	}
	var sum []byte
	for _, s := range state {
		sum = binary.LittleEndian.AppendUint32(sum, s)
	}
	return sum
}
