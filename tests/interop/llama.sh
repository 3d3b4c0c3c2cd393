#!/usr/bin/env bash
# llama.sh -- what scripts that ask llama.cpp begin with: a folder to work in with its program llama_logits and
# ids.json, and the tiny models of tests/golden/archs.
#
#   WOQ_LLAMA=FOLDER   its source tree, built into build/ with shared libraries
llama=$(realpath "${WOQ_LLAMA:?the source tree of llama.cpp}")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
archs=$(cd "$here/../golden/archs" && pwd)
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-interop.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir" || exit
cc -O1 -I"$llama/include" -I"$llama/ggml/include" "$here/llama_logits.c" -o llama_logits -L"$llama/build/bin" \
    -Wl,-rpath,"$llama/build/bin" -lllama -lggml -lggml-base -lm
echo '[5,15,39,77,129,64,13,107,84,75,80,99,1]' >ids.json

# config NAME EDIT: config.json of a model, changed by a script of sed, or -
config() {
    local script=$2
    [ "$script" != - ] || script=''
    sed -E "$script" "$archs/$1/config.json" >config.json
}
# within DIFFERENCE ALLOWED
within() {
    awk -v d="$1" -v most="$2" 'BEGIN { exit !(d ~ /^[0-9]/ && d + 0 <= most + 0) }'
}
