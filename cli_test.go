package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	hintCommands = "name a command such as authenticate; tacacs_plus help lists them"
	hintOptions  = "tacacs_plus help, and tacacs_plus help COMMAND, list the options"
	hintOwn      = "put a command's own options after the command; tacacs_plus help lists the others"
	hintStdin    = "put one of them in a file or in the environment"
	hintService  = "add service=shell, or service=ppp and so on (RFC 8907 section 8.2)"
	hintTaskID   = "omit it to have one generated and printed"
	notATime     = " must be above 0 and at most 24h: seconds (2.5) or a duration (500ms)"
	noKey        = "no key: no terminal to ask for it"
	hintKey      = "give --key-file FILE, or set TACACS_PLUS_KEY"
	noPassword   = "no password: no terminal to ask for it"
	hintPassword = "give --password-file FILE, or set TACACS_PLUS_PWD"
)

type usageError struct{ line, message, hint string }

// usageErrors returns command lines with their error and its hint. SERVER is the address of a server, DIR a folder
// with files of secrets. Both secrets are in the environment.
func usageErrors() []usageError {
	return []usageError{
		// Commands and their arguments.
		{"", "a command is missing", hintCommands},
		{"-v", "a command is missing", hintCommands},
		{"--", "a command is missing", hintCommands},
		{"authentcate alice SERVER", `unknown command "authentcate"`, "did you mean authenticate?"},
		{"acount alice SERVER", `unknown command "acount"`, "did you mean account?"},
		{"Bench alice SERVER", `unknown command "Bench"`, "did you mean bench?"},
		{"help autorize", `unknown command "autorize"`, "did you mean authorize?"},
		{"authenticate alice SERVER --timout 5", "unknown option --timout", "did you mean --timeout?"},
		{"--tiemout 5 authenticate alice SERVER", "unknown option --tiemout", "did you mean --timeout?"},
		{"authenticate alice SERVER --tsl", "unknown option --tsl", "did you mean --tls?"},
		{"authenticate alice SERVER --xtimoutex", "unknown option --xtimoutex", "tacacs_plus help, and tacacs_plus help COMMAND, list the options"},
		{"authenticate alice SERVER --jsn", "unknown option --jsn", "did you mean --json?"},
		{"authenticate alice SERVER --key_fiel k", "unknown option --key_fiel", "did you mean --key-file?"},
		{"authenticate alice SERVER --rate 5", "unknown option --rate", "it is an option of bench"},
		{"authenticate alice SERVER --passwordhunter2", "unknown option --password...", "put a space between --password and its value"},
		{"--passwordhunter2 authenticate alice SERVER", "unknown option --password...", "put a space between --password and its value"},
		{"authenticate alice SERVER --keyhunter2=x", "unknown option --key...", "put a space between --key and its value"},
		{"authenticate alice SERVER --password12", "unknown option --password...", "put a space between --password and its value"},
		{"authenticate alice SERVER -p hunter2", "option -p: its value must be 1 to 65535", "-p is --port"},
		{"authenticate alice SERVER --port=hunter2", "option --port: its value must be 1 to 65535", ""},
		{"bogus alice SERVER", `unknown command "bogus"`, hintCommands},
		{"alice SERVER authenticate", `unknown command "alice"`, hintCommands},
		{"''", `unknown command ""`, hintCommands},
		{"help bogus", `unknown command "bogus"`, "tacacs_plus help lists the commands"},
		{"help authenticate enable", `unexpected argument "enable"`, ""},
		{"version x", `unexpected argument "x"`, "usage: tacacs_plus version"},
		{"authenticate", "USER is missing", "usage: tacacs_plus authenticate USER HOST"},
		{"authenticate alice", "HOST is missing", "usage: tacacs_plus authenticate USER HOST"},
		{"authenticate -H SERVER", "USER is missing", "usage: tacacs_plus authenticate USER HOST"},
		{"authorize -u alice", "HOST is missing", "usage: tacacs_plus authorize USER HOST [ARG...]"},
		{"account alice --exec -- ls SERVER", "HOST is missing", "usage: tacacs_plus account USER HOST [ARG...]"},
		{"authenticate alice SERVER x", `unexpected argument "x"`, "usage: tacacs_plus authenticate USER HOST"},
		{"authenticate alice x -H SERVER", `HOST is given twice: with -H and as "x"`, "remove one of them; a list of servers has commas"},
		{"batch x -H SERVER", `HOST is given twice: with -H and as "x"`, "remove one of them; a list of servers has commas"},
		{"check alice x -H SERVER", `HOST is given twice: with -H and as "x"`, "remove one of them; a list of servers has commas"},
		{"authorize alice x -H SERVER", `HOST is given twice: with -H and as "x"`, "remove one of them; a list of servers has commas"},
		{"account alice x -f start -H SERVER", `HOST is given twice: with -H and as "x"`, "remove one of them; a list of servers has commas"},
		{"account alice x -H SERVER --exec -- true", `HOST is given twice: with -H and as "x"`, "remove one of them; a list of servers has commas"},
		{"authorize alice -H SERVER --cmd show version", "argument version has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show version'"},
		{"authorize alice -H SERVER show version", "argument show has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show version'"},
		{"authenticate -u alice bob SERVER", `USER is given twice: with -u and as "bob"`, "remove one of them"},
		{"authenticate -u alice -H SERVER x", `unexpected argument "x"`, "remove it: options give USER and HOST already"},
		{"test alice SERVER", `unknown command "test"`, "did you mean check?"},
		{"ping SERVER", `unknown command "ping"`, "did you mean check?"},
		{"PING SERVER", `unknown command "PING"`, "did you mean check?"},
		{"accounting alice SERVER", `unknown command "accounting"`, "did you mean account?"},
		{"authorization alice SERVER", `unknown command "authorization"`, "did you mean authorize?"},
		{"help passwd", `unknown command "passwd"`, "did you mean chpass?"},
		{"authenticate -u alice -H SERVER x y", `unexpected argument "x"`, "usage: tacacs_plus authenticate USER HOST"},
		{"enable alice SERVER -- -x", `unexpected argument "-x"`, "usage: tacacs_plus enable USER HOST"},

		// Options. A value that is attached to a wrong name may be a secret.
		{"--passwrod=secret authenticate alice SERVER", "unknown option --passwrod", "did you mean --password?"},
		{"authenticate alice SERVER --passwrod=secret", "unknown option --passwrod", "did you mean --password?"},
		{"authenticate alice SERVER -key_fil=secret", "unknown option -k...", "put a space between -k and its value"},
		{"authenticate alice SERVER -khunter2", "unknown option -k...", "put a space between -k and its value"},
		{"authenticate alice SERVER --password-stdin=hunter2", "option --password-stdin takes no value", ""},
		{"authenticate alice SERVER --password-stdin hunter2", "option --password-stdin takes no value", ""},
		{"authenticate alice --password-stdin SERVER hunter2", `unexpected argument "hunter2"`, "usage: tacacs_plus authenticate USER HOST"},
		{"decode capture --timeuot 3", "unknown option --timeuot", hintOptions}, // it has no --timeout
		{"decode capture -uhunter2", "unknown option -u...", ""},
		{"decode capture -phunter2", "unknown option -p...", "put a space between -p and its value"},
		{"decode capture --passwordhunter2", "unknown option --password...", ""},
		{"-password_stdin hunter2 authenticate alice SERVER", "option -password_stdin takes no value", ""},
		{"chpass alice SERVER --new-password-stdin hunter2", "option --new-password-stdin takes no value", ""},
		{"authorize alice SERVER --password-stdin hunter2", "option --password-stdin takes no value", ""},
		{"--chap-id 4 authenticate alice SERVER", "unknown option --chap-id", "it is an option of authenticate, enable, login: put it after the command"},
		{"authenticate alice SERVER ---port 4", "unknown option ---port", "did you mean --port?"},
		{"authenticate alice SERVER --Port 4", "unknown option --Port", "did you mean --port?"},
		{"authenticate alice SERVER --cmd show", "unknown option --cmd", "it is an option of authorize, account, login, check, bench"},
		{"authenticate alice SERVER -t", "option -t needs a value", ""},
		{"authenticate alice SERVER --password", "option --password needs a value", ""},
		{"authenticate alice SERVER -d=maybe", "option -d takes no value", ""},
		{"authenticate alice SERVER -t foo", `option -t: "foo" is not one of ascii pap chap mschap mschapv2`, ""},
		{"authenticate alice SERVER -s foo", `option -s: "foo" is not one of none login ppp pt rcmd x25 nasi fwproxy`, ""},
		{"authenticate alice SERVER -l 16", `option -l: "16" must be 0 to 15`, ""},
		{"authenticate alice SERVER -l -1", `option -l: "-1" must be 0 to 15`, ""},
		{"authenticate alice SERVER --priv_lvl=x", "option --priv_lvl: its value must be 0 to 15", ""},
		{"authenticate alice SERVER -p 0", `option -p: "0" must be 1 to 65535`, ""},
		{"authenticate alice SERVER -p 65536", `option -p: "65536" must be 1 to 65535`, ""},
		{"authenticate alice SERVER -p abc", "option -p: its value must be 1 to 65535", "-p is --port"},
		{"authenticate alice SERVER -p ''", `option -p: "" must be 1 to 65535`, ""},
		{"authenticate alice SERVER --timeout 0", `option --timeout: "0"` + notATime, ""},
		{"authenticate alice SERVER --timeout -1", `option --timeout: "-1"` + notATime, ""},
		{"authenticate alice SERVER --timeout -1s", `option --timeout: "-1s"` + notATime, ""},
		{"authenticate alice SERVER --timeout NaN", `option --timeout: "NaN"` + notATime, ""},
		{"authenticate alice SERVER --timeout Inf", `option --timeout: "Inf"` + notATime, ""},
		{"authenticate alice SERVER --timeout -Inf", `option --timeout: "-Inf"` + notATime, ""},
		{"authenticate alice SERVER --timeout 1e99", `option --timeout: "1e99"` + notATime, ""},
		{"authenticate alice SERVER --timeout 1e-99", `option --timeout: "1e-99"` + notATime, ""},
		{"authenticate alice SERVER --timeout 25h", `option --timeout: "25h"` + notATime, ""},
		{"authenticate alice SERVER --timeout abc", `option --timeout: "abc"` + notATime, ""},
		{"authenticate alice SERVER --retries -1", `option --retries: "-1" must be 0 to 1000`, ""},
		{"authenticate alice SERVER --retries 1001", `option --retries: "1001" must be 0 to 1000`, ""},
		{"authenticate alice SERVER --retries 1.5", `option --retries: "1.5" must be 0 to 1000`, ""},
		{"authenticate alice SERVER -4 -6", "-4 and -6 cannot be used together", ""},
		{"authenticate alice SERVER --source foo", `option --source: "foo" is not an address`, ""},
		{"authenticate alice SERVER -4 --source ::1", "--source ::1 cannot be used with -4", ""},
		{"authenticate alice SERVER -6 --source 127.0.0.1", "--source 127.0.0.1 cannot be used with -6", ""},

		// Servers.
		{"authenticate alice ''", `the server list "" has an empty entry`, ""},
		{"authenticate alice ,", `the server list "," has an empty entry`, ""},
		{"authenticate alice tac1,", `the server list "tac1," has an empty entry`, ""},
		{"authenticate alice ,tac1", `the server list ",tac1" has an empty entry`, ""},
		{"authenticate alice tac1,,tac2", `the server list "tac1,,tac2" has an empty entry`, ""},
		{"authenticate alice :49", `the server list ":49" has an empty entry`, ""},
		{"authenticate alice SERVER,tac1:0", `port "0" of server "tac1:0" must be 1 to 65535`, ""},
		{"authenticate alice tac1:65536", `port "65536" of server "tac1:65536" must be 1 to 65535`, ""},
		{"authenticate alice tac1:abc", `port "abc" of server "tac1:abc" must be 1 to 65535`, ""},
		{"authenticate alice tac1:", `port "" of server "tac1:" must be 1 to 65535`, ""},
		{"authenticate alice [::1]:", `port "" of server "[::1]:" must be 1 to 65535`, ""},
		{"authenticate alice [::1]:0", `port "0" of server "[::1]:0" must be 1 to 65535`, ""},
		{"authenticate alice [::1", `server "[::1" is not [IPv6 address]:port`, ""},
		{"authenticate alice []:49", `server "[]:49" is not [IPv6 address]:port`, ""},
		{"authenticate alice [::1]49", `server "[::1]49" is not [IPv6 address]:port`, ""},
		{"authenticate alice [192.0.2.1]:49", `server "[192.0.2.1]:49" is not [IPv6 address]:port`, ""},
		{"authenticate alice tac1]", `server "tac1]" is not a name or an address`, ""},
		{"authenticate alice [tac1]:49", `server "[tac1]:49" is not [IPv6 address]:port`, ""},
		{"authenticate alice ::1::2", `server "::1::2" is neither an IPv6 address nor name:port`, ""},
		{"authenticate alice tac1:49:50", `server "tac1:49:50" is neither an IPv6 address nor name:port`, ""},
		{"authenticate alice ::1]:49", `server "::1]:49" is neither an IPv6 address nor name:port`, ""},
		{"authenticate alice https://tac1", `server "https://tac1" can have tls:// or tcp:// in front, not https://`, ""},
		{"authenticate alice tls://", `the server list "tls://" has an empty entry`, ""},
		{"authenticate alice tls://tac1/", `server "tls://tac1/" is not a name or an address`, ""},
		{"authenticate alice tls://tac1 --unencrypted", "tls:// and --unencrypted cannot be used together", ""},
		{"authenticate alice tls://tac1 -k secret", "no key is used over TLS", "remove --key and --key-file (RFC 9887 section 3.2)"},
		{"authenticate alice tcp://tac1 --insecure", "--insecure needs --tls", ""},
		{"authenticate alice tcp://tac1 --tls", "--tls has no use: each server has tcp://", ""},
		{"authenticate alice tcp://tac1:50,tls://TAC1:50", "TAC1:50 is in the list with TLS and without", "give each its own port"},
		{"authenticate alice tac1 --insecure", "--insecure needs --tls", ""},
		{"authenticate alice tac1/x", `server "tac1/x" is not a name or an address`, ""},
		{"authenticate alice bob@tac1", `server "bob@tac1" is not a name or an address`, ""},
		{"authenticate alice täc1", `server "täc1" is not a name or an address`, ""},

		// Values that do not fit their fields.
		{"authenticate " + long(256) + " SERVER", "user is 256 bytes, the limit is 255", ""},
		{"chpass " + long(256) + " SERVER --new-password-file DIR/password", "user is 256 bytes, the limit is 255", ""},
		{"authorize " + long(256) + " SERVER", "user is 256 bytes, the limit is 255", ""},
		{"account " + long(256) + " SERVER", "user is 256 bytes, the limit is 255", ""},
		{"authenticate alice SERVER -P " + long(256), "port is 256 bytes, the limit is 255", ""},
		{"authorize alice SERVER -P " + long(256), "port is 256 bytes, the limit is 255", ""},
		{"account alice SERVER -P " + long(256), "port is 256 bytes, the limit is 255", ""},
		{"authenticate alice SERVER -t pap --password " + long(256), "the password is 256 bytes, the limit of pap is 255", ""},
		{"authenticate alice SERVER -r " + long(256), "rem_addr is 256 bytes, the limit is 255", ""},
		{"account alice SERVER -r " + long(256), "rem_addr is 256 bytes, the limit is 255", ""},
		{"authenticate alice SERVER --password " + long(65536), "user_msg is 65536 bytes, the limit is 65535", ""},
		{"authenticate alice SERVER --answer " + long(65536), "user_msg is 65536 bytes, the limit is 65535", ""},
		{"authenticate alice SERVER --password " + long(maxBody-4), "the body would be 65536 bytes, the limit is 65535", ""},
		{"authenticate alice SERVER --answer 1 --answer " + long(maxBody), "the body would be 65540 bytes, the limit is 65535", ""},
		{"authenticate ali\x01ce SERVER", `user "ali\x01ce" has control characters`, ""},
		{"authenticate SERVER -u ali\u009bce", `user "ali\xc2\x9bce" has control characters`, ""},
		{"authenticate ali\xffce SERVER", `user "ali\xffce" is not UTF-8`, ""},
		{"authenticate alice SERVER -P tty\x7f", `--virtual-port "tty\x7f" is not printable US-ASCII`, ""},
		{"authenticate alice SERVER -r ä", `--rem-addr "ä" is not printable US-ASCII`, ""},

		// Authentication.
		{"authenticate '' SERVER -t pap", "an empty user needs --authen-type ascii", ""},
		{"authenticate alice SERVER -s enable", "service enable is only for the command enable (RFC 8907 section 5.4.2.6)", ""},
		{"enable alice SERVER -s login", "the service of enable must be enable, not login", ""},
		{"authenticate alice SERVER --chap-id 1", "--chap-id and --chap-challenge cannot be used with --authen-type ascii", ""},
		{"authenticate alice SERVER -t pap --chap-challenge ab", "--chap-id and --chap-challenge cannot be used with --authen-type pap", ""},
		{"authenticate alice SERVER -t chap --chap-id 256", `option --chap-id: "256" must be 0 to 255`, ""},
		{"authenticate alice SERVER -t chap --chap-challenge abc", `option --chap-challenge: "abc" must be hexadecimal bytes`, ""},
		{"authenticate alice SERVER -t chap --chap-challenge xy", `option --chap-challenge: "xy" must be hexadecimal bytes`, ""},
		{"authenticate alice SERVER -t chap --chap-challenge ''", `option --chap-challenge: "" must be hexadecimal bytes`, ""},
		{"authenticate alice SERVER -t chap --chap-challenge " + strings.Repeat("ab", 239), "--chap-challenge is 239 bytes, the limit is 238", ""},
		{"authenticate alice SERVER -t mschap --chap-challenge " + strings.Repeat("ab", 16), "--chap-challenge is 16 bytes, mschap needs 8", ""},
		{"authenticate alice SERVER -t mschapv2 --chap-challenge " + strings.Repeat("ab", 8), "--chap-challenge is 8 bytes, mschapv2 needs 16", ""},
		{"authenticate alice SERVER -t mschap --password \xff", "the password is not UTF-8, which mschap needs", ""},
		{"authenticate alice SERVER -t mschapv2 --password \xff", "the password is not UTF-8, which mschapv2 needs", ""},
		{"chpass alice SERVER -t pap --new-password-file DIR/password", "chpass needs --authen-type ascii, not pap", ""},

		// Authorization and accounting.
		{"authorize alice SERVER foo", "argument foo has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'foo'"},
		{"authorize alice SERVER show version", "argument show has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show version'"},
		{"authorize alice SERVER --cmd show <cr>", "argument <cr> has no separator: write name=value, or name*value if it is optional", "use --cr to send cmd-arg=<cr>"},
		{"authorize alice SERVER service=shell cmd=show <cr>", "argument <cr> has no separator: write name=value, or name*value if it is optional", "use --cr to send cmd-arg=<cr>"},
		{"authorize alice SERVER --cmd show version <cr>", "argument version has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show version' --cr"},
		{"account alice SERVER bytes=abc", "argument bytes must be a decimal number, not abc", ""},
		{"account alice SERVER start_time=-1", "argument start_time must be a decimal number, not -1", ""},
		{"account alice SERVER -f stop elapsed_time*-5", "argument elapsed_time must be a decimal number, not -5", ""},
		{"account alice SERVER stop_time=noon", "argument stop_time must be a decimal number, not noon", ""},
		{"account alice SERVER paks_out=18446744073709551616", "argument paks_out must be a decimal number, not 18446744073709551616", ""},
		{"account alice SERVER event=sys_acct service=shell", "event is for service=system only (RFC 8907 section 8.3)", "leave out the service, or the event"},
		{"account alice SERVER event=cmd_acct --cmd show", "event is for service=system only (RFC 8907 section 8.3)", "leave out the service, or the event"},
		{"authorize alice SERVER --cmd show version", "argument version has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show version'"},
		{"account alice SERVER -c show version priv-lvl=1", "argument show has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show version'"},
		{"account alice SERVER service=shell show", "argument show has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'show'"},
		{"authenticate alice SERVER --time 5", "unknown option --time", "did you mean --timeout?"},
		{"authenticate alice SERVER --ti 5", "unknown option --ti", hintOptions},
		{"authenticate alice SERVER --cer x", "unknown option --cer", "did you mean --cert?"},
		{"authenticate alice SERVER --pass x", "unknown option --pass", hintOptions},
		{"acc alice SERVER", `unknown command "acc"`, "did you mean account?"},
		{"auth alice SERVER", `unknown command "auth"`, "did you mean authenticate or authorize?"},
		{"au alice SERVER", `unknown command "au"`, hintCommands},
		{"authorize alice SERVER x", "argument x has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'x'"},
		{"authorize alice SERVER -c ''", "argument \"\" has no separator: write name=value, or name*value if it is optional", ""},
		{"authorize alice SERVER =", "argument = has no name before the separator", ""},
		{"authorize alice SERVER =x", "argument =x has no name before the separator", ""},
		{"authorize alice SERVER -c *x", "argument *x has no name before the separator", ""},
		{"authorize alice SERVER service=shell cmd=ü", "argument cmd=ü is not printable US-ASCII", ""},
		{"authorize alice SERVER cmd=\x1b[31m", `argument cmd=\x1b[31m is not printable US-ASCII`, ""},
		{"authorize alice SERVER cmd=\x7f", `argument cmd=\x7f is not printable US-ASCII`, ""},
		{"authorize alice SERVER cmd=" + long(252), "argument cmd=" + long(53) + "... is 256 bytes, the limit is 255", ""},
		{"authorize alice SERVER --cmd show" + long(248), "argument cmd=show" + long(49) + "... is 256 bytes, the limit is 255", ""},
		{"authorize alice SERVER service=ppp" + strings.Repeat(" a=b", 255), "256 arguments, the limit is 255", ""},
		{"authorize alice SERVER service=shell" + strings.Repeat(" a=b", 254), "256 arguments, the limit is 255", ""}, // cmd= is added
		{"authorize alice SERVER cmd=show", "no service among the arguments", hintService},
		{"authorize alice SERVER service= cmd=show", "the service is empty", hintService},
		{"account alice SERVER service*", "the service is empty", hintService},
		{"authorize alice SERVER --require service", "--require service is not name=value", ""},
		{"authorize alice SERVER --require =x", "--require =x is not name=value", ""},
		{"authorize alice SERVER --cmd show cmd=show", "--cmd sets service and cmd: remove them from the arguments", ""},
		{"authorize alice SERVER --method foo", `option --method: "foo" is not one of not_set none krb5 line enable local tacacsplus guest radius krb4 rcmd`, ""},
		{"account alice SERVER -f bogus", `option -f: "bogus" is not one of start stop watchdog watchdog-update`, ""},
		{"account alice SERVER foo", "argument foo has no separator: write name=value, or name*value if it is optional", "quote the command line: --cmd 'foo'"},
		{"account alice SERVER service=ppp" + strings.Repeat(" a=b", 254), "258 arguments, the limit is 255", ""},
		{"account alice SERVER --task-id 1 task_id=2", "task_id is given more than once", ""},
		{"account alice SERVER task_id=2 service=shell task_id*2", "task_id is given more than once", ""},
		{"account alice SERVER --task-id ''", `option --task-id: "" must not be empty`, ""},
		{"account alice SERVER --exec task_id= -- true", "task_id is empty", hintTaskID},
		{"account alice SERVER -f stop task_id*", "task_id is empty", hintTaskID},
		{"account alice SERVER --task-id ä", "argument task_id=ä is not printable US-ASCII", ""},
		{"account alice SERVER --exec", "--exec needs -- and a command", "tacacs_plus account USER HOST --exec -- COMMAND..."},
		{"account alice SERVER --exec ls", "--exec needs -- and a command", "tacacs_plus account USER HOST --exec -- COMMAND..."},
		{"account alice SERVER --exec --", "--exec needs -- and a command", "tacacs_plus account USER HOST --exec -- COMMAND..."},
		{"account alice SERVER -f stop --exec -- ls", "-f cannot be used with --exec, which sends a start and a stop record", ""},

		{"authorize alice SERVER --cmd=", `option --cmd: "" must not be empty`, ""},

		// Options of clients only: with -p 7777 serve would listen on an unexpected port.
		{"serve -p 7777", "--port is for a client, not for serve", ""},
		{"serve -H tac1", "--host is for a client, not for serve", ""},
		{"serve -u alice", "--username is for a client, not for serve", ""},
		{"serve --timeout 3", "--timeout is for a client, not for serve", ""},
		{"serve --cacert x", "--cacert is for a client, not for serve", ""},
		{"serve --password-stdin", "--password-stdin is for a client, not for serve", ""},

		// Checks and load tests.
		{"check SERVER --warn 1s", "--warn needs --nagios", ""},
		{"check SERVER --crit 1s", "--crit needs --nagios", ""},
		{"check SERVER --cert-days 9", "--cert-days needs --nagios", ""},
		{"bench alice SERVER --authorize --account", "--authorize and --account cannot be used together", ""},
		{"bench alice SERVER --single-connect --no-single-connect", "--single-connect and --no-single-connect cannot be used together", ""},
		{"bench alice SERVER -n 0", `option -n: "0" must be 1 to 2147483647`, ""},
		{"bench alice SERVER -c 0", `option -c: "0" must be 1 to 10000`, ""},
		{"bench alice SERVER --rate 0", `option --rate: "0" must be 1 to 10000000`, ""},
		{"bench alice SERVER --duration 0", `option --duration: "0"` + notATime, ""},
		{"bench alice SERVER --duration -1s", `option --duration: "-1s"` + notATime, ""},
		{"bench alice SERVER --authorize --cmd " + long(300), "argument cmd=" + long(53) + "... is 304 bytes, the limit is 255", ""},

		// Secrets.
		{"authenticate alice SERVER --key-file DIR/none", "read the key: open DIR/none: no such file or directory", ""},
		{"authenticate alice SERVER --key-file DIR", "read the key: read DIR: is a directory", ""},
		{"authenticate alice SERVER --key-file DIR/big", "read the key: DIR/big is over 65536 bytes", ""},
		{"authenticate alice SERVER --key-file DIR/empty", "no key in DIR/empty", ""},
		{"authenticate alice SERVER --key-file DIR/newline", "no key in DIR/newline", ""},
		{"authenticate alice SERVER --key-file DIR/key --key-file DIR/empty", "no key in DIR/empty", ""},
		{"authenticate alice SERVER --key-file -", "no key on standard input", ""},
		{"authenticate alice SERVER -k ''", "the key is empty", "set a key of at least 16 characters on both sides (RFC 8907 section 10.5.1)"},
		{"authenticate alice SERVER --password-file DIR/none", "read the password: open DIR/none: no such file or directory", ""},
		{"authenticate alice SERVER --password-file DIR/big", "read the password: DIR/big is over 65536 bytes", ""},
		{"chpass alice SERVER --new-password-file DIR/none", "read the new password: open DIR/none: no such file or directory", ""},
		{"chpass alice SERVER", "no new password: no terminal to ask for it", "give --new-password-file FILE"},
		{"authenticate alice SERVER --key-file - --password-stdin", "the key and the password cannot both come from standard input", hintStdin},
		{"authenticate alice SERVER --key-file - --password-file -", "the key and the password cannot both come from standard input", hintStdin},
		{"authenticate alice SERVER --key-file - --key-file -", "the key and another key cannot both come from standard input", hintStdin},
		{"authenticate alice SERVER --key-file - --key-file DIR/key --key-file -", "the key and another key cannot both come from standard input", hintStdin},
		{"chpass alice SERVER --key-file - --new-password-stdin", "the key and the new password cannot both come from standard input", hintStdin},
		{"chpass alice SERVER --key-file - --new-password-file -", "the key and the new password cannot both come from standard input", hintStdin},
		{"chpass alice SERVER --password-stdin --new-password-stdin", "the password and the new password cannot both come from standard input", hintStdin},
		{"chpass alice SERVER --password-stdin --new-password-file -", "the password and the new password cannot both come from standard input", hintStdin},
		{"chpass alice SERVER --password-file - --new-password-stdin", "the password and the new password cannot both come from standard input", hintStdin},
		{"chpass alice SERVER --password-file - --new-password-file -", "the password and the new password cannot both come from standard input", hintStdin},
		{"authorize alice SERVER --cmd-file - --key-file -", "the commands and the key cannot both come from standard input", hintStdin},
		{"batch SERVER --key-file -", "the requests and the key cannot both come from standard input", hintStdin},
		{"batch SERVER --password-stdin", "the requests and the password cannot both come from standard input", hintStdin},
		{"batch SERVER --password-file - --key-file DIR/key", "the requests and the password cannot both come from standard input", hintStdin},
		{"serve --enable-password-file - --key-file -", "the key and the enable password cannot both come from standard input", hintStdin},
		{"serve --key-file - --key-file -", "the key and another key cannot both come from standard input", hintStdin},
		{"authenticate alice SERVER -k KEY --key-file DIR/key", "the key is given more than once", ""},
		{"authenticate alice SERVER -k KEY --key-file -", "the key is given more than once", ""},
		{"authenticate alice SERVER --password x --password-stdin", "the password is given more than once", ""},
		{"authenticate alice SERVER --password x --password-file DIR/password", "the password is given more than once", ""},
		{"authenticate alice SERVER --password-stdin --password-file -", "the password is given more than once", ""},
		{"authenticate alice SERVER --password-file DIR/password --password-file DIR/key", "the password is given more than once", ""},
		{"chpass alice SERVER --new-password-stdin --new-password-file -", "the new password is given more than once", ""},
		{"authenticate alice SERVER --tls --cert-key DIR/key", "--cert-key needs --cert", ""},
		{"authenticate alice SERVER --unencrypted -k KEY", "--unencrypted and a key cannot be used together", ""},
		{"authenticate alice SERVER --unencrypted --key-file DIR/key", "--unencrypted and a key cannot be used together", ""},
	}
}

