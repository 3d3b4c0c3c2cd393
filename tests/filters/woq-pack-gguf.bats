#!/usr/bin/env bats
# GGUF: the block types, which tensor gets which, and bytes that pass through.
bats_require_minimum_version 1.5.0
load ../helpers

types='q8_0 q6_k q5_k q4_k q3_k q2_k q5_1 q5_0 q4_1 q4_0 iq4_nl iq4_xs mxfp4 tq1_0 tq2_0'
setup() { woq-gen --llama hidden=256,inter=256,layers=2,heads=4,kv=2,vocab=70,seed=3 >m.wts; }

# same_data A B: the tensors' bytes; the name of the model in front of them may differ
same_data() { cmp <(tail -c 150000 "$1") <(tail -c 150000 "$2"); }
# types_in FILE [GLOB]: the types of its matrices, each once
types_in() { woq-extract --list "$1" 2>/dev/null | grep -e "${2:-.}" | awk '$2 != "F32" { print $2 }' | sort -u | paste -sd' '; }

@test "every block type: a file goes through a stream byte for byte" {
    for t in f32 f16 $types; do
        woq-pack -q -f gguf -t $t --pure -o out.gguf --force m.wts
        [ "$t" = f32 ] || [ "$(types_in out.gguf | tr A-Z a-z)" = $t ]
        woq-extract out.gguf 2>/dev/null | woq-zip | woq-pack -q -f gguf -o again.gguf --force
        [ "$t" = f32 ] || same_data out.gguf again.gguf # an f32 matrix becomes f16
    done
}
@test "every block type: the same bytes on any processor and any number of threads" {
    woq-gen --llama hidden=256,inter=256,layers=1,heads=4,kv=1,vocab=9 >m.wts
    for t in $types; do
        woq-pack -q -f gguf -t $t --pure -o a.gguf --force m.wts
        for isa in ref avx2; do
            WOQ_ISA=$isa WOQ_THREADS=1 woq-pack -q -f gguf -t $t --pure -o b.gguf --force m.wts
            cmp a.gguf b.gguf
        done
    done
}
@test "every block type reads back near what it was" {
    for tol in q8_0:0.01 q6_k:0.03 q5_k:0.05 q4_k:0.1 q3_k:0.2 q2_k:0.4 q5_0:0.06 q5_1:0.06 iq4_nl:0.1 iq4_xs:0.1 \
        mxfp4:0.15; do
        woq-pack -q -f gguf -t ${tol%:*} --pure -o out.gguf --force m.wts
        run -0 woq-diff --tol ${tol#*:} m.wts <(woq-extract out.gguf 2>/dev/null)
    done
}
@test "a tensor that changed loses its bytes, the others keep them" {
    woq-pack -q -f gguf -t q4_k --pure -o q4.gguf m.wts
    woq-extract q4.gguf 2>/dev/null >q4.wts
    run -0 woq-ls --json -m '*layers.0.mlp.up_proj*' q4.wts
    [[ $output == *'"raw_format":"Q4_K"'* ]]
    woq-cast --to f16 -m '*mlp*' q4.wts >cast.wts
    run -0 woq-ls --json -m '*layers.0.mlp.up_proj*' cast.wts
    [[ $output != *raw* ]]
    woq-pack -q -f gguf -o out.gguf cast.wts
    [ "$(types_in out.gguf mlp)" = F16 ]
    [ "$(types_in out.gguf attn)" = Q4_K ]
    woq-rtn --bits 4 --group-size 32 -m '*mlp*' q4.wts >rtn.wts
    run ! grep -qa raw_format <(woq-ls --json -m '*mlp*' rtn.wts)
    woq-pack -q -f gguf -o out.gguf --force rtn.wts
    [ "$(types_in out.gguf mlp)" = Q4_0 ]
    # an explicit type of elements asks for floats
    run ! grep -qa raw_format <(woq-extract --dtype f32 q4.gguf)
}
@test "another type than the file's is encoded anew, the same one is not" {
    woq-pack -q -f gguf -t q6_k --pure -o q6.gguf m.wts
    woq-extract q6.gguf 2>/dev/null >q6.wts
    woq-pack -q -f gguf -t q4_k --pure -o q4.gguf q6.wts
    [ "$(types_in q4.gguf)" = Q4_K ]
    woq-pack -q -f gguf -t q6_k --pure -o again.gguf q6.wts
    same_data q6.gguf again.gguf
}
@test "bytes that do not fit their tensor are not taken" {
    printf '{"architectures":["LlamaForCausalLM"],"hidden_size":32,"intermediate_size":32,"num_hidden_layers":1,"num_attention_heads":1,"vocab_size":1,"rms_norm_eps":1e-5,"tie_word_embeddings":true,"max_position_embeddings":64}' >config.json
    t='{"name":"model.embed_tokens.weight","raw_format":"Q4_0"};data:f32[1,32]:fill=1;raw:u8[1,17]:fill=0'
    woq-gen --modl config.json "@TENS$t" >x.wts
    woq-ls --json x.wts | grep -q raw_format
    run -1 --separate-stderr woq-pack -f gguf -o out x.wts
    [[ $stderr == *"is missing"* ]] # of the rest of the model: the tensor itself was written as f16
}
@test "rules: the first that matches counts, by either name; embedding and head" {
    woq-pack -q -f gguf -t q4_k_m --tensor-type '*layers.1.mlp.down*=q8_0' --tensor-type 'blk.*.ffn_down.weight=q5_k' \
        --tensor-type '*down*=f16' --embed-type q2_k -o out.gguf m.wts
    [ "$(types_in out.gguf layers.1.mlp.down)" = Q8_0 ]
    [ "$(types_in out.gguf layers.0.mlp.down)" = Q5_K ]
    [ "$(types_in out.gguf embed_tokens)" = Q2_K ]
    [ "$(types_in out.gguf lm_head)" = Q2_K ]
    woq-pack -q -f gguf -t q4_k_m --embed-type q2_k --head-type q8_0 -o out.gguf --force m.wts
    [ "$(types_in out.gguf lm_head)" = Q8_0 ]
    run -2 --separate-stderr woq-pack -f gguf --tensor-type down -o out m.wts
    [[ $stderr == *"--tensor-type 'down': want GLOB=TYPE"*"hint: for example"* ]]
    run -2 --separate-stderr woq-pack -f gguf --tensor-type 'x=q4_k_m' -o out m.wts
    [[ $stderr == *"--tensor-type: type 'q4_k_m': want one of f32|f16"* ]]
    run -2 woq-pack -f gguf -t q7_k -o out m.wts
    run -2 woq-pack -f gguf --embed-type q4_k_m -o out m.wts
}
@test "columns that are no whole blocks take a smaller block, with a note" {
    woq-gen --llama hidden=96,inter=256,layers=1,heads=3,vocab=32 >m96.wts
    run -0 --separate-stderr woq-pack -f gguf -t q4_k_m -o out.gguf m96.wts
    [[ $stderr == *"7 tensors have columns that are no whole blocks of their type and took a smaller one"* ]]
    [ "$(types_in out.gguf q_proj)" = Q5_0 ]
    [ "$(types_in out.gguf down_proj)" = Q6_K ]
    run -0 --separate-stderr woq-pack --json -f gguf -t q4_k_m -o out.gguf --force m96.wts
    [[ $output == *'"fell_back":7'* ]]
}
@test "quantized tensors of 5 bits keep their codes" {
    for args in "--sym:Q5_0" "--asym:Q5_1"; do
        woq-rtn --bits 5 --group-size 32 ${args%:*} m.wts >q.wts
        woq-pack -q -f gguf -o out.gguf --force q.wts
        run -0 woq-diff --tol 2e-3 q.wts <(woq-extract out.gguf 2>/dev/null)
        [ "$(types_in out.gguf layers.0)" = ${args#*:} ]
    done
}
@test "mxfp4 keeps its codes and its scales to the last bit" {
    woq-rtn --dtype mxfp4 m.wts >q.wts
    woq-pack -q -f gguf -o out.gguf q.wts
    [ "$(types_in out.gguf layers.0)" = MXFP4 ]
    run -0 woq-diff q.wts <(woq-extract out.gguf 2>/dev/null) -m '*layers*'
    woq-rtn --dtype nf4 m.wts >nf4.wts
    run -1 --separate-stderr woq-pack -f gguf -o nf4.gguf nf4.wts
    [[ $stderr == *"a codebook other than mxfp4 has no form in GGUF's blocks"* ]]
}
@test "a vocabulary by tokenizer.model where tokenizer.json says what GGUF has no word for" {
    mkdir -p hf
    woq-gen --llama hidden=64,inter=64,layers=1,heads=2,kv=2,vocab=1000 | woq-pack -q -f safetensors -o hf --force
    cp "$GOLDEN/tokenizers/spm/llama.model" hf/tokenizer.model
    woq-extract hf | woq-pack -q -f gguf -o one.gguf
    echo '{"model":{"type":"BPE","byte_fallback":true,"vocab":{"a":0,"<unk>":1},"merges":[]}}' >hf/tokenizer.json
    woq-extract hf | woq-pack -q -f gguf -o two.gguf
    cmp one.gguf two.gguf
    grep -aq tokenizer.ggml.scores two.gguf
    rm hf/tokenizer.model
    run -1 --separate-stderr bash -c 'set -o pipefail; woq-extract hf | woq-pack -f gguf -o three.gguf'
    # shellcheck disable=SC2154
    [[ $stderr == *'GGUF: only byte-level BPE is written, this one has byte_fallback'*'--no-side'* ]]
}
@test "a window that llama.cpp does not keep to is told" {
    woq-gen --config "$GOLDEN/archs/mistral/config.json" >w.wts
    run -0 --separate-stderr woq-pack -f gguf -o w.gguf w.wts
    [[ $stderr == *'llama.cpp has no sliding window in this architecture: it differs beyond 5 tokens'* ]]
    run -0 --separate-stderr woq-pack --json -f gguf -o v.gguf w.wts
    # shellcheck disable=SC2154
    [[ $output == *'"ignored_window":5'* ]]
}
@test "tables and masks that the config implies are left out" {
    woq-gen --llama hidden=32,inter=64,layers=1,heads=2,vocab=32 >m.wts
    woq-pack --quiet --format gguf --type f32 -o want.gguf m.wts
    woq-gen --llama hidden=32,inter=64,layers=1,heads=2,vocab=32 \
        transformer.rotary_pos_emb.inv_freq:f32:1 transformer.h.0.attn.masked_bias:f32:1 a.attn.embed_positions:f32:1 \
        model.layers.0.self_attn.rotary_emb.inv_freq:f32:1 a.attn.bias:u8:1 |
        woq-pack --quiet --format gguf --type f32 -o out.gguf
    cmp want.gguf out.gguf
}
