#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() {
    woq-gen --llama hidden=16,inter=16,layers=2,heads=4,vocab=10 >in.wts
    woq-ls in.wts >list
}
at() { awk -v n="$1" '$1 == n { print $2 }' list; } # byte of frame N

@test "silent when all is right, one line with --verbose" {
    run -0 woq-fsck in.wts
    [ -z "$output" ]
    run -0 woq-fsck <in.wts
    run -0 woq-fsck --verbose in.wts
    [ "$output" = "in.wts: 26 frames, $(stat -c %s in.wts) bytes, all right" ]
    woq-zip in.wts | woq-fsck
}
@test "a flipped bit: which frame, which byte" {
    printf X | dd of=in.wts bs=1 seek=$(($(at 6) - 100)) conv=notrunc 2>/dev/null
    run -1 woq-fsck in.wts
    [[ $output == *"woq-fsck: in.wts: frame 5 TENS 'model.layers.0.self_attn.q_proj.weight', byte $(at 5): body is corrupt"* ]]
}
broken() { # broken TEXT OPERAND...
    local text=$1
    shift
    woq-gen "$@" >b.wts
    run -1 woq-fsck b.wts
    [[ $output == *"$text"* ]]
}
@test "rules over frames" {
    broken "frame 2 BLKB, byte 320: BLKB 1 inside a block" BLKB:0 BLKB:1
    broken "BLKE 0 outside a block" BLKE:0
    broken "BLKE 1, want 0" BLKB:0 BLKE:1
    broken "BLKB 2, want 1" BLKB:0 BLKE:0 BLKB:2 BLKE:2
    broken "block 0 has no BLKE" BLKB:0
    broken "BLKB without the number" '@BLKB'
    broken "a second tensor 'w'" w:f32:1 v:f32:1 w:f32:2
    broken "a second MODL frame" '@MODL;a:u8:1' '@MODL;a:u8:1'
    broken "MODL comes after tensors" w:f32:1 '@MODL;a:u8:1'
    broken "TENS without a name" '@TENS;data:f32:1'
    broken "has no array 'data'" '@TENS{"name":"w"};x:f32:1'
    broken "a frame describes 'v', which is not there" 'hess:of=v;diag:f32:1' w:f32:1
    broken "hess without \"of\"" '@hess;diag:f32:1'
    broken "codes" '@QTEN{"name":"w","quant":{"bits":4,"group_size":2}}'
    broken "code [0][1] of 'w' is 4, want less than 2^2" '@QTEN{"name":"w","quant":{"bits":2,"group_size":2,"sym":true}};codes:u8[1,2]:3,4;scale:f32[1,1]:1'
}
@test "a part of a model is right too" {
    woq-part --of 2 --take 2 in.wts | woq-fsck
}
@test "cut input: status 3" {
    head -c 3000 in.wts >cut.wts
    run -3 woq-fsck cut.wts
    run -1 woq-fsck nosuch
}

@test "salvage of an intact stream is the identity" {
    run -0 --separate-stderr bash -c 'woq-fsck --salvage in.wts >out.wts'
    [ -z "$stderr" ]
    cmp in.wts out.wts
}
@test "salvage leaves out the damaged frame and says which" {
    printf X | dd of=in.wts bs=1 seek=$(($(at 6) - 100)) conv=notrunc 2>/dev/null
    run -1 --separate-stderr bash -c 'woq-fsck --salvage in.wts >out.wts'
    [[ $stderr == *"in.wts: frame 5 is missing"* ]]
    [[ $stderr == *"bytes $(at 5) to $(($(at 6) - 1)) hold no intact frame"* ]]
    run -0 woq-fsck out.wts
    [ "$(woq-ls out.wts | wc -l)" = 25 ]
    woq-cat out.wts | head -1 | grep -q '"salvaged_without":1'
}
@test "salvage of a cut stream, of one without HEAD, and with bytes lost off the grid" {
    head -c $(($(at 9) + 100)) in.wts >cut.wts
    run -1 --separate-stderr bash -c 'woq-fsck --salvage cut.wts >out.wts'
    [[ $stderr == *"TAIL is missing"* ]]
    [ "$(woq-ls out.wts | wc -l)" = 8 ]
    tail -c +$(($(at 3) + 18)) in.wts >tail.wts # begins 17 bytes into frame 3
    run -1 --separate-stderr bash -c 'woq-fsck --salvage tail.wts >out.wts'
    [[ $stderr == *"frames 0 to 3 are missing"* ]]
    woq-ls --verify out.wts
    [ "$(woq-ls out.wts | wc -l)" = 23 ]
    { head -c $(($(at 7) + 70)) in.wts; tail -c +$(($(at 9) + 1)) in.wts; } >hole.wts
    run -1 --separate-stderr bash -c 'woq-fsck --salvage hole.wts >out.wts'
    [[ $stderr == *"frames 7 to 8 are missing"* ]]
    [ "$(woq-ls out.wts | wc -l)" = 24 ]
}
@test "salvage keeps one of doubled frames, and none of nothing" {
    { head -c "$(at 3)" in.wts; tail -c +$(($(at 2) + 1)) in.wts; } >twice.wts
    run -1 --separate-stderr bash -c 'woq-fsck --salvage twice.wts >out.wts'
    [[ $stderr == *"frame 2 comes again at byte"* ]]
    woq-fsck out.wts
    [ "$(woq-ls out.wts | wc -l)" = 26 ]
    head -c 5000 /dev/zero >zeros
    run -1 bash -c 'woq-fsck --salvage zeros >out.wts'
    woq-ls out.wts
    : >empty
    run -1 bash -c 'woq-fsck --salvage empty >out.wts'
    run -2 bash -c 'woq-fsck --salvage <in.wts >out.wts'
    run -1 bash -c 'woq-fsck --salvage in.wts >/dev/full'
    [[ $output == *"No space left"* ]]
}
