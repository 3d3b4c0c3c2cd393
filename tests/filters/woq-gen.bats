#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers

cat_of() { woq-gen "$@" >g.wts && woq-cat --no-head g.wts; }

@test "values of every dtype, with their extremes" {
    run -0 cat_of a:f32:1,-2.5,1e-3,nan,inf,-inf b:f16:65504,6e-8 c:bf16:1,3 d:f64:0.1 \
        e:u8:0,255 f:i8:-128,127 g:u16:65535 h:i16:-32768 i:u32:4294967295 j:i32:-2147483648 \
        k:u64:18446744073709551615 l:i64:-9223372036854775808 m:bool:0,1
    [ "${lines[0]}" = "a f32 1 -2.5 0.001 nan inf -inf" ]
    [ "${lines[1]}" = "b f16 65504 5.9604645e-08" ]
    [ "${lines[2]}" = "c bf16 1 3" ]
    [ "${lines[3]}" = "d f64 0.1" ]
    [ "${lines[*]:4}" = "e u8 0 255 f i8 -128 127 g u16 65535 h i16 -32768 i u32 4294967295 j i32 -2147483648 k u64 18446744073709551615 l i64 -9223372036854775808 m bool 0 1" ]
}
@test "fill, ramp, shapes, bytes of a text and of a file" {
    printf '\001\002\003\004' >four
    run -0 cat_of 'a:f32[2,2]:fill=7' 'b:i8[130]:ramp' 'c:u8:=hi' 'd:u8:@four' 'e:u16[2]:@four' \
        'f:u8[0]:'
    [ "${lines[0]}" = "a f32 7 7 7 7" ]
    [[ ${lines[1]} == "b i8 0 1 2 "*" 127 0 1" ]]
    [ "${lines[*]:2}" = "c u8 104 105 d u8 1 2 3 4 e u16 513 1027 f u8" ]
}
@test "t4 gives the numbers of the published case" {
    run -0 cat_of 'w:f32[2,2]:t4=1'
    # 54055 5265 -54986 42349, each / 2^20
    run -0 awk '{ for (i = 3; i <= 6; i++) printf "%d ", $i * 1048576 + ($i < 0 ? -0.5 : 0.5) }' <<<"$output"
    [ "$output" = "54055 5265 -54986 42349 " ]
}
@test "rand is centred, has the wanted deviation, and seeds are independent" {
    woq-gen 'w:f32[100000]:rand=1,0.5' 'v:f32[100000]:rand=2,0.5' 'c:u8[100000]:rand=1,15' >r.wts
    run -0 woq-cat --no-head --stats r.wts
    for line in "${lines[@]:0:2}"; do
        [[ $line =~ mean=([-0-9.e]+)\ std=([0-9.]+) ]]
        awk -v m="${BASH_REMATCH[1]}" -v s="${BASH_REMATCH[2]}" \
            'BEGIN { exit !(m < 0.01 && m > -0.01 && s > 0.495 && s < 0.505) }'
    done
    [[ ${lines[2]} == *"min=0 max=15 "* ]]
    run ! diff <(woq-cat --no-head -m w r.wts | cut -d' ' -f3-) <(woq-cat --no-head -m v r.wts | cut -d' ' -f3-)
}
@test "the same bytes for any number of threads" {
    woq-gen --threads 1 'w:f16[300,301]:rand=9' >a.wts
    woq-gen --threads 5 'w:f16[300,301]:rand=9' >b.wts
    cmp a.wts b.wts
}
@test "meta, markers, frames with several arrays, frames that describe others" {
    run -0 cat_of BLKB:3 'w{"role":"attn.q","block":3}:f32:1' 'hess:of=w;diag:f32:1,2;n_tokens:u64:9' \
        '@QTEN{"name":"q"};codes:u8[1,2]:3,4;scale:f32[1,1]:2' '@note{"loss":0.5}' x:raw:abc BLKE:3
    [ "${lines[*]}" = 'BLKB 3 w f32 1 hess w/diag f32 1 2 hess w/n_tokens u64 9 q/codes u8 3 4 q/scale f32 2 note {"loss":0.5} xtra 3 BLKE 3' ]
    run -0 woq-ls --json g.wts
    [[ ${lines[1]} == *'"describes":false'*'"role":"attn.q","block":3'* ]]
    [[ ${lines[2]} == *'"describes":true'* ]]
}
@test "--llama: order, shapes and totals of a whole model" {
    woq-gen --llama hidden=16,inter=24,layers=2,heads=4,kv=2,vocab=10,dtype=bf16,seed=3 >m.wts
    run -0 woq-ls m.wts
    [ "${#lines[@]}" = 26 ]
    [[ ${lines[0]} == *MODL* && ${lines[2]} == *BLKB* && ${lines[12]} == *BLKE* ]]
    run -0 woq-ls -m '*.1.self_attn.k_proj.weight' m.wts
    [[ $output == *bf16*8x16* ]]
    run -0 bash -c 'woq-cat m.wts | head -1'
    [[ $output == *'"total":{"frames":26,"bytes":'* ]]
    want=$(grep -o '"bytes":[0-9]*' <<<"$output" | cut -d: -f2)
    [ "$want" = "$(woq-ls m.wts | awk '{ s += $(NF-1) } END { print s }')" ]
    woq-cat --file config.json m.wts >config.json
    grep -q '"num_key_value_heads":.*2' config.json
    woq-gen --llama hidden=16,heads=4,tie=1 | woq-ls -m lm_head.weight >out
    [ ! -s out ]
}
@test "--modl puts side files first, --frames bulk" {
    echo '{"a":1}' >config.json
    echo tok >t.txt
    woq-gen --modl config.json --modl ./t.txt --frames 2 --bytes 4K --model NAME >m.wts
    run -0 woq-cat -n 0 m.wts
    [[ ${lines[0]} == *'"model":"NAME"'* ]]
    [ "${lines[1]}" = "MODL config.json 8 t.txt 4" ]
    woq-cat --file t.txt m.wts | cmp - t.txt
    run -0 woq-ls -m 't?' m.wts
    [[ ${lines[0]} == *" t0 "*" 1024 4096 "* && ${lines[1]} == *" t1 "* ]]
}
@test "wrong operands: status 2 and the place" {
    local bad
    for bad in w w:f32 w:f99:1 w:f32:1,,2 w:f32:1,x w:u8:256 w:u8:-1 w:i8:-129 'w:f32[2]:1,2,3' \
        'w:f32[2:1,2' 'w:f32[99999999999,99999999999]:ramp' 'w{"a":1:f32:1' 'w{x}:f32:1' '@ab' \
        '@TENS;x' '@TENS;x:f32' 'BLKB:x' 'w:u8:t4=1' 'w:f32:rand=x' 'w:f32[2]:fill=x' 'w:f32[-1]:1' \
        'w:u16:=abc' ':f32:1' 'w:f32[1,1,1,1,1,1,1,1,1]:1'; do
        run -2 bash -c 'woq-gen "$1" >bad.wts' - "$bad"
        [[ $output == woq-gen:* ]]
    done
    run -2 bash -c 'woq-gen --llama hidden=10,heads=4 >bad.wts'
    [[ $output == *'hidden=10 is no even multiple of heads=4'* ]]
    for bad in nosuch=1 hidden=x hidden= layers=0 dtype=u8 heads=4,kv=3 hidden=99999999999 tie=2; do
        run -2 bash -c 'woq-gen --llama "$1" >bad.wts' - "$bad"
    done
    run -1 bash -c 'woq-gen --modl nosuch >bad.wts'
    run -1 bash -c 'woq-gen w:u8:@nosuch >bad.wts'
}
@test "no operands: an empty stream that is valid" {
    woq-gen >e.wts
    run -0 woq-ls e.wts
    [ -z "$output" ]
}
