#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen w:f32:1,2,3,4 'm:f16[2,3]:ramp' x:raw:ab 'hess:of=w;diag:f32:1,2,3,4' BLKB:0 BLKE:0 >in.wts; }

@test "a line per frame: number, offset, type, name, dtype, shape, bytes, hash" {
    run -0 woq-ls in.wts
    [ "${#lines[@]}" = 6 ]
    read -r seq off type name dtype shape bytes hash <<<"${lines[1]}"
    [ "$seq $type $name $dtype $shape $bytes" = "2 TENS m f16 2x3 12" ]
    [ ${#hash} = 16 ]
    [ "$(dd if=in.wts bs=1 skip="$off" count=12 2>/dev/null | tail -c 4)" = TENS ]
    [[ ${lines[3]} == *"hess w "*"f32  4 16 "* ]]
    [[ ${lines[4]} == *"BLKB - "*"-    - 0 "* ]]
}
@test "the same from a pipe, a redirect and a file" {
    woq-ls in.wts >a
    woq-ls <in.wts >b
    cat in.wts | woq-ls >c
    cmp a b
    cmp a c
}
@test "--json has all arrays and the meta; --match" {
    run -0 woq-ls --json -m w in.wts
    [ "${#lines[@]}" = 2 ]
    [[ ${lines[0]} == '{"seq":1,"offset":'*'"type":"TENS","bytes":16,"hash":"'*'"meta":{"name":"w"},"arrays":[{"name":"data","dtype":"f32","shape":[4],"bytes":16}]}' ]]
    [[ ${lines[1]} == *'"describes":true,"meta":{"of":"w"}'* ]]
}
@test "--index writes names and offsets where frames begin" {
    woq-ls --index ix in.wts >out
    [ "$(cut -f1 ix | tr '\n' ' ')" = "w m x w " ]
    while IFS=$'\t' read -r name off; do
        [ "$(tail -c +$((off + 2)) in.wts | head -c 3)" = WOQ ]
    done <ix
    run -1 woq-ls --index /nosuch/ix in.wts
    [[ $output == *"can't write '/nosuch/ix'"* ]]
}
@test "payloads are not read unless --verify" {
    size=$(stat -c %s in.wts)
    off=$(woq-ls -m m in.wts | awk '{ print $2 }')
    cp in.wts bad.wts
    # the payload lies behind the header and 128 bytes of meta
    printf X | dd of=bad.wts bs=1 seek=$((off + 64 + 128)) conv=notrunc 2>/dev/null
    run -0 woq-ls bad.wts
    run -1 woq-ls --verify bad.wts
    [[ $output == *"woq-ls: bad.wts: frame 2 TENS 'm', byte $off: body is corrupt"* ]]
    [ "$size" = "$(stat -c %s bad.wts)" ]
}
@test "errors: a file that is none, not a stream, too many operands" {
    run -1 woq-ls nosuch.wts
    [[ $output == *"can't open 'nosuch.wts': No such file"* ]]
    echo hello >text
    run -1 woq-ls text
    run -2 woq-ls a b
    run -2 woq-ls --nosuch
    head -c 300 in.wts >cut.wts
    run -3 woq-ls cut.wts
    [[ $output == *truncated* ]]
}
