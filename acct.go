package main

import (
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// An acctRequest records an event. RFC 8907 section 7.1.
type acctRequest struct {
	flags  acctFlags
	method authenMethod
	commonFields
	args []string
}

func (m *acctRequest) layout(c *codec) {
	uint8Field(c, "flags", &m.flags)
	uint8Field(c, "authen_method", &m.method)
	m.commonFields.layout(c)
	c.count(&m.args)
	c.lengths(m.args)
}

// An acctReply reports whether it was recorded. Section 7.2.
type acctReply struct {
	serverMsg string
	data      string
	status    acctStatus
}

func (m *acctReply) layout(c *codec) {
	c.length("server_msg", 2, &m.serverMsg)
	c.length("data", 2, &m.data)
	uint8Field(c, "status", &m.status)
	c.fields[1].secret = m.status == acctFollow // it may name a key
}

// acctFlags is the kind of a record: the four combinations that section 7.2 allows.
type acctFlags uint8

const (
	acctStart          acctFlags = 0x02
	acctStop           acctFlags = 0x04
	acctWatchdog       acctFlags = 0x08
	acctWatchdogUpdate acctFlags = 0x0a
)

var acctFlagNames = names{acctStart: "start", acctStop: "stop", acctWatchdog: "watchdog", acctWatchdogUpdate: "watchdog-update"}

// kind returns the kind of a record, which three of the flags define; or all of the flags if they are not valid.
func (f acctFlags) kind() acctFlags {
	if kind := f & (acctStart | acctStop | acctWatchdog); acctFlagNames.has(uint8(kind)) {
		return kind
	}
	return f
}

func (f acctFlags) String() string { return acctFlagNames.name(uint8(f)) }

// Set implements flag.Value. update is the Python client's name of a watchdog.
func (f *acctFlags) Set(s string) error {
	if strings.EqualFold(s, "update") {
		s = "watchdog"
	}
	return acctFlagNames.set((*uint8)(f), s)
}

func (f *acctFlags) known() []string { return acctFlagNames.known() }

// An acctStatus is the reply to a record. Section 7.2.
type acctStatus uint8

const (
	acctSuccess acctStatus = 0x01
	acctError   acctStatus = 0x02
	acctFollow  acctStatus = 0x21
)

var acctStatusNames = names{acctSuccess: "SUCCESS", acctError: "ERROR", acctFollow: "FOLLOW"}

func (s acctStatus) String() string { return acctStatusNames.name(uint8(s)) }

func (s acctStatus) class() class { return statusClass(s == acctSuccess, s == acctError) }

// acctArgs are the accounting arguments, which come before all others. Section 8.3.
var acctArgs = []string{"task_id", "start_time", "stop_time", "elapsed_time", "timezone", "event", "reason",
	"bytes", "bytes_in", "bytes_out", "paks", "paks_in", "paks_out", "err_msg"}

// completeRecord adds what a record needs and args lack: the task id, and times in epoch seconds UTC. It puts the
// accounting arguments first, in their order. Section 8.3.
func completeRecord(flags acctFlags, args []string, taskID string, now time.Time) []string {
	args = fillArg(slices.Clone(args), "task_id", taskID)
	switch flags {
	case acctStart:
		args = fillArg(args, "start_time", now.Unix())
	case acctStop:
		args = fillArg(args, "stop_time", now.Unix())
		start, noStart := strconv.ParseInt(argValue(args, "start_time"), 10, 64)
		stop, noStop := strconv.ParseInt(argValue(args, "stop_time"), 10, 64)
		if noStart == nil && noStop == nil && stop >= start {
			args = fillArg(args, "elapsed_time", stop-start)
		}
	}
	args = fillArg(args, "timezone", "UTC")
	var first []string
	for _, name := range acctArgs {
		for i := findArg(args, name); i >= 0; i = findArg(args, name) {
			first, args = append(first, args[i]), slices.Delete(args, i, i+1)
		}
	}
	return append(first, args...)
}

// newTaskID returns a task id: opaque, and unique while a task may run. Section 8.3.
func newTaskID() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// taskIDOf returns the task_id of a request that is a record.
func taskIDOf(q dialogue) string {
	if m, ok := q.(*record); ok {
		return argValue(m.request.args, "task_id")
	}
	return ""
}

// recordArgs completes the arguments of a task, and returns its task id: a new one if args have none. The service is
// always there (section 8.2).
func recordArgs(args []string) (complete []string, taskID string, err error) {
	ids := argValues(args, "task_id")
	switch {
	case len(ids) == 0:
		ids = append(ids, newTaskID())
	case len(ids) > 1:
		return nil, "", failf(classUsage, "task_id is given more than once")
	case ids[0] == "":
		return nil, "", failf(classUsage, "task_id is empty").withHint("omit it to have one generated and printed")
	}
	for _, arg := range args {
		name, value, _, _ := splitArg(arg)
		if want := allowedValues(name, value); want != "" && slices.Contains(acctNumbers, name) {
			return nil, "", failf(classUsage, "argument %s must be %s, not %s", name, want, shorten(quoteBlank(value)))
		}
	}
	event := hasArg(args, "event")
	switch {
	case !hasArg(args, "service"):
		args = append([]string{"service=" + choose(event, "system", "shell")}, args...)
	case event && argValue(args, "service") != "system":
		return nil, "", failf(classUsage, "event is for service=system only (RFC 8907 section 8.3)").withHint("leave out the service, or the event")
	}
	return completeShell(args), ids[0], checkArgs(args)
}

// recordableArgs returns the arguments for the words of a command line as a record can hold them: as US-ASCII, and cut to
// the longest argument and the most arguments.
func recordableArgs(words []string) (args []string, changed bool) {
	const cut = "..."
	args = commandArgs(words)
	for i, arg := range args {
		text := escapeASCII(arg)
		if len(text) > maxArgLen {
			text = text[:maxArgLen-len(cut)] + cut
		}
		args[i], changed = text, changed || text != arg
	}
	if len(args) > maxCommandArgs {
		args, changed = append(args[:maxCommandArgs-1], "cmd-arg="+cut), true
	}
	return args, changed
}

// maxCommandArgs leaves room for cmd-arg=<cr>, and for what completeRecord and stopArgs add.
const maxCommandArgs = maxArgs - 7

// stopArgs adds to the arguments of the start record what is known at the end of the command.
func stopArgs(args []string, took time.Duration, status string) []string {
	args = fillArg(slices.Clone(args), "elapsed_time", int64(took.Seconds()))
	return fillArg(args, "err_msg", status)
}

// A record is the dialogue of one accounting REQUEST and its REPLY. RFC 8907 section 7.
type record struct {
	request  acctRequest
	response acctReply
}

func newRecord(fields commonFields, method authenMethod, flags acctFlags, args []string, taskID string) *record {
	return &record{request: acctRequest{flags, method, fields, completeRecord(flags, args, taskID, time.Now())}}
}

func (r *record) packetType() (packetType, version)   { return typeAcct, minorDefault }
func (r *record) reset()                              {}
func (r *record) interactive() bool                   { return false }
func (r *record) reply() message                      { return &r.response }
func (r *record) secrets() []string                   { return nil }
func (r *record) answer(_ string, err error) reaction { return reaction{err: err} } // it never asks

// repeatable is false: the server may have written the record and died before it replied.
func (r *record) repeatable() bool { return false }

func (r *record) check(remAddr string) error {
	m, _ := r.firstMessage(remAddr) // never fails
	return fits(m)
}

func (r *record) firstMessage(remAddr string) (message, error) {
	r.request.remAddr = remAddr
	return &r.request, nil
}

// on returns whether the record is confirmed: ERROR and FOLLOW do not confirm it.
func (r *record) on(server string) (next reaction) {
	reply := &r.response
	if !acctStatusNames.has(uint8(reply.status)) {
		return unknownStatus(server, reply.status)
	}
	v := &next.verdict
	v.status, v.serverMsg, v.data, v.request = reply.status, reply.serverMsg, reply.data, r.request.args
	v.taskID = taskIDOf(r)
	if reply.status == acctFollow {
		v.hint = followHint(reply.data)
	}
	return next
}
