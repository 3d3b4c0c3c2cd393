#!/usr/bin/env bats
# What calibrated pipelines make of bad models, bad texts and bad commands: a message with the place, a status, no checkpoint;
# or a documented fallback, and a checkpoint that works.
bats_require_minimum_version 1.5.0
load ../helpers

GPTQ='woq-gptq --bits 3 --group-size 32 --asym'
UP=model.layers.0.mlp.up_proj.weight

setup() {
    woq-gen --no-history --llama hidden=64,inter=96,layers=2,heads=4,kv=2,vocab=96,dtype=f32,tie=1 |
        woq-pack --format safetensors --dtype f32 --out m
    samples 6 40 7
}
samples() { # SAMPLES LENGTH SEED: into t.wts; SEED 0 is the same token everywhere
    awk -v n="$1" -v len="$2" -v x="$3" 'BEGIN {
        for (i = 0; i < n; i++) {
            s = ""
            for (k = 0; k < len; k++) {
                x = x ? (x * 1103515245 + 12345) % 2147483648 : 0
                s = s (k ? "," : "") int(x / 65536) % 96
            }
            print "@TOKN{\"sample\":" i "};ids:u32:" s
        }
    }' | xargs -d '\n' woq-gen --no-history >t.wts
}
# poke TENSOR FIRST COUNT BYTES: COUNT values of a tensor of model m, from the FIRST on, become these four bytes
poke() {
    local file=m/model.safetensors header at
    header=$(od -A n -t u8 -N 8 $file)
    at=$(head -c $((header + 8)) $file | tail -c +9 | grep -ao "\"$1\":{[^}]*" | sed 's/.*data_offsets":\[\([0-9]*\),.*/\1/')
    for ((i = 0; i < $3; i++)); do printf '%b' "$4"; done |
        dd of=$file bs=4 conv=notrunc status=none seek=$(((header + 8 + at) / 4 + $2))
}
ONE='\x00\x00\x80\x3f' ZERO='\x00\x00\x00\x00' NAN='\xff\xff\xff\x7f' HUGE='\xe6\xb1\x61\x7f' # 3e38

loop() { # COMMAND [OPTION...]: the closed loop into q.wts
    woq-extract m | woq-calib --no-history --quiet --tokens t.wts "${@:2}" --through "$1" >q.wts
}
works() { # q.wts gives a checkpoint that is finite and answers
    woq-fsck --quiet q.wts
    run ! grep -E 'nan=[1-9]|inf=[1-9]' <(woq-dequant q.wts | woq-cat --stats)
    woq-pack --quiet --format gptq --out q q.wts
    awk 'BEGIN { for (k = 0; k < 65; k++) s = s (k ? "," : "") (k * 37) % 96; print "[" s "]" }' >ids.json
    woq-extract q | woq-eval --quiet --tokens ids.json --ctx 32 --json >p.json
    grep -qE '"perplexity":[0-9.]+' p.json
    rm -r q
}
row() { woq-dequant q.wts | woq-cat --no-head --match "$1" -n 0 | grep "^$1 f32 " | cut -d ' ' -f $((3 + $2))-$((2 + $2 + $3)); } # TENSOR FIRST COUNT
# fails TEXT COMMAND [OPTION...]: the whole pipeline fails, says TEXT, leaves no checkpoint
fails() {
    run -0 --separate-stderr timeout 60 bash -c 'woq-extract m | woq-calib --quiet --tokens t.wts "${@:2}" --through "$1" |
        woq-pack --format gptq --dtype bf16 --out q; echo "${PIPESTATUS[@]:1}"' - "${@:2}"
    echo "status $output: $stderr"
    [ "$output" = '1 3' ]
    [[ $stderr == *"$1"* ]]
    [[ $stderr == *'woq-pack: <stdin>: frame '*'woq-calib failed: '* ]]
    run ! compgen -G 'q*'
}

