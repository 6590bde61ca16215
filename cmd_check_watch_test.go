package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// watchedRounds runs a watch of tac1 and tac2 in a synctest bubble, which starts at midnight. A round is a word: a letter for each
// server, then the seconds that it takes. The letters: k OK, d no reply, r refused, w wrong key, n not TACACS+, p a login
// that passes, a and b an error with a wrong and a correct key, t a type that fails, x a wrong password that passes. After
// the last round comes Ctrl-C. room, if not 0, is the number of writes to stdout that succeed.
func watchedRounds(t *testing.T, opts checkOptions, out outputOptions, room int, words string) (stderr, stdout string, began []time.Duration, code exitCode) {
	var outBuf, errBuf bytes.Buffer
	inv := &invocation{command: command{name: "check"}, output: out, std: stdio{err: &errBuf, out: &outBuf}}
	if room > 0 {
		inv.std.out = &lastRoom{room}
	}
	inv.request.user = "al\x1bice"
	ctx, interrupt := context.WithCancel(t.Context())
	start := time.Now()
	rounds := strings.Fields(words)
	w := &watch{inv: inv, interval: opts.interval, count: opts.count, output: opts.output}
	result, err := w.run(ctx, func() *checkReport {
		began = append(began, time.Since(start))
		r := &checkReport{report: inv.newReport(), format: opts.format}
		n := len(began) - 1
		if n == len(rounds) {
			interrupt()
			return r
		}
		for i, letter := range rounds[n][:2] {
			r.Servers = append(r.Servers, serverCheckOf([]string{"tac1:49", "tac2:49"}[i], letter))
		}
		if seconds := rounds[n][2:]; seconds != "" {
			d, _ := time.ParseDuration(seconds + "s")
			time.Sleep(d)
		}
		r.setVerdict(ctx.Err() != nil)
		return r
	})
	inv.finish(result, err)
	return errBuf.String(), outBuf.String(), began, result.exit()
}

// serverCheckOf is the check of a server that is in the state of a letter of watchedRounds.
func serverCheckOf(name string, letter rune) *serverCheck {
	s := &serverCheck{Server: name, Timing: &timing{total: time.Millisecond}, Up: !strings.ContainsRune("drn", letter)}
	switch letter {
	case 'd':
		s.fail(failf(classNetwork, "no reply from %s", name), nagiosCritical)
	case 'r':
		s.fail(failf(classNetwork, "connect to %s", name), nagiosCritical)
	case 'w', 'n':
		s.fail(failf(classProtocol, "wrong key"), nagiosCritical)
	case 'p':
		s.Login = "PASS"
	case 'a', 'b':
		keyOK := letter == 'b'
		s.KeyOK = &keyOK
		s.fail(failf(classProtocol, "wrong key"), nagiosCritical)
	case 't':
		s.Types = map[string]string{"pap": "FAIL"}
	case 'x':
		s.WrongPassword = "PASS"
	}
	return s
}

