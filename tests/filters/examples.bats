#!/usr/bin/env bats
# The examples of the filters' manual pages run as they are printed.
bats_require_minimum_version 1.5.0
load ../helpers
setup() {
    woq-gen --llama hidden=64,inter=64,layers=2,heads=4,vocab=20 >model.wts
    mkdir fake
    # ssh HOST COMMAND..., without a host
    printf '#!/bin/sh\nshift\nexec sh -c "$*"\n' >fake/ssh
    chmod +x fake/ssh
    PATH=$PWD/fake:$PATH
}

# examples PAGE: the commands of its EXAMPLES, as one script
examples() {
    awk '/^\.Sh EXAMPLES/ { on = 1; next } /^\.Sh/ { on = 0 }
        on && /^\.Bd/ { lit = 1; next } on && /^\.Ed/ { lit = 0; next }
        on && lit { print; next }
        on && sub(/^\.Dl /, "") { print }' "$REPO/man/$1.1.in" | sed 's/\\e/\\/g; s/\\&//g'
}
runs() {
    examples "$1" >script
    [ -s script ]
    run --separate-stderr bash -e -o pipefail script
    echo "status $status: $stderr" # shown when it fails
    [ "$status" -eq 0 ]
}

@test "woq-gen" { runs woq-gen && woq-fsck block.wts && woq-fsck tiny.wts; }
@test "woq-ls" { runs woq-ls && [[ $output == *'W   O   Q'* ]]; }
@test "woq-cat" { runs woq-cat && [[ $output == *'w f32 1 2 3'*'min='*num_hidden_layers* ]]; }
@test "woq-diff" { runs woq-diff && [[ $output == *same*close* ]]; }
@test "woq-fsck" { runs woq-fsck && [[ $output == *'all right'*model.embed* ]]; }
@test "woq-head" { runs woq-head && woq-fsck one.wts; }
@test "woq-part" { runs woq-part && woq-fsck quantized.wts && [ "$(woq-ls quantized.wts | grep -c QTEN)" = 14 ]; }
@test "woq-join" { runs woq-join && cmp <(woq-cat --no-head model.wts) <(woq-cat --no-head whole.wts); }
@test "woq-zip" { runs woq-zip && woq-diff -q model.wts model.zip.wts; }
@test "woq-cast" { runs woq-cast && [[ $output == *norm*f32* ]]; }
# A model with a tokenizer, a text, and samples in parts.
calibrated() {
    woq-gen --llama hidden=64,inter=96,layers=2,heads=4,kv=2,vocab=715 |
        woq-pack -q --format safetensors --dtype f32 --out tiny
    cp "$GOLDEN/tokenizers/gpt2/tokenizer.json" tiny/
    echo '{% for m in messages %}{{ m.content }} {% endfor %}' >tiny/chat_template.jinja
    head -c 6000 "$REPO/pipelines/data/alice.txt" >book.txt
    for part in calib part1 part2; do
        woq-tokens -q --model tiny --text book.txt --samples 2 --seqlen 16 >$part.wts
    done
}
@test "woq-calib" { calibrated && runs woq-calib && woq-fsck hessians.wts && [ -e tiny-4bit/config.json ]; }
@test "woq-hessian" { calibrated && runs woq-hessian && woq-fsck all.wts && woq-ls --json ab.wts | grep -F '[[0,64]]'; }
@test "woq-stats" {
    calibrated
    woq-extract tiny/ | woq-calib --tokens calib.wts --emit stat | woq-pack -q -f imatrix -o tiny.imatrix
    runs woq-stats && [ "$(woq-ls tiny-im.wts | grep -c QTEN)" = 14 ] && [ "$(woq-ls tiny-3bit.wts | grep -c QTEN)" = 14 ]
}
@test "woq-gptq" { calibrated && runs woq-gptq && [ "$(woq-ls tiny-2.wts | grep -c QTEN)" = 14 ]; }
# What other pages take: a checkpoint as folder, GGUF and GPTQ, and texts.
checkpoints() {
    calibrated
    mv tiny model
    woq-extract model | woq-pack -q --format gguf --out model.gguf
    cp model.gguf m.gguf
    woq-extract model | woq-rtn -q --bits 4 --group-size 64 | woq-pack -q --format gptq --out out-gptq
    cp "$REPO/pipelines/data/alice.txt" calib.txt
    cp calib.txt wiki.test.raw
    echo '[1, 2, 3]' >ids.json
    printf '{"text": "one"}\n{"text": "two words"}\n' >data.jsonl
}
@test "woq-extract" { checkpoints && runs woq-extract && [ -e out/config.json ] && [[ $output == *model.embed_tokens.weight*norm*min=* ]]; }
@test "woq-pack" { checkpoints && rm -r out-gptq && runs woq-pack && [ -e out-gptq/config.json ] && [ -e out-float/config.json ]; }
@test "woq-rtn" { checkpoints && runs woq-rtn && [ -e out/config.json ] && [ "$(woq-ls model-3bit.wts | grep -c QTEN)" = 14 ]; }
@test "woq-scheme" { checkpoints && runs woq-scheme && woq-extract out | woq-ls | grep -c QTEN | grep -x 7; }
@test "woq-dequant" { checkpoints && runs woq-dequant && [ -e float/config.json ] && ! woq-ls float.wts | grep QTEN; }
@test "woq-eval" { checkpoints && runs woq-eval && [ -s logits.npy ] && [ "$(grep -c perplexity <<<"$output")" -ge 3 ] && [[ $output == *'Once upon a time'* ]]; }
@test "woq-tokens" { checkpoints && runs woq-tokens && woq-fsck calib.wts && [[ $output == *'['*']'*'[user] hello'*hello* ]] && woq-fsck talks.wts; }
@test "woq-info" { runs woq-info && [[ $output == *'"isa":"ref","runnable":true,"chosen":true'* ]]; }
@test "woq-stream(5): the bytes of the example" {
    awk '/^\.Sh EXAMPLES/ { on = 1 } on && /^\.Ed/ { exit } lit; on && /^\.Bd/ { lit = 1 }' \
        "$REPO/man/woq-stream.5" >want
    [ "$(wc -l <want)" -gt 20 ]
    woq-gen --no-history w:f32:1,2 | od -A x -t x1z -v | cmp - want
}
