package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestProfile(t *testing.T) {
	t.Parallel()
	s := serveWith(t)
	dir, env := profileDir(t, "tac.key", testKey+"\n", "alice.pwd", testPassword+"\n",
		"prod", "\ufeff# of the tests\r\n\r\n  host = "+s.addr+"\r\nkey-file tac.key\n\npassword_file=alice.pwd\nauthen-type\tascii \n single-connect\n",
		"lab", "host "+s.addr+"\nkey-file "+filepath.Join("nowhere", "tac.key"),
		"any", "host "+s.addr+"\nkey "+testKey+"\npassword "+testPassword+"\ntypes\nconcurrency 3\nuser bob:secret")
	for _, line := range []string{"authenticate alice @prod", "@prod authenticate alice", "authenticate @prod -u alice", "authenticate alice @" + filepath.Join(dir, "prod")} {
		runWith(t, env, "", split(line)...).check(t, 0, "PASS\n", "")
	}
	if got := runWith(t, env, "", split("authenticate alice @prod -v")...); !strings.Contains(got.out, "single-connect: granted") {
		t.Errorf("got %+v", got)
	}
	runWith(t, env, "", split("check @prod")...).check(t, 0, `(?s).*key: ok.*`, "")
	runWith(t, env, "", split("authorize alice @any service=shell cmd=show cmd-arg=version")...).check(t, 0, `PASS_ADD\n`, "")
	runWith(t, env, "", split("authenticate alice @any")...).check(t, 0, "PASS\n", "")
	if runtime.GOOS != "windows" {
		home := map[string]string{"HOME": t.TempDir(), "XDG_CONFIG_HOME": "not/absolute"}
		must(t, os.Mkdir(filepath.Join(home["HOME"], ".config"), 0o700))
		must(t, os.Rename(dir, filepath.Join(home["HOME"], ".config", "tacacs_plus")))
		runWith(t, home, "", split("authenticate alice @prod")...).check(t, 0, "PASS\n", "")
		runWith(t, map[string]string{}, "", "authenticate", "alice", "@nowhere").check(t, 2, "",
			"tacacs_plus: no profile nowhere in /etc/tacacs_plus\ntacacs_plus: hint: use -u for a user whose name begins with @\n")
		runWith(t, map[string]string{}, "", "decode", "@nowhere").check(t, 2, "",
			"tacacs_plus: no profile nowhere in /etc/tacacs_plus\ntacacs_plus: hint: use ./@NAME for a file whose name begins with @\n")
		runWith(t, map[string]string{}, "", "relay", "tac1", "@nowhere").check(t, 2, "", "tacacs_plus: no profile nowhere in /etc/tacacs_plus\n")
		dir = filepath.Join(home["HOME"], ".config", "tacacs_plus")
		got := runWith(t, home, "", split("authenticate alice @lab")...)
		if got.code != 2 || !strings.Contains(got.err, filepath.Join(dir, "nowhere", "tac.key")) {
			t.Errorf("a file in a subfolder: %+v", got)
		}
	}
}

