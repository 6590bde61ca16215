# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# The packets of the client, as tshark decodes them.

# This relay is a Perl script. It writes the bytes of each connection to a capture file before it forwards them. So
# capturing needs no privilege, and the file is complete when the client has its reply.
#
# start_relay SERVER PORT CAPTURE sets $relay to its address. PORT is the server's port in the capture.
start_relay() {
	: >"$tmp/relay.port"
	perl "$tmp/relay.pl" "$@" >"$tmp/relay.port" 2>"$tmp/relay.log" &
	pids+=($!)
	wait_for 'the relay' "$tmp/relay.log" test -s "$tmp/relay.port"
	relay=127.0.0.1:$(<"$tmp/relay.port")
}
cat >"$tmp/relay.pl" <<'END'
use strict;
use IO::Select;
use IO::Socket::INET;
my ($server, $port, $capture) = @ARGV;
my $listener = IO::Socket::INET->new(Listen => 5, LocalAddr => '127.0.0.1') or die "listen: $!\n";
STDOUT->autoflush;
print $listener->sockport, "\n";
while (my $client = $listener->accept) {
	my $upstream = IO::Socket::INET->new($server) or die "$server: $!\n";
	my $both = IO::Select->new($client, $upstream);
	my %to = ($client => $upstream, $upstream => $client);
	my %ports = ($client => [$client->peerport, $port], $upstream => [$port, $client->peerport]);
	my %seq = ($client => 1, $upstream => 1);
	open my $file, '>:raw', $capture or die "$capture: $!\n";
	$file->autoflush;
	print $file pack 'VvvVVVV', 0xa1b2c3d4, 2, 4, 0, 0, 65535, 101;    # link type 101: raw IP
	RELAY: while (my @ready = $both->can_read) {
		for my $from (@ready) {
			sysread $from, my $bytes, 32768 or last RELAY;
			my $to = $to{$from};
			my $size = 20 + 20 + length $bytes;
			my $ip = pack 'C2n3C2na4a4', 0x45, 0, $size, 0, 0, 64, 6, 0, ("\x7f\0\0\1") x 2;
			my $tcp = pack 'n2N2C2n3', @{$ports{$from}}, $seq{$from}, $seq{$to}, 0x50, 0x18, 65535, 0, 0;
			print $file pack('V4', time, 0, $size, $size), $ip, $tcp, $bytes;
			$seq{$from} += length $bytes;
			syswrite $to, $bytes;
		}
	}
}
END
start_relay "$server" 49 "$tmp/session.pcap" # where tshark expects TACACS+

# read_capture ARG... runs tshark on the client's packets.
read_capture() {
	tshark -r "$tmp/session.pcap" -o "tacplus.key:$TACACS_PLUS_KEY" -Y 'tacplus && tcp.dstport == 49' "$@" \
		2>"$tmp/tshark.log"
}
# bytes FIELD prints a field that is not text, in hexadecimal.
bytes() { read_capture -T pdml | sed -n "s/.*name=\"tacplus.$1\".* value=\"\([0-9a-f]*\)\".*/\1/p"; }

# The compared fields in this order, with tshark's names without "tacplus.".
fields='minvers type seqno flags authen_action authentication_type service privilege_level user port remote_address
	ascii_length auth_password chap_data_length chap.id chap.challenge mschap_data_length data_length data
	body_authen_req_cont.user body_authen_req_cont.data_length body_authen_req_cont.flags
	body_author_req.auth_method acct.flags acct.auth_method arg_value'

# decode prints the client's packets of the last session, one a line, as name=value pairs.
decode() {
	local options=()
	for field in $fields; do options+=(-e "tacplus.$field"); done
	read_capture -T fields "${options[@]}" -e _ws.malformed -E separator=/t -E 'aggregator= ' |
		awk -F '\t' -v names="${fields//[$'\n\t']/ } malformed" 'BEGIN { split(names, name, / +/) } {
			line = ""
			for (i = 1; i <= NF; i++) if ($i != "") line = line " " name[i] "=" $i
			print substr(line, 2)
		}'
}

