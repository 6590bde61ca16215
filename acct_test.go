package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCompleteRecord(t *testing.T) {
	now := time.Date(2023, 11, 14, 23, 13, 20, 999_999_999, time.FixedZone("CET", 3600)) // 1700000000 in UTC
	for _, test := range []struct {
		name  string
		flags acctFlags
		args  string
		want  string
	}{
		{"start", acctStart, "service=shell cmd=",
			"task_id=id start_time=1700000000 timezone=UTC service=shell cmd="},
		{"stop", acctStop, "service=shell cmd=",
			"task_id=id stop_time=1700000000 timezone=UTC service=shell cmd="},
		{"watchdog", acctWatchdog, "service=shell cmd=",
			"task_id=id timezone=UTC service=shell cmd="},
		{"watchdog-update", acctWatchdogUpdate, "service=shell cmd=",
			"task_id=id timezone=UTC service=shell cmd="},
		{"no arguments", acctStart, "", "task_id=id start_time=1700000000 timezone=UTC"},

		// A given argument is kept, whichever separator it has.
		{"start with everything", acctStart, "timezone=CET start_time=5 task_id=7",
			"task_id=7 start_time=5 timezone=CET"},
		{"optional arguments", acctStart, "task_id*7 timezone*CET start_time*5",
			"task_id*7 start_time*5 timezone*CET"},
		{"stop with everything", acctStop, "elapsed_time=1 stop_time=9 start_time=5 task_id=7 timezone=CET",
			"task_id=7 start_time=5 stop_time=9 elapsed_time=1 timezone=CET"},

		// elapsed_time is computed if start_time and stop_time are valid.
		{"elapsed", acctStop, "start_time=1699999990", "task_id=id start_time=1699999990 stop_time=1700000000 elapsed_time=10 timezone=UTC"},
		{"elapsed with both given", acctStop, "start_time=5 stop_time=9", "task_id=id start_time=5 stop_time=9 elapsed_time=4 timezone=UTC"},
		{"elapsed zero", acctStop, "start_time=1700000000", "task_id=id start_time=1700000000 stop_time=1700000000 elapsed_time=0 timezone=UTC"},
		{"start in the future", acctStop, "start_time=1700000001", "task_id=id start_time=1700000001 stop_time=1700000000 timezone=UTC"},
		{"start_time is not a number", acctStop, "start_time=noon", "task_id=id start_time=noon stop_time=1700000000 timezone=UTC"},
		{"stop_time is not a number", acctStop, "start_time=5 stop_time=noon", "task_id=id start_time=5 stop_time=noon timezone=UTC"},
		{"no elapsed before the end", acctWatchdog, "start_time=5", "task_id=id start_time=5 timezone=UTC"},

		// Section 8.3: accounting arguments come first, and the others keep their order.
		{"order", acctStop, "service=shell bytes=3 cmd=show cmd-arg=b err_msg=none cmd-arg=a reason=x priv-lvl=1 start_time=1700000000",
			"task_id=id start_time=1700000000 stop_time=1700000000 elapsed_time=0 timezone=UTC reason=x bytes=3 err_msg=none" +
				" service=shell cmd=show cmd-arg=b cmd-arg=a priv-lvl=1"},
		{"all of the accounting arguments", acctWatchdog, "err_msg=e paks_out=6 paks_in=5 paks=4 bytes_out=3 bytes_in=2 bytes=1 reason=r event=v" +
			" timezone=z elapsed_time=3 stop_time=2 start_time=1 task_id=t service=system",
			"task_id=t start_time=1 stop_time=2 elapsed_time=3 timezone=z event=v reason=r bytes=1 bytes_in=2 bytes_out=3" +
				" paks=4 paks_in=5 paks_out=6 err_msg=e service=system"},
		// Many, since even an unstable sort keeps the order of a few.
		{"one name many times", acctWatchdog, "reason=" + strings.Join(strings.Split("qwertyuiopasdfghjklzxcvbnm", ""), " reason="),
			"task_id=id timezone=UTC reason=" + strings.Join(strings.Split("qwertyuiopasdfghjklzxcvbnm", ""), " reason=")},
		{"one name twice", acctWatchdog, "reason=b cmd-arg=2 reason=a cmd-arg=1", "task_id=id timezone=UTC reason=b reason=a cmd-arg=2 cmd-arg=1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			args := strings.Fields(test.args)
			equal(t, strings.Join(completeRecord(test.flags, args, "id", now), " "), test.want)
			// The stop record of --exec uses the same arguments, so they must not change.
			equal(t, strings.Join(args, " "), test.args, "arguments changed")
		})
	}
}

