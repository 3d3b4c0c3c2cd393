#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() {
    woq-gen --llama hidden=16,inter=16,layers=4,heads=4,vocab=10 >in.wts
    for k in 1 2 3; do woq-part --no-history --of 3 --take $k in.wts >$k.wts; done
}
fails() { # fails TEXT PART...
    local text=$1
    shift
    run -1 bash -c 'woq-join "$@" >out.wts' - "$@"
    [[ $output == *"$text"* ]]
    run -3 woq-ls out.wts
}

@test "joins, from files, standard input and descriptors" {
    woq-join --no-history 1.wts - fd:3 <2.wts 3<3.wts | cmp - in.wts
}
@test "adds itself to the history of the first part and restores the totals" {
    run -0 bash -c 'woq-join 1.wts 2.wts 3.wts | woq-cat | head -1'
    [[ $output == *'"woq-gen"'*'"woq-join"'* && $output == *'"total":{"frames"'* && $output != *part* ]]
}
@test "order, missing, doubled and foreign parts are errors" {
    fails "2.wts: this is part 2, want part 1" 2.wts 1.wts 3.wts
    fails "2.wts: this is part 2, want part 3" 1.wts 2.wts 2.wts
    fails "this is one part of 3, but 2 streams are given" 1.wts 2.wts
    fails "this is a whole stream, the first one is a part" 1.wts in.wts 3.wts
    woq-gen --llama hidden=16,inter=16,layers=4,heads=4,vocab=10 --model other |
        woq-part --of 3 --take 2 >other.wts
    fails "this is a stream of model 'other', the first one of 'llama-random'" 1.wts other.wts 3.wts
    woq-gen --llama hidden=16,inter=32,layers=4,heads=4,vocab=10 | woq-part --of 3 --take 2 >other.wts
    fails "frame 1 MODL, byte 384: side file 'config.json' of MODL differs" 1.wts other.wts 3.wts
}
@test "streams that are no parts: block numbers must follow one another" {
    woq-gen BLKB:0 a:u8:1 BLKE:0 >a.wts
    woq-gen BLKB:1 b:u8:1 BLKE:1 >b.wts
    woq-gen BLKB:2 c:u8:1 BLKE:2 >c.wts
    woq-join a.wts b.wts c.wts | woq-cat --no-head >out
    [ "$(tr '\n' ' ' <out)" = "BLKB 0 a u8 1 BLKE 0 BLKB 1 b u8 1 BLKE 1 BLKB 2 c u8 1 BLKE 2 " ]
    fails "block 1 is missing: found block 2" a.wts c.wts b.wts
    fails "block 0 comes twice" a.wts a.wts
    woq-head -n 20 in.wts >short.wts
    fails "the model has 4 blocks, the streams together 2" short.wts
}
@test "a cut or failed part: status 3 and its name" {
    head -c 2000 2.wts >cut.wts
    run -3 bash -c 'woq-join 1.wts cut.wts 3.wts >out.wts'
    [[ $output == *"woq-join: cut.wts: frame "*truncated* ]]
    run -1 bash -c 'woq-join 1.wts nosuch >out.wts'
    run -2 bash -c 'woq-join >out.wts'
}
