package main

import (
	"fmt"
	"strings"
	"time"
)

// A checkFormat is the form of the report. Without one of these it is text or, with --json, JSON.
type checkFormat struct {
	nagios, prometheus bool
	limits             nagiosLimits
}

// A checkReport is the result of one round of checks.
type checkReport struct {
	report
	Servers []*serverCheck `json:"servers"`

	format       checkFormat
	certificates bool // each server should have one: TLS
	interrupted  bool
}

// setVerdict sets the exit code: that of the first server with an error, or Nagios' own.
func (r *checkReport) setVerdict(interrupted bool) {
	var first class
	var reason *problem
	for _, s := range r.Servers {
		if first == classGranted {
			first, reason = s.class, s.Error
		}
	}
	if r.interrupted = interrupted; interrupted {
		p := newProblem(errInterrupted)
		first, reason = classInterrupted, &p
	}
	r.report.setVerdict(first, reason)
	if r.format.nagios && !interrupted {
		_, r.ExitCode = r.nagios()
	}
}

// write replaces a file by the report.
func (r *checkReport) write(file string, asJSON bool) error {
	text := r.line()
	if asJSON {
		text = r.json()
	}
	return replaceFile(file, text)
}

// finish is that of any report. For Nagios, a report that could not be written is UNKNOWN.
func (r *checkReport) finish(err error) *failure {
	f := r.report.finish(err)
	if f != nil && f.class != classInterrupted && r.format.nagios {
		r.ExitCode = nagiosUnknown
	}
	return f
}

func (r *checkReport) verbose() string { return r.render(true) }

func (r *checkReport) json() string { return encodeJSON(r) }

func (r *checkReport) line() string { return r.render(false) }

func (r *checkReport) render(verbose bool) string {
	switch {
	case r.format.nagios:
		text, _ := r.nagios()
		return text
	case r.format.prometheus:
		return prometheusText(r.Servers)
	}
	var b strings.Builder
	for _, s := range r.Servers {
		b.WriteString(s.text(verbose))
	}
	return b.String()
}

// nagios returns the line and the state of the plugin. An interruption proves nothing about the servers.
func (r *checkReport) nagios() (string, exitCode) {
	if r.interrupted {
		return nagiosUnknownLine("interrupted"), nagiosUnknown
	}
	return nagiosLine(r.Servers, r.format.limits, r.certificates)
}

// verdict returns a line that reports whether the server is healthy, and what is wrong if not.
func (s *serverCheck) verdict() string {
	if s.Error == nil {
		return s.Server + ": OK\n"
	}
	return s.Server + ": FAILED: " + s.Error.Message + "\n"
}

// text returns the verdict, and one fact a line.
func (s *serverCheck) text(verbose bool) string {
	var b strings.Builder
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "  %s: %s\n", name, value)
		}
	}
	b.WriteString(s.verdict())
	if s.Error != nil {
		fact("hint", s.Error.Hint)
	}
	if verbose {
		fact("address", s.Address)
	}
	var phases []string
	for _, p := range s.Timing.phases() {
		if p.took > 0 {
			phases = append(phases, p.name+" "+p.took.Round(time.Microsecond).String())
		}
	}
	fact("time", strings.Join(phases, ", "))
	if s.KeyOK != nil {
		fact("key", map[bool]string{true: "ok", false: "WRONG"}[*s.KeyOK])
	}
	if s.SingleConnect != nil {
		fact("single-connect", singleConnectWord(*s.SingleConnect))
	}
	if s.TLS != nil && s.TLS.NotAfter != "" {
		fact("tls", fmt.Sprintf("%s, %d days left", s.TLS.Version, s.TLS.DaysLeft))
	}
	fact("login", s.Login)
	for _, name := range authenTypeNames {
		fact("type "+name, s.Types[name])
	}
	if s.wrongRefused && s.WrongPassword != "" {
		fact("wrong password", "refused")
	} else {
		fact("wrong password", s.WrongPassword)
	}
	return b.String()
}
