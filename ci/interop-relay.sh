# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# Other clients and tacquito with the relay between them: with a key for each side, with TLS on one side, with a capture
# by the relay that tshark reads, and while servers die.

device_key='device-key-0123456789'
echo "$device_key" >"$tmp/device-key"

# start_between NAME SERVER ARG... starts the relay and sets $between to its address. Its session lines are in NAME.out
# and its capture in NAME.pcap.
start_between() {
	"$tmp/tacacs_plus" relay "$2" --record "$tmp/$1.pcap" "${@:3}" >"$tmp/$1.out" 2>"$tmp/$1.log" &
	between_pid=$!
	pids+=("$between_pid")
	wait_for "the relay, $1," "$tmp/$1.log" grep -q listening "$tmp/$1.log"
	between=$(sed -n 's/^tacacs_plus: listening .*on //p' "$tmp/$1.log")
}

end_between() {
	kill "$between_pid"
	wait "$between_pid" || true
}

# stop_between NAME PORT SESSIONS stops the relay. Its lines and its capture, as tshark reads it, must have SESSIONS:
# user, type and status of each. PORT is that of the server.
stop_between() {
	end_between
	verdict "relay, $1, session lines" "$3" "$(awk '{ print $5, $7, substr($8, 1, 4) }' "$tmp/$1.out")"
	verdict "relay, $1, capture read by tshark" "$3" "$(tshark -r "$tmp/$1.pcap" -d "tcp.port==$2,tacplus" -Y tacplus \
		-T fields -e tcp.stream -e tacplus.authentication_type -e tacplus.user -e tacplus.body_authen_req_cont.user \
		-e tacplus.body_authen_rep.status 2>"$tmp/tshark.log" |
		awk -F '\t' '
			BEGIN { split("ascii pap chap", types, " "); split("PASS FAIL", statuses, " ") }
			$2 != "" { type[$1 + 0] = types[$2 + 0] }
			$3 $4 ~ /^[a-z]/ { user[$1 + 0] = $3 $4 } # Authen::TacacsPlus sends it on request
			$5 != "" { sub(/^0x0*/, "", $5); status[$1 + 0] = statuses[$5 + 0] }
			END { for (i = 0; i in type; i++) print user[i], type[i], status[i] }')"
	verdict "relay, $1, no password in its capture" 0 "$(grep -c -a -e "$TACACS_PLUS_PWD" -e "wrong" "$tmp/$1.pcap" || true)"
}

# ask_between NAME KEY TYPES ARG... runs both clients with a right and a wrong password. Neither authorizes or accounts.
# TYPES are for Authen::TacacsPlus, which has no TLS. ARG is for tacquito's client.
ask_between() {
	local type client=("$cache/client" -network tcp -address "$between" -username alice "${@:4}")
	for type in $3; do
		check_between "$1, Authen::TacacsPlus, $type" granted perl "$tmp/client.pl" "$between" "$2" "${type^^}" cisco
		check_between "$1, Authen::TacacsPlus, $type, wrong password" 'denied: Authentication failed' \
			perl "$tmp/client.pl" "$between" "$2" "${type^^}" wrong
	done
	if [ -n "$2" ]; then client+=(-secret "$2"); fi
	check_between "$1, tacquito's client, ascii" '{Status:AuthenStatusPass *}' "${client[@]}" -authen-mode ascii -password cisco
	check_between "$1, tacquito's client, pap" '{Status:AuthenStatusPass *}' "${client[@]}" -authen-mode pap -password cisco
	check_between "$1, tacquito's client, pap, wrong password" '{Status:AuthenStatusFail *}' \
		"${client[@]}" -authen-mode pap -password wrong
}

