#!/usr/bin/env bats
# Every architecture through the pipes, as tiny models that woq-gen makes from the recorded configs
# (tests/golden/archs): the checkpoint has the names and shapes of the original library, what comes
# back from it is what went in, rounding and packing keep it a model.
bats_require_minimum_version 1.5.0
load ../helpers
ARCHS=$GOLDEN/archs

names() { for d in "$ARCHS"/*/; do basename "$d"; done; }
logits() { woq-eval -q --tokens "$IDS_FILE" --logits "$1" "${@:2}" >/dev/null; }
# tensors FILE.safetensors: "name 4x5" for each, sorted
tensors() {
    local n
    n=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    tail -c +9 "$1" | head -c "$n" | tr '{' '\n' |
        sed -nE 's/.*"shape":\[([0-9,]*)\].*/\1/p' >shapes.txt
    tail -c +9 "$1" | head -c "$n" | grep -oE '"[^"]+":\{"dtype"' | cut -d '"' -f 2 >names.txt
    paste -d ' ' names.txt shapes.txt | tr , x | sort
}
setup_file() {
    export IDS_FILE=$BATS_FILE_TMPDIR/ids.json
    echo '[5,15,39,77,129,64,13,107,84,75,80,99,1]' >"$IDS_FILE"
}

@test "a float checkpoint has the original's names and shapes, and comes back as it was" {
    for a in $(names); do
        echo "$a"
        woq-gen --no-history --config "$ARCHS/$a/config.json" >"$a.wts"
        woq-pack -q --format safetensors --out "$a" "$a.wts" 2>/dev/null
        tensors "$a/model.safetensors" >t.txt
        sort "$ARCHS/$a/tensors.txt" | cmp - t.txt
        woq-extract "$a" | woq-diff -q "$a.wts" -
        rm -r "$a" "$a.wts"
    done
}
@test "rounded, packed as floats, extracted: the same logits as before packing" {
    for a in $(names); do
        echo "$a"
        woq-gen --config "$ARCHS/$a/config.json" >f.wts
        woq-rtn --bits 4 --group-size 16 f.wts >q.wts
        woq-pack -q --format safetensors --dtype f32 --out q q.wts 2>/dev/null
        woq-extract q >back.wts
        logits one.npy q.wts
        logits two.npy back.wts
        logits float.npy f.wts
        cmp one.npy two.npy
        run ! cmp one.npy float.npy
        rm -r q ./*.npy
    done
}
# GPTQ's files want multiples of 32. Rope factors of phi3 and latent widths of deepseek do not scale.
@test "packed as GPTQ and extracted: the same codes" {
    for a in $(names); do
        case $a in phi3 | phimoe-long | deepseek*) continue ;; esac
        echo "$a"
        sed -E 's/("(hidden_size|n_embd|d_model)": )[0-9]+/\1192/
            s/("([a-z_]*intermediate_size|n_inner|ffn_dim|ffn_hidden_size)": )[0-9]+/\196/
            s/("(head_dim|kv_channels)": )[0-9]+/\132/' "$ARCHS/$a/config.json" >config.json
        woq-gen --config config.json | woq-rtn --bits 4 --group-size 32 --scale-dtype f16 >q.wts
        woq-pack -q --format gptq --dtype f32 --out q q.wts 2>/dev/null
        woq-extract q | woq-diff -q --codes q.wts -
        woq-extract q | logits two.npy
        logits one.npy q.wts
        cmp one.npy two.npy
        rm -r q
    done
}
samples() { # COUNT LENGTH
    for ((i = 0; i < $1; i++)); do
        printf '@TOKN{"sample":%d};ids:u32[%d]:%s\n' "$i" "$2" \
            "$(for ((k = 0; k < $2; k++)); do printf '%d,' $(((31 * i + 7 * k * k + 3 * k) % 131)); done | sed 's/,$//')"
    done
}
@test "calibrated by GPTQ, packed, evaluated; showing inputs does not change a bit" {
    samples 2 24 >operands
    mapfile -t operands <operands
    woq-gen "${operands[@]}" >t.wts
    for a in $(names); do
        echo "$a"
        woq-gen --config "$ARCHS/$a/config.json" >m.wts
        woq-calib -q --tokens t.wts --emit none --acts-to plain m.wts >/dev/null
        woq-calib -q --tokens t.wts --emit hess --acts-to shown --threads 1 m.wts >h.wts
        cmp plain shown
        woq-calib -q --tokens t.wts --through 'woq-hessian | woq-gptq --group-size 16' m.wts >q.wts
        woq-pack -q --format safetensors --dtype f32 --out q q.wts 2>/dev/null
        woq-extract q | logits one.npy
        logits two.npy q.wts
        logits float.npy m.wts
        cmp one.npy two.npy
        run ! cmp one.npy float.npy
        woq-ls q.wts >ls.txt
        run ! grep -E 'TENS .*(_proj|c_attn|query_key_value|fc1|Wqkv)\.weight' ls.txt
        rm -r q
    done
}
@test "experts: starved ones are rounded and told, --calibrate-all-experts leaves none" {
    woq-gen --config "$ARCHS/olmoe/config.json" >m.wts
    samples 1 3 >operands
    woq-gen "$(cat operands)" >t.wts
    woq-calib --progress none --tokens t.wts --through 'woq-hessian | woq-gptq --group-size 16' m.wts >q.wts 2>said
    grep -Eq 'woq-calib: [0-9]+ of 10 experts saw no token and are not calibrated' said
    woq-ls --json q.wts | grep -q '"type":"note"'
    [ "$(woq-ls q.wts | grep -c 'QTEN .*experts')" = 30 ]
    # the starved ones are what plain rounding makes of them, the others are not
    woq-gptq --group-size 16 --fallback rtn m.wts >rtn.wts
    same=0
    for e in 0 1 2 3 4; do
        woq-diff -q --codes -m "model.layers.0.mlp.experts.$e.up_proj.weight" rtn.wts q.wts >/dev/null && same=$((same + 1))
    done
    [ "$same" -ge 1 ] && [ "$same" -lt 5 ]
    woq-calib --progress none --tokens t.wts --calibrate-all-experts --through 'woq-hessian | woq-gptq --group-size 16' m.wts >all.wts 2>said
    [ ! -s said ]
    woq-calib -q --tokens t.wts --calibrate-all-experts --emit hess m.wts >h.wts
    [ "$(woq-ls h.wts | grep -c ' hess ')" = 24 ] # of 2 blocks: qkv, o, and two of each expert
    run -1 --separate-stderr woq-calib -q --tokens t.wts --targets both --through 'woq-hessian | woq-gptq' m.wts
    # shellcheck disable=SC2154
    [[ $stderr == *'the two paths send different tokens to an expert'*'--calibrate-all-experts'* ]]
    woq-calib -q --tokens t.wts --targets both --calibrate-all-experts --through 'woq-hessian | woq-gptq --group-size 16' m.wts >both.wts
    woq-calib -q --tokens t.wts --unit block --emit hess m.wts | woq-gptq --group-size 16 --fallback rtn >b.wts
}
# GGUF has names for some: through a file and back, the same tensors; the others are refused by name.
@test "GGUF: there and back, or refused" {
    there=''
    for a in $(names); do
        woq-gen --config "$ARCHS/$a/config.json" >m.wts
        if woq-pack -q --force --format gguf --type f32 --out m.gguf m.wts 2>said; then
            echo "$a"
            woq-extract m.gguf >back.wts
            woq-diff -q m.wts back.wts
            logits one.npy m.wts
            logits two.npy back.wts
            cmp one.npy two.npy
            there+=" $a"
        else
            grep -Eq 'are not written|has no form in GGUF' said
        fi
    done
    [ "$there" = ' llama mistral qwen3' ]
}
