#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
# shellcheck disable=SC2016

setup() {
    printf '{"version":"1.0",\n "odd":  [1]}' >special_tokens_map.json
    llama=hidden=64,inter=96,layers=3,heads=4,kv=2,vocab=70,tie=1,seed=5
    woq-gen --llama $llama | woq-pack -q -f safetensors -o base
    cp special_tokens_map.json base
    woq-extract base >m.wts
    woq-rtn --bits 4 --group-size 32 --asym m.wts >q.wts
}

# Nothing but what the test itself made: no final name, no temporary.
no_rest() {
    run -0 find . -name 'out*' -o -name '.out*'
    [ -z "$output" ]
}

# A GPTQ stream whose group indices are permuted: act_order without the quantizer.
permuted() {
    woq-gen --modl config.json \
        '@QTEN{"name":"a.weight","quant":{"bits":'"$1"',"group_size":32,"sym":false}};codes:u8[64,64]:rand=3,1;scale:f32[64,2]:fill=0.5;zero:f32[64,2]:fill=1;g_idx:i32[64]:@idx'
}

@test "safetensors: the same tensors, side files byte for byte" {
    woq-pack -q -f safetensors -o out m.wts
    cmp special_tokens_map.json out/special_tokens_map.json
    woq-extract out >back.wts
    run -0 woq-diff m.wts back.wts
    [ "$(stat -c %a out)" = "$(umask -S >/dev/null; printf %o $((0777 & ~$(umask))))" ]
    [ "$(find out -type f | wc -l)" = 3 ]
}
@test "safetensors: config.json byte for byte unless the dtype changed" {
    woq-pack -q -f safetensors -o out m.wts
    woq-pack -q -f safetensors -o out2 --dtype bf16 m.wts
    grep -q '"torch_dtype":.*"bfloat16"' out2/config.json
    woq-extract out | woq-pack -q -f safetensors -o out3
    cmp out/config.json out3/config.json
    cmp out/model.safetensors out3/model.safetensors
}
@test "safetensors: every dtype is the cast of the stream" {
    for t in f32 f16 bf16; do
        woq-pack -q -f safetensors -o "out-$t" --dtype $t m.wts
        woq-extract "out-$t" >a.wts
        woq-cast --to $t m.wts >b.wts
        run -0 woq-diff a.wts b.wts
    done
}
@test "safetensors: quantized tensors become the floats of woq-dequant" {
    woq-pack -q -f safetensors -o out q.wts
    woq-extract out >a.wts
    woq-dequant q.wts >b.wts
    run -0 woq-diff a.wts b.wts
    grep -q '"torch_dtype":.*"float32"' out/config.json
}
@test "safetensors: shards, their index, and the limit" {
    run -0 woq-pack -f safetensors -o out --shard-size 50000 --json m.wts
    n=$(find out -name 'model-*.safetensors' | wc -l)
    [ "$n" -gt 2 ]
    [[ $output == *"\"files\":$((n + 3)),"* ]]
    [ -f "out/model-00001-of-$(printf %05d "$n").safetensors" ]
    for f in out/*.safetensors; do [ "$(stat -c %s "$f")" -lt 70000 ]; done
    woq-extract out >back.wts
    run -0 woq-diff m.wts back.wts
    size=$(grep -o '"total_size": [0-9]*' out/model.safetensors.index.json | cut -d' ' -f2)
    [[ $(woq-pack -f safetensors -o out2 --json m.wts) == *"\"tensor_bytes\":$size,"* ]]
}
@test "safetensors: a header larger than the room that was kept" {
    long=$(printf 'x%.0s' {1..240})
    args=()
    for i in {1..40}; do args+=("$long$i:u16[2]:$i,$i"); done
    printf '{}' >config.json
    woq-gen --modl config.json "${args[@]}" >long.wts
    woq-pack -q -f safetensors -o out long.wts
    run -0 bash -c "od -An -tu8 -N8 out/model.safetensors"
    [ "$((output % 8))" = 0 ]
}
@test "safetensors: odd lengths go last, so that all are aligned" {
    printf '{}' >config.json
    woq-gen --modl config.json a:u8:1,2,3 b:f32:1,2,3 c:f16:1 d:i64:-5 e:u8:9 f:f64:0.5 g:f32:7,8 >odd.wts
    woq-pack -q -f safetensors -o out odd.wts
    # name, begin of each: multiples of the element size
    run -0 bash -c "tail -c +9 out/model.safetensors | head -c 900 | grep -ao '\"[a-g]\":{[^}]*' |
        sed 's/.*\"dtype\":\"[A-Z]*\([0-9]*\)\".*offsets\":\[\([0-9]*\),.*/\1 \2/'"
    [ "${#lines[@]}" = 7 ]
    for l in "${lines[@]}"; do
        read -r bits at <<<"$l"
        [ $((at % (bits / 8))) = 0 ]
    done
}
@test "gptq: pack, extract and pack again give the same bytes, for every width" {
    for args in "--bits 2 --asym" "--bits 3 --sym" "--bits 4 --asym" "--bits 8 --asym" "--bits 4 --sym" \
        "--bits 5 --asym" "--bits 6 --sym" "--bits 7 --asym"; do
        for g in 32 -1; do
            # shellcheck disable=SC2086
            woq-rtn $args --group-size $g m.wts >q.wts
            woq-pack -q -f gptq -o out --force q.wts
            woq-extract out >r.wts
            woq-pack -q -f gptq -o out2 --force r.wts
            cmp out/model.safetensors out2/model.safetensors
            cmp out/config.json out2/config.json
            # codes and zero points exactly, scales as f16
            run -0 woq-diff --tol 1e-3 q.wts r.wts
        done
    done
}
@test "gptq: configuration" {
    woq-pack -q -f gptq -o out q.wts
    tr -d ' \t\n' <out/quantize_config.json >c
    grep -q '"bits":4,"group_size":32,"desc_act":false,"sym":false,' c
    grep -q '"quant_method":"gptq","checkpoint_format":"gptq' c
    tr -d ' \t\n' <out/config.json | grep -q '"quantization_config":{"bits":4,'
    grep -q '"torch_dtype":.*"float16"' out/config.json
    run ! grep dynamic c
}
@test "gptq: a config that was quantized before gets one new quantization_config" {
    woq-pack -q -f gptq -o out q.wts
    woq-extract out | woq-dequant | woq-rtn --bits 8 --group-size 32 | woq-pack -q -f gptq -o out2
    [ "$(grep -c quantization_config out2/config.json)" = 1 ]
    grep -q '"bits":.*8' out2/config.json
    woq-extract out | woq-dequant | woq-pack -q -f safetensors -o out3
    run ! grep quantization_config out3/config.json
}
@test "gptq: zero points of 0 need gptq_v2, 3 bits too" {
    printf '{}' >config.json
    z='@QTEN{"name":"a.weight","quant":{"bits":4,"group_size":32,"sym":false}};codes:u8[32,32]:rand=3,15;scale:f32[32,1]:fill=0.5;zero:f32[32,1]:fill=3'
    n='@QTEN{"name":"b.weight","quant":{"bits":4,"group_size":32,"sym":false}};codes:u8[32,32]:rand=4,15;scale:f32[32,1]:fill=0.5;zero:f32[32,1]:fill=0'
    woq-gen --modl config.json "$z" >z.wts
    woq-gen --modl config.json "$z" "$n" >zn.wts
    woq-pack -q -f gptq -o out z.wts
    grep -q '"checkpoint_format":.*"gptq",' out/config.json
    woq-pack -q -f gptq -o out2 zn.wts
    grep -q '"checkpoint_format":.*"gptq_v2",' out2/config.json
    # the tensor that was written before the switch is right too
    woq-pack -q -f gptq -o out3 --checkpoint-format gptq_v2 zn.wts
    cmp out2/model.safetensors out3/model.safetensors
    run -1 --separate-stderr woq-pack -f gptq -o out4 --checkpoint-format gptq zn.wts
    [[ $stderr == *"'b.weight': 32 zero points are 0"*"--checkpoint-format gptq_v2"* ]]
    woq-rtn --bits 3 --group-size 32 m.wts | woq-pack -q -f gptq -o out5
    grep -q '"checkpoint_format":.*"gptq_v2",' out5/config.json
}
@test "gptq: 5 to 7 bits lie by planes, and so does every linear beside them" {
    woq-scheme --set '*q_proj* bits=4' --set '*k_proj* bits=3' --set '*.1.mlp.up_proj* bits=5' \
        --set '*.1.mlp.down_proj* bits=3' m.wts | woq-rtn --bits 4 --group-size 32 >mixed.wts
    woq-pack -q -f gptq -o out mixed.wts
    grep -q '"checkpoint_format":.*"gptq_p",' out/config.json
    # what was written before the first of them is right too
    woq-pack -q -f gptq --checkpoint-format gptq_p -o out2 mixed.wts
    cmp out/model.safetensors out2/model.safetensors
    cmp out/config.json out2/config.json
    woq-extract out >r.wts
    woq-diff --tol 1e-3 mixed.wts r.wts
    WOQ_THREADS=1 woq-pack -q -f gptq -o out3 r.wts
    cmp out/model.safetensors out3/model.safetensors
    # the same codes as autoround's string of bits
    woq-extract out | woq-pack -q -f autoround -o there
    woq-extract there | woq-pack -q -f gptq -o back
    cmp out/model.safetensors back/model.safetensors
    run -1 --separate-stderr woq-pack -f gptq --checkpoint-format gptq -o out4 mixed.wts
    [[ $stderr == *"'model.layers.1.mlp.up_proj.weight': 5 bits: GPTQ holds 2, 3, 4 and 8"* ]]
    woq-rtn --bits 4 --group-size 32 --asym m.wts >four.wts
    woq-pack -q -f gptq --checkpoint-format gptq_p -o planar four.wts
    woq-pack -q -f gptq --checkpoint-format gptq_v2 -o plain four.wts
    cmp planar/model.safetensors plain/model.safetensors
}
@test "gptq: permuted groups keep their g_idx, and desc_act says so" {
    printf '{}' >config.json
    # 64 indices as i32: 0 1 0 1 ...
    for _ in {1..32}; do printf '\0\0\0\0\1\0\0\0'; done >idx
    permuted 2 >p.wts
    woq-pack -q -f gptq -o out p.wts
    grep -q '"desc_act":.*true' out/config.json
}
@test "gptq: linears that differ or stay float are named" {
    woq-scheme --set '*.1.mlp.down_proj* bits=8' --set '*o_proj* dtype=float' m.wts |
        woq-rtn --bits 4 --group-size 32 --asym >mixed.wts
    woq-pack -q -f gptq -o out mixed.wts
    tr -d ' \t\n' <out/quantize_config.json >c
    grep -qF '"-:^model\\.layers\\.0\\.self_attn\\.o_proj$":{}' c
    grep -qF '"+:^model\\.layers\\.1\\.mlp\\.down_proj$":{"bits":8,"group_size":32,"sym":false}' c
    grep -qF '"modules_in_block_to_quantize":[["self_attn.q_proj","self_attn.k_proj","self_attn.v_proj","mlp.gate_proj","mlp.up_proj","mlp.down_proj"]]' c
    woq-extract out >back.wts
    woq-pack -q -f gptq -o out2 back.wts
    cmp out/model.safetensors out2/model.safetensors
}
@test "gptq: what it cannot hold is refused by name" {
    woq-rtn --bits 1 --group-size 32 m.wts >one.wts
    run -1 --separate-stderr woq-pack -f gptq -o out one.wts
    [[ $stderr == *"woq-pack: 'model.layers.0.self_attn.q_proj.weight': 1 bits: GPTQ holds 2, 3, 4, 5, 6, 7 and 8"*"hint: "* ]]
    woq-rtn --bits 4 --group-size 32 --group-dim 0 m.wts >dim0.wts
    run -1 --separate-stderr woq-pack -f gptq -o out dim0.wts
    [[ $stderr == *"group_dim 0 has no form in GPTQ"* ]]
    run -1 --separate-stderr woq-pack -f gptq -o out m.wts
    [[ $stderr == *"no tensor of the stream is quantized"*"woq-rtn"* ]]
    woq-gen --llama hidden=40,inter=64,layers=1,heads=4,kv=2,vocab=32 | woq-rtn --bits 4 >forty.wts
    run -1 --separate-stderr woq-pack -f gptq -o out forty.wts
    [[ $stderr == *"40 outputs and 40 inputs: GPTQ wants multiples of 32"* ]]
    printf '{}' >config.json
    q='"quant":{"bits":4,"group_size":32,"sym":false}};codes:u8[32,32]:rand=3,15;scale:f32[32,1]:fill='
    woq-gen --modl config.json '@QTEN{"name":"a.weight",'"$q"'1;zero:f32[32,1]:fill=2.5' >frac.wts
    run -1 --separate-stderr woq-pack -f gptq -o out frac.wts
    [[ $stderr == *"zero point 2.5 of row 0, group 0: GPTQ holds integers in 0..15"* ]]
    woq-gen --modl config.json '@QTEN{"name":"a.weight",'"$q"'1e6;zero:f32[32,1]:fill=2' >big.wts
    run -1 --separate-stderr woq-pack -f gptq -o out big.wts
    [[ $stderr == *"'a.weight': a scale is not finite in F16"* ]]
    no_rest
}
@test "awq: pack, extract and pack again give the same bytes; so does the way over GPTQ" {
    woq-pack -q -f awq -o out q.wts
    woq-extract out >r.wts
    woq-pack -q -f awq -o out2 r.wts
    cmp out/model.safetensors out2/model.safetensors
    cmp out/config.json out2/config.json
    run -0 woq-diff --tol 1e-3 q.wts r.wts
    woq-pack -q -f gptq -o out3 r.wts
    woq-extract out3 | woq-pack -q -f awq -o out4
    cmp out/model.safetensors out4/model.safetensors
    cmp out/config.json out4/config.json
    cmp special_tokens_map.json out/special_tokens_map.json
}
@test "packed formats hold each other: the same bytes by any way back" {
    woq-pack -q -f gptq -o first q.wts
    for to in autoround:auto autoround:auto_round autoround:auto_round:gptqmodel \
        autoround:auto_round:auto_awq inc:auto compressed-tensors:pack-quantized compressed-tensors:int-quantized; do
        woq-extract first | woq-pack -q -f "${to%%:*}" --checkpoint-format "${to#*:}" -o there
        woq-extract there | woq-pack -q -f "${to%%:*}" --checkpoint-format "${to#*:}" -o again
        cmp there/model.safetensors again/model.safetensors
        cmp there/config.json again/config.json
        woq-extract again | woq-pack -q -f gptq -o back
        cmp first/model.safetensors back/model.safetensors
        cmp special_tokens_map.json back/special_tokens_map.json
        rm -r there again back
    done
}
@test "autoround: configuration, with what differs" {
    woq-scheme --set '*.1.mlp.down_proj* bits=8' --set '*o_proj* dtype=float' m.wts |
        woq-rtn --bits 4 --group-size 32 >mixed.wts
    woq-pack -q -f autoround -o out mixed.wts
    tr -d ' \t\n' <out/quantization_config.json >c
    grep -qF '{"bits":4,"group_size":32,"sym":true,"data_type":"int","quant_method":"auto-round","packing_format":"auto_round:auto_gptq","block_name_to_quantize":"model.layers","extra_config":{' c
    grep -qF '"model.layers.0.self_attn.o_proj":{"bits":16,"data_type":"float"}' c
    grep -qF '"model.layers.1.mlp.down_proj":{"bits":8}' c
    woq-extract out | woq-pack -q -f autoround -o out2
    cmp out/model.safetensors out2/model.safetensors
    cmp out/config.json out2/config.json
    # a zero point of 0 has no place in auto_gptq
    printf '{}' >config.json
    n='@QTEN{"name":"b.weight","quant":{"bits":4,"group_size":32,"sym":false}};codes:u8[32,32]:rand=4,15;scale:f32[32,1]:fill=0.5;zero:f32[32,1]:fill=0'
    woq-gen --modl config.json "$n" >n.wts
    woq-pack -q -f autoround -o out3 n.wts
    grep -q '"packing_format":.*"auto_round"' out3/config.json
    run -1 --separate-stderr woq-pack -f autoround --checkpoint-format auto_round:auto_gptq -o out4 n.wts
    [[ $stderr == *"'b.weight': 32 zero points are 0: readers of auto_round:auto_gptq"*"--checkpoint-format auto_round"* ]]
    for _ in {1..32}; do printf '\0\0\0\0\1\0\0\0'; done >idx
    permuted 4 >p.wts
    run -1 --separate-stderr woq-pack -f autoround -o out5 p.wts
    [[ $stderr == *"its groups are permuted: AutoRound has no g_idx"*"--format gptq"* ]]
    woq-pack -q -f autoround --checkpoint-format auto_round:gptqmodel -o out5 p.wts
}
@test "autoround: auto_awq has 4 to 7 bits" {
    local bits
    for bits in 4 5 6 7; do
        woq-rtn --bits $bits --group-size 32 --asym m.wts >a.wts
        rm -rf out out2 out3
        woq-pack -q -f autoround --checkpoint-format auto_round:auto_awq -o out a.wts
        woq-extract out | woq-pack -q -f autoround --checkpoint-format auto_round:auto_awq -o out2
        cmp out/model.safetensors out2/model.safetensors
        woq-pack -q -f autoround -o out3 --checkpoint-format auto_round a.wts
        woq-diff --tol 0 <(woq-extract out) <(woq-extract out3)
    done
    woq-rtn --bits 8 --group-size 32 m.wts >a.wts
    run -1 --separate-stderr woq-pack -f autoround --checkpoint-format auto_round:auto_awq -o out4 a.wts
    [[ $stderr == *"8 bits: AutoRound holds 4, 5, 6 and 7"*"hint: quantize with --bits 4, 5, 6 and 7"* ]]
}
@test "inc: words of whole fields where GPTQ has none, one scheme for all" {
    for bits in 3 5 6 7; do
        woq-rtn --bits $bits --group-size 32 --asym m.wts >q.wts
        woq-pack -q -f inc -o out q.wts
        woq-extract out >r.wts
        run -0 woq-diff --tol 1e-3 q.wts r.wts
        woq-pack -q -f inc -o out2 r.wts
        cmp out/model.safetensors out2/model.safetensors
        cmp out/config.json out2/config.json
        rm -r out out2
    done
    woq-scheme --set '*.1.mlp.down_proj* bits=8' m.wts | woq-rtn --bits 4 --group-size 32 >mixed.wts
    run -1 --separate-stderr woq-pack -f inc -o out mixed.wts
    [[ $stderr == *"'model.layers.1.mlp.down_proj.weight': it is quantized otherwise than"*"--format gptq"* ]]
    woq-scheme --set '*.1.mlp.down_proj* dtype=float' m.wts | woq-rtn --bits 4 --group-size 32 >mixed.wts
    run -1 --separate-stderr woq-pack -f inc -o out mixed.wts
    [[ $stderr == *"it is not quantized: INC has one scheme for all linears"* ]]
}
@test "inc: its own form, each linear in its own scheme" {
    for scheme in '--bits 2 --group-size 32 --asym' '--bits 4 --group-size 32' '--bits 8 --group-size -1' \
        '--bits 3 --group-size 16 --asym'; do
        # shellcheck disable=SC2086
        woq-scheme --set '*.1.mlp.down_proj* bits=8' --set '*o_proj* dtype=float' m.wts |
            woq-rtn $scheme >q.wts
        WOQ_THREADS=1 woq-pack -q -f inc --checkpoint-format default --dtype f32 -o out q.wts
        [ "$(cd out && echo *)" = 'config.json qconfig.json quantized_weight.pt special_tokens_map.json' ]
        run ! grep -q quantization_config out/config.json
        woq-extract --check-crc out >r.wts
        run -0 woq-diff --tol 1e-3 q.wts r.wts
        woq-pack -q -f inc --checkpoint-format default --dtype f32 -o out2 r.wts
        cmp out/quantized_weight.pt out2/quantized_weight.pt
        cmp out/qconfig.json out2/qconfig.json
        cmp out/config.json out2/config.json
        woq-extract out2 >again.wts
        run -0 woq-diff r.wts again.wts
        rm -r out out2
    done
}
@test "inc: its own form of codebooks" {
    pack=(woq-pack -q -f inc --checkpoint-format default --dtype f32)
    woq-gen '@TOKN{"sample":0};ids:u32[12]:1,9,3,7,60,5,3,2,44,50,61,8' >t.wts
    for scheme in 'nf4 32' 'nf4 -1' 'fp4 48' 'fp4_e2m1 16' 'nf4 64 --act-order'; do
        # shellcheck disable=SC2086
        set -- $scheme
        if [ $# = 3 ]; then
            woq-calib -q --tokens t.wts --through "woq-hessian | woq-gptq --dtype $1 --group-size $2 $3" m.wts
        else
            woq-scheme --set '*.1.mlp.down_proj* bits=8' --set '*o_proj* dtype=float' m.wts |
                woq-rtn --dtype "$1" --group-size "$2" --scale-dtype f16
        fi >q.wts
        "${pack[@]}" -o out q.wts
        grep -q "\"dtype\":.*\"$1\"" out/qconfig.json
        woq-extract --check-crc out >r.wts
        # fp4 is not divided by 12 there, but its scales are
        run -0 woq-diff --tol "$([ "$1" = fp4 ] && echo 1e-7 || echo 0)" q.wts r.wts
        woq-cat r.wts | grep -c 'g_idx' >n || true
        [ "$(cat n)" -ge $(($# == 3)) ]
        WOQ_THREADS=1 WOQ_ISA=ref "${pack[@]}" -o out2 r.wts
        cmp out/quantized_weight.pt out2/quantized_weight.pt
        cmp out/qconfig.json out2/qconfig.json
        woq-extract out2 >again.wts
        run -0 woq-diff --tol 0 r.wts again.wts
        rm -r out out2
    done
    woq-rtn --dtype fp4 --group-size 32 m.wts >q.wts
    "${pack[@]}" --scale-dtype f16 -o out q.wts
    woq-extract out >r.wts
    run -0 woq-diff --tol 1e-3 q.wts r.wts
    run -1 woq-diff --tol 1e-6 q.wts r.wts
    woq-extract out | "${pack[@]}" --scale-dtype f16 -o out2
    cmp out/quantized_weight.pt out2/quantized_weight.pt
}
@test "inc: its own form of scales of inputs" {
    echo '{"model_type":"qwen2","hidden_size":32,"intermediate_size":64,"num_hidden_layers":1,"num_attention_heads":2,
        "num_key_value_heads":2,"vocab_size":8,"rms_norm_eps":1e-6,"tie_word_embeddings":true}' >config.json
    lut='lut:f32:-1,-0.6961928,-0.52507305,-0.3949175,-0.28444138,-0.18477343,-0.091050036,0,0.0795803,0.1609302,0.2461123,0.33791524,0.44070983,0.562617,0.72295684,1'
    linear() { # NAME OUT IN MORE
        printf '@QTEN{"name":"model.layers.0.%s.weight","block":0,"quant":{"bits":4,"group_size":16}};codes:u8[%d,%d]:rand=4,15;scale:f32[%d,%d]:%s' \
            "$1" "$2" "$3" "$2" $(($3 / 16)) "$4"
    }
    p=model.layers.0
    woq-gen --modl config.json 'model.embed_tokens.weight:f32[8,32]:rand=1' BLKB:0 $p.input_layernorm.weight:f32[32]:fill=1 \
        "$(linear self_attn.q_proj 32 32 'fill=0.5;zero:f32[32,2]:fill=3;in_scale:f32[32]:rand=5,1')" $p.self_attn.q_proj.bias:f32[32]:rand=1,1 \
        $p.self_attn.k_proj.bias:f32[32]:rand=2,1 "$(linear self_attn.k_proj 32 32 "rand=6,1;$lut;in_scale:f32[32]:rand=6,1")" \
        $p.self_attn.v_proj.bias:f32[32]:rand=3,1 "$(linear self_attn.v_proj 32 32 fill=2)" "$(linear self_attn.o_proj 32 32 fill=1)" \
        $p.post_attention_layernorm.weight:f32[32]:fill=1 "$(linear mlp.gate_proj 64 32 fill=1)" "$(linear mlp.up_proj 64 32 fill=1)" \
        "$(linear mlp.down_proj 32 64 fill=2)" BLKE:0 'model.norm.weight:f32[32]:fill=1' >q.wts
    woq-pack -q -f inc --checkpoint-format default --dtype f32 -o out q.wts
    for name in q_proj.input_scale q_proj.linear.qweight q_proj.linear.bias k_proj.input_scale k_proj.linear.scales \
        k_proj.linear.bias v_proj.qweight v_proj.bias; do
        grep -qaF "$p.self_attn.$name" out/quantized_weight.pt
    done
    run ! grep -qaF v_proj.linear out/quantized_weight.pt
    [ "$(grep -c '"awq"' out/qconfig.json)" = 7 ] # its loader reads scales of inputs for awq and teq alone
    woq-extract out >r.wts
    run -0 woq-diff --tol 0 q.wts r.wts
    run -0 woq-cat r.wts
    [[ $output == *q_proj.weight/in_scale* && $output == *k_proj.weight/in_scale* && $output != *v_proj.weight/in_scale* ]]
    # the reader puts a bias behind its weight
    woq-pack -q -f inc --checkpoint-format default --dtype f32 -o out2 r.wts
    woq-extract out2 >r2.wts
    run -0 woq-diff --tol 0 r.wts r2.wts
    woq-pack -q -f inc --checkpoint-format default --dtype f32 -o out3 r2.wts
    cmp out2/quantized_weight.pt out3/quantized_weight.pt
    cmp out2/qconfig.json out3/qconfig.json
    run -1 --separate-stderr woq-pack -f inc -o out4 q.wts
    [[ $stderr == *"q_proj.weight': a scale per input has no form in INC"* ]]
    run -1 --separate-stderr woq-pack -f gptq -o out4 q.wts
    [[ $stderr == *"q_proj.weight': a scale per input has no form in GPTQ"* ]]
    sed -i 's/nf4/fp8_e5m2/' out/qconfig.json
    run -1 --separate-stderr woq-extract out
    [[ $stderr == *"k_proj.linear.qweight' has dtype 'fp8_e5m2', want int, nf4, fp4 or fp4_e2m1"* ]]
}
@test "inc: what its own form tells loaders, and what it refuses" {
    woq-scheme --set '*.1.mlp.down_proj* bits=8' --set '*o_proj* dtype=float' m.wts |
        woq-rtn --bits 4 --group-size 32 --asym >mixed.wts
    run -0 woq-pack -f inc --checkpoint-format default -o out --json mixed.wts
    tr -d ' \t\n' <out/qconfig.json >c
    rest='"group_size":32,"group_dim":1,"use_full_range":false,"use_mse_search":false,"use_layer_wise":false,"model_path":"","use_double_quant":false,"double_quant_bits":8,"double_quant_dtype":"int","double_quant_use_sym":false,"double_quant_group_size":256,"quant_lm_head":false}}'
    grep -qF "\"('model.layers.0.self_attn.q_proj','Linear')\":{\"rtn\":{\"dtype\":\"int\",\"bits\":4,\"use_sym\":false,$rest" c
    grep -qF "\"('model.layers.1.mlp.down_proj','Linear')\":{\"rtn\":{\"dtype\":\"int\",\"bits\":8,\"use_sym\":false,$rest" c
    grep -qF "\"('model.layers.0.self_attn.o_proj','Linear')\":{\"rtn\":{\"dtype\":\"fp32\",\"bits\":4,\"use_sym\":true,$rest" c
    run -0 python3 -m zipfile -l out/quantized_weight.pt
    [[ $output == *quantized_weight/data/0* && $output == *quantized_weight/data.pkl* ]]
    woq-gen '@TOKN{"sample":0};ids:u32[12]:1,9,3,7,60,5,3,2,44,50,61,8' >t.wts
    woq-calib -q --tokens t.wts --through 'woq-hessian | woq-gptq --group-size 32 --act-order' m.wts >p.wts
    woq-pack -q -f inc --checkpoint-format default --dtype f32 -o out2 p.wts
    grep -q '"desc_act":.*true' out2/qconfig.json
    woq-extract out2 >r.wts
    run -0 woq-diff --tol 1e-3 p.wts r.wts
    woq-rtn -q --dtype mxfp4 m.wts >mxfp4.wts
    run -1 --separate-stderr woq-pack -f inc --checkpoint-format default -o out3 mxfp4.wts
    [[ $stderr == *"'model.layers.0.self_attn.q_proj.weight': this codebook has no form in INC"*"--dtype nf4, fp4"* ]]
    woq-rtn -q --dtype nf4 m.wts >nf4.wts
    run -1 --separate-stderr woq-pack -f inc -o out3 nf4.wts
    [[ $stderr == *"'model.layers.0.self_attn.q_proj.weight': a codebook has no form in INC"* ]]
    run -1 --separate-stderr woq-pack -f inc --checkpoint-format default -o out3 m.wts
    [[ $stderr == *'no tensor of the stream is quantized'* ]]
    run -2 --separate-stderr woq-pack -f inc --checkpoint-format own -o out3 q.wts
    [[ $stderr == *'--checkpoint-format own: --format inc has auto huggingface default'* ]]
    rm -r out out2
    no_rest
}
@test "compressed-tensors: configuration, a group for each scheme" {
    woq-scheme --set '*.1.mlp.down_proj* bits=3' --set '*o_proj* dtype=float' m.wts |
        woq-rtn --bits 4 --group-size 32 --asym >mixed.wts
    woq-pack -q -f compressed-tensors --dtype bf16 -o out mixed.wts
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"quant_method":"compressed-tensors","format":"pack-quantized","quantization_status":"compressed"' c
    grep -qF '"group_0":{"targets":["Linear"],"weights":{"num_bits":4,"type":"int","symmetric":false,"strategy":"group","group_size":32,"dynamic":false}' c
    grep -qF '{"targets":["model.layers.1.mlp.down_proj"],"weights":{"num_bits":3,' c
    grep -qF '"ignore":["model.layers.0.self_attn.o_proj","model.layers.1.self_attn.o_proj","model.layers.2.self_attn.o_proj","lm_head"]' c
    woq-extract out | woq-pack -q -f compressed-tensors --dtype bf16 -o out2
    cmp out/model.safetensors out2/model.safetensors
    cmp out/config.json out2/config.json
    grep -qa 'q_proj.weight_scale":{"dtype":"BF16"' out/model.safetensors
    woq-pack -q -f compressed-tensors --dtype bf16 --scale-dtype f16 -o out3 mixed.wts
    grep -qa 'q_proj.weight_scale":{"dtype":"F16"' out3/model.safetensors
    run -2 --separate-stderr woq-pack -f gptq --scale-dtype f32 -o out4 mixed.wts
    [[ $stderr == *"--scale-dtype f32: --format gptq has f16 and bf16"* ]]
}
@test "awq: configuration, with what stays float" {
    woq-pack -q -f awq -o out q.wts
    tr -d ' \t\n' <out/config.json >c
    grep -qF '"quantization_config":{"quant_method":"awq","bits":4,"group_size":32,"zero_point":true,"version":"gemm","modules_to_not_convert":null}' c
    woq-scheme --set '*.1.mlp.down_proj* dtype=float' m.wts | woq-rtn --bits 4 --group-size 32 |
        woq-pack -q -f awq -o out2
    tr -d ' \t\n' <out2/config.json >c
    grep -qF '"zero_point":false,"version":"gemm","modules_to_not_convert":["model.layers.1.mlp.down_proj"]}' c
    woq-extract out2 | woq-pack -q -f awq -o out3
    cmp out2/model.safetensors out3/model.safetensors
}
@test "awq: gemv, there and back, and to gemm" {
    woq-pack -q -f awq --checkpoint-format gemv -o a q.wts
    woq-extract a | woq-pack -q -f awq -o b
    woq-pack -q -f awq -o c q.wts
    cmp b/model.safetensors c/model.safetensors
    woq-extract b | woq-pack -q -f awq --checkpoint-format gemv -o d
    cmp a/model.safetensors d/model.safetensors
    cmp a/config.json d/config.json
    grep -q '"version":.*"gemv"' a/config.json
}
@test "awq: what it cannot hold is refused by name" {
    woq-rtn --bits 8 --group-size 32 m.wts >eight.wts
    run -1 --separate-stderr woq-pack -f awq -o out eight.wts
    [[ $stderr == *"'model.layers.0.self_attn.q_proj.weight': 8 bits: AWQ holds 4"*"hint: quantize with --bits 4"* ]]
    woq-scheme --set '*.1.mlp.down_proj* group_size=16' m.wts | woq-rtn --bits 4 --group-size 32 >two.wts
    run -1 --separate-stderr woq-pack -f awq -o out two.wts
    [[ $stderr == *"groups of 16, but those of 'model.layers.0.self_attn.q_proj' are 32: AWQ has one size for all"* ]]
    woq-rtn --bits 4 --group-size 40 m.wts >forty.wts
    run -1 --separate-stderr woq-pack -f awq -o out forty.wts
    [[ $stderr == *"64 inputs in groups of 40: AWQ wants whole groups"*"hint: leave it alone"* ]]
    printf '{}' >config.json
    for _ in {1..32}; do printf '\0\0\0\0\1\0\0\0'; done >idx
    permuted 4 >p.wts
    run -1 --separate-stderr woq-pack -f awq -o out p.wts
    [[ $stderr == *"'a.weight': its groups are permuted: AWQ has no g_idx"*"--act-order"* ]]
    run -2 --separate-stderr woq-pack -f awq --checkpoint-format gptq -o out q.wts
    [[ $stderr == *"--checkpoint-format gptq: --format awq has auto"* ]]
    no_rest
}
@test "gguf: float and block types read back as they were written" {
    for t in f32 f16 q8_0 q4_0 q4_1; do
        woq-pack -q -f gguf -t $t --embed-type $t -o out.$t m.wts
        woq-extract out.$t >back.wts
        tol=$(case $t in f32) echo 0 ;; f16) echo 1e-3 ;; q8_0) echo 1e-2 ;; *) echo 0.15 ;; esac)
        run -0 woq-diff --tol "$tol" m.wts back.wts
        # and once more: the grid is kept
        woq-pack -q -f gguf -t $t --embed-type $t -o out.again back.wts
        cmp <(tail -c 100000 out.$t) <(tail -c 100000 out.again) || [[ $t = q4_? ]]
        rm out.again
    done
}
@test "gguf: quantized tensors keep their codes" {
    for args in "--bits 4 --group-size 32 --sym:Q4_0" "--bits 4 --group-size 64 --asym:Q4_1" \
        "--bits 8 --group-size -1 --sym:Q8_0"; do
        # shellcheck disable=SC2086
        woq-gen --llama hidden=64,inter=128,layers=2,heads=4,kv=2,vocab=70 | woq-rtn ${args%:*} >q.wts
        woq-pack -q -f gguf -o out.gguf --force q.wts
        woq-extract out.gguf >back.wts
        run -0 woq-diff --tol 2e-3 q.wts back.wts
        run -0 bash -c "woq-extract --list out.gguf | grep -c '${args#*:}'"
        [ "$output" = 14 ]
    done
}
@test "gguf: a table whose columns are no whole blocks stays f16" {
    woq-gen --llama hidden=48,inter=64,layers=1,heads=4,kv=2,vocab=32 >m48.wts
    woq-pack -q -f gguf -t q8_0 -o out.gguf m48.wts
    run -0 woq-extract --list out.gguf
    [[ $output == *"self_attn.q_proj.weight"*F16* && $output == *"mlp.down_proj.weight"*Q8_0* ]]
}
@test "gguf: what it cannot hold is refused by name" {
    woq-rtn --bits 3 --group-size 32 m.wts >three.wts
    run -1 --separate-stderr woq-pack -f gguf -o out three.wts
    [[ $stderr == *"'model.layers.0.self_attn.q_proj.weight': 3 bits: GGUF's types here hold 4, 5 or 8"* ]]
    woq-rtn --bits 8 --group-size 32 --asym m.wts >eight.wts
    run -1 --separate-stderr woq-pack -f gguf -o out eight.wts
    [[ $stderr == *"asymmetric 8-bit codes: Q8_0 has no zero point"*"--sym"* ]]
    woq-rtn --bits 4 --group-size 16 m.wts >sixteen.wts
    run -1 --separate-stderr woq-pack -f gguf -o out sixteen.wts
    [[ $stderr == *"64 columns in groups of 16"* ]]
    no_rest
}
@test "tied weights are stored once, a lost tensor and a double one are errors" {
    woq-gen --model t --llama hidden=64,inter=96,layers=1,heads=4,kv=2,vocab=32,tie=1 >t.wts
    woq-pack -q -f safetensors -o out t.wts
    run ! grep -qa lm_head out/model.safetensors
    rm -r out
    woq-gen --llama hidden=64,inter=96,layers=1,heads=4,kv=2,vocab=32,tie=1 'model.norm.weight:f32[64]:fill=1' >twice.wts
    run -1 --separate-stderr woq-pack -f safetensors -o out twice.wts
    [[ $stderr == *"'model.norm.weight' came twice"* ]]
    woq-head -n 9 m.wts >cut.wts
    run -1 --separate-stderr woq-pack -f gguf -o out cut.wts
    [[ $stderr == *"tensor 'model.layers.0."*"' is missing"*"hint: "* ]]
    no_rest
}
@test "a stream without MODL, or with a loop frame" {
    woq-gen w:f32:1 >w.wts
    run -1 --separate-stderr woq-pack -f safetensors -o out w.wts
    [[ $stderr == *"a tensor without a MODL frame before it"*"woq-extract"* ]]
    woq-gen >none.wts
    run -1 --separate-stderr woq-pack -f safetensors -o out none.wts
    [[ $stderr == *"the stream has no MODL frame"* ]]
    no_rest
}
@test "side files may not leave the folder" {
    printf '{}' >config.json
    woq-gen '@MODL{};config.json:u8:@config.json;..evil:u8:=x' >evil.wts || skip "woq-gen refuses the name"
    run -1 --separate-stderr woq-pack -f safetensors -o out evil.wts
    [[ $stderr == *"side file '..evil': want a plain file name"* ]]
    no_rest
}
@test "NaN and what f16 cannot hold" {
    for v in nan 70000; do
        woq-gen --llama hidden=64,inter=96,layers=1,heads=4,kv=2,vocab=32,tie=1 >ok.wts
        printf '{"model_type":"other"}' >config.json
        woq-gen --modl config.json 'w{"role":"attn.q"}:f32[32,32]:fill='$v >bad.wts
        run -1 --separate-stderr woq-pack -f safetensors --dtype f16 -o out bad.wts
        [[ $stderr == *"'w': a value is not finite in f16"* ]]
    done
    no_rest
}
@test "an input that ends early: status 3, nothing is left" {
    size=$(stat -c %s q.wts)
    for n in 63 200 5000 $((size / 2)) $((size - 64)) $((size - 1)); do
        head -c "$n" q.wts >cut.wts
        for f in safetensors gptq gguf; do
            run -3 --separate-stderr woq-pack -f $f -o out cut.wts
            [[ $stderr == woq-pack:* ]]
        done
    done
    no_rest
}
@test "a stage that dies in the middle: nothing is left" {
    run ! bash -c "set -o pipefail; (cat q.wts | head -c 100000; kill -9 \$BASHPID) | woq-pack -f gptq -o out"
    no_rest
}
@test "SIGTERM, SIGINT, SIGHUP: the temporary is removed, the status tells the signal" {
    for sig in TERM:143 INT:130 HUP:129; do
        mkfifo pipe
        # a background job ignores SIGINT unless told otherwise
        env --default-signal woq-pack -f gptq -o out <pipe 3>&- &
        pid=$!
        exec 9>pipe
        head -c 100000 q.wts >&9
        for _ in {1..1200}; do # a minute: sanitizers on a busy machine
            find . -maxdepth 1 -name '.out*' | grep -q . && break
            sleep 0.05
        done
        find . -maxdepth 1 -name '.out*' | grep -q .
        kill -${sig%:*} $pid
        status=0
        wait $pid || status=$?
        exec 9>&-
        rm pipe
        [ "$status" = "${sig#*:}" ]
        no_rest
    done
}
@test "a full disk, by the limit on file size" {
    run -1 --separate-stderr bash -c 'ulimit -f 20; woq-pack -f gptq -o out q.wts'
    [[ $stderr == *"can't write"*"File too large"*"hint: "* ]]
    no_rest
}
@test "a full disk, by a small file system" {
    mkdir small
    unshare -rm mount -t tmpfs none small 2>/dev/null || skip "may not mount here"
    run -1 --separate-stderr unshare -rm bash -c 'mount -t tmpfs -o size=64k none small &&
        { woq-pack -f safetensors -o small/out m.wts; s=$?; [ -z "$(ls -A small)" ] || s=9; exit $s; }'
    [[ $stderr == *"not enough space for 'small/out': at least 0.2 MB more are needed"*"hint: make room"* ]]
    run -1 --separate-stderr unshare -rm bash -c 'mount -t tmpfs -o size=260k none small &&
        { woq-pack -f safetensors --dtype f32 -o small/out m.wts; s=$?; [ -z "$(ls -A small)" ] || s=9; exit $s; }'
    [[ $stderr == *"not enough space"* || $stderr == *"No space left on device"* ]]
}
@test "an existing output is refused, --force replaces only what looks like a model" {
    woq-pack -q -f safetensors --dtype f32 -o out m.wts
    run -2 --separate-stderr woq-pack -f safetensors -o out m.wts
    [[ $stderr == *"'out' exists"*"--force"* ]]
    woq-pack -q -f gptq -o out --force q.wts
    grep -q quantization_config out/config.json
    mkdir out2 && touch out2/letters
    run -2 --separate-stderr woq-pack -f gptq -o out2 --force q.wts
    [[ $stderr == *"'out2' has no config.json"* ]]
    [ -f out2/letters ]
    rm -r out2 && mkdir -p out2/sub && touch out2/config.json
    run -2 --separate-stderr woq-pack -f gptq -o out2 --force q.wts
    [[ $stderr == *"holds a folder 'sub'"* ]]
    rm -r out2 && touch out2
    run -2 --separate-stderr woq-pack -f gptq -o out2 --force q.wts
    [[ $stderr == *"'out2' exists and is a file, want a folder"* ]]
    run -2 --separate-stderr woq-pack -f gguf -o out --force m.wts
    [[ $stderr == *"'out' exists and is a folder, want a file"* ]]
    run -1 --separate-stderr woq-pack -f gguf -o no/where m.wts
    [[ $stderr == *"there is no folder 'no'"* ]]
    run -2 woq-pack -f gguf -o / m.wts
    [ -z "$(find . -name '.out*')" ]
}
@test "the model that is read is never replaced, under whatever name" {
    woq-pack -q -f safetensors -o out m.wts
    woq-pack -q -f gguf -o out.gguf m.wts
    sum=$(cat out/* out.gguf | cksum)
    ln -s out link
    cp -r out copy
    for o in out ./out/ copy; do
        run ! --separate-stderr bash -c "set -o pipefail; woq-extract link | woq-rtn | woq-pack -f gptq --force -o $o"
        [[ $stderr == *"is the model that is being read, or a copy of it"* ]]
    done
    run ! --separate-stderr bash -c "woq-extract out.gguf | woq-pack -f gguf --force -o out.gguf"
    [[ $stderr == *"'out.gguf' is the model that is being read"* ]]
    [ "$sum" = "$(cat out/* out.gguf | cksum)" ]
}
@test "the report: bits per weight with everything" {
    run -0 --separate-stderr woq-pack -f gptq -o out --json q.wts
    [[ $output == '{"format":"gptq","files":4,"tensors":'*'"quantized_weights":92160,'*'"peak_bytes":'* ]]
    # 4 bits + (16 + 4) / 32 for scale and zero point, + 32 bits of g_idx per input
    [[ $output =~ '"quantized_bits_per_weight":'([0-9.]+) ]]
    awk -v b="${BASH_REMATCH[1]}" 'BEGIN { exit !(b > 4.625 && b < 5.2) }'
    [ -z "$stderr" ]
    run -0 --separate-stderr woq-pack -f gptq -o out2 q.wts
    [[ $stderr == "woq-pack: out2: "*" bits per weight true "* && -z $output ]]
    run -0 --separate-stderr woq-pack -q -f gptq -o out3 q.wts
    [ -z "$stderr$output" ]
}
@test "the same bytes for any number of threads and ISA" {
    woq-pack -q -f gptq -o out --threads 1 q.wts
    woq-pack -q -f gguf -t q4_1 -o out.a --threads 1 m.wts
    WOQ_ISA=ref woq-pack -q -f gptq -o out2 --threads 7 q.wts
    WOQ_ISA=ref woq-pack -q -f gguf -t q4_1 -o out.b --threads 7 m.wts
    cmp out/model.safetensors out2/model.safetensors
    cmp out.a out.b
}
@test "the examples of the manual page run" {
    mv base model
    woq-extract model/ | woq-rtn --bits 4 --group-size 64 | woq-pack --format gptq -o out-gptq/
    woq-extract model/ | woq-rtn --bits 4 --group-size 32 | woq-pack -f gguf --embed-type q8_0 -o out.gguf
    woq-extract model/ | woq-pack -f gguf -t q4_k_m --tensor-type '*.ffn_down.weight=q6_k' -o out-q4_k_m.gguf
    woq-gen '@TOKN{"sample":0};ids:u32:1,2,3,4,5,6,7,8' >t.wts # stands for the text of the page
    woq-extract model/ | woq-calib -q --tokens t.wts --emit stat >stat.wts
    woq-pack -f imatrix -o model.imatrix stat.wts
    woq-extract model/ | woq-pack -f gguf -t q4_k_m --imatrix model.imatrix -o out-imatrix.gguf
    woq-extract out.gguf | woq-pack --format safetensors --dtype bf16 -o out-float/
    woq-extract out-float >/dev/null
}
@test "usage" {
    run -2 woq-pack
    run -2 woq-pack -f gptq
    run -2 woq-pack -f zip -o out m.wts
    run -2 woq-pack -f gguf -t q2 -o out m.wts
    run -0 woq-pack --help
    [[ $output == *--checkpoint-format* ]]
}
