package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An ansibleTask is the content of the file with which Ansible calls a binary module: the parameters of the
// task, and Ansible's own, whose names begin with _ansible_.
type ansibleTask map[string]json.RawMessage

// maxTaskFile is the largest size of that file, in bytes.
const maxTaskFile = 1 << 20

// readTask returns the task of a command line that Ansible wrote, or nil. That is a single word with a slash,
// which no command has. It names a regular file with a JSON object that has parameters of Ansible's own.
func readTask(args []string) ansibleTask {
	if len(args) != 1 || !strings.Contains(args[0], "/") {
		return nil
	}
	if info, err := os.Stat(args[0]); err != nil || !info.Mode().IsRegular() {
		return nil // to open a pipe may block
	}
	text, err := readLimited(args[0], maxTaskFile)
	var t ansibleTask
	if err != nil || json.Unmarshal(text, &t) != nil {
		return nil
	}
	for name := range t {
		if strings.HasPrefix(name, ansibleOwn) {
			return t
		}
	}
	return nil
}

// ansibleOwn is the prefix of Ansible's own parameters.
const ansibleOwn = "_ansible_"

// The commands that a task can have: those that change something, and the others.
const (
	changingCommands = "chpass account login"
	askingCommands   = "authenticate enable authorize check version"
)

// answer runs the task and prints the result for Ansible.
func (t ansibleTask) answer(ctx context.Context, table []command, std stdio) exitCode {
	var stdout, stderr bytes.Buffer
	inner := std
	inner.out, inner.err, inner.terminal = &stdout, &stderr, nil
	password, err := oneText(newPassword, t[newPassword])
	inner.in = strings.NewReader(password + "\n")
	line, lineErr := t.commandLine(table)
	inv, parseErr := parse(table, line, inner)
	err = cmp.Or(err, lineErr, parseErr)
	a := &ansibleAnswer{stdout: &stdout, stderr: &stderr, changes: hasWord(changingCommands, inv.command.name) || inv.given("login")}
	switch {
	case err != nil:
		a.output = inv.misused(err)
	case a.changes && string(t["_ansible_check_mode"]) == "true":
		a.output, a.skipped = &page{text: "check mode: nothing was sent"}, true
	default:
		if a.output, err = inv.carryOut(ctx); a.output == nil {
			a.output = inv.misused(err)
		}
	}
	inv.std = std
	return inv.finish(a, err)
}

// newPassword is the one parameter that no option takes: it is passed on stdin.
const newPassword = "new_password"

// commandLine returns the task as a command line, up to the first error. It is never visible in the list of
// processes.
func (t ansibleTask) commandLine(table []command) (line []string, err error) {
	line = []string{"--json"}
	name, err := oneText("command", t["command"])
	if err != nil || name == "" {
		return line, err
	}
	c, err := findCommand(table, name, hintList)
	if err != nil {
		return line, err
	}
	line = append(line, c.name)
	if !hasWord(changingCommands+" "+askingCommands, c.name) {
		return line, failf(classUsage, "the command %s does not work under Ansible, which needs one answer", c.name)
	}
	inv := &invocation{table: table, command: *c, options: newOptionSet()}
	inv.declare(inv.options)
	inv.action = c.setup(inv.options)
	from := make(map[string]string) // the parameter of each option
	for _, name := range sortedNames(t) {
		if name == "command" || name == "args" || strings.HasPrefix(name, ansibleOwn) {
			continue
		}
		words, err := optionWords(inv, name, t[name])
		if err != nil {
			return line, err
		}
		if len(words) == 0 {
			continue
		}
		option, _, _ := strings.Cut(words[0], "=")
		if from[option] != "" {
			return line, failf(classUsage, "%s and %s are the same option", from[option], name)
		}
		from[option] = name
		line = append(line, words...)
	}
	words, err := texts("args", t["args"])
	return append(append(line, "--"), words...), err
}

