// Minimal is the least that a Go program must do for one PAP login: what tacacs_plus is measured
// against. The harness adds a file that imports all packages that tacacs_plus imports, so that
// both programs initialize the same ones.
package main

import (
	"bench/pad"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if err := login(os.Args[1], os.Args[2], os.Getenv("TACACS_PLUS_KEY"), os.Getenv("TACACS_PLUS_PWD")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("PASS")
}

func login(user, addr, key, password string) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()

	remAddr := conn.LocalAddr().(*net.TCPAddr).IP.String()
	// Version 12.1, AUTHEN, seq_no 1; LOGIN at level 0 by PAP for LOGIN; the lengths of user,
	// port, rem_addr and data. RFC 8907 sections 4.1 and 5.1.
	packet := []byte{0xc1, 1, 1, 0, 11: 0}
	rand.Read(packet[4:8])
	packet = append(packet, 1, 0, 2, 1, byte(len(user)), 0, byte(len(remAddr)), byte(len(password)))
	packet = append(packet, user+remAddr+password...)
	binary.BigEndian.PutUint32(packet[8:], uint32(len(packet)-pad.HeaderLen))
	pad.XOR(packet, key)
	if _, err := conn.Write(packet); err != nil {
		return err
	}

	reply := make([]byte, pad.HeaderLen)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return err
	}
	reply = append(reply, make([]byte, min(binary.BigEndian.Uint32(reply[8:]), 1<<16))...)
	if _, err := io.ReadFull(conn, reply[pad.HeaderLen:]); err != nil {
		return err
	}
	pad.XOR(reply, key)
	if len(reply) < pad.HeaderLen+6 || reply[pad.HeaderLen] != 1 {
		return fmt.Errorf("the answer is %x", reply)
	}
	return nil
}
