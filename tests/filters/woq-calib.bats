#!/usr/bin/env bats
# A model of two blocks, samples of 40 tokens: the loop, what it emits, what it survives.
bats_require_minimum_version 1.5.0
load ../helpers

TINY=$GOLDEN/tiny-llama/hf
GPTQ='woq-hessian --no-history | woq-gptq --no-history --bits 3 --group-size 16'

# tokens SAMPLES LENGTH SEED [FIRST]: TOKN frames, from a generator; FIRST samples are left out
tokens() {
    local frames
    mapfile -t frames < <(awk -v n="$1" -v len="$2" -v x="$3" -v first="${4:-0}" 'BEGIN {
        for (i = 0; i < n; i++) {
            s = ""
            for (k = 0; k < len; k++) {
                x = (x * 1103515245 + 12345) % 2147483648
                s = s (k ? "," : "") int(x / 65536) % 96
            }
            if (i >= first)
                print "@TOKN{\"sample\":" i "};ids:u32:" s
        }
    }')
    woq-gen --no-history "${frames[@]}"
}
setup() {
    woq-extract --no-history "$TINY" >m.wts
    tokens 6 40 7 >t.wts
}
calib() { woq-calib --no-history --quiet --tokens t.wts "$@"; }
types() { woq-ls "$1" | awk '{ print $3 }' | sort | uniq -c | awk '{ printf "%s%s ", $2, $1 }'; }
qten() { woq-ls --json "$1" | grep '"type":"QTEN"' | sed 's/"seq":[0-9]*,"offset":[0-9]*,//'; }
fails() { # STATUS TEXT OPTION...: woq-calib fails so, and its output has no TAIL
    run -"$1" --separate-stderr bash -c 'shift; timeout 300 woq-calib --no-history --quiet --tokens t.wts "$@" '"${MODEL:-m.wts}"' >out.wts' - - "${@:3}"
    echo "stderr: $stderr"
    [[ $stderr == *"$2"* ]]
    run -3 woq-fsck --quiet out.wts
}

