package main

import (
	"strconv"
	"strings"
)

// A metricsText is metrics in the text format of Prometheus, version 0.0.4.
type metricsText struct {
	strings.Builder
	name, head string // of the family; head is empty once it is written
}

// family begins a family. It is written with its first sample, so that there is no family without one. All samples of a
// family must follow each other.
func (m *metricsText) family(name, kind, help string) {
	m.name, m.head = name, "# HELP "+name+" "+help+"\n# TYPE "+name+" "+kind+"\n"
}

// sample adds a sample to the family, with labels that were made by label.
func (m *metricsText) sample(value float64, labels ...string) { m.add("", sampleOf(value, labels)) }

// add adds a sample to the family. The metrics of a histogram have a suffix.
func (m *metricsText) add(suffix, sample string) {
	m.WriteString(m.head + m.name + suffix + sample + "\n")
	m.head = ""
}

// sampleOf returns labels and their value.
func sampleOf(value float64, labels []string) string {
	text := " " + strconv.FormatFloat(value, 'f', -1, 64)
	if len(labels) > 0 {
		text = "{" + strings.Join(labels, ",") + "}" + text
	}
	return text
}

var labelEscaper = strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n")

// label returns a label with its value, which may have any bytes.
func label(name, value string) string {
	return name + `="` + labelEscaper.Replace(strings.ToValidUTF8(value, "\ufffd")) + `"`
}

func boolValue(v bool) float64 {
	if v {
		return 1
	}
	return 0
}
