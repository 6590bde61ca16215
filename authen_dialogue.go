package main

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An authentication is the dialogue of a login, of enable, or of a password change. RFC 8907 section 5.4.
type authentication struct {
	action      authenAction
	fields      commonFields
	password    string
	chapID      int    // of the CHAP challenge; -1 for a random one
	challenge   []byte // empty for a random one
	newPassword string // for CHPASS
	answers     []string
	answerName  string // what gives the command more answers, such as --answer; empty for nothing
	answerAgain bool   // answers are for a repeated prompt too
	deferred    bool   // the person types the password when the server asks
	deferredNew bool   // and the new password

	tried     []authenType           // the types of the sessions so far; the last one is under way
	used      [authenRestart + 1]int // how many of the prepared answers the session has used, by status
	answered  int                    // how many of answers
	once      bool                   // the session has sent a new password, or an answer that may be a one-time code
	typed     []string               // by the person, without echo
	givenUser string                 // the answer to the last GETUSER
	server    string                 // that sent the last reply
	lastLine  string                 // of the last prompt for the password
	repeated  bool                   // the last prompt is a refusal: it repeats that for the password
	pending   pendingPrompt
	firstNew  string // the new password, before it is typed again
	start     authenStart
	response  authenReply
}

// A pendingPrompt is what a person is being asked for.
type pendingPrompt uint8

const (
	pendingAnswer   pendingPrompt = iota // for the prompt of the reply
	pendingPassword                      // the password, with our label
	pendingWords                         // the password, with the server's text
	pendingRestart                       // the password, before another session begins
	pendingNew                           // the new password
	pendingNewAgain                      // the new password once more
)

// newLogin returns the dialogue of a login or, if the service is ENABLE, of enable.
func newLogin(fields commonFields, password string) *authentication {
	return &authentication{action: authenLogin, fields: fields, password: password, chapID: -1}
}

func newPasswordChange(fields commonFields, old, newPassword string) *authentication {
	return &authentication{action: authenChPass, fields: fields, password: old, newPassword: newPassword, chapID: -1}
}

func (a *authentication) packetType() (packetType, version) { return typeAuthen, a.typ().minor() }

func (a *authentication) reset() { a.tried = nil }

// typ returns the type of the session: the one asked for, or one that RESTART led to.
func (a *authentication) typ() authenType {
	if len(a.tried) > 0 {
		return a.tried[len(a.tried)-1]
	}
	return a.fields.typ
}

// interactive is true for ASCII and ENABLE.
func (a *authentication) interactive() bool {
	return a.typ() == authenASCII || a.fields.service == authenServiceEnable
}

func (a *authentication) repeatable() bool { return !a.once }

func (a *authentication) reply() message { return &a.response }

// secrets leaves out parts of the user's name: a gap in the name would show them.
func (a *authentication) secrets() []string {
	all := append([]string{a.password, a.newPassword}, a.answers...)
	return slices.DeleteFunc(append(all, a.typed...), func(s string) bool { return strings.Contains(a.fields.user, s) })
}

// check implements dialogue. Section 5.4.2.
func (a *authentication) check(remAddr string) error {
	typ := a.typ()
	switch {
	case a.action == authenChPass && typ != authenASCII:
		return failf(classUsage, "chpass needs --authen-type ascii, not %s", typ)
	case a.fields.user == "" && typ != authenASCII:
		return failf(classUsage, "an empty user needs --authen-type ascii")
	case typ == authenPAP && len(a.password) > maxFieldLen:
		return failf(classUsage, "the password is %d bytes, the limit of pap is %d", len(a.password), maxFieldLen)
	}
	if err := checkChallengePassword(typ, a.password); err != nil {
		return err
	}
	if err := a.fields.fit(remAddr); err != nil || !a.interactive() {
		return err
	}
	for _, text := range append([]string{a.password, a.newPassword}, a.answers...) {
		if err := fits(&authenContinue{userMsg: text}); err != nil {
			return err
		}
	}
	return nil
}

// firstMessage builds the START. After a RESTART it is checked again, since the new type has other limits. Section 5.4.2.
func (a *authentication) firstMessage(remAddr string) (message, error) {
	if len(a.tried) > 0 {
		if err := a.check(remAddr); err != nil {
			return nil, err
		}
	}
	clear(a.used[:])
	a.answered, a.once = 0, false
	a.start = authenStart{action: a.action, commonFields: a.fields}
	typ := a.typ()
	a.start.typ, a.start.remAddr = typ, remAddr
	switch {
	case typ == authenPAP:
		a.start.data = a.password
	case typ.challenged():
		random := make([]byte, 1+16+16)
		rand.Read(random) // never fails
		id, challenge, peer := random[0], random[1:1+challengeSize(typ)], random[17:]
		if a.chapID >= 0 {
			id = byte(a.chapID)
		}
		if len(a.challenge) > 0 && typ == a.fields.typ {
			challenge = a.challenge
		}
		a.start.data, _ = chapData(typ, a.fields.user, a.password, id, challenge, peer) // check has seen the password
	}
	return &a.start, nil
}

