package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestRedact covers what is replaced, and what is no secret.
func TestRedact(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ text, secrets, want string }{
		{"wrong: hunter2", "hunter2", "wrong: [redacted]"},
		{"xhunter2x, HUNTER2", "hunter2", "x[redacted]x, HUNTER2"},
		{"hunter2hunter2 hunter2", "hunter2", "[redacted] [redacted]"},
		{"hunter2new", "hunter2 hunter2new", "[redacted]"},
		{"ababababab.", "abababab", "[redacted]."},
		{"\x00\xffsecret\x1b", "\xffsecret", "\x00[redacted]\x1b"},
		{"a man, a plan", "a", "a man, a plan"},
		{"abc", "abc", "abc"},
		{"the latest test, test1, 1test, étest, testé, test", "test", "the latest [redacted], test1, 1test, étest, testé, [redacted]"},
		{"5678 in 56780, \"5678\"", "5678", "[redacted] in 56780, \"[redacted]\""},
		{"abcdef-abcde-abcdex-abcde", "abcde", "abcdef-[redacted]-abcdex-[redacted]"},
		{"abcdefg", "abcdef", "[redacted]g"},
		{"", "hunter2", ""},
		{"nothing", "", "nothing"},
	} {
		if got := redact(tt.text, strings.Split(tt.secrets, " ")); got != tt.want {
			t.Errorf("%q without %q is %q, not %q", tt.text, tt.secrets, got, tt.want)
		}
	}
}

// TestRedactServerText: no output shows a secret that a server repeats. Q occurs nowhere else.
func TestRedactServerText(t *testing.T) {
	t.Parallel()
	const password, fresh, other = "QaQbQc", "QdQeQf", "QgQhQi"
	texts := strings.Join([]string{"you said", password, fresh, other, testKey}, " ")
	reply := func(s authenStatus) *authenReply {
		return &authenReply{status: s, serverMsg: texts, data: "see " + texts}
	}
	all := []message{reply(authenGetPass), reply(authenGetData), reply(authenGetData), reply(authenFail)}
	dir := writeFiles(t, map[string]string{"new": fresh + "\n", "key": testKey + "\n"})
	for _, tt := range []struct {
		line    string
		replies []message
	}{
		{"authenticate alice AT -t pap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenPass)}},
		{"authenticate alice AT -t pap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenFollow)}},
		{"authenticate alice AT -t chap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenError)}},
		{"authenticate alice AT --password QgQhQi --answer QaQbQc --answer QdQeQf", all},
		{"authenticate alice AT --password QgQhQi --answer QaQbQc --answer QdQeQf", append(all[:3:3], reply(authenGetData))},
		{"authenticate alice AT --password QgQhQi --answer QaQbQc --answer QdQeQf", append(all[:3:3], reply(authenGetPass))},
		{"enable alice AT -t pap --password QgQhQi --answer QaQbQc --answer QdQeQf", []message{reply(authenRestart)}},
		{"chpass alice AT --password QgQhQi --new-password-file DIR/new --answer QaQbQc", []message{all[0], all[1], all[2], all[3]}},
		{"bench alice AT -n 1 -t pap --password QgQhQi", []message{&authenReply{status: authenFail, serverMsg: "QgQhQi"}}},
		{"authorize alice AT", []message{&authorResponse{status: authorPassRepl, args: []string{"service=shell", "secret=" + testKey}, serverMsg: testKey, data: testKey}}},
		{"account alice AT", []message{&acctReply{status: acctSuccess, serverMsg: testKey, data: testKey}}},
	} {
		for _, form := range []string{"", " -v", " --json", " -d", " -d -v"} {
			server := newScriptServer(t, testKey, tt.replies...)
			got := runWith(t, nil, "", split(tt.line+form+" --key-file DIR/key", "AT", server.addr, "DIR", dir)...)
			shown := got.out + got.err
			if strings.Contains(shown, "Q") || strings.Contains(shown, " 51 ") || strings.Contains(shown, testKey) {
				t.Errorf("%s%s shows\n%s", tt.line, form, shown)
			}
			if command, _, _ := strings.Cut(tt.line, " "); command != "bench" && !strings.Contains(shown, "[redacted]") {
				t.Errorf("%s%s hides all:\n%s", tt.line, form, shown)
			}
		}
	}
	many := startFakeServer(t, func(c *fakeServerConn) {
		for q := c.readRequest(); q != nil; q = c.readRequest() {
			c.Write(c.reply(q, reply(authenError)))
		}
	})
	got := runWith(t, nil, "", split("check alice AT --types --password QaQbQc --key-file DIR/key --json", "AT", many.addr, "DIR", dir)...)
	if strings.Contains(got.out, password) || strings.Contains(got.out, testKey) || !strings.Contains(got.out, "[redacted]") {
		t.Errorf("check shows %+v", got)
	}
	// The requests of a batch have secrets of their own.
	server := newScriptServer(t, testKey, reply(authenPass))
	request, _ := json.Marshal(map[string]any{"command": "authenticate", "user": "alice", "authen_type": "pap", "password": password, "answers": []string{fresh, other}})
	if got := runWith(t, nil, string(request)+"\n", "batch", server.addr, "--key-file", dir+"/key"); strings.Contains(got.out, "Q") ||
		!strings.Contains(got.out, `"server_msg":"you said [redacted] [redacted] [redacted] [redacted]"`) {
		t.Errorf("batch shows %+v", got)
	}
	// A password that is a part of the user's name is told by a gap in it, not by the name.
	server = newScriptServer(t, testKey, &authenReply{status: authenFail, serverMsg: "no user alice-1"})
	got = runWith(t, nil, "", split("authenticate alice-1 AT -t pap --password alice --key-file DIR/key", "AT", server.addr, "DIR", dir)...)
	if got.out != "FAIL: no user alice-1\n" {
		t.Errorf("got %+v", got)
	}
}
