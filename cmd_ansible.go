package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// An ansibleTask is the content of the file with which Ansible calls a module that is a binary: what
// the playbook gives the module, and Ansible's own words to it, whose names begin with _ansible_.
type ansibleTask map[string]json.RawMessage

// maxTaskFile is how large such a file may be, in bytes.
const maxTaskFile = 1 << 20

// readTask is the task of a command line that Ansible has written; nil for every other one. Only a
// single word with a slash, which no command has, is looked at: it must name a file that holds a
// JSON object with words of Ansible's own.
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

// ansibleOwn is what the names of Ansible's own words begin with.
const ansibleOwn = "_ansible_"

// ansibleCommands are the commands that answer once, and whether they change anything.
func ansibleCommands() map[string]bool {
	return map[string]bool{"authenticate": false, "enable": false, "authorize": false, "check": false, "version": false,
		"chpass": true, "account": true}
}

// answer carries the task out and prints what came of it as Ansible reads it.
func (t ansibleTask) answer(ctx context.Context, table []command, std stdio) exitCode {
	var shown, said bytes.Buffer
	inner := std
	inner.out, inner.err = &shown, &said
	typed, err := oneText(newPassword, t[newPassword])
	inner.in = strings.NewReader(typed + "\n")
	line, mistake := t.commandLine(table)
	inv, slip := parse(table, line, inner)
	err = cmp.Or(err, mistake, slip)
	a := &ansibleAnswer{stream: &shown, said: &said, changes: ansibleCommands()[inv.command.name]}
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

// newPassword is the one option that no command line has: it is typed on standard input in its place.
const newPassword = "new_password"

// commandLine is the task in the words of a person, as far as they can be made of it. Nobody sees
// them: they never are the arguments of a process.
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
	if _, fits := ansibleCommands()[c.name]; !fits {
		return line, failf(classUsage, "the command %s is not for Ansible, which waits for one answer", c.name)
	}
	inv := &invocation{table: table, options: newOptionSet()}
	inv.declare(inv.options)
	inv.action = c.setup(inv.options)
	from := make(map[string]string) // which name an option was given by
	for _, name := range slices.Sorted(maps.Keys(t)) {
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

// optionWords are one option and its value, or each of its values, as words of a command line: none
// where it is null or a toggle that is off. The value may be a secret, which no error repeats.
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
		return nil, failf(classUsage, "the option %s is not for Ansible, which waits for one JSON object", given)
	}
	if o.long == "password-stdin" || o.long == "new-password-stdin" && given != newPassword {
		return nil, failf(classUsage, "there is no standard input for %s under Ansible", given)
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
	case *list:
		values, err = texts(given, value)
	default:
		values, err = oneValue(given, o.value, value)
	}
	for _, v := range values {
		if v == "-" && o.arg == "FILE" {
			return nil, failf(classUsage, "there is no standard input for %s under Ansible", given)
		}
		words = append(words, word+"="+v)
	}
	return words, err
}

// oneValue is the value of an option that has one: a text, or a number where it asks for one; none
// where it is null.
func oneValue(name string, of optionValue, value json.RawMessage) ([]string, error) {
	switch of.(type) {
	case *number, *seconds:
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

// onOrOff is the value of a toggle, in any of the words that Ansible has for it.
func onOrOff(name string, value json.RawMessage) (bool, error) {
	switch strings.ToLower(strings.Trim(string(value), `"`)) {
	case "true", "yes", "on", "y", "t", "1":
		return true, nil
	case "false", "no", "off", "n", "f", "0", "null":
		return false, nil
	}
	return false, failf(classUsage, "%s is neither true nor false", name)
}

// texts are a list of texts; one alone and none count as such.
func texts(name string, value json.RawMessage) (all []string, err error) {
	var items []json.RawMessage
	if json.Unmarshal(value, &items) != nil {
		items = []json.RawMessage{value}
	}
	for _, item := range items {
		text, err := oneText(name, item)
		if err != nil {
			return nil, err
		}
		if item != nil {
			all = append(all, text)
		}
	}
	return all, nil
}

// oneText is a text, or nothing for null. YAML makes numbers and truth values of what is not in
// quotes, and those have lost how they were written: the password 0123 would be 83.
func oneText(name string, value json.RawMessage) (text string, err error) {
	if value != nil && json.Unmarshal(value, &text) != nil {
		return "", failf(classUsage, "%s is not one text", name).withHint("put it in quotes, so that YAML leaves it as it is")
	}
	switch {
	case strings.ContainsRune(text, utf8.RuneError):
		return "", failf(classUsage, "%s is not Unicode text", name)
	case strings.HasSuffix(name, "password") && strings.ContainsAny(text, "\r\n"): // which nobody can type at a prompt
		return "", failf(classUsage, "%s has more than one line", name).withHint("YAML's | and > add the end of a line, |- and >- do not")
	}
	return text, nil
}

// An ansibleAnswer is an output as Ansible reads it: the facts of --json, and what every module says.
type ansibleAnswer struct {
	output
	changes, skipped bool
	stream           io.Reader     // what was shown before the end
	said             *bytes.Buffer // standard error
	objects          []any         // that --json shows
	msg              string
}

// conclude keeps for the message what standard error would have said.
func (a *ansibleAnswer) finish(err error) *failure {
	f := a.output.finish(err)
	for d := json.NewDecoder(io.MultiReader(a.stream, strings.NewReader(a.output.json()))); ; {
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

// sum is what several answers, or the servers of a check, come to, on one line; empty for one alone.
func (a *ansibleAnswer) sum() string {
	parts, things, fine := a.objects, "answers", "granted"
	if len(parts) == 1 {
		parts, _ = parts[0].(map[string]any)["servers"].([]any)
		things, fine = "servers", "well"
	}
	if len(parts) < 2 {
		return ""
	}
	not := 0
	var why []string // each reason once
	for _, part := range parts {
		facts := part.(map[string]any)
		if wrong, is := facts["error"].(map[string]any); is {
			not++
			server, _ := facts["server"].(string)
			if text := naming(server, oneLine(fmt.Sprint(wrong["message"]))); !slices.Contains(why, text) {
				why = append(why, text)
			}
		}
	}
	if not == 0 {
		return fmt.Sprintf("%d %s, all %s", len(parts), things, fine)
	}
	return fmt.Sprintf("%d %s, %d not %s: %s", len(parts), things, not, fine, strings.Join(why, "; "))
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
	for said := range strings.Lines(a.said.String()) {
		if warning, ok := strings.CutPrefix(said, "tacacs_plus: warning: "); ok {
			warnings = append(warnings, strings.TrimSpace(warning))
		}
	}
	if warnings != nil {
		answer["warnings"] = warnings
	}
	granted := a.exit() == classGranted.exit()
	if a.skipped {
		answer["skipped"] = true
	}
	answer["changed"] = a.changes && granted && !a.skipped
	answer["failed"] = !granted
	answer["msg"] = cmp.Or(a.msg, fmt.Sprintf("exit code %d", a.exit()))
	return encodeJSON(answer)
}