@test "groups of zeros, constant rows, a weight of zeros and its dead inputs" {
    poke $UP 0 32 "$ZERO"
    poke $UP 64 64 "$ONE"
    poke model.layers.1.mlp.gate_proj.weight 0 6144 "$ZERO"
    for scheme in --asym --sym; do
        loop "woq-hessian | woq-gptq --bits 3 --group-size 32 $scheme"
        works
        [ "$(row $UP 0 32 | tr ' ' '\n' | sort -u)" = 0 ]
        [ "$(row $UP 64 64 | tr ' ' '\n' | sort -u | wc -l)" -eq 1 ]
        woq-ls --json q.wts | grep -qF '"of":"model.layers.1.mlp.down_proj.weight","loss":0,"percdamp":0.01,"dead":96'
    done
    row $UP 64 1 | awk '{ exit !($1 > 0.8 && $1 < 1.2) }'
}
@test "fewer tokens than columns, and one token everywhere: a singular Hessian" {
    samples 1 4 7
    loop "woq-hessian | $GPTQ --act-order"
    works
    samples 2 30 0
    loop "woq-hessian | $GPTQ --act-order"
    works
    [ "$(woq-ls --json q.wts | grep -c '"type":"note".*"percdamp":')" -eq 14 ]
}
@test "activations that are not finite: which block, which group, first token and channel" {
    poke model.layers.1.input_layernorm.weight 0 64 "$HUGE"
    message="activation of block 1, group 'qkv' is inf at token 0, channel "
    fails "$message" "woq-hessian | $GPTQ"
    fails "$message" "$GPTQ" --emit hess
    fails "$message" "woq-hessian | $GPTQ" --inputs float
    fails 'block 1' cat --emit acts
    run -1 --separate-stderr bash -c 'woq-extract m | woq-calib -q --tokens t.wts --emit stat >out.wts'
    [[ $stderr == *"$message"* ]]
}
@test "an embedding that is not finite" {
    poke model.embed_tokens.weight 640 1 "$NAN"
    fails "tensor 'model.embed_tokens.weight' has a NaN or infinite value" "woq-hessian | $GPTQ"
}
@test "a command that returns numbers that are none: which block, which weight" {
    for role in q k v; do echo "model.layers.0.self_attn.${role}_proj.weight"; done >names
    mapfile -t names <names
    woq-gen "${names[0]}:f32[64,64]:fill=nan" "${names[1]}:f32[32,64]:fill=1" "${names[2]}:f32[32,64]:fill=1" \
        '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails "${names[0]}" 'cat other.wts; exec cat >/dev/null'
}
@test "a command that exits at once, hangs up in the middle, closes its output, returns another tensor" {
    fails "'true' ended with status 0 before its work was done" true
    fails "'exit 9' ended with status 9 before its work was done" 'exit 9'
    fails 'before its work was done' 'woq-hessian | head -c 50000'
    fails 'before its work was done' 'exec >&-; cat'
    fails 'was ended by signal 9 before its work was done' "woq-hessian | $GPTQ | (sleep 0.2; kill -9 \$\$)"
    woq-gen lm_head.weight:f32[96,64]:fill=1 '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails "returned TENS 'lm_head.weight', which is not awaited in block 0, group 'qkv'" 'cat other.wts; exec cat >/dev/null'
}
@test "a command that writes nothing, or not before the end of its input, is given up" {
    message='returned nothing for 1 seconds, want LOOP {"block":0,"group":"qkv"}'
    fails "$message" 'cat >/dev/null' --timeout 1
    fails "$message" 'cat >all.wts; cat all.wts' --timeout 1
    fails "$message" "$GPTQ | (cat >/dev/null; true)" --emit hess --timeout 1
    # One that is only slow is not.
    loop 'sleep 1; cat' --timeout 60
    woq-extract m | woq-diff --tol 0 q.wts -
    run -2 bash -c 'woq-calib --tokens t.wts --timeout -1 --through cat q.wts >out.wts'
}
@test "Hessians of another model, of another part of the samples, of too few of them" {
    hess() { woq-extract "$1" | woq-calib --quiet --tokens t.wts --emit hess "${@:2}"; }
    refused() {
        run -1 --separate-stderr bash -c 'woq-hessian --merge "$0" a.wts >ab.wts' "$2"
        echo "$stderr"
        [[ $stderr == *"$1"* ]]
        run -3 woq-fsck --quiet ab.wts
    }
    hess m >a.wts
    refused "tokens 0 to 240 of block 0, group 'qkv' were counted before" a.wts
    hess m --token0 239 >b.wts
    refused 'were counted before' b.wts
    woq-gen --no-history --llama hidden=64,inter=64,layers=2,heads=4,kv=2,vocab=96,dtype=f32,tie=1 |
        woq-calib --quiet --tokens t.wts --token0 240 --emit hess >b.wts
    refused "partial sums do not match: block 0, group 'down', width 64" b.wts
    hess m --token0 240 >b.wts
    woq-zip b.wts >z.wts
    woq-hessian --no-history --merge z.wts a.wts | cmp - <(woq-hessian --no-history --merge b.wts a.wts)
    poke $UP 0 1 "$ONE"
    hess m --token0 240 >b.wts
    refused "b.wts: weights differ from those of the main stream before block 0, group 'down'" b.wts
    poke $UP 0 1 "$ZERO"
    poke model.norm.weight 0 1 "$ONE"
    hess m >a.wts
    poke model.norm.weight 0 1 "$ZERO"
    hess m --token0 240 >b.wts
    refused 'weights differ from those of the main stream after the last Hessian' b.wts
    woq-head --blocks 1 b.wts >one.wts
    refused 'fewer hess frames than the main stream' one.wts
}
@test "a text that is too short, empty, or no text" {
    cp "$GOLDEN/tokenizers/gpt2/tokenizer.json" m/
    : >empty
    for text in empty no-such-file /; do
        run -1 --separate-stderr bash -c 'set -o pipefail; woq-extract m | woq-calib -q --text "$0" --samples 2 --seqlen 16 \
            --through cat >out.wts' $text
        echo "$stderr"
        [[ $stderr == *woq-calib:* ]]
        run -3 woq-fsck --quiet out.wts
    done
}
