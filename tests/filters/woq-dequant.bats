#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers

dequant() { woq-dequant "$@" >out.wts && woq-cat --no-head out.wts; }
M='"quant":{"bits":4,"group_size":2}'

@test "code - zero, times scale; symmetric codes have their zero in the middle" {
    woq-gen "@QTEN{\"name\":\"a\",$M};codes:u8[2,3]:0,8,15,9,7,8;scale:f32[2,2]:1,2,0.5,-1" \
        "@QTEN{\"name\":\"b\",$M};codes:u8[1,3]:0,8,15;scale:f32[1,2]:1,2;zero:f32[1,2]:3,15" >in.wts
    run -0 dequant in.wts
    [ "${lines[*]}" = "a f32 -8 0 14 0.5 -0.5 -0 b f32 -3 5 0" ]
    run -0 woq-ls out.wts
    [[ ${lines[0]} == *"TENS a"*"f32  2x3 24"* ]]
}
@test "groups along the outputs, permuted groups, codebooks, input scales" {
    woq-gen '@QTEN{"name":"a","quant":{"bits":2,"group_size":2,"group_dim":0}};codes:u8[3,2]:0,1,2,3,0,1;scale:f32[2,2]:1,10,100,1000' \
        "@QTEN{\"name\":\"b\",$M};codes:u8[1,4]:9,9,9,9;scale:f32[1,2]:1,10;g_idx:i32:1,0,0,1" \
        '@QTEN{"name":"c","quant":{"bits":1,"group_size":-1}};codes:u8[1,3]:0,1,1;scale:f32[1,1]:2;lut:f32:-0.5,0.75' \
        "@QTEN{\"name\":\"d\",$M};codes:u8[1,2]:9,10;scale:f32[1,1]:3;in_scale:f32:1,0.5" \
        '@QTEN{"name":"e","quant":{"bits":2,"group_size":2,"group_dim":0}};codes:u8[3,2]:0,1,2,3,0,1;scale:f32[2,2]:1,10,100,1000;zero:f32[2,2]:0,1,2,3;g_idx:i32:1,0,1' >in.wts
    run -0 dequant in.wts
    [ "${lines[0]}" = "a f32 -2 -10 0 10 -200 -1000" ]
    [ "${lines[1]}" = "b f32 10 1 1 10" ]
    [ "${lines[2]}" = "c f32 -1 1.5 1.5" ]
    [ "${lines[3]}" = "d f32 3 3" ]
    [ "${lines[4]}" = "e f32 -200 -2000 2 20 -200 -2000" ]
}
@test "--dtype rounds, --match narrows, other frames pass" {
    woq-gen "@QTEN{\"name\":\"a\",\"role\":\"attn.q\",$M};codes:u8[1,2]:9,10;scale:f32[1,1]:1.0009765" \
        "@QTEN{\"name\":\"b\",$M};codes:u8[1,2]:9,10;scale:f32[1,1]:1" v:f32:1 BLKE:0 >in.wts
    run -0 dequant --dtype f16 in.wts
    [ "${lines[*]}" = "a f16 1.0009766 2.0019531 b f16 1 2 v f32 1 BLKE 0" ]
    run -0 woq-ls --json -m a out.wts
    [[ $output == *'"role":"attn.q"'* && $output != *quant* ]]
    run -0 dequant -d bf16 -m a in.wts
    [ "${lines[0]}" = "a bf16 1 2" ]
    [ "${lines[1]}" = "b/codes u8 9 10" ]
}
@test "what does not fit the type is an error" {
    woq-gen "@QTEN{\"name\":\"a\",$M};codes:u8[1,2]:8,10;scale:f32[1,1]:40000" >in.wts
    run -1 bash -c 'woq-dequant --dtype f16 in.wts >out.wts'
    [[ $output == *"'a', byte "*": weight [0][1] does not fit in f16"*"hint: take --dtype f32"* ]]
    run -0 dequant --dtype bf16 in.wts
}
@test "the same bytes for every ISA and number of threads" {
    woq-gen 'w{"role":"attn.q"}:f32[67,333]:rand=5' | woq-rtn --asym -g 40 >in.wts
    for d in f32 f16 bf16; do
        WOQ_ISA=ref WOQ_THREADS=1 woq-dequant -d $d in.wts >want.wts
        WOQ_ISA=avx2 WOQ_THREADS=2 woq-dequant -d $d in.wts | cmp - want.wts
        woq-dequant --threads 3 -d $d in.wts | cmp - want.wts
    done
}
@test "contradictory frames are refused by what is wrong" {
    check() { run -1 bash -c 'woq-gen "$1" | woq-dequant >out.wts' - "@QTEN{\"name\":\"w\",$2"; [[ $output == *"frame 1 'w'"*"$1"* ]]; }
    check "quant.bits is 0" '"quant":{"group_size":2}};codes:u8[1,2]:1,2;scale:f32[1,1]:1'
    check "quant.bits is 9" '"quant":{"bits":9,"group_size":2}};codes:u8[1,2]:1,2;scale:f32[1,1]:1'
    check "quant.group_size is 0" '"quant":{"bits":4}};codes:u8[1,2]:1,2;scale:f32[1,1]:1'
    check "quant.group_dim is 2" '"quant":{"bits":4,"group_size":2,"group_dim":2}};codes:u8[1,2]:1,2;scale:f32[1,1]:1'
    check "no array 'codes'" "$M};scale:f32[1,1]:1"
    check "no array 'scale'" "$M};codes:u8[1,2]:1,2"
    check "array 'codes' of 'w' is i8, want u8" "$M};codes:i8[1,2]:1,2;scale:f32[1,1]:1"
    check "array 'codes' of 'w' has 1 dimensions" "$M};codes:u8:1,2;scale:f32[1,1]:1"
    check "array 'scale' of 'w' is 1 x 2, want 1 x 1" "$M};codes:u8[1,2]:1,2;scale:f32[1,2]:1,1"
    check "array 'zero' of 'w' is 1 x 2, want 1 x 1" "$M};codes:u8[1,2]:1,2;scale:f32[1,1]:1;zero:f32[1,2]:1,1"
    check "code [0][1] of 'w' is 16, want less than 2^4" "$M};codes:u8[1,2]:1,16;scale:f32[1,1]:1"
    check "g_idx [1] of 'w' is 1, want 0..0" "$M};codes:u8[1,2]:1,2;scale:f32[1,1]:1;g_idx:i32:0,1"
    check "g_idx [0] of 'w' is -1" "$M};codes:u8[1,2]:1,2;scale:f32[1,1]:1;g_idx:i32:-1,0"
    check "array 'g_idx' of 'w' is 3 x 1, want 2 x 1" "$M};codes:u8[1,2]:1,2;scale:f32[1,1]:1;g_idx:i32:0,0,0"
    check "array 'lut' of 'w' is 2 x 1, want 16 x 1" "$M};codes:u8[1,2]:1,2;scale:f32[1,1]:1;lut:f32:0,0"
    check "array 'in_scale'" "$M};codes:u8[1,2]:1,2;scale:f32[1,1]:1;in_scale:f32:0"
    check "no weight is empty" "$M};codes:u8[0,2]:;scale:f32[0,1]:"
    local rows='"quant":{"bits":4,"group_size":1,"group_dim":0}};codes:u8[2,1]:1,2;scale:f32[2,1]:1,1'
    check "g_idx [1] of 'w' is 2, want 0..1" "$rows;g_idx:i32:0,2"
    check "g_idx [0] of 'w' is -1, want 0..1" "$rows;g_idx:i32:-1,0"
    check "array 'g_idx' of 'w' is 1 x 1, want 2 x 1" "$rows;g_idx:i32:0" # not one for each column
}
@test "a cut stream exits 3; usage" {
    woq-gen --llama hidden=32,heads=4 | woq-rtn >q.wts
    head -c 9000 q.wts >cut.wts
    run -3 bash -c 'woq-dequant cut.wts >out.wts'
    run -2 bash -c 'woq-dequant --dtype f64 q.wts >out.wts'
    run -2 bash -c 'woq-dequant --bits 3 q.wts >out.wts'
}
@test "the examples of the manual page run" {
    woq-gen --llama hidden=32,heads=4 >model.wts
    woq-rtn --bits 8 model.wts | woq-dequant >float.wts
    woq-diff --tol 0.05 model.wts float.wts
}
