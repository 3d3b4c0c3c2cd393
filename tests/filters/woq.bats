#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers

setup() {
    woq-gen --llama hidden=128,inter=192,layers=2,heads=4,kv=2,vocab=512,ctx=256,dtype=f32 |
        woq-pack --format safetensors --dtype f32 --out m
}
quantized() { woq quantize m out --bits 4 --group-size 32 --asym --format gptq --quiet "$@"; }

@test "quantize is the pipeline that it prints" {
    quantized
    mv out first
    line=$(woq quantize m out --bits 4 --group-size 32 --asym --format gptq --quiet --dry-run | head -n 1)
    [[ $line == 'woq-extract --quiet m | woq-rtn '*' | woq-pack '* ]]
    [ ! -e out ]
    bash -c "set -o pipefail; $line"
    diff -r first out
}
@test "--dry-run foretells the size within 2 percent" {
    for options in '--bits 4 --asym --format gptq' '--bits 3 --sym --format gptq' '--format awq' \
        '--bits 5 --format gptq' '--format inc' '--dtype nf4 --format inc --checkpoint-format default' \
        '--bits 3 --format autoround' '--asym --format compressed-tensors' '--sym --format compressed-tensors' \
        '--bits 8 --format compressed-tensors --checkpoint-format int-quantized' \
        '--dtype nvfp4 --format compressed-tensors' '--dtype mxfp8 --format compressed-tensors' \
        '--dtype fp8_e4m3 --format compressed-tensors' '--dtype nf4 --format bnb' '--bits 8 --group-size -1 --format bnb' \
        '--dtype fp4 --double-quant --double-quant-dtype dynamic --format bnb' '--bits 3 --asym --format hqq' \
        '--asym --group-dim 0 --group-size -1 --format hqq' \
        '--dtype fp8_e4m3 --group-rows 16 --group-size 48 --format fp8' '--bits 8 --sym --format gguf' \
        '--dtype mxfp4 --format gguf --embed-type q8_0' '--format safetensors'; do
        # shellcheck disable=SC2086
        woq quantize m out $options --dry-run >report
        want=$(sed -n 's/^output *\([0-9]*\) bytes.*/\1/p' report)
        # shellcheck disable=SC2086
        woq quantize m out $options --quiet
        got=$(woq-extract --list out | awk '{ n += $4 } END { print n }')
        echo "$options: $want foretold, $got found"
        awk -v a="$want" -v b="$got" 'BEGIN { d = a / b - 1; exit !(d < 0.02 && d > -0.02) }'
        rm -r out
    done
}
@test "a rule gives some tensors another scheme" {
    quantized --rule '*.down_proj.* bits=8' --rule '*.layers.1.self_attn.* bits=8'
    woq-extract out | woq-ls --json >ls.json
    grep -c '"bits":8' ls.json
    [ "$(grep -o '"bits":8' ls.json | wc -l)" -eq 6 ]
    [ "$(grep -o '"bits":4' ls.json | wc -l)" -eq 8 ]
    run -0 woq quantize m out --rule "*.down_proj.* bits=8" --dry-run
    [[ ${lines[0]} == *"woq-scheme --set '*.down_proj.* bits=8' | woq-rtn"* ]]
}
@test "an option goes to every stage that has it" {
    run -0 woq quantize m out --threads 3 --dry-run
    [ "$(grep -o -e '--threads 3' <<<"${lines[0]}" | wc -l)" -eq 3 ]
}
@test "odd names need no quoting" {
    mv m "m o'd\$el"
    woq quantize "m o'd\$el" 'o u t' --format gptq --quiet
    [ -e 'o u t/config.json' ]
    line=$(woq quantize "m o'd\$el" 'o u t' --format gptq --dry-run | head -n 1)
    rm -r 'o u t'
    bash -c "set -o pipefail; $line"
    [ -e 'o u t/config.json' ]
}
@test "eval is extract into woq-eval" {
    quantized
    echo '[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18]' >ids.json
    run -0 --separate-stderr woq eval out --tokens ids.json --ctx 16 --json --quiet
    [[ $output == *'"perplexity"'* ]]
    one=$output
    run -0 --separate-stderr bash -c 'woq-extract out | woq-eval --tokens ids.json --ctx 16 --json --quiet'
    [ "$(grep -o '"perplexity":[^,]*' <<<"$one")" = "$(grep -o '"perplexity":[^,]*' <<<"$output")" ]
}
@test "the culprit is named, its status is ours, nothing is left" {
    run -1 --separate-stderr woq quantize no-such-model out --format gptq
    [[ $stderr == *'woq-extract: '*no-such-model* ]]
    [[ $stderr == *'woq quantize: woq-extract failed with status 1'* ]]
    [ ! -e out ]
    truncate -s -1000 m/model.safetensors
    run -3 woq quantize m out --format gptq
    [ ! -e out ]
}
@test "wrong usage is found before anything runs" {
    run -2 --separate-stderr woq quantize m out --bits 99
    [[ $stderr == 'woq quantize: --bits 99: want '* ]]
    run -2 --separate-stderr woq quantize m out --method nosuch
    [[ $stderr == *'--method nosuch: there is no program'* ]]
    run -2 --separate-stderr woq quantize m out --bit 4
    [[ $stderr == *'did you mean --bits'* ]]
    run -2 woq quantize m
    run -2 woq quantize m out more
    run -2 woq
    run -2 woq nosuchtask
    [ ! -e out ]
}
@test "help names tasks and filters, and the options of the stages" {
    run -0 woq help
    [[ $output == *'woq quantize'* && $output == *woq-extract* && $output == *woq-pack* ]]
    run -0 woq quantize --help
    [[ $output == *--bits* && $output == *--format* && $output == *--method* && $output != *--percdamp* ]]
    run -0 woq ls --version
    [[ $output == 'woq-ls '* ]]
    run -0 woq --version
}

