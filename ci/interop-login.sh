# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# The whole login, lists of servers with TLS and without, and keys of servers, with tacquito and serve.

# check_login NAME CODE STEPS ARG... logs in, and compares the lines without messages and task_ids, joined by commas.
check_login() {
	run login "${@:4}"
	verdict "login, $1" "exit $2, $3" "exit $code, $(sed -E 's/ task_id=.*//; s/(SUCCESS|FAIL): .*/\1/' "$tmp/out" | paste -s -d ,)"
}

# check_records NAME LOG checks that the last two records of a log of tacquito are START and STOP of one task.
check_records() {
	verdict "login, $1, the records" 'start_time, stop_time, elapsed_time, 1 task' \
		"$(tail -n 2 "$2" | grep -o 'start_time\|stop_time\|elapsed_time' | sort -u | sed 's/^start/0&/' | sort | sed 's/^0//' | paste -s -d , | sed 's/elapsed_time,stop_time/stop_time,elapsed_time/; s/,/, /g'), $(
			tail -n 2 "$2" | grep -o 'task_id=[0-9a-f]*' | sort -u | wc -l) task"
}

granted='authenticate: PASS,authorize: PASS_ADD priv-lvl=15,start: SUCCESS'
clear_server=$tacquito
for transport in tcp tls; do
	options=()
	server=$clear_server log=$tmp/tacquito-acct.log
	if [ $transport = tls ]; then
		options=("${mutual[@]}")
		server=$tls_server log=$tmp/tacquito-tls-acct.log
	fi
	check_login "tacquito, $transport, ascii" 0 "$granted,stop: SUCCESS" alice "$server" "${options[@]}"
	check_records "tacquito, $transport" "$log"
	check_login "tacquito, $transport, pap and commands" 1 \
		"$granted,cmd show version: PASS_ADD,cmd configure terminal: FAIL,stop: SUCCESS" \
		bob "$server" "${options[@]}" -t pap --single-connect --cmd 'show version' --cmd 'configure terminal'
	check_login "tacquito, $transport, wrong password" 1 'authenticate: FAIL' alice "$server" "${options[@]}" -t pap --password wrong
	run check alice "$server" "${options[@]}" --login -t pap
	verdict "check --login, tacquito, $transport" 'exit 0, SUCCESS' "exit $code, $(sed -n 's/^  login stop: //p' "$tmp/out")"
done

start_serve --user alice:cisco --permit '^show' --deny .
for type in ascii pap chap mschap mschapv2; do
	check_login "serve, $type" 1 "$granted,cmd reload: FAIL,stop: SUCCESS" \
		alice "$serve" -t "$type" --cmd reload
done
clear_serve=$serve
run login alice "$tacquito,$serve" --all -t pap
verdict 'login --all, tacquito and serve' 'exit 0, 8 steps' "exit $code, $(wc -l <"$tmp/out") steps"
echo '{"command":"login","user":"alice","authen_type":"pap","cmds":["show version"]}' >"$tmp/login.batch"
# shellcheck disable=SC2016 # for the inner bash
run_program bash -c '"$@" <"$0"' "$tmp/login.batch" "$tmp/tacacs_plus" batch "$tacquito"
verdict 'login in batch, tacquito' 'exit 0, authenticate PASS, authorize PASS_ADD, start SUCCESS, cmd PASS_ADD, stop SUCCESS' "exit $code, $(
	perl -MJSON::PP -0777 -ne 'print join ", ", map { "$_->{step} $_->{status}" } @{decode_json($_)->{steps}}' "$tmp/out" 2>&1)"

# ---- Servers with TLS and without in one list -----------------------------------------------------------------

down=127.0.0.1:1
for server in "tacquito $tls_server $clear_server" "serve - $clear_serve"; do
	read -r name secure clear <<<"$server"
	if [ "$secure" = - ]; then
		start_serve --user alice:cisco --permit '^show' --deny . --tls --cert "$pki/server.pem" --cert-key "$pki/server.key" --client-ca "$pki/ca.pem"
		secure=$serve
	fi
	mixed=("${mutual[@]:1}") # without --tls
	check_login "$name, tcp:// that is down, then tls://" 0 "$granted,stop: SUCCESS" alice "tcp://$down,tls://$secure" "${mixed[@]}"
	check_login "$name, tls:// before tcp://" 0 "$granted,stop: SUCCESS" alice "tls://$secure,tcp://$clear" "${mixed[@]}"
	run login alice "tls://$down,tcp://$clear" "${mixed[@]}"
	verdict "login, $name, no fallback from tls://" "exit 4, 1 step, $clear was not asked" \
		"exit $code, $(wc -l <"$tmp/out") step, $(grep -o "$clear was not asked" "$tmp/err")"
	run login alice "tls://$secure,tcp://$clear" "${mixed[@]}" --all
	verdict "login --all, $name, tls:// and tcp://" 'exit 0, same reply with TLS and without' "exit $code, $(tail -n 1 "$tmp/out")"
done

# ---- A key for each server ------------------------------------------------------------------------------------

other_key=another-interop-key-0123456789
TACACS_PLUS_KEY=$other_key start_serve --user alice:cisco --permit '^show' --deny .
echo "$TACACS_PLUS_KEY" >"$tmp/tacquito.key"
echo "$other_key" >"$tmp/serve.key"
chmod 600 "$tmp/tacquito.key" "$tmp/serve.key"
keys=(--key-file "$tacquito=$tmp/tacquito.key" --key-file "$serve=$tmp/serve.key")
run login alice "$tacquito,$serve" --all "${keys[@]}"
verdict '--key-file NAME=FILE, tacquito and serve' 'exit 0, 8 steps' "exit $code, $(wc -l <"$tmp/out") steps"
check_login 'NAME=FILE, the second server' 0 "$granted,stop: SUCCESS" alice "$down,$serve" "${keys[@]}"
TACACS_PLUS_KEY=$other_key run authenticate alice "$tacquito" --key-file "$tacquito=$tmp/serve.key" -t pap
verdict '--key-file NAME=FILE, a wrong key of tacquito' "exit 5, $tmp/serve.key" "exit $code, $(grep -o -m 1 "$tmp/serve.key" "$tmp/err")"
run authenticate alice "$tacquito" --key-file "127.0.0.0/8=$tmp/tacquito.key" --key-file "$tmp/serve.key" -t pap --json
verdict '--key-file PREFIX=FILE, tacquito' "exit 0, $tmp/tacquito.key" \
	"exit $code, $(perl -MJSON::PP -0777 -ne 'print decode_json($_)->{key_file}' "$tmp/out" 2>&1)"
