# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# TACACS+ over TLS 1.3 with other programs, as client and as server.

# ---- Certificates ---------------------------------------------------------------------------------------------

pki=$tmp/pki
mkdir "$pki"
cat >"$pki/openssl.cnf" <<'END'
[req]
distinguished_name = subject
[subject]
[ca]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign
[server]
subjectAltName = IP:127.0.0.1, DNS:tacacs.example
extendedKeyUsage = serverAuth
[client]
subjectAltName = DNS:client.example
extendedKeyUsage = clientAuth
END

# make_certificate NAME KIND [AUTHORITY] writes NAME.pem and NAME.key, signed by AUTHORITY or self-signed.
make_certificate() {
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
		-config "$pki/openssl.cnf" -extensions "$2" -subj "/CN=$1" -out "$pki/$1.pem" -keyout "$pki/$1.key" \
		${3:+-CA "$pki/$3.pem" -CAkey "$pki/$3.key"} 2>"$pki/openssl.log" ||
		die "openssl cannot make the certificate $1" "$pki/openssl.log"
}
make_certificate ca ca
make_certificate server server ca
make_certificate client client ca
make_certificate foreign-ca ca
make_certificate foreign-client client foreign-ca

# check_refused NAME REASON ARG... checks that the TLS handshake fails and that stderr has the reason.
check_refused() {
	run "${@:3}"
	verdict "$1" "exit 6, $2, no result" "exit $code, $(grep -o -m 1 -- "$2" "$tmp/err"), ${out:-no result}"
}

tls=(--tls --cacert "$pki/ca.pem")
mutual=("${tls[@]}" --cert "$pki/client.pem" --cert-key "$pki/client.key")

# ---- The client and tacquito ----------------------------------------------------------------------------------

# With TLS the log of tacquito does not have the port, so select one here.
port=$(perl -MIO::Socket::INET -e 'print IO::Socket::INET->new(Listen => 1, LocalAddr => "127.0.0.1")->sockport')
server=127.0.0.1:$port
# shellcheck disable=SC2034 # for interop-relay.sh
tls_server=$server
is_open() { (: <>"/dev/tcp/${1/:/\/}") 2>"$tmp/is_open.log"; }
start_tacquito tacquito-tls "$server" -tls -tls-cert "$pki/server.pem" -tls-key "$pki/server.key" \
	-tls-ca "$pki/ca.pem" -tls-require-client-cert
wait_for 'tacquito over TLS' "$tmp/tacquito-tls.log" is_open "$server"

check 'TLS, PAP' 0 PASS authenticate alice "$server" "${mutual[@]}" -t pap
check 'TLS, PAP, wrong password' 1 FAIL authenticate alice "$server" "${mutual[@]}" -t pap --password wrong
check 'TLS, ASCII' 0 PASS authenticate alice "$server" "${mutual[@]}"
check 'TLS, ASCII, wrong password' 1 FAIL authenticate alice "$server" "${mutual[@]}" --password wrong
check 'TLS, authorize, permitted' 0 PASS_ADD authorize bob "$server" "${mutual[@]}" --cmd 'show version'
check 'TLS, authorize, denied' 1 FAIL authorize bob "$server" "${mutual[@]}" --cmd 'configure terminal'
check 'TLS, account' 0 SUCCESS account alice "$server" "${mutual[@]}" -f stop --task-id interop-tls
verdict 'TLS, account, in the log of tacquito' 1 "$(grep -c 'task_id=interop-tls"' "$tmp/tacquito-tls-acct.log")"
check 'TLS, by name' 0 PASS authenticate alice "$server" "${mutual[@]}" --servername tacacs.example

check_refused 'TLS, another name' 'not for other.example but for tacacs.example, 127.0.0.1' \
	authenticate alice "$server" "${mutual[@]}" --servername other.example
check_refused 'TLS, without a client certificate' 'certificate required' authenticate alice "$server" "${tls[@]}"
check_refused 'TLS, a server certificate of a foreign authority' 'signed by an unknown authority' \
	authenticate alice "$server" "${mutual[@]}" --cacert "$pki/foreign-ca.pem"
check_refused 'TLS, a client certificate of a foreign authority' 'unknown certificate authority' \
	authenticate alice "$server" "${tls[@]}" --cert "$pki/foreign-client.pem" --cert-key "$pki/foreign-client.key"

# ---- The client of tacquito, and serve ------------------------------------------------------------------------

start_serve --user alice:cisco --tls --cert "$pki/server.pem" --cert-key "$pki/server.key" --client-ca "$pki/ca.pem"