func TestArgValue(t *testing.T) {
	args := []string{"malformed", "task_id*7", "task_id=8", "cmd=a=b", "reason="}
	for name, want := range map[string]string{"task_id": "7", "cmd": "a=b", "reason": "", "event": "", "malformed": "", "": ""} {
		equal(t, argValue(args, name), want, name)
	}
}

func TestAcctFlagsSet(t *testing.T) {
	for s, want := range map[string]acctFlags{
		"start": 0x02, "stop": 0x04, "watchdog": 0x08, "watchdog-update": 0x0a, "Start": 0x02,
		"update": 0x08, // the Python client's name for a watchdog
	} {
		var got acctFlags
		if err := got.Set(s); err != nil || got != want {
			t.Errorf("%s: got %#02x, %v, want %#02x", s, uint8(got), err, uint8(want))
		}
	}
	for _, s := range []string{"", "more", "2", "0x02"} {
		got := acctStop
		if err := got.Set(s); err == nil || got != acctStop {
			t.Errorf("%q: got %s, %v, want an error and no change", s, got, err)
		}
	}
}

// TestExecInterrupted: an interruption while a command runs does not prevent its stop record.
func TestExecInterrupted(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	ctx, interrupt := context.WithTimeout(t.Context(), patience)
	defer interrupt()
	in, input := io.Pipe()
	ready := writerFunc(func([]byte) { interrupt(); go input.Close() })
	var err bytes.Buffer
	code := run(ctx, []string{"account", "alice", s.addr, "--exec", "--", "sh", "-c", "echo ready; read x; exit 3"},
		stdio{in: in, out: ready, err: &err, env: func(name string) string { return secretsInEnv[name] }})
	if log := s.log.String(); code != 3 || err.Len() > 0 || !regexp.MustCompile(` stop .*"err_msg=exit status 3".* SUCCESS\n`).MatchString(log) {
		t.Errorf("got %d %q, and the server log\n%s", code, err.String(), log)
	}
}

// TestAccountTaskIDWithoutAnswer: the result of a record without a reply has the task_id, so that the user
// can find it on the server or send it again.
func TestAccountTaskIDWithoutAnswer(t *testing.T) {
	t.Parallel()
	closing := startFakeServer(t, func(c *fakeServerConn) { c.readRequest() }).addr
	for _, tt := range []struct {
		name, addr, options string
		code                exitCode
		taskID              string
	}{
		{"refused", refusedAddr(t), "--task-id 7", 4, "7"},
		{"no reply", closing, "--task-id 7", 4, "7"},
		{"no reply, no task_id given", closing, "", 4, "[0-9a-f]{16}"},
		{"no reply, task_id as an argument", closing, "task_id=8 service=shell", 4, "8"},
		{"no reply of the second", refusedAddr(t) + "," + closing, "--task-id 7", 4, "7"},
		{"wrong key", serveWith(t, "--fault", "wrong-key").addr, "--task-id 7", 5, "7"},
		{"ERROR", serveWith(t, "--fault", "error").addr, "--task-id 7", 3, "7"},
	} {
		got := runWith(t, secretsInEnv, "", append([]string{"account", "alice", tt.addr, "--json"}, split(tt.options)...)...)
		list := answers(t, got.out)
		if got.code != tt.code || len(list) != 1 || !regexp.MustCompile("^"+tt.taskID+"$").MatchString(list[0].TaskID) {
			t.Errorf("%s: got %+v", tt.name, got)
		}
		got = runWith(t, secretsInEnv, "", append([]string{"account", "alice", tt.addr}, split(tt.options)...)...)
		if lost := strings.HasPrefix(tt.name, "no reply"); lost != regexp.MustCompile("hint: look for task_id="+tt.taskID+" in the server's log; ").MatchString(got.err) {
			t.Errorf("%s: got %+v", tt.name, got)
		}
	}
}

