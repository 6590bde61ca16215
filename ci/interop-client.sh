# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# The client with tacquito as its server.

if [ ! -e /dev/log ]; then
	# shellcheck disable=SC2034 # for clean_up
	own_dev_log=yes
	perl -MIO::Socket::UNIX -e '
		my $log = IO::Socket::UNIX->new(Type => SOCK_DGRAM, Local => "/dev/log") or die "/dev/log: $!\n";
		1 while defined $log->recv(my $line, 65536);' 2>"$tmp/syslog.log" &
	pids+=($!)
	wait_for 'the syslog socket' "$tmp/syslog.log" test -S /dev/log
fi

# The hash is bcrypt of "cisco", in hex, from tacquito's own example; action 2 permits, 1 denies.
cat >"$tmp/tacquito.yaml" <<END
user: &user
  scopes: [loopback]
  services: [{name: shell, set_values: [{name: priv-lvl, values: [15]}]}]
  accounter: {name: file, type: 3}
  authenticator:
    type: 1
    options:
      hash: 24326124313024596c6e6c3152305547304d55646f384c713254707165564836724f4664494a4f4266463864716362304632557a39635363582f4436
users:
  - {<<: *user, name: alice, commands: [{name: show, match: [.*], action: 2}]}
  - {<<: *user, name: bob, commands: [{name: configure, match: [.*], action: 1}, {name: show, match: [.*], action: 2}]}
secrets:
  - name: loopback
    secret: {group: tacquito, key: $TACACS_PLUS_KEY}
    handler: {type: 1}
    type: 1
    options: {prefixes: '["127.0.0.0/8"]'}
END

# start_tacquito NAME ADDRESS ARG... logs to NAME.log, and accounting records to NAME-acct.log.
start_tacquito() {
	"$cache/server" -network tcp -address "$2" -metrics-address 127.0.0.1:0 -config "$tmp/tacquito.yaml" \
		-acct-log-path "$tmp/$1-acct.log" -level 20 "${@:3}" >"$tmp/$1.log" 2>&1 &
	pids+=($!)
}

# With port 0 the system selects a free port, and the log has it.
start_tacquito tacquito 127.0.0.1:0
wait_for tacquito "$tmp/tacquito.log" grep -q 'serve on' "$tmp/tacquito.log"
port=$(sed -n 's/.*serve on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$tmp/tacquito.log")
server=127.0.0.1:$port
# shellcheck disable=SC2034 # for interop-decode.sh, since $server changes
tacquito=$server

wrong_key=another-key-0123456789
# check_wrong_key NAME ARG... checks that the error names the key and that there is no result.
check_wrong_key() {
	run "${@:2}" --key "$wrong_key"
	verdict "$1, wrong key" 'exit 5, names the key, no result' \
		"exit $code, $(grep -qiw key "$tmp/err" && echo names the key), ${out:-no result}"
}

check 'PAP' 0 PASS authenticate alice "$server" -t pap
check 'PAP, as for the Python client' 0 PASS authenticate alice 127.0.0.1 --port "$port" --authen_type=pap
check 'PAP, wrong password' 1 FAIL authenticate alice "$server" -t pap --password wrong
check 'ASCII' 0 PASS authenticate alice "$server"
check 'ASCII, wrong password' 1 FAIL authenticate alice "$server" --password wrong
check 'ASCII, the server asks for the user' 0 PASS authenticate '' "$server" --answer alice
check 'CHAP, which tacquito does not have' 3 ERROR authenticate alice "$server" -t chap

check 'authorize a session' 0 PASS_ADD authorize alice "$server"
verdict 'authorize a session, the arguments' '  priv-lvl=15' "$(sed 1d "$tmp/out")"
check 'authorize, permitted' 0 PASS_ADD authorize alice "$server" --cmd 'show version'
check 'authorize, permitted, -c' 0 PASS_ADD authorize bob "$server" -c service=shell cmd=show cmd-arg=version
check 'authorize, denied' 1 FAIL authorize bob "$server" --cmd 'configure terminal'
run authorize alice "$server" --cmd 'show version' --json
verdict 'authorize --json' 'exit 0, authorize alice PASS_ADD 1 0' "exit $code, $(perl -MJSON::PP -0777 -ne \
	'print join " ", @{decode_json($_)}{qw(command user status granted exit_code)}' "$tmp/out" 2>&1)"

check_wrong_key 'PAP' authenticate alice "$server" -t pap
check_wrong_key 'ASCII' authenticate alice "$server"
check_wrong_key 'authorize' authorize alice "$server"
check_wrong_key 'account' account alice "$server" -f start
