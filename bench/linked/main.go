// Linked is the least Go program for one PAP login, to which tacacs_plus is compared. Like tacacs_plus it
// links crypto/tls, encoding/json, flag and fmt; the options that reach the first two are not used.
package main

import (
	"bytes"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	keyFile := flag.String("key-file", "", "read the key from a `file`")
	passwordFile := flag.String("password-file", "", "read the password from a `file`")
	overTLS := flag.Bool("tls", false, "connect by TLS 1.3")
	asJSON := flag.Bool("json", false, "print the result as JSON")
	flag.Parse()
	user, addr := flag.Arg(0), flag.Arg(1)
	key := secret("TACACS_PLUS_KEY", *keyFile)
	password := secret("TACACS_PLUS_PWD", *passwordFile)

	conn, err := net.Dial("tcp", addr)
	must(err)
	remAddr := conn.LocalAddr().(*net.TCPAddr).IP.String()
	if *overTLS {
		conn = tls.Client(conn, &tls.Config{ServerName: user, MinVersion: tls.VersionTLS13})
	}

	// START: LOGIN, privilege level 0, PAP, service LOGIN, and four lengths. RFC 8907 section 5.1.
	body := []byte{1, 0, 2, 1, byte(len(user)), 0, byte(len(remAddr)), byte(len(password))}
	body = append(body, user+remAddr+string(password)...)
	header := []byte{0xc1, 1, 1, 0} // version 12.1, authentication, seq_no 1. Section 4.1.
	var id [4]byte
	rand.Read(id[:])
	header = append(header, id[:]...)
	header = binary.BigEndian.AppendUint32(header, uint32(len(body)))
	obfuscate(key, header, body)
	_, err = conn.Write(append(header, body...))
	must(err)

	_, err = io.ReadFull(conn, header)
	must(err)
	reply := make([]byte, min(binary.BigEndian.Uint32(header[8:]), 1<<16))
	_, err = io.ReadFull(conn, reply)
	must(err)
	obfuscate(key, header, reply)
	if len(reply) < 6 || reply[0] != 1 {
		must(fmt.Errorf("not PASS: %x", reply))
	}
	conn.Close()
	if *asJSON {
		must(json.NewEncoder(os.Stdout).Encode(map[string]string{"user": user, "status": "PASS"}))
		return
	}
	fmt.Println("PASS")
}

// secret returns a secret from a file or, without one, from the environment.
func secret(variable, file string) []byte {
	if file == "" {
		return []byte(os.Getenv(variable))
	}
	text, err := os.ReadFile(file)
	must(err)
	return bytes.TrimRight(text, "\r\n")
}

// obfuscate is RFC 8907 section 4.5.
func obfuscate(key, header, body []byte) {
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

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
