package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The states of Nagios' plugins are their exit codes.
const (
	nagiosOK       exitCode = 0
	nagiosWarning  exitCode = 1
	nagiosCritical exitCode = 2
	nagiosUnknown  exitCode = 3
)

// nagiosMisused is the line of a plugin that could not be run as it was asked to.
func nagiosMisused(inv *invocation, f *failure) output {
	if !inv.given("nagios") {
		return nil
	}
	return &unknownState{page{text: fmt.Sprintf("TACACS+ UNKNOWN: %s\n", oneLine(f.Error()))}}
}

// An unknownState keeps its exit code whatever the error.
type unknownState struct{ page }

func (*unknownState) exit() exitCode { return nagiosUnknown }

// nagios is the line of a plugin, and its state: the worst of all servers. An interruption says
// nothing about them.
func (r *checkReport) nagios() (string, exitCode) {
	if r.interrupted {
		return "TACACS+ UNKNOWN: interrupted\n", nagiosUnknown
	}
	var said [nagiosCritical + 1][]string // by state
	var perf strings.Builder
	worst, slowest := nagiosOK, time.Duration(0)
	for _, s := range r.Servers {
		state, text := s.nagios(r.options)
		said[state] = append(said[state], text)
		worst, slowest = max(worst, state), max(slowest, s.Timing.total)
		s.perfdata(&perf, r.options, r.certificates)
	}
	text := strings.Join(slices.Concat(said[nagiosCritical], said[nagiosWarning]), "; ")
	if worst == nagiosOK {
		text = fmt.Sprintf("%d of %d servers answer, the slowest in %v", len(r.Servers), len(r.Servers), slowest.Round(time.Microsecond))
	}
	name := [...]string{"OK", "WARNING", "CRITICAL"}[worst]
	return fmt.Sprintf("TACACS+ %s: %s |%s\n", name, strings.ReplaceAll(text, "|", "/"), perf.String()), worst
}

// nagios is the state of one server, and what is wrong with it.
func (s *serverCheck) nagios(limits *checkOptions) (exitCode, string) {
	took := s.Timing.total
	slow := fmt.Sprintf("%s took %v", s.Server, took.Round(time.Microsecond))
	switch {
	case s.state == nagiosCritical:
		return s.state, s.Error.Message
	case limits.crit > 0 && took > limits.crit:
		return nagiosCritical, slow
	case s.state == nagiosWarning:
		return s.state, s.Error.Message
	case limits.warn > 0 && took > limits.warn:
		return nagiosWarning, slow
	case s.TLS != nil && s.TLS.DaysLeft < limits.certDays:
		return nagiosWarning, fmt.Sprintf("the certificate of %s has %d days left", s.Server, s.TLS.DaysLeft)
	}
	return nagiosOK, ""
}

// perfdata writes the numbers that a monitor draws; U is one that is not known.
func (s *serverCheck) perfdata(b *strings.Builder, limits *checkOptions, certificate bool) {
	limit := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
	took, days := "U", "U"
	if s.Up {
		took = fmt.Sprintf("%.6fs", s.Timing.total.Seconds())
	}
	label := strings.NewReplacer("'", "''", "=", "_").Replace(s.Server) // as Nagios wants labels
	fmt.Fprintf(b, " '%s'=%s;%s;%s", label, took, limit(limits.warn), limit(limits.crit))
	if s.TLS != nil {
		days = strconv.Itoa(s.TLS.DaysLeft)
	}
	if certificate {
		fmt.Fprintf(b, " '%s days left'=%s;%d:", label, days, limits.certDays)
	}
}

// prometheus writes the text format. A metric's lines stand together, under its type.
func (r *checkReport) prometheus() string {
	var b strings.Builder
	metric := func(name, help string, values func(s *serverCheck, value func(labels string, v float64))) {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name)
		for _, s := range r.Servers {
			values(s, func(labels string, v float64) {
				fmt.Fprintf(&b, "%s{server=%s%s} %s\n", name, strconv.Quote(s.Server), labels, strconv.FormatFloat(v, 'f', -1, 64))
			})
		}
	}
	number := map[bool]float64{true: 1}
	metric("tacacs_up", "Whether the server answers.", func(s *serverCheck, value func(string, float64)) { value("", number[s.Up]) })
	metric("tacacs_ok", "Whether nothing is wrong with the server.", func(s *serverCheck, value func(string, float64)) { value("", number[s.Error == nil]) })
	metric("tacacs_key_ok", "Whether the shared key fits.", func(s *serverCheck, value func(string, float64)) {
		if s.KeyOK != nil {
			value("", number[*s.KeyOK])
		}
	})
	metric("tacacs_phase_seconds", "How long the phases of the first session took.", func(s *serverCheck, value func(string, float64)) {
		for _, p := range s.Timing.phases() {
			if p.took > 0 {
				value(`,phase="`+p.name+`"`, p.took.Seconds())
			}
		}
	})
	metric("tacacs_status", "The status of the login, where one was asked for.", func(s *serverCheck, value func(string, float64)) {
		if s.Login != "" {
			value(`,status="`+s.Login+`"`, 1)
		}
	})
	metric("tacacs_type_status", "The status of a login by each authentication type, where --types asked for it.", func(s *serverCheck, value func(string, float64)) {
		for t := range authenTypeNames {
			if name := authenType(t).String(); s.Types[name] != "" {
				value(`,type="`+name+`",status="`+s.Types[name]+`"`, 1)
			}
		}
	})
	metric("tacacs_wrong_password_refused", "Whether a wrong password is refused, where --negative asked for it.", func(s *serverCheck, value func(string, float64)) {
		if s.WrongPassword != "" {
			value("", number[s.wrongRefused])
		}
	})
	metric("tacacs_tls_not_after_seconds", "When the server's certificate expires, since the epoch.", func(s *serverCheck, value func(string, float64)) {
		if s.TLS != nil && s.TLS.NotAfter != "" {
			value("", float64(s.TLS.notAfter.Unix()))
		}
	})
	return b.String()
}
