package main

import (
	"crypto/md5"
	"crypto/subtle"
	"encoding/binary"
)

// obfuscate XORs body with the pseudo-random pad that belongs to h and key; doing it twice
// restores it. RFC 8907 section 4.5:
//
//	MD5_1 = MD5(session_id, key, version, seq_no)
//	MD5_n = MD5(session_id, key, version, seq_no, MD5_n-1)
//
// It allocates nothing for keys of up to about 100 bytes; longer ones are not cut (section 10.5.1). This is no
// encryption: whoever records one packet can guess the key offline.
func obfuscate(h *header, key string, body []byte) {
	input := binary.BigEndian.AppendUint32(make([]byte, 0, 128), h.sessionID)
	input = append(input, key...)
	input = append(input, byte(h.version), h.seqNo)
	seed := len(input)
	for len(body) > 0 {
		pad := md5.Sum(input)
		n := subtle.XORBytes(body, body, pad[:])
		body = body[n:]
		input = append(input[:seed], pad[:]...)
	}
}
