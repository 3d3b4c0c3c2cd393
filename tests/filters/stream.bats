#!/usr/bin/env bats
# What every program does with a bad stream, on both of its ends (woq-stream(5)).
bats_require_minimum_version 1.5.0
load ../helpers

FILTERS=("woq-cast --to bf16" "woq-head" "woq-zip" "woq-part --of 1 --take 1" "woq-rtn --bits 4 --group-size 2" woq-dequant)
SINKS=(woq-ls woq-cat woq-fsck "woq-diff -m * - -")
setup() { woq-gen 'w{"role":"attn.q"}:f32[2,2]:1,2,3,4' b:f32:5,6 x:raw:ab >in.wts; }

# through FILTER <in >out, as an array of words
through() { run "$1" --separate-stderr bash -c 'IFS=" " read -ra w <<<"$1"; "${w[@]}" <"$2" >"$3"' - "$2" "$3" "${4:-out.wts}"; }

@test "every filter and sink takes a good stream" {
    for f in "${FILTERS[@]}"; do
        through -0 "$f" in.wts
        woq-fsck out.wts
    done
    for f in woq-ls woq-cat woq-fsck; do through -0 "$f" in.wts; done
}
@test "cut at every 64-byte boundary: status 3, frame and byte named, never a TAIL" {
    size=$(stat -c %s in.wts)
    for ((cut = 64; cut < size; cut += 64)); do
        head -c "$cut" in.wts >cut.wts
        through -3 "woq-cast --to f16" cut.wts
        [[ $stderr =~ ^'woq-cast: <stdin>: frame '[0-9]+.*', byte '[0-9]+': truncated: ' ]]
        run -3 woq-ls out.wts
    done
}
@test "cut inside a frame: every program says so" {
    head -c 300 in.wts >cut.wts
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -3 "$f" cut.wts
        [[ $stderr == "${f%% *}: <stdin>: frame 1"*", byte "*": truncated: "*" bytes"* ]]
        [[ $stderr == *"hint: the program or file before ended early"* ]]
    done
}
@test "no TAIL is truncated, nothing at all is empty" {
    tail_at=$(LC_ALL=C grep -obUaP '\x89WOQ' in.wts | tail -1 | cut -d: -f1)
    head -c "$tail_at" in.wts >cut.wts
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -3 "$f" cut.wts
        [[ $stderr == *"frame 4, byte $tail_at: truncated: no TAIL frame at the end"* ]]
    done
    : >empty
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -3 "$f" empty
        [[ $stderr == *"frame 0, byte 0: empty input, want a stream"* ]]
    done
}
@test "a flipped bit, every 37 bytes: an error, never a valid TAIL" {
    size=$(stat -c %s in.wts)
    for ((at = 5; at < size; at += 37)); do
        python3 - in.wts bad.wts "$at" <<'PY'
import sys
b = bytearray(open(sys.argv[1], 'rb').read())
b[int(sys.argv[3])] ^= 16
open(sys.argv[2], 'wb').write(b)
PY
        run --separate-stderr bash -c 'woq-cast --to f16 <bad.wts >out.wts'
        [ "$status" = 1 ] || [ "$status" = 3 ]
        [[ $stderr == "woq-cast: <stdin>: frame "* ]]
        run -3 woq-ls out.wts
    done
}
@test "text before the stream is shown: a login script that talks" {
    { echo "Welcome to node7, have a nice day"; cat in.wts; } >talk.wts
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -1 "$f" talk.wts
        [[ $stderr == *"<stdin>: frame 0, byte 0: no frame here: found 'Welcome to node7, have a nice day', want the start code"* ]]
        [[ $stderr == *"hint: "*"login script"* ]]
    done
    echo oops >short
    through -1 woq-cat short
    [[ $stderr == *"found 'oops'"* ]]
}
@test "a terminal as standard output or input is refused" {
    on_terminal() { run "$1" script -qec "$2 2>err" /dev/null </dev/null; }
    on_terminal -2 "woq-gen w:f32:1"
    [[ $(cat err) == *"will not write frames to a terminal"*"hint: "*woq-ls* ]]
    on_terminal -2 "woq-cast --to f16 in.wts"
    on_terminal -2 "woq-fsck --salvage in.wts"
    on_terminal -2 woq-ls
    [[ $(cat err) == *"standard input is a terminal"* ]]
    on_terminal -2 "woq-cast --to f16 >out.wts"
    on_terminal -0 "woq-ls in.wts"
}
@test "nothing may follow TAIL" {
    { cat in.wts; printf x; } >more.wts
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -1 "$f" more.wts
        [[ $stderr == *"bytes follow the TAIL frame"*"use woq-join"* ]]
    done
    cat in.wts in.wts >two.wts
    run -1 woq-ls two.wts
}
@test "a frame that is lost or doubled" {
    IFS=' ' read -r off1 off2 _ < <(woq-ls in.wts | awk '{ print $2 }' | tr '\n' ' '; echo)
    { head -c "$off1" in.wts; tail -c +$((off2 + 1)) in.wts; } >lost.wts
    run -1 woq-ls lost.wts
    [[ $output == *"frame carries number 2, want 1"*"see woq-fsck"* ]]
    { head -c "$off2" in.wts; tail -c +$((off1 + 1)) in.wts; } >twice.wts
    run -1 woq-ls twice.wts
    [[ $output == *"frame carries number 1, want 2"* ]]
}
@test "unknown frames: upper case stops, lower case passes untouched" {
    woq-gen '@abcd{"k":[1,{"z":null}]};a:u8:1,2' w:f32:1 >low.wts
    for f in "${FILTERS[@]}"; do
        through -0 "$f --no-history" low.wts
        [ "$(woq-ls --json out.wts | head -1 | cut -d, -f3-)" = "$(woq-ls --json low.wts | head -1 | cut -d, -f3-)" ]
    done
    woq-gen '@ABCD;a:u8:1' w:f32:1 >up.wts
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -1 "$f" up.wts
        [[ $stderr == *"frame 1, byte "*"frame type ABCD is not known"* ]]
    done
}
@test "versions: another major is refused with both numbers, another minor is read" {
    python3 - <<'PY'
b = bytearray(open('in.wts', 'rb').read())
for name, version in (('major', b'"2.0"'), ('minor', b'"1.9"')):
    c = bytearray(b)
    at = c.index(b'"1.0"')
    c[at:at + 5] = version
    open(name + '.wts', 'wb').write(c)
PY
    # the hash of HEAD no longer holds; the message about it comes first
    run -1 woq-ls --verify major.wts
    [[ $output == *"frame 0 HEAD, byte 0: body is corrupt"* ]]
    # woq-ls without --verify does not look at hashes of bodies, and so shows the version
    run -1 woq-ls major.wts
    [[ $output == *"stream version '2.0', this program knows 1.0"* ]]
    run -0 woq-ls minor.wts
}
@test "a program that fails sends FAIL: the next one names it and exits 3, down the line" {
    woq-gen w:f32:1e9 >big.wts
    run -3 --separate-stderr bash -c 'woq-cast --to f16 <big.wts 2>e1 | woq-head 2>e2 | woq-zip 2>e3 | woq-ls'
    [[ $(cat e1) == "woq-cast: "*"too large for f16"* ]]
    [[ $(cat e2) == "woq-head: <stdin>: frame "*": woq-cast failed: "*"too large for f16"*hint* ]]
    [[ $(cat e3) == "woq-zip: <stdin>: frame "*": woq-cast failed: "* ]]
    [[ $stderr == "woq-ls: <stdin>: frame "*": woq-cast failed: "* ]]
    run -1 bash -c 'set -o pipefail; woq-cast --to f16 <big.wts 2>/dev/null | cat >out.wts'
    run -3 woq-fsck out.wts
}
@test "a killed stage: the next one sees the cut" {
    run -3 --separate-stderr bash -c '{ head -c 1000000 <(woq-gen --frames 3 --bytes 1M); } | woq-head >out.wts'
    [[ $stderr == *truncated* ]]
    run -3 woq-ls out.wts
}
@test "a full disk: status 1, the system's reason" {
    for f in "${FILTERS[@]}" "woq-gen w:f32:1" woq-ls woq-cat "woq-info"; do
        through -1 "$f" in.wts /dev/full
        [[ $stderr == *"${f%% *}: "*"<stdout>: can't write: No space left on device"* ]]
    done
}
@test "a reader that hangs up early: SIGPIPE, no message, no hang" {
    run --separate-stderr bash -c 'woq-gen --frames 64 --bytes 1M | head -c 10 >out; echo ${PIPESTATUS[0]}'
    [ "$output" = 141 ]
    [ -z "$stderr" ]
}
@test "a program that fails behind a reader that has gone says why and exits with its own status" {
    woq-gen w:f32:1e9 >big.wts
    mkfifo gone
    exec 7<>gone 8>gone 7<&-
    run -1 --separate-stderr bash -c 'woq-cast --to f16 <big.wts >&8'
    exec 8>&-
    [[ $stderr == *"too large for f16"* ]]
}
@test "a closed standard output is an error" {
    run ! bash -c 'woq-gen w:f32:1 >&-'
    run ! bash -c 'woq-head in.wts >&-'
}
@test "--max-frame bounds what a header can ask for, compressed or not" {
    woq-gen 'w:f32[1024]:fill=1' >in.wts
    for f in "${FILTERS[@]}" woq-ls woq-cat woq-fsck; do
        through -1 "$f --max-frame 4095" in.wts
        [[ $stderr == *"frame of 4096 bytes is over the limit of 4095"*"raise --max-frame"* ]]
        through -0 "$f --max-frame 4K" in.wts
    done
    woq-zip in.wts >z.wts
    run -1 woq-cat --max-frame 4095 z.wts
}
@test "WOQ_TRACE=1 shows the frames of any filter" {
    WOQ_TRACE=1 run -0 --separate-stderr bash -c 'woq-cast --to f16 <in.wts >out.wts'
    [ "${stderr_lines[0]}" = "woq-cast: <- 1 TENS w" ]
    [[ ${stderr_lines[1]} == "woq-cast: -> "*" TENS w" ]]
    run -0 --separate-stderr bash -c 'woq-cast --to f16 <in.wts >out.wts'
    [ -z "$stderr" ]
    # Programs that open their streams themselves, and second streams.
    for f in woq-ls woq-cat woq-fsck "woq-join -" "woq-diff - in.wts"; do
        WOQ_TRACE=1 through -0 "$f" in.wts
        [ "$(grep -c "^${f%% *}: <- [123] " <<<"$stderr")" = "$([[ $f == woq-diff* ]] && echo 6 || echo 3)" ]
    done
    WOQ_TRACE=1 run -0 --separate-stderr bash -c 'woq-hessian --merge in.wts in.wts >out.wts'
    [ "$(grep -c '^woq-hessian: <- ' <<<"$stderr")" = 6 ]
}
@test "WOQ_PROGRESS is --progress where that is not given" {
    for mode in auto plain json none; do WOQ_PROGRESS=$mode run -0 woq-ls in.wts; done
    WOQ_PROGRESS=loud run -2 woq-ls in.wts
    [[ ${lines[0]} == "woq-ls: WOQ_PROGRESS=loud: want auto, plain, json or none" ]]
    WOQ_PROGRESS=loud run -0 woq-ls --progress none in.wts
}
@test "history: each program adds itself, --no-history does not; sinks do not write" {
    run -0 bash -c 'woq-head -n 9 in.wts | woq-cast --to f16 | woq-head --no-history | woq-cat | head -1'
    [[ $output == *'"history":[{"prog":"woq-gen",'*'{"prog":"woq-head","version":"'*'","args":"--frames 9"},{"prog":"woq-cast","version":"'*'","args":"--to f16"}]'* ]]
}
@test "frames that describe others: flag and bytes travel on" {
    woq-gen 'hess:of=w;diag:f32:1,2' w:f32:1,2 >h.wts
    woq-head --no-history h.wts | cmp - h.wts
    woq-zip h.wts | woq-zip -d | woq-ls --json | head -1 | grep -q '"describes":true'
}
@test "the golden stream of version 1.0 reads as it was written" {
    woq-fsck "$GOLDEN/stream/v1.wts"
    woq-cat "$GOLDEN/stream/v1.wts" | cmp - "$GOLDEN/stream/v1.txt"
    woq-cat <"$GOLDEN/stream/v1.wts" | cmp - "$GOLDEN/stream/v1.txt"
    cat "$GOLDEN/stream/v1.wts" | woq-cat | cmp - "$GOLDEN/stream/v1.txt"
}
@test "a mapped file, a redirect and a pipe give the same bytes" {
    woq-cast --to f16 in.wts >a
    woq-cast --to f16 <in.wts >b
    cat in.wts | woq-cast --to f16 >c
    cmp a b
    cmp a c
}
@test "through ssh-like links: one byte at a time, and in odd pieces" {
    run -0 bash -c 'set -o pipefail; dd if=in.wts bs=7 2>/dev/null | woq-head --no-history >out.wts'
    cmp in.wts out.wts
    python3 -c '
import os, sys
for x in open("in.wts", "rb").read():
    os.write(1, bytes([x]))' | woq-head --no-history | cmp - in.wts
}