// optionWords returns one option with its value, or with each of its values, as words of a command line. There
// are none for null and for a toggle that is off. The value may be a secret, so no error repeats it.
func optionWords(inv *invocation, name string, value json.RawMessage) (words []string, err error) {
	given := name
	switch name {
	case "user":
		name = "username"
	case newPassword:
		if name = "new-password-stdin"; string(value) != "null" {
			value = json.RawMessage("true")
		}
	}
	o := inv.options.find(name)
	if o == nil {
		return nil, inv.unknownOption("--"+name, "--"+given)
	}
	switch o.long {
	case "debug", "exec", "interval", "nagios", "output", "prometheus", "quiet", "verbose":
		return nil, failf(classUsage, "the option %s does not work under Ansible, which needs one JSON object", given)
	}
	if o.long == "password-stdin" || o.long == "new-password-stdin" && given != newPassword {
		return nil, failf(classUsage, "%s does not work under Ansible, which has no standard input", given)
	}
	word := "--" + o.long
	var values []string
	switch o.value.(type) {
	case *toggle:
		on, err := onOrOff(given, value)
		if on {
			words = []string{word}
		}
		return words, err
	case *list, *pinList, *hostList:
		values, err = texts(given, value)
	default:
		values, err = oneValue(given, o.value, value)
	}
	for _, v := range values {
		if _, file, _ := cutServer(v); o.arg == "FILE" && (v == "-" || file == "-") {
			return nil, failf(classUsage, "%s does not work under Ansible, which has no standard input", given)
		}
		words = append(words, word+"="+v)
	}
	return words, err
}

// oneValue returns the value of an option: a text, or a number if the option takes one. There is none for null.
func oneValue(name string, of flag.Value, value json.RawMessage) ([]string, error) {
	switch of.(type) {
	case *number, *seconds, *timeOrZero:
		if _, err := strconv.ParseFloat(string(value), 64); err == nil {
			return []string{string(value)}, nil
		}
	}
	text, err := oneText(name, value)
	if err != nil || string(value) == "null" {
		return nil, err
	}
	return []string{text}, nil
}

// onOrOff returns the value of a toggle, which YAML can write in several ways.
func onOrOff(name string, value json.RawMessage) (bool, error) {
	switch strings.ToLower(strings.Trim(string(value), `"`)) {
	case "true", "yes", "on", "y", "t", "1":
		return true, nil
	case "false", "no", "off", "n", "f", "0", "null":
		return false, nil
	}
	return false, failf(classUsage, "%s must be true or false", name)
}

// texts returns a list of texts. A single one is a list of one, and null an empty list.
func texts(name string, value json.RawMessage) (all []string, err error) {
	var items []json.RawMessage
	itemName := "an item of " + name
	if json.Unmarshal(value, &items) != nil {
		items, itemName = []json.RawMessage{value}, name
	}
	for _, item := range items {
		text, err := oneText(itemName, item)
		if err != nil {
			return nil, err
		}
		if item != nil {
			all = append(all, text)
		}
	}
	return all, nil
}

// oneText returns a text, which is empty for null. A number is an error: YAML reads an unquoted password 0123 as
// 83.
func oneText(name string, value json.RawMessage) (text string, err error) {
	if value != nil && json.Unmarshal(value, &text) != nil {
		return "", notText(name, value)
	}
	switch {
	case !utf8.Valid(value) || hasLoneSurrogate(value):
		return "", failf(classUsage, "%s is not valid Unicode", name)
	case strings.HasSuffix(name, "password") && strings.ContainsAny(trimLineEnd(text), "\r\n"): // impossible to type at a prompt
		return "", failf(classUsage, "%s has more than one line", name).withHint("use |- or >- in YAML: | and > add a newline")
	}
	return text, nil
}

