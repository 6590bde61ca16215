package main

import (
	"bufio"
	"errors"
	"io"
	"net"
	"os"
	"regexp"
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

// TestRelayLateReply: a reply that was read for a session counts for nothing where the device has ended that
// meanwhile, or has begun another one of the same number.
func TestRelayLateReply(t *testing.T) {
	t.Parallel()
	d, _, lines := pipedDevice(t, new(relayServer))
	p := d.newPassage()
	h := header{version: minorDefault, typ: typeAuthen, sessionID: 1}
	say := func(seqNo uint8, m layouter) { h.seqNo = seqNo; p.ask(&h, m, 100) }
	hear := func(seqNo uint8, status authenStatus) {
		h.seqNo = seqNo
		p.heardOf(&h, &authenReply{status: status}, "")
	}
	check := func(what string, awaited int, want string) {
		t.Helper()
		p.log.flush()
		got := regexp.MustCompile(`[A-Z_]{4,}`).FindAllString(lines.String(), -1)
		if p.awaited != awaited || len(p.sessions) != awaited || strings.Join(got, " ") != want {
			t.Errorf("%s: %d replies are awaited, of %d sessions, and the lines are\n%s", what, p.awaited, len(p.sessions), lines)
		}
	}
	say(1, asciiStart("alice"))
	say(3, &authenContinue{flags: authenAbort})
	hear(2, authenGetPass)
	check("after an ABORT", 0, "ABORT")
	say(1, asciiStart("alice"))
	hear(2, authenGetPass)
	say(3, says(testPassword))
	say(1, asciiStart("alice"))
	hear(4, authenPass)
	check("after another START", 1, "ABORT NO_REPLY")
	hear(2, authenPass)
	check("at the end", 0, "ABORT NO_REPLY PASS")
	if n := p.underWay.Load(); n != 0 {
		t.Errorf("%d octets are held", n)
	}
}

// TestRelayBelongs: of a server's packets those are read that a session waits for.
func TestRelayBelongs(t *testing.T) {
	t.Parallel()
	d, _, _ := pipedDevice(t, new(relayServer))
	p := d.newPassage()
	h := header{version: minorDefault, typ: typeAuthen, seqNo: 1, sessionID: 1}
	p.ask(&h, asciiStart("alice"), 100)
	belongs := func(typ packetType, seqNo uint8, session uint32) bool {
		return p.belongs(&header{version: minorDefault, typ: typ, seqNo: seqNo, sessionID: session})
	}
	if !belongs(typeAuthen, 2, 1) || belongs(typeAuthen, 4, 1) || belongs(typeAuthor, 2, 1) || belongs(typeAuthen, 2, 7) {
		t.Error("another packet than the reply is taken for it")
	}
	h.seqNo++
	p.heardOf(&h, &authenReply{status: authenGetPass}, "")
	if belongs(typeAuthen, 2, 1) || belongs(typeAuthen, 3, 1) {
		t.Error("a second reply is taken for one, before the device has said more")
	}
}