// checkUsage checks for one error and its hint on stderr, and in JSON if asJSON is set.
func checkUsage(t *testing.T, name string, got runResult, message, hint string, asJSON bool) {
	t.Helper()
	want := runResult{code: classUsage.exit(), err: "tacacs_plus: " + message + "\n"}
	if hint != "" {
		want.err += "tacacs_plus: hint: " + hint + "\n"
	}
	if asJSON {
		var res struct {
			Time     time.Time
			Granted  bool    `json:"granted"`
			ExitCode int     `json:"exit_code"`
			Error    problem `json:"error"`
		}
		err := json.Unmarshal([]byte(got.out), &res)
		if err != nil || strings.Count(got.out, "\n") != 1 || res.Time.IsZero() || res.Granted || res.ExitCode != 2 || res.Error != (problem{"usage", message, hint}) {
			t.Errorf("%s\nJSON: got %s(%v)", name, got.out, err)
		}
		got.out = ""
	}
	if got != want {
		t.Errorf("%s\ngot %d %q\n%s\nwant 2\n%s", name, got.code, got.out, got.err, want.err)
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	dir := writeFiles(t, map[string]string{"key": testKey, "password": testPassword, "empty": "", "newline": "\n", "big": long(maxSecretFile + 1)})
	for _, row := range usageErrors() {
		server := listen(t)
		pairs := []string{"SERVER", server.Addr().String(), "DIR", dir, "KEY", testKey}
		args := split(row.line, pairs...)
		message := strings.ReplaceAll(row.message, "DIR", dir)
		got := runWith(t, secretsInEnv, "", args...)
		exec := slices.Contains(args, "--exec") // which leaves stdout to the command, and has a code of its own
		if exec && got.code == exitUnrecorded {
			got.code = classUsage.exit()
		}
		checkUsage(t, row.line, got, message, row.hint, false)
		if !exec {
			checkUsage(t, row.line, runWith(t, secretsInEnv, "", append([]string{"--json"}, args...)...), message, row.hint, true)
		}
		checkUntouched(t, server)
	}
}

// parsed is the result of the grammar for a command line.
type parsed struct {
	command, user, host string
	port, level         int
	typ                 authenType
	words               []string
}

func parseLine(line string) (parsed, error) {
	inv, err := parse(commands, split(line), stdio{})
	return parsed{inv.command.name, inv.request.fields.user, inv.server.host, inv.server.port, inv.request.level, inv.request.fields.typ, inv.words}, err
}

func TestParseSpellings(t *testing.T) {
	want := parsed{command: "authenticate", user: "alice", host: "tac1", port: 50, level: 1, typ: authenCHAP, words: []string{}}
	for _, line := range []string{
		"-p 50 -t chap -l 1 authenticate alice tac1",
		"authenticate -p 50 -t chap -l 1 alice tac1",
		"authenticate alice -p 50 -t chap -l 1 tac1",
		"authenticate alice tac1 -p 50 -t chap -l 1",
		"-p 50 authenticate -t chap alice -l 1 tac1",
		"authenticate alice tac1 --port 50 --authen-type chap --priv-lvl 1",
		"authenticate alice tac1 --port=50 --authen-type=chap --priv-lvl=1",
		"authenticate alice tac1 -port=50 -authen-type chap -priv-lvl 1",
		"authenticate alice tac1 --p=50 --t chap --l 1",
		"authenticate alice tac1 --port 50 --authen_type=chap --priv_lvl 1",
		"authenticate alice tac1 -port 50 -authen_type CHAP -priv_lvl=1",
		"authenticate -p 50 -t chap -l 1 -- alice tac1",
		"authenticate -p 50 -t chap -l 1 alice -- tac1",
		"authenticate alice tac1 -p 50 -t chap -l 1 --",
		"-u alice -H tac1 authenticate -p 50 -t chap -l 1",
		"authenticate -p 50 -t chap -l 1 --username=alice --host=tac1",
		"authenticate tac1 -u alice -p 50 -t chap -l 1",
		"authenticate alice -H tac1 -p 50 -t chap -l 1",
		"-p 1 -t pap -l 2 -u bob authenticate -p 50 -t chap -l 1 -u alice -H tac1", // the last value is used, but all of -H
		"authenticate alice tac1 -p 50 -t chap -l 1 --quiet --quiet=false --json=true",
		"authenticate alice tac1 -p 50 -t chap -l 1 --chap-id 7 --chap_challenge=abcd --answer x",
	} {
		got, err := parseLine(line)
		if got.words = append([]string{}, got.words...); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s\ngot %+v, %v\nwant %+v", line, got, err, want)
		}
	}
}

