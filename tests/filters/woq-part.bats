#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen --llama hidden=16,inter=16,layers=5,heads=4,vocab=10 >in.wts; }
blocks() { woq-ls --json "$1" | grep -o '"BLKB".*"block":[0-9]*' | grep -o '[0-9]*$' | tr '\n' ' '; }

@test "blocks are cut evenly, stem first, head last, side files in each" {
    for k in 1 2 3; do woq-part --of 3 --take $k in.wts >$k.wts; done
    [ "$(blocks 1.wts)|$(blocks 2.wts)|$(blocks 3.wts)" = "0 |1 2 |3 4 " ]
    for k in 1 2 3; do woq-cat -n 1 $k.wts | grep -q '^MODL config.json'; done
    [ "$(for k in 1 2 3; do woq-ls -m 'model.embed*' $k.wts | wc -l; done | tr '\n' ' ')" = "1 0 0 " ]
    [ "$(for k in 1 2 3; do woq-ls -m 'lm_head*' $k.wts | wc -l; done | tr '\n' ' ')" = "0 0 1 " ]
    woq-cat 2.wts | head -1 | grep -q '"part":{"of":3,"take":2,"blocks":5,'
}
@test "join is the inverse for any number of parts, also more than blocks" {
    for n in 1 2 3 5 7; do
        rm -f part.*
        for k in $(seq $n); do woq-part --no-history --of $n --take $k in.wts >part.$k; done
        woq-join --no-history $(for k in $(seq $n); do echo part.$k; done) | cmp - in.wts
    done
}
@test "--into: all parts in one pass, the same as one by one" {
    for n in 1 2 5 7; do
        woq-part --into parts --of $n in.wts >none
        [ ! -s none ]
        [ "$(ls parts | wc -l)" = "$n" ]
        for k in $(seq $n); do woq-part --no-history --of $n --take $k in.wts | cmp - parts/$k.wts; done
        rm -r parts
    done
    woq-part --into parts <in.wts
    [ "$(ls parts | tr '\n' ' ')" = "1.wts 2.wts 3.wts 4.wts 5.wts " ]
    woq-part --no-history --take 4 in.wts | cmp - parts/4.wts
    woq-join --no-history parts/{1,2,3,4,5}.wts | cmp - in.wts
}
@test "--into: whole parts only, whatever happens" {
    woq-part --into parts in.wts
    size=$(stat -c %s in.wts)
    mkdir cut
    run -3 bash -c "head -c $((size * 2 / 3)) in.wts | woq-part --into cut"
    [ -e cut/1.wts ] && [ ! -e cut/5.wts ]
    for part in cut/*.wts; do cmp "$part" "parts/${part#cut/}"; done
    run -1 woq-part --into parts/1.wts in.wts
    [[ $output == *"parts/1.wts"* ]]
    run -1 woq-part --into no/such in.wts
    [[ $output == *"can't make the folder 'no/such'"* ]]
    run -1 woq-part --into again parts/2.wts
    [[ $output == *"the input is a part already"* ]]
    woq-gen s:u8:1 BLKB:0 a:u8:1 BLKE:0 >n.wts
    run -1 woq-part --into n n.wts
    [[ $output == *"hint: give --blocks N"* ]]
    woq-part --into n --blocks 1 n.wts
    woq-join --no-history n/1.wts | woq-diff n.wts -
    woq-gen >empty.wts
    run -1 woq-part --into n empty.wts
}
@test "parts that went through a filter join to what the whole gives" {
    for k in 1 2; do woq-part --of 2 --take $k in.wts | woq-cast --to f32 >$k.wts; done
    woq-join 1.wts 2.wts | woq-cat --no-head >a
    woq-cast --to f32 in.wts | woq-cat --no-head >b
    cmp a b
}
@test "a model without a config needs --blocks" {
    woq-gen s:u8:1 BLKB:0 a:u8:1 BLKE:0 BLKB:1 b:u8:1 BLKE:1 h:u8:1 >n.wts
    run -1 bash -c 'woq-part --of 2 --take 1 n.wts >out.wts'
    [[ $output == *"does not say how many blocks"*"hint: give --blocks N"* ]]
    for k in 1 2; do woq-part --no-history --of 2 --take $k --blocks 2 n.wts >$k.wts; done
    woq-join --no-history 1.wts 2.wts | cmp - n.wts
    run -1 bash -c 'woq-part --of 2 --take 1 --blocks 3 n.wts >out.wts'
    [[ $output == *"the model has 3 blocks, the stream 2"* ]]
    run -1 bash -c 'woq-part --of 2 --take 1 --blocks 1 n.wts >out.wts'
    [[ $output == *"block 1 in a model of 1 blocks"* ]]
    run -2 bash -c 'woq-part --of 2 --take 1 --blocks 4 in.wts >out.wts'
    [[ $output == *"--blocks 4: the model has 5"* ]]
}
@test "errors: usage, blocks out of order, a part of a part" {
    run -2 woq-part --of 2 in.wts
    run -2 bash -c "woq-part --of 2 --take 1 --into parts in.wts"
    run -2 woq-part --of 2 --take 3 in.wts
    run -2 woq-part --of 2 --take 0 in.wts
    woq-gen BLKB:1 BLKE:1 >o.wts
    run -1 bash -c 'woq-part --of 2 --take 1 --blocks 2 o.wts >out.wts'
    [[ $output == *"block 0 is missing: found block 1"* ]]
    run -1 bash -c 'woq-part --of 2 --take 1 in.wts | woq-part --of 2 --take 1 >out.wts'
    [[ $output == *"the input is a part already"* ]]
}
