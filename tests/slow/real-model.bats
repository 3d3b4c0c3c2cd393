#!/usr/bin/env bats
# The main job on the real model: same bytes wherever and however it runs.
bats_require_minimum_version 1.5.0
load ../helpers
load sshd

QUANT='woq-rtn --bits 4 --group-size 64 --asym'

setup_file() {
    need_model
    cd "$BATS_FILE_TMPDIR"
    bash -c "set -o pipefail; woq-extract \"\$M\" | $QUANT | woq-pack --format gptq --out base"
}
setup() {
    need_model
    BASE=$BATS_FILE_TMPDIR/base
}
pipeline() { # OUT [VARIABLE=VALUE...]: the pipeline again, with an environment
    local out=$1
    shift
    env "$@" bash -c "set -o pipefail; woq-extract \"\$M\" | $QUANT | woq-pack --format gptq --out $out"
}
same() { diff -r "$BASE" "$1" && rm -r "$1"; }

teardown() { stop_all_sshd; }

@test "the model answers as transformers lets it, and with 4 bits" {
    # transformers 4.57.6: generate(do_sample=False) behind apply_chat_template(add_generation_prompt=True)
    want='The answer to this question lies in the intricate dance of light and color. The sky appears blue because of a'
    run -0 --separate-stderr woq eval "$M" --generate 64 --ask 'Why is the sky blue?'
    [[ $output == "$want phenomenon known as Rayleigh scattering. "*' appears to be the most scattered.' ]]
    run -0 --separate-stderr woq eval "$BASE" --generate 64 --ask 'What is the capital of France?'
    [[ $output == *Paris* && $output != *'<|im'* ]]
}
@test "the quantizer behind ssh gives the same bytes" {
    start_sshd localhost
    bash -c 'set -o pipefail
        woq-extract "$M" |
        ssh -F "$SSH/config" localhost woq-rtn --bits 4 --group-size 64 --asym |
        woq-pack --format gptq --out remote'
    same remote
}
@test "a quantizer that dies behind ssh leaves no checkpoint" {
    start_sshd localhost
    run ! bash -c 'set -o pipefail
        woq-extract "$M" | ssh -F "$SSH/config" localhost "head -c 5000000; kill -9 \$\$" |
        woq-pack --format gptq --out remote 2>pack.err'
    grep -q 'woq-pack: <stdin>: frame' pack.err
    [ ! -e remote ]
}
@test "one thread gives the same bytes" {
    pipeline out WOQ_THREADS=1
    same out
}
@test "the reference kernels give the same bytes" {
    pipeline out WOQ_ISA=ref
    same out
}
@test "AVX2 gives the same bytes" {
    grep -q avx2 /proc/cpuinfo || skip 'no AVX2 here'
    pipeline out WOQ_ISA=avx2
    same out
}
@test "woq quantize gives the same bytes" {
    woq quantize "$M" out --bits 4 --group-size 64 --asym --format gptq
    same out
}
@test "every stage stays within twice the largest tensor and 64 MiB" {
    WOQ_STATS=$PWD/stats pipeline out
    largest=$((49152 * 576 * 4))
    sed 's/.*"program":"\([^"]*\)".*"peak_bytes":\([0-9]*\).*/\1 \2/' stats >peaks
    [ "$(wc -l <peaks)" -eq 3 ]
    while read -r program bytes; do
        echo "$program $bytes"
        [ "$bytes" -le $((2 * largest + (64 << 20))) ]
    done <peaks
}
@test "woq-calib stays within its activations, two blocks and 200 MiB" {
    bound=$((32 * 512 * 576 * 4 + 2 * 4 * (576 * 960 + 576 * 576 + 3 * 576 * 1536 + 2 * 576) + (200 << 20)))
    woq-extract --no-history "$M" | woq-head --no-history --blocks 3 >three.wts
    for how in '--through=cat' '--emit=hess' '--emit=acts'; do
        rm -f stats
        WOQ_STATS=$PWD/stats woq-calib --no-history --quiet --samples 32 --seqlen 512 \
            --text "$REPO/pipelines/data/alice.txt" "$how" three.wts >out.wts
        [ "$how" != --through=cat ] || cmp three.wts out.wts
        bytes=$(sed -n 's/.*"woq-calib".*"peak_bytes":\([0-9]*\).*/\1/p' stats)
        echo "$how: $bytes of $bound"
        [ "$bytes" -le "$bound" ]
    done
}
@test "perplexity is that of a model that works" {
    text=$REPO/pipelines/data/alice.txt
    woq-extract "$M" | woq-eval --text "$text" --ppl gptq --ctx 512 --json >float.json
    woq-extract "$BASE" | woq-eval --text "$text" --ppl gptq --ctx 512 --json >quant.json
    cat float.json quant.json
    awk -v f="$(perplexity float.json)" -v q="$(perplexity quant.json)" \
        'BEGIN { exit !(f > 1 && f < 40 && q > 0.95 * f && q < 1.5 * f) }'
}
perplexity() { sed -n 's/.*"perplexity":[[:space:]]*\([-+.0-9eE]*\).*/\1/p' "$1"; }
