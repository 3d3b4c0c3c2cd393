#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers

W='w{"role":"attn.q","block":0,"group":"qkv"}:f32[2,4]:1,2,-3,7,0,0.5,-0.25,1'
rtn() { woq-gen "${FRAMES[@]:-$W}" | woq-rtn "$@" >out.wts && woq-cat --no-head out.wts; }
codes() { woq-cat --no-head "$1" | grep -c '/codes '; }

@test "symmetric, asymmetric, full range" {
    run -0 rtn -g 4
    [ "${lines[*]}" = "w/codes u8 9 10 5 15 8 11 6 15 w/scale f32 1 0.14285715" ]
    run -0 rtn --group-size 4 --sym --bits 4
    [ "${lines[0]}" = "w/codes u8 9 10 5 15 8 11 6 15" ]
    run -0 rtn -g 4 --asym
    [ "${lines[*]}" = "w/codes u8 6 7 0 14 3 9 0 15 w/scale f32 0.6666667 0.083333336 w/zero f32 4 3" ]
    run -0 rtn -g 4 --full-range
    [ "${lines[*]}" = "w/codes u8 7 6 11 0 8 4 10 0 w/scale f32 -0.875 -0.125" ]
}
@test "bits, whole rows, short tails, groups along the outputs" {
    run -0 rtn --bits 8 --group-size -1
    [ "${lines[*]}" = "w/codes u8 146 164 74 255 128 192 96 255 w/scale f32 0.05511811 0.007874016" ]
    run -0 rtn -b 1 -g 4
    [ "${lines[*]}" = "w/codes u8 0 0 0 1 0 0 0 1 w/scale f32 7 1 w/zero f32 0 0" ]
    run -0 rtn -b 2 -g 3 --asym
    [ "${lines[*]}" = "w/codes u8 3 3 0 3 1 3 0 3 w/scale f32 1.6666666 2.3333333 0.25 0.33333334 w/zero f32 2 0 1 0" ]
    run -0 rtn --group-dim 0 -g 2
    [ "${lines[*]}" = "w/codes u8 15 15 1 15 8 10 7 9 w/scale f32 0.14285715 0.2857143 0.42857143 1" ]
    run -0 woq-ls --json out.wts
    [[ $output == *'"group_dim":0'* ]]
}
@test "--dtype: codebooks travel with the tensor" {
    run -0 rtn -g 4 --dtype nf4
    [ "${lines[0]}" = "w/codes u8 9 10 3 15 7 12 4 15" ]
    [ "${lines[1]}" = "w/scale f32 7 1" ]
    [[ ${lines[2]} == "w/lut f32 -1 -0.6961928 "*" 0.72295684 1" ]]
    run -0 rtn -g 4 --dtype fp4
    [ "${lines[0]}" = "w/codes u8 6 7 13 3 0 5 15 3" ]
    run -0 rtn --dtype fp8_e4m3
    [ "${lines[0]}" = "w/codes u8 104 112 244 126 0 118 238 126" ]
    [ "${lines[1]}" = "w/scale f32 0.015625 0.002232143" ]
    run -0 woq-dequant --no-history out.wts
    run -0 woq-ls --json out.wts
    [[ $output == *'"bits":8,"group_size":-1'*'"dtype":"fp8_e4m3"'* ]]
}
@test "--dtype: scales of one byte stand beside what they decode to" {
    run -0 rtn --dtype mxfp4
    [ "${lines[0]}" = "w/codes u8 2 4 13 7 0 4 10 6" ]
    [ "${lines[1]}" = "w/scale f32 1 0.25" ]
    [ "${lines[3]}" = "w/scale_codes u8 127 125" ]
    run -0 rtn --dtype nvfp4
    [ "${lines[1]}" = "w/scale f32 1.1666666 0.16666667" ]
    [ "${lines[3]}" = "w/scale_codes u8 126 104" ]
    [ "${lines[5]}" = "w/scale_div f32 384" ]
    run -0 woq-ls --json out.wts
    [[ $output == *'"group_size":16'* ]]
}
@test "--group-rows: blocks and whole tensors" {
    run -0 rtn --dtype fp8_e4m3 -g 2 --group-rows 2
    [ "${lines[1]}" = "w/scale f32 0.004464286 0.015625 0.004464286 0.015625" ]
    run -0 rtn --dtype fp8_e4m3 --group-rows -1
    [ "${lines[1]}" = "w/scale f32 0.015625 0.015625" ]
    run -0 rtn --asym -g 4 --group-rows 2
    [ "${lines[*]:1}" = "w/scale f32 0.6666667 0.6666667 w/zero f32 4 4" ]
}
@test "--double-quant: scales are codes with a step and a mean" {
    run -0 rtn -g 4 --asym --double-quant --double-quant-bits 4
    [ "${lines[1]}" = "w/scale f32 0.6666667 0.08333331" ]
    [[ ${lines[*]} == *"w/scale_codes u8 15 1 "*"w/scale_offset f32 0.375"* ]]
    run -0 rtn -g 2 --double-quant --double-quant-sym --double-quant-group-size 2
    [[ ${lines[*]} == *"w/scale_codes u8 164 255 192 255 w/scale_scale f32 0.007874016 0.0011248594"* ]]
    run -0 rtn -g 2 --dtype nf4 --double-quant --double-quant-dtype dynamic --double-quant-keep-codes
    [[ ${lines[*]} == *"w/scale_lut f32 -0.99296874 "*"w/scale_offset "* ]]
    run -0 woq-ls --json out.wts
    [[ $output == *'"double_quant":true,"double_quant_bits":8,"double_quant_group_size":256,"double_quant_sym":false,"double_quant_dtype":"dynamic","double_quant_keep_codes":true'* ]]
    for o in '--double-quant-bits 4' '--double-quant --dtype mxfp4' '--double-quant --scale-dtype f16' \
        '--double-quant --double-quant-dtype dynamic --double-quant-sym' '--double-quant --double-quant-bits 9'; do
        # shellcheck disable=SC2086
        run -2 woq-rtn $o
    done
}
@test "formats: what does not go together is said" {
    run -2 woq-rtn --dtype nf4 --bits 3
    [[ $output == *"--bits 3: nf4 has 4"* ]]
    run -2 woq-rtn --dtype mxfp4 --group-size 64
    [[ $output == *"mxfp4 has groups of 32"* ]]
    run -2 woq-rtn --dtype fp4 --asym
    [[ $output == *"fp4 has no zero point"* ]]
    run -2 woq-rtn --dtype nf5
    run -2 woq-rtn --dtype nvfp4 --scale-dtype f16
    run -2 woq-rtn --group-rows 2 --mse
    run -2 woq-rtn --group-rows 0
    run -1 bash -c 'woq-gen "w{\"quant\":{\"dtype\":\"nf4\",\"sym\":false}}:f32[1,2]:1,2" | woq-rtn >out.wts'
    [[ $output == *"nf4 has no zero point"* ]]
}
@test "--scale-dtype f16 stores scales that f16 holds" {
    run -0 rtn -g 4 --asym --scale-dtype f16
    [ "${lines[*]}" = "w/codes u8 7 8 0 15 3 9 0 15 w/scale f32 0.6665039 0.08331299 w/zero f32 5 3" ]
    run -0 woq-ls --json out.wts
    [[ $output == *'"scale_dtype":"f16"'* ]]
}
@test "searches shrink the range, importance decides for what" {
    run -0 rtn -b 2 -g 4 --search clip
    [ "${lines[1]}" = "w/scale f32 5.635 0.805" ]
    run -0 rtn -b 2 -g 4 --mse
    [ "${lines[*]}" = "w/codes u8 2 2 1 3 2 3 2 3 w/scale f32 5.635 0.805" ]
    for side in 'hess:of=w;diag:f32:0,0,9,0' 'stat:of=w;mean_sq:f32:0,0,9,0' \
        'hess:of=w;h:f32[4,4]:0,1,1,1,1,0,1,1,1,1,9,1,1,1,1,0'; do
        FRAMES=("$side" "$W")
        run -0 rtn -b 2 -g 4 --search mse
        [ "${lines[*]}" = "w/codes u8 2 2 1 3 2 2 2 3 w/scale f32 5.635 1" ]
    done
    FRAMES=('stat:of=w;mean_sq:f32:1,1,1,1' 'hess:of=w;diag:f32:0,0,9,0' "$W") # hess comes first
    run -0 rtn -b 2 -g 4 --search mse
    [ "${lines[1]}" = "w/scale f32 5.635 1" ]
}
@test "what describes a changed weight is dropped, what describes another one passes in place" {
    FRAMES=('hess:of=w;diag:f32:1,1,1,1' 'stat:of=w;absmax:f32:1,1,1,1' '@xtra{"of":"v"}'
        'stat:of=e;mean_sq:f32:1,2' 'e{"role":"embed"}:f32[2,2]:1,2,3,4' "$W" BLKE:0)
    run -0 rtn -g 4 --search mse
    [ "$(woq-ls out.wts | awk '{ printf "%s ", $3 }')" = "stat TENS QTEN xtra BLKE " ]
    FRAMES=('hess:of=w;diag:f32:1,1,1,1' "$W")
    run -0 rtn -g 4 --match nothing
    [[ $output == *"hess w/diag f32 1 1 1 1"*"w f32 1 2 -3"* ]]
}
@test "the statistics of a group serve all of its weights" {
    G='"role":"attn.k","block":0,"group":"qkv"'
    V=":f32[2,4]:1,2,-3,7,0,0.5,-0.25,1"
    FRAMES=('@hess{"of":"q","group":"qkv","block":0};diag:f32:0,0,9,0' "q{$G}$V" "k{$G}$V"
        "other{\"role\":\"attn.k\",\"block\":1,\"group\":\"qkv\"}$V")
    run -0 rtn -b 2 -g 4 --search mse
    [ "${lines[1]}" = "q/scale f32 5.635 1" ]
    [ "${lines[3]}" = "k/scale f32 5.635 1" ]
    [ "${lines[5]}" = "other/scale f32 5.635 0.805" ]
}
@test "linear weights only, unless a scheme says so; --match narrows" {
    woq-gen --llama hidden=32,layers=2,heads=4,vocab=50 >m.wts
    woq-rtn m.wts >q.wts
    [ "$(codes q.wts)" = 14 ]
    woq-rtn -m '*.0.*q_proj*' --match '*down_proj*' m.wts >q.wts
    [ "$(codes q.wts)" = 3 ]
    woq-scheme --set 'lm_head* bits=8' m.wts | woq-rtn -m 'lm_head*' >q.wts
    [ "$(codes q.wts)" = 1 ]
    run -0 --separate-stderr bash -c 'woq-rtn -m nothing m.wts >q.wts'
    [ "$(codes q.wts || true)" = 0 ]
    [[ $stderr == *"no weight was quantized"* ]]
}
@test "the meta of a weight overrides the options, float leaves it alone" {
    FRAMES=('w{"role":"attn.q","quant":{"bits":8,"use_sym":false}}:f32[1,4]:1,2,-3,7'
        'x{"role":"attn.q","quant":{"dtype":"float"}}:f32[1,2]:1,2'
        'e{"quant":{"group_size":2}}:f32[1,4]:1,2,3,4')
    run -0 rtn -g 4 -b 3
    [ "${lines[*]}" = "w/codes u8 102 127 0 254 w/scale f32 0.039215688 w/zero f32 76 x f32 1 2 e/codes u8 6 7 6 7 e/scale f32 0.6666667 1.3333334" ]
    run -0 woq-ls --json -m w out.wts
    [[ $output == *'"bits":8,"group_size":4,"group_dim":1,"sym":false'* ]]
}
@test "bf16 and f16 weights are read exactly" {
    woq-gen 'w{"role":"attn.q"}:bf16[40,70]:rand=3' >b.wts
    woq-cast --to f32 b.wts | woq-rtn --no-history --asym >a.wts
    woq-cast --to f32 --no-history b.wts | woq-rtn --no-history --asym | woq-cat --no-head >1
    woq-rtn --no-history --asym b.wts | woq-cat --no-head >2
    cmp 1 2
}
@test "the same bytes for every ISA and number of threads" {
    woq-gen 'w{"role":"attn.q"}:f32[67,333]:rand=5' 'v{"role":"mlp.up"}:bf16[130,4100]:rand=6' >in.wts
    for o in '--asym' '-b 3 --search mse -g 50' '--search clip -b 2' '--group-dim 0 -g 9 --search mse' \
        '-b 8 --scale-dtype f16 --full-range -g -1' '--dtype nf4 --search mse -g 50' '--dtype nvfp4 --mse' \
        '--dtype fp8_e5m2 --group-rows 10 -g 33' '--dtype mxfp8 --search clip' '--dtype fp4 --group-dim 0 -g 9' \
        '--double-quant -g 9 --double-quant-group-size 100'; do
        # shellcheck disable=SC2086
        WOQ_ISA=ref WOQ_THREADS=1 woq-rtn $o in.wts >want.wts
        for isa in avx2 avx512 neon; do
            # shellcheck disable=SC2086
            WOQ_ISA=$isa WOQ_THREADS=2 woq-rtn $o in.wts | cmp - want.wts
        done
        # shellcheck disable=SC2086
        woq-rtn --threads 5 $o in.wts | cmp - want.wts
    done
}
@test "property: quantizing what was quantized changes nothing" {
    woq-gen 'w{"role":"attn.q"}:f32[50,100]:rand=8' >in.wts
    woq-rtn --no-history in.wts | woq-dequant --no-history >once.wts
    woq-rtn --no-history once.wts | woq-dequant --no-history | woq-diff --tol 1e-6 - once.wts
}
@test "a number that is none is named" {
    for x in nan inf -inf; do
        woq-gen BLKB:0 "w{\"role\":\"attn.q\"}:f32[2,3]:1,2,3,4,$x,6" >bad.wts
        run -1 bash -c 'woq-rtn bad.wts >out.wts'
        [[ $output == *"frame 2 'w', byte "*": weight [1][1] is "* ]]
        [[ $output == *"hint: the checkpoint is damaged"* ]]
        run -3 woq-ls out.wts
    done
}
@test "errors: scales out of range, shapes, types, side frames, schemes" {
    check() { run -1 bash -c 'woq-gen "$@" | woq-rtn --scale-dtype f16 --search mse >out.wts' - "${@:2}"; [[ $output == *"$1"* ]]; }
    check "scale [0][0] does not fit in f16" 'w{"role":"attn.q"}:f32[1,2]:1e9,1'
    check "'w' has 1 dimensions" 'w{"quant":{"bits":4}}:f32[3]:1,2,3'
    check "'w' has 2 dimensions and 0 elements" 'w{"role":"attn.q"}:f32[0,3]:'
    check "is i32, want f32" 'w{"role":"attn.q"}:i32[1,2]:1,2'
    check "stat frame describes 3 inputs, the weight has 2" 'stat:of=w;mean_sq:f32:1,2,3' 'w{"role":"attn.q"}:f32[1,2]:1,2'
    check "element 1 of the diagonal is -1" 'hess:of=w;diag:f32:1,-1' 'w{"role":"attn.q"}:f32[1,2]:1,2'
    check "array 'h' is 1 x 2, want a square" 'hess:of=w;h:f32[1,2]:1,1' 'w{"role":"attn.q"}:f32[1,2]:1,2'
    check "has no array 'h'" 'hess:of=w;x:f32:1,1' 'w{"role":"attn.q"}:f32[1,2]:1,2'
    check "unknown key 'bit'" 'w{"role":"attn.q","quant":{"bit":4}}:f32[1,2]:1,2'
    check "bits 17: want 1..8" 'w{"role":"attn.q","quant":{"bits":17}}:f32[1,2]:1,2'
    check "full_range is for symmetric" 'w{"role":"attn.q","quant":{"full_range":true,"sym":false}}:f32[1,2]:1,2'
}
@test "--float-zero: both ends of a range have codes" {
    woq-gen 'w{"role":"attn.q"}:f32[1,4]:-0.4,0.1,0.6,1.1' >in.wts
    woq-rtn -b 2 --asym --float-zero in.wts >q.wts
    woq-ls --json q.wts | grep -F '"float_zero":true'
    woq-dequant q.wts | woq-diff --tol 1e-6 - in.wts
    run ! bash -c "woq-rtn -b 2 --asym in.wts | woq-dequant | woq-diff --tol 0.02 - in.wts"
    run -2 woq-rtn --float-zero in.wts
    [[ $output == *"float_zero is for asymmetric schemes"* ]]
    run -2 woq-rtn --float-zero --dtype nf4 in.wts
    [[ $output == *"nf4 has no zero point"* ]]
}
@test "a cut stream exits 3" {
    woq-gen --llama hidden=32,heads=4 >m.wts
    head -c 5000 m.wts >cut.wts
    run -3 bash -c 'woq-rtn cut.wts >out.wts'
    [[ $output == *truncated* ]]
}
@test "usage" {
    woq-gen "$W" >in.wts
    for o in '-b 0' '-b 9' '-b x' '-g 0' '-g -2' '--group-dim 2' '--sym --asym' '--mse --search clip' \
        '--search best' '--scale-dtype f64' '--full-range --asym' '--full-range -b 1' '--bit 3' 'in.wts more'; do
        # shellcheck disable=SC2086
        run -2 bash -c "woq-rtn $o <in.wts >out.wts"
    done
}
@test "the examples of the manual page run" {
    woq-gen --llama hidden=64,layers=1,heads=4,vocab=50 >model.wts
    woq-rtn --bits 3 --search mse model.wts >model-3bit.wts
    woq-rtn --bits 4 --group-size 64 --asym --scale-dtype f16 model.wts | woq-dequant | woq-diff --tol 1 - model.wts
}
