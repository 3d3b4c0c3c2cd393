#!/usr/bin/env bash
# completion.sh PROGRAM... -- prints a bash completion script made of the programs' option tables
# (--help=complete: one line per option, NAME TAB TYPE TAB CHOICES TAB HELP).
set -eu -o pipefail
echo '# woq: bash completion, generated; see man/completion.sh'
echo '_woq_options() {'
# shellcheck disable=SC2016 # the generated script expands these, not this one
echo '    case $1 in'
table() { # NAME COMMAND...
    local name=$1
    shift
    "$@" --help=complete | awk -F '\t' -v name="$name" '
        { options = options " " $1; if ($2 == "enum") choices = choices "\n    \"" name ":" $1 "\") echo \"" $3 "\" ;;" }
        END { gsub(/\|/, " ", choices); printf "    \"%s:\") echo \"%s\" ;;%s\n", name, substr(options, 2), choices }'
}
filters=
for program in "$@"; do
    name=$(basename "$program")
    if [ "$name" = woq ]; then
        for task in quantize eval; do table "woq $task" "$program" $task; done
    else
        filters="$filters ${name#woq-}"
        table "$name" "$program"
    fi
done
echo "    woq:) echo \"quantize eval help list$filters\" ;;"
cat <<'END'
    esac
}
_woq() {
    local program=${COMP_WORDS[0]##*/} word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD-1]}
    local words
    if [[ $last == = ]]; then last=${COMP_WORDS[COMP_CWORD-2]}; fi
    if [[ $word == = ]]; then word=; fi
    # `woq TASK` has the options of its stages, `woq NAME` those of woq-NAME.
    if [[ $program == woq && $COMP_CWORD -gt 1 ]]; then
        case ${COMP_WORDS[1]} in
        quantize | eval) program="woq ${COMP_WORDS[1]}" ;;
        *) program=woq-${COMP_WORDS[1]} ;;
        esac
    fi
    words=$(_woq_options "$program:$last")
    if [[ -z $words && ($word == -* || $program == woq) ]]; then words=$(_woq_options "$program:"); fi
    if [[ -n $words ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$words" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
END
printf 'complete -o filenames -F _woq'
for program in "$@"; do printf ' %s' "$(basename "$program")"; done
echo
