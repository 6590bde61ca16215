// Package pad is the obfuscation of RFC 8907 section 4.5, for the two sides of the comparison.
package pad

import "crypto/md5"

// HeaderLen is the length of a packet's header.
const HeaderLen = 12

// XOR obfuscates the body behind the header of packet, or restores it.
func XOR(packet []byte, key string) {
	body := packet[HeaderLen:]
	seed := append([]byte(nil), packet[4:8]...) // session_id
	seed = append(seed, key...)
	seed = append(seed, packet[0], packet[2]) // version, seq_no
	input := seed
	for len(body) > 0 {
		sum := md5.Sum(input)
		n := min(len(sum), len(body))
		for i := range n {
			body[i] ^= sum[i]
		}
		body = body[n:]
		input = append(seed[:len(seed):len(seed)], sum[:]...)
	}
}
