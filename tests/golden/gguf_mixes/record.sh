#!/bin/sh
# Which type llama-quantize gives each matrix of four small models, to types.txt beside this file:
#     record.sh LLAMA_QUANTIZE      with woq's programs in PATH
# Recorded with ggml 0.25.3 (llama-cpp-python 0.3.36). Lines: MODEL TYPE TYPES, see models.sh.
set -eu
quantize=$1
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
. "$here/models.sh"
for m in $models; do
    # shellcheck disable=SC2046
    woq-gen --llama $(shape "$m") | woq-pack -q -f gguf -t f32 -o "$work/$m.gguf"
    for t in $types; do
        "$quantize" "$work/$m.gguf" "$work/out.gguf" "$t" 2 >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
        echo "$m $t $(types_of "$work/out.gguf")"
    done
    "$quantize" --pure "$work/$m.gguf" "$work/out.gguf" q4_k_m 2 >"$work/log" 2>&1
    echo "$m q4_k_m--pure $(types_of "$work/out.gguf")"
done >"$here/types.txt"