func TestParseWords(t *testing.T) {
	for _, row := range []struct {
		line       string
		user, host string
		words      string
	}{
		{"authorize alice tac1", "alice", "tac1", ""},
		{"authorize alice tac1 service=shell cmd=show", "alice", "tac1", "service=shell cmd=show"},
		{"authorize alice service=shell tac1 -l 3 cmd=show", "alice", "service=shell", "tac1 cmd=show"},
		{"authorize -u alice -H tac1 service=shell cmd=show", "alice", "tac1", "service=shell cmd=show"},
		{"-u alice -H tac1 authorize -c service=shell cmd=show cmd-arg=version", "alice", "tac1", "cmd=show cmd-arg=version"},
		{"authorize -c service=shell alice tac1 cmd=show", "alice", "tac1", "cmd=show"},
		{"authorize alice tac1 -- -c --json -- =", "alice", "tac1", "-c --json -- ="},
		{"authorize alice -- tac1 -c", "alice", "tac1", "-c"},
		{"account alice tac1 --exec -- ls -l", "alice", "tac1", "ls -l"},
		{"account alice tac1 cmd=ls --exec -- ls -l", "alice", "tac1", "cmd=ls ls -l"},
		{"authenticate -- -alice -tac1", "-alice", "-tac1", ""},
		{"authenticate - tac1", "-", "tac1", ""},
		{"authenticate -u -t -H tac1", "-t", "tac1", ""},
		{"authenticate --username=-t -H tac1", "-t", "tac1", ""},
		{"authenticate -u -- -H tac1", "--", "tac1", ""},
		{"authenticate -u a=b=c -H tac1", "a=b=c", "tac1", ""},
		{"authenticate --username=a=b=c tac1", "a=b=c", "tac1", ""},
		{"authenticate --username= tac1", "", "tac1", ""},
		{"authenticate '' tac1", "", "tac1", ""},
		{"authenticate al_ice tac_1", "al_ice", "tac_1", ""},
	} {
		got, err := parseLine(row.line)
		if err != nil || got.user != row.user || got.host != row.host || strings.Join(got.words, " ") != row.words {
			t.Errorf("%s\ngot user %q, host %q, words %q, %v", row.line, got.user, got.host, got.words, err)
		}
	}
}

