// Minimal is the least that a Go program must do for one PAP login: what tacacs_plus is measured
// against. It stands in one function, since the harness also builds it into tacacs_plus.
package main

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	user, addr := os.Args[1], os.Args[2]
	key, password := os.Getenv("TACACS_PLUS_KEY"), os.Getenv("TACACS_PLUS_PWD")
	must := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	obfuscate := func(header, body []byte) { // RFC 8907 section 4.5
		seed := append(append([]byte(nil), header[4:8]...), key...)
		seed = append(seed, header[0], header[2])
		input := seed
		for i := 0; i < len(body); i += md5.Size {
			sum := md5.Sum(input)
			for j := i; j < min(i+md5.Size, len(body)); j++ {
				body[j] ^= sum[j-i]
			}
			input = append(seed[:len(seed):len(seed)], sum[:]...)
		}
	}

	conn, err := net.Dial("tcp", addr)
	must(err)
	remAddr := conn.LocalAddr().(*net.TCPAddr).IP.String()

	// LOGIN at level 0 by PAP for LOGIN; the lengths of user, port, rem_addr and data. Section 5.1.
	body := []byte{1, 0, 2, 1, byte(len(user)), 0, byte(len(remAddr)), byte(len(password))}
	body = append(body, user+remAddr+password...)
	header := []byte{0xc1, 1, 1, 0} // version 12.1, AUTHEN, seq_no 1. Section 4.1.
	var id [4]byte
	rand.Read(id[:])
	header = append(header, id[:]...)
	header = binary.BigEndian.AppendUint32(header, uint32(len(body)))
	obfuscate(header, body)
	_, err = conn.Write(append(header, body...))
	must(err)

	_, err = io.ReadFull(conn, header)
	must(err)
	reply := make([]byte, min(binary.BigEndian.Uint32(header[8:]), 1<<16))
	_, err = io.ReadFull(conn, reply)
	must(err)
	obfuscate(header, reply)
	if len(reply) < 6 || reply[0] != 1 {
		must(fmt.Errorf("not PASS: %x", reply))
	}
	conn.Close()
	fmt.Println("PASS")
}
