# Completion of tacacs_plus for bash 4 or later. The program itself returns the completions.

_tacacs_plus() {
	local rest=${COMP_LINE:0:COMP_POINT} words=() word i
	# Bash also splits words at = : and @. Join the parts that no blank separates.
	for ((i = 0; i < COMP_CWORD; i++)); do
		if [[ $i = 0 || $rest = [[:blank:]]* ]]; then words+=(''); fi
		words[${#words[@]}-1]+=${COMP_WORDS[i]}
		rest=${rest#"${rest%%[![:blank:]]*}"}
		rest=${rest#"${COMP_WORDS[i]}"}
	done
	if [[ $rest = [[:blank:]]* ]]; then words+=(''); fi
	words[${#words[@]}-1]+=${rest#"${rest%%[![:blank:]]*}"}
	word=${words[${#words[@]}-1]}

	local offer file quote=1
	COMPREPLY=()
	while IFS=$'\t' read -r offer rest; do
		if [ "$offer" = FILE ]; then
			compopt -o filenames -o default # the latter for a quoted name
			# Bash quotes the names of files, but not if there is a prefix that it does not cut off.
			if [[ -z $rest || $rest = *= && $COMP_WORDBREAKS = *=* ]]; then quote=0; else compopt -o noquote; fi
			while IFS= read -r file; do
				COMPREPLY+=("$rest$file")
			done < <(compgen -f -- "${word#"$rest"}")
		else
			COMPREPLY+=("$offer")
		fi
	done < <("${1/#~\//$HOME/}" completion -- "${words[@]:1}" 2>/dev/null)

	# Bash replaces only the part after the last of these characters, but an @ itself too.
	local cuts=${COMP_WORDBREAKS//[!=:@]/}
	if [ -n "$cuts" ]; then
		rest=${word%"${word##*["$cuts"]}"}
		COMPREPLY=("${COMPREPLY[@]#"${rest%@}"}")
	fi
	if [ $quote = 1 ]; then
		for i in "${!COMPREPLY[@]}"; do
			printf -v "COMPREPLY[i]" %q "${COMPREPLY[i]}"
		done
	fi
}

complete -F _tacacs_plus tacacs_plus
