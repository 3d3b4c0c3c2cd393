#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen --llama hidden=32,layers=2,heads=4,vocab=50 >m.wts; }

# quant NAME: the scheme in the meta of a weight of out.wts
quant() { woq-ls --json -m "$1" out.wts | grep -o '"quant":{[^}]*}' || true; }
scheme() { woq-scheme "$@" m.wts >out.wts; }
L0=model.layers.0

@test "globs, regular expressions, roles" {
    scheme --set '*.down_proj.weight bits=8 asym' --set-regex 'layers\.1\..*[qk]_proj group_size=-1' \
        --set-role 'attn.o group_dim=0 search=mse' -s 'lm_head.weight dtype=int3 scale_dtype=f16'
    [ "$(quant $L0.mlp.down_proj.weight)" = '"quant":{"bits":8,"sym":false,"dtype":"int"}' ]
    [ "$(quant model.layers.1.self_attn.k_proj.weight)" = '"quant":{"group_size":-1}' ]
    [ "$(quant $L0.self_attn.k_proj.weight)" = '' ]
    [ "$(quant $L0.self_attn.o_proj.weight)" = '"quant":{"group_dim":0,"search":"mse"}' ]
    [ "$(quant lm_head.weight)" = '"quant":{"bits":3,"dtype":"int","scale_dtype":"f16"}' ]
    [ "$(quant model.embed_tokens.weight)" = '' ]
}
@test "keys of double quantization one by one" {
    scheme --set '*.down_proj.weight double_quant=true double_quant_dtype=dynamic'
    [[ $(quant $L0.mlp.down_proj.weight) == *'"double_quant":true,'*'"double_quant_dtype":"dynamic"'* ]]
}
@test "role linear is every linear weight of the blocks, and no other" {
    scheme --set-role 'linear bits=2'
    [ "$(woq-ls --json out.wts | grep -c '"bits":2')" = 14 ]
    [ "$(quant lm_head.weight)" = '' ]
}
@test "norms are no matrices and cannot match" {
    scheme --set '* bits=2'
    [ "$(woq-ls --json out.wts | grep -c '"bits":2')" = 16 ]
    run -1 bash -c "woq-scheme --set '*norm* bits=2' m.wts >out.wts"
    [[ $output == *"rule '*norm* bits=2' matched no weight"*"--allow-unmatched"* ]]
}
@test "a later rule wins field by field, in the order of the command line" {
    scheme --set-role 'linear bits=3 group_size=16' --set "$L0.* bits=8" --set-regex 'q_proj bits=2'
    [ "$(quant $L0.mlp.up_proj.weight)" = '"quant":{"bits":8,"group_size":16,"dtype":"int"}' ]
    [ "$(quant $L0.self_attn.q_proj.weight)" = '"quant":{"bits":2,"group_size":16,"dtype":"int"}' ]
    scheme --set-regex 'q_proj bits=2' --set "$L0.* bits=8"
    [ "$(quant $L0.self_attn.q_proj.weight)" = '"quant":{"bits":8,"dtype":"int"}' ]
    woq-scheme --set 'lm_head* bits=6' out.wts >again.wts # a second program goes on from there
    mv again.wts out.wts
    [ "$(quant $L0.self_attn.q_proj.weight)" = '"quant":{"bits":8,"dtype":"int"}' ]
    [ "$(quant lm_head.weight)" = '"quant":{"bits":6,"dtype":"int"}' ]
}
@test "float leaves alone, bits takes it back" {
    scheme --set '*q_proj* float' --set '*k_proj* bits=16' --set '*v_proj* dtype=fp32' --set '*.1.*_proj.weight bits=5'
    woq-rtn out.wts >q.wts
    run -0 woq-ls q.wts
    for p in q k v; do
        [[ $output == *"TENS $L0.self_attn.${p}_proj.weight"* ]]
        [[ $output == *"QTEN model.layers.1.self_attn.${p}_proj.weight"* ]]
    done
    [[ $output == *"QTEN $L0.mlp.up_proj.weight"* ]]
}
@test "what no rule names comes from the quantizer's options" {
    scheme --set '*up_proj* bits=8'
    woq-rtn --bits 3 --group-size 16 --asym out.wts >q.wts
    run -0 woq-ls --json -m $L0.mlp.up_proj.weight q.wts
    [[ $output == *'"bits":8,"group_size":16,"group_dim":1,"sym":false'* ]]
    run -0 woq-ls --json -m $L0.mlp.down_proj.weight q.wts
    [[ $output == *'"bits":3,"group_size":16'* ]]
}
@test "a file of rules: an array" {
    cat >r.json <<'J'
[ {"role": "linear", "bits": 4, "sym": false},
  {"match": "*.mlp.*", "group_size": 8},
  {"regex": "^lm_head", "bits": 8},
  {"name": "model.layers.1.mlp.up_proj", "bits": 2} ]
J
    scheme --file r.json
    [ "$(quant $L0.mlp.up_proj.weight)" = '"quant":{"bits":4,"sym":false,"dtype":"int","group_size":8}' ]
    [ "$(quant model.layers.1.mlp.up_proj.weight)" = '"quant":{"bits":2,"sym":false,"dtype":"int","group_size":8}' ]
    [ "$(quant lm_head.weight)" = '"quant":{"bits":8,"dtype":"int"}' ]
}
@test "a file of rules: an object of names and expressions, as INC and AutoRound write it" {
    cat >r.json <<'J'
{ "model.layers.0.self_attn.q_proj": {"dtype": "int8", "use_sym": false, "use_mse_search": true},
  ".*\\.mlp\\..*": {"bits": 3, "data_type": "int", "group_size": 16, "use_full_range": true},
  "lm_head": {"bits": 16, "data_type": "float"},
  "layers.1": {"bits": 2} }
J
    run -1 scheme --file r.json # expressions match the whole name, so that layers.1 is not layers.10
    [[ $output == *"rule 'layers.1' matched no weight"* ]]
    scheme --allow-unmatched -f r.json
    [ "$(quant $L0.self_attn.q_proj.weight)" = '"quant":{"bits":8,"sym":false,"dtype":"int","search":"clip"}' ]
    [ "$(quant $L0.mlp.up_proj.weight)" = '"quant":{"bits":3,"group_size":16,"full_range":true,"dtype":"int"}' ]
    [ "$(quant lm_head.weight)" = '"quant":{"bits":16,"dtype":"float"}' ]
}
@test "--list says what each weight got, --quiet does not" {
    run -0 --separate-stderr scheme --list --set 'lm_head* bits=8'
    [ "$stderr" = 'woq-scheme: lm_head.weight {"bits":8,"dtype":"int"}' ]
    run -0 --separate-stderr scheme --list --quiet --set 'lm_head* bits=8'
    [ -z "$stderr" ]
}
@test "the weights pass unchanged" {
    woq-scheme --no-history --set-role 'linear bits=2' m.wts | woq-diff m.wts -
}
@test "errors in rules are usage errors that name them" {
    check() { run -2 bash -c 'woq-scheme "${@:2}" m.wts >out.wts' - "$@"; [[ $output == *"$1"* ]]; }
    check "no rule is given"
    check "says nothing about the scheme" --set 'lm_head*'
    check "empty pattern" --set '  '
    check "bits 9: want 1..8" --set 'x bits=9'
    check "unknown key 'bit'" --set 'x bit=9'
    check "'bits': want key=value" --set 'x bits'
    check "unknown role 'mlp'" --set-role 'mlp bits=3'
    check "regular expression" --set-regex '( bits=3'
    echo '{"x":{"bits":"many"}}' >r.json
    check "r.json: 'x': bits \"many\": want" --file r.json
    echo '[{"match":"x","role":"head","bits":3}]' >r.json
    check "rule 0: has both 'match' and 'role'" --file r.json
    echo '[{"bits":3}]' >r.json
    check "rule 0: has no match, regex, role or name" --file r.json
    echo '3' >r.json
    check "want an array of rules" --file r.json
    echo '[{"match":"x"}]' >r.json
    check "says nothing" --file r.json
    echo '{"x":3}' >r.json
    check "is a JSON object" --file r.json
    echo '{"x":' >r.json
    run -1 scheme --file r.json
    run -1 scheme --file absent.json
    [[ $output == *absent.json* ]]
}
@test "combinations that no quantizer takes are refused at the weight" {
    run -1 bash -c "woq-scheme --set 'lm_head* full_range bits=1' m.wts >out.wts"
    [[ $output == *"'lm_head.weight'"*"full_range with 1 bit"* ]]
    run -1 bash -c "woq-scheme --set 'lm_head* full_range' --set '*head* asym' m.wts >out.wts"
    [[ $output == *"full_range is for symmetric"* ]]
    run -1 bash -c "woq-scheme --set 'lm_head* float_zero' m.wts >out.wts"
    [[ $output == *"float_zero is for asymmetric"* ]]
}
@test "an expression without end is cut off, not waited for" {
    woq-gen 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!:f32[1,1]:1' >a.wts
    run -1 bash -c "woq-scheme --set-regex '^(a+)+\$ bits=3' a.wts >out.wts"
}
@test "a cut stream exits 3" {
    head -c 5000 m.wts >cut.wts
    run -3 bash -c "woq-scheme --set-role 'linear bits=3' cut.wts >out.wts"
}
@test "the examples of the manual page run" {
    woq-scheme --set-role 'mlp.down bits=8' --set 'model.layers.0.* bits=16' m.wts | woq-rtn --bits 4 >q.wts
}
