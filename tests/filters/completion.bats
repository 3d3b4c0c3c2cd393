#!/usr/bin/env bats
# Completion scripts are made of the option tables: each is read by its own shell, and asked.
bats_require_minimum_version 1.5.0
load ../helpers

setup() {
    programs=()
    for path in "$(dirname "$(command -v woq)")"/woq*; do programs+=("$path"); done
}
script() { "$REPO/man/completion.sh" "$1" "${programs[@]}" >"$2"; }

@test "bash: tasks and filters, options, words of an option" {
    script bash woq.bash
    bash -n woq.bash
    cat >ask <<'END'
. ./woq.bash
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_woq
printf '%s\n' ${COMPREPLY[@]+"${COMPREPLY[@]}"}
END
    [ "$(bash ask woq quan)" = quantize ]
    [ "$(bash ask woq calib --emit a)" = acts ]
    [ "$(bash ask woq-calib --seql)" = --seqlen ]
    [ "$(bash ask woq quantize --percd)" = --percdamp ]
    [ "$(bash ask woq quantize --method g)" = gptq ]
    [ "$(bash ask woq quantize --group-d)" = --group-dim ]
    [ -z "$(bash ask woq quantize --throu)" ]
    echo >a-file
    [ "$(bash ask woq-ls a-f)" = a-file ]
}
@test "zsh: reads it, and has the options of tasks and filters" {
    script zsh _woq
    head -n 1 _woq | grep -E '^#compdef woq( woq-[a-z]+)+$'
    command -v zsh >/dev/null || skip "no zsh here"
    zsh -n _woq
    cat >ask <<'END'
_arguments() { print -rl -- "$@" }
compadd() { print -rl -- "$@" }
_files() { print files }
ask() { words=("$@") CURRENT=$# service=$1; . ./_woq }
ask "$@"
END
    zsh -f ask woq '' | grep -x quantize
    zsh -f ask woq-calib '' | grep -F -e '--emit=[' | grep -F ':(acts hess stat'
    zsh -f ask woq gptq '' | grep -F -e '--act-order['
    zsh -f ask woq quantize '' | grep -F -e '--method=[' | grep -F ':enum:(gptq rtn)'
    zsh -f ask woq quantize '' | grep -F -e '--percdamp=['
    run ! bash -c "zsh -f ask woq-eval '' | grep -F -e --check-finite" # the filter, not the task of that name
    zsh -f ask woq eval '' | grep -F -e --check-finite
}
@test "fish: reads it, and answers" {
    script fish woq.fish
    [ "$(grep -c '^complete -c woq-calib ' woq.fish)" -eq "$(woq-calib --help=complete | wc -l)" ]
    command -v fish >/dev/null || skip "no fish here"
    export HOME=$PWD
    fish --no-execute woq.fish
    ask() { fish -c "source woq.fish; complete -C '$1'" | cut -f 1; }
    [ "$(ask 'woq quan')" = quantize ]
    [ "$(ask 'woq-calib --emit a' | head -n 1)" = acts ]
    [ "$(ask 'woq-calib --seql')" = --seqlen ]
    [ "$(ask 'woq quantize --percd')" = --percdamp ]
    [ "$(ask 'woq gptq --act-or')" = --act-order ]
}
@test "a shell that has no script is refused" {
    run -2 --separate-stderr "$REPO/man/completion.sh" csh "${programs[@]}"
    [[ $stderr == *"'csh': want bash, zsh or fish"* ]]
}
@test "install puts each where its shell looks" {
    [ "$(basename "$WOQ_BUILD")" = build ] || skip "of the plain build only"
    make -s -C "$REPO" completion
    make -s -n -C "$REPO" install DESTDIR=/d PREFIX=/p >log
    grep -F '/d/p/share/bash-completion/completions/woq' log
    grep -F '/d/p/share/zsh/site-functions/_woq' log
    grep -F '/d/p/share/fish/vendor_completions.d/woq.fish' log
}
