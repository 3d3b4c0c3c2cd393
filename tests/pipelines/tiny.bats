#!/usr/bin/env bats
# A tiny random model through whole pipelines: every format, rules, parts, a stage that dies.
bats_require_minimum_version 1.5.0
load ../helpers

TINY=hidden=128,inter=192,layers=3,heads=4,kv=2,vocab=512,ctx=256,dtype=f32

setup() {
    woq-gen --llama $TINY >m.wts
    woq-pack --format safetensors --dtype f32 --out m <m.wts
}
logits() { # CHECKPOINT OUT.npy
    echo '[5,17,300,2,2,511,0,64,9,100,33,7,8,1,450,23]' >ids.json
    woq-extract "$1" | woq-eval --tokens ids.json --logits "$2" --quiet >/dev/null
}
near() { # STREAM STREAM: every tensor within 1e-3, relative to its largest value
    woq-diff --tol "${3:-1e-3}" "$1" "$2"
}

@test "float checkpoint and back: the same tensors, the same logits" {
    woq-extract m | woq-diff --tol 0 m.wts -
    woq-extract m | woq-pack --format safetensors --dtype f32 --out again
    cmp m/model.safetensors again/model.safetensors
    logits m one.npy
    logits again two.npy
    cmp one.npy two.npy
}
@test "GPTQ: 2, 3, 4 and 8 bits, symmetric and not, come back as they went" {
    for bits in 2 3 4 8; do
        for sym in --sym --asym; do
            woq-rtn --bits $bits --group-size 32 $sym <m.wts >q.wts
            woq-pack --format gptq --out q$bits <q.wts
            woq-dequant <q.wts >want.wts
            woq-extract q$bits | woq-dequant >got.wts
            echo "$bits $sym"
            near want.wts got.wts
            woq-extract q$bits | woq-pack --format gptq --out again
            diff -r q$bits again
            rm -r again q$bits
        done
    done
}
@test "GGUF: Q8_0, Q4_0 and Q4_1 come back as they went" {
    for scheme in '8 --sym' '4 --sym' '4 --asym'; do
        # shellcheck disable=SC2086
        woq-rtn --group-size 32 --bits $scheme <m.wts >q.wts
        woq-pack --format gguf --out q.gguf <q.wts
        woq-dequant <q.wts >want.wts
        woq-extract q.gguf | woq-dequant >got.wts
        echo "$scheme"
        near want.wts got.wts
        rm -r q.gguf
    done
}
@test "the packed model answers as the dequantized one" {
    woq-rtn --bits 4 --group-size 32 --asym <m.wts | woq-pack --format gptq --out q
    woq-extract q | woq-dequant | woq-pack --format safetensors --dtype f32 --out deq
    logits q one.npy
    logits deq two.npy
    cmp one.npy two.npy
}
@test "the same bytes for any number of threads and any kernels" {
    for env in WOQ_THREADS=1 WOQ_THREADS=5 WOQ_ISA=ref WOQ_ISA=avx2; do
        for options in '--bits 4 --group-size 32 --asym' '--bits 3 --group-size -1 --sym --search mse'; do
            # shellcheck disable=SC2086
            env $env bash -c "set -o pipefail; woq-extract m | woq-rtn $options | woq-pack --format gptq --out q"
            # shellcheck disable=SC2086
            bash -c "set -o pipefail; woq-extract m | woq-rtn $options | woq-pack --format gptq --out q0"
            diff -r q q0
            rm -r q q0
        done
    done
}
@test "a rule keeps some tensors at another width" {
    woq-scheme --set '*.down_proj.* bits=8' <m.wts | woq-rtn --bits 3 --group-size 32 --asym |
        woq-pack --format gptq --out q
    woq-extract q | woq-ls --json >ls.json
    [ "$(grep -o '"bits":8' ls.json | wc -l)" -eq 3 ]
    [ "$(grep -o '"bits":3' ls.json | wc -l)" -eq 18 ]
}
@test "compressed frames pass through every stage" {
    woq-extract m | woq-zip | woq-rtn --bits 4 --group-size 32 --asym | woq-zip |
        woq-pack --format gptq --out q
    woq-rtn --bits 4 --group-size 32 --asym <m.wts | woq-pack --format gptq --out q0
    diff -r q q0
}
@test "parts.mk: in parts, on two hosts, the same bytes" {
    woq-extract m | woq-rtn --bits 4 --group-size 64 --asym | woq-pack --format gptq --out q0
    make -s -f "$REPO/pipelines/parts.mk" -j2 M=m OUT=q PARTS=3 RUN_2='env WOQ_ISA=ref'
    diff -r q q0
    [ ! -e q.parts ]
}
@test "parts.mk: a part that fails leaves no checkpoint, the next run goes on" {
    run ! make -s -f "$REPO/pipelines/parts.mk" M=m OUT=q PARTS=2 RUN_2='false #'
    [ ! -e q ]
    [ -s q.parts/1.wts ]
    [ ! -e q.parts/2.wts ]
    make -s -f "$REPO/pipelines/parts.mk" M=m OUT=q PARTS=2
    [ -e q/config.json ]
}
@test "a middle stage that is killed: 137 in the middle, 3 after it, no checkpoint" {
    woq-gen --llama hidden=512,inter=1024,layers=4,heads=8,vocab=512,dtype=f32 |
        woq-pack --format safetensors --dtype f32 --out large
    cat >middle <<'END'
#!/usr/bin/env bash
# woq-rtn, killed when it has passed on some tensors.
(head -c 9000000; touch half; until [ -e dead ]; do sleep 0.02; done) | woq-rtn --bits 4 &
rtn=$!
until [ -e half ]; do sleep 0.02; done
kill -9 "$rtn"
touch dead
wait "$rtn"
END
    chmod +x middle
    run bash -c 'woq-extract large | ./middle | woq-pack --format gptq --out q; echo "${PIPESTATUS[@]}"'
    echo "$output"
    [[ ${lines[-1]} =~ ^(1|141)\ 137\ 3$ ]]
    [[ $output == *'woq-pack: <stdin>: frame '*truncated* ]]
    [ ! -e q ]
    run ! bash -c 'compgen -G "q*"'
}
@test "a stage that fails names itself at the end of the pipe" {
    run bash -c 'woq-gen w:f32:1,2 BLKB:0 | woq-rtn --bits 4 | woq-pack --format gptq --out q'
    [ "$status" -ne 0 ]
    [ ! -e q ]
    printf 'not a stream' >bad
    run -3 bash -c 'woq-rtn --bits 4 <bad | woq-pack --format gptq --out q'
    [[ $output == *'woq-rtn: '* && $output == *'woq-pack: '* ]]
    [ ! -e q ]
}
