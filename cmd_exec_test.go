package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// program writes an executable file.
func program(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(writeFiles(t, map[string]string{"program": text}), "program")
	if err := os.Chmod(file, 0o700); err != nil {
		t.Fatal(err)
	}
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
		{"start not confirmed", []string{"close"}, "echo", 125, `tacacs_plus: the start record was not confirmed, the command was not run: \S+ closed the connection before it answered\n`},
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
						if err := json.Unmarshal([]byte(object), &last); err != nil {
							t.Error(err)
						}
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
	if got := argValue(stop.args, "elapsed_time"); got != "0" {
		t.Errorf("elapsed_time=%s", got)
	}
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
		first, missed := acctServer(t, "close", "success")
		second, records := acctServer(t, "success", "close", "success")
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
