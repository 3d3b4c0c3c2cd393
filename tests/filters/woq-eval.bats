#!/usr/bin/env bats
# woq-eval: golden logits, conventions, every option and every refusal.
bats_require_minimum_version 1.5.0
load ../helpers

L=$GOLDEN/logits

# largest |a - b| over largest |b| of two .npy files with a header of 128 bytes
difference() {
    od -An -v -tf4 -w4 -j128 "$1" >a.txt
    od -An -v -tf4 -w4 -j128 "$2" >b.txt
    cmp <(head -c 128 "$1") <(head -c 128 "$2")
    paste a.txt b.txt | awk '{ d = $1 - $2; if (d < 0) d = -d; if (d > m) m = d
        a = $2 < 0 ? -$2 : $2; if (a > top) top = a } END { print NR, m / top }'
}

golden() {
    bash -c "set -o pipefail; woq-extract $L/$1 | woq-eval --tokens $L/$1/ids.json --logits o.npy" >out
    read -r n rel < <(difference o.npy "$L/$1/logits.npy")
    echo "$1: $n values, relative difference $rel"
    [ "$n" -eq $(($2 * 131)) ]
    awk -v x="$rel" 'BEGIN { exit !(x < 1e-4) }'
}

@test "logits of transformers: llama with GQA, biases, llama3 rope" { golden llama 37; }
@test "logits of transformers: llama, tied, heads 3/1, heads x dim is not hidden" { golden llama-tied 13; }
@test "logits of transformers: llama, heads 5/5, f16 file" { golden llama-mha5 13; }
@test "logits of transformers: rope linear" { golden llama-linear 13; }
@test "logits of transformers: rope dynamic, longer than the table" { golden llama-dynamic 37; }
@test "logits of transformers: rope yarn" { golden llama-yarn 13; }
@test "logits of transformers: rope yarn with every key" { golden llama-yarn-keys 13; }
@test "logits of transformers: gelu" { golden llama-gelu 13; }
@test "logits of transformers: mistral, sliding window" { golden mistral 13; }
@test "logits of transformers: qwen2, window from layer 1, tied" { golden qwen2 13; }

# --- text: a tokenizer of single letters, with and without BOS ---

# letters a-z 0..25, space 26, newline 27, full stop 28, "<s>" 29; $1: yes = BOS is put in front
tokenizer() {
    local i vocab='"\u0120":26,"\u010a":27,".":28' post=null
    for i in {0..25}; do
        vocab+=",\"$(printf "\\x$(printf %x $((97 + i)))")\":$i"
    done
    if [ "$1" = yes ]; then
        post='{"type":"TemplateProcessing","single":[{"SpecialToken":{"id":"<s>","type_id":0}},
              {"Sequence":{"id":"A","type_id":0}}],"pair":[],
              "special_tokens":{"<s>":{"id":"<s>","ids":[29],"tokens":["<s>"]}}}'
    fi
    cat <<JSON
{"version":"1.0","added_tokens":[{"id":29,"content":"<s>","single_word":false,"lstrip":false,
 "rstrip":false,"normalized":false,"special":true}],"normalizer":null,
 "pre_tokenizer":{"type":"ByteLevel","add_prefix_space":false,"trim_offsets":true,"use_regex":true},
 "post_processor":$post,"decoder":{"type":"ByteLevel","add_prefix_space":true,"trim_offsets":true,
 "use_regex":true},"model":{"type":"BPE","dropout":null,"unk_token":null,"vocab":{$vocab},
 "merges":[]}}
JSON
}

# folder m: the llama fixture with that tokenizer
model() {
    mkdir -p m
    cp "$L/llama/config.json" "$L/llama/model.safetensors" m/
    tokenizer "$1" >m/tokenizer.json
    if [ "$1" = yes ]; then
        echo '{"bos_token":"<s>","add_bos_token":true}' >m/tokenizer_config.json
    fi
    woq-extract m >m.wts
}

# member NAME of the JSON object in file out
member() { sed -E "s/.*\"$1\":\"?([^,\"}]*).*/\1/" out; }

