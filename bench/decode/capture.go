package main

import (
	"bufio"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"time"
)

// A generator writes a capture of TACACS+ sessions at a server: a pcap file of raw IP. Half of the
// sessions have a connection each. The other half share connections in single-connection mode; some
// tens of them are open at a time, and the replies come in another order than the requests.
type generator struct {
	out     *bufio.Writer
	at      time.Time
	packets int // of TACACS+
	session uint32
	err     error // of the first write that failed
}

const (
	perShared = 200 // sessions on a connection in single-connection mode
	atOnce    = 20  // of these are open at a time
	clients   = 100
)

// writeCapture writes n sessions and returns the number of their packets.
func writeCapture(w io.Writer, n int) (packets int, err error) {
	g := &generator{out: bufio.NewWriterSize(w, 1<<16), at: time.Unix(1795000000, 0)}
	g.write(binary.LittleEndian, uint32(0xa1b2c3d4), uint16(2), uint16(4), uint32(0), uint32(0), uint32(65535), uint32(101))
	for done, turn := 0, 0; done < n; turn++ {
		c := &connection{generator: g, port: uint16(20000 + turn%40000), client: byte(turn % clients)}
		c.open()
		if turn%(perShared+1) == 0 && n-done >= perShared {
			c.single = true
			for range perShared / atOnce {
				c.sessions(atOnce)
			}
			done += perShared
		} else {
			c.sessions(1)
			done++
		}
		c.close()
	}
	if g.err == nil {
		g.err = g.out.Flush()
	}
	return g.packets, g.err
}

// write appends fixed-size values.
func (g *generator) write(order binary.ByteOrder, values ...any) {
	for _, v := range values {
		if err := binary.Write(g.out, order, v); err != nil && g.err == nil {
			g.err = err
		}
	}
}

// A connection is one TCP connection between a client and the server.
type connection struct {
	*generator
	client byte
	port   uint16
	single bool
	seq    [2]uint32 // of client and server
}

const (
	fin = 0x01
	syn = 0x02
	psh = 0x08
	ack = 0x10
)

func (c *connection) open() {
	c.seq = [2]uint32{g32(c.session, 1), g32(c.session, 2)}
	c.segment(0, syn, nil)
	c.segment(1, syn|ack, nil)
	c.segment(0, ack, nil)
}

// g32 returns a number that looks random and is the same in every run.
func g32(n, salt uint32) uint32 {
	sum := md5.Sum(binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, n), salt))
	return binary.BigEndian.Uint32(sum[:])
}

func (c *connection) close() {
	c.segment(1, fin|ack, nil)
	c.segment(0, fin|ack, nil)
	c.segment(1, ack, nil)
}

// segment writes one frame: IPv4, TCP and payload. from is 0 for the client.
func (c *connection) segment(from int, flags byte, bytes []byte) {
	c.at = c.at.Add(40 * time.Microsecond)
	size := 40 + len(bytes)
	head := make([]byte, 0, 56)
	head = binary.LittleEndian.AppendUint32(head, uint32(c.at.Unix()))
	head = binary.LittleEndian.AppendUint32(head, uint32(c.at.Nanosecond()/1000))
	head = binary.LittleEndian.AppendUint32(head, uint32(size))
	head = binary.LittleEndian.AppendUint32(head, uint32(size))
	head = append(head, 0x45, 0)
	head = binary.BigEndian.AppendUint16(head, uint16(size))
	head = append(head, 0, 0, 0x40, 0, 64, 6, 0, 0) // no checksum, as with checksum offload
	addrs := [2][]byte{{10, 0, 0, c.client + 1}, {10, 0, 1, 1}}
	ports := [2]uint16{c.port, 49}
	head = append(append(head, addrs[from]...), addrs[1-from]...)
	head = binary.BigEndian.AppendUint16(head, ports[from])
	head = binary.BigEndian.AppendUint16(head, ports[1-from])
	head = binary.BigEndian.AppendUint32(head, c.seq[from])
	head = binary.BigEndian.AppendUint32(head, c.seq[1-from])
	head = append(head, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0)
	for _, b := range [][]byte{head, bytes} {
		if _, err := c.out.Write(b); err != nil && c.err == nil {
			c.err = err
		}
	}
	c.seq[from] += uint32(len(bytes))
	if flags&(syn|fin) != 0 {
		c.seq[from]++
	}
}