// on returns the verdict, or answers a prompt if the answer is known. RESTART leads to another session with a type that
// the server names: each type once, and never one that sends the password if the first type does not. Section 5.4.
func (a *authentication) on(server string) (r reaction) {
	status := a.response.status
	a.server = server
	if !authenStatusNames.has(uint8(status)) {
		return unknownStatus(server, status)
	}
	if status.asks() && !a.interactive() {
		r.abort = abort("no prompts with " + a.typ().String())
		r.err = failf(classProtocol, "%s sent an unexpected %s in reply to %s", server, status, a.typ())
		return r
	}
	a.setVerdict(&r)
	switch status {
	case authenGetData, authenGetUser, authenGetPass:
		a.onPrompt(&r)
	case authenFail:
		if !givesReason(cmp.Or(oneLine(a.response.serverMsg), a.response.data)) {
			r.verdict.hint = "see the server's log: account, password, device policy and time rules look the same from here"
		}
	case authenFollow:
		r.verdict.hint = followHint(a.response.data)
	case authenRestart:
		a.onRestart(&r)
	}
	return r
}

func (a *authentication) setVerdict(r *reaction) {
	v, reply := &r.verdict, &a.response
	v.status, v.serverMsg, v.data = reply.status, reply.serverMsg, reply.data
	v.authenType, v.flags = a.typ().String(), reply.flags.String()
}

// onRestart begins another session if there is a type for it. A deferred password is asked for first.
func (a *authentication) onRestart(r *reaction) {
	if a.tried == nil {
		a.tried = []authenType{a.fields.typ}
	}
	next, ok := restartType(a.response.data, a.tried)
	if !ok || a.action != authenLogin || a.fields.user == "" && next != authenASCII {
		r.verdict.hint = a.restartHint()
		return
	}
	r.warnings = []namedWarning{newWarning(warnRestart, "the server requested a restart with %s instead of %s", next, a.typ())}
	if a.deferred && next != authenASCII {
		a.pending = pendingRestart
		r.prompt = &prompt{label: a.fields.promptFor("password"), hidden: true}
		return
	}
	a.tried, r.restart = append(a.tried, next), true
}

// restartHint returns the hint for a RESTART that leads to no other session.
func (a *authentication) restartHint() string {
	switch {
	case a.action == authenChPass: // which has only this type
		return "see the server's log: it does not accept a password change with " + a.typ().String()
	case a.fields.user == "":
		return "give USER: only ascii can do without, and the server does not accept it"
	}
	return "try another --authen-type: the server does not accept " + a.typ().String()
}

// wantsPassword reports whether a prompt asks for the password. For CHPASS that is GETDATA, and GETPASS
// asks for the new one. Section 5.4.2.7.
func (a *authentication) wantsPassword(status authenStatus) bool {
	return status == choose(a.action == authenChPass, authenGetData, authenGetPass)
}

// prepared returns the answers to prompts of a status that are known beforehand, in order.
func (a *authentication) prepared(status authenStatus) []string {
	switch {
	case a.wantsPassword(status):
		return []string{a.password}
	case status == authenGetPass:
		return []string{a.newPassword, a.newPassword}
	case status == authenGetUser && a.fields.user != "":
		return []string{a.fields.user}
	}
	return nil
}

// onPrompt answers a prompt with a prepared answer, the next of --answer, or the person's. GETUSER is answered once:
// servers log a name that they do not know, and the next answer may be a secret.
func (a *authentication) onPrompt(r *reaction) {
	status := a.response.status
	a.notePrompt()
	ready, used := a.prepared(status), a.used[status]
	switch {
	case used < len(ready):
		a.sendPrepared(r, ready[used])
	case status == authenGetUser && used > 0 && len(ready) > 0:
		r.err, r.abort = a.userRefused(), abort("no answer to the prompt")
	case a.answered < len(a.answers) && (status != authenGetUser || used == 0) && (!a.repeated || a.answerAgain):
		a.answered++
		a.send(r, a.answers[a.answered-1])
	default:
		a.pending, r.prompt = pendingAnswer, a.prompt()
	}
}

// userRefused returns the error for a server that asks for the user name again.
func (a *authentication) userRefused() error {
	f := failf(classDenied, "%s asked for the user name again", a.server)
	if a.answerName == "" {
		return f.withHint("check USER: the server does not accept it")
	}
	return f.withHint(fmt.Sprintf("check USER: the server does not accept it (%s cannot replace it)", a.answerName))
}

// notePrompt notes whether a prompt repeats the last line of the one for the password, also after a sentence: many
// servers refuse a password by asking for it again. CHPASS asks for the old one with GETDATA alone, so that even an empty
// text shows the repetition.
func (a *authentication) notePrompt() {
	a.repeated = false
	if !a.wantsPassword(a.response.status) {
		return
	}
	text := strings.TrimSpace(a.response.serverMsg)
	line := strings.TrimSpace(text[strings.LastIndexAny(text, "\r\n")+1:])
	same := line == a.lastLine || a.lastLine != "" && strings.HasSuffix(line, ". "+a.lastLine)
	a.repeated = a.used[a.response.status] > 0 && same && (line != "" || a.action == authenChPass)
	a.lastLine = line
}