# the same number, to six digits
same() {
    awk -v a="$1" -v b="$2" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(b && d <= 1e-6 * b) }' ||
        { echo "$1 is not $2"; return 1; }
}

# perplexity and error of file logits over rows FROM..TO-1 (of 131) against the next ids
reference_ppl() { # LOGITS IDS FROM TO
    od -An -v -tf4 -w524 -j128 "$1" >rows.txt
    tr -d '[] ' <"$2" | tr ',' '\n' >ids.txt
    awk -v from="$3" -v to="$4" 'NR == FNR { id[n++] = $1; next }
        { t = FNR - 1; if (t < from || t >= to) next
          max = $1; for (i = 2; i <= 131; i++) if ($i > max) max = $i
          s = 0; for (i = 1; i <= 131; i++) s += exp($i - max)
          x = max + log(s) - $(id[t + 1] + 1); sum += x; sum2 += x * x; k++ }
        END { m = sum / k; printf "%.9f %.9f %d\n", exp(m),
              exp(m) * sqrt((sum2 / k - m * m) / (k - 1)), k }' ids.txt rows.txt
}

@test "perplexity and its error, gptq: every token but the first" {
    woq-extract "$L/llama" | woq-eval --tokens "$L/llama/ids.json" --ctx 37 --json >out
    read -r ppl err n < <(reference_ppl "$L/llama/logits.npy" "$L/llama/ids.json" 0 36)
    same "$(member perplexity)" "$ppl"
    same "$(member stderr)" "$err"
    [ "$(member tokens)" = "$n" ]
    [ "$(member convention) $(member ctx) $(member windows)" = 'gptq 37 1' ]
    awk -v x="$(member tokens_per_second)" 'BEGIN { exit !(x > 0) }'
}

@test "perplexity and its error, llamacpp: the second half of a window" {
    woq-extract "$L/llama" | woq-eval --tokens "$L/llama/ids.json" --ctx 37 --ppl llamacpp --json >out
    read -r ppl err n < <(reference_ppl "$L/llama/logits.npy" "$L/llama/ids.json" 18 36)
    same "$(member perplexity)" "$ppl"
    same "$(member stderr)" "$err"
    [ "$(member tokens)" = "$n" ] && [ "$n" = 18 ]
}

@test "windows: whole ones only, --windows takes the first" {
    woq-extract "$L/llama" >m.wts
    woq-eval --tokens "$L/llama/ids.json" --ctx 12 --json m.wts >out
    [ "$(member windows) $(member tokens)" = '3 33' ]
    woq-eval --tokens "$L/llama/ids.json" --ctx 12 --windows 2 --json m.wts >out
    [ "$(member windows) $(member tokens)" = '2 22' ]
    two=$(member perplexity)
    tr -d '[]' <"$L/llama/ids.json" | tr ',' '\n' | head -24 | paste -sd, | sed 's/.*/[&]/' >24.json
    woq-eval --tokens 24.json --ctx 12 --json m.wts >out
    [ "$(member perplexity)" = "$two" ]
}

@test "ids: arrays line by line are joined, nested ones too" {
    woq-extract "$L/llama" >m.wts
    echo '[1,2,3,4,5,6]' >a.json
    printf '[1,2]\n[3,4]\n[5,6]\n' >b.json
    printf '[[1,2],\n [3],[4,5,6]]\n' >c.json
    for f in a b c; do woq-eval --tokens $f.json --logits $f.npy m.wts; done
    cmp a.npy b.npy
    cmp a.npy c.npy
}

@test "ids: a stream of woq-tokens, its samples joined" {
    model yes
    printf 'the quick fox. a b' >t.txt
    woq-tokens --model m --text t.txt --seqlen 7 >t.wts
    woq-eval --tokens t.wts --ctx 9 --json m.wts >out
    stream=$(member perplexity)
    woq-eval --text t.txt --ctx 9 --json m.wts >out
    [ "$(member perplexity)" = "$stream" ]
    [ "$(member windows)" = 2 ]
    head -c 300 t.wts >cut.wts
    run -3 woq-eval --tokens cut.wts --ctx 9 m.wts
}