// TestExecUnclearStart: a start record without a reply may be written, so a stop record follows.
func TestExecUnclearStart(t *testing.T) {
	t.Parallel()
	addr, records := acctServer(t, "close", "success")
	got := runWith(t, secretsInEnv, "", split("account alice "+addr+" --exec -- echo ran")...)
	start, stop := <-records, <-records
	id := argValue(start.args, "task_id")
	if got.code != 125 || got.out != "" || !strings.Contains(got.err, "hint: look for task_id="+id+" in the server's log; ") {
		t.Errorf("got %+v", got)
	}
	if stop.flags != acctStop || argValue(stop.args, "task_id") != id || argValue(stop.args, "start_time") != argValue(start.args, "start_time") || argValue(stop.args, "err_msg") != notStarted {
		t.Errorf("recorded %q, then %q", start.args, stop.args)
	}
	addr, records = acctServer(t, "close", "silent")
	stopping := make(chan struct{})
	go func() { <-records; <-records; close(stopping) }()
	runUntil(t, stopping, "account alice AT --timeout 1 --exec -- echo ran", "AT", addr).
		check(t, 130, ``, `tacacs_plus: the start record was not confirmed, the command was not run: interrupted\n`)
}

func TestNewTaskID(t *testing.T) {
	opaque := regexp.MustCompile(`^[0-9a-f]{16}$`)
	seen := make(map[string]bool)
	for range 1000 {
		id := newTaskID()
		if !opaque.MatchString(id) {
			t.Fatalf("got %s, want 16 hexadecimal digits", id)
		}
		if seen[id] {
			t.Fatalf("got %s twice, want unique ones", id)
		}
		seen[id] = true
	}
}

// TestAccountArgs: a record has a service and one task_id, and the task_id is printed.
func TestAccountArgs(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ options, sent, id string }{
		{"-c cmd=show", "service=shell cmd=show", ""},
		{"cmd*show cmd-arg=version", "service=shell cmd*show cmd-arg=version", ""},
		{"event=sys_acct", "event=sys_acct service=system", ""},
		{"event*clock_change service*system", "event*clock_change service*system", ""},
		{"service*ppp protocol=ip", "service*ppp protocol=ip", ""},
		{"--task-id 7", "service=shell cmd=", "7"},
		{"task_id*8 addr=1", "service=shell cmd= addr=1", "8"},
		{"-f stop --task-id 7", "service=shell cmd=", "7"},
		{"-f stop", "service=shell cmd=", ""},
		{"-f watchdog-update --no-warn no-task-id cmd=show", "service=shell cmd=show", ""},
	} {
		addr, records := acctServer(t, "success")
		got := runWith(t, secretsInEnv, "", split("account alice "+addr+" "+tt.options)...)
		request := <-records
		id := argValue(request.args, "task_id")
		if got.code != 0 || got.out != "SUCCESS task_id="+id+"\n" || got.err != "" || id == "" || tt.id != "" && id != tt.id {
			t.Errorf("%s: got %+v for %q", tt.options, got, request.args)
		}
		args := slices.DeleteFunc(request.args, func(arg string) bool {
			name, _, _, _ := splitArg(arg)
			return name == "task_id" || name == "start_time" || name == "stop_time" || name == "timezone"
		})
		if sent := strings.Join(args, " "); sent != tt.sent {
			t.Errorf("%s: sent %s, want %s", tt.options, sent, tt.sent)
		}
	}
}

// program writes an executable file. Nothing forks meanwhile: a child that still has the file cannot run it.
func program(t *testing.T, text string) string {
	t.Helper()
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	file := filepath.Join(writeFiles(t, map[string]string{"program": text}), "program")
	must(t, os.Chmod(file, 0o700))
	return file
}