// sendPrepared sends a prepared answer, or asks the person for a deferred password.
func (a *authentication) sendPrepared(r *reaction, text string) {
	status := a.response.status
	switch {
	case a.deferred && a.wantsPassword(status):
		r.prompt = a.prompt()
		if a.pending = pendingPassword; r.prompt.words != "" {
			a.pending = pendingWords
		}
		r.prompt.hidden = true
	case a.deferredNew && status == authenGetPass:
		a.pending, r.prompt = pendingNew, a.prompt()
	default:
		a.send(r, text)
	}
}

// send answers the prompt of the last reply.
func (a *authentication) send(r *reaction, text string) {
	status := a.response.status
	a.once = a.once || status != authenGetUser && (!a.repeated || a.answerAgain) && (!a.wantsPassword(status) || a.used[status] > 0)
	if status == authenGetUser || a.used[status] < len(a.prepared(status)) {
		a.used[status]++
	}
	if status == authenGetUser {
		a.givenUser = text
	}
	r.send, r.prompt = &authenContinue{userMsg: text}, nil
}

// prompt returns the prompt of the last reply, without the server's text if that is only "Password:".
func (a *authentication) prompt() *prompt {
	status := a.response.status
	p, password := &prompt{label: "data"}, false
	switch {
	case a.wantsPassword(status):
		p.label, password = a.fields.promptFor("password"), true
	case status == authenGetPass:
		p.label, password = a.fields.promptFor("new password"), true
	case status == authenGetUser:
		p.label = "username"
	}
	words := strings.TrimSpace(a.response.serverMsg)
	if !password || !strings.EqualFold(strings.TrimRight(words, ": "), "password") {
		p.words = words
	}
	// GETPASS asks for a secret even if the server forgot the flag.
	p.hidden = a.response.flags&authenNoEcho != 0 || status == authenGetPass || a.wantsPassword(status)
	return p
}

// answer implements dialogue. A password that was asked for with our label is used for the next server too, as is a new
// one; an answer to the server's text, such as a challenge, is for this session alone.
func (a *authentication) answer(text string, err error) (r reaction) {
	a.setVerdict(&r)
	if err == nil && a.prompt().hidden {
		a.typed = append(a.typed, text)
	}
	if err != nil || text == "" && a.pending != pendingAnswer {
		a.onNoAnswer(&r, err)
		return r
	}
	switch a.pending {
	case pendingRestart:
		a.password, a.deferred = text, false
		a.onRestart(&r)
		r.warnings = nil // the person has seen them
		return r
	case pendingPassword:
		a.password, a.deferred = text, false
	case pendingNew:
		a.firstNew, a.pending = text, pendingNewAgain
		r.prompt = &prompt{label: a.fields.promptFor("new password") + " again", hidden: true}
		return r
	case pendingNewAgain:
		if text != a.firstNew {
			r.err, r.abort = failf(classUsage, "the two new passwords differ"), abort("no answer to the prompt")
			return r
		}
		a.newPassword, a.deferredNew = text, false
	}
	a.send(&r, text)
	return r
}

// onNoAnswer ends a session whose prompt has no answer, or an empty password. err is nil for the latter.
func (a *authentication) onNoAnswer(r *reaction, err error) {
	noAnswer := errors.Is(err, errNoAnswer)
	secret, hint := "password", "give --password-file FILE, or set TACACS_PLUS_PWD"
	if a.pending == pendingNew || a.pending == pendingNewAgain {
		secret, hint = "new password", "give --new-password-file FILE"
	}
	switch {
	case err == nil:
		r.err = failf(classUsage, "no %s was typed", secret)
	case noAnswer && a.pending != pendingAnswer:
		r.err = failf(choose(a.pending == pendingRestart, classDenied, classUsage), "no %s typed", secret).withHint(hint)
	case noAnswer && a.response.status == authenGetUser && a.used[authenGetUser] > 0:
		r.err = a.userRefused()
	case noAnswer && a.repeated:
		r.verdict.status, r.verdict.prompt, r.verdict.hint = authenFail, a.response.status.String(), "check the "+choose(a.action == authenChPass, "old ", "")+"password: the server asked for it again"
	case noAnswer:
		r.err = a.unanswered()
	default:
		r.err = err
	}
	if a.pending != pendingRestart { // which ended the session
		r.abort = abort("no answer to the prompt")
	}
}

// unanswered returns the error for a prompt that nothing answers.
func (a *authentication) unanswered() error {
	words := cmp.Or(oneLine(a.response.serverMsg), a.response.status.String())
	if a.answerName != "" {
		words += " (use " + a.answerName + ")"
	}
	f := failf(classDenied, "unanswered prompt: %s", words)
	if a.action == authenChPass && a.response.status == authenGetPass {
		return f.withHint("choose another new password: the server may have refused this one")
	}
	return f
}
