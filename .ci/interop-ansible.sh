# shellcheck shell=bash disable=SC2154 # the variables are those of .ci/interop
#
# Ansible calls the program as a module, on two hosts: does it find, understand and believe the answers?

ansible=$tmp/ansible
mkdir -p "$ansible/library"
cp "$tmp/tacacs_plus" "$ansible/library/"
cat >"$ansible/hosts" <<'END'
[sites]
berlin ansible_connection=local
tokyo ansible_connection=local
END
# Nothing of the person who runs this: neither a configuration nor a folder; and Ansible insists on UTF-8.
echo '[defaults]' >"$ansible/ansible.cfg"
export ANSIBLE_CONFIG=$ansible/ansible.cfg ANSIBLE_HOME=$ansible/home ANSIBLE_INVENTORY=$ansible/hosts ANSIBLE_LIBRARY=$ansible/library \
	ANSIBLE_NOCOLOR=1 ANSIBLE_REMOTE_TMP=$ansible/remote LC_ALL=C.UTF-8

# check_task NAME CODE EXPECTED TASK [OPTION...]: CODE is 2 where Ansible counts a host as failed, EXPECTED what it
# holds of each host's answer.
check_task() {
	rm -rf "$ansible/answers"
	# Without the two secrets in the environment: they are options of the task.
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

# What is skipped has no file: the screen says it, and serve has seen nothing.
: >"$tmp/sessions"
run_program ansible sites -m tacacs_plus -a "{\"command\": \"account\", $login}" --check
verdict 'Ansible, account, check mode' 'berlin | SKIPPED tokyo | SKIPPED, serve: ' \
	"$(sort "$tmp/out" | xargs), serve: $(<"$tmp/sessions")"

first=$serve
start_serve
check_task 'check of two servers' 0 'up, up, 2 servers, all healthy' \
	"command=check host=$first,$serve key=$TACACS_PLUS_KEY"
check_task 'check of two servers, one down' 2 'up, down, 2 servers, 1 not healthy: connect to 127.0.0.1:1: connection refused' \
	"command=check host=$first,127.0.0.1:1 key=$TACACS_PLUS_KEY timeout=2"

# The playbook of the README, with a server that exists.
sed -n '/^- hosts: sites$/,/^```$/p' README.md | sed "/^\`\`\`/d; s/tac1,tac2/$first/" >"$ansible/playbook.yml"
run_program ansible-playbook "$ansible/playbook.yml" -e "{\"key\": \"$TACACS_PLUS_KEY\", \"password\": \"cisco\"}"
verdict "Ansible, the README's playbook" 'exit 0, 2 hosts ok' \
	"exit $code, $(grep -c 'ok=1 .*failed=0 ' "$tmp/out") hosts ok"
