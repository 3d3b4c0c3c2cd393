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
both() { echo "@acts{\"of\":\"q\",\"group\":\"qkv\",\"block\":0,\"token0\":$1};x:${4:-f32}[1,2]:$2;x_float:${4:-f32}[1,2]:$3"; }
@test "x_float: d is the sum of (x_float - x) x^T" {
    F=("$(both 0 1,2 3,2)" "$(both 1 -1,5 -1,4)" 'q{"group":"qkv","block":0}:f32[1,2]:7,8')
    run -0 sum
    # Rows are errors, columns are inputs: (2,0) x (1,2) + (0,-1) x (-1,5).
    [ "${lines[*]}" = "hess q/h f32 2 -3 -3 29 hess q/d f32 2 4 1 -5 hess q/n_tokens u64 2 q f32 7 8" ]
    F=("$(both 0 1,2 3,2 bf16)" "$(both 1 -1,5 -1,4 bf16)")
    run -0 sum
    [ "${lines[1]}" = "hess q/d f32 2 4 1 -5" ]
    run -0 bash -c 'woq-gen "$1" | woq-stats | woq-cat --no-head' - "$(both 0 1,2 3,2)"
    [ "${lines[0]}" = "stat q/absmax f32 1 2" ]
}
@test "d merges, and is all or nothing" {
    woq-gen --no-history "$(both 0 1,2 3,2)" w:f32:1 | woq-hessian --no-history >a.wts
    woq-gen --no-history "$(both 1 -1,5 -1,4)" w:f32:1 | woq-hessian --no-history >b.wts
    run -0 bash -c 'woq-hessian --merge b.wts a.wts | woq-cat --no-head'
    [ "${lines[*]:0:2}" = "hess q/h f32 2 -3 -3 29 hess q/d f32 2 4 1 -5" ]
    woq-gen --no-history "$(acts 1 1 f32 3,4)" w:f32:1 | woq-hessian --no-history >none.wts
    merge() { run -1 bash -c 'woq-hessian --merge "$0" "$1" >out.wts' "$2" "$3"; echo "$output"; [[ $output == *"$1"* ]]; }
    merge "this partial sum lacks 'd', those before have it" none.wts a.wts
    merge "this partial sum has 'd', those before lack it" a.wts none.wts
    H='@hess{"of":"q","group":"qkv","block":0,"spans":[[5,6]]};h:f32[2,2]:1,0,0,1;n_tokens:u64:1'
    woq-gen "$H;d:f32[1,2]:1,2" >bad.wts
    merge 'arrays of the wrong shape' bad.wts a.wts
    woq-gen "$H;d:f32[2,2]:1,2,nan,3" >bad.wts
    merge "'d' of the Hessian is not finite" bad.wts a.wts
    bad 'activations without the float path, those before have it' "$(both 0 1,2 3,2)" "$(acts 1 1 f32 1,2)"
    bad 'activations with the float path, those before lack it' "$(acts 1 1 f32 1,2)" "$(both 0 1,2 3,2)"
    bad "float-path activation of block 0, group 'qkv' is nan at token 0, channel 1" "$(both 0 1,2 3,nan)"
    bad 'x_float has another shape than x' '@acts{"of":"q","group":"qkv","block":0,"token0":0};x:f32[1,2]:1,2;x_float:f32[2,1]:1,2'
    bad 'activations are i32' '@acts{"of":"q","group":"qkv","block":0,"token0":0};x:f32[1,2]:1,2;x_float:i32[1,2]:1,2'
}
@test "d does not depend on threads" {
    x='x:f32[40,300]:rand=1;x_float:f32[40,300]:rand=2'
    woq-gen --no-history "@acts{\"of\":\"q\",\"group\":\"qkv\",\"block\":0,\"token0\":0};$x" >x.wts
    WOQ_THREADS=1 woq-hessian x.wts >one.wts
    WOQ_THREADS=2 woq-hessian x.wts | cmp - one.wts
    [ "$(woq-cat --no-head --match q one.wts | grep -c '/d f32')" -eq 1 ]
}
@test "usage and cut streams" {
    run -2 bash -c 'woq-hessian --merg x </dev/null'
    run -2 bash -c 'woq-hessian a b </dev/null'
    woq-gen "$(acts 0 2 f32 1,2,3,4)" >a.wts
    head -c 400 a.wts >cut.wts
    run -3 bash -c 'woq-hessian cut.wts >out.wts'
}
