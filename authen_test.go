package main

import (
	"bytes"
	"strings"
	"testing"
)

// TestPromptPlaces: enable may be a dialogue by any type (section 5.4.2.6), so its prompts are
// answered; where a prompt has no place, the server is told by an ABORT (section 5.4.3).
func TestPromptPlaces(t *testing.T) {
	t.Parallel()
	for _, status := range []authenStatus{authenGetData, authenGetUser, authenGetPass} {
		for _, typ := range []string{"pap", "chap", "mschap", "mschapv2"} {
			server := newScript(t, testKey, &authenReply{status: status}, &authenReply{status: authenPass})
			got := runWith(t, secretsInEnv, "", "enable", "alice", server.addr, "-t", typ, "--answer", "1234")
			if got != (outcome{classGranted.exit(), "PASS\n", ""}) {
				t.Errorf("enable by %s, %s: %+v", typ, status, got)
				continue
			}
			var start authenStart
			var answer authenContinue
			server.received(t, &start)
			server.received(t, &answer)
			want := map[authenStatus]string{authenGetData: "1234", authenGetUser: "alice", authenGetPass: testPassword}[status]
			if start.service != authenServiceEnable || start.privLvl != 15 || start.typ.String() != typ || answer.flags != 0 || answer.userMsg != want {
				t.Errorf("enable by %s, %s: %+v, flags %s", typ, status, start.subject, answer.flags)
			}

			l := listen(t)
			last := make(chan layouter, 1)
			serveByHand(t, l, func(_ int, c *handConn) {
				h, _ := c.receive(new(authenStart))
				h.seqNo++
				c.send(h, &authenReply{status: status})
				_, m, _ := c.act("close")
				last <- m
			})
			got = runWith(t, secretsInEnv, "", "authenticate", "alice", l.Addr().String(), "-t", typ, "--answer", "1234")
			got.check(t, classProtocol.exit(), ``, `.* answers a `+typ+` login with `+status.String()+`, which has no place there\n`)
			if m, ok := (<-last).(*authenContinue); !ok || m.flags != authenAbort || m.userMsg != "" || m.data == "" {
				t.Errorf("authenticate by %s, %s: the server's last packet is %+v", typ, status, m)
			}
		}
	}
}

// TestChallengeOfTheType: the challenge that was given is for the type that was asked for; the type
// that a RESTART leads to gets one of its own.
func TestChallengeOfTheType(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asked     string
		challenge []byte
		next      authenType
	}{
		{"chap", []byte("8 octets"), authenMSCHAP},
		{"chap", []byte("8 octets"), authenMSCHAPv2},
		{"chap", []byte("these 16 octets!"), authenMSCHAPv2},
		{"mschap", []byte("8 octets"), authenCHAP},
	} {
		server := newScript(t, testKey, &authenReply{status: authenRestart, data: string(rune(tt.next))}, &authenReply{status: authenPass})
		got := runWith(t, secretsInEnv, "", "authenticate", "alice", server.addr, "--single-connect", "-q",
			"-t", tt.asked, "--chap-id", "0", "--chap-challenge", (*hexBytes)(&tt.challenge).String())
		if got != (outcome{}) {
			t.Errorf("%s, then %s: %+v", tt.asked, tt.next, got)
			continue
		}
		var first, second authenStart
		server.received(t, &first)
		server.received(t, &second)
		if first.typ.String() != tt.asked || second.typ != tt.next || first.data[0] != 0 || second.data[0] != 0 {
			t.Errorf("%s, then %s: %+v, then %+v", tt.asked, tt.next, first.subject, second.subject)
		}
		if !bytes.HasPrefix([]byte(first.data[1:]), tt.challenge) || bytes.Contains([]byte(second.data), tt.challenge) {
			t.Errorf("%s, then %s: not the given challenge in the first, or in the second too", tt.asked, tt.next)
		}
	}
}

// TestRestarts goes from type to type: each once, and from a type that proves the password to none
// that sends it (section 5.4.3).
func TestRestarts(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		asked, restarts string
		code            exitCode
		types           string // of the sessions
	}{
		{"ascii", "\x02", 0, "ascii pap"},
		{"pap", "\x03,\x01", 0, "pap chap ascii"}, // what was asked for would have sent it too
		{"pap", "\x02", 1, "pap"},
		{"pap", "\x03,\x02\x03", 1, "pap chap"},
		{"pap", "\x04\x00\xff\x06\x03", 0, "pap mschapv2"},
		{"chap", "\x02\x01", 1, "chap"},
		{"chap", "\x02\x05", 0, "chap mschap"},
		{"chap", "\x05,\x02", 1, "chap mschap"},
		{"ascii", "", 1, "ascii"},
	} {
		var replies []layouter
		for list := range strings.SplitSeq(tt.restarts, ",") {
			replies = append(replies, &authenReply{status: authenRestart, data: list})
		}
		server := newScript(t, testKey, append(replies, &authenReply{status: authenPass})...)
		got := runWith(t, secretsInEnv, "", "authenticate", "alice", server.addr, "--single-connect", "-q", "-t", tt.asked)
		var types []string
		for len(server.bodies) > 0 {
			var start authenStart
			server.received(t, &start)
			types = append(types, start.typ.String())
		}
		if got != (outcome{code: tt.code}) || strings.Join(types, " ") != tt.types {
			t.Errorf("%s, then %x: %+v by %q, want %s", tt.asked, tt.restarts, got, types, tt.types)
		}
	}
}

// TestRestartIsForgotten: the server that is asked next is asked by the type that was given.
func TestRestartIsForgotten(t *testing.T) {
	t.Parallel()
	first := newScript(t, testKey, &authenReply{status: authenRestart, data: "\x02"}, &authenReply{status: authenError})
	second := newScript(t, testKey, &authenReply{status: authenRestart, data: "\x02"}, &authenReply{status: authenPass})
	got := runWith(t, secretsInEnv, "", "authenticate", "alice", first.addr+","+second.addr, "--single-connect", "-q")
	if got != (outcome{}) {
		t.Fatalf("got %+v", got)
	}
	for _, server := range []*scriptServer{first, second} {
		for _, want := range []authenType{authenASCII, authenPAP} {
			var start authenStart
			if server.received(t, &start); start.typ != want {
				t.Errorf("asked by %s, not %s", start.typ, want)
			}
		}
	}
}
