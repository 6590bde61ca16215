package main

import "strings"

// manPage returns the manual page, in the language of man(7) and with the sections of man-pages(7).
func manPage(table []command, b build) string {
	m := new(roff)
	// The date as it is: mandoc reads none with the \- that all else has.
	m.text(`.TH TACACS_PLUS 1 "` + b.Date + `" "tacacs_plus ` + inRoff(b.Version) + `" "User Commands"`)
	m.macro("SH", "NAME")
	m.text(`tacacs_plus \- ask a TACACS+ server: authentication, authorization, accounting`)
	m.macro("SH", "SYNOPSIS")
	m.macro("B", "tacacs_plus")
	m.text(`[\fIOPTION\fR...] \fICOMMAND\fR [\fIOPTION\fR...]
[\fIUSER\fR] [\fIHOST\fR] [\fIARGUMENT\fR...]`)
	m.macro("SH", "DESCRIPTION")
	m.text(manDescription)
	m.macro("SH", "COMMANDS")
	for i := range table {
		m.command(&table[i])
	}
	m.macro("SH", "OPTIONS")
	m.prose("of commands that use a server; COMMANDS has what is different in one of them")
	for _, o := range sharedOptions() {
		m.option(&o)
	}
	m.text(manEnds)
	m.macro("SH", "EXIT STATUS")
	for _, status := range manStatus {
		m.macro("TP")
		m.macro("B", status.code)
		m.prose(status.when)
	}
	m.macro("SH", "EXAMPLES")
	for _, c := range table {
		for i := range c.examples {
			m.example(c.example(i))
		}
	}
	m.text(manLast)
	return m.b.String()
}

// A roff builds a page in the language of man(7).
type roff struct{ b strings.Builder }

// text writes lines of roff, none wider than helpWidth.
func (m *roff) text(lines string) { m.b.WriteString(strings.TrimSpace(lines) + "\n") }

// prose writes plain text.
func (m *roff) prose(text string) {
	for _, line := range wrap(strings.Fields(inRoff(text)), helpWidth-len(notMacro)) {
		if line[0] == '.' {
			line = notMacro + line
		}
		m.b.WriteString(line + "\n")
	}
}

// macro writes a macro with its arguments, which are plain text.
func (m *roff) macro(name string, args ...string) {
	m.b.WriteString("." + name)
	for _, arg := range args {
		arg = strings.ReplaceAll(inRoff(arg), `"`, `\(dq`)
		if strings.Contains(arg, " ") || arg == "" {
			arg = `"` + arg + `"`
		}
		m.b.WriteString(" " + arg)
	}
	m.b.WriteByte('\n')
}

// command writes the section of a command, with its own options.
func (m *roff) command(c *command) {
	m.macro("SS", strings.TrimSpace(c.name+" "+c.words()))
	m.prose(c.summary)
	for _, o := range c.ownOptions().options {
		m.option(&o)
	}
	for _, o := range c.sharedOptions() {
		if _, _, special := o.meaning(c.name); special {
			m.option(&o)
		}
	}
}

// option writes an option: its names and value, then its text.
func (m *roff) option(o *option) {
	var names []string
	for _, name := range o.dashed() {
		names = append(names, `\fB`+inRoff(name)+`\fR`)
	}
	left := strings.Join(names, ", ")
	if o.arg != "" {
		left += ` \fI` + inRoff(o.arg) + `\fR`
	}
	m.macro("TP")
	m.text(left)
	help := o.help
	if strings.HasSuffix(help, ":") {
		help += " " + strings.Join(o.choices(), ", ")
	}
	m.prose(help)
}

// example writes a command line as an example.
func (m *roff) example(line string) {
	m.text(".RS\n.nf\n" + inRoff(line) + "\n.fi\n.RE\n.PP")
}

// inRoff escapes plain text for roff.
func inRoff(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`, "'", `\(aq`, "^", `\(ha`, "~", `\(ti`, "`", `\(ga`).Replace(text)
}

// notMacro precedes a dot that begins a line of text.
const notMacro = `\&`

const manDescription = `
Asks a TACACS+ server what a network device would ask it: does this password
log in, may this user run this command, is this event recorded?
It implements RFC 8907 and RFC 9887 (TLS 1.3), prints one line for a person and
sets an exit status for a script.
It is also a lab server, a relay, a check for a monitor, a load test, and a
reader of captures.
.PP
.I HOST
is one server or several with commas, each
.IR name ,
.I name:port
or
.IR [IPv6]:port ;
the next one is tried after a failure, never after a denial.
.PP
Options can be anywhere, those of a command anywhere after its name.
They have one dash or two.
A value is the next word, or follows =.
.B \-\-
ends them.
.PP
.BI @ NAME
reads options from a file, a profile: one long option a line without dashes, as
.I "name value"
or
.IR name=value ;
lines that begin with # are comments.
.B host
is
.IR HOST .
The names of files in it are relative to its folder.
Options on the command line override the profile.
Options that the command does not use are ignored.
`

const manEnds = `
.SH ENVIRONMENT
.TP
.B TACACS_PLUS_KEY
the shared secret, unless an option gives it
.TP
.B TACACS_PLUS_PWD
the password, unless an option gives it
.TP
.B XDG_CONFIG_HOME
the parent of the folder of profiles, instead of
.I \(ti/.config
.SH FILES
.TP
.I \(ti/.config/tacacs_plus/NAME
the profile
.BR @NAME ;
a name with a slash is a path.
On Windows the folder is
.IR %AppData%\(rstacacs_plus .
.PP
No profile is loaded unless you name it.
`

// manStatus describes the exit codes.
var manStatus = [...]struct{ code, when string }{
	{"0", "granted: PASS, PASS_ADD, PASS_REPL, SUCCESS"},
	{"1", "denied: FAIL, FOLLOW, an unanswered prompt, an argument of --require that is not in effect"},
	{"2", "usage: an error in the command line, a profile or a file; nothing was sent"},
	{"3", "the server answered ERROR, or with an empty body"},
	{"4", "network: resolve, refused, unreachable, timeout, closed before the answer"},
	{"5", "protocol: a wrong key, bad length, sequence, session, type, version or flag"},
	{"6", "TLS: handshake, certificate, version"},
	{"128+N", "interrupted by signal N: 130 is Ctrl-C"},
}

const manLast = `
A profile, for
.BR "tacacs_plus authenticate alice @prod" :
.PP
.RS
.nf
host tac1,tac2
tls
cacert ca.pem
cert me.pem
.fi
.RE
.SH SECURITY
The obfuscation of RFC 8907 is not encryption: it is an XOR with a pad made of
MD5 and the shared secret.
Whoever records one packet can guess keys offline, and nothing protects a
packet against changes.
Use it on trusted networks only, with a long random key for each device, or use
.BR \-\-tls .
.PP
Every user of the host can see a secret on the command line in the list of
processes.
Text from a server is untrusted: what is not printable is shown as
.IR \(rsxNN .
.SH STANDARDS
RFC 8907, the TACACS+ protocol;
RFC 9887, TACACS+ over TLS 1.3;
RFC 1994 (CHAP), RFC 2433 and RFC 2759 (MS\-CHAP).
`
