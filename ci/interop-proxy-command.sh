# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# --proxy-command with ssh, socat and openssl, as docs/tls-migration.md has them.

# by COMMAND NAME CODE WORD ARG... is check with --proxy-command.
by() { check "--proxy-command, $2" "$3" "$4" "${@:5}" --proxy-command "$1"; }

# by_failing COMMAND NAME REASON ARG... checks that the exit code is 4 and that the error ends with REASON.
by_failing() {
	run "${@:4}" --proxy-command "$1"
	verdict "--proxy-command, $2" "exit 4, $3, no result" \
		"exit $code, $(grep '^tacacs_plus: connection to' "$tmp/err" | grep -o -- "$3\$"), ${out:-no result}"
}

# free_port sets $port to a port that nobody listens on.
free_port() { port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport'); }

# is_listening PORT does not connect, since each server below takes one connection.
is_listening() { grep -q "^ *[0-9]*: 0100007F:$(printf %04X "$1") 00000000:0000 0A" /proc/net/tcp; }

start_serve --user alice:cisco
clear_serve=$serve
start_serve --user alice:cisco --tls --cert "$pki/server.pem" --cert-key "$pki/server.key" --client-ca "$pki/ca.pem"
secure_serve=$serve

# ---- ssh ------------------------------------------------------------------------------------------------------

ssh=$tmp/ssh
mkdir "$ssh"
for name in host user foreign; do
	ssh-keygen -q -t ed25519 -N '' -f "$ssh/$name" || die 'ssh-keygen cannot make a key'
done
free_port
cat >"$ssh/sshd_config" <<END
ListenAddress 127.0.0.1:$port
HostKey $ssh/host
AuthorizedKeysFile $ssh/user.pub
PidFile none
UsePAM no
StrictModes no
END
if [ "$(id -u)" = 0 ]; then mkdir -p /run/sshd; fi # for privilege separation
/usr/sbin/sshd -D -e -f "$ssh/sshd_config" >"$ssh/sshd.log" 2>&1 &
pids+=($!)
wait_for sshd "$ssh/sshd.log" is_listening "$port"
echo "[127.0.0.1]:$port $(cut -d ' ' -f 1,2 "$ssh/host.pub")" >"$ssh/known"
echo "[127.0.0.1]:$port $(cut -d ' ' -f 1,2 "$ssh/foreign.pub")" >"$ssh/foreign-known"
jump="ssh -F none -o BatchMode=yes -o IdentitiesOnly=yes -o UserKnownHostsFile=$ssh/known -i $ssh/user -p $port -W [%h]:%p 127.0.0.1"

by "$jump" 'ssh -W, ascii' 0 PASS authenticate alice "$clear_serve"
by "$jump" 'ssh -W, wrong password' 1 FAIL authenticate alice "$clear_serve" -t pap --password wrong
by "$jump" 'ssh -W, account' 0 SUCCESS account alice "$clear_serve" -f start
by "$jump" 'ssh -W, TLS' 0 PASS authenticate alice "$secure_serve" "${mutual[@]}"
by "$jump" 'ssh -W, the second server' 0 PASS authenticate alice "127.0.0.1:1,$clear_serve"
by "$jump" 'ssh -W, check' 0 127.0.0.1 check alice "$clear_serve" --types
by_failing "$jump" 'ssh -W, no server' 'stdio forwarding failed' authenticate alice 127.0.0.1:1
by_failing "${jump/known/foreign-known}" 'ssh -W, another host key' 'Host key verification failed.' authenticate alice "$clear_serve"
verdict '--proxy-command, ssh -W, in the log of sshd' yes "$(grep -q 'Accepted publickey' "$ssh/sshd.log" && echo yes)"

# ---- socat ----------------------------------------------------------------------------------------------------

by 'socat - TCP:%h:%p' 'socat' 0 PASS authenticate alice "$clear_serve"
by 'socat - TCP:%h:%p' 'socat, TLS' 0 PASS authenticate alice "$secure_serve" "${mutual[@]}"
by_failing 'socat - TCP:%h:%p' 'socat, no server' 'Connection refused' authenticate alice 127.0.0.1:1

# ---- A pre-shared key -----------------------------------------------------------------------------------------

psk=$(openssl rand -hex 32)
identity=r1.example.net.access
# start_psk_server starts a TLS server with only a pre-shared key, for one connection, which it passes on to serve.
start_psk_server() {
	free_port
	echo "exec timeout 60 openssl s_server -quiet -naccept 1 -accept 127.0.0.1:$port -tls1_3 -nocert" \
		"-psk_identity $identity -psk $psk" >"$tmp/psk-front"
	echo "exec timeout 60 openssl s_client -quiet -connect $secure_serve -CAfile $pki/ca.pem -verify_return_error" \
		"-cert $pki/client.pem -key $pki/client.key" >"$tmp/psk-back"
	timeout 60 socat EXEC:"sh $tmp/psk-front" EXEC:"sh $tmp/psk-back" 2>"$tmp/psk.log" &
	pids+=($!)
	wait_for 'openssl s_server with a pre-shared key' "$tmp/psk.log" is_listening "$port"
}
by_psk='openssl s_client -quiet -tls1_3 -connect %h:%p -psk_identity IDENTITY -psk PSK -verify_return_error'
by_psk=${by_psk/IDENTITY/$identity}
by_psk=${by_psk/PSK/$psk}
psk_only="$by_psk -no-CAfile -no-CApath -no-CAstore"

start_psk_server
by "$psk_only" 'a pre-shared key' 0 PASS authenticate alice "127.0.0.1:$port" --unencrypted
start_psk_server
by_failing "${psk_only/$psk/00${psk:2}}" 'another pre-shared key' 'SSL alert number 47' \
	authenticate alice "127.0.0.1:$port" --unencrypted

# impostor COMMAND authenticates to a server with only a certificate, which openssl trusts, and sets $got to the bytes of
# TACACS+ that it gets.
impostor() {
	free_port
	timeout 60 openssl s_server -quiet -naccept 1 -accept "127.0.0.1:$port" -tls1_3 -cert "$pki/server.pem" -key "$pki/server.key" \
		>"$tmp/impostor" 2>"$tmp/impostor.log" < <(exec sleep 20) & # it ends at the end of its input
	pids+=($!)
	wait_for 'the impostor' "$tmp/impostor.log" is_listening "$port"
	run_program env SSL_CERT_FILE="$pki/ca.pem" "$tmp/tacacs_plus" authenticate alice "127.0.0.1:$port" -t pap --unencrypted \
		--timeout 3 --proxy-command "$1"
	got="exit $code, $(head -c 4 "$tmp/impostor" | od -An -tx1 | tr -d ' ') to the impostor"
}
impostor "$psk_only"
verdict '--proxy-command, a pre-shared key, an impostor with a certificate' 'exit 4,  to the impostor' "$got"
impostor "$by_psk" # the check before must be able to fail
verdict '--proxy-command, a pre-shared key, an impostor if authorities are trusted' 'exit 4, c1010101 to the impostor' "$got"
