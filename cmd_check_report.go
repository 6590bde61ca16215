package main

import (
	"cmp"
	"fmt"
	"strings"
)

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
		first, reason = classInterrupted, newProblem(errInterrupted)
	}
	r.report.setVerdict(first, reason)
	if r.format.nagios && !interrupted {
		_, r.ExitCode = r.nagios()
	}
}

// write replaces a file by the report.
func (r *checkReport) write(file string, inv *invocation) error {
	text := r.line()
	if inv.output.json {
		text = inv.json(r)
	}
	return replaceFile("report", file, text, 0)
}

// printWarnings prints the warnings of the servers, each once in all rounds. That of an open server is its error.
func (r *checkReport) printWarnings(inv *invocation, printed map[string]bool) {
	for _, s := range r.Servers {
		for _, w := range s.Warnings {
			if text := naming(s.Server, w.Message); w.kind != warnOpenServer && !printed[text] {
				printed[text] = true
				inv.printWarning(w.kind, "%s", text)
			}
		}
	}
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
		return r.prometheus()
	}
	var b strings.Builder
	for _, s := range r.Servers {
		b.WriteString(s.text(verbose))
	}
	for _, s := range r.Skipped {
		fmt.Fprintf(&b, "%s: skipped: %s\n", s.Server, s.Reason)
	}
	return b.String()
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
	facts := &factList{text: []byte(s.verdict()), indent: "  "}
	if s.Error != nil {
		facts.add("hint", s.Error.Hint)
	}
	if verbose {
		facts.add("address", s.Address)
	}
	if s.plan.request.fields.user == "" {
		facts.add("time", s.probe.text())
	} else {
		facts.add("time", s.login.text())
		facts.add("probe time", s.probe.text())
	}
	if s.KeyOK != nil {
		facts.add("key", choose(*s.KeyOK, "ok", "WRONG"))
	}
	facts.add("single-connect", singleConnectWord(s.SingleConnect))
	if days, known := daysLeft(s.facts().NotAfter); known && verbose {
		s.TLS.addTo(facts)
	} else if known {
		facts.add("tls", fmt.Sprintf("%s, %d days left", s.TLS.Version, days))
	}
	facts.add("login", s.Login)
	for _, step := range s.Steps {
		facts.add("login "+step.Step, cmp.Or(step.Status, "error"))
	}
	s.addLogins(facts)
	return string(facts.text)
}

// addLogins adds what the logins and commands of the options brought.
func (s *serverCheck) addLogins(facts *factList) {
	for _, name := range authenTypeNames {
		if status := s.Types[name]; status != "" {
			facts.add("type "+name, status)
		} else if name != "" && s.Types != nil {
			facts.add("type "+name, fmt.Sprintf("not tried after %d FAILs", maxTypeFails))
		}
	}
	for _, c := range s.Commands {
		facts.add("command "+escape(c.Command), cmp.Or(c.Status, "error")+choose(c.AsExpected, "", "  <- not as expected"))
	}
	switch {
	case s.WrongPassword != "" && s.wrongRefused:
		facts.add("wrong password", "denied")
	case s.negativeSkipped:
		facts.add("wrong password", "not tried after a denied login")
	default:
		facts.add("wrong password", s.WrongPassword)
	}
}

// text returns the phases that took place.
func (t sessionTime) text() string {
	var phases []string
	for _, p := range t.measured() {
		phases = append(phases, p.name+" "+inMS(p.took))
	}
	return strings.Join(phases, ", ")
}

// failedReport returns the report of a check that could not ask: each server that is known has failed for that reason.
func failedReport(inv *invocation, err error) *checkReport {
	if inv.server.servers == nil {
		_ = inv.server.check(inv.typed) // the error is err, or comes from an option that was not read any more
	}
	r := &checkReport{report: inv.newReport(), format: checkFormat{prometheus: inv.given("prometheus")}}
	for _, srv := range inv.server.servers {
		s := newServerCheck(&target{client: &client{servers: []server{srv}}, err: err}, &checkPlan{})
		r.Servers = append(r.Servers, s)
	}
	r.report.finish(err)
	return r
}

// checkMisused returns the output of a check that could not ask. A monitor reads --output, which must not show the
// success of an earlier run; with --nagios the line is printed too.
func checkMisused(inv *invocation, f *failure) output {
	if file := inv.options.find("output").value.String(); file != "" {
		var err error
		if inv.given("nagios") {
			err = replaceFile("report", file, nagiosUnknownLine(oneLine(f.Error())), 0)
		} else {
			err = failedReport(inv, f).write(file, inv)
		}
		if err != nil {
			inv.logf("%v", err)
		}
	}
	if inv.given("nagios") {
		return unknownOutput(f)
	}
	return nil
}