// notText returns the failure for a value that is no text, without showing it: it may be a secret.
func notText(name string, value json.RawMessage) *failure {
	kind := "a number"
	switch value[0] {
	case '[':
		return failf(classUsage, "%s is a list, not a string", name)
	case '{':
		return failf(classUsage, "%s is a dictionary, not a string", name)
	case 't', 'f':
		kind = "true or false"
	}
	return failf(classUsage, "%s is %s, not a string", name, kind).withHint("put it in quotes, or YAML may change it")
}

// An ansibleAnswer is an output for Ansible: the facts of --json, and the fields of every module.
type ansibleAnswer struct {
	output
	changes, skipped bool
	stdout, stderr   *bytes.Buffer // what the command printed while it ran
	objects          []any         // of --json
	msg              string
}

// finish collects the objects and the message, which has what stderr would have.
func (a *ansibleAnswer) finish(err error) *failure {
	f := a.output.finish(err)
	for d := json.NewDecoder(io.MultiReader(a.stdout, strings.NewReader(a.output.json()))); ; {
		var object map[string]any
		if d.Decode(&object) != nil {
			break
		}
		a.objects = append(a.objects, object)
	}
	a.msg = cmp.Or(a.sum(), strings.TrimSpace(a.output.line()))
	if f != nil && f.err != nil {
		a.msg = oneLine(f.Error())
	}
	if f != nil && f.hint != "" {
		a.msg += "; hint: " + oneLine(f.hint)
	}
	return nil
}

// sum returns one line about several answers, the servers of a check, or the steps of a login. It is empty for a single
// answer.
func (a *ansibleAnswer) sum() string {
	parts, name, good, bad := a.objects, "server", "granted", "not granted"
	if len(parts) == 1 {
		only := parts[0].(map[string]any)
		if parts, _ = only["steps"].([]any); parts != nil {
			name = "step"
		} else {
			parts, _ = only["servers"].([]any)
			good, bad = "up", "failed"
		}
	}
	if len(parts) < 2 {
		return ""
	}
	failures := 0
	var reasons []string // each once
	for _, part := range parts {
		facts := part.(map[string]any)
		if failed, ok := facts["error"].(map[string]any); ok {
			failures++
			part, _ := facts[name].(string)
			if text := naming(part, oneLine(fmt.Sprint(failed["message"]))); !slices.Contains(reasons, text) {
				reasons = append(reasons, text)
			}
		}
	}
	if failures == 0 {
		return fmt.Sprintf("%d/%d %s", len(parts), len(parts), good)
	}
	return fmt.Sprintf("%d/%d %s: %s", failures, len(parts), bad, strings.Join(reasons, "; "))
}

// anyChanged reports whether one of the answers, or of their servers and steps, is a change that a server confirmed.
func anyChanged(list any) bool {
	parts, _ := list.([]any)
	for _, part := range parts {
		facts, _ := part.(map[string]any)
		command, _ := facts["command"].(string)
		granted, _ := facts["granted"].(bool)
		if granted && hasWord(changingCommands, command) || anyChanged(facts["servers"]) || anyChanged(facts["steps"]) {
			return true
		}
	}
	return false
}

func (a *ansibleAnswer) json() string {
	answer := make(map[string]any)
	switch len(a.objects) {
	case 0:
	case 1:
		answer = a.objects[0].(map[string]any)
	default:
		answer["answers"] = a.objects
	}
	var warnings []string
	for line := range strings.Lines(a.stderr.String()) {
		if warning, ok := strings.CutPrefix(line, "tacacs_plus: warning: "); ok {
			warnings = append(warnings, strings.TrimSpace(warning))
		}
	}
	delete(answer, "warnings") // Ansible expects strings
	if warnings != nil {
		answer["warnings"] = warnings
	}
	if a.skipped {
		answer["skipped"] = true
	}
	answer["changed"] = anyChanged(a.objects)
	answer["failed"] = a.exit() != classGranted.exit()
	answer["msg"] = cmp.Or(a.msg, fmt.Sprintf("exit code %d", a.exit()))
	return encodeJSON(answer)
}
