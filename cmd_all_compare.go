package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A comparison tells whether servers with and without TLS answered alike. It follows the results of a list that has both.
type comparison struct {
	Command     string        `json:"command"`
	User        string        `json:"user,omitempty"`
	Same        *bool         `json:"same,omitempty"` // absent if a server did not reply
	Differences []*difference `json:"differences,omitempty"`
}

// A difference is a part of the replies that is not the same.
type difference struct {
	Field  string         `json:"field"`
	Values []*serverValue `json:"values"` // in the order of the servers
}

type serverValue struct {
	Server    string `json:"server"`
	Transport string `json:"transport"`
	Value     string `json:"value"`
}

// compare compares the results of several servers, of a login each step that one of them has.
func compare(servers []server, jobs []*job) *comparison {
	c := &comparison{Command: jobs[0].res.Command, User: escape(jobs[0].res.User)}
	replied := true
	results, longest := make([]*result, len(jobs)), jobs[0].res.Steps
	for i, j := range jobs {
		results[i] = &j.res
		replied = replied && j.res.Status != ""
		if len(j.res.Steps) > len(longest) {
			longest = j.res.Steps
		}
	}
	if longest == nil {
		c.add("", servers, results)
	}
	for _, s := range longest {
		for i, j := range jobs {
			results[i] = new(result)
			if k := slices.IndexFunc(j.res.Steps, s.same); k >= 0 {
				results[i] = j.res.Steps[k].result
			}
		}
		c.add(s.name()+" ", servers, results)
	}
	if replied {
		same := len(c.Differences) == 0
		c.Same = &same
	}
	return c
}

// add compares one result of each server. Arguments and messages count only among servers that replied.
func (c *comparison) add(prefix string, servers []server, results []*result) {
	for _, field := range []string{"status", "arguments", "server_msg"} {
		d, differs := &difference{Field: prefix + field}, false
		for i, r := range results {
			value := r.Status
			switch {
			case field == "server_msg":
				value = r.ServerMsg
			case field == "arguments" && r.Arguments != nil:
				value = strings.Join(r.Arguments.Response, " ")
			case field == "arguments":
				value = ""
			case value == "" && r.class != classGranted: // else there was no such step
				value = "error (" + r.class.String() + ")"
			}
			if r.Status != "" || field == "status" {
				d.Values = append(d.Values, &serverValue{servers[i].name, servers[i].transport(), escape(value)})
				differs = differs || d.Values[0].Value != d.Values[len(d.Values)-1].Value
			}
		}
		if differs {
			c.Differences = append(c.Differences, d)
		}
	}
}

// page returns the comparison as text and as JSON.
func (c *comparison) page() *page {
	text := ""
	switch {
	case c.Same == nil:
		text = "not compared: a server did not reply\n"
	case *c.Same:
		text = "same reply with TLS and without\n"
	}
	for _, d := range c.Differences {
		var values []string
		for _, v := range d.Values {
			values = append(values, fmt.Sprintf("%s %s %s", v.Transport, v.Server, cmp.Or(v.Value, "none")))
		}
		text += fmt.Sprintf("%s differs: %s\n", d.Field, strings.Join(values, "; "))
	}
	return &page{text: text, object: c}
}
