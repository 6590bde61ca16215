package main

import (
	"cmp"
	"strings"
)

// A comparison tells whether servers with and without TLS answered alike. It follows the results of a list that has both.
type comparison struct {
	Command     string       `json:"command"`
	User        string       `json:"user,omitempty"`
	Same        *bool        `json:"same,omitempty"` // absent if a server did not reply
	Differences []difference `json:"differences,omitempty"`
}

// A difference is a part of the replies that is not the same.
type difference struct {
	Field  string        `json:"field"`
	Values []serverValue `json:"values"` // in the order of the servers
}

type serverValue struct {
	Server    string `json:"server"`
	Transport string `json:"transport"`
	Value     string `json:"value"`
}

// compare compares the results of several servers. Arguments and messages count only among servers that replied.
func compare(servers []server, jobs []job) *comparison {
	replied := 0
	for i := range jobs {
		if jobs[i].res.Status != "" {
			replied++
		}
	}
	c := &comparison{Command: jobs[0].res.Command, User: escape(jobs[0].res.User)}
	for _, part := range []struct {
		field string
		of    func(r *result) string
	}{
		{"status", func(r *result) string { return cmp.Or(r.Status, "error ("+r.class.String()+")") }},
		{"arguments", func(r *result) string {
			if r.Arguments == nil {
				return ""
			}
			return strings.Join(r.Arguments.Response, " ")
		}},
		{"server_msg", func(r *result) string { return r.ServerMsg }},
	} {
		d, distinct := difference{Field: part.field}, make(map[string]bool)
		for i := range jobs {
			if r := &jobs[i].res; r.Status != "" || part.field == "status" {
				value := escape(part.of(r))
				distinct[value] = true
				d.Values = append(d.Values, serverValue{servers[i].name, servers[i].transport(), value})
			}
		}
		if len(distinct) > 1 {
			c.Differences = append(c.Differences, d)
		}
	}
	if replied == len(jobs) {
		same := len(c.Differences) == 0
		c.Same = &same
	}
	return c
}

// page returns the comparison as text and as JSON.
func (c *comparison) page() *page {
	var b strings.Builder
	switch {
	case c.Same == nil:
		b.WriteString("not compared: a server did not reply\n")
	case *c.Same:
		b.WriteString("same reply with TLS and without\n")
	}
	for _, d := range c.Differences {
		b.WriteString(d.Field + " differs:")
		for i, v := range d.Values {
			if i > 0 {
				b.WriteByte(';')
			}
			b.WriteString(" " + v.Transport + " " + v.Server + " " + cmp.Or(v.Value, "none"))
		}
		b.WriteByte('\n')
	}
	return &page{text: b.String(), object: c}
}