// TestUsageErrorBeforeJSON: --json after an error on the command line still gives an object.
func TestUsageErrorBeforeJSON(t *testing.T) {
	checkUsage(t, "json last", runWith(t, secretsInEnv, "", "authenticate", "alice", "tac1", "--bogus", "--json"), "unknown option --bogus", hintOptions, true)
	checkUsage(t, "json last", runWith(t, secretsInEnv, "", "bogus", "--json"), `unknown command "bogus"`, hintCommands, true)
	checkUsage(t, "two formats", runWith(t, secretsInEnv, "", "check", "tac1", "--prometheus", "--json"), "--prometheus and --json cannot be used together", "", true)
}

func TestUsageErrorsQuiet(t *testing.T) {
	for _, other := range []string{"--json", "--verbose"} {
		for _, line := range []string{"authenticate alice tac1", "serve", "decode", "version"} {
			checkUsage(t, line+other, runWith(t, secretsInEnv, "", append(split(line), "--quiet", other)...),
				"--quiet cannot be used with --verbose or --json", "", false)
		}
	}
	checkUsage(t, "-q", runWith(t, secretsInEnv, "", "-q", "authenticate", "alice"),
		"HOST is missing", "usage: tacacs_plus authenticate USER HOST", false)
}

// TestOptionSetNames: no name of an option is declared twice for a command.
func TestOptionSetNames(t *testing.T) {
	t.Parallel()
	for _, c := range commands {
		inv := newInvocation(commands, stdio{})
		must(t, inv.setCommand(c.name))
		seen := make(map[string]bool)
		for _, o := range inv.options.options {
			for _, name := range []string{o.short, o.long} {
				if name != "" && seen[name] {
					t.Errorf("%s has two options with the name %s", c.name, name)
				}
				seen[name] = true
			}
		}
	}
}

