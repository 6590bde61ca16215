package main

import (
	"encoding/binary"
)

// sum16 adds bytes to a sum of 16-bit numbers, as IP and TCP do. RFC 1071.
func sum16(so uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		so += uint32(binary.BigEndian.Uint16(b))
		so = so&0xffff + so>>16
	}
	if len(b) == 1 {
		so += uint32(b[0]) << 8
	}
	return so&0xffff + so>>16
}

func checksum(so uint32, b []byte) uint16 {
	so = sum16(so, b)
	return ^uint16(so&0xffff + so>>16)
}
