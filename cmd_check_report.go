package main

import (
	"fmt"
	"slices"
	"strconv"
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
			phases = append(phases, p.name+" "+inMS(p.took))
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
		fact("wrong password", "denied")
	} else {
		fact("wrong password", s.WrongPassword)
	}
	return b.String()
}

// nagiosMisused returns what a Nagios plugin prints if it could not run, or nil without --nagios.
func nagiosMisused(inv *invocation, f *failure) output {
	if !inv.given("nagios") {
		return nil
	}
	return &unknownState{page{text: nagiosUnknownLine(oneLine(f.Error()))}}
}

func nagiosUnknownLine(reason string) string { return "TACACS+ UNKNOWN: " + reason + "\n" }

// An unknownState has the exit code UNKNOWN, whatever the error.
type unknownState struct{ page }

func (*unknownState) exit() exitCode { return nagiosUnknown }

// nagiosLimits are the limits above which a server that replies is not OK.
type nagiosLimits struct {
	warn, crit time.Duration // 0: none
	certDays   int
}

// nagiosLine returns the line of a plugin, and its state: the worst of all servers.
func nagiosLine(servers []*serverCheck, limits nagiosLimits, certificates bool) (string, exitCode) {
	var problems [nagiosCritical + 1][]string // by state
	var perf strings.Builder
	worst, slowest := nagiosOK, time.Duration(0)
	for _, s := range servers {
		state, text := s.nagios(limits)
		problems[state] = append(problems[state], text)
		worst, slowest = max(worst, state), max(slowest, s.Timing.total)
		s.writePerfdata(&perf, limits, certificates)
	}
	text := strings.Join(slices.Concat(problems[nagiosCritical], problems[nagiosWarning]), "; ")
	if worst == nagiosOK {
		text = fmt.Sprintf("%d/%d up, slowest %s", len(servers), len(servers), inMS(slowest))
	}
	name := [...]string{"OK", "WARNING", "CRITICAL"}[worst]
	return fmt.Sprintf("TACACS+ %s: %s |%s\n", name, strings.ReplaceAll(text, "|", "/"), perf.String()), worst
}

// nagios returns the state of one server, and what is wrong with it.
func (s *serverCheck) nagios(limits nagiosLimits) (exitCode, string) {
	total := s.Timing.total
	slow := s.Server + " took " + inMS(total)
	switch {
	case s.state == nagiosCritical:
		return s.state, s.Error.Message
	case limits.crit > 0 && total > limits.crit:
		return nagiosCritical, slow
	case s.state == nagiosWarning:
		return s.state, s.Error.Message
	case limits.warn > 0 && total > limits.warn:
		return nagiosWarning, slow
	case s.TLS != nil && s.TLS.DaysLeft < limits.certDays:
		return nagiosWarning, fmt.Sprintf("the certificate of %s has %d days left", s.Server, s.TLS.DaysLeft)
	}
	return nagiosOK, ""
}

// writePerfdata writes the numbers that a monitor draws, times in seconds; U is an unknown one.
func (s *serverCheck) writePerfdata(b *strings.Builder, limits nagiosLimits, certificate bool) {
	limit := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
	}
	total, days := "U", "U"
	if s.Up {
		total = fmt.Sprintf("%.6fs", s.Timing.total.Seconds())
	}
	label := strings.NewReplacer("'", "''", "=", "_").Replace(s.Server) // the plugin guidelines forbid both
	fmt.Fprintf(b, " '%s'=%s;%s;%s", label, total, limit(limits.warn), limit(limits.crit))
	if s.TLS != nil {
		days = strconv.Itoa(s.TLS.DaysLeft)
	}
	if certificate {
		fmt.Fprintf(b, " '%s days left'=%s;%d:", label, days, limits.certDays)
	}
}

// A sample is one value of a metric. labels come after that of the server, each with a comma before it.
type sample struct {
	labels string
	value  float64
}

// checkMetrics are the metrics for Prometheus, all of them gauges. A server may have none, one or several samples.
var checkMetrics = []struct {
	name, help string
	samples    func(*serverCheck) []sample
}{
	{"tacacs_up", "Whether the server replies.", func(s *serverCheck) []sample { return boolSample(s.Up) }},
	{"tacacs_ok", "Whether the check found no error.", func(s *serverCheck) []sample { return boolSample(s.Error == nil) }},
	{"tacacs_key_ok", "Whether the shared key is correct.", func(s *serverCheck) []sample {
		if s.KeyOK == nil {
			return nil
		}
		return boolSample(*s.KeyOK)
	}},
	{"tacacs_phase_seconds", "Duration of the phases of the first session.", func(s *serverCheck) (list []sample) {
		for _, p := range s.Timing.phases() {
			if p.took > 0 {
				list = append(list, sample{`,phase="` + p.name + `"`, p.took.Seconds()})
			}
		}
		return list
	}},
	{"tacacs_status", "Status of the login of USER.", func(s *serverCheck) []sample {
		if s.Login == "" {
			return nil
		}
		return []sample{{`,status="` + s.Login + `"`, 1}}
	}},
	{"tacacs_type_status", "Status of a login with each authentication type (--types).", func(s *serverCheck) (list []sample) {
		for _, name := range authenTypeNames {
			if status := s.Types[name]; status != "" {
				list = append(list, sample{`,type="` + name + `",status="` + status + `"`, 1})
			}
		}
		return list
	}},
	{"tacacs_wrong_password_refused", "Whether a wrong password is denied (--negative).", func(s *serverCheck) []sample {
		if s.WrongPassword == "" {
			return nil
		}
		return boolSample(s.wrongRefused)
	}},
	{"tacacs_tls_not_after_seconds", "Expiry of the server's certificate, in seconds since the epoch.", func(s *serverCheck) []sample {
		if s.TLS == nil || s.TLS.NotAfter == "" {
			return nil
		}
		return []sample{{"", float64(s.TLS.notAfter.Unix())}}
	}},
}

func boolSample(v bool) []sample { return []sample{{"", map[bool]float64{true: 1}[v]}} }

// prometheusText returns the metrics in the text format, version 0.0.4. The lines of a metric follow its type.
func prometheusText(servers []*serverCheck) string {
	var b strings.Builder
	for _, m := range checkMetrics {
		fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s gauge\n", m.name, m.help, m.name)
		for _, s := range servers {
			for _, v := range m.samples(s) {
				fmt.Fprintf(&b, "%s{server=%s%s} %s\n", m.name, strconv.Quote(s.Server), v.labels, strconv.FormatFloat(v.value, 'f', -1, 64))
			}
		}
	}
	return b.String()
}
