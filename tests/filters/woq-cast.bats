#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
cast() { woq-cast "$@" >c.wts && woq-cat --no-head c.wts; }

@test "float tensors change their type, others and unmatched ones pass" {
    woq-gen 'w:f32[2,2]:1,2.5,-3,1e-4' h:f16:1,nan,inf d:f64:0.1 i:i32:7 x:raw:ab >in.wts
    run -0 cast --to bf16 in.wts
    [ "${lines[*]}" = "w bf16 1 2.5 -3 0.0001001358 h bf16 1 nan inf d bf16 0.100097656 i i32 7 xtra 2" ]
    run -0 cast --to f16 -m w in.wts
    [[ ${lines[0]} == "w f16 "* && ${lines[2]} == "d f64 "* ]]
    run -0 woq-ls -m w c.wts
    [[ $output == *"f16  2x2 8 "* ]]
}
@test "widening is exact and back again is the identity" {
    woq-gen 'w:f16[70,300]:rand=4' >in.wts
    woq-cast --no-history --to f32 in.wts >wide.wts
    woq-cast --no-history --to f16 wide.wts | cmp - in.wts
    woq-cast --to f16 in.wts | woq-ls -m w >a
    woq-cast --to f16 --threads 3 wide.wts | woq-ls -m w >b
    [ "$(awk '{ print $NF }' a)" = "$(awk '{ print $NF }' b)" ]
}
@test "rounds to nearest even" {
    # f16 has 11 bits: 2049 lies between 2048 and 2050, 2051 between 2050 and 2052
    woq-gen w:f32:2049,2051 >in.wts
    run -0 cast --to f16 in.wts
    [ "$output" = "w f16 2048 2052" ]
}
@test "overflow is an error with a count; 65519 still rounds down" {
    woq-gen w:f32:1e6,2,65519,65520,-1e9,inf >in.wts
    run -1 bash -c 'woq-cast --to f16 in.wts >out.wts'
    [[ $output == *"tensor 'w': 3 values are too large for f16"* ]]
    [[ $output == *"hint: use bf16, or --saturate"* ]]
    run -0 --separate-stderr cast --to f16 --saturate in.wts
    [ "$output" = "w f16 65504 2 65504 65504 -65504 inf" ]
    [[ $stderr == *"woq-cast: 3 values saturated to the largest f16"* ]]
    woq-gen d:f64:1e300,-1e300,inf >d.wts
    run -1 bash -c 'woq-cast --to f32 d.wts >out.wts'
    run -0 cast --to f32 --quiet --saturate d.wts
    [ "$output" = "d f32 3.4028235e+38 -3.4028235e+38 inf" ]
}
@test "an empty tensor, and usage" {
    woq-gen 'e:f32[0,3]:' >in.wts
    run -0 cast --to f16 in.wts
    [ "$output" = "e f16" ]
    run -2 woq-cast in.wts
    run -2 woq-cast --to f64 in.wts
}
