package main

import (
	"slices"
	"strings"
	"testing"
)

// offers returns the completions of the last word, without the descriptions.
func offers(t *testing.T, env map[string]string, words ...string) []string {
	t.Helper()
	got := runWith(t, env, "", append([]string{"completion", "--"}, words...)...)
	if got.code != 0 || got.err != "" {
		t.Errorf("%q: got %+v", words, got)
	}
	var offered []string
	for line := range strings.Lines(got.out) {
		word, description, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if !ok {
			t.Errorf("%q: no tab in %q", words, line)
		}
		if word == "FILE" {
			word += description
		}
		offered = append(offered, word)
	}
	return offered
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	_, env := profileDir(t, "prod", "", "lab", "", "prod.key", "", "two words", "", "right\u202eleft", "")
	for _, tt := range []struct{ line, want string }{
		{"auth", "authenticate authorize"},
		{"-v auth", "authenticate authorize"},
		{"--timeout 5 auth", "authenticate authorize"},
		{"--timeout=5 auth", "authenticate authorize"},
		{"--timeout=5 @prod auth", "authenticate authorize"},
		{"nonsense ''", "authenticate enable chpass authorize account check batch bench serve relay decode completion version help"},
		{"nonsense --retr", "--retries"},
		{"authenticate -t ''", "ascii pap chap mschap mschapv2"},
		{"authenticate --authen_type ms", "mschap mschapv2"},
		{"authenticate --authen-type=ms", "--authen-type=mschap --authen-type=mschapv2"},
		{"authenticate -t=p", "-t=pap"},
		{"-s x", "x25"},
		{"account -f st", "start stop"},
		{"authenticate -f st", ""},
		{"authenticate --chap-i", "--chap-id"},
		{"authorize --cm", "--cmds --cmd --cmd-file"},
		{"--cm", ""},
		{"serve --time", ""},
		{"serve --key", "--key --key-file"},
		{"decode --p", "--port"},
		{"decode ''", "FILE"},
		{"decode --summary x", "FILE"},
		{"-", "-4 -6"},
		{"authenticate --key-file /etc/pass", "FILE"},
		{"authenticate --key-file=/etc/pass", "FILE--key-file="},
		{"serve --key-file 192.0.2.0/24=a", "FILE192.0.2.0/24="},
		{"serve --key-file=192.0.2.7=a", "FILE--key-file=192.0.2.7="},
		{"authenticate --key-file -", "FILE"},
		{"authenticate --key a", ""},
		{"authenticate --tls=", ""},
		{"authenticate --nonsense=a", ""},
		{"authenticate --tls al", ""},
		{"authenticate alice ''", ""},
		{"authenticate alice @", `@lab @prod @right\xe2\x80\xaeleft`},
		{"@nonsense auth", "authenticate authorize"},
		{"@pr", "@prod"},
		{"authenticate --host @", ""},
		{"@./f", "FILE@"},
		{"help ch", "chpass check"},
		{"completion ''", "bash fish zsh"},
		{"version ''", ""},
		{"account alice tac1 --exec -- ma", "FILE"},
		{"decode -- x", "FILE"},
		{"-- account ''", ""},
		{"authorize alice tac1 -- -", ""},
		{"account --exec -- authenticate --chap", "FILE"},
	} {
		got := offers(t, env, split(tt.line)...)
		if tt.line == "-" { // and all long ones
			got = slices.DeleteFunc(got, func(w string) bool { return strings.HasPrefix(w, "--") })
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: got %q, want %q", tt.line, got, tt.want)
		}
	}
	want := "authenticate\tdoes this password log in?\nauthorize\tmay the user do this? (default: open a shell)\n"
	runWith(t, env, "", "completion", "--", "auth").check(t, 0, strings.NewReplacer("?", `\?`, "(", `\(`, ")", `\)`).Replace(want), "")
	runWith(t, env, "", "completion", "--", "--key-f").check(t, 0, "--key-file\tfile with the shared secret\n", "")
	runWith(t, env, "", "completion", "--", "--authen").check(t, 0, "--authen-type\tauthentication type\n", "")
}

// TestCompletionOptions: the options of each command in its help are completed, and no others.
func TestCompletionOptions(t *testing.T) {
	t.Parallel()
	long := func(names string) (words []string) {
		for name := range strings.FieldsSeq(names) {
			if len(name) > 1 {
				words = append(words, "--"+name)
			}
		}
		return words
	}
	for _, c := range commands {
		got := offers(t, nil, c.name, "--")
		takes, refuses := sharedOf(c)
		for _, name := range long(ownOptions[c.name] + " " + takes) {
			if !slices.Contains(got, name) {
				t.Errorf("%s: %s is not in %q", c.name, name, got)
			}
		}
		for _, other := range long(refuses) {
			if slices.Contains(got, other) {
				t.Errorf("%s: %s is not one of its options", c.name, other)
			}
		}
	}
	if got := offers(t, nil, "--"); !slices.Contains(got, "--timeout") || !slices.Contains(got, "--help") || slices.Contains(got, "--nagios") {
		t.Errorf("without a command: %q", got)
	}
}

func TestCompletionScripts(t *testing.T) {
	t.Parallel()
	for shell, registers := range map[string]string{
		"bash": "\ncomplete -F _tacacs_plus tacacs_plus\n",
		"zsh":  "#compdef tacacs_plus\n",
		"fish": "\ncomplete -c tacacs_plus -f -a ",
	} {
		got := runWith(t, nil, "", "completion", shell)
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, registers) || !strings.Contains(got.out, " completion -- ") {
			t.Errorf("%s: got %+v", shell, got)
		}
	}
	hint := "\ntacacs_plus: hint: one of bash, zsh, fish\n"
	runWith(t, nil, "", "completion").check(t, 2, "", "tacacs_plus: the shell is missing"+hint)
	runWith(t, nil, "", "completion", "--").check(t, 2, "", "tacacs_plus: the shell is missing"+hint)
	runWith(t, nil, "", "completion", "csh").check(t, 2, "", "tacacs_plus: no completion for the shell \"csh\""+hint)
	runWith(t, nil, "", "completion", "bash", "zsh").check(t, 2, "", "tacacs_plus: unexpected argument \"zsh\"\n")
}
