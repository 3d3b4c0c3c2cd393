#!/usr/bin/env bats
# tests/filters/woq-extract.bats
bats_require_minimum_version 1.5.0
load ../helpers
T=$GOLDEN/tiny-llama

values() { woq-extract --dtype f32 --no-side "$@" | woq-cat --values | grep -v '^HEAD\|^MODL'; }
copy() { cp -r "$T/$1" m && chmod -R u+w m; }
# edit FILE FROM TO: replaces text of the same length, so that no offset of the file moves.
edit() {
    [ ${#2} = ${#3} ]
    grep -qaF -- "$2" "$1"
    LC_ALL=C sed -i "s|$2|$3|" "$1"
}

@test "tensors come in model order, whatever the order in the file" {
    woq-extract "$T/hf" >x.wts
    run -0 bash -c "woq-ls x.wts | awk '{ print \$3, \$4 }'"
    p=model.layers
    [ "${lines[0]}" = 'MODL -' ]
    [ "${lines[1]}" = 'TENS model.embed_tokens.weight' ]
    [ "${lines[2]}" = 'BLKB -' ]
    i=3
    for n in input_layernorm self_attn.{q,k,v,o}_proj post_attention_layernorm mlp.{gate,up,down}_proj; do
        [ "${lines[i]}" = "TENS $p.0.$n.weight" ]
        [ "${lines[i + 11]}" = "TENS $p.1.$n.weight" ]
        i=$((i + 1))
    done
    [ "${lines[12]}" = 'BLKE -' ]
    [ "${lines[13]}" = 'BLKB -' ]
    [ "${lines[24]}" = 'TENS model.norm.weight' ]
    [ "${lines[25]}" = 'TENS lm_head.weight' ]
    [ "${#lines[@]}" = 26 ]
}
@test "meta: role, block, group; HEAD: model and totals that TAIL confirms" {
    woq-extract "$T/hf" >x.wts
    run -0 woq-ls --json -m 'model.layers.1.*.q_proj.weight' x.wts
    [[ $output == *'"role":"attn.q","block":1,"group":"qkv"'* ]]
    run -0 woq-ls --json -m lm_head.weight x.wts
    [[ $output == *'"role":"head"}'* ]]
    head=$(woq-cat x.wts | head -1)
    [[ $head == *'"model":"hf","order":"layer","total":{"frames":26,"bytes":'* ]]
    total=$(grep -ao '"total":{"frames":[0-9]*,"bytes":[0-9]*' x.wts | grep -o '[0-9]*$')
    tail=$(grep -ao '"frames":27,"bytes":[0-9]*' x.wts | grep -o '[0-9]*$')
    [ "$total" = "$tail" ]
}
@test "a file beside its config.json is the folder" {
    woq-extract --no-history "$T/hf" | woq-cat --values >a
    woq-extract --no-history "$T/hf/model.safetensors" | woq-cat --values >b
    diff <(tail -n +2 a) <(tail -n +2 b)
    cd "$T/hf"
    woq-extract model.safetensors | cmp - <(woq-extract ./model.safetensors)
}
@test "shards: biases follow their weight, buffers stay behind, the head is tied" {
    woq-extract -v "$T/sharded" >x.wts 2>err
    grep -q 'left out 1 tensor' err
    run -0 woq-ls x.wts
    [[ ${lines[4]} == *'layers.0.self_attn.q_proj.weight '* ]]
    [[ ${lines[5]} == *'layers.0.self_attn.q_proj.bias '* ]]
    [[ $output == *' bf16 '* && $output != *' f32 '* ]]
    [[ $output != *lm_head* && $output != *inv_freq* ]]
}
@test "a head that is tied is stored once" {
    copy hf
    sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' m/config.json
    woq-extract m >x.wts
    run ! grep -qa lm_head.weight x.wts
}
@test "GGUF: blocks decoded as the package gguf does, rows and names in HF order" {
    values "$T/tiny.gguf" >a
    values "$T/gguf-hf" >b
    cmp a b
    run -0 woq-ls --json -m '*layers.0.*q_proj.weight' <(woq-extract "$T/tiny.gguf" 2>/dev/null)
    [[ $output == *'"source":"Q4_1"'* ]]
}
@test "GGUF: config.json from the keys, rope factors, stop ids" {
    woq-extract "$T/tiny.gguf" >x.wts 2>err
    grep -q 'note\|no tokenizer: the file has no vocabulary' err
    tr -d '\t\n' <x.wts >flat
    grep -qaF '"hidden_size":32,"intermediate_size":64,"num_hidden_layers":2,"num_attention_heads":4,"num_key_value_heads":2,"head_dim":8,' flat
    grep -qaF '"rms_norm_eps":1e-05,"rope_theta":500,"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":1,"high_freq_factor":4,"original_max_position_embeddings":64}' flat
    grep -qaF '{"bos_token_id":1,"eos_token_id":[2, 5]}' flat
}
@test "GGUF in parts: the same tensors, the first part is the model" {
    G=$GOLDEN/gguf-split/tiny
    values "$G-00001-of-00003.gguf" | cmp - <(values "$T/tiny.gguf")
    run -1 --separate-stderr woq-extract "$G-00002-of-00003.gguf"
    [[ $stderr == *"part 2 of 3 of a GGUF model"*"hint: name the first part: "*"tiny-00001-of-00003.gguf"* ]]
    cp "$G"-* . && chmod u+w ./*.gguf
    mv tiny-00003-of-00003.gguf away
    run -1 --separate-stderr woq-extract tiny-00001-of-00003.gguf
    [[ $stderr == *"can't open 'tiny-00003-of-00003.gguf'"* ]]
    cp tiny-00001-of-00003.gguf tiny-00003-of-00003.gguf # in a circle
    run -1 --separate-stderr woq-extract tiny-00001-of-00003.gguf
    [[ $stderr == *"tiny-00003-of-00003.gguf: the file says that it is part 1 of 3, its name says 3 of 3"* ]]
    mv away tiny-00003-of-00003.gguf
    cp tiny-00001-of-00003.gguf model.gguf
    run -1 --separate-stderr woq-extract model.gguf
    [[ $stderr == *"its name does not end in -00001-of-00003.gguf"*"hint: give the parts the names back"* ]]
    cp tiny-00001-of-00003.gguf x && edit x split.tensors.count split.tensors.counT
    mv x tiny-00001-of-00003.gguf
    values tiny-00001-of-00003.gguf | cmp - <(values "$T/tiny.gguf")
    truncate -s -40 tiny-00002-of-00003.gguf
    run -3 --separate-stderr bash -c 'woq-extract tiny-00001-of-00003.gguf >x.wts'
    [[ $stderr == *"tiny-00002-of-00003.gguf: truncated: tensor '"* ]]
}
@test "llama2.c: versions 0, 1 and 2" {
    values "$T/hf" >hf
    values "$T/v1.bin" >v1
    cmp v1 hf
    values "$T/v0.bin" >v0
    grep -v lm_head hf | cmp v0 -
    values "$T/v2.bin" >v2
    values "$T/v2-hf" >want
    cmp v2 want
    woq-extract "$T/v0.bin" | tr -d '\t\n' | grep -qaF '"tie_word_embeddings":true'
}
# torch_folder FOLDER TWIN: a folder of PyTorch files beside the config.json of a golden folder.
torch_folder() {
    mkdir "$1" && cp "$T/$2/config.json" "$1"
    case $2 in
    hf) cp "$GOLDEN/torch/f32.bin" "$1/pytorch_model.bin" ;;
    *)
        cp "$GOLDEN/torch/pytorch_model.bin.index.json" "$1"
        for i in 1 2; do cp "$GOLDEN/torch/shard-$i.bin" "$1/pytorch_model-0000$i-of-00002.bin"; done
        ;;
    esac
    chmod -R u+w "$1"
}
@test "PyTorch: one file with views and strides, shards, the same bytes as safetensors" {
    for twin in hf sharded; do
        torch_folder t-$twin $twin
        values "$T/$twin" >want
        values t-$twin >got
        cmp want got
        values --check-crc --threads 1 t-$twin | cmp want -
    done
    values t-hf/pytorch_model.bin | cmp - <(values "$T/hf")
    mv t-hf/pytorch_model.bin t-hf/weights.pth
    values t-hf | cmp - <(values "$T/hf")
    run -0 woq-extract --list --json --match lm_head.weight t-hf
    [ "$output" = '{"format":"torch","tensors":[{"name":"lm_head.weight","stored":"F32","shape":[96,32],"bytes":12288,"role":"head"}]}' ]
    cp "$T/hf/model.safetensors" t-hf # comes first
    run -0 woq-extract --list --json --match lm_head.weight t-hf
    [[ $output == '{"format":"safetensors"'* ]]
}
@test "PyTorch: GPTQ in a .bin is GPTQ" {
    mkdir t && cp "$GOLDEN/torch/gptq/config.json" t && cp "$GOLDEN/torch/gptq.bin" t/pytorch_model.bin
    values t >got
    values "$GOLDEN/torch/gptq" | cmp got -
    run -0 bash -c 'woq-extract t | woq-ls'
    [[ $output == *'QTEN model.layers.0.self_attn.q_proj'* ]]
}
@test "PyTorch: --key, --check-crc, forms that are refused" {
    torch_folder t hf && rm t/pytorch_model.bin
    cp "$GOLDEN"/torch/*.pt t
    run -1 --separate-stderr woq-extract --list t/nested.pt
    [[ $stderr == *"holds no tensor itself"*"hint: there are some under a key: --key 'model'"* ]]
    run -0 --separate-stderr woq-extract --list --key model t/nested.pt
    [[ $output == *'model.norm.weight '*norm* ]]
    run -1 --separate-stderr woq-extract --list --key nosuch t/nested.pt
    [[ $stderr == *"--key 'nosuch': the pickle's dict has no such key"* ]]
    run -1 --separate-stderr woq-extract t/legacy.pt
    [[ $stderr == *"t/legacy.pt: a PyTorch file of the form before 1.6"*"hint: load it with torch"* ]]
    run -1 --separate-stderr woq-extract t/script.pt
    [[ $stderr == *"is compressed (method 8), want stored"*"hint: load it with torch (TorchScript"* ]]
    run -1 --separate-stderr woq-extract t
    [[ $stderr == *"folder 't' has 4 *.bin files and no pytorch_model.bin.index.json"* ]]
    run -0 woq-extract --list t/dtypes.pt
    [[ $output =~ float8_e4m3fn\ +F8_E4M3\ +6x10\ +60 && $output =~ permuted\ +I16\ +5x3x2x4\ +240 ]]
    cp "$GOLDEN/torch/f32.bin" t/f32.bin && chmod u+w t/f32.bin
    printf '\x01' | dd of=t/f32.bin bs=1 seek=50000 conv=notrunc status=none
    woq-extract t/f32.bin >x.wts
    run -1 --separate-stderr woq-extract --check-crc t/f32.bin
    [[ $stderr == *"zip member 'f32/data/"*"its CRC-32 is "*", the directory says "* ]]
}
@test "PyTorch: shards out of the folder, lost, in circles, an index that lies; a cut file" {
    index=t/pytorch_model.bin.index.json
    for bad in ../pytorch_model-00002-of-00002 /etc/passwd .hidden 'a\\\\b'; do
        rm -rf t && torch_folder t sharded
        sed -i "s|: \"pytorch_model-00002-of-00002|: \"$bad|" $index
        run -1 --separate-stderr woq-extract t
        [[ $stderr == *"want a plain file name"* ]]
    done
    rm -rf t && torch_folder t sharded && rm t/pytorch_model-00002-of-00002.bin
    run -1 --separate-stderr woq-extract t
    [[ $stderr == *"can't open 't/pytorch_model-00002-of-00002.bin'"* ]]
    rm -rf t && torch_folder t sharded # the index as its own shard
    sed -i "s|: \"pytorch_model-00002-of-00002.bin|: \"pytorch_model.bin.index.json|" $index
    run -1 --separate-stderr woq-extract t
    [[ $stderr == *"t/pytorch_model.bin.index.json: header length"* ]]
    rm -rf t && torch_folder t sharded && sed -i '/"model.norm.weight"/d' $index
    run -1 --separate-stderr woq-extract t
    [[ $stderr == *"tensor 'model.norm.weight' of shard "*" is not in the index"* ]]
    rm -rf t && torch_folder t sharded
    cp t/pytorch_model-00001-of-00002.bin t/pytorch_model-00002-of-00002.bin
    run -1 --separate-stderr woq-extract t
    [[ $stderr == *"is there twice (pytorch_model-0000"* ]]
    rm -rf t && torch_folder t hf && truncate -s -7 t/pytorch_model.bin
    run -3 --separate-stderr bash -c 'woq-extract t >x.wts'
    [[ $stderr == *"t/pytorch_model.bin: truncated: the zip archive has no directory at its end"* ]]
}
@test "the real model: 272 tensors and its tokenizer" {
    need_model
    run -0 woq-ls <(woq-extract "$M")
    [ "$(grep -c TENS <<<"$output")" = 272 ]
    [[ ${lines[0]} == *MODL* ]]
    woq-extract --match model.norm.weight "$M" | woq-cat | head -2 | grep -q 'tokenizer.json [0-9]'
}
@test "--list shows what is in a file" {
    run -0 woq-extract --list "$T/tiny.gguf"
    [ "${#lines[@]}" = 21 ]
    [[ ${lines[0]} =~ ^model.embed_tokens.weight\ +Q8_0\ +96x32\ +3264\ +embed$ ]]
    run -0 woq-extract --list --match '*.1.mlp.down*' "$T/tiny.gguf"
    [[ $output =~ down_proj.weight\ +Q5_0\ +32x64\ +1408\ +mlp.down$ ]]
    run -0 --separate-stderr woq-extract --list --json --match lm_head.weight "$T/tiny.gguf"
    [ "$output" = '{"format":"gguf","tensors":[{"name":"lm_head.weight","stored":"F16","shape":[96,32],"bytes":6144,"role":"head"}]}' ]
    run -2 woq-extract --json "$T/tiny.gguf"
    [[ $output == *'--json is for --list'* ]]
}
@test "--list shows a checkpoint with holes, too" {
    copy hf
    edit m/model.safetensors mlp.up_proj mlp.up_prxj
    run -0 --separate-stderr woq-extract --list m
    [ "${#lines[@]}" = 21 ]
    [[ $stderr == *"'model.layers."*".mlp.up_prxj.weight'"* ]]
    [[ ${lines[20]} =~ none$ ]]
}
@test "AWQ for fast kernels: told by its version or its backend, and refused by name" {
    local name
    for name in awq-gemv-fast llm-awq; do
        rm -rf m
        cp -r "$GOLDEN/packed/$name" m && chmod -R u+w m
        sed -i 's/"golden"/"llama", "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 8/' m/config.json
        run -0 --separate-stderr woq-extract --list m
        [ "${#lines[@]}" = 3 ]
        [[ ${lines[0]} =~ ^a.weight\ +AWQ4\ +32x128\ +[0-9]+\ +none$ ]]
        [[ ${lines[1]} =~ ^b.weight\ +AWQ4\ +32x(192|384)\  ]]
        sed 's/\("q\{0,1\}_\{0,1\}group_size": \)[0-9]*/\196/' m/config.json >c && mv c m/config.json
        run -1 --separate-stderr woq-extract --list m
        [[ $stderr == *"'a.qweight' has 128 inputs in groups of 96"* ]]
    done
    sed -i 's/"llm-awq"/"other", "version": "gemv_slow"/' m/config.json
    run -1 --separate-stderr woq-extract --list m
    [[ $stderr == *"AWQ version 'gemv_slow' is not read, want gemm, gemv, gemv_fast or llm-awq"*"hint: write it again as version gemm"* ]]
    edit m/config.json gemv_slow gemv_fast
    edit m/model.safetensors a.scaled_zeros a.scaled_zerxs
    sed 's/group_size": 96/group_size": 128/' m/config.json >c && mv c m/config.json
    run -1 --separate-stderr woq-extract --list m
    [[ $stderr == *"'a.qweight' has no tensor 'qzeros' beside it"*"hint: the checkpoint is not complete"* ]]
}
@test "--match takes a part, with the borders of its blocks" {
    woq-extract --match '*.1.mlp.*' "$T/hf" >x.wts
    run -0 woq-ls x.wts
    [ "${#lines[@]}" = 6 ]
    [[ ${lines[1]} == *BLKB* && ${lines[4]} == *down_proj* && ${lines[5]} == *BLKE* ]]
    run -1 --separate-stderr woq-extract --match nosuch "$T/hf"
    [[ $stderr == *"no tensor's name matches 'nosuch'"*"hint: woq-extract --list"* ]]
}
@test "--dtype converts floats and refuses what f16 can't hold" {
    woq-extract --dtype bf16 --match model.norm.weight "$T/hf" | woq-ls | grep -q 'model.norm.weight *bf16 *32 64'
    woq-extract --dtype f16 "$T/sharded" | woq-cat --values >a
    woq-extract "$T/sharded" | woq-cat --values >b
    diff <(sed 's/bf16/f16/' b | tail -n +3 | cut -c1-30) <(tail -n +3 a | cut -c1-30)
    copy hf
    # The last weight of the file becomes 1e30.
    printf '\xca\xf2\x49\x71' | dd of=m/model.safetensors bs=1 seek=101044 conv=notrunc status=none
    run -1 --separate-stderr bash -c 'woq-extract --dtype f16 m >x.wts'
    [[ $stderr == *"does not fit into f16"*"hint: use --dtype bf16 or f32"* ]]
    woq-extract --dtype bf16 m >x.wts
    run -2 woq-extract --dtype f8 "$T/hf"
}
@test "--check-finite names the first weight that is not" {
    copy hf
    woq-extract --check-finite m >x.wts
    printf '\x00\x00\xc0\x7f' | dd of=m/model.safetensors bs=1 seek=101044 conv=notrunc status=none
    woq-extract m >x.wts
    run -1 --separate-stderr bash -c 'woq-extract --check-finite m >x.wts'
    [[ $stderr == *"tensor '"*"', element "*" of 'data' is not finite"* ]]
    run -3 woq-ls --verify x.wts
}
@test "--no-side leaves config.json alone" {
    [ "$(woq-extract "$T/hf" | grep -ac '"name":"generation_config.json"')" = 1 ]
    [ "$(woq-extract --no-side "$T/hf" | grep -ac '"name":"generation_config.json"')" = 0 ]
    woq-extract --no-side "$T/hf" | grep -qa '"name":"config.json"'
}
@test "equal bytes for any number of threads" {
    for f in tiny.gguf v2.bin; do
        woq-extract --threads 1 "$T/$f" >a 2>/dev/null
        woq-extract --threads 3 "$T/$f" >b 2>/dev/null
        cmp a b
    done
}
@test "missing tensors and wrong shapes are named" {
    copy hf
    edit m/model.safetensors mlp.up_proj mlp.up_prxj
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"woq-extract: m: tensor 'model.layers."*".mlp.up_proj.weight' is missing"* ]]
    [[ $stderr == *"hint: is a shard missing?"* ]]
    rm -r m && copy hf
    sed -i 's/"intermediate_size": 64/"intermediate_size": 72/' m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"64x32, config.json wants 72x32"* || $stderr == *"32x64, config.json wants 32x72"* ]]
    rm -r m && copy hf
    sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 1/' m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"is in block 1, config.json has 1 blocks"* ]]
    run -1 --separate-stderr woq-extract "$T/sharded/model-00001-of-00002.safetensors"
    [[ $stderr == *"is missing"*"hint: is a shard missing? name the folder, not one file"* ]]
}
@test "a weight that is no float, and one of a type that no stream has" {
    copy hf
    edit m/model.safetensors '"F32"' '"I32"'
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"is I32, want floats"* ]]
    cp "$REPO/tests/fuzz/corpus/safetensors/odd" m/model.safetensors
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"is F8_E4M3, which woq can't read"* ]]
    run -0 --separate-stderr woq-extract --list m
    [[ $output == *F8_E4M3* ]]
}
@test "GGUF: what its keys must say" {
    # gguf FROM TO MESSAGE: tiny.gguf with a key renamed is refused with MESSAGE.
    gguf() {
        cp "$T/tiny.gguf" x.gguf && chmod u+w x.gguf
        edit x.gguf "$1" "$2"
        run -1 --separate-stderr woq-extract x.gguf
        [[ $stderr == *"woq-extract: x.gguf: "*"$3"* ]]
    }
    gguf llama.embedding_length llama.embedding_lengtH "key 'llama.embedding_length' is missing"
    gguf llama.block_count llama.block_counT "key 'llama.block_count' is missing"
    gguf rms_epsilon rms_epsiloN "key 'llama.attention.layer_norm_rms_epsilon' is missing"
    gguf general.architecture general.architecturE "key 'general.architecture' is missing"
    gguf blk.1.attn_q.weight blk.7.attn_q.weight "tensor 'blk.7.attn_q.weight' has no place in architecture llama"
    gguf blk.1.attn_q.weight blk.1.attn_x.weight "tensor 'blk.1.attn_x.weight' has no place in architecture llama"
    gguf blk.1.attn_q.weight blk.0.attn_q.weight "tensor 'blk.0.attn_q.weight' is there twice"
    gguf token_embd.weight token_embd.weighT "tensor 'token_embd.weight' is missing or not 2-D"
}
@test "GGUF: keys and tensors of experts, windows, rope factors that are not there" {
    # odd FIXTURE SED FROM TO: the fixture as x.gguf, with a string renamed
    odd() {
        sed -E "$2" "$GOLDEN/archs/$1/config.json" >config.json
        woq-gen --config config.json | woq-pack -q --force -f gguf -t f32 -o x.gguf
        edit x.gguf "$3" "$4"
    }
    bad() { # FIXTURE SED FROM TO MESSAGE
        odd "$1" "$2" "$3" "$4"
        run -1 --separate-stderr woq-extract x.gguf
        echo "$stderr"
        [[ $stderr == *"woq-extract: x.gguf: $5"* ]]
    }
    bad mixtral '' llama.expert_count llama.expert_counT "tensor 'blk.0.ffn_gate_inp.weight' has no place in architecture llama"
    bad mixtral '' llama.expert_used_count llama.expert_used_counT "config.json lacks 'num_experts_per_tok'"
    bad mixtral '' blk.1.ffn_up_exps blk.1.ffn_ux_exps "tensor 'blk.1.ffn_ux_exps.weight' has no place in architecture mixtral"
    bad mixtral '' blk.1.ffn_up_exps blk.1.ffn_up_expS "tensor 'blk.1.ffn_up_expS.weight' has no place in architecture mixtral"
    bad gpt_bigcode '' head_count_kv head_count_kV "tensor 'blk.0.attn_qkv.weight' has 80 rows of 48, but the keys of the file make it 144 of 48"
    bad phi3 's/("sliding_window": )5/\164/' rope_factors_long rope_factors_lonG "tensor 'rope_factors_long.weight' is missing"
    bad deepseek_v3 's/0\.002/1e-06/' attention.key_length_mla attention.key_length_mlA "key 'deepseek2.attention.key_length_mla' is missing"
    bad deepseek_v3 's/0\.002/1e-06/' expert_gating_func expert_gating_funC "tensor 'blk.1.exp_probs_b.bias' has no place in architecture deepseek_v2"
    bad falcon-40b 's/("bias": )true/\1false/' attn_norm_2 attn_norm_3 "tensor 'blk.0.attn_norm_3.weight' has no place in architecture falcon"
    bad deepseek_v3 's/0\.002/1e-06/' attention.value_length_mla attention.value_length_mlA "key 'deepseek2.attention.value_length_mla' is missing"
    yarn='s/0\.002/1e-06/;s/("rope_scaling": )null/\1{"rope_type":"yarn","factor":4,"original_max_position_embeddings":8,"mscale":0.7,"mscale_all_dim":0.7}/'
    bad deepseek_v3 "$yarn" yarn_log_multiplier yarn_log_multiplieR "key 'deepseek2.rope.scaling.yarn_log_multiplier' is missing or not above 0"
    bad deepseek_v3 "$yarn" rope.scaling.type rope.scaling.typE "key 'deepseek2.rope.scaling.type': want none, linear or plain yarn"
    bad deepseek_v3 "$yarn" expert_group_used_count expert_group_used_counT "key 'deepseek2.expert_group_used_count' is missing"
    bad chatglm '' rope.dimension_count rope.dimension_counT "key 'chatglm.rope.dimension_count' is 8, but config.json of 'chatglm' means 4"
    # says FIXTURE SED FROM TO TEXT: without the key config.json has TEXT, which is what llama.cpp computes
    says() {
        odd "$1" "$2" "$3" "$4"
        woq-extract -q x.gguf | tr -d '\t\n ' >x.txt
        grep -aqF -- "$5" x.txt
    }
    says cohere 's/("use_qk_norm": )true/\1false/' command-r.logit_scale command-r.logit_scalE '"logit_scale":1,'
    says granite '' granite.attention.scale granite.attention.scalE '"attention_multiplier":0.353553'
    says granitemoe '' granitemoe.attention.scale granitemoe.attention.scalE '"attention_multiplier":0.353553'
    says deepseek_v3 's/0\.002/1e-06/' expert_weights_scale expert_weights_scalE '"routed_scaling_factor":1,'
    says olmo3 '' original_context_length original_context_lengtH '"original_max_position_embeddings":32'
    says qwen3_moe '/"mlp_only_layers"/,/]/d' qwen3moe.feed_forward_length qwen3moe.feed_forward_lengtH '"moe_intermediate_size":24'
    says qwen3_moe '/"mlp_only_layers"/,/]/d;s/("intermediate_size": )48/\148/' expert_feed_forward_length expert_feed_forward_lengtH '"moe_intermediate_size":24'
    # a window that is not told is the usual one
    odd gemma2 's/("query_pre_attn_scalar": )24/\116/' attention.sliding_window attention.sliding_windoW
    woq-extract -q x.gguf >x.wts
    run ! grep -aq sliding_window x.wts
}
@test "unknown tensors go last, with a note" {
    copy hf
    sed -i 's/"tie_word_embeddings": false/"tie_word_embeddings": true/' m/config.json
    edit m/model.safetensors '"lm_head.weight' '"lm_tail.weight'
    woq-extract m >x.wts 2>err
    grep -q "1 tensors are unknown to the architecture ('lm_tail.weight', ...)" err
    [[ $(woq-ls x.wts | tail -1) == *lm_tail.weight* ]]
    woq-extract --quiet m 2>&1 >x.wts | cmp - /dev/null
}
@test "shards: paths out of the folder, lost shards, an index that lies" {
    index=m/model.safetensors.index.json
    for bad in ../model-00002-of-00002 /etc/passwd .hidden 'a\\\\b'; do
        rm -rf m && copy sharded
        sed -i "s|: \"model-00002-of-00002|: \"$bad|" $index
        run -1 --separate-stderr woq-extract m
        [[ $stderr == *"want a plain file name"* ]]
    done
    rm -rf m && copy sharded && rm m/model-00002-of-00002.safetensors
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"can't open 'm/model-00002-of-00002.safetensors'"* ]]
    rm -rf m && copy sharded && sed -i 's/"model.norm.weight": "model-0000[12]/"model.norm.weight": "model-00003/' $index
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"can't open 'm/model-00003-of-00002.safetensors'"* ]]
    rm -rf m && copy sharded && sed -i '/"model.norm.weight"/d' $index
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"model.norm.weight"* || $stderr == *"JSON"* ]]
    rm -rf m && copy sharded && rm $index
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"2 *.safetensors files and no model.safetensors.index.json"* ]]
    rm -rf m && copy sharded && cp m/model-00001-of-00002.safetensors m/model-00002-of-00002.safetensors
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"is there twice (model-0000"* ]]
}
@test "config.json: absent, broken, unknown architecture, other quantizers" {
    copy hf && rm m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"no config.json in 'm'"*"hint: copy the model's config.json there"* ]]
    run -1 --separate-stderr woq-extract m/model.safetensors
    [[ $stderr == *"no config.json in 'm'"* ]]
    echo '{"model_type": ' >m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"m/config.json: "* ]]
    echo '[]' >m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"m/config.json: not a JSON object"* ]]
    echo '{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}' >m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"unknown architecture 'MambaForCausalLM'"* ]]
    sed 's/^{/{"quantization_config": {"quant_method": "aqlm"},/' "$T/hf/config.json" >m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"quant_method 'aqlm' is not read, want one of gptq, awq"* ]]
    sed 's/^{/{"quantization_config": {"bits": 4},/' "$T/hf/config.json" >m/config.json
    run -1 --separate-stderr woq-extract m
    [[ $stderr == *"quantization_config without quant_method"* ]]
    for key in hidden_size num_hidden_layers num_attention_heads vocab_size; do
        sed "/\"$key\"/d" "$T/hf/config.json" >m/config.json
        run -1 --separate-stderr woq-extract m
        [[ $stderr == *"$key"* ]]
    done
}
@test "what is no checkpoint is refused by what it looks like" {
    run -1 --separate-stderr woq-extract /nosuch
    [[ $stderr == *"can't open '/nosuch'"* ]]
    printf 'PK\003\004 and more' >x.bin
    run -3 --separate-stderr woq-extract x.bin
    [[ $stderr == *"x.bin: truncated: the zip archive has no directory at its end"* ]]
    woq-gen w:f32:1 >x.wts
    run -1 --separate-stderr woq-extract x.wts
    [[ $stderr == *"'x.wts' is a woq stream already"*"hint: filters read it as it is"* ]]
    echo 'hello world, this is no model' >x.txt
    run -1 --separate-stderr woq-extract x.txt
    [[ $stderr == *"'x.txt' is no checkpoint that woq knows"* ]]
    : >empty
    run -1 woq-extract empty
    mkdir d && cp "$T/hf/config.json" d
    run -1 --separate-stderr woq-extract d
    [[ $stderr == *"folder 'd' has no .safetensors file and none of PyTorch"* ]]
    : >d/pytorch_model.bin
    run -3 --separate-stderr woq-extract d
    [[ $stderr == *"d/pytorch_model.bin: truncated: 0 bytes"* ]]
}
@test "a truncated file exits 3 and gets no TAIL" {
    copy hf
    truncate -s -4 m/model.safetensors
    run -3 --separate-stderr bash -c 'woq-extract m >x.wts'
    [[ $stderr == *"m/model.safetensors: truncated: tensor '"* ]]
    head -c 30000 "$T/tiny.gguf" >cut.gguf
    run -3 --separate-stderr bash -c 'woq-extract cut.gguf >x.wts'
    [[ $stderr == *"woq-extract: cut.gguf: truncated: tensor '"*"hint: the file is damaged or cut short"* ]]
    run -3 woq-ls --verify x.wts
    head -c 3000 "$T/v1.bin" >cut.bin
    run -3 --separate-stderr bash -c 'woq-extract cut.bin >x.wts'
    [[ $stderr == *"truncated: 3000 bytes, the llama2.c header (version 1) asks for 99200"* ]]
}
@test "the examples of the manual page" {
    run -0 woq-extract --list "$T/tiny.gguf"
    woq-gen --llama hidden=64,inter=96,layers=2,heads=4,kv=2,vocab=64 | woq-pack --format safetensors -o model/
    woq-extract model/ | woq-rtn --bits 4 | woq-pack --format gptq -o out/
    woq-extract out/ >x.wts
    grep -qa QTEN x.wts
    run -0 bash -c "woq-extract --match '*norm*' $T/hf | woq-cat --stats"
    [[ $output == *model.norm.weight* ]]
}
@test "usage: one operand" {
    run -2 woq-extract
    run -2 woq-extract a b
    run -0 woq-extract --help
    [[ $output == *"--check-finite"* ]]
}