own=", \"cert_file\": \"$pki/client.pem\", \"key_file\": \"$pki/client.key\""
echo "{\"ca_file\": \"$pki/ca.pem\"$own}" >"$pki/mutual.json"
echo "{\"ca_file\": \"$pki/ca.pem\"}" >"$pki/anonymous.json"

client=("$cache/client" -network tcp -address "$serve" -username alice -tls-config "$pki/mutual.json")
check_serve "TLS, tacquito's client, ascii" '{Status:AuthenStatusPass *}' 'alice authenticate ascii PASS' \
	"${client[@]}" -authen-mode ascii -password cisco
check_serve "TLS, tacquito's client, pap" '{Status:AuthenStatusPass *}' 'alice authenticate pap PASS' \
	"${client[@]}" -authen-mode pap -password cisco
check_serve "TLS, tacquito's client, pap, wrong password" '{Status:AuthenStatusFail *}' \
	'alice authenticate pap FAIL: Login incorrect' "${client[@]}" -authen-mode pap -password wrong
# serve may print a failed handshake after the client has ended.
check_serve "TLS, tacquito's client, without a client certificate" '*certificate required' '!(*PASS*)' \
	"${client[@]}" -authen-mode pap -password cisco -tls-config "$pki/anonymous.json"

# ---- tshark ---------------------------------------------------------------------------------------------------

# tshark decrypts a capture with the key log of --keylog. Every packet of both sides must have UNENCRYPTED, 01 in the
# fourth byte of the header (RFC 9887 section 3.2). Its TACACS+ decoder does not work inside TLS.
start_relay "$serve" 300 "$tmp/tls.pcap"
# check_flags NAME PACKETS ARG... checks version, type, seq_no and flags of each packet.
check_flags() {
	rm -f "$tmp/tls.pcap" "$tmp/keylog"
	run "${@:3}" "${mutual[@]}" --keylog "$tmp/keylog"
	verdict "tshark, TLS, $1" "exit 0, $2" "exit $code, $(tshark -r "$tmp/tls.pcap" -o "tls.keylog_file:$tmp/keylog" \
		-d tcp.port==300,tls -d tls.port==300,data -Y data -T fields -e data.data 2>"$tmp/tshark.log" |
		cut -c -8 | paste -s -d ' ')"
}
check_flags authenticate 'c0010101 c0010201 c0010301 c0010401' authenticate alice "$relay"
check_flags 'authenticate, single-connect' 'c1010105 c1010205' authenticate alice "$relay" -t pap --single-connect
check_flags authorize 'c0020101 c0020201' authorize alice "$relay"
check_flags account 'c0030101 c0030201' account alice "$relay" -f start

# ---- openssl --------------------------------------------------------------------------------------------------

openssl s_server -accept 127.0.0.1:0 -tls1_2 -www -cert "$pki/server.pem" -key "$pki/server.key" \
	>"$tmp/s_server.log" 2>&1 </dev/null & # without -www it ends at the end of its input
pids+=($!)
wait_for 'openssl s_server' "$tmp/s_server.log" grep -q '^ACCEPT .*:[0-9]' "$tmp/s_server.log"
check_refused 'TLS 1.2 server' 'does not support TLS 1.3' \
	authenticate alice "$(sed -n 's/^ACCEPT //p' "$tmp/s_server.log")" "${tls[@]}"

# s_client ARG... connects to serve with openssl and sets $facts.
s_client() {
	run_program openssl s_client -connect "$serve" -verify_return_error "$@"
	facts="exit $code, $(grep -o -m 1 'TLSv1.[0-9], Cipher' "$tmp/out"), $(grep -m 1 'Verify return code' "$tmp/out")"
}
start_serve --user alice:cisco --tls --write-cacert "$pki/made.pem"
s_client -tls1_3 -CAfile "$pki/made.pem" -verify_ip 127.0.0.1
verdict 's_client, the certificate that serve makes' 'exit 0, TLSv1.3, Cipher, Verify return code: 0 (ok)' "$facts"
s_client -tls1_3 -CAfile "$pki/ca.pem"
verdict 's_client, another authority' 'exit 1, self-signed certificate' \
	"exit $code, $(grep -o -m 1 'self-signed certificate' "$tmp/err")"
s_client -tls1_2 -CAfile "$pki/made.pem"
verdict 's_client, TLS 1.2' 'exit 1, alert protocol version' \
	"exit $code, $(grep -o -m 1 'alert protocol version' "$tmp/err")"
