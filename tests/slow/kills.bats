#!/usr/bin/env bats
# The closed loop on the real model, ended at random blocks in every way: resumed, it gives the bytes of an unbroken run.
bats_require_minimum_version 1.5.0
load ../helpers
load sshd

TEXT=$REPO/pipelines/data/alice.txt
GPTQ='woq-hessian | woq-gptq --bits 4 --group-size 64 --asym --act-order'

setup_file() {
    need_model
    cd "$BATS_FILE_TMPDIR"
    loop "$GPTQ" base.wts
    woq-pack --quiet --format gptq --out base base.wts
}
setup() {
    need_model
    BASE=$BATS_FILE_TMPDIR/base
    BLOCKS=$(woq-extract --list --json "$M" | grep -o '"block":[0-9]*' | sort -u | wc -l)
}
teardown() {
    stop_all_sshd
    [ -z "${PID:-}" ] || kill -9 -- "-$PID" 2>/dev/null || true
}
loop() { # COMMAND OUT.wts OPTION...
    # Progress lines come on a slow machine only.
    export WOQ_PROGRESS=none M TEXT
    bash -c 'set -o pipefail
        woq-extract "$M" | woq-calib --text "$TEXT" --samples 4 --seqlen 128 "${@:3}" --through "$1" >"$2"' - "$@"
}
start() { # COMMAND OUT.wts OPTION...: the same with a state, in a process group of its own, $PID; it ends as woq-calib does
    export WOQ_PROGRESS=none M TEXT
    setsid env --default-signal=INT,TERM bash -c 'trap : INT TERM
        woq-extract "$M" |
        woq-calib --text "$TEXT" --samples 4 --seqlen 128 --state s "${@:3}" --through "$1" >"$2" 2>err
        exit "${PIPESTATUS[1]}"' - "$@" 3>&- &
    PID=$!
}
done_blocks() { find . -maxdepth 1 -name 's.*.wts' | wc -l; }
until_block() { # N: until N blocks are done, or the run has ended
    while [ "$(done_blocks)" -lt "$1" ] && kill -0 "$PID" 2>/dev/null; do sleep 0.05; done
}
ended() { # STATUS: the run ends so
    local status=0
    wait "$PID" || status=$?
    PID=
    echo "# status $status"
    [ "$status" -eq "$1" ]
}
same() { # OUT.wts: the state is done, the checkpoint is that of the unbroken run
    [ "$(done_blocks)" -eq "$BLOCKS" ]
    run ! compgen -G '*.tmp'
    woq-pack --quiet --format gptq --out out "$1"
    diff -r "$BASE" out
}

@test "SIGKILL at a random block, ten times: the same bytes" {
    at=0
    for kill in 1 2 3 4 5 6 7 8 9 10; do
        at=$((at + RANDOM % (BLOCKS / 10 + 1)))
        start "$GPTQ" cut.wts
        until_block "$at"
        sleep "0.$((RANDOM % 500 + 100))"
        echo "# kill $kill, $(done_blocks) blocks are done"
        kill -9 -- "-$PID" || true
        wait "$PID" || true
        [ "$(done_blocks)" -eq "$BLOCKS" ] || run -3 --separate-stderr woq-fsck --quiet cut.wts
        at=$(done_blocks)
    done
    loop "$GPTQ" out.wts --state s
    cmp "$BASE.wts" out.wts
    same out.wts
}
@test "SIGINT and SIGTERM: 130 and 143, the command ends too, the state goes on" {
    for try in 'INT 130' 'TERM 143'; do
        read -r signal want <<<"$try"
        start "echo \$\$ >command; $GPTQ" cut.wts
        until_block $(($(done_blocks) + 2))
        echo "# SIG$signal, $(done_blocks) blocks are done"
        kill "-$signal" -- "-$PID"
        ended "$want"
        run -3 --separate-stderr woq-fsck --quiet cut.wts
    done
    # woq-calib alone: the command sees the end of its input.
    start "echo \$\$ >command; $GPTQ" cut.wts
    until_block $(($(done_blocks) + 2))
    pkill -TERM -P "$PID" woq-calib
    ended 143
    for _ in {1..100}; do
        kill -0 "$(cat command)" 2>/dev/null || break
        sleep 0.2
    done
    run ! kill -0 "$(cat command)"
    before=$(done_blocks)
    [ "$before" -ge 6 ]
    loop "echo \$\$ >command; $GPTQ" out.wts --state s
    same out.wts
}
@test "the command behind ssh, and ssh drops in the middle: a message, then the same bytes" {
    start_sshd localhost
    command="ssh -F $SSH/config localhost '$GPTQ'"
    start "$command" cut.wts
    until_block 3
    cut_sshd localhost
    ended 1
    cat err
    grep -qF "woq-calib: " err
    grep -qF "ended with status 255 before its work was done" err
    run -3 --separate-stderr woq-fsck --quiet cut.wts
    restart_sshd localhost
    loop "$command" out.wts --state s 2>err
    grep "going on after block " err
    same out.wts
}
@test "unrolled by make, killed at a random block: the same bytes" {
    export WOQ_PROGRESS=none
    layers=(make -s -f "$REPO/pipelines/layers.mk" M="$M" OUT=out TEXT="$TEXT" SAMPLES=4 SEQLEN=128
        QUANT='woq-gptq --bits 4 --group-size 64 --asym --act-order')
    for _ in 1 2 3; do
        setsid "${layers[@]}" >log 2>&1 3>&- &
        PID=$!
        sleep $((RANDOM % 4 + 2))
        kill -9 -- "-$PID" || true
        wait "$PID" || true
    done
    "${layers[@]}"
    diff -r "$BASE" out
}
