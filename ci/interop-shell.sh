# shellcheck shell=bash disable=SC2154 # variables of ci/interop
#
# Completion in each shell, the jump host of the README, and the man pages in mandoc.

mkdir -p "$tmp/shell/bin" "$tmp/shell/zsh" "$tmp/shell/config/tacacs_plus" "$tmp/shell/config/fish/completions" \
	"$tmp/shell/data/bash-completion/completions"
ln -s "$tmp/tacacs_plus" "$tmp/shell/bin/tacacs_plus"
touch "$tmp/shell/config/tacacs_plus/"{lab,prod,prod.key}
# Names that a shell must quote. Each would make the file "ran" or change if the shell read it.
# shellcheck disable=SC2016 # nothing is expanded
hostile=('a$(touch${IFS}ran)`touch${IFS}ran`Z' 'b;touch${IFS}ran&touch${IFS}ran|x>ran<yZ' "c'd\"e\\f!g*h?i[j]k{l,m}n#o~p:q=r@s\$HOME(t)^Z")
for name in "${hostile[@]}"; do touch "$tmp/shell/config/tacacs_plus/$name"; done
# In the folders where the shells find them.
"$tmp/tacacs_plus" completion bash >"$tmp/shell/data/bash-completion/completions/tacacs_plus"
"$tmp/tacacs_plus" completion zsh >"$tmp/shell/zsh/_tacacs_plus"
"$tmp/tacacs_plus" completion fish >"$tmp/shell/config/fish/completions/tacacs_plus.fish"

cat >"$tmp/shell/plain.bash" <<'END'
PS1='ready> '
bind 'set show-all-if-ambiguous on' 'set completion-query-items 0' 'set page-completions off' 'set enable-bracketed-paste off'
END
cp "$tmp/shell/plain.bash" "$tmp/shell/full.bash"
cat >>"$tmp/shell/plain.bash" <<'END'
source <(tacacs_plus completion bash)
END
cat >>"$tmp/shell/full.bash" <<'END'
source /usr/share/bash-completion/bash_completion
END
cat >"$tmp/shell/zsh/.zshrc" <<'END'
PS1='ready> ' LISTMAX=10000
fpath+=$ZDOTDIR
autoload -U compinit
compinit -u -d $ZDOTDIR/dump
END

# tab.exp LINE LAST COMMAND... types LINE and Tab in a shell, waits for the character LAST, and prints what the shell shows
# after the Tab, then the words of the completed line as the shell reads them.
cat >"$tmp/shell/tab.exp" <<'END'
lassign $argv line last
set timeout 10
set stty_init {rows 100 columns 200}
log_user 0
spawn -noecho {*}[lrange $argv 2 end]
expect {ready> }
send -- "$line"
expect -ex $line
send "\t"
expect -ex $last
set shown $expect_out(buffer)
send "\001printf 'word %s\\n' \r"
send "echo E''ND\r"
expect "\nEND"
puts "$shown$expect_out(buffer)"
END

# tab SHELL LINE LAST completes LINE in a shell.
tab() {
	case $1 in
	bash) set -- "${@:2}" bash --noprofile --rcfile "$tmp/shell/plain.bash" -i ;;
	bash-completion) set -- "${@:2}" bash --noprofile --rcfile "$tmp/shell/full.bash" -i ;;
	zsh) set -- "${@:2}" zsh -i ;;
	fish) set -- "${@:2}" fish -i -C 'function fish_prompt; echo "ready> "; end' ;;
	esac
	in_shell expect -f "$tmp/shell/tab.exp" -- "$@"
}

in_shell() {
	run_program env -C "$tmp/shell" PATH="$tmp/shell/bin:$PATH" TERM=dumb LC_ALL=C.UTF-8 EDITOR= HOME="$tmp/shell" ZDOTDIR="$tmp/shell/zsh" \
		XDG_CONFIG_HOME="$tmp/shell/config" XDG_DATA_HOME="$tmp/shell/data" "$@"
}

shells=(bash bash-completion zsh fish)

# check_tab NAME LINE EXPECTED MATCH completes LINE in each shell and checks the completions that match MATCH.
check_tab() {
	local shell got
	for shell in "${shells[@]}"; do
		if [ "$shell" = fish ]; then # it lists them in a pager
			in_shell fish -c "complete -C '$2'"
		else
			tab "$shell" "$2" "${3: -1}"
		fi
		got=$(grep -oE -- "$4" "$tmp/out" | sort -u | paste -s -d ' ')
		verdict "$shell, $1" "$3" "$got"
	done
}

# check_word NAME LINE WORD completes LINE in each shell and checks the last word of the command that it becomes.
check_word() {
	local shell
	for shell in "${shells[@]}"; do
		tab "$shell" "$2" "${3: -1}"
		verdict "$shell, $1" "$3" "$(tr -d '\r' <"$tmp/out" | grep -oE 'word .*' | tail -n 1 | cut -c 6-)"
	done
}

