#!/usr/bin/env bash
# real-model.sh -- the real model beside the programs whose formats and conventions it is written in:
# transformers (with gptqmodel), the package gguf, llama.cpp. Prints one line for each comparison: what,
# ours, theirs, difference, the largest that is allowed. Fails if one is larger.
#
# Runs only if told where things are:
#   WOQ_INTEROP_PYTHON=PYTHON   a Python with the packages that the scripts here name at their heads
#   WOQ_INTEROP_TEXT=FILE       the text to score, some 70 kB or more (wiki.test.raw)
#   WOQ_LLAMA_PERPLEXITY=FILE   llama.cpp's llama-perplexity; left out without it
set -eu -o pipefail
[ -n "${WOQ_INTEROP_PYTHON:-}" ] || { echo "real-model.sh: WOQ_INTEROP_PYTHON is not set" >&2; exit 1; }
text=$(realpath "${WOQ_INTEROP_TEXT:?a text}")
here=$(cd "$(dirname "$0")" && pwd)
model=$("$here/../../pipelines/get-model.sh")
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-interop.XXXXXX")
trap 'rm -rf "$dir"' EXIT
cd "$dir"
failed=0

oracle() { # SCRIPT ARGUMENTS...: its last line, which is the JSON object
    local script=$1
    shift
    "$WOQ_INTEROP_PYTHON" "$here/$script.py" "$@" 2>"$script.err" | tail -n 1 ||
        { tail -n 20 "$script.err" >&2; exit 1; }
}
field() { sed -n 's/.*"'"$1"'"[[:space:]]*:[[:space:]]*\([-+.0-9eE]*\).*/\1/p'; }
line() { # WHAT OURS THEIRS DIFFERENCE ALLOWED
    printf '%-72s %-12s %-12s %-12s %s\n' "$@"
    awk -v d="$4" -v most="$5" 'BEGIN { exit !(d ~ /^[0-9]/ && d + 0 <= most + 0) }' || { failed=1; echo "  above what is allowed"; }
}
compare() { # WHAT OURS THEIRS ALLOWED: by relative difference
    line "$1" "$2" "$3" "$(awk -v a="$2" -v b="$3" 'BEGIN { printf "%.2e", (a > b ? a - b : b - a) / b }')" "$4"
}
printf '%-72s %-12s %-12s %-12s %s\n' what ours theirs difference allowed

# A GPTQ checkpoint, loaded by the original.
woq-extract "$model" | woq-rtn --quiet --bits 4 --group-size 64 --asym | woq-pack --quiet --format gptq -o gptq
head -c 3000 "$text" >start.txt
woq-tokens --quiet --model gptq --text start.txt --json >ids.json
woq-extract gptq | woq-eval --quiet --tokens ids.json --logits logits.npy >/dev/null
line 'GPTQ checkpoint in transformers: logits' - - \
    "$(oracle gptq_transformers gptq ids.json logits.npy | field relative_error)" 0.01

# GGUF of every type that woq-pack writes, decoded by the package gguf: tensors with another value.
woq-extract "$model" | woq-rtn --quiet --bits 4 --group-size 32 | woq-pack --quiet --format gguf -o rtn4.gguf
woq-extract "$model" | woq-rtn --quiet --bits 4 --group-size 32 --asym | woq-pack --quiet --format gguf -o rtn4a.gguf
for type in f32 f16 q8_0 q4_1 q4_0; do
    woq-extract "$model" | woq-pack --quiet --format gguf --type $type --embed-type $type -o $type.gguf
done
ln -s "$model" original.gguf
for file in original rtn4 rtn4a f32 f16 q8_0 q4_1 q4_0; do
    woq-extract $file.gguf | woq-dequant --quiet | woq-pack --quiet --format safetensors --dtype f32 -o decoded
    result=$(oracle gguf_package $file.gguf decoded)
    line "$file.gguf: $(sed 's/.*{\([^}]*\)}.*/\1/; s/"//g' <<<"$result"); other values" - - \
        "$(field differ <<<"$result")" 0
    rm -r decoded
done

# Perplexity: the file as it is, beside transformers on its dequantized weights.
woq-extract "$model" | woq-pack --quiet --format safetensors --dtype f32 -o f32
ours() { woq-extract "$1" | woq-eval --quiet --text "$text" --ppl "$2" --ctx "$3" --windows "$4" --json | field perplexity; }
while read -r convention ctx windows; do
    compare "perplexity, $convention, ctx $ctx, $windows windows: transformers" \
        "$(ours "$model" "$convention" "$ctx" "$windows")" \
        "$(oracle perplexity_transformers f32 "$text" "$convention" "$ctx" "$windows" | field perplexity)" 0.001
done <<<'gptq 2048 8
llamacpp 512 24'

# The same by llama.cpp, which rounds activations to 8 bits beside quantized weights and to f16 beside f16.
[ -n "${WOQ_LLAMA_PERPLEXITY:-}" ] || exit $failed
theirs() {
    "$WOQ_LLAMA_PERPLEXITY" -m "$1" -f "$text" -c 512 -b 512 --chunks 24 -fa off -ctk f32 -ctv f32 2>&1 |
        sed -n 's/.*Final estimate: PPL = \([0-9.]*\).*/\1/p'
}
for file in "$model" f32.gguf f16.gguf q8_0.gguf rtn4a.gguf rtn4.gguf; do
    allowed=0.01
    [ "$file" != f32.gguf ] || allowed=0.001
    compare "perplexity, llamacpp, $(basename "$file"): llama.cpp" "$(ours "$file" llamacpp 512 24)" "$(theirs "$file")" $allowed
done
exit $failed
