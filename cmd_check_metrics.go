package main

import "time"

// A checkMetric is a metric for Prometheus, a gauge. samples calls add with each value of a server, and with labels that come
// after that of the server. A server may have none, one or several values.
type checkMetric struct {
	name, help string
	samples    func(r *checkReport, s *serverCheck, add addSample)
}

type addSample func(value float64, labels ...string)

var checkMetrics = []checkMetric{
	{"tacacs_up", "Whether the server replies.", func(_ *checkReport, s *serverCheck, add addSample) { add(boolValue(s.Up)) }},
	{"tacacs_ok", "Whether the check found no error.", func(_ *checkReport, s *serverCheck, add addSample) { add(boolValue(s.Error == nil)) }},
	{"tacacs_error", "Class of the error.", func(_ *checkReport, s *serverCheck, add addSample) {
		if s.Error != nil {
			add(1, label("class", s.Error.Class))
		}
	}},
	{"tacacs_key_ok", "Whether the shared key is correct.", func(_ *checkReport, s *serverCheck, add addSample) {
		if s.KeyOK != nil {
			add(boolValue(*s.KeyOK))
		}
	}},
	{"tacacs_login_seconds", "Duration of the login of USER.", func(_ *checkReport, s *serverCheck, add addSample) {
		if took, measured := s.login.took(); measured {
			add(took.Seconds())
		}
	}},
	{"tacacs_phase_seconds", "Duration of the phases of the probe.", func(_ *checkReport, s *serverCheck, add addSample) {
		for _, p := range s.probe.measured() {
			if p.name != "total" || s.probe.replied {
				add(p.took.Seconds(), label("phase", p.name))
			}
		}
	}},
	{"tacacs_status", "Status of the login of USER.", func(_ *checkReport, s *serverCheck, add addSample) {
		if s.Login != "" {
			add(1, label("status", s.Login))
		}
	}},
	{"tacacs_type_status", "Status of a login with each authentication type (--types).", func(_ *checkReport, s *serverCheck, add addSample) {
		for _, name := range authenTypeNames {
			if status := s.Types[name]; status != "" {
				add(1, label("type", name), label("status", status))
			}
		}
	}},
	{"tacacs_command_ok", "Whether a command has the expected verdict (--cmd).", func(_ *checkReport, s *serverCheck, add addSample) {
		for _, c := range s.Commands {
			if c.Status != "" && c.Status != authorError.String() {
				add(boolValue(c.AsExpected), label("command", c.Command))
			}
		}
	}},
	{"tacacs_wrong_password_refused", "Whether a wrong password is denied (--negative).", func(_ *checkReport, s *serverCheck, add addSample) {
		if s.wrongRefused || s.WrongPassword == authenPass.String() {
			add(boolValue(s.wrongRefused))
		}
	}},
	{"tacacs_tls_info", "Version of TLS.", func(_ *checkReport, s *serverCheck, add addSample) {
		if version := s.facts().Version; version != "" {
			add(1, label("version", version))
		}
	}},
	{"tacacs_tls_not_after_seconds", "Expiry of the server's certificate, in seconds since the epoch.", func(_ *checkReport, s *serverCheck, add addSample) {
		add.expiry(s.facts().NotAfter)
	}},
	{"tacacs_tls_chain_not_after_seconds", "Earliest expiry of the server's certificate and its authorities, in seconds since the epoch.", func(_ *checkReport, s *serverCheck, add addSample) {
		add.expiry(s.facts().ChainNotAfter)
	}},
	{"tacacs_tls_client_not_after_seconds", "Expiry of the certificate of this client, in seconds since the epoch.", func(r *checkReport, _ *serverCheck, add addSample) {
		if r.ownCert != nil {
			add.expiry(r.ownCert.NotAfter)
		}
	}},
	{"tacacs_check_timestamp_seconds", "When the check began, in seconds since the epoch.", func(r *checkReport, _ *serverCheck, add addSample) {
		if began, err := time.Parse(timeLayout, r.Time); err == nil {
			add((time.Duration(began.UnixMilli()) * time.Millisecond).Seconds())
		}
	}},
}

// expiry adds the time of an expiry, unless it is unknown.
func (add addSample) expiry(t time.Time) {
	if !t.IsZero() {
		add(float64(t.Unix()))
	}
}

// prometheus returns the metrics. Without a server, since the command line is wrong, there is one value without labels.
func (r *checkReport) prometheus() string {
	var text metricsText
	for _, m := range checkMetrics {
		text.family(m.name, "gauge", m.help)
		if len(r.Servers) == 0 && m.name == "tacacs_up" {
			text.sample(0)
		}
		for _, s := range r.Servers {
			if s.class == classInterrupted {
				continue
			}
			m.samples(r, s, func(value float64, labels ...string) {
				text.sample(value, append([]string{label("server", s.Server)}, labels...)...)
			})
		}
	}
	return text.String()
}
