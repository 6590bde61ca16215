package main

import "time"

// A sample is one value of a metric. labels come after that of the server.
type sample struct {
	value  float64
	labels []string
}

// A checkMetric is a metric for Prometheus, a gauge. A server may have none, one or several samples of it.
type checkMetric struct {
	name, help string
	samples    func(*checkReport, *serverCheck) []sample
}

var checkMetrics = []checkMetric{
	{"tacacs_up", "Whether the server replies.", func(_ *checkReport, s *serverCheck) []sample { return boolSample(s.Up) }},
	{"tacacs_ok", "Whether the check found no error.", func(_ *checkReport, s *serverCheck) []sample { return boolSample(s.Error == nil) }},
	{"tacacs_error", "Class of the error.", func(_ *checkReport, s *serverCheck) []sample {
		if s.Error == nil {
			return nil
		}
		return []sample{{1, []string{label("class", s.Error.Class)}}}
	}},
	{"tacacs_key_ok", "Whether the shared key is correct.", func(_ *checkReport, s *serverCheck) []sample {
		if s.KeyOK == nil {
			return nil
		}
		return boolSample(*s.KeyOK)
	}},
	{"tacacs_login_seconds", "Duration of the login of USER.", func(_ *checkReport, s *serverCheck) []sample {
		took, measured := s.login.took()
		return secondsSample(took, measured)
	}},
	{"tacacs_phase_seconds", "Duration of the phases of the probe.", phaseSamples},
	{"tacacs_status", "Status of the login of USER.", func(_ *checkReport, s *serverCheck) []sample {
		if s.Login == "" {
			return nil
		}
		return []sample{{1, []string{label("status", s.Login)}}}
	}},
	{"tacacs_type_status", "Status of a login with each authentication type (--types).", func(_ *checkReport, s *serverCheck) (list []sample) {
		for _, name := range authenTypeNames {
			if status := s.Types[name]; status != "" {
				list = append(list, sample{1, []string{label("type", name), label("status", status)}})
			}
		}
		return list
	}},
	{"tacacs_command_ok", "Whether a command has the expected verdict (--cmd).", func(_ *checkReport, s *serverCheck) (list []sample) {
		for _, c := range s.Commands {
			list = append(list, sample{boolSample(c.AsExpected)[0].value, []string{label("command", c.Command)}})
		}
		return list
	}},
	{"tacacs_wrong_password_refused", "Whether a wrong password is denied (--negative).", func(_ *checkReport, s *serverCheck) []sample {
		if s.WrongPassword == "" {
			return nil
		}
		return boolSample(s.wrongRefused)
	}},
	{"tacacs_tls_info", "Version of TLS.", func(_ *checkReport, s *serverCheck) []sample {
		if s.TLS == nil || s.TLS.Version == "" {
			return nil
		}
		return []sample{{1, []string{label("version", s.TLS.Version)}}}
	}},
	{"tacacs_tls_not_after_seconds", "Expiry of the server's certificate, in seconds since the epoch.", func(_ *checkReport, s *serverCheck) []sample {
		if s.TLS == nil {
			return nil
		}
		return expirySample(s.TLS.notAfter)
	}},
	{"tacacs_tls_chain_not_after_seconds", "Earliest expiry of the server's certificate and its authorities, in seconds since the epoch.", func(_ *checkReport, s *serverCheck) []sample {
		if s.TLS == nil {
			return nil
		}
		return expirySample(s.TLS.chainNotAfter)
	}},
	{"tacacs_tls_client_not_after_seconds", "Expiry of the certificate of this client, in seconds since the epoch.", func(r *checkReport, _ *serverCheck) []sample {
		if r.ownCert == nil {
			return nil
		}
		return expirySample(r.ownCert.NotAfter)
	}},
	{"tacacs_check_timestamp_seconds", "When the check began, in seconds since the epoch.", func(r *checkReport, _ *serverCheck) []sample {
		began, err := time.Parse(timeLayout, r.Time)
		return secondsSample(time.Duration(began.UnixMilli())*time.Millisecond, err == nil)
	}},
}

func phaseSamples(_ *checkReport, s *serverCheck) (list []sample) {
	for _, p := range s.probe.measured() {
		if p.name != "total" || s.probe.replied {
			list = append(list, sample{p.took.Seconds(), []string{label("phase", p.name)}})
		}
	}
	return list
}

func boolSample(v bool) []sample { return []sample{{value: boolValue(v)}} }

func secondsSample(d time.Duration, measured bool) []sample {
	if !measured {
		return nil
	}
	return []sample{{value: d.Seconds()}}
}

func expirySample(t time.Time) []sample {
	if t.IsZero() {
		return nil
	}
	return []sample{{value: float64(t.Unix())}}
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
			for _, v := range m.samples(r, s) {
				text.sample(v.value, append([]string{label("server", s.Server)}, v.labels...)...)
			}
		}
	}
	return text.String()
}