// TestCheckWatch checks what check --interval prints, and when its rounds begin.
func TestCheckWatch(t *testing.T) {
	t.Parallel()
	const at = "2000-01-01T00:00:"
	for _, tt := range []struct {
		name, rounds   string
		count          int
		out            outputOptions
		began          string // seconds
		stdout, stderr string
		code           exitCode
	}{
		{"no change", "kk kk kk", 3, outputOptions{}, "0s 10s 20s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n",
			"tac1:49: OK in 3 of 3 rounds, 0 changes|tac2:49: OK in 3 of 3 rounds, 0 changes", 0},
		{"a change and back", "kk kd kr kk", 4, outputOptions{}, "0s 10s 20s 30s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n" +
			at + "10.000Z tac2:49: FAILED: no reply from tac2:49\n" + at + "30.000Z tac2:49: OK\n",
			"tac1:49: OK in 4 of 4 rounds, 0 changes|tac2:49: OK in 2 of 4 rounds, 2 changes", 0},
		{"the last round decides", "kk kw", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n" + at + "10.000Z tac2:49: FAILED: wrong key\n",
			"tac1:49: OK in 2 of 2 rounds, 0 changes|tac2:49: OK in 1 of 2 rounds, 1 change", classProtocol.exit()},
		{"another class, another login", "dk wp", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: FAILED: no reply from tac1:49\n" + at + "00.000Z tac2:49: OK\n" +
			at + "10.000Z tac1:49: FAILED: wrong key\n" + at + "10.000Z tac2:49: OK\n",
			"tac1:49: OK in 0 of 2 rounds, 1 change|tac2:49: OK in 2 of 2 rounds, 1 change", classProtocol.exit()},
		{"the same class, but down", "kw kn kn", 3, outputOptions{}, "0s 10s 20s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: FAILED: wrong key\n" + at + "10.000Z tac2:49: FAILED: wrong key\n",
			"tac1:49: OK in 3 of 3 rounds, 0 changes|tac2:49: OK in 0 of 3 rounds, 1 change", classProtocol.exit()},
		{"another key", "ka kb", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: FAILED: wrong key\n" + at + "10.000Z tac2:49: FAILED: wrong key\n",
			"tac1:49: OK in 2 of 2 rounds, 0 changes|tac2:49: OK in 0 of 2 rounds, 1 change", classProtocol.exit()},
		{"another type, another wrong password", "kk tx", 2, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n" + at + "10.000Z tac1:49: OK\n" + at + "10.000Z tac2:49: OK\n",
			"tac1:49: OK in 2 of 2 rounds, 1 change|tac2:49: OK in 2 of 2 rounds, 1 change", 0},
		{"rounds take time", "kk3 kk9 kk25 kk", 4, outputOptions{quiet: true}, "0s 10s 20s 45s", "", "", 0},
		{"one round", "dk", 1, outputOptions{quiet: true}, "0s", "", "", classNetwork.exit()},
		{"interrupted", "kk", 0, outputOptions{}, "0s 10s", at + "00.000Z tac1:49: OK\n" + at + "00.000Z tac2:49: OK\n",
			"tac1:49: OK in 1 of 1 round, 0 changes|tac2:49: OK in 1 of 1 round, 0 changes", classInterrupted.exit()},
		{"JSON", "kd", 1, outputOptions{json: true}, "0s", `{"time":"` + at + `00.000Z","command":"check","user":"al\\x1bice","server":"tac1:49","up":true}` + "\n" +
			`{"time":"` + at + `00.000Z","command":"check","user":"al\\x1bice","server":"tac2:49","up":false,"error":{"class":"network","message":"no reply from tac2:49"}}` + "\n",
			"tac1:49: OK in 1 of 1 round, 0 changes|tac2:49: OK in 0 of 1 round, 0 changes", classNetwork.exit()},
		{"verbose", "kp", 1, outputOptions{verbose: true}, "0s", at + "00.000Z tac1:49: OK\n  time: total 1ms\n" + at + "00.000Z tac2:49: OK\n  time: total 1ms\n  login: PASS\n",
			"tac1:49: OK in 1 of 1 round, 0 changes|tac2:49: OK in 1 of 1 round, 0 changes", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stderr, stdout, began, code := watchedRounds(t, checkOptions{interval: 10 * time.Second, count: tt.count}, tt.out, 0, tt.rounds)
				var times []string
				for _, b := range began {
					times = append(times, b.String())
				}
				want := ""
				for line := range strings.SplitSeq(tt.stderr, "|") {
					if line != "" {
						want += "tacacs_plus: " + line + "\n"
					}
				}
				if got := strings.Join(times, " "); got != tt.began || stdout != tt.stdout || stderr != want || code != tt.code {
					t.Errorf("rounds at %s, want %s; exit code %d, want %d\n%s%swant\n%s%s", got, tt.began, int(code), int(tt.code), stdout, stderr, tt.stdout, want)
				}
			})
		})
	}
}

