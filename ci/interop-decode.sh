# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# decode and tshark must find the same sessions in the same captures.

captures=$tmp/captures
mkdir "$captures"
echo "$TACACS_PLUS_KEY" >"$tmp/decode.key"
echo new-password >"$tmp/new-password"

# ---- A capture of each kind of session ------------------------------------------------------------------------

# record NAME SERVER COMMAND... captures COMMAND with SERVER. The address is appended to the last word of COMMAND.
record() {
	start_relay "$2" 49 "$captures/$1.pcap"
	run_program "${@:3:$#-3}" "${*: -1}$relay"
	if [ ! -s "$captures/$1.pcap" ]; then die "there is no capture of $1" "$tmp/err"; fi
}
ours() { record "$1" "$2" "$tmp/tacacs_plus" "${@:3}" --host=; }
tacquitos() { record "$1" "$2" "$cache/client" -network tcp -username alice -secret "$TACACS_PLUS_KEY" "${@:3}" -address=; }

ours pap "$tacquito" authenticate alice -t pap
ours pap-denied "$tacquito" authenticate alice -t pap --password wrong
ours ascii "$tacquito" authenticate alice
ours ascii-denied "$tacquito" authenticate alice --password wrong
ours ascii-user "$tacquito" authenticate '' --answer alice
ours chap "$tacquito" authenticate alice -t chap
ours shell "$tacquito" authorize alice
ours permitted "$tacquito" authorize bob --cmd 'show version'
ours denied "$tacquito" authorize bob --cmd 'configure terminal'
ours start "$tacquito" account alice -f start --task-id decode
ours stop "$tacquito" account alice -f stop --task-id decode
ours watchdog "$tacquito" account alice -f watchdog-update --task-id decode
start_serve --user alice:cisco
ours enable "$serve" enable alice
ours mschap "$serve" authenticate alice -t mschap
ours mschapv2 "$serve" authenticate alice -t mschapv2
ours chpass "$serve" chpass alice --new-password-file "$tmp/new-password"
# Sequential, since tshark prints the fields of all packets in a frame on one line.
ours shared "$serve" bench alice -t pap --password new-password -c 1 -n 40
tacquitos foreign-ascii "$serve" -authen-mode ascii -password new-password
tacquitos foreign-pap "$serve" -authen-mode pap -password new-password
mergecap -w "$captures/all.pcapng" "$captures"/*.pcap 2>"$tmp/mergecap.log" || die 'mergecap failed' "$tmp/mergecap.log"

# ---- Comparison -----------------------------------------------------------------------------------------------

# One line a session, sorted by session_id: user, request, type, privilege level, arguments and status.
cat >"$tmp/sessions.pl" <<'END_OF_PERL'
use strict;
use JSON::PP;
my %of;
sub session { my $id = shift; print join(' ', $id, map { $_ // '' } @_), "\n" }
if ($ARGV[0] eq 'json') {
	while (<STDIN>) {
		my $s = decode_json($_);
		session(@$s{qw(session_id user request)}, $s->{flag} || $s->{authen_type}, $s->{priv_lvl}, join('|', @{$s->{arguments} || []}), $s->{status});
	}
	exit;
}
my @authen = (undef, qw(PASS FAIL GETDATA GETUSER GETPASS RESTART ERROR));
my @type = (undef, qw(ascii pap chap arap mschap mschapv2));
my %author = (0x01 => 'PASS_ADD', 0x02 => 'PASS_REPL', 0x10 => 'FAIL', 0x11 => 'ERROR');
my @acct = (undef, qw(SUCCESS ERROR));
my %kind = (0x02 => 'start', 0x04 => 'stop', 0x08 => 'watchdog', 0x0a => 'watchdog-update');
while (<STDIN>) {
	chomp;
	my ($id, $seqno, $type, $user, $action, $authen_type, $service, $level, $kind, $args, $answer, $authen, $author, $acct) = split /\t/, $_, -1;
	my $s = $of{sprintf '%08x', $id} //= {};
	if ($seqno == 1) {
		@$s{qw(user args level)} = ($user, $args, $level);
		$s->{request} = $type == 2 ? 'authorize' : $type == 3 ? 'account' : $action == 2 ? 'chpass' : $service == 2 ? 'enable' : 'authenticate';
		$s->{type} = $type == 3 ? $kind{hex $kind} : $type[$authen_type];
	} elsif ($seqno == 3 && $s->{user} eq '') {
		$s->{user} = $answer;
	} elsif ($seqno % 2 == 0) {
		$s->{status} = $type == 1 ? $authen[oct $authen] : $type == 2 ? $author{oct $author} : $acct[oct $acct];
	}
}
session($_, @{$of{$_}}{qw(user request type level args status)}) for keys %of;
END_OF_PERL

tshark_options=()
# tshark_sessions FILE
tshark_sessions() {
	local options=()
	for field in session_id seqno type user authen_action authentication_type service privilege_level acct.flags \
		arg_value body_authen_req_cont.user body_authen_rep.status body_author_rep.auth_status body_acct.status; do
		options+=(-e "tacplus.$field")
	done
	tshark -r "$1" "${tshark_options[@]}" -o "tacplus.key:$TACACS_PLUS_KEY" -Y tacplus -T fields "${options[@]}" -E 'aggregator=|' 2>"$tmp/tshark.log" |
		perl "$tmp/sessions.pl" fields | sort
}
# decode_sessions ARG... writes the sessions that decode finds to $tmp/decoded, and sets $code.
decode_sessions() {
	run decode --key-file "$tmp/decode.key" --json "$@"
	perl "$tmp/sessions.pl" json <"$tmp/out" | sort >"$tmp/decoded"
}
# same_sessions NAME ARG... checks that decode finds in ARG what tshark found in the whole capture.
same_sessions() {
	decode_sessions "${@:2}"
	verdict "decode, $1" "exit 0, $(<"$tmp/expected")" "exit $code, $(<"$tmp/decoded")"
}

tshark_sessions "$captures/all.pcapng" >"$tmp/expected"
verdict 'decode, tshark finds all sessions of the capture' 58 "$(wc -l <"$tmp/expected")"
same_sessions 'the same sessions as tshark' "$captures/all.pcapng"
# ---- The same capture in other forms --------------------------------------------------------------------------

# reform NAME TOOL ARG... converts the capture by TOOL to $captures/NAME.
reform() {
	"${@:2}" "$captures/all.pcapng" "$captures/$1" >"$tmp/reform.log" 2>&1 || die "$2 cannot write $1" "$tmp/reform.log"
}
for form in pcap nsecpcap pcapng; do
	reform "form.$form" editcap -F "$form"
	same_sessions "as $form" "$captures/form.$form"
done
reform later editcap -t 86400.5
same_sessions 'shifted in time' "$captures/later"
reform cut editcap -s 1000
same_sessions 'with a snapshot length' "$captures/cut"
mergecap -w "$captures/doubled" "$captures/all.pcapng" "$captures/all.pcapng" 2>"$tmp/mergecap.log" || die 'mergecap failed' "$tmp/mergecap.log"
same_sessions 'with every packet twice' "$captures/doubled"
tshark -r "$captures/all.pcapng" -Y 'tcp.srcport == 49' -w "$captures/replies" 2>"$tmp/tshark.log"
tshark -r "$captures/all.pcapng" -Y 'tcp.dstport == 49' -w "$captures/requests" 2>"$tmp/tshark.log"
mergecap -a -w "$captures/disorder" "$captures/requests" "$captures/replies" 2>"$tmp/mergecap.log" || die 'mergecap failed' "$tmp/mergecap.log"
# Without the REPLY before it, a CONTINUE with the user name is not recognized.
decode_sessions "$captures/disorder"
without_user() { cut -d ' ' -f 1,3- "$1"; }
verdict 'decode, all requests before all replies' "exit 0, $(without_user "$tmp/expected")" "exit $code, $(without_user "$tmp/decoded")"
mergecap -w - "$captures"/*.pcap 2>"$tmp/mergecap.log" >"$tmp/stream"
code=0
"$tmp/tacacs_plus" decode --key-file "$tmp/decode.key" --json - <"$tmp/stream" >"$tmp/out" 2>"$tmp/err" || code=$?
perl "$tmp/sessions.pl" json <"$tmp/out" | sort >"$tmp/decoded"
verdict 'decode, from standard input' "exit 0, $(<"$tmp/expected")" "exit $code, $(<"$tmp/decoded")"
# Hexadecimal text, and converted back to a capture by text2pcap.
tshark -r "$captures/all.pcapng" -x 2>"$tmp/tshark.log" >"$captures/text"
text2pcap -q -l 101 "$captures/text" "$captures/from-text" >"$tmp/reform.log" 2>&1 || die 'text2pcap failed' "$tmp/reform.log"
same_sessions 'from text2pcap' "$captures/from-text"
same_sessions 'as hexadecimal text' "$captures/text"

tcpdump -r "$captures/all.pcapng" -nxx >"$captures/tcpdump-text" 2>"$tmp/tcpdump.log" || die 'tcpdump failed' "$tmp/tcpdump.log"
same_sessions 'as text of tcpdump' "$captures/tcpdump-text"
gzip -k "$captures/form.pcap" "$captures/text"
same_sessions 'compressed by gzip' "$captures/form.pcap.gz"
same_sessions 'text compressed by gzip' "$captures/text.gz"

# ---- Encapsulations -------------------------------------------------------------------------------------------

# A header before each packet of tshark -x, in one line for text2pcap. LLLL is the length of what follows it, and TTTT
# the total length of IPv4.
cat >"$tmp/encapsulate.pl" <<'END_OF_PERL'
use strict;
my ($header) = @ARGV;
my $packet = '';
sub flush {
	return if $packet eq '';
	my $frame = $header . $packet;
	if ($frame =~ /(L|T){4}/) { my $n = sprintf '%04x', (length($frame) - $+[0]) / 2 + ($1 eq 'T' ? 4 : 0); $frame =~ s/[LT]{4}/$n/ }
	print '000000 ', join(' ', $frame =~ /../g), "\n";
	$packet = '';
}
while (<STDIN>) {
	next unless /^([0-9a-f]{4})  ((?:[0-9a-f]{2} ?)+)  /;
	flush() if $1 eq '0000';
	$packet .= $2 =~ s/ //gr;
}
flush();
END_OF_PERL

# encapsulated NAME HEADER TEXT2PCAP-OPTION... puts every packet in an encapsulation. Both must find the same sessions in it.
encapsulated() {
	perl "$tmp/encapsulate.pl" "${2// /}" <"$captures/text" >"$tmp/encapsulated.txt"
	text2pcap -q "${@:3}" "$tmp/encapsulated.txt" "$captures/encapsulated" >"$tmp/reform.log" 2>&1 || die 'text2pcap failed' "$tmp/reform.log"
	tshark_sessions "$captures/encapsulated" >"$tmp/seen"
	decode_sessions "$captures/encapsulated"
	verdict "decode, in $1" "exit 0, $(<"$tmp/expected")" "exit $code, $(<"$tmp/decoded")"
	verdict "decode, in $1: tshark" "$(<"$tmp/expected")" "$(<"$tmp/seen")"
}
macs='020000000001 020000000002'
encapsulated VLAN "$macs 81000005 0800"
encapsulated QinQ "$macs 88a80005 81000006 0800"
encapsulated LLC/SNAP "$macs LLLL aaaa03 000000 0800"
encapsulated MPLS '0001 0040 0002 0140' -e 0x8847
tshark_options=(-d 'mpls.label==16,pwethnocw')
encapsulated 'MPLS with Ethernet' "0001 0140 $macs 0800" -e 0x8847
tshark_options=()
encapsulated PPPoE '11000001 LLLL 0021' -e 0x8864
encapsulated PPP 'ff03 0021' -l 9
encapsulated 'Cisco HDLC' '0f00 0800' -l 104
encapsulated GRE '0000 0800' -i 47
encapsulated 'GRE with a key and Ethernet' "2000 6558 00000001 $macs 0800" -i 47
encapsulated 'ERSPAN I' "0000 88be $macs 0800" -i 47
encapsulated 'ERSPAN II' "1000 88be 00000001 1005 0001 00000000 $macs 0800" -i 47
encapsulated 'ERSPAN III' "1000 22eb 00000001 2005 0001 00000000 0000 0000 $macs 0800" -i 47
encapsulated VXLAN "08000000 00000500 $macs 0800" -u 40000,4789
encapsulated Geneve "00006558 00000500 $macs 0800" -u 40000,6081
encapsulated 'IP in IP' '' -i 4
encapsulated 'IP in IPv6' '' -i 4 -6 2001:db8::1,2001:db8::2
encapsulated 'VXLAN, VLAN, MPLS and GRE' "08000000 00000500 $macs 81000005 8847 00010140 4500 TTTT 00000000 402f 0000 c0000201 c0000202 0000 0800" -u 40000,4789

decode_sessions "$captures/all.pcapng" --key "$wrong_key" --key-file "$tmp/decode.key"
verdict 'decode, two candidates' "exit 0, $(<"$tmp/expected")" "exit $code, $(<"$tmp/decoded")"
run decode --key "$wrong_key" --json "$captures/all.pcapng"
verdict 'decode, a wrong key' 'exit 5, no other status than NO_KEY' \
	"exit $code, $(grep -v '"status":"NO_KEY"' "$tmp/out" || echo no other status than NO_KEY)"

# ---- Live, and over TLS ---------------------------------------------------------------------------------------

as_root=()
if [ "$(id -u)" != 0 ]; then as_root=(sudo); fi
# capture_live FILE PORT starts tcpdump.
capture_live() {
	"${as_root[@]}" tcpdump -i lo -U -w "$1" "port $2" 2>"$tmp/tcpdump.log" &
	tcpdump=$!
	pids+=("$tcpdump")
	wait_for tcpdump "$tmp/tcpdump.log" grep -q 'listening on' "$tmp/tcpdump.log"
}

start_serve --user alice:cisco
mkfifo "$captures/live"
"$tmp/tacacs_plus" decode --key-file "$tmp/decode.key" - <"$captures/live" >"$tmp/live.out" 2>"$tmp/live.err" &
decoder=$!
pids+=("$decoder")
capture_live "$captures/live" "${serve##*:}"
run authenticate alice "$serve" -t pap
for ((i = 0; i < 50; i++)); do
	if grep -q PASS "$tmp/live.out"; then break; fi
	sleep 0.1
done
verdict 'decode, live: a login while tcpdump runs' "exit 0, alice authenticate pap PASS" \
	"exit $code, $(grep -o 'alice authenticate pap PASS' "$tmp/live.out")"
kill -INT "$tcpdump"

# With the key logs of this program and of openssl s_client.
start_serve --user alice:cisco --tls --write-cacert "$tmp/decode-ca.pem"
capture_live "$captures/tls.pcap" "${serve##*:}"
run authenticate alice "$serve" --tls --cacert "$tmp/decode-ca.pem" --keylog "$tmp/decode.keylog"
verdict 'decode, TLS, the login itself' 'exit 0, PASS' "exit $code, $word"
for ((i = 0; i < 50; i++)); do # until tcpdump has written the end of the connection
	run decode --keylog "$tmp/decode.keylog" "$captures/tls.pcap"
	if [[ $out == *PASS* ]]; then break; fi
	sleep 0.1
done
verdict 'decode, TLS, with a key log' 'exit 0, alice authenticate ascii PASS' "exit $code, $(grep -o 'alice authenticate ascii PASS' "$tmp/out")"
# The secrets inside the capture.
editcap --inject-secrets "tls,$tmp/decode.keylog" "$captures/tls.pcap" "$captures/secrets.pcapng" 2>"$tmp/reform.log" || die 'editcap failed' "$tmp/reform.log"
run decode "$captures/secrets.pcapng"
verdict 'decode, TLS, with secrets in pcapng' 'exit 0, alice authenticate ascii PASS' "exit $code, $(grep -o 'alice authenticate ascii PASS' "$tmp/out")"
run decode --port "${serve##*:}" "$captures/tls.pcap" # TLS on any port is not TACACS+
verdict 'decode, TLS, without a key log' 'exit 0, 1 line with TLS' "exit $code, $(grep -c TLS "$tmp/out") line with TLS"
# A PAP START for alice, as it is sent inside of TLS. Decode supports the first two suites.
start='\xc1\x01\x01\x01\x12\x34\x56\x78\x00\x00\x00\x1a\x01\x00\x02\x01\x05\x04\x04\x05alicetty0lab0cisco'
for suite in TLS_AES_128_GCM_SHA256 TLS_AES_256_GCM_SHA384 TLS_CHACHA20_POLY1305_SHA256; do
	rm -f "$tmp/openssl.keylog"
	# shellcheck disable=SC2059 # the bytes are the format
	{ printf "$start" && sleep 1; } | openssl s_client -quiet -connect "$serve" -tls1_3 -ciphersuites "$suite" \
		-CAfile "$tmp/decode-ca.pem" -keylogfile "$tmp/openssl.keylog" >"$tmp/s_client.out" 2>"$tmp/s_client.log" || true
	cat "$tmp/openssl.keylog" >>"$tmp/decode.keylog"
done
sleep 0.5
kill -INT "$tcpdump"
run decode --port "${serve##*:}" --keylog "$tmp/decode.keylog" "$captures/tls.pcap"
verdict 'decode, TLS of openssl' 'exit 0, 2 of alice by pap, 1 ChaCha20' \
	"exit $code, $(grep -c 'alice authenticate pap PASS' "$tmp/out") of alice by pap, $(grep -ci 'chacha20' "$tmp/out") ChaCha20"
