#!/usr/bin/env bash
# inc.sh -- the calibrated loop beside Intel Neural Compressor's GPTQ: the same model, samples and options
# (4 bits, groups of 64, asymmetric, act_order, blocks of 128 columns), one after the other on this machine.
#
# Runs only if told where things are:
#   WOQ_INC_PYTHON=PYTHON   a Python with neural-compressor[pt] 3.6, torch (CPU), transformers, accelerate and six
#   WOQ_BENCH_MODEL=FILE    a llama checkpoint of which transformers knows the config
#   WOQ_BENCH_TEXT=FILE     what it is calibrated on
#   WOQ_INC_SAMPLES=N       windows of 512 tokens (128)
# Ours is timed from checkpoint to checkpoint, theirs without imports and loading.
set -eu -o pipefail
[ -n "${WOQ_INC_PYTHON:-}" ] || exit 0
model=${WOQ_BENCH_MODEL:?a checkpoint}
text=${WOQ_BENCH_TEXT:?a text}
n=${WOQ_INC_SAMPLES:-128}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
export dir model

woq-extract "$model" | woq-pack --quiet --format safetensors --dtype f32 -o "$dir/f32"
woq-tokens --quiet --model "$model" --text "$text" --samples "$n" --seqlen 512 >"$dir/t.wts"
woq-tokens --quiet --model "$model" --text "$text" --samples "$n" --seqlen 512 --json >"$dir/t.json"

ours() { # sets ns, the better of what was before and now
    local from to
    rm -rf "$dir/out" "$dir/stats"
    from=$(date +%s%N)
    WOQ_STATS=$dir/stats bash -c 'set -o pipefail; woq-extract "$model" |
        woq-calib --quiet --tokens "$dir/t.wts" \
            --through "woq-hessian | woq-gptq --bits 4 --group-size 64 --asym --act-order" |
        woq-pack --quiet --format gptq -o "$dir/out"'
    to=$(($(date +%s%N) - from))
    [ -n "${ns:-}" ] && [ "$ns" -le "$to" ] || ns=$to
}
ours
"$WOQ_INC_PYTHON" "$(dirname "$0")/inc.py" "$dir/f32" "$dir/t.json" >"$dir/inc" 2>"$dir/inc.log" ||
    { tail -n 5 "$dir/inc.log" >&2; exit 1; }
ours
read -r seconds bytes < <(sed -n 's/.*"seconds": \([0-9.]*\), "peak_bytes": \([0-9]*\).*/\1 \2/p' "$dir/inc")
awk -v ns="$ns" -v inc="$seconds" -v n="$n" 'BEGIN {
    printf "closed-loop GPTQ, %d x 512 tokens\t%.1f\ts\tNeural Compressor %.1f s, its time over ours, want >= 2.5\t%.2f\n", n, ns / 1e9, inc, inc * 1e9 / ns }'
# Programs of a pipeline run at once: their peaks are added.
sed 's/.*"peak_bytes":\([0-9]*\).*/\1/' "$dir/stats" | awk -v inc="$bytes" '
    { sum += $1 }
    END { printf "the same, memory of all programs\t%.0f\tMiB\tNeural Compressor %.0f MiB\t%.2f\n", sum / 1048576, inc / 1048576, sum / inc }'
