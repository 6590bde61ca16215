package main

import (
	"crypto/md5"
	"unicode/utf8"
)

// challengeSize returns the length of a random challenge for an authentication type, in bytes. For MS-CHAP it is the only
// one allowed (RFC 8907 sections 5.4.2.3 to 5.4.2.5).
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
	var response []byte
	switch t {
	case authenCHAP:
		response = chapResponse(id, password, challenge)
	case authenMSCHAP:
		// Zeros in place of the LAN Manager response, which can be cracked offline (RFC 2433 section 6).
		response = append(response, make([]byte, 24)...)
		response = append(response, desResponse(ntHash(password), challenge)...)
		response = append(response, 1) // use the NT response
	case authenMSCHAPv2:
		response = append(response, peer...)
		response = append(response, make([]byte, 8)...) // reserved, zero
		response = append(response, desResponse(ntHash(password), challengeHash(peer, challenge, user))...)
		response = append(response, 0) // reserved (RFC 2759 section 4)
	}
	if err := checkChallengePassword(t, password); err != nil {
		return "", err
	}
	return string([]byte{id}) + string(challenge) + string(response), nil
}

// checkChallengePassword reports a password that the hash of the type is not defined for.
func checkChallengePassword(t authenType, password string) error {
	if (t == authenMSCHAP || t == authenMSCHAPv2) && !utf8.ValidString(password) {
		return failf(classUsage, "the password is not UTF-8, which %s needs", t)
	}
	return nil
}