# check_between NAME ANSWER COMMAND... checks the last line of the output. ANSWER is a pattern.
check_between() {
	run_program "${@:3}"
	local got=${out##*$'\n'}
	# shellcheck disable=SC2053 # the right side is a pattern
	if [[ $got == $2 ]]; then got=$2; fi
	verdict "relay, $1" "$2" "$got"
}

# The sessions of ask_between.
tacquito_sessions=$'alice ascii PASS\nalice pap PASS\nalice pap FAIL'
perl_sessions=$'alice ascii PASS\nalice ascii FAIL\nalice pap PASS\nalice pap FAIL'
chap_sessions=$'alice chap PASS\nalice chap FAIL'

# ---- A key for each side --------------------------------------------------------------------------------------

start_tacquito tacquito-behind 127.0.0.1:0
wait_for 'tacquito behind the relay' "$tmp/tacquito-behind.log" grep -q 'serve on' "$tmp/tacquito-behind.log"
behind=$(sed -n 's/.*serve on \(127\.0\.0\.1:[0-9]*\).*/\1/p' "$tmp/tacquito-behind.log")
start_serve --user alice:cisco

for mode in '' --single-connect; do
	# shellcheck disable=SC2086 # no option if the mode is empty
	start_between "tacquito$mode" "$behind" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" $mode
	ask_between "tacquito behind it $mode" "$device_key" 'ascii pap'
	stop_between "tacquito$mode" "${behind##*:}" "$perl_sessions"$'\n'"$tacquito_sessions"
	# shellcheck disable=SC2086
	start_between "serve$mode" "$serve" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" $mode
	ask_between "serve behind it $mode" "$device_key" 'ascii pap chap'
	stop_between "serve$mode" "${serve##*:}" "$perl_sessions"$'\n'"$chap_sessions"$'\n'"$tacquito_sessions"

	# These clients only authenticate.
	# shellcheck disable=SC2086
	start_between "requests$mode" "$behind" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" $mode
	device=("$between" --key-file "$tmp/device-key")
	check "relay, authorize at tacquito $mode" 0 PASS_ADD authorize alice "${device[@]}" --cmd 'show version'
	check "relay, authorize at tacquito, denied $mode" 1 FAIL authorize bob "${device[@]}" --cmd 'configure terminal'
	check "relay, account at tacquito $mode" 0 SUCCESS account alice "${device[@]}" --task-id "behind$mode" -f start
	wait_for 'the record of tacquito' "$tmp/tacquito-behind-acct.log" grep -q "task_id=behind$mode\W" "$tmp/tacquito-behind-acct.log"
	verdict "relay, one record at tacquito $mode" 1 "$(grep -c "task_id=behind$mode\W" "$tmp/tacquito-behind-acct.log")"
	end_between
done

start_between single "$behind" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key"
run authenticate alice "$between" --key-file "$tmp/device-key" -t pap --single-connect -v
verdict 'relay, single-connection mode as tacquito grants it' 'exit 0, single-connect: granted' "exit $code, $(grep -o 'single-connect: .*' "$tmp/out")"
stop_between single "${behind##*:}" 'alice pap PASS'

# Two runs with one capture: the streams of the second one are others.
for _ in 1 2; do
	start_between appended "$serve" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" --append
	check 'relay, --append' 0 PASS authenticate alice "$between" --key-file "$tmp/device-key" -t pap
	end_between
done
verdict 'relay, --append, capture read by tshark' $'0\t0x01\t\n1\t0x01\t' \
	"$(tshark -r "$tmp/appended.pcap" -d "tcp.port==${serve##*:},tacplus" -Y tacplus.body_authen_rep.status \
		-T fields -e tcp.stream -e tacplus.body_authen_rep.status -e tcp.analysis.flags 2>"$tmp/tshark.log" || echo "exit $?")"

# ---- TLS on one side ------------------------------------------------------------------------------------------

# A client without TLS and a server of RFC 9887, the one of interop-tls.sh.
start_between to-tls "$tls_server" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" "${mutual[@]}"
ask_between 'cleartext to TLS' "$device_key" 'ascii pap'
stop_between to-tls "${tls_server##*:}" "$perl_sessions"$'\n'"$tacquito_sessions"

start_between to-clear "$behind" --listen-tls 127.0.0.1:0 --listen-cert "$pki/server.pem" --listen-cert-key "$pki/server.key" \
	--client-ca "$pki/ca.pem"
ask_between 'TLS to cleartext' '' '' -tls-config "$pki/mutual.json"
stop_between to-clear "${behind##*:}" "$tacquito_sessions"

# ---- While servers die ----------------------------------------------------------------------------------------

# Its output has the seed.
(cd bench/peer && go build -o "$tmp/chaos" ./chaos) >"$tmp/chaos.log" 2>&1 || die 'cannot build the chaos test' "$tmp/chaos.log"
code=0
timeout 150 "$tmp/chaos" -program "$tmp/tacacs_plus" >"$tmp/out" 2>"$tmp/err" || code=$?
out=$(<"$tmp/out")
# shellcheck disable=SC2034 # for verdict
err=$(<"$tmp/err")
echo "$out"
verdict 'relay, servers that die at random' 'exit 0' "exit $code"
