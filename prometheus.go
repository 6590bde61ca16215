package main

import (
	"fmt"
	"strconv"
	"strings"
)

// A metricsText is metrics in the text format of Prometheus, version 0.0.4.
type metricsText struct {
	strings.Builder
	name, kind, help string // of the family
	begun            bool   // its head is written
}

// family begins a family. It is written with its first sample, so that there is no family without one. All samples of a
// family must follow each other.
func (m *metricsText) family(name, kind, help string) {
	m.name, m.kind, m.help, m.begun = name, kind, help, false
}

// sample adds a sample to the family, with labels that were made by label.
func (m *metricsText) sample(value float64, labels ...string) { m.add("", value, labels...) }

// add adds a sample to the family. The metrics of a histogram have a suffix.
func (m *metricsText) add(suffix string, value float64, labels ...string) {
	if !m.begun {
		fmt.Fprintf(m, "# HELP %s %s\n# TYPE %[1]s %[3]s\n", m.name, m.help, m.kind)
		m.begun = true
	}
	text := strings.Join(labels, ",")
	if text != "" {
		text = "{" + text + "}"
	}
	fmt.Fprintf(m, "%s%s%s %s\n", m.name, suffix, text, strconv.FormatFloat(value, 'f', -1, 64))
}

var labelEscaper = strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n")

// label returns a label with its value, which may have any bytes.
func label(name, value string) string {
	return name + `="` + labelEscaper.Replace(strings.ToValidUTF8(value, "\ufffd")) + `"`
}

func boolValue(v bool) float64 { return choose(v, 1.0, 0) }
