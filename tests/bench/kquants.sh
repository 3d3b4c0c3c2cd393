#!/usr/bin/env bash
# kquants.sh -- GGUF's block types by woq-pack beside llama-quantize: the same file, threads and
# importance matrix, every matrix in one type, one program after the other on this machine.
#
# Runs only if told where it is:
#   WOQ_LLAMA_QUANTIZE=PROGRAM   of llama.cpp
#   WOQ_BENCH_KQUANTS=FILE       a GGUF file in f16 or f32 (a llama of 4 blocks, 1024 wide, made up)
#   WOQ_BENCH_IMATRIX=FILE       its importance matrix (measured on random tokens)
#   WOQ_BENCH_TYPES='q4_k ...'   (all that both write)
# Speed is that of whole commands, from file to file, the better of two; error is the geometric mean over
# the matrices of the (weighted) squared error, over llama-quantize's.
set -eu -o pipefail
[ -n "${WOQ_LLAMA_QUANTIZE:-}" ] || exit 0
types=${WOQ_BENCH_TYPES:-q2_k q3_k_s q4_k_s q5_k_s q6_k iq4_nl iq4_xs q4_0 q4_1 q5_0 q5_1 q8_0}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export dir

model=${WOQ_BENCH_KQUANTS:-$dir/model.gguf}
imatrix=${WOQ_BENCH_IMATRIX:-$dir/imatrix.gguf}
[ -n "${WOQ_BENCH_KQUANTS:-}" ] ||
    woq-gen --llama hidden=1024,inter=2816,layers=4,heads=16,kv=8,vocab=512,seed=1 |
    woq-pack --quiet --format gguf --type f16 -o "$model"
if [ -z "${WOQ_BENCH_IMATRIX:-}" ]; then
    for i in 1 2 3 4; do
        awk -v s="$i" 'BEGIN { srand(s); printf "@TOKN{\"sample\":%d};ids:u32:", s - 1
            for (k = 0; k < 64; k++) printf "%s%d", k ? "," : "", int(rand() * 512); print "" }'
    done | xargs -d '\n' woq-gen >"$dir/tokens.wts"
    woq-extract "$model" 2>"$dir/log" | woq-calib --quiet --tokens "$dir/tokens.wts" --emit stat |
        woq-pack --quiet --format imatrix -o "$imatrix"
fi
export model imatrix

# ns COMMAND: the better of two runs
ns() {
    local from took best=
    for _ in 1 2; do
        from=$(date +%s%N)
        bash -o pipefail -c "$1" >"$dir/log" 2>&1 || { tail -n 5 "$dir/log" >&2; exit 1; }
        took=$(($(date +%s%N) - from))
        [ -n "$best" ] && [ "$best" -le "$took" ] || best=$took
    done
    echo "$best"
}
threads=$(nproc)
for t in $types; do
    for seeing in yes no; do
        given=
        by=()
        [ $seeing = no ] || { given="--imatrix $imatrix"; by=("$imatrix"); }
        theirs=$(ns "\"$WOQ_LLAMA_QUANTIZE\" --pure $given \"\$model\" \"\$dir/theirs.gguf\" $t $threads")
        ours=$(ns "woq-extract \"\$model\" | woq-pack --quiet --force -f gguf --pure -t $t $given -o \"\$dir/ours.gguf\"")
        read -r error most < <("$WOQ_BUILD/bench/kquant_error" "$model" "$dir/ours.gguf" "$dir/theirs.gguf" "${by[@]}")
        awk -v t="$t" -v s="$seeing" -v ours="$ours" -v theirs="$theirs" -v e="$error" -v m="$most" 'BEGIN {
            what = t (s == "yes" ? ", imatrix" : "")
            printf "%s: time\t%.2f\ts\tllama-quantize %.2f s, want ratio <= 1\t%.2f\n", what, ours / 1e9, theirs / 1e9, ours / theirs
            printf "%s: squared error\t%s\tof llama-quantize'"'"'s\twant <= 1, worst matrix %s\t%s\n", what, e, m, e }'
    done
done
