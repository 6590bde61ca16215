package main

import (
	"cmp"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
)

// A result is the verdict on one request. Its JSON names are part of the contract.
type result struct {
	Time          string         `json:"time,omitempty"` // began, in UTC; set by forJSON
	Command       string         `json:"command,omitempty"`
	User          string         `json:"user,omitempty"`
	Status        string         `json:"status,omitempty"` // the RFC's name
	Prompt        string         `json:"prompt,omitempty"` // the unanswered prompt that counts as FAIL
	Granted       bool           `json:"granted"`
	ExitCode      exitCode       `json:"exit_code"`
	Server        string         `json:"server,omitempty"`
	Address       string         `json:"address,omitempty"` // of the server, once connected
	Local         string         `json:"local,omitempty"`
	Transport     string         `json:"transport,omitempty"`
	KeyFile       string         `json:"key_file,omitempty"`       // of the key in use, if a key is for one server alone
	SingleConnect *bool          `json:"single_connect,omitempty"` // whether it was established; nil if it was not offered
	AuthenType    string         `json:"authen_type,omitempty"`
	ServerMsg     string         `json:"server_msg,omitempty"`
	Data          string         `json:"data,omitempty"`
	Flags         string         `json:"flags,omitempty"`
	Arguments     *arguments     `json:"arguments,omitempty"`
	TaskID        string         `json:"task_id,omitempty"`
	TLS           *tlsFacts      `json:"tls,omitempty"`
	TimingMS      *timingMS      `json:"timing_ms,omitempty"` // set by forJSON
	Error         *problem       `json:"error,omitempty"`
	Attempts      []attempt      `json:"attempts,omitempty"`
	Warnings      []namedWarning `json:"warnings,omitempty"`

	Timing *timing   `json:"-"`
	status status    // nil if no reply could be read
	began  time.Time // of the first attempt; the end if there was none
	class  class
	hint   string // for a denial; errors carry their own
	tried  string // the address to which connecting failed last
}

// arguments are the arguments of an authorization or an accounting record.
type arguments struct {
	Request   []string `json:"request"`
	Response  []string `json:"response,omitempty"`
	Effective []string `json:"effective,omitempty"`
}

// An attempt is a request to an earlier server or address, which did not decide.
type attempt struct {
	Server  string `json:"server"`
	Address string `json:"address,omitempty"` // that was tried last; empty if the name could not be resolved
	Status  string `json:"status,omitempty"`
	problem
}

// A timing is how long the phases of a request took; a phase that was skipped is zero.
type timing struct {
	start                                    time.Time
	resolve, connect, tls, firstReply, total time.Duration
	sent, received                           int // bytes of TACACS+
}

func (t *timing) phases() [5]phase {
	return [...]phase{{"resolve", t.resolve}, {"connect", t.connect}, {"tls", t.tls}, {"first_reply", t.firstReply}, {"total", t.total}}
}

type phase struct {
	name string
	took time.Duration
}

// A timingMS is a timing in JSON, in milliseconds.
type timingMS struct {
	Resolve    float64 `json:"resolve,omitempty"`
	Connect    float64 `json:"connect,omitempty"`
	TLS        float64 `json:"tls,omitempty"`
	FirstReply float64 `json:"first_reply,omitempty"`
	Total      float64 `json:"total,omitempty"`
}