// TestExecCodes: the exit codes other than the command's, and the records.
func TestExecCodes(t *testing.T) {
	t.Parallel()
	text := filepath.Join(writeFiles(t, map[string]string{"text": "text\n"}), "text")
	broken := program(t, "\x00 is no program\n")
	for _, tt := range []struct {
		name    string
		words   []string
		command string
		code    exitCode
		err     string // a regular expression
	}{
		{"not found", nil, "no-such-program-anywhere", 127, `tacacs_plus: exec: "no-such-program-anywhere": executable file not found in \$PATH\n`},
		{"no such file", nil, "/no/such/program", 127, `tacacs_plus: exec: "/no/such/program": .*no such file or directory\n`},
		{"no program", nil, text, 126, `tacacs_plus: exec: .*: permission denied\n`},
		{"a folder", nil, filepath.Dir(text), 126, `tacacs_plus: exec: .*: is a directory\n`},
		{"cannot be run", []string{"success", "success"}, broken, 126, `tacacs_plus: run .*: exec format error\n`},
		{"no interpreter", []string{"success", "success"}, program(t, "#!/no/such/interpreter\n"), 126, `tacacs_plus: run .*: .*no such file or directory\n`},
		{"start not confirmed", []string{"close", "success"}, "echo", 125, `tacacs_plus: the start record was not confirmed, the command was not run: \S+ closed the connection before it answered\n`},
		{"start answered with ERROR", []string{"record-error"}, "echo", 125, `tacacs_plus: the start record was not confirmed, the command was not run: \S+ answered ERROR\n`},
		{"start refused", []string{"follow"}, "echo", 125, `tacacs_plus: the start record was not confirmed, the command was not run: \S+ answered FOLLOW\n`},
		{"stop not confirmed", []string{"success", "close"}, "false", 125, `tacacs_plus: the stop record was not confirmed, the command ran: exit status 1: \S+ closed the connection before it answered\n`},
		{"stop refused", []string{"success", "follow"}, "true", 125, `tacacs_plus: the stop record was not confirmed, the command ran: exit status 0: \S+ answered FOLLOW\n`},
		{"cannot be run, and stop not confirmed", []string{"success", "close"}, broken, 125, `tacacs_plus: the stop record was not confirmed, the command was not started: .*\n`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			for _, asJSON := range []bool{false, true} {
				addr, records := acctServer(t, tt.words...)
				line := "account alice " + addr + " -q --exec -- " + tt.command
				if asJSON {
					line = "account alice " + addr + " --json --exec -- " + tt.command
				}
				got := runWith(t, secretsInEnv, "", split(line)...)
				waitUntil(t, "all records have arrived", func() bool { return len(records) == len(tt.words) })
				if tt.code == 126 && len(tt.words) == 2 {
					<-records
					equal(t, argValue((<-records).args, "err_msg"), "not started")
				}
				if !asJSON {
					got.err, _, _ = strings.Cut(got.err, "tacacs_plus: hint: ")
					got.check(t, tt.code, "", tt.err)
					continue
				}
				var last result
				objects := strings.Split(strings.TrimSpace(got.out+got.err), "\n")
				for _, object := range objects {
					if object[0] == '{' {
						last = result{}
						must(t, json.Unmarshal([]byte(object), &last))
					}
				}
				if got.code != tt.code || last.ExitCode != tt.code || last.Granted || last.Error == nil {
					t.Errorf("got %+v", got)
				}
			}
		})
	}
}

// TestExecTimes: elapsed_time does not include the time of the start record, and both records have the
// same start_time.
func TestExecTimes(t *testing.T) {
	t.Parallel()
	addr, records := acctServer(t, "late success", "success")
	runWith(t, secretsInEnv, "", "account", "alice", addr, "--exec", "--", "true").check(t, 0, "", "")
	start, stop := <-records, <-records
	equal(t, argValue(stop.args, "elapsed_time"), "0", "elapsed_time")
	for _, name := range []string{"start_time", "task_id"} {
		if a, b := argValue(start.args, name), argValue(stop.args, name); a != b || a == "" {
			t.Errorf("%s=%s, then %s", name, a, b)
		}
	}

	addr, records = acctServer(t, "success", "success")
	runWith(t, secretsInEnv, "", "account", "alice", addr, "--exec", "--", "sleep", "1.1").check(t, 0, "", "")
	<-records
	if stop = <-records; argValue(stop.args, "elapsed_time") != "1" {
		t.Errorf("after 1.1 s: %q", stop.args)
	}
}

