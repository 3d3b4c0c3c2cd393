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
    for options in '--bits 4 --asym --format gptq' '--bits 3 --sym --format gptq' \
        '--bits 8 --sym --format gguf'; do
        # shellcheck disable=SC2086
        woq quantize m out $options --group-size 32 --dry-run >report
        want=$(sed -n 's/^output *\([0-9]*\) bytes.*/\1/p' report)
        # shellcheck disable=SC2086
        woq quantize m out $options --group-size 32 --quiet
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
    [[ $output == *--bits* && $output == *--format* && $output == *--method* ]]
    run -0 woq ls --version
    [[ $output == 'woq-ls '* ]]
    run -0 woq --version
}
