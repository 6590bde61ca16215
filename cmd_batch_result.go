package main

import (
	"bufio"
	"encoding/json"
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
	l.job.res.finish(l.job.err)
	r := batchResult{Line: l.number, ID: l.id, result: l.job.res.forJSON(), Expect: escape(l.expect)}
	if l.expect != "" {
		ok := l.asExpected()
		r.AsExpected = &ok
	}
	out.WriteString(encodeJSON(r))
}
