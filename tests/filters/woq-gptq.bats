#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers

M='"role":"attn.q","block":0,"group":"qkv"'
W="q{$M}:f32[2,4]:1,2,-3,7,0,0.5,-0.25,1"
hess() { echo "@hess{\"of\":\"q\",\"group\":\"qkv\",\"block\":0};h:f32[4,4]:$1"; }
I=1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1
H=4,1,0,1,1,9,2,0,0,2,3,1,1,0,1,6
gptq() { woq-gen --no-history "${F[@]}" | woq-gptq --no-history "$@" >out.wts && woq-cat --no-head out.wts; }
bad() { run -"$1" bash -c 'woq-gen "${@:2}" | woq-gptq ${1:-} >out.wts' - "${@:3}"; echo "$output"; [[ $output == *"$2"* ]]; }
setup() {
    # Inputs of rank 24 for weights of 64 columns, so that the Hessian has what to spread.
    woq-gen --no-history '@acts{"of":"q","group":"qkv","block":0,"token0":0};x:f32[24,64]:rand=3' \
        "q{$M}:f32[48,64]:rand=5" "k{$M}:f32[16,64]:rand=6" | woq-hessian --no-history >in.wts
}

@test "H = I is rounding to nearest" {
    F=("$(hess $I)" "$W")
    for o in '-b 4 -g 4' '-b 8 -g -1' '-b 3 -g 4'; do
        # shellcheck disable=SC2086
        gptq --search none --asym $o | grep -v note >got
        # shellcheck disable=SC2086
        woq-gen --no-history "$W" | woq-rtn --no-history --asym $o | woq-cat --no-head >want
        echo "$o"
        diff want got
    done
}
@test "a note for each weight, one Hessian for the group" {
    woq-gptq --bits 3 --group-size 16 in.wts >out.wts
    [ "$(woq-ls out.wts | awk '{ printf "%s ", $3 }')" = "note QTEN note QTEN " ]
    run -0 woq-ls --json out.wts
    [[ ${lines[0]} == *'"meta":{"prog":"woq-gptq","of":"q","loss":'*'"percdamp":0.01,"dead":0}'* ]]
    [[ ${lines[1]} == *'"bits":3,"group_size":16'* ]]
    woq-gptq --keep-hess in.wts | woq-ls | grep hess
    run ! grep -q seconds <(woq-ls --json out.wts)
    [ "$(woq-gptq --timings in.wts | woq-ls --json | grep -c '"dead":0,"seconds":[0-9]')" = 2 ]
}
@test "orders: g_idx only where groups follow the order" {
    has() { woq-gptq -b 3 -g 16 "${@:2}" in.wts >out.wts; [ "$(woq-cat --no-head out.wts | grep -c g_idx)" = "$1" ]; }
    has 2 --act-order
    has 0 --act-order --static-groups
    has 0 --gar
    has 0 --static-groups
    has 0 --act-order -g -1
    has 0
    woq-dequant out.wts | woq-ls | grep -c TENS
}
@test "every choice is a choice: the codes differ" {
    for o in '' --act-order '--act-order --static-groups' --gar --static-groups '--search none' '--search mse' \
        --asym '--percdamp 0.5' '-b 2' '-g 32' --full-range '--scale-dtype f16' '--refit 1' '--refit 4'; do
        # shellcheck disable=SC2086
        woq-gptq -b 3 -g 16 --block-size 32 $o in.wts | woq-cat --no-head | md5sum
    done >sums
    [ "$(sort -u sums | wc -l)" = 15 ]
    woq-gptq -b 3 -g 16 --block-size 32 in.wts | woq-cat --no-head | md5sum | cmp - <(head -n 1 sums)
}
@test "more bits lose less" {
    for b in 2 3 4 6 8; do
        woq-gptq -b $b -g 16 in.wts | woq-ls --json | grep -o '"loss":[0-9.e-]*' | head -n 1 | cut -d: -f2
    done >losses
    awk 'NR > 1 && $1 >= last { exit 1 } { last = $1 }' losses
}
@test "the same bytes for every ISA, number of threads" {
    for o in '' '--act-order --asym' '--gar -b 3 -g 16 --search mse' '--static-groups --block-size 7' \
        '--refit 3 --asym -g 24' '--refit 2 --act-order -g 40'; do
        # shellcheck disable=SC2086
        WOQ_ISA=ref WOQ_THREADS=1 woq-gptq $o in.wts >want.wts
        for isa in avx2 avx512 neon; do
            # shellcheck disable=SC2086
            WOQ_ISA=$isa WOQ_THREADS=2 woq-gptq $o in.wts | cmp - want.wts
        done
    done
}
@test "--mse is --search mse; --full-range reaches code 0 on either side" {
    woq-gptq --no-history --mse in.wts | cmp - <(woq-gptq --no-history --search mse in.wts)
    F=("$(hess $I)" "$W")
    run -0 gptq --full-range --search none -g 4
    [ "${lines[1]}" = "q/codes u8 7 6 11 0 8 4 10 0" ]
    [ "${lines[2]}" = "q/scale f32 -0.875 -0.125" ]
}
@test "--refit lessens the weighted error and says so, and more sweeps never undo it" {
    for n in 1 2 4 8; do
        woq-gptq -b 3 -g 16 --refit $n in.wts | woq-ls --json | grep -m 1 -o '"error":[^,]*,"refit_error":[^,]*'
    done >errors
    cat errors
    awk -F '[:,]' '{ if ($4 > last && NR > 1 || $4 >= 0.95 * $2) exit 1; last = $4 }' errors
}
@test "a frame with d corrects toward the float path, --correct 0 does not" {
    D='@hess{"of":"q","group":"qkv","block":0};h:f32[4,4]:'$H
    F=("$D;d:f32[4,4]:1,0,0,0,0,2,0,0,0,0,-1,0,0,1,0,3" "$W")
    gptq -g 4 --asym --correct 1 >corrected
    woq-ls --json out.wts | grep -E '"corrected":true,"plain_error":[^,]*,"corrected_error":'
    gptq -g 4 --asym --correct 0 >plain
    run ! grep -q corrected <(woq-ls --json out.wts)
    run ! cmp corrected plain
    gptq -g 4 --asym >less
    gptq -g 4 --asym --correct 0.25 | cmp - less
    run ! cmp less plain
    run ! cmp less corrected
    F=("$D" "$W")
    gptq -g 4 --asym >none
    grep -v note plain | cmp - <(grep -v note none)
}
@test "--match, schemes of single weights, --fallback rtn" {
    woq-gptq -m k in.wts >out.wts
    [ "$(woq-ls out.wts | awk '{ printf "%s ", $3 }')" = "hess TENS note QTEN " ]
    woq-scheme --set 'k bits=8' in.wts | woq-gptq >out.wts
    woq-ls --json out.wts | grep '"k"' | grep '"bits":8'
    F=("$W")
    run -0 gptq --fallback rtn --asym -g 4
    [ "${lines[1]}" = "q/codes u8 6 7 0 14 3 9 0 15" ]
    woq-ls --json out.wts | grep -F '"of":"q","fallback":"rtn"'
}
@test "dead columns, constant rows and zeros, an indefinite matrix" {
    F=("$(hess 4,0,0,1,0,0,0,0,0,0,3,1,1,0,1,6)" "$W")
    gptq -g 4 --asym >/dev/null
    woq-ls --json out.wts | grep '"dead":1'
    woq-dequant out.wts | woq-cat --no-head | grep '^q f32' | awk '{ exit !($4 == 0 && $8 == 0) }'
    F=("$(hess $H)" "q{$M}:f32[2,4]:0,0,0,0,3,3,3,3")
    run -0 gptq -g 4 --asym
    [[ $output != *nan* && $output != *inf* ]]
    F=("$(hess 1,5,0,0,5,1,0,0,0,0,1,0,0,0,0,1)" "$W")
    gptq -g 4 >/dev/null
    woq-ls --json out.wts | grep -F '"fallback":"no feedback: never positive definite"'
    F=("$(hess 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)" "$W") # singular: one token
    gptq -g 4 >/dev/null
    woq-ls --json out.wts | grep '"percdamp":0.01'
}
@test "errors are named" {
    bad 1 'no Hessian describes this weight' '' "$W"
    bad 1 'the Hessian is 2 x 2, the weight has 4 inputs' '' '@hess{"of":"q"};h:f32[2,2]:1,0,0,1' "$W"
    bad 1 'the Hessian is 2 x 2, the weight has 4 inputs' '--fallback rtn' '@hess{"of":"q"};h:f32[2,2]:1,0,0,1' "$W"
    bad 1 "no array 'h'" '' '@hess{"of":"q"};diag:f32:1,1,1,1' "$W"
    bad 1 'not symmetric' '' "$(hess 1,5,0,0,0,1,0,0,0,0,1,0,0,0,0,1)" "$W"
    bad 1 'is -1' '' "$(hess -1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1)" "$W"
    bad 1 'nan' '' "$(hess nan,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1)" "$W"
    bad 1 'a weight is NaN or infinite' '' "$(hess $I)" "q{$M}:f32[1,4]:1,nan,2,3"
    bad 1 'full_range is for symmetric' '--asym' "$(hess $I)" "q{$M,\"quant\":{\"full_range\":true}}:f32[1,4]:1,2,2,3"
    bad 1 "does not fit in f16" '-b 2 --scale-dtype f16' "$(hess $I)" "q{$M}:f32[1,4]:1e9,2,2,3"
    D='@hess{"of":"q"};h:f32[4,4]:'$I
    bad 1 "array 'd' is 2 x 4" '' "$D;d:f32[2,4]:0,0,0,0,0,0,0,0" "$W"
    bad 1 "array 'd' is not finite" '' "$D;d:f32[4,4]:0,0,0,0,0,0,nan,0,0,0,0,0,0,0,0,0" "$W"
    bad 1 'along the inputs only' '' "$(hess $I)" "q{$M,\"quant\":{\"group_dim\":0}}:f32[1,4]:1,2,2,3"
    head -c 3000 in.wts >cut.wts
    run -3 bash -c 'woq-gptq cut.wts >out.wts'
}
@test "usage" {
    for o in '-b 0' '-b 9' '-g 0' '-g -2' '--sym --asym' '--act-order --gar' '--block-size 0' '--percdamp 0' \
        '--percdamp 2' '--percdamp nan' '--search clip' '--fallback none' '--bit 3' '--refit -1' '--correct 2' \
        '--full-range --asym' '--mse --search none' '--scale-dtype bf16' 'in.wts more'; do
        echo "$o"
        # shellcheck disable=SC2086
        run -2 bash -c "woq-gptq $o <in.wts >out.wts"
    done
}