@test "closed loop: a QTEN for each linear, packed and evaluated" {
    woq-gen --llama hidden=64,inter=96,layers=2,heads=4,kv=2,vocab=96,tie=0 >m.wts
    calib --through "$GPTQ" m.wts >q.wts
    woq-fsck q.wts
    types q.wts
    [ "$(types q.wts)" = "BLKB2 BLKE2 MODL1 QTEN14 TENS7 note14 " ]
    woq-pack --format gptq --out out q.wts
    awk 'BEGIN { for (k = 0; k < 65; k++) s = s (k ? "," : "") (k * 37) % 96; print "[" s "]" }' >ids.json
    woq-extract out | woq-eval --quiet --tokens ids.json --ctx 32 --json >p.json
    grep -E '"perplexity":[0-9.]+' p.json
}
@test "the frames come in the order of the model" {
    calib --through "$GPTQ" m.wts >q.wts
    woq-ls q.wts | awk '$3 == "QTEN" || $3 == "TENS" { print $4 }' >got
    woq-ls m.wts | awk '$3 == "TENS" { print $4 }' >want
    cmp want got
}
@test "the closed loop differs from the open one, and only after the first group" {
    calib --through "$GPTQ" m.wts >closed.wts
    calib --inputs float --through "$GPTQ" m.wts >open.wts
    cmp <(qten closed.wts | head -n 3) <(qten open.wts | head -n 3)
    run ! cmp -s <(qten closed.wts) <(qten open.wts)
}
@test "open loop: through a command or emitted into the stream, the same codes" {
    calib --inputs float --through "$GPTQ" m.wts >open.wts
    calib --emit hess m.wts | woq-gptq --no-history --bits 3 --group-size 16 >emit.wts
    [ "$(qten open.wts | wc -l)" -eq 14 ]
    cmp <(qten open.wts) <(qten emit.wts)
    calib --inputs float --emit hess --through 'woq-gptq --bits 3 --group-size 16' m.wts >both.wts
    cmp open.wts both.wts
}
@test "--emit hess and stat are --emit acts with woq-hessian or woq-stats behind" {
    calib --emit hess m.wts | cmp - <(calib --emit acts m.wts | woq-hessian --no-history)
    calib --emit stat m.wts | cmp - <(calib m.wts | woq-stats --no-history)
    calib --acts-dtype bf16 --emit hess m.wts |
        cmp - <(calib --acts-dtype bf16 m.wts | woq-hessian --no-history)
    run ! cmp -s <(calib --emit hess m.wts) <(calib --acts-dtype bf16 --emit hess m.wts)
}
@test "what is emitted stands before the first weight of its group" {
    calib --emit hess m.wts | woq-ls | awk '$3 == "hess" { h = $4; next } h { print h, $4; h = "" }' >pairs
    [ "$(wc -l <pairs)" -eq 8 ]
    awk '$1 != $2 { exit 1 }' pairs
    calib --emit acts m.wts | woq-ls --json | grep -m 1 '"type":"acts"' >acts
    grep '"describes":true' acts
    grep '"meta":{"block":0,"group":"qkv","of":"model.layers.0.self_attn.q_proj.weight","token0":0' acts
}
@test "a command that changes nothing returns the float model" {
    calib --through cat m.wts | cmp - m.wts
    calib --through 'cat; exec sleep 0' m.wts | cmp - m.wts
    calib --inputs float --emit stat --through cat m.wts | woq-ls | awk '$3 == "TENS" { print $4 }' >got
    cmp got <(woq-ls m.wts | awk '$3 == "TENS" { print $4 }')
}
@test "threads do not change a byte" {
    WOQ_THREADS=1 calib --through "$GPTQ" m.wts >one.wts
    WOQ_THREADS=2 calib --through "$GPTQ" m.wts | cmp - one.wts
}
@test "--spill: through a file without a name, the same bytes" {
    calib --through "$GPTQ" m.wts >want.wts
    mkdir tmp
    TMPDIR=$PWD/tmp calib --spill 0 --through "$GPTQ" m.wts | cmp - want.wts
    TMPDIR=$PWD/tmp calib --spill 70K --through "ls -A tmp >&2; $GPTQ" m.wts 2>names | cmp - want.wts
    [ ! -s names ]
    [ -z "$(ls -A tmp)" ]
    WOQ_THREADS=1 calib --spill 0 --through "$GPTQ" m.wts | cmp - want.wts
    calib --emit acts m.wts | cmp - <(calib --spill 0 --emit acts m.wts)
    fails 2 "--spill 'much'" --spill much
}
@test "--spill: a folder that can't be used, a disk that is full" {
    TMPDIR=$PWD/none fails 1 "can't make a temporary file in '$PWD/none': No such file" --spill 0
    TMPDIR=$PWD/m.wts fails 1 "hint: set TMPDIR to a folder that can be written" --spill 0
    mkdir small
    # A filter's own output would reach the limit too: only the folder is small.
    unshare --user --map-root-user --mount true || skip 'no mounts of our own here'
    run -1 --separate-stderr unshare --user --map-root-user --mount bash -c '
        mount -t tmpfs -o size=16k none small &&
        TMPDIR=$PWD/small woq-calib -q --tokens t.wts --spill 0 m.wts >out.wts'
    echo "$stderr"
    [[ $stderr == *"can't reserve 1 MiB for a temporary file in '$PWD/small': No space left"* ]]
    [[ $stderr == *"hint: set TMPDIR to a folder with more room"* ]]
    run -3 woq-fsck --quiet out.wts
}
@test "--text: windows by the model's own tokenizer, the same as woq-tokens draws" {
    woq-gen --no-history --llama hidden=32,inter=64,layers=2,heads=4,kv=2,vocab=1000 |
        woq-pack --format safetensors --dtype f32 --out model
    cp "$GOLDEN/tokenizers/gpt2/tokenizer.json" model/
    head -c 6000 "$REPO/pipelines/data/alice.txt" >text
    woq-extract model >n.wts
    woq-tokens --quiet --model model --text text --samples 3 --seqlen 20 --seed 5 >t.wts
    calib --emit hess n.wts >want.wts
    woq-calib --no-history --quiet --text text -n 3 --seqlen 20 --seed 5 --emit hess n.wts | cmp - want.wts
    run ! cmp -s want.wts <(woq-calib --no-history --quiet --text text -n 3 --seqlen 20 --emit hess n.wts)
    run -1 --separate-stderr bash -c 'woq-calib -q --text text -n 3 --seqlen 9999 --emit hess n.wts >out.wts'
    [[ $stderr == *tokens* ]]
    run -1 --separate-stderr bash -c 'woq-calib -q --text no-such-file --emit hess n.wts >out.wts'
    [[ $stderr == *no-such-file* ]]
    run -1 --separate-stderr bash -c 'woq-calib -q --text text --emit hess m.wts >out.wts'
    [[ $stderr == *tokenizer* ]]
}
@test "two halves, merged, are the whole" {
    calib --emit hess m.wts >whole.wts
    tokens 3 40 7 >t.wts
    calib --emit hess m.wts >a.wts
    tokens 6 40 7 3 >t.wts
    calib --emit hess --token0 120 m.wts >b.wts
    woq-hessian --merge b.wts a.wts >ab.wts
    woq-diff --tol 1e-6 whole.wts ab.wts
    woq-ls --json ab.wts | grep -q '"spans":\[\[0,240\]\]'
    calib --emit hess m.wts >overlap.wts
    run -1 --separate-stderr bash -c 'woq-hessian --merge overlap.wts a.wts >out.wts'
    [[ $stderr == *"tokens 0 to 120 of block 0, group 'qkv' were counted before"* ]]
}
@test "a command that fails is named, with its status" {
    fails 1 "'exit 7' ended with status 7 before its work was done" --through 'exit 7'
    fails 1 "'true' ended with status 0 before its work was done" --through true
    fails 1 "ended with status 127" --through no-such-program
    fails 1 "was ended by signal 9" --through 'kill -9 $$'
    fails 1 "before its work was done" --through 'head -c 3000'
    fails 1 "before its work was done" --through 'head -c 30000 | cat'
    fails 1 'no Hessian describes this weight' --emit stat --through woq-gptq
}
@test "a command that ends badly after good work fails the run" {
    fails 1 "'cat; exit 5' ended with status 5" --through 'cat; exit 5'
}
@test "a command that returns something else is refused" {
    fails 1 'returned: ' --through 'cat /dev/zero'
    fails 1 'returned: ' --through 'yes'
    woq-gen w:f32:1,2 >other.wts
    fails 1 'before LOOP came back' --through 'cat other.wts; exec cat >/dev/null'
    woq-gen w:f32:1,2 '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails 1 "returned TENS 'w', which is not awaited in block 0, group 'qkv'" --through 'cat other.wts; cat >/dev/null'
    woq-gen '@LOOP{"block":3,"group":"qkv"}' >other.wts
    fails 1 'returned LOOP {"block":3,"group":"qkv"' --through 'cat other.wts; cat >/dev/null'
    woq-gen '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails 1 "returned 0 weights of block 0, group 'qkv', want 3" --through 'cat other.wts; cat >/dev/null'
    Q=model.layers.0.self_attn.q_proj.weight
    woq-gen "$Q:f32[32,32]:rand=1" "$Q:f32[32,32]:rand=1" "$Q:f32[32,32]:rand=1" '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails 1 "returned '$Q' twice in block 0" --through 'cat other.wts; cat >/dev/null'
    woq-gen "$Q:f32[2,2]:rand=1" '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails 1 "returned 2 x 2, want 32 x 32" --through 'cat other.wts; cat >/dev/null'
}
@test "weights that are not finite: which block, which linear" {
    cp -r "$TINY" bad
    chmod -R u+w bad
    header=$(od -A n -t u8 -N 8 bad/model.safetensors)
    at=$(head -c $((header + 8)) bad/model.safetensors | tail -c +9 |
        grep -ao '"model.layers.1.mlp.up_proj.weight":{[^}]*' | sed 's/.*data_offsets":\[\([0-9]*\),.*/\1/')
    printf '\xff\xff\xff\x7f' | dd of=bad/model.safetensors bs=1 conv=notrunc status=none \
        seek=$((header + 8 + at))
    woq-extract bad >bad.wts
    MODEL=bad.wts fails 1 "model.layers.1.mlp.up_proj.weight" --through "$GPTQ"
    MODEL=bad.wts fails 1 "NaN" --emit hess
}
@test "activations that are not finite: which block, which group" {
    # Weights of 3e38 are finite, what they make of their inputs is not.
    cp -r "$TINY" bad
    chmod -R u+w bad
    header=$(od -A n -t u8 -N 8 bad/model.safetensors)
    at=$(head -c $((header + 8)) bad/model.safetensors | tail -c +9 |
        grep -ao '"model.layers.1.mlp.up_proj.weight":{[^}]*' | sed 's/.*data_offsets":\[\([0-9]*\),.*/\1/')
    for i in {1..32}; do printf '\x00\x00\x60\x7f'; done |
        dd of=bad/model.safetensors bs=1 conv=notrunc status=none seek=$((header + 8 + at))
    woq-extract bad >bad.wts
    for o in '--emit acts' '--emit hess' '--emit stat' '--unit block --emit hess' \
        '--unit block --emit stat --through cat' '--emit acts --through cat' '--targets both --emit hess --through cat' \
        '--targets both --emit acts --through cat'; do
        # shellcheck disable=SC2086
        MODEL=bad.wts fails 1 "activation of block 1, group 'down' is " $o
    done
    MODEL=bad.wts fails 1 'block 1: an activation became NaN or infinite' --emit none --acts-to a
    MODEL=bad.wts fails 1 'block 1: an activation became NaN or infinite' --unit block --emit acts
}
@test "samples: none, unequal, tokens that the model does not know" {
    woq-gen '@TOKN{"sample":0};ids:u32:1,2,3' '@TOKN{"sample":1};ids:u32:1,2' >t.wts
    fails 1 'sample 1 has 2 tokens, want 3'
    woq-gen '@TOKN{"sample":0};ids:u32:1' >t.wts
    fails 1 'sample 0 has 1 tokens, want 2'
    cp m.wts t.wts
    fails 1 "no samples in 't.wts'"
    woq-gen '@TOKN{"sample":0};ids:u32:1,96' >t.wts
    fails 1 '96'
    rm t.wts
    fails 1 t.wts
}
@test "streams that are no model" {
    woq-gen w:f32:1,2 >none.wts
    MODEL=none.wts fails 1 'no MODL frame at the start'
    woq-ls m.wts >/dev/null
    head -c 40000 m.wts >cut.wts
    MODEL=cut.wts fails 3 truncated
    calib --through "$GPTQ" m.wts >q.wts
    MODEL=q.wts fails 1 "has no weight of group 'qkv'"
}
@test "--state: finished blocks are not done again, the bytes are the same" {
    calib --through "$GPTQ" m.wts >want.wts
    calib --state s --through "$GPTQ" m.wts | cmp - want.wts
    [ -e s ] && [ -e s.0.wts ] && [ -e s.1.wts ]
    run ! bash -c 'compgen -G "s*.tmp"'
    # All is done: the command gets nothing to do.
    woq-calib --no-history --tokens t.wts --state s --through "$GPTQ" m.wts 2>note | cmp - want.wts
    grep "going on after block 1, from 's'" note
    # After block 0 only.
    rm -f s s.*
    run -1 bash -c "woq-head --help >/dev/null; woq-calib -q --no-history --tokens t.wts --state s --through '$GPTQ' <(head -c 60000 m.wts) >/dev/null; exit 1"
    [ -e s.0.wts ] && [ ! -e s.1.wts ]
    woq-calib --no-history --tokens t.wts --state s --through "$GPTQ" m.wts 2>note | cmp - want.wts
    grep "going on after block 0, from 's'" note
}
@test "--state: killed at any moment, then resumed: the same bytes" {
    woq-gen --no-history --llama hidden=64,inter=128,layers=5,heads=4,kv=2,vocab=96 >m.wts
    calib --through "$GPTQ" m.wts >want.wts
    for delay in 0.005 0.015 0.03 0.05 0.08 0.12; do
        rm -f s s.*
        for _ in 1 2 3; do
            woq-calib -q --no-history --tokens t.wts --state s --through "$GPTQ" m.wts >cut.wts &
            pid=$!
            sleep "$delay"
            kill -9 "$pid" 2>/dev/null || true
            wait "$pid" || true
        done
        calib --state s --through "$GPTQ" m.wts | cmp - want.wts
    done
}
@test "--state: of other options, of another model, damaged" {
    calib --state s --through "$GPTQ" m.wts >/dev/null
    fails 1 "state 's' is of another run" --state s --through 'woq-hessian | woq-gptq --bits 2'
    fails 1 "state 's' is of another run" --state s --inputs float --through "$GPTQ"
    fails 1 "state 's' is of another run" --state s --token0 7 --through "$GPTQ"
    cp t.wts t0.wts
    tokens 6 40 8 >t.wts
    fails 1 "state 's' is of another run" --state s --through "$GPTQ"
    cp t0.wts t.wts
    woq-gen --no-history --llama hidden=32,inter=64,layers=2,heads=4,kv=2,vocab=96,seed=9 >other.wts
    MODEL=other.wts fails 1 "state 's' is of another model" --state s --through "$GPTQ"
    woq-gen --no-history --llama hidden=64,inter=64,layers=2,heads=4,kv=2,vocab=96 >other.wts
    MODEL=other.wts fails 1 "state 's' is of another model" --state s --through "$GPTQ"
    head -c 2000 s >s.cut && mv s.cut s
    fails 3 "truncated" --state s --through "$GPTQ"
    cp m.wts s
    fails 1 "is no state of woq-calib" --state s --through "$GPTQ"
    rm -f s s.*
    calib --state s --through "$GPTQ" m.wts >/dev/null
    rm s.0.wts
    fails 1 "s.0.wts" --state s --through "$GPTQ"
    fails 1 "can't write the state" --state no/such/folder --through "$GPTQ"
}
# parts: the stem and each block as streams of their own; m.wts gets the HEAD of parts put together
parts() {
    woq-head --no-history --blocks 0 m.wts >stem.wts
    woq-part --no-history --of 2 --take 1 m.wts >b.0.wts
    woq-part --no-history --of 2 --take 2 m.wts >b.1.wts
    woq-join --no-history b.0.wts b.1.wts >joined.wts
    mv joined.wts m.wts
}
from() { woq-calib --no-history --quiet --acts-from "$@"; }
fails_from() { # STATUS TEXT OPTION...: as fails, without --tokens
    run -"$1" --separate-stderr bash -c 'shift; timeout 20 woq-calib --no-history --quiet "$@" '"${MODEL:-b.0.wts}"' >out.wts' - - "${@:3}"
    echo "stderr: $stderr"
    [[ $stderr == *"$2"* ]]
    run -3 woq-fsck --quiet out.wts
}
@test "--acts-from, --acts-to: a closed loop per part is the closed loop" {
    parts
    calib --through "$GPTQ" --acts-to want.acts m.wts >want.wts
    calib --emit none --acts-to acts.0 stem.wts | cmp - stem.wts
    from acts.0 --acts-to acts.1 --through "$GPTQ" b.0.wts >q.0.wts
    from acts.1 --acts-to acts.2 --through "$GPTQ" b.1.wts >q.1.wts
    woq-join --no-history q.0.wts q.1.wts | cmp - want.wts
    cmp acts.2 want.acts
    # The activations that follow from the quantized block are the same without the loop.
    from acts.0 --emit none --acts-to again.1 q.0.wts | cmp - q.0.wts
    cmp again.1 acts.1
    run ! bash -c 'compgen -G "*.tmp"'
    # A state is such a file too; with the blocks, in one run.
    calib --state s --through "$GPTQ" b.0.wts >/dev/null
    from s --acts-to again.2 --through "$GPTQ" b.1.wts | cmp - q.1.wts
    cmp again.2 acts.2
    from fd:9 --emit none --acts-to again.2 q.1.wts 9<acts.1 >/dev/null
    cmp again.2 acts.2
}
@test "--acts-from: samples, numbers of tokens and the float path are those of the file" {
    parts
    calib --emit hess --token0 7 m.wts >want.wts
    calib --emit none --token0 7 --acts-to acts.0 stem.wts >/dev/null
    from acts.0 --emit hess --acts-to acts.1 b.0.wts >h.0.wts
    from acts.1 --emit hess b.1.wts >h.1.wts
    woq-join --no-history h.0.wts h.1.wts | cmp - want.wts
    woq-ls --json h.1.wts | grep '"spans":\[\[7,247\]\]'
    # All blocks of a stream are walked, wherever it begins; samples need not be as long as a chunk.
    tokens 2 1100 3 >t.wts
    calib --emit none --acts-to a --emit hess m.wts >want.wts
    calib --emit none --acts-to acts.0 stem.wts >/dev/null
    from acts.0 --acts-to b --emit hess m.wts | cmp - want.wts
    cmp a b
    # Nothing to walk.
    from acts.0 --emit none --acts-to c stem.wts | cmp - stem.wts
    cmp c acts.0
}
@test "--acts-from with --state: killed and resumed in the middle of a model" {
    parts
    calib --emit none --acts-to acts.0 stem.wts >/dev/null
    from acts.0 --through "$GPTQ" m.wts >want.wts
    run -1 bash -c "woq-calib -q --no-history --acts-from acts.0 --state s --through '$GPTQ' <(head -c 60000 m.wts) >/dev/null; exit 1"
    [ -e s.0.wts ] && [ ! -e s.1.wts ]
    woq-calib --no-history --acts-from acts.0 --state s --through "$GPTQ" --acts-to acts.2 m.wts 2>note | cmp - want.wts
    grep "going on after block 0, from 's'" note
    # The state is of other activations, or further than the stream.
    from acts.0 --state s --through "$GPTQ" b.0.wts >/dev/null
    fails_from 1 'the state is after 2 blocks, the stream ends after 1' --acts-from acts.0 --acts-to no --state s \
        --through "$GPTQ"
    [ ! -e no ]
    tokens 6 40 9 >t.wts
    calib --emit none --acts-to acts.0 stem.wts >/dev/null
    fails_from 1 "state 's' is of another run" --acts-from acts.0 --state s --through "$GPTQ"
}
@test "--acts-from: files of another block, another model, no activations, damaged" {
    parts
    calib --emit none --acts-to acts.0 stem.wts >/dev/null
    from acts.0 --emit none --acts-to acts.1 b.0.wts >/dev/null
    MODEL=b.1.wts fails_from 1 "the stream begins with block 1, the activations of 'acts.0' are for block 0" --acts-from acts.0
    MODEL=b.0.wts fails_from 1 "the stream begins with block 0, the activations of 'acts.1' are for block 1" --acts-from acts.1
    MODEL=b.1.wts fails_from 1 'a block begins before the embedding came' --tokens t.wts
    woq-gen --no-history --llama hidden=64,inter=64,layers=2,heads=4,kv=2,vocab=96 >wide.wts
    MODEL=wide.wts fails_from 1 'activations are 32 wide, the model has 64' --acts-from acts.0
    woq-gen --no-history --llama hidden=32,inter=64,layers=1,heads=4,kv=2,vocab=96 >short.wts
    calib --emit none --acts-to acts.2 m.wts >/dev/null
    MODEL=short.wts fails_from 1 "'acts.2' is after 2 blocks, the model has 1" --acts-from acts.2
    fails_from 1 'm.wts' --acts-from m.wts
    fails_from 1 "'m.wts' holds no activations of woq-calib" --acts-from m.wts
    fails_from 1 no-such-file --acts-from no-such-file
    head -c 4000 acts.0 >cut
    fails_from 3 truncated --acts-from cut
    # Rows that are missing, or too many.
    woq-head --no-history -n 0 acts.0 >few
    fails_from 1 "'few' holds activations of 0 tokens, want 240" --acts-from few
    woq-join --no-history acts.0 acts.0 >many
    fails_from 1 '240 activations behind 240, want 240 in all' --acts-from many
}
@test "--acts-to: only when all went well" {
    fails 1 'ended with status 5' --acts-to a --through 'cat; exit 5'
    fails 1 "can't write the activations 'no/such/folder" --acts-to no/such/folder
    head -c 40000 m.wts >cut.wts
    MODEL=cut.wts fails 3 truncated --emit none --acts-to a
    run ! bash -c 'compgen -G "a*"'
}
@test "--emit none: the command gets weights only" {
    calib --emit none --through 'tee seen | cat' m.wts | cmp - m.wts
    [ "$(types seen)" = "LOOP8 TENS14 " ]
    calib --emit none --through 'woq-rtn --no-history --bits 3 --group-size 16' --acts-to a m.wts >q.wts
    woq-rtn --no-history --bits 3 --group-size 16 m.wts >rtn.wts
    cmp <(qten q.wts) <(qten rtn.wts)
    calib --emit none --acts-to b rtn.wts >/dev/null
    cmp a b
}
@test "--unit block: describing it in one go, the stream is the same" {
    for e in hess stat; do
        calib --emit $e --acts-to a m.wts >want.wts
        calib --unit block --emit $e --acts-to b m.wts | cmp - want.wts
        cmp a b
    done
    tokens 3 700 5 >t.wts
    calib --emit hess --acts-to a m.wts >want.wts
    WOQ_THREADS=1 calib --unit block --emit hess --acts-to b m.wts | cmp - want.wts
    cmp a b
    tokens 70 33 5 >t.wts
    calib --emit hess --acts-to a m.wts >want.wts
    calib --unit block --emit hess --acts-to b m.wts | cmp - want.wts
    cmp a b
}
@test "--unit block --emit acts: inputs and float outputs of the block, after BLKB" {
    calib --unit block --emit acts --acts-to a m.wts >acts.wts
    [ "$(types acts.wts)" = "BLKB2 BLKE2 MODL1 TENS21 acts2 " ]
    woq-ls acts.wts | awk '$3 == "acts" { exit last != "BLKB" } { last = $3 }'
    woq-ls --json acts.wts | grep '"type":"acts"' >frames
    [[ $(head -n 1 frames) == *'"meta":{"block":0,"group":"block","of":"model.layers.0.input_layernorm.weight","token0":0'* ]]
    # y of block 0 is x of block 1; y of the last block is what --acts-to writes.
    rows() { woq-cat --no-head "$1" | sed 's/^acts //' | grep "/$2 f32" | cut -d ' ' -f 3-; }
    rows acts.wts x | sed -n 2p >x1
    rows acts.wts y >y
    [ "$(wc -w <x1)" -eq $((240 * 32)) ]
    cmp x1 <(sed -n 1p y)
    cmp <(sed -n 2p y) <(woq-cat --no-head a | cut -d ' ' -f 4-)
    calib --unit block --acts-dtype bf16 m.wts | woq-ls --json | grep -q '"name":"y","dtype":"bf16"'
    # More rows than a frame holds.
    tokens 2 5000 3 >t.wts
    calib --unit block m.wts | woq-ls | awk '$3 == "acts"' | wc -l >n
    [ "$(cat n)" -eq 8 ]
}
@test "--unit block --through: the same as file by file" {
    parts
    GPTQ='woq-gptq --no-history --bits 3 --group-size 16'
    calib --unit block --emit hess --through "$GPTQ" --acts-to want.acts m.wts >want.wts
    [ "$(types want.wts)" = "BLKB2 BLKE2 MODL1 QTEN14 TENS7 note14 " ]
    calib --emit none --acts-to acts.0 stem.wts >/dev/null
    for k in 0 1; do
        from acts.$k --emit hess b.$k.wts >h.$k.wts
        $GPTQ h.$k.wts >q.$k.wts
        from acts.$k --emit none --acts-to acts.$((k + 1)) q.$k.wts >/dev/null
    done
    woq-join --no-history q.0.wts q.1.wts | cmp - want.wts
    cmp acts.2 want.acts
    run ! cmp -s <(calib --emit hess --through "$GPTQ" m.wts | qten /dev/stdin) <(qten want.wts)
    WOQ_THREADS=1 calib --unit block --emit hess --through "$GPTQ" m.wts | cmp - want.wts
}
@test "--unit block --inputs float: the open loop" {
    calib --inputs float --emit hess --through 'woq-gptq --no-history --bits 3 --group-size 16' m.wts >group.wts
    calib --unit block --inputs float --emit hess --acts-to a \
        --through 'woq-gptq --no-history --bits 3 --group-size 16' m.wts >block.wts
    cmp <(qten group.wts) <(qten block.wts)
    calib --emit none --acts-to b m.wts >/dev/null
    cmp a b
}
@test "--unit block: a command that changes nothing; one that gets no description" {
    calib --unit block --through 'tee seen' m.wts | cmp - m.wts
    [ "$(types seen)" = "BLKB2 BLKE2 LOOP2 TENS18 acts2 " ]
    woq-ls --json seen | grep -q '"meta":{"block":1,"group":"block"}'
    calib --unit block --emit none --through 'woq-rtn --no-history --bits 3 --group-size 16' --acts-to a m.wts >q.wts
    woq-rtn --no-history --bits 3 --group-size 16 m.wts | cmp - q.wts
    calib --emit none --acts-to b q.wts >/dev/null
    cmp a b
}
@test "--unit block --state: killed at any moment, then resumed" {
    woq-gen --no-history --llama hidden=64,inter=128,layers=5,heads=4,kv=2,vocab=96 >m.wts
    calib --unit block --emit hess --through 'woq-gptq --bits 3' m.wts >want.wts
    for delay in 0.01 0.03 0.06; do
        rm -f s s.*
        for _ in 1 2 3; do
            woq-calib -q --no-history --tokens t.wts --unit block --emit hess --state s --through 'woq-gptq --bits 3' m.wts >cut.wts &
            pid=$!
            sleep "$delay"
            kill -9 "$pid" 2>/dev/null || true
            wait "$pid" || true
        done
        calib --unit block --emit hess --state s --through 'woq-gptq --bits 3' m.wts | cmp - want.wts
    done
    fails 1 "state 's' is of another run" --state s --emit hess --through 'woq-gptq --bits 3'
}
@test "--unit block: what a command can do wrong" {
    fails 1 "ended with status 5" --unit block --through 'cat; exit 5'
    fails 1 "'true' ended with status 0 before its work was done" --unit block --through true
    fails 1 'before its work was done' --unit block --through 'head -c 30000 | cat'
    fails 1 'no Hessian describes this weight' --unit block --emit stat --through woq-gptq
    back() { # NAME...: 'other.wts' with these frames of block 0 in order and LOOP
        local frames
        frames=()
        for f in "$@"; do
            case $f in
            BLKB | BLKE) frames+=("$f:0") ;;
            *norm) frames+=("model.layers.0.$f.weight{\"role\":\"norm\"}:f32[32]:rand=1") ;;
            *:norole) frames+=("model.layers.0.${f%:*}.weight:f32[32,64]:rand=1") ;;
            *down_proj) frames+=("model.layers.0.$f.weight{\"role\":\"mlp.down\"}:f32[32,64]:rand=1") ;;
            mlp.*) frames+=("model.layers.0.$f.weight{\"role\":\"mlp.up\"}:f32[64,32]:rand=1") ;;
            *[kv]_proj) frames+=("model.layers.0.$f.weight{\"role\":\"attn.k\"}:f32[16,32]:rand=1") ;;
            *) frames+=("model.layers.0.${f%:*}.weight{\"role\":\"attn.q\"}:f32[32,32]:rand=1") ;;
            esac
        done
        woq-gen "${frames[@]}" '@LOOP{"block":0,"group":"block"}' >other.wts
    }
    A='input_layernorm self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj post_attention_layernorm'
    B='mlp.gate_proj mlp.up_proj mlp.down_proj'
    O='cat other.wts; cat >/dev/null'
    # shellcheck disable=SC2086
    wrong() { back $2 && fails 1 "$1" --unit block --through "$O"; }
    wrong 'returned 0 of 11 frames of block 0 from BLKB to BLKE' ''
    wrong 'returned 10 of 11 frames of block 0 from BLKB to BLKE' "BLKB $A $B"
    wrong 'returned 1 of 11 frames of block 0 from BLKB to BLKE' "$A $B BLKB BLKE"
    wrong 'returned 2 of 11 frames of block 0 from BLKB to BLKE' "BLKB BLKE $A $B"
    wrong "returned 'model.layers.0.mlp.up_proj.weight' twice in block 0" "BLKB $A $B mlp.up_proj BLKE"
    wrong "returned TENS 'model.layers.0.mlp.other.weight', which is not awaited in block 0" "BLKB $A mlp.gate_proj mlp.other"
    wrong "block 0 as 'cat other.wts; cat >/dev/null' returned it: tensor 'model.layers.0.self_attn.v_proj.weight' is [32, 32]" \
        "BLKB ${A/self_attn.v_proj/self_attn.v_proj:32} $B BLKE"
    wrong "returned it: block 0 lacks tensor 'model.layers.0.mlp.down_proj.weight'" "BLKB $A mlp.gate_proj mlp.up_proj mlp.down_proj:norole BLKE"
    woq-gen '@LOOP{"block":0,"group":"qkv"}' >other.wts
    fails 1 'returned LOOP {"block":0,"group":"qkv"}, want {"block":0,"group":"block"}' --unit block --through "$O"
}
# d h FILE: the arrays of its hess frames as text
sums() { woq-cat --no-head --match '*' "$2" | sed 's/^hess //' | grep "/$1 f32"; }
@test "--targets both: acts carry x_float, what the float model has there" {
    # A quantizer that does not look at d: the result is that of the plain loop.
    RTN='woq-hessian --no-history | woq-rtn --no-history --bits 3 --group-size 16'
    # The float path is what the plain model has, whatever comes back.
    calib --emit acts m.wts | woq-cat --no-head | sed 's/^acts //' | grep '/x f32' >want
    calib --targets both --through "tee seen | $RTN" m.wts >q.wts
    woq-cat --no-head seen | sed 's/^acts //' | grep '/x_float f32' | sed 's/x_float/x/' | cmp - want
    # The quantized path is that of the plain loop, and so is the result.
    calib --through "tee plain | $RTN" m.wts | cmp - q.wts
    cmp <(woq-cat --no-head seen | grep '/x f32') <(woq-cat --no-head plain | grep '/x f32')
    run ! cmp -s <(woq-cat --no-head seen | sed 's/^acts //' | grep '/x f32') want
    calib --targets both --acts-dtype bf16 --through "tee seen | $RTN" m.wts >/dev/null
    woq-ls --json seen | grep -q '"name":"x_float","dtype":"bf16"'
}
@test "--targets both: --emit hess is --emit acts with woq-hessian behind, d and all" {
    calib --targets both --through "woq-hessian --no-history | tee a | woq-gptq --no-history --bits 3" m.wts >qa.wts
    calib --targets both --emit hess --through "tee b | woq-gptq --no-history --bits 3" m.wts >qb.wts
    cmp qa.wts qb.wts
    cmp <(woq-cat --no-head a) <(woq-cat --no-head b)
    [ "$(sums d b | wc -l)" -eq 8 ]
    # Nothing is quantized before the first group: no error there, but later.
    sums d b | sed -n 1p | tr ' ' '\n' | tail -n +4 | awk '$1 != 0 { exit 1 }'
    sums d b | sed -n 2p | tr ' ' '\n' | tail -n +4 | awk '$1 != 0 { n++ } END { exit n < 900 }'
    WOQ_THREADS=1 calib --targets both --emit hess --through "tee c | woq-gptq --no-history --bits 3" m.wts | cmp - qb.wts
    cmp b c
    # Through a temporary file, or not.
    calib --targets both --spill 0 --emit hess --through "tee c | woq-gptq --no-history --bits 3" m.wts | cmp - qb.wts
    cmp b c
}
@test "--targets both --unit block: the float path beside the whole block" {
    G='woq-rtn --no-history --bits 3 --group-size 16'
    calib --unit block --emit hess --through "tee plain | $G" m.wts >want.wts
    calib --unit block --targets both --emit hess --acts-to a --through "tee seen | $G" m.wts | cmp - want.wts
    [ "$(sums d seen | wc -l)" -eq 8 ]
    cmp <(sums h seen) <(sums h plain)
    # The first block has the same inputs on both paths, and is described before it changes.
    sums d seen | head -n 4 | tr ' ' '\n' | grep -v / | grep -v f32 | awk '$1 != 0 { exit 1 }'
    sums d seen | sed -n 5p | tr ' ' '\n' | tail -n +4 | awk '$1 != 0 { n++ } END { exit n < 900 }'
    # acts: four arrays, y of a block is x of the next on the float path.
    calib --unit block --targets both --through "tee seen | woq-rtn --no-history --bits 3" m.wts >/dev/null
    rows() { woq-cat --no-head seen | sed 's/^acts //' | grep "/$1 f32" | cut -d ' ' -f 3-; }
    cmp <(rows y_float | sed -n 1p) <(rows x_float | sed -n 2p)
    cmp <(rows x | sed -n 1p) <(rows x_float | sed -n 1p)
    run ! cmp -s <(rows x | sed -n 2p) <(rows x_float | sed -n 2p)
    [ "$(rows y | wc -l)" -eq 2 ]
    # More samples than go through at a time.
    tokens 140 40 7 >t.wts
    calib --targets both --unit block --emit hess --through 'tee one | woq-rtn --no-history --bits 3' m.wts >q.wts
    WOQ_THREADS=1 calib --targets both --unit block --emit hess --spill 0 --through 'tee two | woq-rtn --no-history --bits 3' m.wts | cmp - q.wts
    cmp one two
}
@test "--targets both: part after part, and resumed" {
    parts
    D='woq-hessian --no-history | tee -a seen | woq-rtn --no-history --bits 3 --group-size 16'
    calib --targets both --through "${D/-a seen/whole}" --acts-to want.acts m.wts >want.wts
    calib --targets both --emit none --acts-to acts.0 stem.wts >/dev/null
    from acts.0 --targets both --acts-to acts.1 --through "${D/-a seen/s0}" b.0.wts >q.0.wts
    from acts.1 --targets both --acts-to acts.2 --through "${D/-a seen/s1}" b.1.wts >q.1.wts
    woq-join --no-history q.0.wts q.1.wts | cmp - want.wts
    cmp acts.2 want.acts
    cmp <(sums d whole) <(sums d s0; sums d s1)
    woq-ls --json acts.1 | grep -q '"name":"x_float"'
    # Only the quantized path of such a file is wanted.
    from acts.0 --acts-to plain.1 --through "${D/| tee -a seen/}" b.0.wts | cmp - q.0.wts
    run ! bash -c 'woq-ls --json plain.1 | grep x_float'
    fails_from 1 'the activations lack the float path' --acts-from plain.1 --targets both
    # With quantized weights there is no float path.
    MODEL=q.0.wts fails_from 1 "--targets both needs float weights: 'model.layers.0.self_attn.q_proj.weight' is quantized" \
        --acts-from acts.0 --targets both --emit none --acts-to no
    # Resumed.
    run -1 bash -c "woq-calib -q --no-history --tokens t.wts --targets both --state s --through '${D/| tee -a seen/}' <(head -c 60000 m.wts) >/dev/null; exit 1"
    [ -e s.0.wts ] && [ ! -e s.1.wts ]
    calib --targets both --state s --through "${D/| tee -a seen/}" m.wts | cmp - want.wts
    fails 1 "state 's' is of another run" --state s --through "${D/| tee -a seen/}"
}
head_model() { # a model whose head is to be quantized
    woq-scheme --no-history --set 'lm_head* bits=4 group_size=16' m.wts >scheme.wts
    mv scheme.wts m.wts
}
@test "the head is a last group where its scheme asks for it" {
    calib --through "$GPTQ" m.wts >plain.wts
    [ "$(qten plain.wts | wc -l)" -eq 14 ]
    head_model
    calib --through "tee seen | $GPTQ" m.wts >q.wts
    [ "$(qten q.wts | wc -l)" -eq 15 ]
    cmp <(qten q.wts | head -n 14) <(qten plain.wts)
    woq-ls --json q.wts | tail -n 1 | grep '"type":"QTEN".*"name":"lm_head.weight".*"bits":4'
    woq-ls --json seen | tail -n 1 | grep -F '"meta":{"group":"lm_head"}'
    woq-ls --json seen | grep '"type":"acts"' | tail -n 1 | grep -F '"meta":{"group":"lm_head","of":"lm_head.weight","token0":0}'
    # A scheme that says float, or a command that changes nothing.
    woq-scheme --no-history --set 'lm_head* float' m.wts >float.wts
    calib --through "$GPTQ" float.wts | qten /dev/stdin | cmp - <(qten plain.wts)
    calib --through cat m.wts | cmp - m.wts
    # The unit does not matter, what is emitted neither.
    calib --emit hess --unit block --through 'woq-gptq --no-history --bits 3 --group-size 16' m.wts >block.wts
    [ "$(qten block.wts | wc -l)" -eq 15 ]
    calib --emit hess --through "tee b | woq-gptq --no-history --bits 3 --group-size 16" m.wts |
        woq-cat --no-head | grep -v '^note' | cmp - <(woq-cat --no-head q.wts | grep -v '^note')
    calib --emit none --through 'woq-rtn --no-history --bits 3 --group-size 16' m.wts | qten /dev/stdin | tail -n 1 |
        cmp - <(woq-rtn --no-history m.wts | qten /dev/stdin | tail -n 1)
    WOQ_THREADS=1 calib --through "tee seen | $GPTQ" m.wts | cmp - q.wts
}
@test "the inputs of the head are the activations behind the final norm" {
    head_model
    tokens 3 1000 7 >t.wts # more than a chunk
    calib --emit hess --acts-to a m.wts >h.wts
    calib --emit acts m.wts | woq-hessian --no-history | cmp - h.wts
    calib --emit stat m.wts | cmp - <(calib m.wts | woq-stats --no-history)
    [ "$(types h.wts)" = "BLKB2 BLKE2 MODL1 TENS21 hess9 " ]
    woq-ls h.wts | tail -n 2 | awk '{ print $3, $4 }' | cmp - <(printf 'hess lm_head.weight\nTENS lm_head.weight\n')
    # An RMS norm with weight g: the sum of squares of a row is hidden times g^2.
    woq-cat --no-head a | sed 's/^.* f32 //' | tr ' ' '\n' | grep -v '^$' >x
    woq-cat --no-head --match model.norm.weight m.wts | cut -d ' ' -f 3- | tr ' ' '\n' >g
    paste -sd ' ' g >g1
    awk 'NR == FNR { n = split($0, g, " "); next }
        { v[(FNR - 1) % n + 1] = $1 }
        (FNR % n) == 0 { s = 0; for (i = 1; i <= n; i++) s += v[i] * v[i]; r = 1 / sqrt(s / n + 1e-5)
            y = v[1] * r * g[1]; h += y * y }
        END { print h }' g1 x >want
    woq-cat --no-head --match lm_head.weight h.wts | head -n 1 | cut -d ' ' -f 4 >got
    paste want got
    awk 'NR == FNR { w = $1; next } { e = ($1 - w) / w; exit !(e < 1e-3 && e > -1e-3) }' want got
    # The float path.
    calib --targets both --emit hess --through "tee seen | $GPTQ" m.wts >/dev/null
    [ "$(woq-cat --no-head --match lm_head.weight seen | grep -c /d)" -eq 1 ]
}
@test "the head: part after part, and resumed" {
    head_model
    parts
    calib --through "$GPTQ" m.wts >want.wts
    calib --emit none --acts-to acts.0 stem.wts >/dev/null
    from acts.0 --acts-to acts.1 --through "$GPTQ" b.0.wts >q.0.wts
    from acts.1 --acts-to acts.2 --through "$GPTQ" b.1.wts >q.1.wts
    woq-join --no-history q.0.wts q.1.wts | cmp - want.wts
    calib --state s --through "$GPTQ" m.wts | cmp - want.wts
    woq-calib --no-history --tokens t.wts --state s --through "$GPTQ" m.wts 2>note | cmp - want.wts
    grep "going on after block 1, from 's'" note
    # Dies at the head; the blocks are kept.
    rm -f s s.*
    run -1 bash -c "woq-calib -q --no-history --tokens t.wts --state s --through '$GPTQ' <(head -c 95000 m.wts) >/dev/null; exit 1"
    [ -e s.1.wts ]
    calib --state s --through "$GPTQ" m.wts | cmp - want.wts
}
@test "the head: tied, too early, returned wrongly" {
    head_model
    H='{"role":"head","quant":{"bits":4}}'
    woq-extract "$TINY" | woq-cat --file config.json | sed 's/"tie_word_embeddings": *false/"tie_word_embeddings": true/' >config.json
    grep -q '"tie_word_embeddings": true' config.json
    E='model.embed_tokens.weight{"role":"embed"}:f32[96,32]:rand=1'
    woq-gen --no-history --modl config.json "$E" "lm_head.weight$H:f32[96,32]:rand=2" >tied.wts
    MODEL=tied.wts fails 1 "'lm_head.weight' is to be quantized, but config.json ties it to the embedding" --emit hess
    calib --emit none --acts-to a tied.wts | cmp - tied.wts
    sed -i 's/"tie_word_embeddings": true/"tie_word_embeddings": false/' config.json
    woq-gen --no-history --modl config.json "$E" "lm_head.weight$H:f32[96,32]:rand=2" >early.wts
    MODEL=early.wts fails 1 "the head 'lm_head.weight' comes after 0 of 2 blocks" --emit hess
    calib --emit none --acts-to acts.2 m.wts >/dev/null
    MODEL=early.wts fails_from 1 "the head 'lm_head.weight' comes before the final norm" --acts-from acts.2 --emit hess
    N='model.norm.weight{"role":"norm"}:f32[32]:rand=3'
    woq-gen --no-history --modl config.json "$N" "lm_head.weight$H:f32[96,32]:rand=2" >head.wts
    from acts.2 --emit hess head.wts | woq-gptq --no-history --bits 3 >q.wts
    from acts.2 --emit hess --through 'woq-gptq --no-history --bits 3' head.wts | cmp - q.wts
    woq-gen --no-history --modl config.json "$N" "$N" >twice.wts
    MODEL=twice.wts fails_from 1 "'model.norm.weight' comes twice" --acts-from acts.2
    woq-gen --no-history --modl config.json "${N/\[32\]/[16]}" >small.wts
    MODEL=small.wts fails_from 1 "config.json says [32]" --acts-from acts.2
    woq-gen --no-history --modl config.json "$N" 'lm_head.weight{"role":"head","quant":{"bits":9}}:f32[96,32]:rand=2' >bad.wts
    MODEL=bad.wts fails_from 1 'bits' --acts-from acts.2
    O='cat other.wts; cat >/dev/null'
    back() { woq-gen "${@:2}" '@LOOP{"group":"lm_head"}' >other.wts && MODEL=head.wts fails_from 1 "$1" --acts-from acts.2 --through "$O"; }
    W='lm_head.weight:f32[96,32]:rand=2'
    back "returned 0 weights of group 'lm_head', want 1"
    back "returned TENS 'lm_head.weight', which is not awaited in group 'lm_head'" "$W" "$W"
    back "returned TENS 'w', which is not awaited in group 'lm_head'" w:f32:1
    back "returned 95 x 32, want 96 x 32" "${W/96/95}"
    MODEL=head.wts fails_from 1 "'cat; exit 5' ended with status 5" --acts-from acts.2 --through 'cat; exit 5'
}
@test "a command that dies in the middle: which block, which group" {
    printf '#!/bin/sh\nhead -c 64 >/dev/null\nexit 255\n' >drop # as ssh does
    chmod +x drop
    fails 1 "block 0, group 'qkv': './drop' ended with status 255 before its work was done" --through ./drop
    woq-gen --no-history --llama hidden=256,inter=512,layers=3,heads=4,kv=2,vocab=96 >big.wts
    MODEL=big.wts fails 1 "group '" --through 'stdbuf -o0 head -c 2000000'
    [[ $stderr == *"block 0, group '"*"before its work was done"* ]]
    MODEL=big.wts fails 1 "group 'block'" --unit block --through 'stdbuf -o0 head -c 3000000'
    [[ $stderr == *"block 1, group 'block': 'stdbuf -o0 head -c 3000000' ended with status 0 before its work was done"* ]]
}
@test "SIGINT, SIGTERM, SIGHUP: the command ends too" {
    gone() { case $(ps -o stat= -p "$1") in '' | Z*) ;; *) return 1 ;; esac; }
    for sig in INT TERM HUP; do
        # A command that neither answers nor ends with its input.
        status=0
        timeout -s "$sig" 2 woq-calib -q --no-history --tokens t.wts \
            --through 'echo $$ >pids; sleep 300 & echo $! >>pids; cat >/dev/null; wait' m.wts >cut.wts || status=$?
        [ "$status" -eq 124 ]
        [ "$(wc -l <pids)" -eq 2 ]
        while read -r pid; do
            for _ in {1..40}; do
                gone "$pid" && break
                sleep 0.05
            done
            gone "$pid"
        done <pids
    done
}
@test "--state: SIGTERM at any moment, then resumed: the same bytes" {
    woq-gen --no-history --llama hidden=64,inter=128,layers=4,heads=4,kv=2,vocab=96 >m.wts
    calib --through "$GPTQ" m.wts >want.wts
    for delay in 0.03 0.08 0.15; do
        rm -f s s.*
        for sig in TERM INT; do
            timeout -s "$sig" "$delay" woq-calib -q --no-history --tokens t.wts --state s --through "$GPTQ" m.wts >cut.wts || true
        done
        calib --state s --through "$GPTQ" m.wts | cmp - want.wts
    done
}
@test "on a terminal one sees what is waited for" {
    command -v script >/dev/null || skip 'no script(1)'
    WOQ_PROGRESS=auto script -qec "woq-calib --no-history --tokens t.wts --through 'sleep 0.3; cat' m.wts >out.wts" tty.log </dev/null >/dev/null
    cmp out.wts m.wts
    grep -a 'block 0, qkv: at the command' tty.log
}
@test "usage" {
    for o in '' '--tokens t.wts --text x' '--tokens t.wts --emit best' '--tokens t.wts --inputs some' \
        '--tokens t.wts --acts-dtype f16' '--tokens t.wts --state s' '--tokens t.wts -n 0' \
        '--tokens t.wts --seqlen 1' '--tokens t.wts --token0 -1' '--tokens t.wts --unit model' \
        '--tokens t.wts --acts-from t.wts' '--text t.wts --acts-from t.wts' '--acts-from t.wts --token0 1' \
        '--tokens t.wts --emit none' '--tokens t.wts --targets both' '--tokens t.wts --targets float' \
        '--tokens t.wts --targets both --inputs float --through cat' '--tokens t.wts --targets both --emit stat --through cat' \
        '--tokens t.wts --token0 9007199254740993' '--tokens t.wts m.wts more'; do
        echo "$o"
        # shellcheck disable=SC2086
        run -2 bash -c "woq-calib $o <m.wts >out.wts"
    done
}
