#!/usr/bin/env bats
# bitsandbytes, HQQ and FP8 by woq-pack and woq-extract: lossless where the format holds it.
bats_require_minimum_version 1.5.0
load ../helpers

setup() {
    llama=hidden=64,inter=128,layers=1,heads=4,kv=2,vocab=70,tie=1,seed=5
    woq-gen --llama $llama | woq-pack -q -f safetensors -o base
    woq-extract base >m.wts
}

# Packs, reads back, packs again: the same floats, the same bytes.
there_and_back() {
    local format=$1 tol=$2
    shift 2
    rm -rf out out2
    woq-rtn "$@" m.wts >q.wts
    woq-pack -q -f "$format" -o out q.wts
    woq-extract out >r.wts
    # Floats beside the linears are f16 in the files.
    woq-dequant -m '*proj*' q.wts | woq-cast --to f32 >q.f32
    woq-dequant -m '*proj*' r.wts | woq-cast --to f32 >r.f32
    woq-diff -m '*proj*' --tol "$tol" q.f32 r.f32
    woq-pack -q -f "$format" -o out2 r.wts
    cmp out/model.safetensors out2/model.safetensors
    cmp out/config.json out2/config.json
}

@test "bnb: nf4, fp4, nested absmax, int8" {
    there_and_back bnb 0 --dtype nf4 --group-size 64
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"quant_method":"bitsandbytes","load_in_4bit":true,"load_in_8bit":false,"bnb_4bit_quant_type":"nf4","bnb_4bit_use_double_quant":false' c
    grep -qF '"llm_int8_skip_modules":["lm_head"]' c
    there_and_back bnb 0 --dtype fp4 --group-size 32 --double-quant --double-quant-dtype dynamic
    grep -q '"bnb_4bit_use_double_quant":.*true' out/config.json
    there_and_back bnb 0 --bits 8 --group-size -1
    grep -q '"load_in_8bit":.*true' out/config.json
    grep -qE '"llm_int8_threshold":\s*6\.0,' out/config.json # transformers wants a float
    run -0 woq-extract --list out
    [[ $output == *"bnb8"* ]]
}
@test "hqq: widths, zero points" {
    for b in 8 4 3 2 1; do
        there_and_back hqq 1e-3 --bits $b --group-size 32 --asym
    done
    there_and_back hqq 1e-3 --bits 4 --group-size 32 --asym --float-zero
    there_and_back hqq 0 --bits 4 --group-size 32 --asym --float-zero --scale-dtype f16
    there_and_back hqq 1e-3 --bits 4 --group-size 64
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"weight_quant_params":{"nbits":4,"channel_wise":true,"group_size":64' c
}
@test "hqq: its own files, with scales and zero points that are quantized" {
    mkdir own
    cp "$GOLDEN/hqq/qmodel.pt" own
    cp base/config.json own # tells nothing of a quantization, as HQQ leaves it
    for path in own own/qmodel.pt; do
        run -0 woq-extract --list $path
        [ "$(grep -c '32x64' <<<"$output")" = 5 ]
        for linear in a.weight:hqq4 b.weight:hqq3 c.weight:hqq8 d.weight:hqq2 e.weight:hqq4; do
            grep -q "^model.layers.0.${linear%:*} *${linear#*:} " <<<"$output"
        done
    done
}
# columns BITS G_IDX: m.wts with linears in groups of 16 outputs, as HQQ has them with axis 0.
columns() {
    local name out in q groups idx ops=() n=0
    while read -r name out in; do
        n=$((n + 1)) groups="$((out / 16)),$in" idx=''
        for ((r = 0; r < out; r++)); do idx+=,$(($2)); done
        q="@QTEN{\"name\":\"model.layers.0.$name.weight\",\"block\":0,\"quant\":{\"bits\":$1,\"group_size\":16,\"group_dim\":0}}"
        q+=";codes:u8[$out,$in]:rand=$n,$(((1 << $1) - 1));scale:f32[$groups]:rand=$n,1;zero:f32[$groups]:rand=9,1"
        ops+=("$q;g_idx:i32:${idx#,}")
    done <<'END'
self_attn.q_proj 64 64
self_attn.k_proj 32 64
self_attn.v_proj 32 64
self_attn.o_proj 64 64
mlp.gate_proj 128 64
mlp.up_proj 128 64
mlp.down_proj 64 128
END
    woq-gen --modl base/config.json 'model.embed_tokens.weight:f32[70,64]:rand=1' BLKB:0 \
        'model.layers.0.input_layernorm.weight{"block":0}:f32[64]:fill=1' "${ops[@]:0:4}" \
        'model.layers.0.post_attention_layernorm.weight{"block":0}:f32[64]:fill=1' "${ops[@]:4}" BLKE:0 'model.norm.weight:f32[64]:fill=1'
}
@test "hqq: axis 0, groups smaller than a column" {
    for b in 4 3 2; do
        rm -rf first out out2
        columns $b 'r % (out / 16)' >q.wts
        woq-fsck -q q.wts
        woq-pack -q -f hqq --dtype f32 -o first q.wts
        tr -d ' \t\n' <first/config.json >c
        grep -qF '"weight_quant_params":{"nbits":'$b',"channel_wise":true,"group_size":16' c
        grep -qF '"axis":0' c
        woq-extract first >r.wts
        [ "$(woq-ls --json r.wts | grep -c '"group_dim":0')" = 7 ]
        woq-diff -m '*proj*' --tol 0 <(woq-dequant q.wts) <(woq-dequant r.wts)
        woq-pack -q -f hqq -o out r.wts
        woq-extract out | woq-pack -q -f hqq -o out2
        cmp out/model.safetensors out2/model.safetensors
        cmp out/config.json out2/config.json
    done
    echo '[[3,5,7]]' >ids.json # the decoder takes rows of what is quantized
    woq-eval -q --tokens ids.json --logits a.npy r.wts
    woq-dequant r.wts | woq-eval -q --tokens ids.json --logits b.npy
    cmp a.npy b.npy
    for f in gptq:GPTQ awq:AWQ autoround:AutoRound inc:INC compressed-tensors:CT gguf:GGUF; do
        run -1 --separate-stderr woq-pack -f ${f%:*} -o no r.wts
        [[ $stderr == *"proj.weight': group_dim 0 has no form in ${f#*:}"* ]]
    done
    columns 4 'r / 16' >q.wts # runs of outputs are not what axis 0 is
    run -1 --separate-stderr woq-pack -f hqq -o no q.wts
    [[ $stderr == *"64 outputs in groups of 16: HQQ wants whole groups, of the outputs that are equal modulo their number"* ]]
    [ ! -e no ]
}
@test "fp8: blocks, rows, tensors" {
    there_and_back fp8 0 --dtype fp8_e4m3 --group-size 32 --group-rows 48
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"weight_block_size":[48,32],"fmt":"e4m3"' c
    there_and_back fp8 0 --dtype fp8_e5m2
    there_and_back fp8 0 --dtype fp8_e4m3 --group-rows -1
}
@test "compressed-tensors: nvfp4, mxfp4, mxfp8, fp8 by rows, blocks and tensors" {
    local format
    for format in nvfp4 mxfp4 mxfp8; do
        there_and_back compressed-tensors 0 --dtype $format
    done
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"weights":{"num_bits":8,"type":"float","symmetric":true,"strategy":"group","group_size":32,"dynamic":false}' c
    there_and_back compressed-tensors 0 --dtype fp8_e4m3
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"strategy":"channel","group_size":null,"dynamic":false},"input_activations":{"num_bits":8,"type":"float","symmetric":true,"strategy":"token","dynamic":true}' c
    there_and_back compressed-tensors 0 --dtype fp8_e4m3 --group-rows -1
    grep -q '"strategy":.*"tensor"' out/config.json
    there_and_back compressed-tensors 0 --dtype fp8_e4m3 --group-rows 48 --group-size 32
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"strategy":"block","group_size":null,"block_structure":[48,32]' c
    run -0 woq-extract --list out
    [[ $output == *fp8_e4m3* ]]
}
@test "compressed-tensors: integers and floats in one checkpoint, a group for each" {
    woq-scheme --set '*down_proj* dtype=nvfp4' m.wts | woq-rtn --bits 4 --group-size 32 >q.wts
    woq-pack -q -f compressed-tensors -o out q.wts
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"format":"mixed-precision"' c
    grep -qF '{"targets":["model.layers.0.mlp.down_proj"],"weights":{"num_bits":4,"type":"float","symmetric":true,"strategy":"tensor_group","group_size":16' c
    woq-extract out | woq-pack -q -f compressed-tensors -o out2
    cmp out/model.safetensors out2/model.safetensors
    cmp out/config.json out2/config.json
}
@test "mxfp4 goes between compressed-tensors and GGUF as it is, fp8 between its two formats" {
    woq-rtn --dtype mxfp4 m.wts | woq-pack -q -f compressed-tensors -o a
    woq-extract a | woq-pack -q -f gguf -o b.gguf
    woq-extract a | woq-dequant -m '*proj*' | woq-cast --to f32 >a.f32
    woq-extract b.gguf | woq-dequant -m '*proj*' | woq-cast --to f32 >b.f32
    woq-diff -m '*proj*' --tol 0 a.f32 b.f32
    woq-rtn --dtype fp8_e4m3 --group-rows 48 --group-size 32 m.wts | woq-pack -q -f fp8 -o c
    woq-extract c | woq-pack -q -f compressed-tensors -o d
    woq-extract d | woq-pack -q -f fp8 -o e
    cmp c/model.safetensors e/model.safetensors
}
@test "autoround's floats are the tensors of compressed-tensors and fp8 under another configuration" {
    local format said
    for format in nvfp4 mxfp4 mxfp8 fp8_e4m3; do
        rm -rf a b
        woq-rtn --dtype $format m.wts | woq-pack -q -f compressed-tensors -o a
        case $format in nv*) said=nv_fp ;; mx*) said=mx_fp ;; *) said=fp ;; esac
        sed 's/"compressed-tensors"/"auto-round", "data_type": "'$said'", "packing_format": "auto_round:llm_compressor"/' \
            a/config.json >c && mv c a/config.json
        woq-extract a | woq-pack -q -f compressed-tensors -o b
        cmp a/model.safetensors b/model.safetensors
    done
    woq-rtn --dtype fp8_e4m3 --group-size 32 --group-rows 48 m.wts | woq-pack -q -f fp8 -o c8
    sed 's/"fp8"/"auto-round", "data_type": "fp", "packing_format": "auto_round:fp8"/
        s/"weight_block_size"/"group_size"/' c8/config.json >c && mv c c8/config.json
    woq-extract c8 | woq-pack -q -f fp8 -o d8
    cmp c8/model.safetensors d8/model.safetensors
    grep -q '"weight_block_size"' d8/config.json
    run -1 --separate-stderr woq-pack -f autoround -o e8 <(woq-extract d8)
    [[ $stderr == *"a codebook has no form in AutoRound"* ]]
    sed -i 's/"fp8"/"auto-round", "data_type": "mx_uint"/' d8/config.json
    run -1 --separate-stderr woq-extract d8
    [[ $stderr == *"data_type 'mx_uint' with packing_format 'auto_round:auto_gptq' is not read"*hint:* ]]
}
@test "autoround: what mx_int and scales in e5m3 mean to types that mxfp4 has too" {
    woq-rtn --dtype mxfp4 m.wts | woq-pack -q -f compressed-tensors -o a
    sed -i 's/"compressed-tensors"/"auto-round", "data_type": "mx_int"/' a/config.json
    woq-extract a >i.wts
    run -0 woq-ls --json i.wts
    [[ $output == *'"dtype":"int"'* ]]
    # fields of mx_int are whole numbers that every format of integers holds
    woq-pack -q -f gptq -o g i.wts
    woq-extract g | woq-diff --tol 0 -m '*proj*' i.wts -
    sed -i 's/"mx_int"/"nvfp4_v2"/' a/config.json
    run -1 --separate-stderr woq-extract --list a
    [[ $stderr == *"nvfp4 has a scale for each 16 of 128 inputs"* ]]
}
@test "linears that stay float are told to loaders" {
    woq-scheme --set '*down_proj* float' m.wts | woq-rtn --dtype nf4 -g 64 | woq-pack -q -f bnb -o out
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"llm_int8_skip_modules":["model.layers.0.mlp.down_proj","lm_head"]' c
    woq-extract out | woq-pack -q -f bnb -o out2
    cmp out/model.safetensors out2/model.safetensors
}
@test "from one format to another" {
    woq-rtn --bits 4 --group-size 32 --asym m.wts | woq-pack -q -f gptq -o a
    woq-extract a | woq-pack -q -f hqq -o b
    woq-extract b | woq-pack -q -f gptq -o c
    cmp a/model.safetensors c/model.safetensors
}
@test "what a format cannot hold is refused by name" {
    refuse() {
        local format=$1 want=$2
        shift 2
        woq-rtn "$@" m.wts >q.wts
        run -1 --separate-stderr woq-pack -f "$format" -o out q.wts
        [[ $stderr == *"$want"* ]] || { echo "$stderr"; return 1; }
        [[ $stderr == *"q_proj.weight'"* ]]
        [ ! -e out ]
    }
    refuse bnb "integers of 4 bits: bitsandbytes holds nf4, fp4" --bits 4
    refuse bnb "a codebook of 4 bits" --dtype mxfp4
    refuse bnb "64 inputs in groups of 48: bitsandbytes has blocks" --dtype nf4 -g 48
    refuse hqq "a codebook has no form in HQQ" --dtype nf4
    refuse hqq "7 bits" --bits 7
    refuse hqq "64 inputs in groups of 48" --bits 4 -g 48
    refuse hqq "64 outputs in groups of 32" --bits 4 -g 32 --group-dim 0
    refuse bnb "group_dim 0 has no form in bitsandbytes" --dtype nf4 -g 32 --group-dim 0
    refuse compressed-tensors "this codebook has no form in CT" --dtype nf4
    refuse compressed-tensors "this codebook has no form in CT" --dtype fp8_e5m2
    refuse compressed-tensors "groups of 32 inputs in single rows: float-quantized has blocks" --dtype fp8_e4m3 -g 32
    q='"block":0,"quant":{"bits":4,"group_size":32,"group_dim":0}};codes:u8[128,64]:fill=2;scale:f32[4,64]:fill=1'
    e2m1=0,0.5,1,1.5,2,3,4,6,-0,-0.5,-1,-1.5,-2,-3,-4,-6
    woq-gen --modl base/config.json BLKB:0 '@QTEN{"name":"model.layers.0.mlp.gate_proj.weight",'"$q;lut:f32:$e2m1" BLKE:0 >q.wts
    run -1 --separate-stderr woq-pack -f compressed-tensors -o out q.wts
    [[ $stderr == *"gate_proj.weight': group_dim 0 has no form in CT"* ]]
    refuse fp8 "groups of 32 inputs in all rows: fp8 has blocks" --dtype fp8_e4m3 -g 32 --group-rows -1
    refuse fp8 "blocks of 16 whole rows: fp8 has blocks" --dtype fp8_e4m3 --group-rows 16
    refuse fp8 "a grid of 8 bits has no form in fp8" --bits 8
    refuse fp8 "groups of 32 inputs in single rows" --dtype fp8_e4m3 -g 32
    run -1 --separate-stderr woq-pack -f fp8 -o out m.wts
    [[ $stderr == *"fp8 holds quantized linears, there is none"* ]]
    woq-scheme --set '*k_proj* dtype=fp4' m.wts | woq-rtn --dtype nf4 -g 64 >q.wts
    run -1 --separate-stderr woq-pack -f bnb -o out q.wts
    [[ $stderr == *"this linear is fp4, others are nf4"* ]]
    woq-rtn --dtype nvfp4 m.wts >q.wts
    run -1 --separate-stderr woq-pack -f compressed-tensors --checkpoint-format float-quantized -o out q.wts
    [[ $stderr == *"nvfp4 has no form in --checkpoint-format float-quantized"* ]]
    woq-rtn m.wts >q.wts
    run -1 --separate-stderr woq-pack -f compressed-tensors --checkpoint-format nvfp4-pack-quantized -o out q.wts
    [[ $stderr == *"integers have no form in nvfp4-pack-quantized"* ]]
    woq-rtn --dtype nf4 -g 64 m.wts >q.wts
    run -2 --separate-stderr woq-pack -f bnb --checkpoint-format gptq -o out q.wts
    [[ $stderr == *"--checkpoint-format gptq: --format bnb has auto"* ]]
}
@test "the same bytes for any number of threads" {
    woq-rtn --dtype nf4 -g 64 m.wts | WOQ_THREADS=1 woq-pack -q -f bnb -o out
    woq-rtn --dtype nf4 -g 64 m.wts | woq-pack -q --threads 5 -f bnb -o out2
    cmp out/model.safetensors out2/model.safetensors
}
@test "woq quantize --dtype" {
    woq quantize --quiet --dtype nf4 --group-size 64 --format bnb base out
    [ -e out/model.safetensors ]
}
