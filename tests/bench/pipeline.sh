#!/usr/bin/env bash
# pipeline.sh -- the whole pipe, checkpoint to checkpoint: an f32 safetensors file of 500 MB to a GPTQ
# folder, in source bytes per second (best of five, page cache warm), and the peak memory of every
# stage beside its bound, 2 x the largest tensor + 64 MiB.
set -eu -o pipefail
dir=$(mktemp -d "${TMPDIR:-/tmp}/woq-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
woq-gen --llama hidden=2048,inter=5632,layers=2,heads=16,kv=16,vocab=8192,dtype=f32,seed=1 |
    woq-pack --quiet --format safetensors --dtype f32 -o "$dir/in"
bytes=$(stat -c %s "$dir/in/model.safetensors")
largest=$(woq-extract --list "$dir/in" | awk '$4 > n { n = $4 } END { print n }')
bound=$((2 * largest + (64 << 20)))

best=0
for _ in 1 2 3 4 5; do
    : >"$dir/stats"
    from=$(date +%s%N)
    WOQ_STATS=$dir/stats bash -c 'set -o pipefail; woq-extract "$1/in" |
        woq-rtn --bits 4 --group-size 64 | woq-pack --quiet --format gptq -o "$1/out"' - "$dir"
    ns=$(($(date +%s%N) - from))
    rm -rf "$dir/out"
    [ "$best" -ne 0 ] && [ "$best" -le "$ns" ] || best=$ns
done
awk -v b="$bytes" -v ns="$best" 'BEGIN {
    r = 1000 * b / ns
    printf "extract | rtn --bits 4 | pack gptq\t%.0f\tMB/s\twant >= 600 MB/s\t%.2f\n", r, r / 600 }'
sed 's/.*"program":"\([^"]*\)".*"peak_bytes":\([0-9]*\).*/\1 \2/' "$dir/stats" | sort |
    awk -v bound="$bound" '{
        printf "peak memory of %s\t%.0f\tMiB\twant <= %.0f MiB\t%.2f\n", $1, $2 / 1048576, bound / 1048576, $2 / bound }'