// TestProfileWords covers which words are USER and HOST if the profile may give them.
func TestProfileWords(t *testing.T) {
	t.Parallel()
	_, env := profileDir(t, "none", "timeout 5", "host", "host tacp", "user", "username bob", "both", "username bob\nhost tacp")
	for _, tt := range []struct{ line, want string }{
		{"authenticate alice tac1 @none", "alice tac1 []"},
		{"authenticate alice @host", "alice tacp []"},
		{"authenticate @host alice tac1", "alice tac1 []"},
		{"authenticate -u alice @host", "alice tacp []"},
		{"authenticate -u alice tac1 @host", "alice tac1 []"},
		{"authenticate -H tac1 alice @host", "alice tac1 []"},
		{"authenticate tac1 @user", "bob tac1 []"},
		{"authenticate alice tac1 @user", "alice tac1 []"},
		{"authenticate @both", "bob tacp []"},
		{"authenticate alice @both", "alice tacp []"},
		{"authenticate alice tac1 @both", "alice tac1 []"},
		{"authenticate -H tac1 @both", "bob tac1 []"},
		{"authenticate -u @alice tac1", "@alice tac1 []"},
		{"authenticate @none alice", "HOST is missing"},
		{"authenticate @none", "USER is missing"},
		{"authenticate @host", "USER is missing"},
		{"authenticate @user", "HOST is missing"},
		{"authenticate alice tac1 more @both", `unexpected argument "more"`},
		{"check @host", " tacp []"},
		{"check alice @host", "alice tacp []"},
		{"check alice tac1 @host", "alice tac1 []"},
		{"check tac1 @user", "bob tac1 []"},
		{"check @both", "bob tacp []"},
		{"check tac1 @none", " tac1 []"},
		{"check a=b tac1 @none", "a=b tac1 []"},
		{"batch @host", " tacp []"},
		{"batch tac1 @host", " tac1 []"},
		{"authorize alice @host service=ppp protocol=ip", "alice tacp [service=ppp protocol=ip]"},
		{"authorize alice @host service*ppp", "alice tacp [service*ppp]"},
		{"authorize alice tac1 @host service=ppp", "alice tac1 [service=ppp]"},
		{"authorize @both service=ppp", "bob tacp [service=ppp]"},
		{"authorize alice @both service=ppp", "alice tacp [service=ppp]"},
		{"authorize a=b tac1 @none", "a=b tac1 []"},
		{"account alice @host --exec -- make install", "alice tacp [make install]"},
		{"account alice tac1 @host --exec -- make", "alice tac1 [make]"},
		{"account @both --exec -- make", "bob tacp [make]"},
		{"account alice @none --exec -- make", "HOST is missing"},
		{"authorize alice tac1 -- @host", "alice tac1 [@host]"},
		{"serve @both", "bob tacp []"},
	} {
		inv, err := parse(commands, split(tt.line), stdio{env: func(name string) string { return env[name] }, err: t.Output()})
		got := fmt.Sprintf("%s %s %v", inv.request.fields.user, inv.server.host, inv.words)
		if err != nil {
			got = err.Error()
		}
		if inv.command.name == "serve" {
			tt.want = "  []" // serve uses neither
		}
		equal(t, got, tt.want, tt.line)
	}
}

// keyFiles returns the key files as they were given.
func keyFiles(inv *invocation) list {
	given := slices.Clone(inv.key.files)
	for i, server := range inv.keyServers {
		if server != "" {
			given[i] = server + "=" + given[i]
		}
	}
	return given
}

