package main

import (
	"fmt"
	"strings"
	"testing"
)

// TestDecodeReplySecrets: the password in the reply to SENDAUTH, and the keys and data of FOLLOW, are shown by -d with
// --show-secrets only.
func TestDecodeReplySecrets(t *testing.T) {
	t.Parallel()
	const secret = "s3cret-of-the-reply"
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	ask := papStart("alice", "")
	ask.action = 4 // SENDAUTH
	w.session(1, ask, &authenReply{status: authenPass, data: secret})
	w.session(2, papStart("bob", testPassword), &authenReply{status: authenFollow, data: "tac2@tacacs@" + secret})
	w.session(3, showRun, &authorResponse{status: authorFollow, data: "tac2@" + secret})
	w.session(4, stopRecord, &acctReply{status: acctFollow, data: "@tacacs@tac2@" + secret})
	for options, shown := range map[string]bool{"": false, "-v -d": false, "--json -d": false, "-d --show-secrets": true} {
		got := decodeWith(t, tape.pcap(), options)
		if strings.Contains(got.out, secret) || (strings.Count(got.err, secret) == 4) != shown || !shown && strings.Contains(got.err, "s3c") {
			t.Errorf("%q:\n%s%s", options, got.out, got.err)
		}
	}
	decodeWith(t, tape.pcap(), "").check(t, 0, `\S+ \S+ > \S+ alice sendauth pap PASS \(1.0 ms\)\n(?:.* FOLLOW \(1.0 ms\)\n){3}`, `.*\n`)
}

// TestDecodeErrorData: an ERROR without a message shows its data; any other data is not for display.
func TestDecodeErrorData(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), &authenReply{status: authenError, data: "no such \x1b host, " + testPassword})
	w.session(2, stopRecord, &acctReply{status: acctError, serverMsg: "disk full", data: "sda1"})
	w.session(3, showRun, &authorResponse{status: authorError, data: "backend down"})
	w.session(4, papStart("bob", testPassword), &authenReply{status: authenFail, data: "hidden"})
	got := decodeWith(t, tape.pcap(), "")
	for _, want := range []string{`ERROR: no such \x1b host, [redacted] (1`, "ERROR: disk full (1", "ERROR: backend down (1", "pap FAIL (1"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s", want, got.out)
		}
	}
	if got := decodeWith(t, tape.pcap(), "--json"); strings.Count(got.out, `"data":`) != 2 || !strings.Contains(got.out, `"data":"backend down"`) {
		t.Error(got.out)
	}
}

// TestDecodeManySecrets: every password of a session is hidden where the server repeats it, the long ones too.
func TestDecodeManySecrets(t *testing.T) {
	t.Parallel()
	messages := []message{asciiStart("alice")}
	var secrets []string
	for i := range 12 {
		secrets = append(secrets, fmt.Sprintf("password-%02d", i)+strings.Repeat("!", i*100))
		messages = append(messages, askForPass, answerWith(secrets[i]))
	}
	messages = append(messages, &authenReply{status: authenFail, serverMsg: "no: " + strings.Join(secrets, " ")})
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, messages...).close()
	// More bytes than a session retains: all text of the server is hidden.
	huge := []message{asciiStart("bob"), askForPass, answerWith("first password"), askForPass, answerWith(strings.Repeat("x", 33_000)), askForPass, answerWith(strings.Repeat("y", 33_000)), askForPass, answerWith("the last one"),
		&authenReply{status: authenFail, serverMsg: "no: the last one"}}
	tape.openConn("198.51.100.7:41235", serverAddr, testKey).session(2, huge...).close()
	got := decodeWith(t, tape.pcap(), "-d")
	if strings.Contains(got.out+got.err, "password-") || strings.Contains(got.out+got.err, "!!!!") || strings.Contains(got.out, "last one") ||
		!strings.Contains(got.out, "FAIL: no: [redacted] [redacted] ") || !strings.Contains(got.out, "bob authenticate ascii FAIL: [redacted] (5.0 ms)\n") {
		t.Errorf("%s%.20000s", got.out, got.err)
	}
}