# check_bytes NAME LINES ARG... checks the client's packets. LINES has a regular expression for each.
check_bytes() {
	local got
	rm -f "$tmp/session.pcap"
	run "${@:3}"
	got=$(decode) || got="tshark: $(<"$tmp/tshark.log")"
	if [[ $got =~ ^$2$ ]]; then got=$2; fi
	verdict "tshark, $1" "$2" "$got"
}

common='user=alice port=tty0 remote_address=127\.0\.0\.1'
start() { # MINOR ACTION TYPE SERVICE LEVEL; the table of minor versions is in RFC 8907 section 5.4.1
	echo "minvers=$1 type=1 seqno=1 flags=0x00 authen_action=$2 authentication_type=$3 service=$4 privilege_level=$5 $common"
}
continue='minvers=0 type=1 seqno=3 flags=0x00 body_authen_req_cont.user=cisco'
continue+=' body_authen_req_cont.data_length=0 body_authen_req_cont.flags=0x00'
request() { # TYPE METHOD_AND_FLAGS ARGUMENTS
	echo "minvers=0 type=$1 seqno=1 flags=0x00 authentication_type=1 service=1 privilege_level=0 $common $2 arg_value=$3"
}

check_bytes 'authenticate ascii' "$(start 0 1 1 1 0) ascii_length=0"$'\n'"$continue" authenticate alice "$relay"
check_bytes 'authenticate pap' "$(start 1 1 2 1 0) auth_password=cisco" authenticate alice "$relay" -t pap
# The challenge is text, so that tshark can show it. The response is MD5 of id, password and challenge.
check_bytes 'authenticate chap' "$(start 1 1 3 1 0) chap_data_length=33 chap.id=5 chap.challenge=c{16}" \
	authenticate alice "$relay" -t chap --chap-id 5 --chap-challenge 63636363636363636363636363636363
verdict 'tshark, the response of chap' "$(printf '\5ciscocccccccccccccccc' | md5sum)" "$(bytes chap.response)  -"
# Password, challenge and NT response are those of RFC 2433. The LAN Manager response, which can be cracked offline, is
# zero (section 6). The last byte means that the NT response is used.
check_bytes 'authenticate mschap' "$(start 1 1 5 1 0) mschap_data_length=58" \
	authenticate alice "$relay" -t mschap --password MyPw --chap-challenge 102db5df085d3041
rfc2433=$(printf %048d 0)4e9d3c8f9cfd385d5bf4d3246791956ca4c351ab409a3d6101
verdict 'tshark, the responses of mschap' "$rfc2433" "$(bytes mschap.response)"
# MS-CHAP v2 data in hexadecimal: id, challenge, peer challenge, 8 zero bytes, response, and a zero flags byte
# (RFC 2759 section 4).
check_bytes 'authenticate mschapv2' \
	"$(start 1 1 6 1 0) data_length=66 data=[0-9a-f]{2}[0-9a-f]{32}[0-9a-f]{32}0{16}[0-9a-f]{48}00" \
	authenticate alice "$relay" -t mschapv2
check_bytes 'enable' "$(start 0 1 1 2 15) ascii_length=0"$'\n'"$continue" enable alice "$relay"
# tacquito replies ERROR to CHPASS, so there is only the START.
echo new-password >"$tmp/new-password"
check_bytes 'chpass' "$(start 0 2 1 1 0)" chpass alice "$relay" --new-password-file "$tmp/new-password"

command='service=shell cmd=show cmd-arg=version'
check_bytes 'authorize' "$(request 2 body_author_req.auth_method=0x06 "$command")" \
	authorize alice "$relay" --cmd 'show version'
account() { # FLAG VALUE TIME; accounting arguments come before those of authorization, RFC 8907 section 8.3
	check_bytes "account $1" \
		"$(request 3 "acct.flags=$2 acct.auth_method=0x06" "task_id=interop-$1 ${3}timezone=UTC $command")" \
		account alice "$relay" -f "$1" --cmd 'show version' --task-id "interop-$1"
	verdict "account $1, in the log of tacquito" 'exit 0, SUCCESS, 1 record' \
		"exit $code, $word, $(grep -c "task_id=interop-$1\"" "$tmp/tacquito-acct.log") record"
}
account start 0x02 'start_time=[0-9]{10} '
account stop 0x04 'stop_time=[0-9]{10} '
account watchdog 0x08 ''
account watchdog-update 0x0a ''
