# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# HAProxy in front of serve, with both versions of the PROXY protocol, in cleartext and over TLS, and HAProxy behind relay.
# The client has an address of its own, which serve must know.

proxy_host=127.43.8.1 # of HAProxy
proxy_client=127.43.8.9

# start_behind NAME ARG... starts serve behind HAProxy and sets $address to its address. Its lines are in NAME.out.
start_behind() {
	"$tmp/tacacs_plus" serve --listen 127.0.0.1:0 --proxy-protocol 127.0.0.1 --json "${@:2}" >"$tmp/$1.out" 2>"$tmp/$1.log" &
	pids+=("$!")
	wait_for "serve, $1," "$tmp/$1.log" grep -q listening "$tmp/$1.log"
	address=$(sed -n 's/^tacacs_plus: listening on //p' "$tmp/$1.log")
}

# check_proxied NAME ADDRESS SERVE ARG... logs in at ADDRESS. The line in SERVE.out must have the client's address.
check_proxied() {
	run authenticate alice "$2" --source "$proxy_client" "${@:4}"
	verdict "PROXY protocol, $1" 'exit 0, PASS' "exit $code, $word"
	wait_for "the line of $1" "$tmp/$3.out" grep -q "\"peer\":\"$proxy_client:" "$tmp/$3.out"
	verdict "PROXY protocol, $1, the client in the log" 1 "$(grep -c "\"peer\":\"$proxy_client:.*\"proxy\":\"127.0.0.1:" "$tmp/$3.out")"
	: >"$tmp/$3.out"
}

start_behind proxied --user "alice:$TACACS_PLUS_PWD" --key-file "$proxy_client=$tmp/device-key"
proxied=$address
env -u TACACS_PLUS_KEY "$tmp/tacacs_plus" serve --listen 127.0.0.1:0 --proxy-protocol 127.0.0.1 --json --user "alice:$TACACS_PLUS_PWD" \
	--tls --cert "$pki/server.pem" --cert-key "$pki/server.key" --client-ca "$pki/ca.pem" >"$tmp/proxied-tls.out" 2>"$tmp/proxied-tls.log" &
pids+=("$!")
wait_for 'serve, proxied over TLS,' "$tmp/proxied-tls.log" grep -q listening "$tmp/proxied-tls.log"
proxied_tls=$(sed -n 's/^tacacs_plus: listening on //p' "$tmp/proxied-tls.log")

cat >"$tmp/haproxy.cfg" <<END
defaults
	mode tcp
	timeout connect 5s
	timeout client 30s
	timeout server 30s
listen v1
	bind $proxy_host:4901
	server serve $proxied send-proxy
listen v2
	bind $proxy_host:4902
	server serve $proxied send-proxy-v2
listen v2-more
	bind $proxy_host:4903
	server serve $proxied send-proxy-v2 proxy-v2-options crc32c,unique-id
	unique-id-format %{+X}o%ci:%cp
listen tls
	bind $proxy_host:4904
	server serve $proxied_tls send-proxy-v2
listen received
	bind $proxy_host:4905 accept-proxy
	server serve $proxied send-proxy-v2
listen received-tls
	bind $proxy_host:4907 accept-proxy
	server serve $proxied_tls send-proxy-v2
listen checked
	bind $proxy_host:4906
	server serve $proxied send-proxy-v2 check check-send-proxy inter 100ms
END
haproxy -f "$tmp/haproxy.cfg" -db >"$tmp/haproxy.log" 2>&1 &
pids+=("$!")
connects() { (: <"/dev/tcp/$proxy_host/4906") 2>"$tmp/connect.log"; }
wait_for HAProxy "$tmp/haproxy.log" connects

check_proxied 'version 1' "$proxy_host:4901" proxied --key-file "$tmp/device-key"
check_proxied 'version 2' "$proxy_host:4902" proxied --key-file "$tmp/device-key"
check_proxied 'version 2 with more fields' "$proxy_host:4903" proxied --key-file "$tmp/device-key"
check_proxied 'version 2 before TLS' "$proxy_host:4904" proxied-tls "${mutual[@]}" --servername 127.0.0.1
check_proxied 'version 2 beside health checks' "$proxy_host:4906" proxied --key-file "$tmp/device-key"
sleep 1
verdict 'PROXY protocol, health checks have no lines' 0 "$(wc -l <"$tmp/proxied.out")"

# relay sends the header to HAProxy, which sends its own to serve.
start_between proxied-by-relay "$proxy_host:4905" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" --key-file "$tmp/device-key" --send-proxy
check_proxied 'relay to HAProxy' "$between" proxied --key-file "$tmp/device-key"
check_proxied 'relay to HAProxy, single-connection mode' "$between" proxied --key-file "$tmp/device-key" -t pap --single-connect
end_between
start_between proxied-by-relay-tls "$proxy_host:4907" --listen 127.0.0.1:0 --device-key-file "$tmp/device-key" --send-proxy \
	"${mutual[@]}" --servername 127.0.0.1
check_proxied 'relay to HAProxy, over TLS' "$between" proxied-tls --key-file "$tmp/device-key"
end_between
