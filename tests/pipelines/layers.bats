#!/usr/bin/env bats
# layers.mk: the loop through files gives the bytes of the loop in one line, wherever it is stopped.
bats_require_minimum_version 1.5.0
load ../helpers

GPTQ='woq-gptq --bits 3 --group-size 16 --asym'
SAMPLES='--text text --samples 3 --seqlen 32'

setup() {
    woq-gen --llama hidden=64,inter=96,layers=3,heads=4,kv=2,vocab=1000,dtype=f32 |
        woq-pack --format safetensors --dtype f32 --out m
    cp "$GOLDEN/tokenizers/gpt2/tokenizer.json" m/
    head -c 6000 "$REPO/pipelines/data/alice.txt" >text
}
layers() { # VARIABLE=VALUE...
    make -s -f "$REPO/pipelines/layers.mk" M=m OUT=out TEXT=text SAMPLES=3 SEQLEN=32 QUANT="$GPTQ" "$@"
}
one_line() { # OPTION...: into `want`
    # shellcheck disable=SC2086
    woq-extract m | woq-calib $SAMPLES --emit hess --through "$GPTQ" "$@" | woq-pack --format gptq --out want
}

@test "group by group: the closed loop in one line" {
    one_line
    layers
    diff -r want out
    [ ! -e out.layers ]
}
@test "in parts of several blocks, with more options, files kept until the end" {
    one_line --acts-dtype bf16
    layers PARTS=2 CALIB='--acts-dtype bf16' KEEP=yes PACK='--format no' || true
    [ "$(cd out.layers && echo acts.* q.*)" = 'acts.0 acts.1 acts.2 q.1 q.2' ]
    layers PARTS=2 CALIB='--acts-dtype bf16'
    diff -r want out
}
@test "open loop: blocks side by side" {
    one_line --inputs float
    layers -j3 INPUTS=float RUN_2='env WOQ_ISA=ref'
    diff -r want out
}
@test "block by block: each block on the inputs that the quantized blocks before it give" {
    layers UNIT=block
    # The same, one whole model per block: the blocks before it dequantized, its Hessians from the open loop.
    woq-extract m | woq-part --into p
    for k in 1 2 3; do
        # shellcheck disable=SC2086
        woq-join p/{1,2,3}.wts | woq-calib $SAMPLES --emit hess | woq-part --take $k | $GPTQ >$k.q
        woq-dequant $k.q >p/$k.wts
    done
    woq-join {1,2,3}.q | woq-pack --format gptq --out want
    diff -r want out
    rm -r want
    one_line
    run ! diff -rq want out
}
@test "killed anywhere, as often as it takes: the same bytes" {
    for mode in UNIT=group UNIT=block INPUTS=float; do
        layers $mode
        mv out want
        for try in 1 2 3; do
            setsid make -s -j2 -f "$REPO/pipelines/layers.mk" M=m OUT=out TEXT=text SAMPLES=3 SEQLEN=32 QUANT="$GPTQ" \
                $mode >log 2>&1 3>&- &
            sleep "0.$((try * 13 + RANDOM % 30))"
            kill -9 -- -$! 2>/dev/null || true
            wait $! || true
            [ ! -e out ] || diff -r want out
        done
        layers $mode
        diff -r want out
        [ ! -e out.layers ]
        rm -r want out
    done
}
@test "killed when the model is there: the next run clears up" {
    layers
    mv out want
    for left in out.layers out.layers.old; do
        layers
        mkdir $left
        touch -r want $left/q.1
        layers
        diff -r want out
        [ ! -e $left ]
        rm -r out
    done
}
@test "a quantizer that fails stops at its block; the next run begins there" {
    for mode in UNIT=group UNIT=block INPUTS=float; do
        layers $mode
        mv out want
        run ! layers $mode RUN_2='false #'
        [ -s out.layers/q.1 ] && [ ! -e out.layers/q.2 ] && [ ! -e out ]
        before=$(stat -c %y out.layers/q.1)
        run ! layers $mode RUN_3='false #'
        [ "$(stat -c %y out.layers/q.1)" = "$before" ]
        layers $mode
        diff -r want out
        rm -r want out
    done
}
@test "what does not fit is refused" {
    run ! layers RUN_2='false #'
    for other in UNIT=block INPUTS=float SAMPLES=4 QUANT='woq-gptq --bits 2' CALIB='--acts-dtype bf16'; do
        run ! layers "$other"
        [[ $output == *"'out.layers' is of another run: "*"remove it, or use the same options"* ]]
    done
    run ! layers UNIT=layer WORK=w
    [[ $output == *"UNIT=layer INPUTS=quantized: want group or block, quantized or float"* ]]
    rm out.layers/acts.1
    run ! layers
    [[ $output == *"'out.layers/acts.1' is gone: begin anew, after rm -r out.layers"* ]]
    run ! make -s -f "$REPO/pipelines/layers.mk" M=m TEXT=text
    [[ $output == *'OUT=FOLDER is missing'* ]]
    # A newer model is another model.
    touch m
    layers
    one_line
    diff -r want out
}