func TestParseServers(t *testing.T) {
	for list, want := range map[string]string{
		"tac1":                                 "tac1:4949",
		"tac1:50":                              "tac1:50",
		"tac1.example.net:65535":               "tac1.example.net:65535",
		"192.0.2.1":                            "192.0.2.1:4949",
		"192.0.2.1:1":                          "192.0.2.1:1",
		"2001:db8::1":                          "[2001:db8::1]:4949",
		"::1":                                  "[::1]:4949",
		"[2001:db8::1]":                        "[2001:db8::1]:4949",
		"[2001:db8::1]:50":                     "[2001:db8::1]:50",
		"fe80::1%eth0":                         "[fe80::1%eth0]:4949",
		"[fe80::1%eth0]:50":                    "[fe80::1%eth0]:50",
		"tac1,tac2:50,192.0.2.1,[::1]:51,::2":  "tac1:4949 tac2:50 192.0.2.1:4949 [::1]:51 [::2]:4949",
		"tac1, tac2 , tac3":                    "tac1:4949 tac2:4949 tac3:4949",
		"tac1,tac1":                            "tac1:4949 tac1:4949",
		strings.Repeat("tac1:1,", 99) + "tac2": strings.Repeat("tac1:1 ", 99) + "tac2:4949",
	} {
		servers, err := parseServers(list, 4949, false)
		var got []string
		for _, s := range servers {
			got = append(got, s.String())
		}
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, %v, want %q", list, got, err, want)
		}
	}
}

