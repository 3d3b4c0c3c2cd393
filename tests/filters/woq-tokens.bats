#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() {
    T=$GOLDEN/tokenizers/llama3/tokenizer.json # its template adds BOS, id 700
    printf 'Hello, world! <|eot_id|>\n' >text
    printf '%s\n' '{"text":"one two","alt":"x"}' '' '{"text":"three","alt":"y"}' >lines.jsonl
    cp -r "$GOLDEN/tokenizers/llama3" folder
}

@test "--json: one array per text, with what the template adds unless --no-special" {
    run -0 woq-tokens -m "$T" -t text --json
    [[ $output == '[700,'*',702,198]' ]]
    full=$output
    run -0 woq-tokens -m "$T" -t text --json --no-special
    [ "[700,${output#[}" = "$full" ]
    run -0 woq-tokens -m "$T" --jsonl lines.jsonl --json
    [ "${#lines[@]}" = 2 ]
    [[ ${lines[0]} == '[700,'* && ${lines[1]} == '[700,'* ]]
}
@test "--text - and --jsonl - read standard input" {
    woq-tokens -m "$T" -t text --json >a
    woq-tokens -m "$T" -t - --json <text >b
    cmp a b
    woq-tokens -m "$T" --jsonl lines.jsonl --json >a
    woq-tokens -m "$T" --jsonl - --json <lines.jsonl >b
    cmp a b
}
@test "--jsonl-key takes another string, and says which key is missing where" {
    run -0 woq-tokens -m "$T" --jsonl lines.jsonl --jsonl-key alt --json --no-special
    [ "${lines[0]}" = "[87]" ]
    [ "${lines[1]}" = "[88]" ]
    run -1 --separate-stderr woq-tokens -m "$T" --jsonl lines.jsonl --jsonl-key nope --json
    [[ $stderr == *"lines.jsonl: line 1: no string under the key 'nope'"* ]]
    [[ $stderr == *"hint: choose another with --jsonl-key"* ]]
    echo '{' >>lines.jsonl
    run -1 --separate-stderr woq-tokens -m "$T" --jsonl lines.jsonl --json
    [[ $stderr == *"lines.jsonl: line 4: not valid JSON"* ]]
}
@test "--decode gives the text back, byte for byte; --skip-special" {
    printf ' a\r\n\tb  \xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80 12345 <|eot_id|> end' >odd
    woq-tokens -m "$T" -t odd --json --no-special >ids
    woq-tokens -m "$T" --decode <ids >back
    cmp odd back
    woq-tokens -m "$T" --decode -t ids --skip-special >back
    [ "$(cat back)" = "$(sed 's/<|eot_id|>//' odd)" ]
    run -0 woq-tokens -m "$T" --decode --json <<<$'[71,72]\n[0]'
    [ "$output" = $'"hi"\n"!"' ]
    printf 'a\0"\\\1b' | woq-tokens -m "$T" -t - --json --no-special >ids
    run -0 woq-tokens -m "$T" --decode --json -t ids
    [ "$output" = '"a\u0000\"\\\u0001b"' ]
}
@test "--decode: ids that are none" {
    for bad in '[9999]' '[-1]' '[1.5]' '["x"]' '7' '[1,'; do
        run -1 --separate-stderr woq-tokens -m "$T" --decode <<<"$bad"
        [[ $stderr == *"<stdin>: line 1: "* ]]
    done
    [ -z "$output" ]
    run -1 woq-tokens -m "$T" --decode <<<'[0,9999]'
    [[ $output == *"token 1: id 9999 is not in the vocabulary (717)"* ]]
}
@test "frames TOKN: one per text" {
    woq-tokens -m "$T" --jsonl lines.jsonl >out.wts
    run -0 woq-ls --json out.wts
    [ "${#lines[@]}" = 2 ]
    [[ ${lines[1]} == *'"type":"TOKN"'*'"meta":{"sample":1}'*'"name":"ids","dtype":"u32","shape":['* ]]
    run -0 woq-fsck out.wts
}
@test "--seqlen cuts texts and loses nothing" {
    woq-tokens -m "$T" -t text --json --seqlen 5 >cut
    woq-tokens -m "$T" -t text --json >whole
    [ "$(tr -d '[]' <cut | paste -sd,)" = "$(tr -d '[]' <whole)" ]
    [ "$(head -1 cut | tr , '\n' | wc -l)" = 5 ]
    [ "$(wc -l <cut)" -gt 2 ]
}
@test "--samples: exactly seqlen tokens, the same for the same seed" {
    seq -s ' ' 1 400 >numbers
    woq-tokens -m "$T" -t numbers --samples 7 --seqlen 33 --seed 5 >a.wts
    woq-tokens -m "$T" -t numbers --samples 7 --seqlen 33 --seed 5 --threads 1 >b.wts
    woq-tokens -m "$T" -t numbers --samples 7 --seqlen 33 --seed 6 >c.wts
    [ "$(woq-ls a.wts | awk '{ print $6 }' | sort | uniq -c | tr -s ' ')" = " 7 33" ]
    run -0 cmp <(woq-ls a.wts) <(woq-ls b.wts)
    run -1 cmp <(woq-ls a.wts) <(woq-ls c.wts)
    woq-tokens -m "$T" -t numbers --samples 7 --seqlen 33 --seed 5 --json >a.json
    [ "$(wc -l <a.json)" = 7 ]
    # every window is a piece of the whole
    whole=$(woq-tokens -m "$T" -t numbers --json)
    while read -r line; do
        line=${line#[}
        [[ ",${whole:1}" == *",${line%]}"* ]]
    done <a.json
}
@test "--samples joins short documents" {
    for i in $(seq 30); do echo "{\"text\":\"doc $i\"}"; done >short.jsonl
    run -0 woq-tokens -m "$T" --jsonl short.jsonl --samples 2 --seqlen 40 --json
    [ "${#lines[@]}" = 2 ]
    run -1 --separate-stderr woq-tokens -m "$T" --jsonl short.jsonl --samples 2 --json
    [[ $stderr == *"tokens, a sample needs 2048"* ]]
    [[ $stderr == *"hint: give more text or a smaller --seqlen"* ]]
}
@test "models: a folder, a tokenizer.json in it, its tokenizer_config.json" {
    woq-tokens -m folder -t text --json >a
    woq-tokens -m folder/tokenizer.json -t text --json >b
    cmp a b
    echo '{"tokenizer_class":"LlamaTokenizer","bos_token":"<|eot_id|>"}' >folder/tokenizer_config.json
    run -0 woq-tokens -m folder -t text --json
    [[ $output == '[702,'* ]]
    (cd folder && woq-tokens -m tokenizer.json -t ../text --json >../b)
    [ "$(cat b)" = "$output" ]
}
@test "models: what has no tokenizer" {
    mkdir empty
    run -1 --separate-stderr woq-tokens -m empty -t text --json
    [[ $stderr == *"folder 'empty' has no tokenizer.json and no tokenizer.model"*"hint: a tokenizer.json or"* ]]
    run -1 woq-tokens -m nothing -t text --json
    [[ $output == *"can't open 'nothing': No such file"* ]]
    woq-gen w:f32:1 >x.wts
    run -1 woq-tokens -m x.wts -t text --json
    [[ $output == *"stream 'x.wts' does not begin with MODL"* ]]
    echo '{"model":{"type":"WordPiece"}}' >u.json
    run -1 woq-tokens -m u.json -t text --json
    [[ $output == *"u.json: tokenizer.json: model type 'WordPiece' is not supported, want BPE or Unigram"* ]]
    head -c 2000 "$T" >cut.json
    run -1 woq-tokens -m cut.json -t text --json
    [[ $output == *"not valid JSON"* ]]
    : >zero
    run ! woq-tokens -m zero -t text --json
}
@test "text that is not UTF-8 is refused with its place" {
    printf 'ab\xff' >bad
    run -1 --separate-stderr woq-tokens -m "$T" -t bad --json
    [[ $stderr == *"woq-tokens: bad: text is not UTF-8: byte 0xff at offset 2"* ]]
    [ -z "$output" ]
}
@test "an empty text has no tokens but the template's" {
    : >none
    run -0 woq-tokens -m "$T" -t none --json
    [ "$output" = "[700]" ]
    run -0 woq-tokens -m "$T" -t none --json --no-special
    [ "$output" = "[]" ]
    woq-tokens -m "$T" -t none --no-special >none.wts
    run -0 woq-fsck none.wts
}
@test "usage" {
    run -2 woq-tokens -t text --json
    run -2 woq-tokens -m "$T" --json
    run -2 woq-tokens -m "$T" -t text --jsonl lines.jsonl
    run -2 woq-tokens -m "$T" -t text --skip-special
    run -2 woq-tokens -m "$T" --decode --no-special
    run -2 woq-tokens -m "$T" --decode --jsonl lines.jsonl
    run -2 woq-tokens -m "$T" --decode --samples 3
    run -2 woq-tokens -m "$T" -t text --samples -1
    run -2 woq-tokens -m "$T" -t text more
}
@test "a stage that fails sends FAIL in its stream" {
    printf '\xff' >bad
    run -3 --separate-stderr bash -c 'woq-tokens -m "$1" -t bad | woq-ls' - "$T"
    [[ $stderr == *"woq-tokens failed: bad: text is not UTF-8"* ]]
}
@test "the real model: a GGUF, its stream, equal ids" {
    need_model
    printf 'Hello, world! <|im_end|>\n' >text
    woq-tokens -m "$M" -t text --json >a
    [ "$(cat a)" = "[19556,28,905,17,216,2,198]" ] # as the package tokenizers has it
    woq-extract "$M" | woq-head -n 1 >m.wts
    woq-tokens -m m.wts -t text --json >b
    cmp a b
}
@test "models: a SentencePiece model, alone, in a folder, and with added_tokens.json" {
    spm=$GOLDEN/tokenizers/spm/llama.model
    run -0 woq-tokens -m "$spm" -t text --json
    bos=$output
    [[ $output == '[1,'* ]]
    mkdir spm
    cp "$spm" spm/tokenizer.model
    run -0 woq-tokens -m spm -t text --json
    [ "$output" = "$bos" ]
    echo '{"tokenizer_class":"LlamaTokenizer","add_bos_token":false}' >spm/tokenizer_config.json
    run -0 woq-tokens -m spm -t text --json
    [ "[1,${output#[}" = "$bos" ]
    echo '{"<|eot_id|>":900}' >spm/added_tokens.json
    run -0 woq-tokens -m spm -t text --json
    [[ $output == *',900,'* ]]
    echo '{"tokenizer_class":"OddTokenizer"}' >spm/tokenizer_config.json
    run -1 --separate-stderr woq-tokens -m spm -t text --json
    [[ $stderr == *"spm: tokenizer_config.json: whether class 'OddTokenizer' adds BOS"*'add_bos_token'* ]]
    head -c 5000 "$spm" >cut.model
    run -1 --separate-stderr woq-tokens -m cut.model -t text --json
    [[ $stderr == *'cut.model: SentencePiece model: not valid protobuf at byte '* ]]
}
@test "models: a tiktoken file needs its class" {
    mkdir qwen
    cp "$GOLDEN/tokenizers/small.tiktoken" qwen/qwen.tiktoken
    run -1 --separate-stderr woq-tokens -m qwen -t text --json
    [[ $stderr == *'a tiktoken file: how its texts are cut'*'hint: give a tokenizer.json'* ]]
    echo '{"tokenizer_class":"QWenTokenizer"}' >qwen/tokenizer_config.json
    woq-tokens -m qwen -t text --json >ids
    woq-tokens -m qwen/qwen.tiktoken -t text --json | cmp - ids
    woq-tokens -m qwen --decode <ids | cmp - text
}
