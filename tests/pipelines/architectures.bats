#!/usr/bin/env bats
# Every architecture through the pipes, as tiny models that woq-gen makes from the recorded configs
# (tests/golden/archs): the checkpoint has the names and shapes of the original library, what comes
# back from it is what went in, rounding and packing keep it a model.
bats_require_minimum_version 1.5.0
load ../helpers
ARCHS=$GOLDEN/archs

names() { for d in "$ARCHS"/*/; do basename "$d"; done; }
# seen STEP FIXTURE: a row of tests/compat
seen() { echo "# compat | $1 | $2 | yes" >&3; }
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
        seen checkpoint "$a"
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
        seen rounded "$a"
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
        seen GPTQ "$a"
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
        seen calibrated "$a"
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
# gguf.rows: what llama.cpp's graphs can do; tests/interop/llama-archs.sh holds the files that these check
# sums are of against llama.cpp itself.
@test "GGUF: the file that llama.cpp was seen to run, and back: the same logits" {
    n=0
    while read -r a _ sum edit; do
        echo "$a $edit"
        sed -E "$([ "$edit" = - ] || printf %s "$edit")" "$ARCHS/$a/config.json" >config.json
        woq-gen --no-history --config config.json >m.wts
        woq-pack -q --force --format gguf --type f32 --out m.gguf m.wts
        [ "$(cksum <m.gguf | cut -d ' ' -f 1)" = "$sum" ]
        woq-extract -q m.gguf >back.wts
        logits one.npy m.wts
        logits two.npy back.wts
        cmp one.npy two.npy
        seen GGUF "$a"
        n=$((n + 1))
    done < <(grep -v '^#' "$ARCHS/gguf.rows")
    [ "$n" -ge 49 ]
}
@test "GGUF: quantized experts and fused rows keep their codes" {
    for a in gpt_oss mixtral granitemoe qwen2_moe falcon-7b bloom chatglm baichuan-7b; do
        sed -E 's/("(hidden_size|n_embd)": )[0-9]+/\1192/; s/("[a-z_]*intermediate_size": )[0-9]+/\196/
            s/("(head_dim|kv_channels)": )[0-9]+/\132/; s/("decoder_sparse_step": )2/\11/
            s/("ffn_hidden_size": )[0-9]+/\196/' "$ARCHS/$a/config.json" >config.json
        [ $a != baichuan-7b ] || sed -i -E 's/("num_hidden_layers": )2/\132/; s/("woq_head_rownorm": )true/\1false/' config.json
        echo "$a"
        woq-gen --config config.json | woq-rtn --bits 4 --group-size 32 --scale-dtype f16 >q.wts
        woq-pack -q --force --format gguf --embed-type f32 --out q.gguf q.wts
        woq-extract -q q.gguf >back.wts
        woq-dequant q.wts >f.wts
        woq-diff -q f.wts back.wts
        # and again without quantizing anew (the name of the model differs, in the header)
        woq-pack -q --force --format gguf --embed-type f32 --out r.gguf back.wts
        cmp <(tail -c 60000 q.gguf) <(tail -c 60000 r.gguf)
    done
}
@test "GGUF: latent attention, codes decoded where heads are transposed" {
    sed -E 's/0\.002/1e-06/; s/("kv_lora_rank": )16/\132/; s/("hidden_size": )32/\164/
        s/("v_head_dim": )12/\132/' "$ARCHS/deepseek_v3/config.json" >config.json
    woq-gen --config config.json >m.wts
    woq-scheme --set '*kv_b_proj* bits=8 group_size=32' --set '* float' m.wts | woq-rtn >q.wts
    woq-pack -q --format gguf --type f32 --out q.gguf q.wts
    woq-extract --list q.gguf >list.txt
    grep -q 'kv_b_proj.weight.*F32' list.txt
    woq-extract -q q.gguf >back.wts
    woq-dequant q.wts | woq-diff -q - back.wts
}
@test "GGUF: what a graph of llama.cpp lacks is refused by name" {
    # refused FIXTURE SED MESSAGE
    refused() {
        sed -E "$2" "$ARCHS/$1/config.json" >config.json
        woq-gen --config config.json >m.wts
        run -1 --separate-stderr woq-pack --format gguf --out x.gguf m.wts
        echo "$stderr"
        [[ $stderr == *"woq-pack: $3"*'hint: use --format safetensors or gptq'* ]]
        [ ! -e x.gguf ]
    }
    for a in codegen gptj gpt_neo opt; do
        refused $a '' "GGUF files of architecture '$a' are not written: llama.cpp has no graph of it"
    done
    refused phimoe '' "GGUF files of architecture 'phimoe' are not written: llama.cpp's graph of that name is another one"
    refused baichuan-7b '' 'llama.cpp has rope in a baichuan of 32 blocks only: 2 blocks have no form in GGUF'
    refused bloom-post '' "sums that begin at the norm: this has no form in GGUF's 'bloom'"
    refused falcon-rw '' "biases of q, k and v: this has no form in GGUF's 'falcon'"
    refused falcon-rw 's/("bias": )true/\1false/' "a model without attention and MLP side by side: this has no form in GGUF's 'falcon'"
    refused gpt2-layers '' "scores scaled by layer: this has no form in GGUF's 'gpt2'"
    refused phi '' "norms of q and k: this has no form in GGUF's 'phi2'"
    refused cohere '' 'llama.cpp has norms of q and k in a command-r of 64 blocks and more only: 2 blocks with them'
    refused gemma2 '' 'query_pre_attn_scalar 24 has no form in GGUF: llama.cpp takes 16'
    refused gemma 's/("tie_word_embeddings": )true/\1false/; s/("model_type)/"tie_word_embeddings": false, \1/' "a head that is not the embedding has no form in GGUF's 'gemma'"
    refused olmoe '' "clip_qkv: this has no form in GGUF's 'olmoe'"
    refused qwen2 '' "a sliding window in 1 of 2 blocks has no form in GGUF's 'qwen2'"
    refused qwen2_moe '' "1 of 2 blocks without experts: this has no form in GGUF's 'qwen2moe'"
    refused qwen3_moe 's/("norm_topk_prob": )true/\1false/' "a model without weights of experts that add up to 1"
    refused deepseek_v3 '' "rms_norm_eps 0.002 has no form in GGUF's 'deepseek2'"
    refused deepseek_v2 's/0\.002/1e-06/' "2 of 4 groups of experts, chosen by their best: this has no form in GGUF's 'deepseek2'"
    refused llama 's/"rope_type": "llama3"/"rope_type": "dynamic"/' "this rope_scaling of config.json has no form in GGUF's 'llama': want linear, llama3 or yarn"
    refused stablelm 's/("hidden_act": )"silu"/\1"gelu"/' "this activation of config.json has no form in GGUF's 'stablelm'"
}