// TestServerDefaultPort: TACACS+ over TLS has a default port of its own (RFC 9887 section 5.2).
func TestServerDefaultPort(t *testing.T) {
	for line, want := range map[string]string{
		"authenticate alice tac1":                     "[tac1:49]",
		"authenticate alice tac1 --tls":               "[tac1:300]",
		"--tls check tac1,::1,tac2:49":                "[tac1:300 [::1]:300 tac2:49]",
		"authenticate alice tac1,tac2:300 -p 50":      "[tac1:50 tac2:300]",
		"authenticate alice tac1 --tls -p 49":         "[tac1:49]",
		"authenticate alice tac1,tac2:1 --tls -p 301": "[tac1:301 tac2:1]",
	} {
		inv, err := parse(commands, split(line), stdio{})
		if got := fmt.Sprint(inv.server.servers); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", line, got, err, want)
		}
	}
}

// TestServerAddressFamily: an address of the wrong family is not tried.
func TestServerAddressFamily(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"-4 authenticate alice [::1]:49":            "::1 has no IPv4 address",
		"-6 authenticate alice SERVER":              "127.0.0.1 has no IPv6 address",
		"authenticate alice SERVER --source ::1":    "127.0.0.1 has no IPv6 address",
		"authenticate alice ::1 --source 127.0.0.1": "::1 has no IPv4 address",
	} {
		server := listen(t)
		got := runWith(t, secretsInEnv, "", split(line, "SERVER", server.Addr().String())...)
		if !strings.HasPrefix(got.err, "tacacs_plus: "+want+"\n") || got.code != classNetwork.exit() {
			t.Errorf("%s: %+v", line, got)
		}
		checkUntouched(t, server)
	}
	for _, options := range []string{"-4", "--source 127.0.0.1", "-4 --source 127.0.0.1"} {
		server := newScriptServer(t, testKey, &authenReply{status: authenPass})
		if got := runWith(t, secretsInEnv, "", split("authenticate alice "+server.addr+" "+options)...); got.code != classGranted.exit() {
			t.Errorf("%s: %+v", options, got)
		}
	}
}

