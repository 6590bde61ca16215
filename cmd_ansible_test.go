package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ansibleFile writes the file that Ansible passes to a module, a task with Ansible's own parameters, and returns its
// name.
func ansibleFile(t *testing.T, task string) (name string) {
	t.Helper()
	internal := `{"_ansible_check_mode": false, "_ansible_no_log": true, "_ansible_verbosity": 0, "_ansible_version": "2.14.18", "_ansible_tmpdir": null, `
	return filepath.Join(writeFiles(t, map[string]string{"args": internal + strings.TrimPrefix(task, "{")}), "args")
}

// A taskAnswer is the answer to Ansible: the raw output, and the fields of every module.
type taskAnswer struct {
	runResult
	all                      map[string]any
	Changed, Failed, Skipped bool
	Msg, Status              string
	Warnings                 []string
	Answers                  []result
	Error                    problem
}

// play runs the program as Ansible does. LOGIN is replaced by the parameters of a login of alice.
func play(t *testing.T, task string, pairs ...string) (got taskAnswer) {
	t.Helper()
	pairs = append([]string{"LOGIN", `"user": "alice", "host": "AT", KEY, PASSWORD`}, pairs...)
	for range 2 {
		task = strings.NewReplacer(append(pairs, "KEY", `"key": "`+testKey+`"`, "PASSWORD", `"password": "`+testPassword+`"`)...).Replace(task)
	}
	got.runResult = runWith(t, nil, "", ansibleFile(t, task))
	if strings.Count(got.out, "\n") != 1 || got.err != "" {
		t.Fatalf("%s: not one line: %+v", task, got.runResult)
	}
	for _, v := range []any{&got, &got.all} {
		if err := json.Unmarshal([]byte(got.out), v); err != nil {
			t.Fatalf("%s: %v in %s", task, err, got.out)
		}
	}
	for _, field := range []string{"changed", "failed", "msg"} {
		if got.all[field] == nil {
			t.Errorf("%s: no %s in %s", task, field, got.out)
		}
	}
	for field, value := range got.all {
		if value == nil {
			t.Errorf("%s: %s is null", task, field)
		}
	}
	if exit, ok := got.all["exit_code"]; ok && exit != float64(got.code) {
		t.Errorf("%s: exit_code is %v, but the exit code is %d", task, exit, got.code)
	}
	if got.Failed != (got.code != classGranted.exit()) {
		t.Errorf("%s: exit code %d, failed %t", task, got.code, got.Failed)
	}
	for _, secret := range []string{testKey, testPassword, "s3cret"} {
		if strings.Contains(got.out, secret) {
			t.Errorf("%s: the answer shows %q: %s", task, secret, got.out)
		}
	}
	return got
}

