# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# serve with other clients.

# start_serve ARG... starts serve and sets $serve to its address. All servers write their session lines to
# $tmp/sessions.
start_serve() {
	local log=$tmp/serve-${#pids[@]}.log
	"$tmp/tacacs_plus" serve --listen 127.0.0.1:0 "$@" >>"$tmp/sessions" 2>"$log" &
	pids+=($!)
	wait_for serve "$log" grep -q 'listening on' "$log"
	serve=$(sed -n 's/^tacacs_plus: listening on //p' "$log")
}

# check_serve NAME ANSWER SESSION COMMAND... checks the last line of the output and the session line of serve without
# time and peer, which serve may print after the reply. ANSWER and SESSION are patterns.
check_serve() {
	: >"$tmp/sessions"
	run_program "${@:4}"
	local got
	for _ in {1..40}; do
		got="${out##*$'\n'}, serve: $(sed 's/^[^ ]* [^ ]* //' "$tmp/sessions")"
		# shellcheck disable=SC2053 # the right side is a pattern
		if [[ $got == $2,\ serve:\ $3 ]]; then
			got="$2, serve: $3"
			break
		fi
		sleep 0.05
	done
	verdict "serve, $1" "$2, serve: $3" "$got"
}

no_fit='packet cannot be read with this key: *'

# ---- Authen::TacacsPlus ---------------------------------------------------------------------------------------

# The caller computes the CHAP data: id, challenge and response.
cat >"$tmp/client.pl" <<'END'
use strict;
use Authen::TacacsPlus;
use Digest::MD5 'md5';
my ($server, $key, $type, $password) = @ARGV;
my ($host, $port) = split /:/, $server;
my ($id, $challenge) = ("\5", 'c' x 16);
$password = $id . $challenge . md5($id . $password . $challenge) if $type eq 'CHAP';
my $client = Authen::TacacsPlus->new(Host => $host, Port => $port, Key => $key, Timeout => 5)
	or die 'no session: ', Authen::TacacsPlus::errmsg(), "\n";
my $constant = Authen::TacacsPlus::constant("TAC_PLUS_AUTHEN_TYPE_$type", 0);
print $client->authen('alice', $password, $constant) ? "granted\n" : 'denied: ' . Authen::TacacsPlus::errmsg() . "\n";
END

start_serve --user alice:cisco
for type in ascii pap chap; do
	client=(perl "$tmp/client.pl" "$serve")
	name="Authen::TacacsPlus, $type"
	check_serve "$name" granted "alice authenticate $type PASS" "${client[@]}" "$TACACS_PLUS_KEY" "${type^^}" cisco
	check_serve "$name, wrong password" 'denied: Authentication failed' "alice authenticate $type FAIL: Login incorrect" \
		"${client[@]}" "$TACACS_PLUS_KEY" "${type^^}" wrong
	# The client checks no lengths, so it reads PASS with one wrong key in 256: any output is accepted.
	check_serve "$name, wrong key" '*' "$no_fit" "${client[@]}" "$wrong_key" "${type^^}" cisco
done

# ---- The client of tacquito -----------------------------------------------------------------------------------

client=("$cache/client" -network tcp -address "$serve" -username alice)
for type in ascii pap; do
	name="tacquito's client, $type"
	check_serve "$name" '{Status:AuthenStatusPass *}' "alice authenticate $type PASS" \
		"${client[@]}" -authen-mode "$type" -secret "$TACACS_PLUS_KEY" -password cisco
	check_serve "$name, wrong key" 'bad secret detected *' "$no_fit" \
		"${client[@]}" -authen-mode "$type" -secret "$wrong_key" -password cisco
done
check_serve "tacquito's client, pap, wrong password" '{Status:AuthenStatusFail *}' \
	'alice authenticate pap FAIL: Login incorrect' "${client[@]}" -authen-mode pap -secret "$TACACS_PLUS_KEY" -password wrong
# It does not wait for the second and third attempt that serve allows.
check_serve "tacquito's client, ascii, wrong password" 'failed to match AuthenStatusPass' '!(*PASS*)' \
	"${client[@]}" -authen-mode ascii -secret "$TACACS_PLUS_KEY" -password wrong
