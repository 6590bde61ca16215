package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestRelayPassageTimes: a connection through which nothing passes any more ends, on either side, and the
// time is counted from the last packet.
func TestRelayPassageTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _, _ := pipedDevice(t, new(relayServer))
		own, other := net.Pipe()
		defer own.Close()
		defer other.Close()
		p := d.newPassage()
		p.link = &link{conn: own, client: d.client}
		h, m := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}, asciiStart("alice")
		p.ask(&h, m, 100)
		time.Sleep(time.Minute)
		p.toDevice, p.toServer = nil, nil
		h.seqNo++
		p.heardOf(&h, &authenReply{status: authenGetPass}, "")
		began := time.Now()
		_, err := own.Read(make([]byte, 1))
		if took := time.Since(began); !errors.Is(err, os.ErrDeadlineExceeded) || took != relayIdle {
			t.Errorf("the server is waited for for %v: %v", took, err)
		}
		if p.up(); time.Since(began) != relayIdle {
			t.Errorf("the device is waited for for %v", time.Since(began))
		}
	})
}

// TestRelayManyAtATime: packets of all sizes that come together pass, in both directions.
func TestRelayManyAtATime(t *testing.T) {
	t.Parallel()
	for _, way := range relayWays {
		s := serveWith(t, "--arg", "note="+strings.Repeat("x", 200))
		r := relayTo(t, s.addr, split(way)...)
		c := dialDevice(t, r)
		if err := c.login(1000, flagSingleConnect); err != nil {
			t.Fatal(err)
		}
		const sessions = 60 // fewer than a device may have at a time
		var all []byte
		for i := range sessions {
			args := []string{"service=shell", "cmd="}
			for range i * i % 50 {
				args = append(args, "filler*"+strings.Repeat("y", 3*i))
			}
			h := header{version: minorDefault, typ: typeAuthor, seqNo: 1, flags: flagSingleConnect, sessionID: uint32(i)}
			all = append(all, packed(h, deviceKey, &authorRequest{subject: subject{user: "alice"}, args: args})...)
		}
		go c.Write(all)
		answered := make(map[uint32]bool)
		for range sessions {
			var reply authorResponse
			h, err := c.receive(&reply)
			if err != nil || reply.status != authorPassAdd || answered[h.sessionID] || h.sessionID >= sessions {
				t.Fatalf("%s: after %d: %+v %.100v, %v", way, len(answered), h, reply, err)
			}
			answered[h.sessionID] = true
		}
		c.Close()
		r.relayed(t)
	}
}

// TestRoomier: a reader of which packets were taken one by one stays as it is, and one that held more goes on
// with the same octets in a larger buffer, once.
func TestRoomier(t *testing.T) {
	t.Parallel()
	const text = "one, two and three"
	conn := strings.NewReader(text)
	in := bufio.NewReaderSize(conn, 16)
	if roomier(in, conn) != in {
		t.Error("another reader for one that holds nothing")
	}
	_, _ = in.Discard(5)
	wide := roomier(in, conn)
	if wide == in || wide.Size() != busyBuffer || wide.Buffered() != 16-5 || roomier(wide, conn) != wide {
		t.Errorf("a reader of %d octets holds %d", wide.Size(), wide.Buffered())
	}
	if rest, err := io.ReadAll(wide); err != nil || string(rest) != text[5:] {
		t.Errorf("goes on with %q, %v", rest, err)
	}
}
