# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# Ansible runs the program as a module on two hosts.

ansible=$tmp/ansible
mkdir -p "$ansible/library"
cp "$tmp/tacacs_plus" "$ansible/library/"
cat >"$ansible/hosts" <<'END'
[sites]
berlin ansible_connection=local
tokyo ansible_connection=local
END
# Without the configuration and the folders of the user. Ansible requires UTF-8.
echo '[defaults]' >"$ansible/ansible.cfg"
export ANSIBLE_CONFIG=$ansible/ansible.cfg ANSIBLE_HOME=$ansible/home ANSIBLE_INVENTORY=$ansible/hosts ANSIBLE_LIBRARY=$ansible/library \
	ANSIBLE_NOCOLOR=1 ANSIBLE_REMOTE_TMP=$ansible/remote LC_ALL=C.UTF-8

# check_task NAME CODE EXPECTED TASK [OPTION...] runs a task. CODE is 2 if Ansible counts a host as failed; EXPECTED is
# the result of each host.
check_task() {
	rm -rf "$ansible/answers"
	# Without secrets in the environment, since the task has them.
	run_program env -u TACACS_PLUS_KEY -u TACACS_PLUS_PWD \
		ansible sites -m tacacs_plus -a "$4" -t "$ansible/answers" "${@:5}"
	local host got="exit $code; "
	for host in berlin tokyo; do
		got+="$host: $(perl -MJSON::PP -0777 -ne '
			my %a = %{decode_json($_)};
			my $msg = (split /[;\n]/, $a{msg})[0];
			my @servers = map { $_->{error} ? "down" : "up" } @{$a{servers} || []};
			print join ", ", ("changed") x $a{changed}, @servers, $msg' "$ansible/answers/$host" 2>&1); "
	done
	verdict "Ansible, $1" "exit $2; berlin: $3; tokyo: $3; " "$got"
}

start_serve --user alice:cisco
login="\"user\": \"alice\", \"host\": \"$serve\", \"key\": \"$TACACS_PLUS_KEY\""
check_task 'PASS' 0 PASS "{\"command\": \"authenticate\", $login, \"password\": \"cisco\"}"
check_task 'FAIL' 2 'FAIL: Login incorrect' \
	"{\"command\": \"authenticate\", $login, \"password\": \"wrong\", \"authen_type\": \"pap\"}"
check_task 'PASS, asynchronous' 0 PASS "{\"command\": \"authenticate\", $login, \"password\": \"cisco\"}" -B 30 -P 1
check_task 'usage error' 2 'unknown option --pasword' "{\"command\": \"authenticate\", $login, \"pasword\": \"cisco\"}"
check_task 'authorize' 0 PASS_ADD "{\"command\": \"authorize\", $login, \"args\": [\"service=shell\", \"cmd=\"]}"
check_task 'account' 0 'changed, SUCCESS task_id=7' "{\"command\": \"account\", $login, \"task_id\": \"7\"}"

# A skipped task has no result file, only a line, and sends nothing to serve.
: >"$tmp/sessions"
run_program ansible sites -m tacacs_plus -a "{\"command\": \"account\", $login}" --check
verdict 'Ansible, account, check mode' 'berlin | SKIPPED tokyo | SKIPPED, serve: ' \
	"$(sort "$tmp/out" | xargs), serve: $(<"$tmp/sessions")"

first=$serve
start_serve
check_task 'check of two servers' 0 'up, up, 2/2 up' \
	"command=check host=$first,$serve key=$TACACS_PLUS_KEY"
check_task 'check of two servers, one down' 2 'up, down, 1/2 failed: connect to 127.0.0.1:1: connection refused' \
	"command=check host=$first,127.0.0.1:1 key=$TACACS_PLUS_KEY timeout=2"

# The playbook of docs/ansible.md with the address of a running server.
sed -n '/^- hosts: sites$/,/^```$/p' docs/ansible.md | sed "/^\`\`\`/d; s/tac1,tac2/$first/" >"$ansible/playbook.yml"
run_program ansible-playbook "$ansible/playbook.yml" -e "{\"key\": \"$TACACS_PLUS_KEY\", \"password\": \"cisco\"}"
verdict 'Ansible, the playbook of docs/ansible.md' 'exit 0, 2 hosts ok' \
	"exit $code, $(grep -c 'ok=1 .*failed=0 ' "$tmp/out") hosts ok"