// TestProfileOverridden: options on the command line override the profile.
func TestProfileOverridden(t *testing.T) {
	t.Parallel()
	const clear = "--tls=false --unencrypted=false"
	dir, env := profileDir(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, tt := range []struct{ profile, line, want string }{
		{"timeout 5", "", "timeout=5s"},
		{"timeout =\t5", "", "timeout=5s"},
		{"timeout 5", "--timeout 7", "timeout=7s"},
		{"timeout nonsense", "--timeout 7", "timeout=7s"},
		{"timeout 5\ntimeout 6", "", "timeout=6s"},
		{"key-file a\nkey-file b", "", "files=" + in("a") + " " + in("b")},
		{"key-file a\nkey-file b", "--key-file c", "files=c"},
		{"key-file a", "--key_file c --key-file d", "files=c d"},
		{"key-file a", "-k x", "key=true files="},
		{"key x", "--key-file c", "key=false files=c"},
		{"key-file -", "", "files=-"},
		{"key-file " + in("x"), "", "files=" + in("x")},
		{"key-file 192.0.2.0/24=a", "", "files=192.0.2.0/24=" + in("a")},
		{"key-file=2001:db8::1=a", "", "files=2001:db8::1=" + in("a")},
		{"key-file 192.0.2.0/24=" + in("x"), "", "files=192.0.2.0/24=" + in("x")},
		{"key-file b=a", "", "files=b=" + in("a")},
		{"key-file ./b=a", "", "files=" + in("b=a")},
		{"key-file tac1:49=sub/a", "", "files=tac1:49=" + in("sub/a")},
		{"cacert sub/ca.pem\ntls", "", "cacert=" + in("sub/ca.pem")},
		{"key-file a", "--tls", "files= tls=true"},
		{"key x\nunencrypted", "--tls", "key=false tls=true clear=false"},
		{"key-file a", clear, "files=" + in("a")},
		{"tls", "--unencrypted", "tls=false clear=true"},
		{"tls\ncacert a\ncert b\ncert-key c\nservername d\ncrl e\ninsecure\nkeylog f", "--tls=false", "tls=false cacert="},
		{"tls\ncacert a", "--unencrypted", "tls=false cacert= clear=true"},
		{"tls=false", "", "tls=false"},
		{"tls true", "", "tls=true"},
		{"key-file a\nkey x", "--unencrypted", "key=false files= clear=true"},
		{"unencrypted", "-k x", "key=true clear=false"},
		{"tls", "-k x", "key=true tls=true"}, // refused later
		{"password x", "--password-stdin", "password=false stdin=true"},
		{"password-file a\npassword-stdin", "--password x", "password=true stdin=false pfiles="},
		{"password-stdin", "--password-file a", "stdin=false pfiles=a"},
		{"4", "", "4=true"},
		{"4", "-6", "4=false 6=true"},
		{"6", "-4", "4=true 6=false"},
		{"json\nverbose", "-q", "quiet=true json=false verbose=false"},
		{"quiet", "--json", "quiet=false json=true"},
		{"quiet", "-v", "quiet=false verbose=true"},
		{"json", "-v", "json=true verbose=true"},
	} {
		must(t, os.WriteFile(in("p"), []byte(tt.profile), 0o600))
		inv, err := parse(commands, split("authenticate alice tac1 @p "+tt.line), stdio{env: func(name string) string { return env[name] }})
		if err != nil {
			t.Errorf("%q and %s: %v", tt.profile, tt.line, err)
			continue
		}
		got := map[string]string{
			"timeout": inv.server.timeout.String(), "files": strings.Join(keyFiles(inv), " "), "key": fmt.Sprint(inv.key.set),
			"cacert": inv.server.tls.caCert, "tls": fmt.Sprint(inv.server.tls.enabled), "clear": fmt.Sprint(inv.server.unencrypted),
			"password": fmt.Sprint(inv.password.set), "stdin": fmt.Sprint(inv.password.stdin), "pfiles": strings.Join(inv.password.files, " "),
			"4": fmt.Sprint(inv.server.ipv4), "6": fmt.Sprint(inv.server.ipv6),
			"quiet": fmt.Sprint(inv.output.quiet), "json": fmt.Sprint(inv.output.json), "verbose": fmt.Sprint(inv.output.verbose),
		}
		name := ""
		for word := range strings.SplitSeq(tt.want, " ") {
			value := word
			if before, after, ok := strings.Cut(word, "="); ok && (got[before] != "" || after == "") {
				name, value = before, after
			}
			if !slices.Contains(strings.Split(got[name], " "), value) {
				t.Errorf("%q and %s: %s is %q, want %s", tt.profile, tt.line, name, got[name], tt.want)
			}
		}
	}
}

// TestProfileConflicts: the options in the table exist, and a profile's option yields to a conflicting one.
func TestProfileConflicts(t *testing.T) {
	t.Parallel()
	for _, row := range conflicts {
		for name := range strings.FieldsSeq(row.typed + " " + row.ignored) {
			name = strings.TrimSuffix(name, "=false")
			if owners, _ := ownersOf(commands, name); newInvocation(commands, stdio{}).options.find(name) == nil && owners == nil {
				t.Errorf("%s is not an option", name)
			}
		}
	}
	for _, tt := range []struct{ profile, line string }{
		{"json\nprometheus", "check tac1 --nagios"},
		{"nagios", "check tac1 --json"},
		{"nagios\njson", "check tac1 --prometheus"},
		{"cmd show\ncmds a=b\nrequire a=b", "authorize alice tac1 --cmd-file FILE"},
		{"cmd-file a", "authorize alice tac1 --cmd show"},
		{"authorize", "bench alice tac1 --account"},
		{"single-connect", "bench alice tac1 --no-single-connect"},
		{"no-single-connect", "bench alice tac1 --single-connect"},
		{"new-password-stdin", "chpass alice tac1 --new-password-file FILE"},
		{"new-password-file a", "chpass alice tac1 --new-password-stdin"},
	} {
		_, env := profileDir(t, "p", tt.profile)
		inv, err := parse(commands, append(split(tt.line), "@p"), stdio{env: func(name string) string { return env[name] }})
		if err != nil || slices.ContainsFunc(inv.options.options, func(o option) bool { return o.fromProfile }) {
			t.Errorf("%q and %s: %v, got %+v", tt.profile, tt.line, err, inv.options)
		}
	}
}

func TestProfileErrors(t *testing.T) {
	t.Parallel()
	dir, env := profileDir(t)
	const hint, unknown = "\ntacacs_plus: hint: ", "the line does not begin with the name of an option"
	for _, tt := range []struct{ profile, err string }{
		{"# one\n\ntimeout never", `:3: option --timeout: "never" must be above 0 and at most 24h: seconds (2.5) or a duration (500ms)`},
		{"timeot 5", ":1: " + unknown + hint + "did you mean timeout?"},
		{"host tac1\nnonsense=yes", ":2: " + unknown + hint + "tacacs_plus help, and tacacs_plus help COMMAND, list the options"},
		{"timeout", ":1: option --timeout needs a value"},
		{"cacert=", `:1: option --cacert: "" must not be empty`},
		{"tls maybe", ":1: option --tls takes no value"},
		{"--tls", ":1: options in a profile have no dashes"},
		{"help", ":1: help is not allowed in a profile"},
		{"host tac1\nversion", ":2: version is not allowed in a profile"},
		{"exec", ":1: exec is not allowed in a profile"},
		{"p 49", ":1: a profile cannot have the short option -p" + hint + "write port"},
		{"c 4", ":1: a profile cannot have the short option -c" + hint + "write cmds"},
		{"keyhunter2", ":1: " + unknown + hint + "put a space between key and its value"},
		{"retries 1 # more", `:1: option --retries: its value must be 0 to 1000`},
		{"= x\nhost tac1", ":1: no option name on the line"},
		{"timeout a\nretries b", `:1: option --timeout: "a" must be above 0 and at most 24h: seconds (2.5) or a duration (500ms)`},
		{"timeout 5\n\x1b[2J", ":2: " + unknown + hint + "tacacs_plus help, and tacacs_plus help COMMAND, list the options"},
	} {
		path := filepath.Join(dir, "prod")
		must(t, os.WriteFile(path, []byte(tt.profile), 0o600))
		want := runResult{classUsage.exit(), "", "tacacs_plus: " + path + tt.err + "\n"}
		equal(t, runWith(t, env, "", split("authenticate alice tac1 @prod")...), want, tt.profile)
	}
	for profile, want := range map[string]string{
		"timeout 5\nhost tac1:99999,tac2":     `:2: port "99999" of server "tac1:99999" must be 1 to 65535`,
		"host tac1\nhost tac2,,tac3":          `:2: the server list "tac2,,tac3" has an empty entry`,
		"host tac1 # comment":                 `:1: server "tac1 # comment" is not a name or an address`,
		"host tac1\nsource xyz":               `:2: option --source: "xyz" is not an address`,
		"host tac1\nkey-file 10.0.0.0/99=k":   `:2: "10.0.0.0/99" of --key-file is neither an address nor a prefix`,
		"key-file a=b\nkey-file tls://tac1=k": `:2: "tls://tac1" of --key-file is not a name, an address or a prefix` + hint + "write NAME without tls:// and tcp://",
	} {
		path := filepath.Join(writeFiles(t, map[string]string{"prod": profile}), "prod")
		got := runWith(t, env, "", "authorize", "alice", "@"+path)
		if want := (runResult{classUsage.exit(), "", "tacacs_plus: " + path + want + "\n"}); got != want {
			t.Errorf("%q: got %+v", profile, got)
		}
	}
	// HOST as a word replaces it.
	path := filepath.Join(writeFiles(t, map[string]string{"prod": "host tac1:99999\ntimeout 3"}), "prod")
	if got := runWith(t, env, "", "authorize", "alice", "@"+path, refusedAddr(t), "-k", testKey); got.code != classNetwork.exit() {
		t.Errorf("got %+v", got)
	}
}

// TestProfileIsMissing covers the errors for a profile that cannot be read, and their hints.
func TestProfileIsMissing(t *testing.T) {
	t.Parallel()
	dir, env := profileDir(t, "prod", "", "staging", "", "backup.key", "", "large", strings.Repeat("#", maxProfile+1), "full", strings.Repeat("#", maxProfile))
	must(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	user := "\ntacacs_plus: hint: use -u for a user whose name begins with @\n"
	for _, tt := range []struct{ words, err string }{
		{"@prd", "hint: did you mean @prod?\n"},
		{"@pord", "hint: did you mean @prod?\n"},
		{"@drop", user},
		{"@alice", "tacacs_plus: no profile alice in " + dir + " or /etc/tacacs_plus" + user},
		{"@./alice", "read the profile: stat ./alice: "},
		{"@alice", user},
		{"@backup", user},
		{"@foldr", user},
		{"@large", filepath.Join(dir, "large") + " is over 65536 bytes\n"},
		{"@folder", "read the profile: " + filepath.Join(dir, "folder") + " is not a regular file\n"},
		{"@", "@ needs the name of a profile" + user},
		{"--password-stdin @hunter2", "tacacs_plus: option --password-stdin takes no value\n"},
		{"@prod @staging", "only one profile can be given, not @prod and @staging" + user},
	} {
		got := runWith(t, env, "", append(split("authenticate alice tac1"), split(tt.words)...)...)
		matches := strings.Contains
		if strings.HasSuffix(tt.err, "\n") { // compare up to the end
			matches = strings.HasSuffix
		}
		if got.code != classUsage.exit() || got.out != "" || !matches(got.err, tt.err) || strings.Contains(got.err, "hunter2") {
			t.Errorf("%s: got %+v, want %q", tt.words, got, tt.err)
		}
	}
	for _, line := range []string{"version @pord", "help @pord", "help --man @pord", "completion bash @pord"} {
		if got := runWith(t, env, "", split(line)...); got.code != classUsage.exit() || got.out != "" || !strings.HasSuffix(got.err, "did you mean @prod?\n") {
			t.Errorf("%s: got %+v", line, got)
		}
	}
	for _, line := range []string{"version @prod @prod", "version @full", "help @nowhere -h", "-h @nowhere"} {
		if got := runWith(t, env, "", split(line)...); got.code != 0 || got.err != "" {
			t.Errorf("%s: got %+v", line, got)
		}
	}
}

// TestProfileIsKeyFile: of a file that is no profile, such as a key, nothing is shown.
func TestProfileIsKeyFile(t *testing.T) {
	t.Parallel()
	dir, env := profileDir(t)
	for content, want := range map[string]string{
		"S3cretKey-0123456789\n":                 "is not a profile: it has no line with an option\n",
		"S3cret Key=0123456789":                  "is not a profile: it has no line with an option\n",
		"-S3cret\n":                              "is not a profile: it has no line with an option\n",
		"--S3cret=Key\n":                         "is not a profile: it has no line with an option\n",
		"\x00\x01S3cret\x02\n":                   "is not a profile: it has no line with an option\n",
		"-----BEGIN S3cret-----\nS3cret\n":       "is not a profile: it has no line with an option\n",
		"=S3cret":                                "is not a profile: it has no line with an option\n",
		"passw0rdS3cret":                         "is not a profile: it has no line with an option\n",
		"keyS3cret":                              ":1: the line does not begin with the name of an option\n",
		"host tac1\nS3cret\n":                    ":2: the line does not begin with the name of an option\n",
		"\xff\xfeS\x003\x00c\x00r\x00e\x00t\x00": " is UTF-16\n",
	} {
		must(t, os.WriteFile(filepath.Join(dir, "tac"), []byte(content), 0o600))
		for _, line := range []string{"check tac1 @tac", "@tac", "check --json tac1 @tac", "check @tac --nonsense"} {
			got := runWith(t, env, "", split(line)...)
			if got.code != classUsage.exit() || strings.Contains(got.out+got.err, "S3c") || line == "check tac1 @tac" && !strings.Contains(got.err, want) {
				t.Errorf("%q, %s: got %+v", content, line, got)
			}
		}
	}
}

// TestProfileOfSystem: a profile that the user does not have is that of the system. It is not parallel, since it changes the
// folder.
func TestProfileOfSystem(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("there is no such folder")
	}
	dir, env := profileDir(t, "both", "host tac1")
	before := systemProfiles
	t.Cleanup(func() { systemProfiles = before })
	systemProfiles = writeFiles(t, map[string]string{"both": "host tac2", "lab": "host tac3\nkey-file tac.key"})
	for _, tt := range []struct {
		env              map[string]string
		name, host, file string
	}{
		{env, "both", "tac1", ""}, {env, "lab", "tac3", systemProfiles + "/tac.key"}, {nil, "both", "tac2", ""}, {map[string]string{"HOME": "/nowhere"}, "lab", "tac3", systemProfiles + "/tac.key"},
	} {
		inv, err := parse(commands, []string{"authenticate", "alice", "@" + tt.name}, stdio{env: func(name string) string { return tt.env[name] }})
		if err != nil || inv.server.host != tt.host || strings.Join(inv.key.files, " ") != tt.file {
			t.Errorf("%+v: got %s, %q, %v", tt, inv.server.host, inv.key.files, err)
		}
	}
	if got := offers(t, env, "check", "@"); strings.Join(got, " ") != "@both @lab" {
		t.Errorf("completion offers %q", got)
	}
	got := runWith(t, env, "", "check", "@lob")
	got.check(t, 2, "", "tacacs_plus: no profile lob in "+dir+" or "+systemProfiles+"\ntacacs_plus: hint: did you mean @lab\\?\n")
	must(t, os.Mkdir(filepath.Join(dir, "lab"), 0o700))
	runWith(t, env, "", "check", "@lab").check(t, 2, "", "tacacs_plus: read the profile: "+dir+"/lab is not a regular file\n")
}

// TestProfileInHome: ~/ is the home folder, in the name of a profile and in its files.
func TestProfileInHome(t *testing.T) {
	t.Parallel()
	home := writeFiles(t, map[string]string{"p": "host tac1\nkey-file ~/k\nkey-file 192.0.2.0/24=~/k\npassword-file ~x\ncacert ~/sub/ca.pem\ntls=false"})
	inv, err := parse(commands, []string{"authenticate", "alice", "@~/p"}, stdio{env: func(name string) string { return map[string]string{"HOME": home, "USERPROFILE": home}[name] }})
	if err != nil && !strings.Contains(err.Error(), "--cacert needs --tls") {
		t.Fatal(err)
	}
	got := strings.Join(append(append(keyFiles(inv), inv.password.files...), inv.server.tls.caCert), " ")
	if want := filepath.Join(home, "k") + " 192.0.2.0/24=" + filepath.Join(home, "k") + " " + filepath.Join(home, "~x") + " " + filepath.Join(home, "sub/ca.pem"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// TestProfileServesAllCommands: no option in a profile that a command cannot use is an error.
func TestProfileServesAllCommands(t *testing.T) {
	t.Parallel()
	lines := split("types negative nagios|warn=1 nagios|crit=1 warn=1 crit=1 cert-days=3 count=3 all cmd-file=FILE cmd=show flag=start chap-id=5 chap-challenge=0011223344556677 " +
		"authen-type=chap|chap-id=5 answer=x new-password-file=FILE password-stdin users-file=FILE user=a:b permit=x listen=127.0.0.1:0 key-list=FILE summary priv-lvl=15")
	for _, typ := range append(new(authenType).known(), "not_set") {
		lines = append(lines, "authen_type="+typ)
	}
	for _, service := range new(authenService).known() {
		lines = append(lines, "service="+service)
	}
	refused := refusedAddr(t)
	dir := writeFiles(t, map[string]string{"f": "show version\n"})
	for _, command := range []string{"authenticate alice AT", "enable alice AT", "chpass alice AT --new-password-file DIR/f", "authorize alice AT", "authorize alice AT service=ppp",
		"account alice AT", "account alice AT --exec -- true", "check alice AT", "check", "batch AT", "bench alice AT --requests 1"} {
		for _, line := range lines {
			options := strings.NewReplacer("|", "\n", "FILE", "f").Replace(line)
			profile := "host=" + refused + "\nkey=" + testKey + "\n" + options + "\n"
			must(t, os.WriteFile(filepath.Join(dir, "p"), []byte(profile), 0o600))
			args := append([]string{"@" + dir + "/p"}, split(command, "AT", refused, "DIR", dir)...)
			got := runWith(t, map[string]string{"TACACS_PLUS_PWD": testPassword}, `{"command":"authenticate","user":"alice","password":"x"}`, args...)
			if got.code == classUsage.exit() && !strings.Contains(line, "nagios") || strings.Contains(got.out, "UNKNOWN") {
				t.Errorf("%s, %s: got %+v", command, line, got)
			}
		}
	}
}

// TestProfileUsable: an option that a command can use is used.
func TestProfileUsable(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, nil)
	for _, tt := range []struct{ profile, line, used string }{
		{"authen-type pap", "authenticate alice tac1", "authen-type"},
		{"authen-type pap", "check alice tac1", "authen-type"},
		{"authen-type pap\nhost tac1", "check alice", "authen-type host"},
		{"authen-type pap\nusername alice", "check tac1", "authen-type username"},
		{"authen-type pap", "check tac1", ""},
		{"authen-type pap\nhost tac1", "check", "host"},
		{"authen-type ascii", "check tac1", "authen-type"},
		{"authen-type pap", "chpass alice tac1", ""},
		{"authen-type ascii", "chpass alice tac1", "authen-type"},
		{"authen-type not_set", "authorize alice tac1", "authen-type"},
		{"authen-type not_set", "authenticate alice tac1", ""},
		{"service enable", "enable alice tac1", "service"},
		{"service login", "enable alice tac1", ""},
		{"service enable", "authorize alice tac1", ""},
		{"service ppp", "authorize alice tac1", "service"},
		{"chap-id 5\nauthen-type chap", "authenticate alice tac1", "authen-type chap-id"},
		{"authen-type chap\nchap-id 5", "authenticate alice tac1 -t pap", ""},
		{"authen-type pap\nchap-id 5", "authenticate alice tac1 -t chap", "chap-id"},
		{"authen-type chap\nauthen-type pap\nchap-id 5", "authenticate alice tac1", "authen-type"},
		{"types\nnegative", "check alice tac1", "types negative"},
		{"types", "check tac1", ""},
		{"warn 1\nnagios", "check tac1", "nagios warn"},
		{"warn 1", "check tac1 --nagios", "warn"},
		{"warn 1\nnagios", "check tac1 --json", ""},
		{"count 3", "check tac1", ""},
		{"count 3\ninterval 1", "check tac1", "interval count"},
		{"cmd-file f", "authorize alice tac1", "cmd-file"},
		{"cmd-file f", "authorize alice tac1 service=ppp", ""},
		{"cmd show", "authorize alice tac1 service=ppp", ""},
		{"cmd show", "authorize alice tac1", "cmd"},
		{"password-stdin", "authenticate alice tac1", "password-stdin"},
		{"password-stdin", "batch tac1", ""},
		{"nagios", "check tac1 --interval 5", ""},
		{"interval 5\ncount 2", "check tac1 --nagios", ""},
		{"flag start", "account alice tac1 --exec -- true", ""},
		{"flag stop", "account alice tac1", "flag"},
	} {
		path := filepath.Join(dir, "p")
		must(t, os.WriteFile(path, []byte(tt.profile), 0o600))
		inv, err := parse(commands, append(split(tt.line), "@"+path), stdio{env: func(string) string { return "" }})
		var used []string
		for _, o := range inv.options.options {
			if o.fromProfile {
				used = append(used, o.long)
			}
		}
		want := strings.Fields(tt.used)
		slices.Sort(used)
		slices.Sort(want)
		if err != nil || !slices.Equal(used, want) {
			t.Errorf("%q, %s: used %q, want %q, %v", tt.profile, tt.line, used, want, err)
		}
	}
}

// TestProfileReadableByOthers: a warning is printed if other users can read a secret, and only then.
func TestProfileReadableByOthers(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		profile string
		mode    os.FileMode
		secret  string
	}{
		{"key " + testKey, 0o640, "key"},
		{"password x", 0o604, "password"},
		{"user bob:secret", 0o601, "user"}, // an option of serve
		{"key " + testKey, 0o600, ""},
		{"host tac1\nkey-file tac.key\npassword-file x", 0o644, ""},
		{"#key x", 0o644, ""},
	} {
		dir, env := profileDir(t, "p", tt.profile)
		path := filepath.Join(dir, "p")
		must(t, os.Chmod(path, tt.mode))
		want := ""
		if tt.secret != "" && runtime.GOOS != "windows" {
			want = "tacacs_plus: warning: other users can read " + path + ", which contains the " + tt.secret + ": run chmod 600\n"
		}
		if got := runWith(t, env, "", "version", "@p"); got.err != want || got.code != 0 {
			t.Errorf("%q: got %+v, want %q", tt.profile, got, want)
		}
		if got := runWith(t, env, "", "version", "@p", "-q"); got.err != "" {
			t.Errorf("%q, -q: got %+v", tt.profile, got)
		}
	}
}

// TestProfileErrorFormat: usage errors have the output form that the profile sets, also errors in
// the profile.
func TestProfileErrorFormat(t *testing.T) {
	t.Parallel()
	_, env := profileDir(t, "json", "json", "behind", "timeout x\njson", "monitor", "nagios\ntimeout x")
	for _, line := range []string{"authenticate alice --nonsense @json", "@json authenticate --nonsense", "authenticate alice tac1 @behind"} {
		if got := runWith(t, env, "", split(line)...); got.code != 2 || !strings.HasPrefix(got.out, "{") {
			t.Errorf("%s: got %+v", line, got)
		}
	}
	if got := runWith(t, env, "", "check", "tac1", "@monitor"); got.code != 3 || !strings.Contains(got.out, "UNKNOWN") {
		t.Errorf("check: got %+v", got)
	}
}

// TestProfileFileWithEqualsSign: only an option that takes prefixes treats the text before an equals sign as one.
func TestProfileFileWithEqualsSign(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"prof": "password-file ca.fe=pw\nkey-file 192.0.2.1=key\n"})
	inv, err := parse(commands, []string{"authenticate", "alice", "tac1", "@" + filepath.Join(dir, "prof")}, stdio{env: func(string) string { return "" }})
	must(t, err)
	if got, want := inv.password.files, filepath.Join(dir, "ca.fe=pw"); len(got) != 1 || got[0] != want {
		t.Errorf("the password file is %q, want %q", got, want)
	}
	if got, want := keyFiles(inv), "192.0.2.1="+filepath.Join(dir, "key"); len(got) != 1 || got[0] != want {
		t.Errorf("the key file is %q, want %q", got, want)
	}
}