// TestRequestArgumentsInOrder: -c takes one value, the words after it are arguments too.
func TestRequestArgumentsInOrder(t *testing.T) {
	t.Parallel()
	want := []string{"service=shell", "cmd=show", "cmd-arg=version"}
	for _, line := range []string{
		"-u alice -H SERVER authorize -c service=shell cmd=show cmd-arg=version",
		"authorize alice SERVER -c service=shell cmd=show cmd-arg=version",
		"authorize alice SERVER --cmds=service=shell -c cmd=show -c cmd-arg=version",
		"authorize -c service=shell alice SERVER cmd=show -- cmd-arg=version",
		"authorize alice SERVER service=shell cmd=show cmd-arg=version",
	} {
		server := newScriptServer(t, testKey, &authorResponse{status: authorPassAdd})
		got := runWith(t, secretsInEnv, "", split(line, "SERVER", server.addr)...)
		if got != (runResult{classGranted.exit(), "PASS_ADD\n", ""}) {
			t.Errorf("%s: %+v", line, got)
			continue
		}
		var request authorRequest
		if server.received(t, &request); !slices.Equal(request.args, want) {
			t.Errorf("%s\ngot %q\nwant %q", line, request.args, want)
		}
	}
}

// TestRequestLimits: a value of the largest size is sent.
func TestRequestLimits(t *testing.T) {
	t.Parallel()
	pass, passAdd, success := &authenReply{status: authenPass}, &authorResponse{status: authorPassAdd}, &acctReply{status: acctSuccess}
	for _, row := range []struct {
		line  string
		reply message
	}{
		{"authenticate " + long(255) + " SERVER -t pap", pass},
		{"authenticate alice SERVER -t pap -P " + long(255), pass},
		{"authenticate alice SERVER -t pap -r " + long(255), pass},
		{"authenticate alice SERVER -t pap --password " + long(255), pass},
		{"authenticate alice SERVER -t chap --chap-challenge " + strings.Repeat("ab", 238), pass},
		{"authenticate alice SERVER -t pap -l 15 --timeout 24h --retries 1000", pass},
		{"authenticate älice SERVER -t pap", pass},
		{"authenticate alice SERVER --password " + long(maxBody-5), pass},
		{"authenticate alice SERVER -t chap --password \xff", pass},
		{"authenticate alice SERVER -t pap -k " + long(16), pass},
		{"authorize alice SERVER service=shell cmd=" + long(251), passAdd},
		{"authorize alice SERVER service=ppp" + strings.Repeat(" a=b", 254), passAdd},
		{"authorize alice SERVER service*ppp a* b=", passAdd},
		{"account alice SERVER service=ppp" + strings.Repeat(" a=b", 251), success},
	} {
		key := testKey
		if strings.Contains(row.line, "-k") {
			key = long(16)
		}
		server := newScriptServer(t, key, row.reply)
		if got := runWith(t, secretsInEnv, "", split(row.line, "SERVER", server.addr)...); got.code != classGranted.exit() || got.err != "" {
			t.Errorf("%s: %+v", row.line, got)
		}
	}
}