func (t *timing) ms() *timingMS {
	if t == nil {
		return nil
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	return &timingMS{ms(t.resolve), ms(t.connect), ms(t.tls), ms(t.firstReply), ms(t.total)}
}

// reset removes the facts of the server before, and sets the one that is asked now.
func (r *result) reset(server string, t *timing) {
	*r = result{Command: r.Command, User: r.User, Attempts: r.Attempts, Warnings: r.Warnings, began: r.began,
		Server: server, Timing: t, class: classDenied}
	if r.began.IsZero() {
		r.began = t.start
	}
}

func (r *result) setReply(v *verdict) {
	r.status, r.Status, r.ServerMsg, r.Data, r.hint = v.status, v.status.String(), v.serverMsg, v.data, v.hint
	if refers(v.status) {
		r.Data = followHosts(v.data) // without keys
	}
	r.AuthenType, r.Flags, r.Prompt, r.TaskID = v.authenType, v.flags, v.prompt, v.taskID
	if v.request != nil {
		r.Arguments = &arguments{v.request, v.response, v.effective}
	}
	r.class = v.status.class()
	r.Granted = r.class == classGranted
}

// addAttempt records that the server or address asked last did not decide.
func (r *result) addAttempt(err error) {
	r.Attempts = append(r.Attempts, attempt{Server: r.Server, Address: cmp.Or(r.Address, r.tried), Status: r.Status, problem: newProblem(err)})
}

// addWarnings puts the warnings of the run before those of the request, and removes what is silenced.
func (r *result) addWarnings(ofRun []namedWarning, silenced warningSet) {
	r.Warnings = silenced.unsilenced(slices.Concat(ofRun, r.Warnings))
}

// line returns the default rendering: the status and the message on one line, then the arguments of the response.
func (r *result) line() string {
	if r.Status == "" {
		return ""
	}
	line := r.verdict()
	if r.TaskID != "" {
		line += " task_id=" + escape(r.TaskID)
	}
	line += "\n"
	if r.Arguments != nil {
		for _, arg := range r.Arguments.Response {
			line += "  " + escape(arg) + "\n"
		}
	}
	return line
}

// verdict returns the status and, if there is one, the message on one line. ERROR can have its reason in data.
func (r *result) verdict() string {
	msg := oneLine(r.ServerMsg)
	if r.class == classServer {
		msg = cmp.Or(msg, oneLine(r.Data))
	}
	if msg != "" {
		return r.Status + ": " + msg
	}
	return r.Status
}

// singleConnectWord returns the server's answer to single-connection mode.
func singleConnectWord(established bool) string {
	if established {
		return "granted"
	}
	return "refused"
}

// verbose returns the rendering of -v: one fact a line.
func (r *result) verbose() string {
	var b strings.Builder
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s: %s\n", name, value)
		}
	}
	lines := func(name string, values []string) {
		if len(values) > 0 {
			fmt.Fprintf(&b, "%s:\n", name)
			for _, v := range values {
				b.WriteString("  " + escape(v) + "\n")
			}
		}
	}
	text := func(name, value string) {
		value = strings.TrimSpace(value)
		if strings.Contains(value, "\n") {
			lines(name, strings.Split(strings.ReplaceAll(value, "\r\n", "\n"), "\n"))
		} else {
			fact(name, escape(value))
		}
	}
	fact("status", r.Status)
	fact("prompt", r.Prompt)
	text("server_msg", r.ServerMsg)
	text("data", r.Data)
	fact("flags", r.Flags)
	fact("authen_type", r.AuthenType)
	fact("task_id", escape(r.TaskID))
	if r.Arguments != nil {
		lines("request", r.Arguments.Request)
		lines("av-pairs", r.Arguments.Response)
		lines("effective", r.Arguments.Effective)
	}
	fact("server", r.Server)
	fact("address", r.Address)
	fact("local", r.Local)
	fact("transport", r.Transport)
	fact("key file", r.KeyFile)
	if r.SingleConnect != nil {
		fact("single-connect", singleConnectWord(*r.SingleConnect))
	}
	if t := r.TLS; t != nil {
		t.writeFacts(fact)
		lines("tls chain", t.Chain)
		fact("tls client certificate", t.ClientCert)
	}
	if r.Timing != nil {
		for _, p := range r.Timing.phases() {
			if p.took > 0 {
				fact("time "+p.name, inMS(p.took))
			}
		}
	}
	for _, a := range r.Attempts {
		text := a.Message
		if a.Address != a.Server && a.Address != "" {
			text = a.Address + ": " + text
		}
		fact("attempt", escape(text))
	}
	return b.String()
}

// forJSON returns the result with its text escaped, since encoding/json leaves control characters above U+007F. Line
// breaks stay.
func (r *result) forJSON() *result {
	shown := *r
	shown.TimingMS, shown.TLS = r.Timing.ms(), r.TLS.forJSON()
	if !r.began.IsZero() {
		shown.Time = r.began.UTC().Format(timeLayout)
	}
	shown.Command = escape(r.Command)
	shown.User, shown.ServerMsg, shown.Data, shown.TaskID = escape(r.User), escapeLines(r.ServerMsg), escapeLines(r.Data), escape(r.TaskID)
	if r.Arguments != nil {
		shown.Arguments = &arguments{escapeAll(r.Arguments.Request), escapeAll(r.Arguments.Response), escapeAll(r.Arguments.Effective)}
	}
	return &shown
}

// json returns the rendering of --json: one object on one line.
func (r *result) json() string { return encodeJSON(r.forJSON()) }

// finish implements output.
func (r *result) finish(err error) *failure {
	var f *failure
	if r.began.IsZero() {
		r.began = time.Now() // nothing was sent
	}
	r.ExitCode = r.class.exit()
	switch {
	case err != nil:
		f = asFailure(err)
		p := newProblem(f)
		r.class, r.Error, r.Granted, r.ExitCode = f.class, &p, false, f.exit()
	case r.class != classGranted:
		f = &failure{hint: r.hint}
		r.Error = &problem{Class: r.class.String(), Message: r.verdict(), Hint: r.hint}
	}
	return f
}

func (r *result) exit() exitCode { return r.ExitCode }