check_tab 'commands' 'tacacs_plus auth' 'authenticate authorize' '\b(auth[a-z]+|account|check)\b'
check_tab 'values' 'tacacs_plus authenticate -t ' 'ascii chap mschap mschapv2 pap' '\b(ascii|m?s?ch?ap(v2)?|pap|shell)\b'
check_tab 'a value after =' 'tacacs_plus authenticate --authen-type=mschapv' 'mschapv2' '\bmschapv2\b'
check_tab 'options' 'tacacs_plus authenticate --c' '--cacert --cert --cert-key --chap-challenge --chap-id --connect-timeout --crl' '--c[-a-z]+'
check_tab 'files' 'tacacs_plus authenticate --key-file /etc/pass' 'passwd' '\bpasswd'
check_tab 'files after =' 'tacacs_plus authenticate --key-file=/etc/pass' 'passwd' '\bpasswd'
check_tab 'profiles' 'tacacs_plus authenticate alice @' 'lab prod' '\b(lab|prod(\.key)?)\b'
check_word 'a profile' 'tacacs_plus authenticate alice @pr' '@prod'
check_word 'a value' 'tacacs_plus authenticate --authen-type=mschapv' '--authen-type=mschapv2'
mkdir "$tmp/shell/files"
for name in "${hostile[@]}"; do
	touch "$tmp/shell/files/$name"
	check_word "the profile $name" "tacacs_plus check @${name:0:1}" "@$name"
	check_word "the file $name" "tacacs_plus check --key-file=files/${name:0:1}" "--key-file=files/$name"
	check_word "the profile files/$name" "tacacs_plus check @files/${name:0:1}" "@files/$name"
done
run_program test -e "$tmp/shell/ran"
verdict 'no name of a file runs as a command' 1 "$code"
shells=(bash zsh fish) # with a path, bash-completion needs a second Tab
# shellcheck disable=SC2088 # expanded by the shell that completes
check_tab 'a program by its path' '~/bin/tacacs_plus authentic' 'authenticate' '\bauthenticate\b'

# ---- A jump host ----------------------------------------------------------------------------------------------

# The block of each shell in the README without the installation, with the address of a running server.
start_serve --user alice:cisco
declare -A completes=(
	[bash]='.bashrc: source <(tacacs_plus completion bash)'
	[zsh]='.zshrc: autoload -U compinit; compinit; source <(tacacs_plus completion zsh)'
	[fish]='.config/fish/config.fish: tacacs_plus completion fish | source'
)
for shell in "${!completes[@]}"; do
	home=$tmp/shell/$shell-home
	mkdir -p "$home/.config/fish"
	sed -n "/^\`\`\`$shell\$/,/^\`\`\`\$/{s/tac1,tac2/$serve/; s/^sudo install [^&]*&& //; /^\`\`\`/!p}" README.md >"$tmp/shell/lines"
	# shellcheck disable=SC2016 # expanded by the shell that is started
	run_program env -u TACACS_PLUS_KEY -u XDG_CONFIG_HOME HOME="$home" ZDOTDIR="$home" PATH="$tmp/shell/bin:$PATH" \
		bash -c '"$0" "$1" <<<"$2"' "$shell" "$tmp/shell/lines" "$TACACS_PLUS_KEY"
	file=${completes[$shell]%%:*}
	verdict "$shell, the README's jump host" "exit 0, key ok, mode 600, ${completes[$shell]}" \
		"exit $code, key $(sed -n 's/^  key: //p' "$tmp/out"), mode $(stat -c %a "$home/.config/tacacs_plus/tac.key"), $file: $(<"$home/$file")"
done

# ---- The man pages --------------------------------------------------------------------------------------------

# check_page COMMAND SECTION... checks the page of a command in mandoc; an empty COMMAND is the whole program.
check_page() {
	local page=$tmp/tacacs_plus${1:+-$1}.1
	"$tmp/tacacs_plus" help --man ${1:+"$1"} >"$page"
	run_program mandoc -T lint "$page"
	verdict "${page##*/}" 'exit 0, no complaint' "exit $code, ${out:-no complaint}"
	run_program mandoc -T utf8 "$page"
	verdict "the sections of ${page##*/}" "${*:2}" "$(sed 's/.\x08//g' "$tmp/out" | grep -E '^[A-Z][A-Z ]*$' | paste -s -d ' ')"
}

check_page '' NAME SYNOPSIS DESCRIPTION COMMANDS OPTIONS OUTPUT BATCH MONITORING SESSIONS 'EXIT STATUS' ENVIRONMENT \
	FILES EXAMPLES SECURITY STANDARDS 'SEE ALSO'
for command in relay decode; do
	check_page "$command" NAME SYNOPSIS DESCRIPTION OPTIONS OUTPUT 'EXIT STATUS' ENVIRONMENT EXAMPLES 'SEE ALSO'
done