@test "text is tokenized whole; BOS once for gptq, in every window for llamacpp" {
    text='the quick fox. a b'
    ids=19,7,4,26,16,20,8,2,10,26,5,14,23,28,26,0,26,1
    printf '%s' "$text" >t.txt
    model no
    woq-eval --text t.txt --ctx 6 --json m.wts >out
    plain=$(member perplexity)
    echo "[$ids]" >i.json
    woq-extract "$L/llama" | woq-eval --tokens i.json --ctx 6 --json >out
    [ "$(member perplexity) $(member windows)" = "$plain 3" ]
    model yes
    woq-eval --text t.txt --ctx 6 --json m.wts >out
    bos=$(member perplexity)
    echo "[29,$ids]" >i.json
    woq-extract "$L/llama" | woq-eval --tokens i.json --ctx 6 --json >out
    [ "$(member perplexity)" = "$bos" ]
    woq-eval --text t.txt --ctx 6 --ppl llamacpp --json m.wts >out
    bos=$(member perplexity)
    echo '[29,19,7,4,26,16, 29,8,2,10,26,5, 29,23,28,26,0,26]' >i.json
    woq-extract "$L/llama" | woq-eval --tokens i.json --ctx 6 --ppl llamacpp --json >out
    [ "$(member perplexity)" = "$bos" ]
}

@test "--wikitext joins rows by blank lines, a line of one space is an empty row" {
    printf 'ab c\n \n d.\nx y z\n' >w.txt
    printf 'ab c\n\n\n\n\n d.\n\n\nx y z\n' >t.txt
    model no
    woq-eval --wikitext w.txt --ctx 10 --json m.wts >out
    joined=$(member perplexity)
    [ "$(member windows)" = 2 ]
    woq-eval --text t.txt --ctx 10 --json m.wts >out
    [ "$(member perplexity)" = "$joined" ]
}