// tlsFacts describe a TLS connection, or a handshake that failed. Unknown facts are empty.
type tlsFacts struct {
	Version      string   `json:"version,omitempty"`
	CipherSuite  string   `json:"cipher_suite,omitempty"`
	Group        string   `json:"group,omitempty"`
	Resumed      bool     `json:"resumed"`
	Verified     bool     `json:"verified"`
	Pinned       bool     `json:"pinned,omitempty"` // verified by the sum alone
	ServerName   string   `json:"server_name"`
	Subject      string   `json:"subject,omitempty"`
	Issuer       string   `json:"issuer,omitempty"`
	Names        []string `json:"names,omitempty"`
	NotAfter     string   `json:"not_after,omitempty"`
	SHA256       string   `json:"sha256,omitempty"`
	ClientSHA256 string   `json:"client_sha256,omitempty"`
	notAfter     time.Time
	DaysLeftJSON *int     `json:"days_left,omitempty"` // set by forJSON; 0 is shown
	Chain        []string `json:"chain,omitempty"`
	// ChainNotAfter is the earliest expiry of the server's certificate and its authorities, ClientNotAfter that of the
	// client's certificate.
	ChainNotAfter  string `json:"chain_not_after,omitempty"`
	chainNotAfter  time.Time
	ClientNotAfter string `json:"client_not_after,omitempty"`
	ClientCert     string `json:"client_certificate,omitempty"` // one of the constants below
	oneSided       bool   // this client has no certificate
}

const (
	clientCertNotAsked = "not asked"
	clientCertSent     = "sent"
	clientCertMissing  = "asked, none to send"
)

// learn sets the facts of a handshake, which may have failed half way.
func (t *tlsFacts) learn(state *tls.ConnectionState) {
	if state.Version != 0 {
		t.Version = tls.VersionName(state.Version)
	}
	if state.CipherSuite != 0 {
		t.CipherSuite = tls.CipherSuiteName(state.CipherSuite)
	}
	if state.CurveID != 0 {
		t.Group = state.CurveID.String()
	}
	t.Resumed = state.DidResume
	if len(state.PeerCertificates) > 0 {
		leaf := state.PeerCertificates[0]
		t.Subject, t.Issuer, t.Names = leaf.Subject.String(), leaf.Issuer.String(), certNames(leaf)
		t.notAfter, t.SHA256 = leaf.NotAfter, fingerprint(leaf)
		t.NotAfter = leaf.NotAfter.UTC().Format(time.RFC3339)
		t.chainNotAfter = chainExpiry(state)
		t.ChainNotAfter = t.chainNotAfter.UTC().Format(time.RFC3339)
	}
	if len(state.VerifiedChains) > 0 {
		for _, cert := range state.VerifiedChains[0] {
			t.Chain = append(t.Chain, cert.Subject.String())
		}
	}
}

// fingerprint returns the SHA-256 sum of a certificate's DER in hexadecimal.
func fingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.Raw)
	return hex.EncodeToString(sum[:])
}

// chainExpiry returns when the last of the verified chains ends to be valid or, without one, what the server sent.
func chainExpiry(state *tls.ConnectionState) (last time.Time) {
	chains := state.VerifiedChains
	if len(chains) == 0 {
		chains = [][]*x509.Certificate{state.PeerCertificates}
	}
	for _, chain := range chains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) }).NotAfter
		if first.After(last) {
			last = first
		}
	}
	return last
}

// daysLeft returns the days until the server's certificate expires. measured is false if none was seen.
func (t *tlsFacts) daysLeft() (days int, measured bool) {
	if t == nil || t.notAfter.IsZero() {
		return 0, false
	}
	return daysUntil(t.notAfter), true
}

// chainDaysLeft is daysLeft for the first certificate of the chain that expires.
func (t *tlsFacts) chainDaysLeft() (days int, measured bool) {
	if t == nil || t.chainNotAfter.IsZero() {
		return 0, false
	}
	return daysUntil(t.chainNotAfter), true
}

// daysUntil returns the whole days until a time, negative after it.
func daysUntil(t time.Time) int { return int(time.Until(t).Hours() / 24) }

// writeFacts calls fact with each fact that is one line of -v.
func (t *tlsFacts) writeFacts(fact func(name, value string)) {
	words := []string{t.Version, t.CipherSuite, t.Group, choose(t.Resumed, "resumed", ""), choose(t.Verified, "", "NOT VERIFIED"), choose(t.Pinned, "pinned", "")}
	fact("tls", strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	fact("tls server name", escape(t.ServerName))
	fact("tls subject", escape(t.Subject))
	fact("tls issuer", escape(t.Issuer))
	fact("tls names", escape(strings.Join(t.Names, ", ")))
	if days, measured := t.daysLeft(); measured {
		fact("tls expires", fmt.Sprintf("%s (%d days left)", t.NotAfter, days))
	}
	fact("tls sha256", t.SHA256)
	if !t.chainNotAfter.Equal(t.notAfter) {
		fact("tls chain expires", t.ChainNotAfter)
	}
	fact("tls client expires", t.ClientNotAfter)
	fact("tls client sha256", t.ClientSHA256)
	if t.oneSided {
		fact("tls note", "give --cert FILE for mutual authentication (RFC 9887 section 3.1)")
	}
}

// forJSON returns a copy with all text escaped, or nil for nil.
func (t *tlsFacts) forJSON() *tlsFacts {
	if t == nil {
		return nil
	}
	shown := *t
	shown.ServerName, shown.Subject, shown.Issuer = escape(t.ServerName), escape(t.Subject), escape(t.Issuer)
	if days, measured := t.daysLeft(); measured {
		shown.DaysLeftJSON = &days
	}
	shown.Names, shown.Chain = escapeAll(t.Names), escapeAll(t.Chain)
	return &shown
}