# A model with a tokenizer, a text, and how GPTQ is asked for.
calibrated() {
    rm -r m
    woq-gen --llama hidden=64,inter=96,layers=2,heads=4,kv=2,vocab=1000 |
        woq-pack --quiet --format safetensors --dtype f32 --out m
    cp "$GOLDEN/tokenizers/gpt2/tokenizer.json" m/
    head -c 6000 "$REPO/pipelines/data/alice.txt" >"b o'ok.txt"
}
SAMPLES=(--samples 4 --seqlen 32 --seed 3)
LAYERS=(--bits 3 --group-size 16 --asym --act-order --static-groups --percdamp 0.02)
gptq() { woq quantize m out --method gptq --format gptq --quiet "${LAYERS[@]}" "$@"; }

@test "gptq: quantize is the pipeline that it prints, whatever the names" {
    calibrated
    gptq --text "b o'ok.txt" "${SAMPLES[@]}" --inputs float
    mv out first
    gptq --text "b o'ok.txt" "${SAMPLES[@]}" --inputs float --dry-run >report
    [ ! -e out ]
    line=$(head -n 1 report)
    echo "$line"
    [[ $line == 'woq-extract --quiet m | woq-calib '*" --through 'woq-hessian "*' | woq-gptq '*"' | woq-pack "* ]]
    bash -c "set -o pipefail; $line"
    diff -r first out
    rm -r out
    # as a person would write it
    woq-extract m | woq-calib --text "b o'ok.txt" "${SAMPLES[@]}" --inputs float \
        --through "woq-hessian | woq-gptq ${LAYERS[*]}" | woq-pack --quiet --format gptq --out out
    diff -r first out
}
@test "gptq: samples as a stream, rules, bf16 activations, a state that is resumed" {
    calibrated
    woq-tokens --quiet --model m --text "b o'ok.txt" --samples 4 --seqlen 32 --seed 3 >t.wts
    gptq --text "b o'ok.txt" "${SAMPLES[@]}"
    mv out first
    gptq --tokens t.wts
    diff -r first out
    rm -r out
    gptq --tokens t.wts --acts-dtype bf16 --state st --rule '*.down_proj.* bits=8'
    [ -e st.1.wts ]
    [ "$(woq-extract out | woq-ls --json | grep -o '"bits":8' | wc -l)" -eq 2 ]
    mv out second
    gptq --tokens t.wts --acts-dtype bf16 --state st --rule '*.down_proj.* bits=8'
    diff -r second out
    run ! cmp -s first/model.safetensors out/model.safetensors
}
@test "--on runs the quantizer elsewhere, with the same bytes" {
    calibrated
    printf '#!/bin/sh\nshift\necho there >>log\nexec sh -c "$*"\n' >ssh
    chmod +x ssh
    gptq --text "b o'ok.txt" "${SAMPLES[@]}"
    mv out first
    gptq --text "b o'ok.txt" "${SAMPLES[@]}" --on './ssh a-host'
    diff -r first out
    [ "$(cat log)" = there ]
    rm -r out first
    woq quantize m first --format gptq --quiet --match '*.q_proj.*'
    woq quantize m out --format gptq --quiet --match '*.q_proj.*' --on './ssh a-host'
    diff -r first out
    [ "$(grep -c there log)" -eq 2 ]
    run -0 woq quantize m x --format gptq --bits 3 --on 'ssh h' --dry-run
    [[ ${lines[0]} == "woq-extract m | ssh h 'woq-rtn --bits 3' | woq-pack --format gptq --out x" ]]
    run -2 --separate-stderr woq quantize m x --format gptq --on ' '
    [[ $stderr == *"' ': want a command"* ]]
    [ ! -e x ]
}
@test "gptq: --dry-run foretells the memory of every stage" {
    calibrated
    woq-tokens --quiet --model m --text "b o'ok.txt" --samples 4 --seqlen 32 >t.wts
    gptq --text "b o'ok.txt" --samples 4 --seqlen 32 --dry-run >report
    cat report
    grep -E '^memory +woq-calib +at most [0-9]+ MB: 128 tokens x 64 x 4 B \+ two blocks \+ 200 MiB$' report
    [ "$(grep -c '^memory ' report)" -eq 5 ]
    gptq --tokens t.wts --dry-run | grep ': 128 tokens x 64'
    gptq --tokens fd:7 --dry-run 7<t.wts | grep 'woq-calib .* 256 B for each token'
    gptq --text "b o'ok.txt" --dry-run | grep ': 65536 tokens x 64' # the defaults of woq-calib
    [ ! -e out ]
    export WOQ_STATS=$PWD/stats
    gptq --tokens t.wts --refit 1
    while read -r _ stage _ _ mb _; do
        used=$(sed -n "s/.*\"program\":\"$stage\".*\"peak_bytes\":\([0-9]*\).*/\1/p" stats)
        echo "$stage: $used bytes, at most $mb MB"
        # shadow memory of a sanitizer is not the program's
        [[ $WOQ_BUILD == *address* ]] || [ "$used" -le $((mb * 1000000)) ]
    done < <(grep '^memory ' report)
}
@test "gptq: what is missing or wrong is named before anything runs" {
    calibrated
    run -2 --separate-stderr gptq
    [[ $stderr == 'woq quantize: --method gptq is calibrated: want --text FILE, --chat FILE or --tokens SPEC'* ]]
    run -2 --separate-stderr gptq --text "b o'ok.txt" --block-size 0
    [[ $stderr == *'--block-size 0: want '* ]]
    run -2 --separate-stderr gptq --text "b o'ok.txt" --emit hess
    [[ $stderr == *'unknown option --emit'* ]]
    run -2 --separate-stderr gptq --text "b o'ok.txt" --through cat
    [[ $stderr == *'unknown option --through'* ]]
    run -2 --separate-stderr woq quantize m out --text book.txt
    [[ $stderr == *'unknown option --text'* ]]
    run -2 --separate-stderr woq quantize m out --method pack
    [[ $stderr == *"--method pack: 'woq-pack' is no quantizer"* ]]
    [ ! -e out ]
}
@test "gptq: a stage that fails inside the command is told of once, nothing is left" {
    calibrated
    run -1 --separate-stderr timeout 120 woq quantize m out --method gptq --format gptq --text "b o'ok.txt" \
        "${SAMPLES[@]}" --sym --asym
    echo "$stderr"
    [ "$(grep -c -e '--sym and --asym exclude each other' <<<"$stderr")" -eq 1 ]
    # where it is noticed, at the first frame or later, is a matter of time
    [ "$(grep -c "^woq-calib: .*'woq-hessian | woq-gptq --sym --asym' ended with status 2" <<<"$stderr")" -eq 1 ]
    [[ $stderr == *'woq quantize: woq-calib failed with status 1' ]]
    [[ $stderr != *woq-pack* ]]
    run -1 --separate-stderr timeout 120 woq quantize m out --method gptq --format gptq --text "b o'ok.txt" \
        "${SAMPLES[@]}" --on false
    echo "$stderr"
    [[ $stderr == *'ended with status 1 '*'woq quantize: woq-calib failed with status 1' ]]
    [ -z "$(find . -name 'out*')" ]
}
@test "a stage whose reader has gone ends while it waits for input" {
    # woq-hessian passed a unit on and waits for the next: only the end of the program behind it can wake it
    calibrated
    printf '#!/bin/sh\nsleep 1\nkill -9 $$\n' >dies
    chmod +x dies
    run -1 --separate-stderr timeout 120 woq-calib --quiet --text "b o'ok.txt" --samples 2 --seqlen 16 \
        --through 'woq-hessian | ./dies' <(woq-extract m)
    echo "$stderr"
    [[ $stderr == *'before its work was done'* ]]
}
@test "gptq: --help shows the options of all stages, and none that the task sets" {
    run -0 woq quantize --method gptq --help
    for option in method rule on dry-run text tokens samples seqlen seed inputs state acts-dtype bits group-size sym \
        asym act-order static-groups gar block-size percdamp search format force; do
        grep -E -e "--$option( |\$)" <<<"$output"
    done
    for option in through emit token0 merge keep-hess fallback out set; do
        run ! grep -E -e "^ .*--$option( |\$)" <<<"$output"
    done
}
@test "gptq: codes go into GGUF as they were chosen" {
    calibrated
    for grid in sym asym; do
        for to in "gguf $grid.gguf" "gptq $grid"; do
            # shellcheck disable=SC2086
            woq quantize m ${to#* } --method gptq --format ${to% *} --text "b o'ok.txt" "${SAMPLES[@]}" --quiet \
                --bits 4 --group-size 32 --$grid --act-order --static-groups --scale-dtype f16
        done
        woq-extract $grid | woq-dequant >$grid.wts
    done
    # Q4_0 is the grid itself; Q4_1 keeps a minimum of 16 bits in place of the zero point.
    woq-extract sym.gguf | woq-dequant | woq-diff --tol 0 sym.wts -
    woq-extract asym.gguf | woq-dequant | woq-diff --tol 0.0005 asym.wts -
    [ "$(woq-extract --list sym.gguf | grep -c ' Q4_0 ')" -eq 14 ]
    [ "$(woq-extract --list asym.gguf | grep -c ' Q4_1 ')" -eq 14 ]
}
@test "gptq: the float path as target, and a refit" {
    calibrated
    gptq --text "b o'ok.txt" "${SAMPLES[@]}"
    mv out first
    gptq --text "b o'ok.txt" "${SAMPLES[@]}" --targets both --refit 2
    run ! cmp -s first/model.safetensors out/model.safetensors
    gptq --text "b o'ok.txt" "${SAMPLES[@]}" --targets both --dry-run | grep ': 128 tokens x 64 x 8 B'
}
@test "info: sizes, true bits, what can be quantized, memory" {
    run -0 woq info "$GOLDEN/tiny-llama/hf"
    [[ ${lines[0]} == 'format        safetensors, 21 tensors, 1 file' ]]
    [[ ${lines[1]} == 'architecture  llama: 2 blocks, hidden 32, inter 64, heads 4/2, vocab 96, context 64' ]]
    [[ ${lines[2]} == 'size '*', 32.000 bits per weight' ]]
    [[ $output == *'quantizable   14 tensors, 74.5 % of the weights'* ]]
    [[ $output == *'4 bits '*'8.135 bits per weight (GPTQ, group 128)'* ]]
    [[ $output =~ 'woq-calib    at most '[0-9]+' MB + 128 B for each token of calibration' ]]
    [[ $output == *'fold          attn.norm into the input of attn.q, attn.k, attn.v'* ]]
    [[ $output == *'fold          mlp.up into the input of mlp.down'* ]]
    [[ $output == *'rotation      of the stream yes'* && $output == *'rotation      of the values yes'* ]]
    run -0 woq info --json "$GOLDEN/tiny-llama/sharded"
    [[ $output == *'"rotations":{"stream":'*'"values":null}}' ]]
    [[ $output == '{"format":"safetensors","files":2,"architecture":{"name":"llama","blocks":2,'* ]]
    [[ $output == *'"types":{"BF16":{"tensors":28,"weights":21856,"bytes":43712}}'* ]]
    run -0 woq info "$GOLDEN/torch/gptq"
    [[ $output == *'0.0 % of the weights; 7 are quantized already'* && $output != *'as GPTQ'* && $output != *'4 bits'* ]]
    run -0 woq info "$GOLDEN/tiny-llama/tiny.gguf"
    [[ $output == *'  Q4_1 '* ]]
}
@test "info: what it predicts is what comes out" {
    woq-gen --llama hidden=128,inter=256,layers=2,heads=4,kv=2,vocab=64 | woq-pack --quiet --format safetensors --dtype f16 -o mm
    predicted=$(woq info --json mm | sed -n 's/.*{"bits":4,"group_size":128,"bytes":\([0-9]*\),.*/\1/p')
    got=$(woq-extract mm | woq-rtn --quiet --bits 4 --group-size 128 | woq-pack --quiet --json --format gptq -o q |
        sed -n 's/.*"tensor_bytes":\([0-9]*\).*/\1/p')
    [ "$predicted" = "$got" ]
}
@test "info: errors" {
    run -2 woq info
    [[ $output == *'want MODEL'* ]]
    run -1 woq info nosuch
    [[ $output == *"can't open 'nosuch'"* ]]
    run -0 woq info --help
    [[ $output == 'usage: woq info [OPTIONS] MODEL'* ]]
    run -2 woq info --bits 4 x
}