// TestDecodeHiddenName: the answer to a GETUSER that forbids echo is not shown as the user.
func TestDecodeHiddenName(t *testing.T) {
	t.Parallel()
	tape := newCaptureBuilder()
	tape.openConn(deviceAddr, serverAddr, testKey).session(1, asciiStart(""), &authenReply{status: authenGetUser, flags: authenNoEcho, serverMsg: "Token: "}, answerWith("hunter2x"),
		&authenReply{status: authenFail, serverMsg: "hunter2x?"}).close()
	got := decodeWith(t, tape.pcap(), "-v -d")
	if strings.Contains(got.out+got.err, "hunter2x") || !strings.Contains(got.out, `"" authenticate ascii `) || !strings.Contains(got.out, "FAIL: [redacted]? (2.0 ms)") {
		t.Errorf("%s%s", got.out, got.err)
	}
}

// TestFollowHidesKeys: the hint and the data of a FOLLOW have the servers, without their keys.
func TestFollowHidesKeys(t *testing.T) {
	t.Parallel()
	for data, want := range map[string]string{
		"":                          "",
		"tac2":                      "tac2",
		"@192.0.2.1":                "@192.0.2.1",
		"@tacacs@tac2":              "@tacacs@tac2",
		"@tacacs@tac2@key":          "@tacacs@tac2@[redacted]",
		"tac2@key":                  "tac2@[redacted]",
		"tac2@tacacs@key":           "tac2@[redacted]",
		"tac2\rtac3@key@with\rtac4": "tac2\rtac3@[redacted]\rtac4",
	} {
		if got := followHosts(data); got != want {
			t.Errorf("%q: got %q, want %q", data, got, want)
		}
	}
	for _, m := range []message{&authenReply{status: authenFollow, data: "tac2@the-key"}, &authorResponse{status: authorFollow, data: "tac2@the-key"}, &acctReply{status: acctFollow, data: "tac2@the-key"}} {
		s := startFakeServer(t, func(c *fakeServerConn) {
			for q := c.readRequest(); q != nil; q = c.readRequest() {
				c.Write(c.reply(q, m))
			}
		})
		command := map[packetType]string{typeAuthen: "authenticate alice AT -t pap", typeAuthor: "authorize alice AT", typeAcct: "account alice AT"}[typeOf(m)]
		for _, options := range []string{"-v -d", "--json -d"} {
			got := runWith(t, secretsInEnv, "", split(command+" "+options, "AT", s.addr)...)
			if strings.Contains(got.out+got.err, "the-key") || !strings.Contains(got.out, "FOLLOW") || !strings.Contains(got.out+got.err, "tac2@[redacted]") {
				t.Errorf("%s %s:\n%s%s", command, options, got.out, got.err)
			}
		}
	}
}

// TestDecodeKeyInReplies: the shared key is hidden where the server repeats it, in every type of reply.
func TestDecodeKeyInReplies(t *testing.T) {
	t.Parallel()
	const said = "the key is " + testKey
	tape := newCaptureBuilder()
	w := tape.openConn(deviceAddr, serverAddr, testKey)
	w.session(1, papStart("alice", testPassword), &authenReply{status: authenFail, serverMsg: said})
	w.session(2, showRun, &authorResponse{status: authorPassAdd, serverMsg: said, args: []string{"message=" + said, "priv-lvl=1"}})
	w.session(3, stopRecord, &acctReply{status: acctError, data: said})
	for options, shown := range map[string]bool{"": false, "-v -d": false, "--json -d": false, "-d --show-secrets": true} {
		got := decodeWith(t, tape.pcap(), options)
		if strings.Contains(got.out, testKey) || strings.Count(got.out, "the key is [redacted]") < 3 || strings.Contains(got.err, testKey) != shown {
			t.Errorf("%q:\n%s%s", options, got.out, got.err)
		}
	}
}
