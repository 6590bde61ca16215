package main

import (
	"fmt"
	"slices"
	"strings"
)

// A warning is a kind of warning. Its name silences it with --no-warn, and identifies it in JSON.
type warning uint8

const (
	warnKeyShort warning = iota
	warnTrailingSpace
	warnFileMode
	warnFailover
	warnRestart
	warnMandatoryArgument
	warnMalformedArgument
	warnArgumentValue
	warnNoTaskID
	warnTaskIDUnderWay
	warnRecordChanged
	warnConnectionReuse
	warnBenchStopped
	warnServerError
	warnOpenServer
	warnAccountLockout
	warnAddressSkipped
	warnInsecure
	warnKeyUnused
	warnPinned
	warnMixedTransport
	warnNoClientCA
	warnCertificatesKept
	warnUnresolved
	warnFewDescriptors
	warnCRLUnchecked
	warnCRLExpired
	warnCRLMissing
)

// warningNames are on command lines and in profiles, so they do not change.
var warningNames = names{
	warnKeyShort:          "key-short",
	warnTrailingSpace:     "trailing-space",
	warnFileMode:          "file-mode",
	warnFailover:          "failover",
	warnRestart:           "restart",
	warnMandatoryArgument: "mandatory-argument",
	warnMalformedArgument: "malformed-argument",
	warnArgumentValue:     "argument-value",
	warnNoTaskID:          "no-task-id",
	warnTaskIDUnderWay:    "task-id-under-way",
	warnRecordChanged:     "record-changed",
	warnConnectionReuse:   "connection-reuse",
	warnBenchStopped:      "bench-stopped",
	warnServerError:       "server-error",
	warnOpenServer:        "open-server",
	warnAccountLockout:    "account-lockout",
	warnAddressSkipped:    "address-skipped",
	warnInsecure:          "insecure",
	warnKeyUnused:         "key-unused",
	warnPinned:            "pinned",
	warnMixedTransport:    "mixed-transport",
	warnNoClientCA:        "no-client-ca",
	warnCertificatesKept:  "certificates-kept",
	warnUnresolved:        "server-unresolved",
	warnFewDescriptors:    "few-descriptors",
	warnCRLUnchecked:      "crl-unchecked",
	warnCRLExpired:        "crl-expired",
	warnCRLMissing:        "crl-missing",
}

func (w warning) String() string { return warningNames.name(uint8(w)) }

// A warnFunc prints a warning.
type warnFunc func(w warning, format string, args ...any)

// discardWarning is a warnFunc for warnings that are not printed.
func discardWarning(warning, string, ...any) {}

// A namedWarning is a warning with its text. In JSON both are strings.
type namedWarning struct {
	kind    warning
	Name    string `json:"name"`
	Message string `json:"message"`
}

func newWarning(w warning, format string, args ...any) namedWarning {
	return namedWarning{w, w.String(), fmt.Sprintf(format, args...)}
}

// A warningSet is a flag.Value: the warnings that are silenced.
type warningSet []warning

func (s *warningSet) String() string { return "" }

// Set implements flag.Value.
func (s *warningSet) Set(name string) error {
	var w uint8
	if err := warningNames.set(&w, name); err != nil {
		if meant := nearest(name, warningNames); meant != "" {
			return fmt.Errorf("is no warning: did you mean %s?", meant)
		}
		return err
	}
	*s = append(*s, warning(w))
	return nil
}

func (s *warningSet) known() []string { return warningNames.known() }

func (s warningSet) has(w warning) bool { return slices.Contains(s, w) }

// unsilenced returns the warnings that are not silenced, with their text on one line.
func (s warningSet) unsilenced(list []namedWarning) (shown []namedWarning) {
	for _, w := range list {
		if !s.has(w.kind) {
			w.Message = escape(strings.TrimSpace(w.Message))
			shown = append(shown, w)
		}
	}
	return shown
}
