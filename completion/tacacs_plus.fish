# Completion of tacacs_plus for fish. The program itself returns the completions.

function __tacacs_plus_offers
	set -l words (commandline -opc)
	set -l word (commandline -ct)
	set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
	for line in ($program completion -- $words[2..-1] "$word" 2>/dev/null)
		set -l parts (string split -m 1 \t -- $line)
		if test $parts[1] = FILE
			for file in (__fish_complete_path (string sub -s (math 1 + (string length -- "$parts[2]")) -- "$word"))
				echo $parts[2]$file
			end
		else
			echo $line
		end
	end
end

complete -c tacacs_plus -f -a '(__tacacs_plus_offers)'