@test "--lambada: accuracy and perplexity of the last words" {
    model no
    printf '%s\n' '{"text":"the fox is on a b"}' '{"text":"a bc  d"}' '{"text":"the fox is on x b"}' >d.jsonl
    woq-eval --lambada d.jsonl --json m.wts >out
    [ "$(member documents) $(member tokens) $(member convention)" = '3 7 lambada' ]
    ppl=$(member perplexity)
    # by hand: the log-likelihood of " b" (26, 1), "  d" (26, 26, 3) and " b"
    total=0
    for ids in 19,7,4,26,5,14,23,26,8,18,26,14,13,26,0,26,1:2 0,26,1,2,26,26,3:3 \
        19,7,4,26,5,14,23,26,8,18,26,14,13,26,23,26,1:2; do
        echo "[${ids%:*}]" >i.json
        n=$(tr -cd , <i.json | wc -c)
        woq-eval --tokens i.json --logits l.npy m.wts >/dev/null
        read -r p _ k < <(reference_ppl l.npy i.json $((n - ${ids#*:})) "$n")
        total=$(awk -v t="$total" -v p="$p" -v k="$k" 'BEGIN { printf "%.9f", t + k * log(p) }')
    done
    same "$ppl" "$(awk -v t="$total" 'BEGIN { printf "%.9f", exp(t / 3) }')"
    woq-eval --lambada d.jsonl --limit 1 --json m.wts >out
    [ "$(member documents)" = 1 ]
    woq-eval --lambada d.jsonl m.wts >text
    grep -q '^accuracy  *[01]' text
}

@test "--kld: no divergence from itself, the right one from another" {
    woq-extract "$L/llama" >m.wts
    ids=$L/llama/ids.json
    woq-eval --tokens "$ids" --ctx 37 --kld m.wts --json m.wts >out
    [ "$(member kl_mean) $(member kl_max) $(member top1_agreement)" = '0 0 1' ]
    woq-extract "$L/llama-linear" >ref.wts
    woq-eval --tokens "$ids" --ctx 37 --kld ref.wts --json m.wts >out
    woq-eval --tokens "$ids" --logits p.npy ref.wts >/dev/null
    od -An -v -tf4 -w524 -j128 p.npy >p.txt
    od -An -v -tf4 -w524 -j128 "$L/llama/logits.npy" >q.txt
    read -r mean max agree < <(paste p.txt q.txt | awk 'NR <= 36 {
        mp = $1; mq = $132; ip = iq = 1
        for (i = 2; i <= 131; i++) { if ($i > mp) { mp = $i; ip = i }
            if ($(131 + i) > mq) { mq = $(131 + i); iq = i } }
        sp = sq = kl = 0
        for (i = 1; i <= 131; i++) { sp += exp($i - mp); sq += exp($(131 + i) - mq) }
        for (i = 1; i <= 131; i++) kl += exp($i - mp) / sp * ($i - mp - log(sp) - $(131 + i) + mq + log(sq))
        sum += kl; if (kl > max) max = kl; same += ip == iq; n++ }
        END { printf "%.9f %.9f %.9f\n", sum / n, max, same / n }')
    awk -v a="$(member kl_mean)" -v b="$mean" -v c="$(member kl_max)" -v d="$max" \
        'BEGIN { exit !((a - b) ^ 2 < 1e-10 && (c - d) ^ 2 < 1e-10 && b > 0.01) }'
    awk -v a="$(member top1_agreement)" -v b="$agree" 'BEGIN { exit !((a - b) ^ 2 < 1e-12) }'
    awk -v a="$(member kl_median)" -v b="$(member kl_99)" -v c="$(member kl_max)" \
        'BEGIN { exit !(0 < a && a < b && b <= c) }'
    woq-eval --tokens "$ids" --ctx 37 --kld <(cat ref.wts) m.wts >text
    grep -q 'same top token' text
    woq-eval --tokens "$ids" --ctx 37 --kld fd:3 --json m.wts 3<ref.wts >two
    cut -d, -f1-3 out | cmp - <(cut -d, -f1-3 two)
}

@test "--kld refuses another vocabulary" {
    woq-extract "$GOLDEN/tiny-llama/hf" >ref.wts
    woq-extract "$L/llama" >m.wts
    echo '[1,2,3,4,5]' >i.json
    run -1 woq-eval --tokens i.json --ctx 5 --kld ref.wts m.wts
    [[ $output == *'a vocabulary of 96, this model one of 131'* ]]
}

@test "the same bytes for every number of threads" {
    woq-extract "$L/mistral" >m.wts
    for i in {1..400}; do echo "[$((i * 37 % 131)),$((i * i % 131)),$((i * 11 % 131))]"; done >i.json
    for t in 1 2 5; do
        WOQ_THREADS=$t woq-eval --tokens i.json --ctx 100 --logits $t.npy m.wts >/dev/null
        WOQ_THREADS=$t woq-eval --tokens i.json --ctx 600 --json m.wts | cut -d, -f1-3 >$t.json
    done
    cmp 1.npy 2.npy && cmp 1.npy 5.npy
    cmp 1.json 2.json && cmp 1.json 5.json
}

@test "quantized weights give what their dequantized ones give" {
    woq-extract "$L/qwen2" | woq-rtn --bits 4 --group-size 16 >q.wts
    ids=$L/qwen2/ids.json
    woq-eval --tokens "$ids" --logits a.npy q.wts >/dev/null
    woq-dequant q.wts | woq-eval --tokens "$ids" --logits b.npy >/dev/null
    cmp a.npy b.npy
    run ! cmp a.npy "$L/qwen2/logits.npy"
}

@test "--generate continues as the logits say" {
    model no
    woq-eval --generate 5 --prompt 'the fox' --json m.wts >out
    [ "$(member tokens)" -ge 1 ]
    # the first token, from the logits of the prompt
    echo '[19,7,4,26,5,14,23]' >i.json
    woq-eval --tokens i.json --logits l.npy m.wts >/dev/null
    best=$(od -An -v -tf4 -w524 -j128 l.npy | tail -1 |
        awk '{ b = 1; for (i = 2; i <= 131; i++) if ($i > $b) b = i; print b - 1 }')
    echo "best $best" >&2
    woq-eval --generate 1 --prompt 'the fox' m.wts >text
    if [ "$best" -lt 26 ]; then
        [ "$(cat text)" = "the fox$(printf "\\x$(printf %x $((97 + best)))")" ]
    fi
    run -2 woq-eval --generate 5 --prompt '' m.wts
    [[ $output == *'the prompt is empty'* ]]
}

@test "--generate from quantized weights: the words of the same weights as f32, in less memory" {
    tokenizer no >tokenizer.json
    woq-gen --llama hidden=256,inter=1024,layers=8,heads=4,kv=4,vocab=30,dtype=f32,seed=3 |
        woq-pack -q --format safetensors --dtype f32 --out m
    cp tokenizer.json m
    said() { # FILTER...: what the model says behind it; sets peak
        woq-extract m | "$@" | cat | WOQ_STATS=$PWD/stats woq-eval --generate 12 --prompt 'the fox' >out
        peak=$(sed -n 's/.*"woq-eval".*"peak_bytes":\([0-9]*\).*/\1/p' stats)
        rm stats
    }
    for o in '--bits 4 --asym' '--dtype nf4 --group-size 64' '--bits 8 --match model.layers.[1-6].*'; do
        # shellcheck disable=SC2086
        said woq-rtn $o
        cp out quantized
        packed=$peak
        # shellcheck disable=SC2086
        said bash -c 'woq-rtn "$@" | woq-dequant' - $o
        cmp out quantized
        echo "$o: $packed bytes, $peak as f32"
        [ "$packed" -lt $((peak - 15000000)) ] # of 34 million
    done
}

# chat TEMPLATE: folder m with that one, whose tokens are those of the tokenizer
chat() {
    model yes
    rm m/config.json m/model.safetensors
    woq-gen --llama hidden=32,inter=32,layers=1,heads=2,kv=2,vocab=30 | woq-pack -q --format safetensors --out w
    mv w/config.json w/model.safetensors m
    printf %s "$1" >m/chat_template.jinja
    woq-extract m >m.wts
}

@test "--ask and --chat continue what the chat template makes, without a second BOS" {
    chat '{{ bos_token }}{% for m in messages %}{{ m.content }}.{% endfor %}{{ "ai" if add_generation_prompt }}{{ more }}'
    woq-eval --generate 5 --prompt 'the fox.ai' --json m.wts >out
    want=$(member text)
    [ -n "$want" ] && [ "$(member prompt)" = 'the fox.ai' ]
    woq-eval --generate 5 --ask 'the fox' --json m.wts >out
    [ "$(member text)" = "$want" ] && [ "$(member conversation)" = '<s>the fox.ai' ]
    ! grep -q '"prompt"' out
    run -0 --separate-stderr woq-eval --generate 5 -a 'the fox' m.wts # the answer alone
    [ "$output" = "$want" ]
    printf '{"messages":\n[{"role":"user","content":"the fox"}]}\n' >c.json
    run -0 --separate-stderr woq-eval --generate 5 --chat c.json m.wts
    [ "$output" = "$want" ]
    echo '[{"role":"system","content":"a"},{"role":"user","content":"say \"b\""}]' >c.json
    woq-eval --generate 1 --chat c.json --chat-vars '{"more":" c"}' --json m.wts >out
    grep -qF '"conversation":"<s>a.say \"b\".ai c"' out
    printf '{{ messages[0].content }} {{ strftime_now("%%Y") }}' >own.jinja
    woq-eval --generate 1 --ask x --chat-template own.jinja --chat-date 2026-01-31 --json m.wts >out
    [ "$(member conversation)" = 'x 2026' ]
}

@test "an answer ends where generation_config.json or config.json say, and the end is not shown" {
    chat '{{ bos_token }}{{ messages[0].content }}'
    woq-eval --generate 6 --ask fox --json m.wts >out
    text=$(member text) n=$(member tokens)
    [ "$n" = 6 ]
    second=$(printf '%d' "'${text:1:1}") # letters are ids 0..25
    [ "${text:0:1}" != "${text:1:1}" ] && [[ ${text:1:1} == [a-z] ]]
    echo "{\"eos_token_id\":[130,$((second - 97))]}" >m/generation_config.json
    woq-extract m | woq-eval --generate 6 --ask fox --json >out
    [ "$(member text)" = "${text:0:1}" ] && [ "$(member tokens)" = 2 ]
    rm m/generation_config.json
    sed -i -E 's/"eos_token_id":[[:space:]]*[0-9]+/"eos_token_id": '"$((second - 97))/" m/config.json
    grep -q '"eos_token_id"' m/config.json
    woq-extract m | woq-eval --generate 6 --prompt fox --json >out
    [ "$(member tokens)" = 2 ]
    echo '{"eos_token_id":' >m/generation_config.json
    refused 'generation_config.json: ' --generate 6 --ask fox <(woq-extract m)
}

@test "a conversation that cannot be answered" {
    chat '{{ raise_exception("roles!") if messages[0].role != "user" }}{{ messages[0].content }}'
    echo '[{"role":"ai","content":"x"}]' >c.json
    refused 'c.json: template line 1, column 4: roles!' --generate 3 --chat c.json m.wts
    printf '%s\n' '[{"role":"user","content":"x"}]' '[{"role":"user","content":"y"}]' >c.json
    refused 'c.json: line 2: a second conversation, want one' --generate 3 --chat c.json m.wts
    : >c.json
    refused 'c.json: no conversation' --generate 3 --chat c.json m.wts
    refused "can't" --generate 3 --chat nowhere.json m.wts
    echo '{"messages":5}' >c.json
    refused 'c.json: no messages' --generate 3 --chat c.json m.wts
    refused '--ask: ' --generate 3 --ask $'a\xff' m.wts
    run -2 woq-eval --generate 3 --ask '' m.wts
    [[ $output == *'the prompt is empty'* ]]
    run -2 woq-eval --generate 3 --ask x --chat-vars '[]' m.wts
    [[ $output == *'--chat-vars: want a JSON object'* ]]
    rm m/chat_template.jinja
    refused 'the model has no chat template' --generate 3 --ask x <(woq-extract m)
}

@test "text output is a few lines for people" {
    woq-extract "$L/llama" | woq-eval --tokens "$L/llama/ids.json" --ctx 37 >out
    [ "$(wc -l <out)" = 2 ]
    grep -qE '^perplexity  [0-9.]+ \+/- [0-9.]+  \(gptq, ctx 37, windows 1, 36 tokens scored\)$' out
    grep -qE '^speed  .* tokens/s, .* GFLOP/s$' out
}

# --- refusals ---

refused() { # MESSAGE ARGS...
    local message=$1
    shift
    run -1 woq-eval "$@"
    [[ $output == *"$message"* ]] || { echo "$output"; return 1; }
}

@test "usage: one input, and options that go together" {
    echo '[1,2,3,4]' >i.json
    for args in "" "--text a --tokens b" "--generate 3" "--prompt x --text a" "--limit 3 --text a" \
        "--generate 3 --prompt x --ask y" "--ask x" "--text a --chat b" "--generate 3 --ask x --chat y" \
        "--generate 3 --prompt x --chat-date 2026-01-31" "--text a --chat-vars {}" "--generate 3 --chat -" \
        "--lambada a --logits b" "--generate 2 --prompt x --kld y" "--text a --ctx 3" \
        "--text a --ppl other" "--text a --kld -" "--text a --ctx -1"; do
        # shellcheck disable=SC2086
        run -2 woq-eval $args </dev/null
    done
}

@test "input files that can't be used say so" {
    model no
    refused "can't" --text nowhere.txt m.wts
    : >empty
    refused 'the file is empty' --text empty m.wts
    printf 'abc' >t.txt
    refused '3 tokens, but one window wants 2048' --text t.txt m.wts
    refused '3 tokens, but one window wants 512' --text t.txt --ppl llamacpp m.wts
    printf '[1,2,x]' >i.json
    refused 'i.json' --tokens i.json m.wts
    printf '{"a":1}' >i.json
    refused 'not a JSON array of ids' --tokens i.json m.wts
    printf '[1,-2]' >i.json
    refused 'token 1 is no id' --tokens i.json m.wts
    printf '[1,2,3,131,5]' >i.json
    refused 'token 3 is 131, but the vocabulary has 131 entries' --tokens i.json --ctx 5 m.wts
    printf '[]' >i.json
    refused '0 tokens' --tokens i.json m.wts
    printf '{"text":"a b"}\n{"txt":"a b"}\n' >d.jsonl
    refused "d.jsonl: line 2: no string 'text'" --lambada d.jsonl m.wts
    printf '\n' >d.jsonl
    refused 'no document' --lambada d.jsonl m.wts
    refused 'nowhere.wts' --text t.txt --kld nowhere.wts m.wts
}

@test "a folder without tokenizer is fine for ids, and refused for text" {
    woq-extract "$L/llama" >m.wts
    echo abcd >t.txt
    refused 'without a tokenizer' --text t.txt --ctx 4 m.wts
    refused 'without a tokenizer' --generate 4 --prompt a m.wts
    echo '[1,2,3,4]' >i.json
    woq-eval --tokens i.json --ctx 4 m.wts
}

@test "an architecture that is not known is refused, with a hint where the known ones are" {
    echo '[1,2,3,4]' >i.json
    mkdir x
    cp "$L/llama/model.safetensors" x/
    sed 's/LlamaForCausalLM/MambaForCausalLM/; s/"model_type": "llama"/"model_type": "mamba"/' \
        "$L/llama/config.json" >x/config.json
    run -3 bash -c 'woq-extract x 2>extract | woq-eval --tokens i.json 2>eval'
    for f in extract eval; do
        [[ $(cat $f) == "woq-$f: "*"unknown architecture 'MambaForCausalLM'"*'woq-info lists the known ones'* ]]
    done
}

@test "a stream with a hole is refused" {
    woq-extract "$L/llama" >m.wts
    echo '[1,2,3,4]' >i.json
    woq-head --blocks 1 m.wts >short.wts
    refused 'the stream ends after 1 of 2 blocks' --tokens i.json --ctx 4 short.wts
    woq-head --frames 1 m.wts >short.wts
    refused 'ends after 0 of 2 blocks' --tokens i.json --ctx 4 short.wts
    woq-gen w:f32:1,2 >none.wts
    refused 'before the MODL frame' --tokens i.json --ctx 4 none.wts
    head -c 20000 m.wts >cut.wts
    run -3 woq-eval --tokens i.json --ctx 4 --logits o.npy cut.wts
    [ -z "$(ls o.npy* 2>/dev/null)" ]
}

# A model of one block, frame by frame; $1 is a sed script over the list of frames.
by_hand() {
    echo '{"model_type":"llama","hidden_size":8,"intermediate_size":12,"num_hidden_layers":1,
        "num_attention_heads":2,"vocab_size":10}' >config.json
    local p=model.layers.0 frames
    frames=$(printf '%s\n' "model.embed_tokens.weight:f32[10,8]:rand=1" BLKB:0 \
        $p.input_layernorm.weight:f32:1,1,1,1,1,1,1,1 "$p.self_attn.q_proj.weight:f32[8,8]:rand=2" \
        "$p.self_attn.k_proj.weight:f32[8,8]:rand=3" "$p.self_attn.v_proj.weight:f32[8,8]:rand=4" \
        "$p.self_attn.o_proj.weight:f32[8,8]:rand=5" \
        $p.post_attention_layernorm.weight:f32:1,1,1,1,1,1,1,1 \
        "$p.mlp.gate_proj.weight:f32[12,8]:rand=6" "$p.mlp.up_proj.weight:f32[12,8]:rand=7" \
        "$p.mlp.down_proj.weight:f32[8,12]:rand=8" BLKE:0 model.norm.weight:f32:1,1,1,1,1,1,1,1 \
        "lm_head.weight:f32[10,8]:rand=9" | sed -E "$1")
    # shellcheck disable=SC2086
    woq-gen --modl config.json $frames >h.wts
    echo '[1,2,3,4,5]' >i.json
}

@test "frames out of place, twice or missing are told" {
    by_hand ''
    woq-eval --tokens i.json --ctx 5 --json h.wts >out
    whole=$(member perplexity)
    run ! grep -q ignored_tensors out
    by_hand '$s/$/\nunheard.weight:f32:1,2/'
    woq-eval --tokens i.json --ctx 5 --json h.wts >out
    [ "$(member perplexity) $(member ignored_tensors)" = "$whole 1" ]
    woq-eval --tokens i.json --ctx 5 h.wts | grep -q '^ignored  *1 tensors'
    by_hand '/lm_head/d' # tied then
    woq-eval --tokens i.json --ctx 5 --json h.wts >out
    [ "$(member perplexity)" != "$whole" ]
    by_hand '1d'
    refused 'no embedding came before it' --tokens i.json --ctx 5 h.wts
    by_hand '1s/.*/&\n&/'
    refused "the embedding 'model.embed_tokens.weight' comes twice" --tokens i.json --ctx 5 h.wts
    by_hand 's/\[10,8\]/[9,8]/'
    refused 'config.json says [10, 8]' --tokens i.json --ctx 5 h.wts
    by_hand 's/BLKB:0/BLKB:1/'
    refused 'block 1 begins, want block 0 of 1' --tokens i.json --ctx 5 h.wts
    by_hand 's/BLKE:0/BLKB:1/'
    refused 'want block 0 of 1 to end' --tokens i.json --ctx 5 h.wts
    by_hand '/BLKB/d'
    refused "outside a block" --tokens i.json --ctx 5 h.wts
    by_hand '/up_proj/d'
    refused "block 0 lacks tensor 'model.layers.0.mlp.up_proj.weight'" --tokens i.json --ctx 5 h.wts
    by_hand '/up_proj/s/.*/&\n&/'
    refused "comes twice" --tokens i.json --ctx 5 h.wts
    by_hand '/model.norm/d'
    refused "tensor 'model.norm.weight' is missing" --tokens i.json --ctx 5 h.wts
    by_hand '/BLKE/s/.*/&\n@TOKN;ids:u32:1/'
    refused "a frame of type 'TOKN'" --tokens i.json --ctx 5 h.wts
    by_hand '/input_layernorm/s/1,1,1,1,1,1,1,1/1e38,1e38,1e38,1e38,1e38,1e38,1e38,1e38/'
    refused 'block 0: an activation became NaN or infinite' --tokens i.json --ctx 5 h.wts
}

@test "a weight that is NaN is named" {
    mkdir n
    cp "$L/llama-tied/config.json" n/
    cp "$L/llama-tied/model.safetensors" n/
    # the last f32 of the file
    at=$(($(stat -c %s n/model.safetensors) - 4))
    printf '\x00\x00\xc0\x7f' | dd of=n/model.safetensors bs=1 seek=$at conv=notrunc status=none
    echo '[1,2,3,4]' >i.json
    woq-extract n >n.wts
    run -1 woq-eval --tokens i.json --ctx 4 n.wts
    [[ $output == *"tensor 'model."*"has a NaN or infinite value"* ]]
}

@test "a full disk: one message, no file left" {
    woq-extract "$L/llama" >m.wts
    echo '[1,2,3,4]' >i.json
    run -1 bash -c 'woq-eval --tokens i.json --ctx 4 m.wts >/dev/full'
    [[ $output == *"can't write"* ]]
    run -1 woq-eval --tokens i.json --logits /nowhere/o.npy m.wts
    [[ $output == *"can't create '/nowhere/o.npy"* ]]
}

@test "the real model: perplexity of transformers within 0.1 %" {
    need_model
    need_data wiki.test.raw
    woq-extract "$M" | woq-eval --text "$F" --ppl llamacpp --ctx 512 --windows 2 --json >out
    # transformers 4.57.6, float32, on the dequantized weights: chunks 1-2 of 24
    awk -v x="$(member perplexity)" 'BEGIN { d = x / 21.372 - 1; exit !(d < 1e-3 && d > -1e-3) }'
}
