#!/usr/bin/env bats
# pipelines/hosts.mk: the open loop over two hosts, each an sshd of our own.
bats_require_minimum_version 1.5.0
load ../helpers
load sshd

GPTQ='woq-gptq --bits 4 --group-size 32 --asym --act-order --static-groups'

setup() {
    command -v parallel >/dev/null || skip 'no GNU parallel: ./bootstrap check-slow brings it'
    woq-gen --llama hidden=64,inter=96,layers=3,heads=4,kv=2,vocab=1000,dtype=f32 |
        woq-pack --format safetensors --dtype f32 --out m
    cp "$GOLDEN/tokenizers/gpt2/tokenizer.json" m/
    head -c 6000 "$REPO/pipelines/data/alice.txt" >text
}
teardown() { stop_all_sshd; }
one_line() { # M TEXT OPTIONS QUANT: the plain pipeline into `one`
    # shellcheck disable=SC2086
    woq-extract "$1" | woq-calib --text "$2" $3 --inputs float --emit hess | $4 | woq-pack --format gptq --out one
}
hosts() { # VARIABLE=VALUE...: on the tiny model
    PARALLEL_SSH="ssh -F $SSH/config" make -f "$REPO/pipelines/hosts.mk" M=m OUT=two TEXT=text \
        SAMPLES=4 SEQLEN=32 QUANT="$GPTQ" "$@" 3>&-
}
did() { grep -c '"program":"woq-gptq","status":0' "$SSH/$1.stats" || true; } # HOST: how often did it quantize?
# stub DIR [COMMAND...]: a folder for SSHD_PATH whose woq-gptq does COMMANDs first, for ever if they are `wait_for FILE`.
stub() {
    mkdir "$1"
    { printf '#!/bin/bash\n' && printf '%s\n' "${@:2}" && printf 'exec %q "$@"\n' "$(command -v woq-gptq)"; } >"$1/woq-gptq"
    chmod +x "$1/woq-gptq"
}

# What lies in parallel's folder on a host; there may be something of others.
scratch() { ssh -F "$SSH/config" "$1" 'ls ~/.parallel/tmp 2>/dev/null | grep -v sshlogin || true'; }

@test "two hosts: the bytes of the one line on one host" {
    start_sshd alpha
    start_sshd beta
    one_line m text '--samples 4 --seqlen 32' "$GPTQ"
    before=$(scratch alpha)
    hosts HOSTS=alpha,beta
    diff -r one two
    [ "$(did alpha)" -gt 0 ]
    [ "$(did beta)" -gt 0 ]
    [ $(($(did alpha) + $(did beta))) -eq 3 ]
    [ ! -e two.hosts ]
    [ "$(scratch alpha)" = "$before" ] # no file of ours is left there
}
@test "this host and another, in two parts" {
    start_sshd alpha
    one_line m text '--samples 4 --seqlen 32' "$GPTQ"
    hosts HOSTS=:,alpha PARTS=2
    diff -r one two
}
@test "a host without woq, of another version, or that is not there: named before anything is done" {
    start_sshd alpha
    SSHD_PATH=/usr/bin:/bin start_sshd bare
    mkdir old
    printf '#!/bin/sh\necho woq 0.0.1\n' >old/woq
    chmod +x old/woq
    SSHD_PATH=$PWD/old:$PATH start_sshd old
    run ! hosts HOSTS=alpha,bare,old
    [[ $output == *"hosts.mk: host bare: "*"woq: "*"not found"* ]]
    [[ $output == *"hosts.mk: host old: woq 0.0.1, want $(woq --version)"* ]]
    [[ $output != *"host alpha"* ]]
    stop_sshd alpha
    run ! hosts HOSTS=alpha
    [[ $output == *"hosts.mk: host alpha: ssh: connect to host"*refused* ]]
    [ ! -e two.hosts ] && [ ! -e two ]
}
@test "a host that drops in the middle: its part goes to the other" {
    stub slow "echo \$\$ >$PWD/busy" "until [ -e $PWD/gone ]; do sleep 0.1; done"
    start_sshd alpha
    SSHD_PATH=$PWD/slow:$PATH start_sshd beta
    one_line m text '--samples 4 --seqlen 32' "$GPTQ"
    hosts HOSTS=alpha,beta >log 2>&1 &
    make=$!
    until [ -e busy ] || ! kill -0 $make; do sleep 0.1; done
    cut_sshd beta
    touch gone
    wait $make
    diff -r one two
    [ "$(did alpha)" -eq 3 ]
}
@test "the only host drops: a message, and the next run does what is left" {
    stub slow "[ ! -e $PWD/second ] || until [ -e $PWD/gone ]; do touch $PWD/busy; sleep 0.1; done" "touch $PWD/second"
    SSHD_PATH=$PWD/slow:$PATH start_sshd beta
    one_line m text '--samples 4 --seqlen 32' "$GPTQ"
    hosts HOSTS=beta >log 2>&1 &
    make=$!
    until [ -e busy ] || ! kill -0 $make; do sleep 0.1; done
    cut_sshd beta
    touch gone
    status=0
    wait $make || status=$?
    [ "$status" -eq 2 ]
    cat log
    grep -q 'parallel: This job failed:' log
    [ ! -e two ]
    [ -s two.hosts/1.q ] && [ ! -e two.hosts/2.q ]
    run ! hosts HOSTS=beta QUANT='woq-gptq --bits 3'
    [[ $output == *"'two.hosts' is of another run:"*"remove it, or use the same options"* ]]
    restart_sshd beta
    : >"$SSH/beta.stats"
    hosts HOSTS=beta
    [ "$(did beta)" -eq 2 ]
    diff -r one two
}
@test "a quantizer that fails leaves no checkpoint" {
    start_sshd alpha
    run ! hosts HOSTS=alpha QUANT='woq-gptq --bits 99'
    [[ $output == *"--bits"*99* ]]
    [ ! -e two ]
}
@test "the real model on two hosts" {
    need_model
    start_sshd alpha
    start_sshd beta
    text=$REPO/pipelines/data/alice.txt
    Q='woq-gptq --bits 4 --group-size 64 --asym --act-order --static-groups'
    one_line "$M" "$text" '--samples 4 --seqlen 128' "$Q"
    hosts M="$M" TEXT="$text" SEQLEN=128 PARTS=6 QUANT="$Q" HOSTS=alpha,beta
    diff -r one two
    [ $(($(did alpha) + $(did beta))) -eq 6 ]
}