// TestExecSameServer: the stop record is sent first to the server that accepted the start record.
func TestExecSameServer(t *testing.T) {
	t.Parallel()
	for _, options := range []string{"", " --retries 2"} {
		first, missed := acctServer(t, "record-error", "success")
		second, records := acctServer(t, "success", "record-error", "success")
		got := runWith(t, secretsInEnv, "", split("account alice "+first+","+second+options+" --exec -- true")...)
		got.check(t, 0, "", `tacacs_plus: warning: .*; trying `+second+`\ntacacs_plus: warning: .*; trying `+first+`\n`)
		waitUntil(t, "each server has two records", func() bool { return len(missed) == 2 && len(records) == 2 })
	}
}

// TestExecInterruptedAtStart: after a signal during the start record the command is not run, and the stop
// record reports that.
func TestExecInterruptedAtStart(t *testing.T) {
	t.Parallel()
	addr, records := acctServer(t, "success", "success")
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var out, err bytes.Buffer
	shown := writerFunc(func(text []byte) { interrupt(); err.Write(text) })
	code := run(ctx, split("account alice "+addr+" --json --exec -- echo ran"),
		stdio{out: &out, err: shown, env: func(name string) string { return secretsInEnv[name] }})
	if code != classInterrupted.exit() || out.Len() > 0 || !strings.HasSuffix(err.String(), "tacacs_plus: interrupted\n") {
		t.Errorf("got %d %q %q", code, out.String(), err.String())
	}
	<-records
	if stop := <-records; argValue(stop.args, "err_msg") != "not started" {
		t.Errorf("recorded %q", stop.args)
	}
}

// TestAccountOtherMinorVersion: a record or a password change that a server confirmed with the other minor version is an
// error, and is not sent to the next server. A record that was not confirmed is.
func TestAccountOtherMinorVersion(t *testing.T) {
	t.Parallel()
	const hint = "hint: do not send it again: the server replied with success; report the minor version to its vendor \\(RFC 8907 section 5.4.1\\)\n"
	const version = `tacacs_plus: the reply of \S+ has version 0xc.1, not 0xc.0\ntacacs_plus: `
	for _, options := range []string{"", "--single-connect"} {
		first, next := serveWith(t, "--fault", "minor-version"), serveWith(t)
		for _, line := range []string{"account alice AT", "account alice AT -f stop --task-id 7", "account alice AT --retries 2"} {
			got := runWith(t, secretsInEnv, "", split(line+" "+options, "AT", first.addr+","+next.addr)...)
			got.check(t, classProtocol.exit(), ``, version+hint)
		}
		got := runWith(t, secretsInEnv, requests(3, acctLine), "batch", first.addr+","+next.addr)
		got.check(t, classProtocol.exit(), `(?s).*`, "tacacs_plus: 3 requests, 3 protocol\n")
		if log := next.lines(t); log != "" {
			t.Errorf("the next server got %s", log)
		}
	}
	answering := func(last message) string {
		return startFakeServer(t, func(c *fakeServerConn) {
			for q := range c.requests {
				if q.typ == typeAcct || q.continues != nil {
					q.version ^= 1
					c.Write(c.reply(q, last))
					continue
				}
				c.Write(c.reply(q, &authenReply{status: authenGetPass}))
			}
		}).addr
	}
	for _, tt := range []struct {
		line  string
		reply message
		code  exitCode
		asked string // by the next server
	}{
		{"account alice AT", &acctReply{status: acctError}, classGranted.exit(), "alice account start .*SUCCESS\n"},
		{"account alice AT", &acctReply{status: acctSuccess}, classProtocol.exit(), ""},
		{"chpass alice AT --new-password-file NEW", &authenReply{status: authenPass}, classProtocol.exit(), ""},
		{"authenticate alice AT", &authenReply{status: authenPass}, classGranted.exit(), "alice authenticate ascii PASS\n"},
		{"chpass alice AT --new-password-file NEW", &authenReply{status: authenFail}, classGranted.exit(), "alice chpass ascii PASS: Password changed\n"},
	} {
		next := serveWith(t)
		file := filepath.Join(writeFiles(t, map[string]string{"new": "another"}), "new")
		got := runWith(t, secretsInEnv, "", split(tt.line, "AT", answering(tt.reply)+","+next.addr, "NEW", file)...)
		log := next.lines(t)
		if got.code != tt.code || !regexp.MustCompile("^(?:"+tt.asked+")$").MatchString(log) {
			t.Errorf("%s %v: got %+v, the next server got %s", tt.line, tt.reply, got, log)
		}
	}
}
