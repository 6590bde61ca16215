package main

import (
	"bufio"
	"encoding/json"
	"strconv"
)

// A batchResult is one line of the output of batch: a result, and the request that it belongs to.
type batchResult struct {
	Line int             `json:"line"`
	ID   json.RawMessage `json:"id,omitempty"`
	*result
	Expect     string `json:"expect,omitempty"`
	AsExpected *bool  `json:"as_expected,omitempty"`
}

// writeJSON writes the result of a line as one JSON object.
func writeJSON(out *bufio.Writer, l *requestLine) {
	res := &l.job.res
	res.finish(l.job.err)
	r := batchResult{Line: l.number, ID: l.id, result: res, Expect: escape(l.expect)}
	if l.expect != "" {
		ok := l.asExpected()
		r.AsExpected = &ok
	}
	if res.plain() {
		out.Write(r.appendJSON(out.AvailableBuffer()))
		return
	}
	r.result = res.forJSON()
	out.WriteString(encodeJSON(r))
}

// plain reports whether the result has only fields that appendJSON writes.
func (r *result) plain() bool {
	return r.Arguments == nil && r.TLS == nil && r.Error == nil && r.Attempts == nil && r.Timing != nil
}

// appendJSON writes a plain result as encoding/json would. With encoding/json alone, batch would be less than half as
// fast as bench.
func (r *batchResult) appendJSON(b []byte) []byte {
	b = strconv.AppendInt(append(b, `{"line":`...), int64(r.Line), 10)
	text := func(name, value string) {
		if value != "" {
			// Escaped text is printable, so that its quotes in Go are valid in JSON.
			b = strconv.AppendQuote(append(append(append(b, `,"`...), name...), `":`...), value)
		}
	}
	boolean := func(name string, value bool) {
		b = strconv.AppendBool(append(append(append(b, `,"`...), name...), `":`...), value)
	}
	if r.ID != nil {
		b = append(append(b, `,"id":`...), r.ID...)
	}
	if !r.began.IsZero() {
		b = append(r.began.UTC().AppendFormat(append(b, `,"time":"`...), timeLayout), '"')
	}
	text("command", escape(r.Command))
	text("user", escape(r.User))
	text("status", r.Status)
	boolean("granted", r.Granted)
	b = strconv.AppendInt(append(b, `,"exit_code":`...), int64(r.ExitCode), 10)
	text("server", r.Server)
	text("address", r.Address)
	text("local", r.Local)
	text("transport", r.Transport)
	if r.SingleConnect != nil {
		boolean("single_connect", *r.SingleConnect)
	}
	text("authen_type", r.AuthenType)
	text("server_msg", escapeLines(r.ServerMsg))
	text("data", escapeLines(r.Data))
	text("flags", r.Flags)
	text("task_id", escape(r.TaskID))
	b = append(b, `,"timing_ms":{`...)
	for _, p := range r.Timing.phases() {
		if ms := p.took.Microseconds(); ms > 0 {
			if b[len(b)-1] != '{' {
				b = append(b, ',')
			}
			b = append(append(append(b, '"'), p.name...), `":`...)
			b = strconv.AppendFloat(b, float64(ms)/1000, 'f', -1, 64)
		}
	}
	b = append(b, '}')
	text("expect", r.Expect)
	if r.AsExpected != nil {
		boolean("as_expected", *r.AsExpected)
	}
	return append(b, "}\n"...)
}