// TestProfileTLSDetails: what the command line says of TLS removes nothing that a server over TLS needs.
func TestProfileTLSDetails(t *testing.T) {
	t.Parallel()
	pin := strings.Repeat("00", 32)
	for _, tt := range []struct{ profile, line, want string }{
		{"host tls://tac1,tcp://tac2\npin " + pin, "--unencrypted", "1 pins, insecure false"},
		{"host tls://tac1,tcp://tac2\npin " + pin, "--tls=false", "1 pins, insecure false"},
		{"host tcp://tac1\npin " + pin, "", "0 pins, insecure false"},
		{"host tac1\ntls\npin " + pin, "--tls=false", "0 pins, insecure false"},
		{"host tac1\npin " + pin, "", "--pin needs --tls"},
		{"host tac1\ntls\npin " + pin, "--insecure", "0 pins, insecure true"},
		{"host tac1\ntls\ninsecure", "--pin " + pin, "1 pins, insecure false"},
		{"host tcp://tac1\nkey-file k", "--tls", "--tls has no use: each server has tcp://"},
		{"host tcp://tac1,tls://tac2\nkey-file k", "--tls", "0 pins, insecure false, 1 key files"},
		{"host tac1\nkey-file k", "--tls", "0 pins, insecure false, 0 key files"},
	} {
		dir := writeFiles(t, map[string]string{"p": tt.profile})
		inv, err := parse(commands, split("authenticate alice @"+filepath.Join(dir, "p")+" "+tt.line), stdio{env: func(string) string { return "" }})
		got := fmt.Sprintf("%d pins, insecure %t, %d key files", len(inv.server.tls.pins), inv.server.tls.insecure, len(inv.key.files))
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, tt.want) {
			t.Errorf("%q and %s: %s, want %s", tt.profile, tt.line, got, tt.want)
		}
	}
}

// TestProfileServerKeys: a profile with keys of servers serves decode and serve too.
func TestProfileServerKeys(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"p": "host tac1\nkey-file tac1=k1\nkey-file 192.0.2.1=k2\nkey-file k3\n"})
	in := func(name string) string { return filepath.Join(dir, name) }
	for command, want := range map[string]string{
		"authenticate alice": "tac1=" + in("k1") + " 192.0.2.1=" + in("k2") + " " + in("k3"),
		"decode":             in("k1") + " " + in("k2") + " " + in("k3"),
		"serve":              "192.0.2.1=" + in("k2") + " " + in("k3"),
	} {
		inv, err := parse(commands, split(command+" @"+in("p")), stdio{env: func(string) string { return "" }})
		must(t, err)
		equal(t, strings.Join(keyFiles(inv), " "), want, command)
	}
}
