package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

func nagiosUnknownLine(reason string) string { return "TACACS+ UNKNOWN: " + reason + "\n" }

// unknownOutput returns what a Nagios plugin prints if it could not run, or not write its report.
func unknownOutput(err error) output {
	return &unknownState{page{text: nagiosUnknownLine(oneLine(err.Error()))}}
}

// An unknownState has the exit code UNKNOWN, whatever the error.
type unknownState struct{ page }

func (*unknownState) exit() exitCode { return nagiosUnknown }

// nagios returns the line of a plugin, and its state: the worst of all servers. An interruption proves nothing about the
// servers.
func (r *checkReport) nagios() (string, exitCode) {
	if r.interrupted {
		return nagiosUnknownLine("interrupted"), nagiosUnknown
	}
	var problems [nagiosUnknown + 1][]string // by state
	worst, slowest := nagiosOK, time.Duration(0)
	note := func(state exitCode, text string) {
		if state != nagiosOK {
			problems[state] = append(problems[state], text)
		}
		if severity(state) > severity(worst) {
			worst = state
		}
	}
	limits := r.format.limits
	for _, s := range r.Servers {
		took, _ := s.counted().took()
		slowest = max(slowest, took)
		note(s.nagios(limits))
	}
	if r.ownCert != nil {
		days, _ := daysLeft(r.ownCert.NotAfter)
		note(limits.certDays.state(days), fmt.Sprintf("the certificate of this client has %d days left", days))
	}
	text := strings.Join(slices.Concat(problems[nagiosCritical], problems[nagiosUnknown], problems[nagiosWarning]), "; ")
	if worst == nagiosOK {
		text = fmt.Sprintf("%d/%d up, slowest %s", len(r.Servers), len(r.Servers), inMS(slowest))
	}
	for _, s := range r.Skipped {
		text += "; " + s.Server + " skipped: " + s.Reason
	}
	name := [...]string{"OK", "WARNING", "CRITICAL", "UNKNOWN"}[worst]
	return fmt.Sprintf("TACACS+ %s: %s |%s\n", name, strings.ReplaceAll(text, "|", "/"), r.perfdata()), worst
}

// nagios returns the state of one server, and what is wrong with it.
func (s *serverCheck) nagios(limits nagiosLimits) (exitCode, string) {
	took, measured := s.counted().took()
	slow := s.Server + " took " + inMS(took)
	slower := func(limit time.Duration) bool { return measured && limit > 0 && took > limit }
	expiring := s.expiring(limits.certDays.crit)
	switch {
	case s.state == nagiosCritical:
		return s.state, s.Error.Message
	case slower(limits.crit):
		return nagiosCritical, slow
	case expiring != "":
		return nagiosCritical, expiring
	case s.state != nagiosOK:
		return s.state, s.Error.Message
	case slower(limits.warn):
		return nagiosWarning, slow
	}
	if expiring = s.expiring(limits.certDays.warn); expiring != "" {
		return nagiosWarning, expiring
	}
	return nagiosOK, ""
}

// expiring returns which certificate of the server, or of its authorities, has fewer days left; empty for none.
func (s *serverCheck) expiring(limit int) string {
	what := "the certificate"
	days, known := daysLeft(s.facts().NotAfter)
	if !known || days >= limit {
		what = "an authority of the certificate"
		days, known = daysLeft(s.facts().ChainNotAfter)
	}
	if !known || days >= limit {
		return ""
	}
	return fmt.Sprintf("%s of %s has %d days left", what, s.Server, days)
}

// unmeasured is the value of performance data that is not known.
const unmeasured = "U"

// perfdata returns the numbers that a monitor draws, times in seconds.
func (r *checkReport) perfdata() string {
	var b strings.Builder
	var labels perfLabels
	add := func(s *serverCheck, suffix, value string) {
		fmt.Fprintf(&b, " '%s'=%s", labels.add(s.server(), suffix), value)
	}
	limits := r.format.limits
	certLimits := fmt.Sprintf(";%d:;%d:", limits.certDays.warn, limits.certDays.crit)
	for _, s := range r.Servers {
		add(s, "", perfSeconds(s.counted())+perfLimit(limits.warn)+perfLimit(limits.crit))
		if s.plan.request.fields.user != "" {
			add(s, " probe", perfSeconds(s.probe))
		}
		if s.server().tls {
			days := unmeasured
			if n, known := daysLeft(s.facts().ChainNotAfter); known {
				days = strconv.Itoa(n)
			}
			add(s, " days", days+certLimits)
		}
	}
	if r.ownCert != nil {
		days, _ := daysLeft(r.ownCert.NotAfter)
		fmt.Fprintf(&b, " 'own certificate'=%d%s", days, certLimits)
	}
	return b.String()
}

// perfLimit returns a limit in seconds after its semicolon. Without a limit that is all.
func perfLimit(d time.Duration) string {
	if d == 0 {
		return ";"
	}
	return ";" + strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

func perfSeconds(t sessionTime) string {
	took, measured := t.took()
	if !measured {
		return unmeasured
	}
	return fmt.Sprintf("%.6fs", took.Seconds())
}

// perfLabels are the labels of performance data that are used already.
type perfLabels []string

// maxPerfLabel is the length of labels that all databases of monitors keep.
const maxPerfLabel = 19

// add returns the label for a value of a server. It is the first of several forms of its name that is short enough and
// not used yet, or else a number makes it unique. The plugin guidelines forbid ' and =.
func (l *perfLabels) add(srv server, suffix string) string {
	room := maxPerfLabel - len(suffix)
	port := ":" + strconv.Itoa(int(srv.port))
	host, _, _ := strings.Cut(srv.host, ".")
	forms := []string{srv.name, srv.host + port, srv.host, host + port, host}
	if srv.addr.IsValid() && srv.name != newServer(srv.host, srv.port).name { // one of several addresses
		forms = []string{srv.name, host + " " + srv.addr.String(), srv.addr.String()}
	} else if isAddr(srv.host) {
		forms = forms[:3]
	}
	last := forms[len(forms)-1]
	forms = append(forms, last[max(0, len(last)-room):], last[:min(len(last), room)])
	label := ""
	for _, form := range forms {
		label = strings.NewReplacer("'", "''", "=", "_").Replace(form) + suffix
		if len(form) <= room && !slices.Contains(*l, label) {
			*l = append(*l, label)
			return label
		}
	}
	for n := 2; slices.Contains(*l, label); n++ {
		end := "~" + strconv.Itoa(n)
		label = last[:min(len(last), room-len(end))] + end + suffix
	}
	*l = append(*l, label)
	return label
}
