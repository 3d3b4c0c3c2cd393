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
