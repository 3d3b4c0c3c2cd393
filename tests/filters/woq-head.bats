#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen --llama hidden=16,inter=16,layers=3,heads=4,vocab=10 >in.wts; }
names() { woq-ls "$1" | awk '{ printf "%s%s ", $3, $4 == "-" ? "" : ":" $4 }'; }

@test "the first N frames" {
    woq-head -n 3 in.wts >out.wts
    [ "$(names out.wts)" = "MODL TENS:model.embed_tokens.weight BLKB " ]
    woq-head --frames 0 in.wts >out.wts
    [ -z "$(names out.wts)" ]
    woq-head --no-history --frames 10000 in.wts >out.wts
    [ "$(names out.wts)" = "$(names in.wts)" ]
}
@test "the stem and the first N blocks" {
    woq-head --blocks 2 in.wts >out.wts
    [ "$(woq-ls out.wts | grep -c BLKE)" = 2 ]
    [[ $(names out.wts) == "MODL TENS:model.embed_tokens.weight BLKB "*" BLKE " ]]
    woq-head --blocks 0 in.wts >out.wts
    [ "$(names out.wts)" = "MODL TENS:model.embed_tokens.weight " ]
}
@test "up to a name; a name that is not there is an error" {
    woq-head --to model.layers.0.self_attn.q_proj.weight in.wts >out.wts
    [[ $(names out.wts) == *"BLKB TENS:model.layers.0.input_layernorm.weight TENS:model.layers.0.self_attn.q_proj.weight " ]]
    run -1 bash -c 'woq-head --to nosuch in.wts >out.wts'
    [[ $output == *"no frame 'nosuch' in this stream"* ]]
}
@test "totals that no longer hold are dropped from HEAD" {
    woq-cat in.wts | head -1 | grep -q '"total"'
    run ! bash -c 'woq-head -n 3 in.wts | woq-cat | head -1 | grep "\"total\""'
}
@test "drains its input: the program before does not die" {
    run -0 bash -c 'set -o pipefail; woq-gen --frames 40 --bytes 1M | woq-head -n 1 | woq-ls'
    [ "${#lines[@]}" = 1 ]
}
@test "a cut behind the beginning is still noticed" {
    head -c 5000 in.wts >cut.wts
    run -3 bash -c 'woq-head -n 1 cut.wts >out.wts'
    run -3 woq-ls out.wts
}
@test "usage" {
    run -2 woq-head -n x in.wts
    run -2 woq-head -n -2 in.wts
}