// TestAnsible runs every command as a task.
func TestAnsible(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--permit", "^show|^service=ppp", "--deny", ".", "--user", "quoted:0123", "--user", "café:😀\ufffd")
	other := serveWith(t)
	dir := filepath.ToSlash(writeFiles(t, map[string]string{"key": testKey + "\n", "rules": "show version\nreload\nreboot\n", "rule": "show version\n", "twice": "show version\nshow clock\n"}))
	for _, tt := range []struct {
		task    string
		code    exitCode
		changed bool
		status  string
		msg     string // a regular expression
	}{
		{`{"command": "authenticate", LOGIN}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "authen_type": "pap", LOGIN}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "authen-type": "chap", "chap_id": 7, "timeout": 2.5, "priv-lvl": "1", LOGIN}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "t": "pap", "u": "alice", "H": "AT", "4": true, KEY, PASSWORD}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "user": "", "answer": ["alice"], "host": "AT", KEY, PASSWORD}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "user": "", "answer": "alice", "host": "AT", KEY, PASSWORD}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "user": "caf\u00e9", "host": "AT", KEY, "password": "\ud83d\ude00\ufffd"}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "user": "quoted", "host": "AT", KEY, "password": "0123"}`, 0, false, "PASS", `PASS`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": "wrong", "authen_type": "pap"}`, 1, false, "FAIL", `FAIL: Login incorrect; hint: see the server.*`},
		{`{"command": "enable", LOGIN}`, 0, false, "PASS", `PASS`},
		{`{"command": "authorize", "user": "alice", "host": "AT", KEY}`, 0, false, "PASS_ADD", `PASS_ADD\n  priv-lvl=15`},
		{`{"command": "authorize", "user": "alice", "host": "AT", KEY, "args": ["service=shell", "cmd=show", "cmd-arg=version"]}`, 0, false, "PASS_ADD", `PASS_ADD`},
		{`{"command": "authorize", "user": "alice", "host": "AT", KEY, "cmds": ["service=shell", "cmd=reload"]}`, 1, false, "FAIL", `FAIL: command not permitted`},
		{`{"command": "authorize", "user": "alice", "host": "AT", KEY, "cmd": "show version", "args": []}`, 0, false, "PASS_ADD", `PASS_ADD`},
		{`{"command": "authorize", "user": "alice", "host": "AT", KEY, "args": "service=ppp"}`, 0, false, "PASS_ADD", `PASS_ADD`},
		{`{"command": "authorize", "user": "alice", "host": "AT", "key_file": ["DIR/key"], "cmd_file": "DIR/rule"}`, 0, false, "PASS_ADD", `exit code 0`},
		{`{"command": "account", "user": "alice", "host": "AT", KEY, "flag": "start", "task_id": "7", "source": null, "json": true}`, 0, true, "SUCCESS", `SUCCESS task_id=7`},
		{`{"command": "account", "user": "alice", "host": "AT", KEY, "args": ["service=shell", "cmd=show", "task_id=8"]}`, 0, true, "SUCCESS", `SUCCESS task_id=8`},
		{`{"command": "account", "user": "alice", "host": "127.0.0.1:1", KEY}`, 4, false, "", `connect to 127.0.0.1:1: .*`},
		{`{"command": "check", "host": "AT,AT", KEY}`, 0, false, "", `(?s)127.0.0.1:\d+: OK\n.*`},
		{`{"command": "check", "host": "AT,OTHER", KEY}`, 0, false, "", `2/2 up`},
		{`{"command": "check", "host": "AT,127.0.0.1:1", KEY, "tls": "no"}`, 4, false, "", `1/2 failed: connect to 127.0.0.1:1: .*`},
		{`{"command": "check", LOGIN, "types": "Yes", "negative": 1}`, 0, false, "", `(?s).*type mschapv2: PASS\n.*wrong password: denied`},
		{`{"command": "check", LOGIN, "types": "y", "negative": "T", "4": "on", "6": "N", "tls": "F"}`, 0, false, "", `(?s).*type mschapv2: PASS\n.*wrong password: denied`},
		{`{"command": "version"}`, 0, false, "", `tacacs_plus .*`},
	} {
		t.Run(tt.task, func(t *testing.T) {
			t.Parallel()
			got := play(t, tt.task, "AT", s.addr, "OTHER", other.addr, "DIR", dir)
			if got.code != tt.code || got.Changed != tt.changed || got.Status != tt.status || got.Skipped ||
				!regexp.MustCompile(`^(?:`+tt.msg+`)$`).MatchString(got.Msg) {
				t.Errorf("got %d, %s", got.code, got.out)
			}
		})
	}
	t.Run("several answers", func(t *testing.T) {
		t.Parallel()
		for task, want := range map[string]struct {
			code    exitCode
			granted string
			msg     string
		}{
			`"command": "authorize", "cmd_file": "DIR/rules", "host": "AT"`:        {1, "true false false", `2/3 not granted: AT: FAIL: command not permitted`},
			`"command": "authorize", "cmd_file": "DIR/twice", "host": "AT"`:        {0, "true true", "2/2 granted"},
			`"command": "enable", PASSWORD, "all": true, "host": "127.0.0.1:1,AT"`: {4, "false true", `1/2 not granted: connect to 127.0.0.1:1: .*`},
		} {
			got := play(t, `{"user": "alice", KEY, `+task+`}`, "AT", s.addr, "DIR", dir)
			var granted []string
			for _, answer := range got.Answers {
				granted = append(granted, strconv.FormatBool(answer.Granted))
			}
			msg := "^" + strings.ReplaceAll(want.msg, "AT", s.addr) + "$"
			if got.code != want.code || strings.Join(granted, " ") != want.granted || !regexp.MustCompile(msg).MatchString(got.Msg) {
				t.Errorf("%s: got %d, %s", task, got.code, got.out)
			}
		}
	})
}

// TestAnsibleErrors: an invalid task has one clear message, and nothing is sent.
func TestAnsibleErrors(t *testing.T) {
	t.Parallel()
	l := listen(t)
	for _, tt := range []struct{ task, msg string }{
		{`{"user": "alice"}`, `a command is missing; hint: name a command.*`},
		{`{"command": null}`, `a command is missing; hint: .*`},
		{`{"command": ["check"]}`, `command is a list, not a string`},
		{`{"command": "--exec"}`, `unknown command "--exec"; hint: .*`},
		{`{"command": "authorise", LOGIN}`, `unknown command "authorise"; hint: did you mean authorize\?`},
		{`{"command": "batch", "host": "AT", KEY}`, `the command batch does not work under Ansible, .*`},
		{`{"command": "bench", LOGIN}`, `the command bench does not work under Ansible, .*`},
		{`{"command": "serve"}`, `the command serve does not work under Ansible, .*`},
		{`{"command": "help"}`, `the command help does not work under Ansible, .*`},
		{`{"command": "authenticate", "host": "AT", KEY}`, `USER is missing; hint: usage: tacacs_plus authenticate USER HOST`},
		{`{"command": "authenticate", "user": "alice", KEY, PASSWORD}`, `HOST is missing; hint: .*`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", PASSWORD}`, `no key: no terminal to ask for it; hint: .*`},
		{`{"command": "authenticate", LOGIN, "args": ["x"]}`, `unexpected argument "x"; hint: .*`},
		{`{"command": "authenticate", LOGIN, "timeuot": 3}`, `unknown option --timeuot; hint: did you mean --timeout\?`},
		{`{"command": "authenticate", LOGIN, "require": "a=b"}`, `unknown option --require; hint: it is an option of authorize, login`},
		{`{"command": "authenticate", LOGIN, "new_password": "s3cret"}`, `unknown option --new_password; hint: it is an option of chpass`},
		{`{"command": "authenticate", LOGIN, "passwords3cret": "s3cret"}`, `unknown option --password...; hint: .*`},
		{`{"command": "authenticate", LOGIN, "": "s3cret"}`, `unknown option --; hint: .*`},
		{`{"command": "authenticate", LOGIN, "key=x": "s3cret"}`, `unknown option --key.*`},
		{`{"command": "authenticate", LOGIN, "\u001b": true}`, `unknown option --\\x1b; hint: .*`},
		{`{"command": "authenticate", LOGIN, "help": true}`, `unknown option --help; hint: .*`},
		{`{"command": "authenticate", LOGIN, "username": "bob"}`, `user and username are the same option`},
		{`{"command": "authenticate", LOGIN, "authen_type": "pap", "authen-type": "pap"}`, `authen-type and authen_type are the same option`},
		{`{"command": "authenticate", LOGIN, "port": "s3cret"}`, `option --port: its value must be 1 to 65535`},
		{`{"command": "authenticate", LOGIN, "port": 4.9}`, `option --port: "4.9" must be 1 to 65535`},
		{`{"command": "authenticate", LOGIN, "port": true}`, `port is true or false, not a string; hint: .*`},
		{`{"command": "authenticate", LOGIN, "authen_type": "papp"}`, `option --authen-type: "papp" .*`},
		{`{"command": "authenticate", LOGIN, "tls": "s3cret"}`, `tls must be true or false`},
		{`{"command": "authenticate", LOGIN, "tls": [true]}`, `tls must be true or false`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": 83}`, `password is a number, not a string; hint: put it in quotes, or YAML may change it`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": true}`, `password is true or false, not a string; hint: put it in quotes, .*`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": ["s3cret"]}`, `password is a list, not a string`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": "s3cret\udc80"}`, `password is not valid Unicode`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": "\ude00s3cret"}`, `password is not valid Unicode`},
		{"{\"command\": \"authenticate\", \"user\": \"alice\", \"host\": \"AT\", KEY, \"password\": \"s3cret\xff\"}", `password is not valid Unicode`},
		{`{"command": "authenticate", "user": 1001, "host": "AT", KEY, PASSWORD}`, `user is a number, not a string; hint: put it in quotes, .*`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", KEY, "password": "s3cret\n\n"}`, `password has more than one line; hint: .*`},
		{`{"command": "chpass", LOGIN, "new_password": "s3\rcret\r\n"}`, `new_password has more than one line; hint: .*`},
		{`{"command": "chpass", LOGIN, "new_password": "s3\ncret"}`, `new_password has more than one line; hint: .*`},
		{`{"command": "authenticate", "user": "alice", "host": "AT", "key": "", PASSWORD}`, `the key is empty; hint: .*`},
		{`{"command": "authenticate", LOGIN, "answer": ["s3cret", 1]}`, `an item of answer is a number, not a string; hint: .*`},
		{`{"command": "authenticate", LOGIN, "answer": {"a": "s3cret"}}`, `answer is a dictionary, not a string`},
		{`{"command": "authorize", LOGIN, "args": [7]}`, `an item of args is a number, not a string; hint: .*`},
		{`{"command": "authorize", LOGIN, "args": ["no argument"]}`, `.*"no argument".*`},
		{`{"command": "authorize", LOGIN, "args": ["-v"]}`, `argument -v has no separator.*`},
		{`{"command": "account", LOGIN, "exec": true, "args": ["true"]}`, `the option exec does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "nagios": true}`, `the option nagios does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "prometheus": true}`, `the option prometheus does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "output": "x"}`, `the option output does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "interval": 1}`, `(?:unknown option --interval|the option interval does not work under Ansible).*`},
		{`{"command": "check", "host": "AT", KEY, "d": true}`, `the option d does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "quiet": true}`, `the option quiet does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "verbose": true}`, `the option verbose does not work under Ansible, .*`},
		{`{"command": "check", "host": "AT", KEY, "debug": true}`, `the option debug does not work under Ansible, .*`},
		{`{"command": "chpass", LOGIN, "new_password": 7}`, `new_password is a number, not a string; hint: .*`},
		{`{"command": "chpass", LOGIN, "new_password": ""}`, `no new password on standard input`},
		{`{"command": "chpass", LOGIN, "new_password": null}`, `no new password: no terminal to ask for it; hint: .*`},
		{`{"command": "chpass", LOGIN, "new_password": "s3cret", "key_file": "-"}`, `key_file does not work under Ansible, which has no standard input`},
		{`{"command": "chpass", "user": "alice", "host": "AT", PASSWORD, "password_stdin": true}`, `password_stdin does not work under Ansible, which has no standard input`},
		{`{"command": "chpass", LOGIN, "new_password_stdin": true}`, `new_password_stdin does not work under Ansible, which has no standard input`},
		{`{"command": "authorize", LOGIN, "cmd_file": "-"}`, `cmd_file does not work under Ansible, which has no standard input`},
		{`{"command": "account", "host": "AT", "_ansible_check_mode": true}`, `USER is missing; hint: .*`},
	} {
		t.Run(tt.task, func(t *testing.T) {
			got := play(t, tt.task, "AT", l.Addr().String())
			if got.code != classUsage.exit() || got.Changed || got.Skipped || got.Error.Class != "usage" ||
				!regexp.MustCompile(`^(?:`+tt.msg+`)$`).MatchString(got.Msg) {
				t.Errorf("got %d, %s", got.code, got.out)
			}
		})
	}
	checkUntouched(t, l)
}

