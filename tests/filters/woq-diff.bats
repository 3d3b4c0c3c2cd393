#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen BLKB:0 'w:f32[2,2]:3,0,0,4' v:f16:1,2 BLKE:0 >a.wts; }

@test "equal streams: status 0" {
    run -0 woq-diff a.wts a.wts
    [[ ${lines[0]} == "w "*"f32   f32 max=0 rms=0 rel=0 sqnr=infdB same" ]]
    [ "${lines[2]}" = "2 compared, 0 differ, 0 missing, 0 extra, worst rel 0" ]
    run -0 woq-diff --quiet a.wts a.wts
    [ -z "$output" ]
}
@test "figures of a difference: max, RMS, relative, SQNR" {
    woq-gen 'w:f32[2,2]:3,0,0.5,4' v:f16:1,2 >b.wts
    run -1 woq-diff a.wts b.wts
    # |e| = 0.5, |a| = 5
    [[ ${lines[0]} == "w "*"max=0.5 rms=0.25 rel=0.1 sqnr=20.00dB DIFFERS" ]]
    run -0 woq-diff --tol 0.1 a.wts b.wts
    [[ ${lines[0]} == *close ]]
    run -1 woq-diff --tol 0.0999 a.wts b.wts
    run -1 woq-diff --quiet a.wts b.wts
    [ -z "$output" ]
}
@test "the order of tensors does not matter; a missing or extra one is a difference" {
    woq-gen x:f32:1 v:f16:1,2 'w:f32[2,2]:3,0,0,4' >b.wts
    run -1 woq-diff a.wts b.wts
    [[ ${lines[*]} == *"x "*EXTRA*"2 compared, 0 differ, 0 missing, 1 extra, worst rel 0" ]]
    run -1 woq-diff b.wts a.wts
    [[ ${lines[*]} == *"x "*MISSING* ]]
    run -0 woq-diff --match '[vw]' a.wts b.wts
    run -1 woq-diff --match nosuch a.wts b.wts
    [[ $output == *"no tensor matches 'nosuch'"* ]]
}
@test "types may differ, values count; shapes must agree" {
    woq-cast --to bf16 a.wts >b.wts
    run -0 woq-diff a.wts b.wts
    [[ ${lines[0]} == *"  f32  bf16 max=0 "* ]]
    woq-gen 'w:f32[4]:3,0,0,4' v:f16:1,2 >b.wts
    run -1 woq-diff a.wts b.wts
    [[ ${lines[0]} == "w "*SHAPE ]]
}
@test "NaN and Inf: equal to themselves, infinitely far from the rest" {
    woq-gen w:f32:nan,inf,1 >n.wts
    woq-gen w:f32:1,inf,1 >m.wts
    run -0 woq-diff n.wts n.wts
    run -1 woq-diff --tol 1000 n.wts m.wts
    [[ $output == *"max=inf rms=inf rel=inf sqnr=-infdB DIFFERS"* ]]
    woq-gen w:f32:0,0,0 >z.wts
    run -1 woq-diff --tol 1000 z.wts m.wts
}
@test "quantized tensors: by their weights, or by codes" {
    q='@QTEN{"name":"w","quant":{"bits":4,"group_size":2,"sym":true}}'
    woq-gen "$q;codes:u8[2,2]:11,8,8,12;scale:f32[2,1]:1,1" v:f16:1,2 >q.wts
    run -0 woq-diff a.wts q.wts
    [[ ${lines[0]} == *"  f32 quant max=0 "*same ]]
    woq-gen "$q;codes:u8[2,2]:11,8,9,12;scale:f32[2,1]:1,1" v:f16:1,2 >p.wts
    run -1 woq-diff --codes --json -m w q.wts p.wts
    [[ $output == '{"name":"w","status":"DIFFERS","elements":4,"differ":1,"max":1,"rms":0.5,"rel":0.25,'* ]]
    run -0 woq-diff --codes --tol 0.25 q.wts p.wts
    run -1 woq-diff --codes a.wts q.wts
    [[ ${lines[0]} == *SHAPE ]]
}
@test "--json: one object per tensor, infinity as text" {
    run -0 woq-diff --json a.wts a.wts
    [ "${#lines[@]}" = 2 ]
    [ "${lines[0]}" = '{"name":"w","status":"same","elements":4,"differ":0,"max":0,"rms":0,"rel":0,"sqnr_db":"inf"}' ]
}
@test "the same figures for any number of threads" {
    woq-gen 'w:f32[700,901]:rand=1' >x.wts
    woq-cast --to bf16 x.wts >y.wts
    run -1 woq-diff --threads 1 --json x.wts y.wts
    one=$output
    run -1 woq-diff --threads 4 --json x.wts y.wts
    [ "$one" = "$output" ]
}
@test "one stream from standard input; cut input; usage" {
    run -0 woq-diff a.wts - <a.wts
    head -c 600 a.wts >cut.wts
    run -3 woq-diff a.wts cut.wts
    [[ $output == *"woq-diff: cut.wts: frame "*truncated* ]]
    woq-gen x:f32:1 x:f32:1 >two.wts
    run -1 woq-diff two.wts a.wts
    [[ $output == *"two.wts: tensor 'x' comes twice"* ]]
    run -2 woq-diff a.wts
    run -2 woq-diff a.wts b.wts c.wts
    run -2 woq-diff --tol -1 a.wts a.wts
}