// TestCheckWatchUnwritten: a failed write to stdout ends the watch. A file that cannot be written is reported once, and tried
// again.
func TestCheckWatchUnwritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stderr, _, began, code := watchedRounds(t, checkOptions{interval: time.Second}, outputOptions{}, 1, "kk kk dk kk")
		if code != classUsage.exit() || len(began) != 3 || !strings.HasSuffix(stderr, "tacacs_plus: write the result: no space left\n") {
			t.Errorf("%d rounds, %d: %s", len(began), int(code), stderr)
		}
	})
	dir := t.TempDir()
	missing := filepath.Join(dir, "folder", "file")
	for words, want := range map[string]int{"kk kk kk": 2, "kk kk kk kk": 2} {
		synctest.Test(t, func(t *testing.T) {
			opts := checkOptions{interval: time.Second, count: len(strings.Fields(words)), output: missing}
			stderr, _, _, code := watchedRounds(t, opts, outputOptions{}, 0, words)
			if n := strings.Count(stderr, "write the report: "); n != want || strings.Count(stderr, "; trying again\n") != 1 || code != classUsage.exit() {
				t.Errorf("%s: %d\n%s", words, int(code), stderr)
			}
		})
	}
	file := filepath.Join(dir, "file")
	synctest.Test(t, func(t *testing.T) {
		stderr, stdout, _, code := watchedRounds(t, checkOptions{interval: time.Second, count: 2, output: file, format: checkFormat{prometheus: true}}, outputOptions{quiet: true}, 0, "kk kd")
		text, err := os.ReadFile(file)
		if err != nil || stderr+stdout != "" || code != classNetwork.exit() || metrics(t, string(text))[`tacacs_up{server="tac2:49"}`] != "0" {
			t.Errorf("%v, %d %s%s%s", err, int(code), stderr, stdout, text)
		}
	})
}

// TestCheckInterval runs check --interval against real servers, and with options that it refuses.
func TestCheckInterval(t *testing.T) {
	t.Parallel()
	s, refused := serveWith(t), refusedAddr(t)
	got := runWith(t, secretsInEnv, "", "check", "alice", s.addr+","+refused, "--interval", "100ms", "--count", "3")
	got.check(t, classNetwork.exit(), `2\S+Z `+s.addr+`: OK\n2\S+Z `+refused+`: FAILED: connect to \S+: connection refused\n`,
		`tacacs_plus: `+s.addr+`: OK in 3 of 3 rounds, 0 changes\ntacacs_plus: `+refused+`: OK in 0 of 3 rounds, 0 changes\n`)
	s.stop()
	if n := strings.Count(s.log.String(), " alice authenticate ascii PASS"); n != 3 {
		t.Errorf("%d logins:\n%s", n, s.log)
	}
	for _, tt := range []struct{ options, err string }{
		{"--count 3", "--count goes with --interval only"},
		{"--interval 99ms", "--interval 99ms is below 100ms"},
		{"--interval 0", "option --interval: "},
		{"--interval 1 --count 0", "option --count: "},
		{"--interval 1 --prometheus", "--prometheus with --interval needs --output FILE"},
	} {
		got := runWith(t, secretsInEnv, "", split("check "+refused+" "+tt.options)...)
		if got.code != classUsage.exit() || !strings.Contains(got.err, tt.err) || got.out != "" {
			t.Errorf("%s: got %+v", tt.options, got)
		}
	}
	got = runWith(t, secretsInEnv, "", "check", refused, "--interval", "1", "--nagios")
	got.check(t, nagiosUnknown, `TACACS\+ UNKNOWN: --nagios and --interval exclude each other\n`, `tacacs_plus: --nagios and --interval exclude each other\n.*hint: .*\n`)
}