// TestAnsibleChecks: check mode changes nothing, but runs commands that only read.
func TestAnsibleChecks(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	for _, tt := range []struct {
		task    string
		skipped bool
	}{
		{`{"command": "chpass", LOGIN, "new_password": "s3cret", "_ansible_check_mode": true}`, true},
		{`{"command": "account", LOGIN, "_ansible_check_mode": true}`, true},
		{`{"command": "authenticate", LOGIN, "_ansible_check_mode": true}`, false},
		{`{"command": "check", "host": "AT", KEY, "_ansible_check_mode": true}`, false},
	} {
		got := play(t, tt.task, "AT", s.addr)
		if got.code != classGranted.exit() || got.Changed || got.Skipped != tt.skipped {
			t.Errorf("%s: got %d, %s", tt.task, got.code, got.out)
		}
	}
	s.stop()
	if log := s.log.String(); strings.Contains(log, " account ") || strings.Contains(log, "chpass") {
		t.Errorf("the server got %s", log)
	}
}

// TestAnsibleChangesPassword: the new password is a parameter of the task.
func TestAnsibleChangesPassword(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	if got := play(t, `{"command": "chpass", LOGIN, "new_password": "s3cret"}`, "AT", s.addr); !got.Changed || got.Status != "PASS" {
		t.Errorf("got %d, %s", got.code, got.out)
	}
	if got := play(t, `{"command": "chpass", LOGIN, "new_password": "other"}`, "AT", s.addr); got.Changed || !got.Failed {
		t.Errorf("with the old password: got %d, %s", got.code, got.out)
	}
	s.ask(t, "authenticate alice AT --password s3cret").check(t, classGranted.exit(), `PASS\n`, ``)
}

