package main

import (
	"fmt"
	"strings"
	"time"
)

// A checkReport is what was found of all servers.
type checkReport struct {
	report
	Servers []*serverCheck `json:"servers"`

	options      *checkOptions
	certificates bool // each server has one: TLS
	interrupted  bool
}

// judge enters the exit code: that of the first server with which something is wrong, or Nagios' own.
func (r *checkReport) setVerdict(interrupted bool) {
	var worst class
	var why *problem
	for _, s := range r.Servers {
		if worst == classGranted {
			worst, why = s.class, s.Error
		}
	}
	if r.interrupted = interrupted; interrupted {
		p := newProblem(errInterrupted)
		worst, why = classInterrupted, &p
	}
	r.report.setVerdict(worst, why)
	if r.options.nagios && !interrupted {
		_, r.ExitCode = r.nagios()
	}
}

// write replaces the file of the options by the report.
func (r *checkReport) write(asJSON bool) (output, error) {
	text := r.line()
	if asJSON {
		text = r.json()
	}
	err := replaceFile(r.options.output, text)
	if err != nil && r.options.nagios {
		return nil, err // which has a line of its own
	}
	return &page{exitStatus: r.exitStatus}, err
}

// conclude is that of any report; to Nagios, one that could not be written says nothing.
func (r *checkReport) finish(err error) *failure {
	f := r.report.finish(err)
	if f != nil && f.class != classInterrupted && r.options.nagios {
		r.ExitCode = nagiosUnknown
	}
	return f
}

func (r *checkReport) verbose() string { return r.render(true) }

func (r *checkReport) json() string { return encodeJSON(r) }

func (r *checkReport) line() string { return r.render(false) }

// render is the report in the form that was asked for, by default for people.
func (r *checkReport) render(verbose bool) string {
	switch {
	case r.options.nagios:
		text, _ := r.nagios()
		return text
	case r.options.prometheus:
		return r.prometheus()
	}
	return r.text(verbose)
}

// verdict is whether the server is well, and what is wrong with it.
func (s *serverCheck) verdict() string {
	if s.Error == nil {
		return s.Server + ": OK\n"
	}
	return s.Server + ": FAILED: " + oneLine(s.Error.Message) + "\n"
}

func (r *checkReport) text(verbose bool) string {
	var b strings.Builder
	for _, s := range r.Servers {
		b.WriteString(s.verdict())
		if s.Error != nil && s.Error.Hint != "" {
			fmt.Fprintf(&b, "  hint: %s\n", oneLine(s.Error.Hint))
		}
		if verbose && s.Address != "" {
			fmt.Fprintf(&b, "  address: %s\n", s.Address)
		}
		var phases []string
		for _, p := range s.Timing.phases() {
			if p.took > 0 {
				phases = append(phases, p.name+" "+p.took.Round(time.Microsecond).String())
			}
		}
		fmt.Fprintf(&b, "  time: %s\n", strings.Join(phases, ", "))
		if s.KeyOK != nil {
			fmt.Fprintf(&b, "  key: %s\n", map[bool]string{true: "ok", false: "WRONG"}[*s.KeyOK])
		}
		if s.SingleConnect != nil {
			fmt.Fprintf(&b, "  single-connect: %s\n", singleConnectWord(*s.SingleConnect))
		}
		if s.TLS != nil && s.TLS.NotAfter != "" {
			fmt.Fprintf(&b, "  tls: %s, %d days left\n", s.TLS.Version, s.TLS.DaysLeft)
		}
		if s.Login != "" {
			fmt.Fprintf(&b, "  login: %s\n", s.Login)
		}
		for t := range authenTypeNames {
			if name := authenType(t).String(); s.Types[name] != "" {
				fmt.Fprintf(&b, "  type %s: %s\n", name, s.Types[name])
			}
		}
		if s.WrongPassword != "" {
			answer := s.WrongPassword
			if s.wrongRefused {
				answer = "refused"
			}
			fmt.Fprintf(&b, "  wrong password: %s\n", answer)
		}
	}
	return b.String()
}
