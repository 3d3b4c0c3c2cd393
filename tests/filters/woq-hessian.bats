#!/usr/bin/env bats
# Sums of activations: woq-hessian and woq-stats.
bats_require_minimum_version 1.5.0
load ../helpers

acts() { echo "@acts{\"of\":\"q\",\"group\":\"qkv\",\"block\":0,\"token0\":$1};x:${3:-f32}[$2,2]:$4"; }
sum() { woq-gen "${F[@]}" | woq-hessian "$@" >out.wts && woq-cat --no-head out.wts; }
bad() { run -1 bash -c 'woq-gen "$@" | woq-hessian >out.wts' - "${@:2}"; echo "$output"; [[ $output == *"$1"* ]]; }

@test "H is the sum over chunks, and stands in their place" {
    F=("$(acts 0 2 f32 1,2,3,4)" "$(acts 2 1 f32 -1,5)" 'q{"group":"qkv","block":0}:f32[1,2]:7,8')
    run -0 sum
    [ "${lines[*]}" = "hess q/h f32 11 9 9 45 hess q/n_tokens u64 3 q f32 7 8" ]
    run -0 woq-ls --json out.wts
    [[ ${lines[0]} == *'"describes":true'*'"block":0,"group":"qkv","spans":[[0,3]]'* ]]
    F=("$(acts 0 2 bf16 1,2,3,4)" "$(acts 2 1 f16 -1,5)")
    run -0 sum
    [ "${lines[0]}" = "hess q/h f32 11 9 9 45" ]
}
@test "another group, LOOP or any frame ends a sum" {
    F=("$(acts 0 1 f32 1,0)" '@acts{"of":"o","group":"o","block":0,"token0":0};x:f32[1,2]:2,0'
        '@LOOP{"block":0,"group":"o"}' "$(acts 5 1 f32 3,0)" 'w:f32:1')
    sum >/dev/null
    [ "$(woq-ls out.wts | awk '{ printf "%s ", $3 }')" = "hess hess LOOP hess TENS " ]
}
@test "statistics" {
    woq-gen "$(acts 0 2 f32 1,2,3,-4)" "$(acts 2 2 f32 -1,5,0,0)" w:f32:1 | woq-stats >out.wts
    run -0 woq-cat --no-head out.wts
    [ "${lines[*]}" = "stat q/absmax f32 3 5 stat q/mean_abs f32 1.25 2.75 stat q/mean_sq f32 2.75 11.25 stat q/n_tokens u64 4 w f32 1" ]
    run -2 bash -c 'woq-stats --merge x <out.wts'
    run -1 bash -c 'woq-gen "$1" | woq-stats >out.wts' - "$(acts 0 1 f32 1,nan)"
    [[ $output == *"group 'qkv' is nan at token 0, channel 1"* ]]
    head -c 300 out.wts >cut.wts
    run -3 bash -c 'woq-stats cut.wts >out2.wts'
}
@test "what is wrong with activations is named" {
    bad "activation of block 0, group 'qkv' is nan at token 1, channel 0" "$(acts 0 2 f32 1,2,nan,4)"
    bad "is inf at token 0, channel 1" "$(acts 0 1 f32 1,inf)"
    bad "tokens 0 to 1 of block 0, group 'qkv' were counted before" "$(acts 0 2 f32 1,2,3,4)" "$(acts 0 1 f32 1,2)"
    bad "activations are 3 wide, 2 before" "$(acts 0 1 f32 1,2)" \
        '@acts{"of":"q","group":"qkv","block":0,"token0":1};x:f32[1,3]:1,2,3'
    bad "activations are i32" '@acts{"of":"q","group":"qkv","block":0,"token0":1};x:i32[1,3]:1,2,3'
    bad "without 'token0'" '@acts{"of":"q","group":"qkv","block":0};x:f32[1,3]:1,2,3'
    bad "without 'group' and 'of'" '@acts{"of":"q","token0":0};x:f32[1,3]:1,2,3'
    bad "width 0" '@acts{"of":"q","group":"qkv","block":0,"token0":0};x:f32[1,0]:'
    bad "no array 'x'" '@acts{"of":"q","group":"qkv","block":0,"token0":0};y:f32[1,1]:1'
}
@test "parts merge once, in order, completely" {
    one() { woq-gen --no-history "$(acts "$1" 1 f32 "$2")" w:f32:1 | woq-hessian --no-history; }
    one 0 1,2 >a.wts
    one 1 3,4 >b.wts
    one 7 -1,5 >c.wts
    run -0 bash -c 'woq-hessian --merge b.wts -m c.wts a.wts | woq-cat --no-head'
    [ "${lines[0]}" = "hess q/h f32 11 9 9 45" ]
    [ "${lines[1]}" = "hess q/n_tokens u64 3" ]
    run -0 bash -c 'woq-hessian --merge a.wts -m c.wts b.wts | woq-ls --json'
    [[ $output == *'"spans":[[0,2],[7,8]]'* ]]
    merge() { run -1 bash -c 'woq-hessian --merge "$0" a.wts >out.wts' "$2"; echo "$output"; [[ $output == *"$1"* ]]; }
    merge 'were counted before' a.wts
    woq-gen w:f32:1 >none.wts
    merge 'fewer hess frames' none.wts
    woq-join b.wts c.wts >both.wts 2>/dev/null || woq-gen "$(acts 1 1 f32 1,2)" w:f32:1 "$(acts 2 1 f32 1,2)" | woq-hessian >both.wts
    merge 'more hess frames' both.wts
    H='@hess{"of":"q","group":"qkv","block":0,"spans":[[5,6]]}'
    woq-gen "$H;h:f32[2,2]:1,0,0,1;n_tokens:u64:2" >bad.wts
    merge 'counts 2 tokens, its spans 1' bad.wts
    woq-gen "$H;h:f32[2,2]:1,9,0,1;n_tokens:u64:1" >bad.wts
    merge 'not symmetric' bad.wts
    woq-gen "$H;h:f32[3,3]:1,0,0,0,1,0,0,0,1;n_tokens:u64:1" >bad.wts
    merge 'partial sums do not match' bad.wts
    woq-gen "${H/\[5,6\]/[5]};h:f32[2,2]:1,0,0,1;n_tokens:u64:1" >bad.wts
    merge 'malformed span' bad.wts
    woq-gen "${H/qkv/o};h:f32[2,2]:1,0,0,1;n_tokens:u64:1" >bad.wts
    merge "group 'o'" bad.wts
    merge no-such-file no-such-file
}
@test "usage and cut streams" {
    run -2 bash -c 'woq-hessian --merg x </dev/null'
    run -2 bash -c 'woq-hessian a b </dev/null'
    woq-gen "$(acts 0 2 f32 1,2,3,4)" >a.wts
    head -c 400 a.wts >cut.wts
    run -3 bash -c 'woq-hessian cut.wts >out.wts'
}
