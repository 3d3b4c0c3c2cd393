#!/usr/bin/env bats
# Chat templates: where a model keeps them, what they are given, where they go.
bats_require_minimum_version 1.5.0
load ../helpers
setup() {
    mkdir m
    cp "$GOLDEN/tokenizers/llama3/tokenizer.json" m # adds BOS, id 700; 702 is <|eot_id|>
    echo '{"bos_token":"<|begin_of_text|>","eos_token":{"content":"<|eot_id|>"},
        "chat_template":"{{ bos_token }}{% for m in messages %}{{ m.role }}: {{ m.content | trim }}{{ eos_token }}{% endfor %}{{ \"ai:\" if add_generation_prompt }}"}' \
        >m/tokenizer_config.json
    echo '[{"role":"user","content":" hi "},{"role":"assistant","content":"yes"}]' >c.json
    printf '%s\n' '[{"role":"user","content":"one"}]' '' '{"messages":[{"role":"user","content":"two"}],"tools":[{"n":1.0}],"more":7}' >c.jsonl
}
text() { woq-tokens -m m --print-chat "$@"; }

@test "a conversation becomes the text of its template, and that text's ids without a second BOS" {
    run -0 text --chat c.json
    [ "$output" = '<|begin_of_text|>user: hi<|eot_id|>assistant: yes<|eot_id|>' ]
    printf %s "$output" >t
    woq-tokens -m m --chat c.json --json >a
    woq-tokens -m m --text t --json --no-special >b
    cmp a b
    [[ $(cat a) == '[700,'*',702,'*',702]' && $(cat a) != *700*700* ]]
    run -0 text --chat - --add-generation-prompt <c.json
    [[ $output == *'<|eot_id|>ai:' ]]
}
@test "lines, arrays and objects; a file of many lines may be one conversation" {
    run -0 text --chat c.jsonl --json
    [ "${lines[0]}" = '"<|begin_of_text|>user: one<|eot_id|>"' ]
    [ "${lines[1]}" = '"<|begin_of_text|>user: two<|eot_id|>"' ]
    [ "${#lines[@]}" = 2 ]
    printf '{"messages":\n[{"role":"user",\n"content":"x"}]}\n' >one
    run -0 text --chat one
    [ "$output" = '<|begin_of_text|>user: x<|eot_id|>' ]
    woq-tokens -m m --chat c.jsonl >frames.wts
    run -0 woq-ls --json frames.wts
    [ "${#lines[@]}" = 2 ]
    woq-tokens -m m --chat c.jsonl --samples 3 --seqlen 5 >samples.wts
    run -0 woq-ls --json samples.wts
    [ "${#lines[@]}" = 3 ]
}
@test "the template's variables: those of the conversation, of --chat-vars, numbers as they are written" {
    echo '{{ tools }}{{ documents }}{{ more }}{{ x }}{{ add_generation_prompt }}{{ pad_token is defined }}' >t.jinja
    run -0 text --chat c.jsonl --json --chat-template t.jinja --chat-vars '{"x":[1.0,"é"]}'
    [ "${lines[0]}" = "\"NoneNone[1.0, 'é']FalseFalse\"" ]
    [ "${lines[1]}" = "\"[{'n': 1.0}]None7[1.0, 'é']FalseFalse\"" ]
    run -0 text --chat c.json --chat-template t.jinja --chat-vars '{}'
    [ "$output" = NoneNoneFalseFalse ]
    run -0 text --chat c.json --chat-template t.jinja --chat-vars ' { "tools" : 5, "pad_token":"p" } '
    [ "$output" = 5NoneFalseTrue ]
    echo '{{ strftime_now("%d %b %Y") }}' >t.jinja
    run -0 text --chat c.json --chat-template t.jinja --chat-date 2026-01-31
    [ "$output" = '31 Jan 2026' ]
}
@test "special tokens: of tokenizer_config.json, special_tokens_map.json, the class; null is none" {
    echo '{{ bos_token }}|{{ eos_token }}|{{ unk_token }}|{{ pad_token }}' >m/chat_template.jinja
    echo '{"tokenizer_class":"GemmaTokenizerFast","eos_token":null,"unk_token":"u"}' >m/tokenizer_config.json
    run -0 text --chat c.json
    [ "$output" = '<bos>||u|<pad>' ]
    echo '{"tokenizer_class":"PreTrainedTokenizerFast"}' >m/tokenizer_config.json
    echo '{"eos_token":{"content":"e"},"pad_token":"p"}' >m/special_tokens_map.json
    run -0 text --chat c.json
    [ "$output" = '|e||p' ]
}
@test "where the template lies: chat_template.jinja, chat_template.json, a list of named ones" {
    echo '{"chat_template":[{"name":"rag","template":"R"},{"name":"default","template":"D"},{"name":"tool_use","template":"T"}]}' \
        >m/tokenizer_config.json
    run -0 text --chat c.jsonl # the second one has tools
    [ "$output" = DT ]
    run -0 text --chat c.jsonl --chat-template rag
    [ "$output" = RR ]
    run -0 woq-tokens -m m/tokenizer.json --print-chat --chat c.json
    [ "$output" = D ]
    echo '{"chat_template":"J"}' >m/chat_template.json
    run -0 text --chat c.json
    [ "$output" = J ]
    printf 'F\n' >m/chat_template.jinja
    run -0 text --chat c.json
    [ "$output" = F ]
    run -2 --separate-stderr text --chat c.json --chat-template none.jinja
    [[ $stderr == *'--chat-template none.jinja: no such file, and the model has none of that name'* ]]
}
@test "the template travels: through a stream, into a folder byte for byte, into GGUF and back" {
    mkdir hf
    sed 's/"vocab_size": 96/"vocab_size": 800/' "$GOLDEN/tiny-llama/hf/config.json" >hf/config.json
    woq-gen --config hf/config.json | woq-pack --out w --format safetensors
    cp w/model.safetensors "$GOLDEN/tokenizers/smollm/tokenizer.json" hf
    echo '{"chat_template":"not this one"}' >hf/tokenizer_config.json
    printf '{%% for m in messages %%}\n  {{- m.content }}é\n{%% endfor %%}\n\n' >hf/chat_template.jinja
    printf 'yesé\nhié\n' >want
    echo '[{"role":"user","content":"yes"},{"role":"assistant","content":"hi"}]' >c.json
    woq-extract hf >s.wts
    woq-pack --out folder --format safetensors <s.wts
    cmp hf/chat_template.jinja folder/chat_template.jinja
    woq-pack --out x.gguf --format gguf <s.wts
    woq-extract x.gguf | woq-pack --out again --format safetensors
    for model in hf s.wts folder x.gguf again; do
        woq-tokens -m "$model" --chat c.json --print-chat >got
        cmp got want
    done
}
@test "templates with names travel, in a list or as files: stream, folder, GGUF and back" {
    mkdir -p hf/additional_chat_templates
    sed 's/"vocab_size": 96/"vocab_size": 800/' "$GOLDEN/tiny-llama/hf/config.json" >hf/config.json
    woq-gen --config hf/config.json | woq-pack --out w --format safetensors
    cp w/model.safetensors "$GOLDEN/tokenizers/smollm/tokenizer.json" hf
    A=additional_chat_templates
    printf 'D\n' >hf/chat_template.jinja
    printf 'T\n\n' >hf/$A/tool_use.jinja
    printf 'Ré' >hf/$A/rag-v2.jinja
    echo no >hf/$A/notes.txt
    echo '{"chat_template":[{"name":"default","template":"x"},{"name":"hidden","template":"x"}]}' >hf/tokenizer_config.json
    all() { # MODEL NAME OF RAG
        woq-tokens -m "$1" --print-chat --chat c.jsonl # the second one has tools
        woq-tokens -m "$1" --print-chat --chat c.json --chat-template "$2"
        run -2 --separate-stderr woq-tokens -m "$1" --print-chat --chat c.json --chat-template hidden
        [[ $stderr == *'the model has none of that name'* ]]
    }
    all hf rag-v2 >want
    printf 'DT\nRé' | cmp - want
    woq-extract hf >s.wts
    woq-pack --out folder --format safetensors s.wts
    rm hf/$A/notes.txt
    diff -r hf/$A folder/$A
    woq-pack --out x.gguf --format gguf s.wts
    woq-extract x.gguf >back.wts
    woq-pack --out again --format safetensors back.wts
    all s.wts rag-v2 | cmp - want
    all folder rag-v2 | cmp - want
    woq-pack --out y.gguf --format gguf back.wts
    for model in x.gguf back.wts again y.gguf; do
        all $model rag_v2 | cmp - want # GGUF's names have letters and digits
    done
    LC_ALL=C sed -i 's/tokenizer.ggml.add_bos_token/tokenizer.chat_template.abcd/' y.gguf
    run -1 --separate-stderr woq-extract y.gguf
    [[ $stderr == *"key 'tokenizer.chat_template.abcd' is no text in UTF-8"* ]]
    # a list without a default stays one
    rm -r hf/$A hf/chat_template.jinja
    echo '{"chat_template":[{"name":"b","template":"B"},{"name":"a","template":"A"}]}' >hf/tokenizer_config.json
    woq-extract hf | woq-pack --out z.gguf --format gguf
    run -0 woq-tokens -m z.gguf --print-chat --chat c.json --chat-template a
    [ "$output" = A ]
    run -1 --separate-stderr woq-tokens -m z.gguf --print-chat --chat c.json
    [[ $stderr == *'the model has no chat template'* ]]
    echo '{"chat_template":[{"name":"a-b","template":"B"},{"name":"a.b","template":"A"}]}' >hf/tokenizer_config.json
    run -1 --separate-stderr bash -c 'woq-extract hf | woq-pack --out q.gguf --format gguf'
    [[ $stderr == *"the chat templates 'a-b' and 'a.b' are both 'a_b' in GGUF"*'hint: give one of them another name'* ]]
}
@test "--force takes a folder of chat templates away, nothing else" {
    woq-gen --llama hidden=32,inter=32,layers=1,heads=2,kv=2,vocab=9 >g.wts
    woq-pack -q --format safetensors --out old g.wts
    mkdir old/additional_chat_templates away
    echo a >old/additional_chat_templates/a.jinja
    echo keep >away/keep
    woq-pack -q --force --format safetensors --out old g.wts
    [ ! -e old/additional_chat_templates ]
    mkdir old/additional_chat_templates
    echo b >old/additional_chat_templates/mine
    run -2 --separate-stderr woq-pack -q --force --format safetensors --out old g.wts
    [[ $stderr == *"holds a folder 'additional_chat_templates': --force replaces only model folders"* ]]
    rm -r old/additional_chat_templates
    ln -s ../away old/additional_chat_templates
    woq-pack -q --force --format safetensors --out old g.wts
    [ "$(cat away/keep)" = keep ]
    run ! ls old/additional_chat_templates
}
@test "woq-calib --chat: the samples that woq-tokens makes of the same conversations" {
    woq-gen --llama hidden=32,inter=32,layers=1,heads=2,kv=2,vocab=720 | woq-pack -q --format safetensors --out w
    mv w/config.json w/model.safetensors m
    for i in {1..9}; do cat c.jsonl; done >many
    woq-extract m >m.wts
    set -- --chat many --samples 3 --seqlen 9 --seed 4 --add-generation-prompt
    woq-tokens -m m.wts "$@" >t.wts
    woq-calib --no-history -q --emit stat --tokens t.wts <m.wts >a.wts
    woq-calib --no-history -q --emit stat "$@" <m.wts >b.wts
    cmp a.wts b.wts
    woq-calib --no-history -q --emit stat "${@:1:8}" <m.wts >c.wts
    run ! cmp -s a.wts c.wts
    run -2 woq-calib --emit stat --chat many --text many m.wts
    run -2 woq-calib --emit stat --text many --chat-date 2026-01-01 m.wts
    rm m/tokenizer_config.json
    run -1 --separate-stderr bash -c 'woq-extract m | woq-calib -q --emit stat --chat many >x.wts'
    [[ $stderr == *'the model has no chat template'* ]]
}
@test "what is wrong is told with its place" {
    printf '%s\n' '[{"role":"user","content":"a"}]' '[5]' >bad
    run -1 --separate-stderr text --chat bad
    [[ $stderr == *'bad: line 2: message 0 is not a JSON object'* ]]
    for bad in '{"prompt":"x"}' '[]' '{"messages":{}}' '5'; do
        run -1 --separate-stderr text --chat - <<<"$bad"
        [[ $stderr == *'<stdin>: no messages'*'hint: a conversation is '* ]]
    done
    printf 'a\n{{ messages[0].content.nope.more }}' >t.jinja
    run -1 --separate-stderr text --chat c.json --chat-template t.jinja
    [[ $stderr == *"c.json: template line 2, column "*": str has no attribute 'nope'"* ]]
    echo '{{ raise_exception("roles have to alternate") }}' >t.jinja
    run -1 --separate-stderr text --chat c.json --chat-template t.jinja
    [[ $stderr == *'roles have to alternate'*'hint: the template says so'* ]]
    echo '{{ strftime_now("%Y") }}' >t.jinja
    run -1 --separate-stderr text --chat c.json --chat-template t.jinja
    [[ $stderr == *"asks for today's date"*'hint: give it with --chat-date'* ]]
    echo '{% if %}' >m/chat_template.jinja
    run -1 --separate-stderr text --chat c.json
    [[ $stderr == *'template line 1, column 7: found the end of {% %}, want an expression'* ]]
    rm m/chat_template.jinja m/tokenizer_config.json
    run -1 --separate-stderr text --chat c.json
    [[ $stderr == *'the model has no chat template'*'hint: give one with --chat-template'* ]]
}
@test "usage" {
    run -2 woq-tokens -m m --chat c.json --text c.json --json
    run -2 woq-tokens -m m --text c.json --print-chat
    run -2 woq-tokens -m m --text c.json --json --add-generation-prompt
    run -2 woq-tokens -m m --chat c.json --print-chat --seqlen 5
    run -2 woq-tokens -m m --chat c.json --no-special --json
    run -2 woq-tokens -m m --chat c.json --decode
    run -2 text --chat c.json --chat-vars '[1]'
    run -1 text --chat c.json --chat-vars '{'
    run -2 text --chat c.json --chat-template /dev/stdin --chat-date 5 <<<'{{ strftime_now("%Y") }}'
}