// TestAnsibleWarnings: warnings on stderr become warnings of the answer.
func TestAnsibleWarnings(t *testing.T) {
	t.Parallel()
	s := serveWith(t, "--fault", "restart")
	got := play(t, `{"command": "authenticate", LOGIN}`, "AT", s.addr)
	want := []string{"the server requested a restart with pap instead of ascii"}
	if got.code != classGranted.exit() || !slices.Equal(got.Warnings, want) {
		t.Errorf("got %d, %s", got.code, got.out)
	}
}

// TestAnsibleInterrupted: an interrupted task has an answer with that error.
func TestAnsibleInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	file := ansibleFile(t, `{"command": "authenticate", "user": "alice", "host": "`+listen(t).Addr().String()+`", "key": "`+testKey+`", "password": "x"}`)
	var out, err bytes.Buffer
	code := run(ctx, []string{file}, stdio{in: strings.NewReader(""), out: &out, err: &err, env: func(string) string { return "" }})
	if code != classInterrupted.exit() || err.Len() > 0 || !strings.Contains(out.String(), `"msg":"interrupted"`) {
		t.Errorf("got %d, %s%s", code, out.String(), err.String())
	}
}

// TestAnsibleOnlyItsFiles: only a file that Ansible wrote is a task.
func TestAnsibleOnlyItsFiles(t *testing.T) {
	task := `{"_ansible_version": "2.14", "command": "version"}`
	large := `{"_ansible_version": "2.14", "command": "version", "x": "` + strings.Repeat("x", maxTaskFile) + `"}`
	dir := filepath.ToSlash(writeFiles(t, map[string]string{"task": task, "plain": `{"command": "version"}`, "list": "[" + task + "]",
		"text": "_ansible_version=2.14", "two": task + task, "large": large, "null": "null", "empty": ""}))
	if got := runWith(t, nil, "", dir+"/task"); got.code != classGranted.exit() || !strings.Contains(got.out, `"failed":false`) {
		t.Errorf("a task: got %+v", got)
	}
	t.Chdir(dir)
	for _, line := range []string{"task", "DIR/plain", "DIR/list", "DIR/text", "DIR/two", "DIR/large", "DIR/null", "DIR/empty", "DIR", "DIR/none",
		"DIR/task -v", "-v DIR/task", "DIR/task DIR/task", "-- DIR/task"} {
		got := runWith(t, nil, "", split(line, "DIR", dir)...)
		if got.code != classUsage.exit() || got.out != "" || !strings.HasPrefix(got.err, "tacacs_plus: ") {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}