// A message is one packet of a session in cleartext.
type message struct {
	version byte
	typ     byte
	body    []byte
}

// sessions writes n sessions at a time. All send their requests; then the last gets the first reply.
func (c *connection) sessions(n int) {
	messages := make([][]message, n)
	ids := make([]uint32, n)
	for i := range messages {
		c.session++
		messages[i], ids[i] = sessionOf(c.session), g32(c.session, 0)
	}
	for round := 0; round < 4; round += 2 {
		for i := range messages {
			if round < len(messages[i]) {
				c.packet(0, ids[i], round+1, messages[i][round])
			}
		}
		for i := n - 1; i >= 0; i-- {
			if round < len(messages[i]) {
				c.packet(1, ids[i], round+2, messages[i][round+1])
			}
		}
	}
}

// packet obfuscates one packet and writes it.
func (c *connection) packet(from int, id uint32, seqNo int, m message) {
	flags := byte(0)
	if c.single {
		flags = 4
	}
	p := []byte{m.version, m.typ, byte(seqNo), flags}
	p = binary.BigEndian.AppendUint32(p, id)
	p = binary.BigEndian.AppendUint32(p, uint32(len(m.body)))
	seed := append(append(append([]byte(nil), p[4:8]...), key...), m.version, byte(seqNo))
	var pad []byte
	for i, b := range m.body {
		if i%md5.Size == 0 {
			sum := md5.Sum(append(append([]byte(nil), seed...), pad...))
			pad = sum[:]
		}
		p = append(p, b^pad[i%md5.Size])
	}
	c.packets++
	c.segment(from, psh|ack, p)
}

// sessionOf returns the packets of the n-th session, requests and replies in turn.
func sessionOf(n uint32) []message {
	user := fmt.Sprintf("user%d", n%5000)
	start := func(version, typ byte, data string) message {
		body := []byte{1, 0, typ, 1, byte(len(user)), 4, 10, byte(len(data))}
		return message{version, 1, append(body, user+"tty0192.0.2.10"+data...)}
	}
	reply := func(version, status byte, msg string) message {
		return message{version, 1, append([]byte{status, 0, 0, byte(len(msg)), 0, 0}, msg...)}
	}
	arguments := func(body []byte, args ...string) []byte {
		body = append(body, 0, 1, 1, byte(len(user)), 4, 10, byte(len(args)))
		for _, a := range args {
			body = append(body, byte(len(a)))
		}
		return append(body, user+"tty0192.0.2.10"+strings.Join(args, "")...)
	}
	switch n % 6 {
	case 0:
		return []message{start(0xc1, 2, "a password"), reply(0xc1, 1, "")}
	case 1:
		return []message{start(0xc1, 2, "a wrong one"), reply(0xc1, 2, "Login incorrect")}
	case 2:
		return []message{start(0xc1, 3, "\x05"+strings.Repeat("c", 16)+strings.Repeat("r", 16)), reply(0xc1, 1, "")}
	case 3:
		answer := append([]byte{0, 10, 0, 0, 0}, "a password"...)
		return []message{start(0xc0, 1, ""), reply(0xc0, 5, "Password: "), {0xc0, 1, answer}, reply(0xc0, 1, "")}
	case 4:
		return []message{{0xc0, 2, arguments([]byte{6}, "service=shell", "cmd=show", "cmd-arg=version")}, {0xc0, 2, []byte{1, 0, 0, 0, 0, 0}}}
	}
	task := fmt.Sprintf("task_id=%d", n)
	return []message{{0xc0, 3, arguments([]byte{2, 6}, task, "start_time=1795000000", "timezone=UTC", "service=shell")}, {0xc0, 3, []byte{0, 0, 0, 0, 1}}}
}
