#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers

@test "version, ISA table, BLAS and packages" {
    run -0 woq-info
    [[ ${lines[0]} == "woq "*", stream format 1."* ]]
    [[ $output == *"isa      ref "*"can run"* ]]
    [ "$(grep -c ', chosen' <<<"$output")" = 1 ]
    for p in zstd xxhash cjson pcre2 utf8proc; do grep -Eq "^package +$p +[0-9]+\.[0-9]" <<<"$output"; done
    grep -Eq '^blas +[A-Za-z]' <<<"$output"
}
@test "architectures, one line each" {
    run -0 woq-info
    [ "$(grep -c '^arch  ' <<<"$output")" -ge 41 ]
    grep -q '^arch     llama        LlamaForCausalLM, GGUF llama$' <<<"$output"
    grep -q '^arch     gpt2         GPT2LMHeadModel' <<<"$output"
    woq-info --json | grep -q '"model_type":"opt","class":"OPTForCausalLM"'
}
@test "WOQ_ISA caps the choice, WOQ_THREADS and --threads the threads" {
    WOQ_ISA=ref run -0 woq-info
    [[ $output == *"isa      ref      can run, chosen"* ]]
    WOQ_THREADS=3 run -0 woq-info
    [[ $output == *"threads  3"* ]]
    run -0 woq-info --threads 5
    [[ $output == *"threads  5"* ]]
}
@test "--json is one object" {
    run -0 woq-info --json
    [ "${#lines[@]}" = 1 ]
    python3 -c 'import json,sys; o=json.loads(sys.argv[1]); assert o["isa"][0]["isa"]=="ref" and o["blas"]["core"]' "$output"
}
@test "usage" {
    run -2 woq-info operand
}
