# shellcheck shell=bash disable=SC2154 # the variables are those of ci/interop
#
# Foreign clients ask serve: do they understand it, and does it understand them?

# start_serve ARG...: leaves $serve, its address; its sessions are in $tmp/sessions, those of every serve together.
start_serve() {
	local log=$tmp/serve-${#pids[@]}.log
	"$tmp/tacacs_plus" serve --listen 127.0.0.1:0 "$@" >>"$tmp/sessions" 2>"$log" &
	pids+=($!)
	wait_for serve "$log" grep -q 'listening on' "$log"
	serve=$(sed -n 's/^tacacs_plus: listening on //p' "$log")
}

# check_serve NAME ANSWER SESSION COMMAND...: ANSWER is a pattern for the last line of what COMMAND prints, and
# SESSION one for what serve prints of it, without time and peer; it does so before it answers.
check_serve() {
	: >"$tmp/sessions"
	run_program "${@:4}"
	local got
	got="${out##*$'\n'}, serve: $(sed 's/^[^ ]* [^ ]* //' "$tmp/sessions")"
	# shellcheck disable=SC2053 # the right side is a pattern
	if [[ $got == $2,\ serve:\ $3 ]]; then got="$2, serve: $3"; fi
	verdict "serve, $1" "$2, serve: $3" "$got"
}

no_fit='a packet that does not fit the key: *'

# ---- Authen::TacacsPlus ---------------------------------------------------------------------------------------

# Its caller makes the CHAP data: id, challenge and response.
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
	# What the client makes of the answer is left open: it checks no lengths, and of 256 wrong keys one is PASS to it.
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
# It does not wait for the second and the third try that serve offers.
check_serve "tacquito's client, ascii, wrong password" 'failed to match AuthenStatusPass' '!(*PASS*)' \
	"${client[@]}" -authen-mode ascii -secret "$TACACS_PLUS_KEY" -password wrong
