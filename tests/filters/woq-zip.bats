#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen BLKB:0 'w:f32[40,50]:ramp' 'r:u8[3000]:rand=1' '@QTEN{"name":"q"};codes:u8[9,90]:ramp;scale:f32[9,1]:fill=1' x:raw:ab BLKE:0 >in.wts; }

@test "round trip is the identity at every level" {
    for level in 1 3 19; do
        woq-zip --no-history --level $level in.wts >z.wts
        [ "$(stat -c %s z.wts)" -lt "$(stat -c %s in.wts)" ]
        woq-zip --no-history -d z.wts | cmp - in.wts
    done
}
@test "readers take compressed frames; what does not change stays compressed" {
    woq-zip --no-history in.wts >z.wts
    cmp <(woq-cat in.wts) <(woq-cat z.wts)
    woq-head --no-history -n 99 z.wts | cmp - z.wts
    woq-cast --no-history --to f16 z.wts >c.wts
    run -0 woq-ls --json c.wts
    [[ ${lines[1]} != *zstd* && ${lines[3]} == *'"enc":"zstd"'* ]]
    cmp <(woq-cast --no-history --to f16 in.wts | woq-cat) <(woq-cat c.wts)
}
@test "a payload that does not shrink stays plain; twice is once" {
    woq-zip --no-history in.wts >z.wts
    run -0 woq-ls --json -m r z.wts
    [[ $output != *zstd* && $output == *'"bytes":3000,'* ]]
    woq-zip --no-history z.wts | cmp - z.wts
}
@test "the same bytes for any number of threads" {
    woq-gen 'w:f32[1000,3000]:ramp' >big.wts
    woq-zip --threads 1 big.wts >1
    woq-zip --threads 4 big.wts >4
    cmp 1 4
}
@test "a flipped bit in a compressed payload is found; usage" {
    woq-zip in.wts >z.wts
    off=$(woq-ls z.wts | awk '$4 == "w" { print $2 }')
    printf '\377' | dd of=z.wts bs=1 seek=$((off + 64 + 128 + 20)) conv=notrunc 2>/dev/null
    run -1 woq-cat z.wts
    [[ $output == *"body is corrupt"* ]]
    run -2 woq-zip --level 0 in.wts
    run -2 woq-zip --level 20 in.wts
}
