#!/usr/bin/env bash
# convert.sh -- a conversion that streams: f16 safetensors of a 7B llama to GGUF Q8_0, beside `cp` of the same
# bytes, and the peak memory of both stages beside its bound, 2 x the largest tensor + 64 MiB.
#
# Runs only if told how many blocks the model has (32 are the whole: 13.5 GB, 30 GB of disk in all):
#   WOQ_BENCH_CONVERT=32
#   TMPDIR=FOLDER   a disk with room for it (/var/tmp)
# woq-pack syncs what it wrote, cp does not: both ways of counting are printed.
set -eu -o pipefail
[ -n "${WOQ_BENCH_CONVERT:-}" ] || exit 0
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
woq-gen --llama "hidden=4096,inter=11008,layers=$WOQ_BENCH_CONVERT,heads=32,kv=32,vocab=32000,dtype=f16,seed=1" |
    woq-pack --quiet --format safetensors --shard-size 100G -o "$dir/in"
bytes=$(stat -c %s "$dir/in/model.safetensors")
largest=$(woq-extract --list "$dir/in" | awk '$4 > n { n = $4 } END { print n }')
now() { date +%s%N; }

# In turn, twice; the better of both is printed.
cp_ns=0 synced_ns=0 ours_ns=0
better() { # VARIABLE NS
    [ "${!1}" -ne 0 ] && [ "${!1}" -le "$2" ] || printf -v "$1" %s "$2"
}
for _ in 1 2; do
    from=$(now)
    cp "$dir/in/model.safetensors" "$dir/copy"
    better cp_ns $(($(now) - from))
    sync -d "$dir/copy"
    better synced_ns $(($(now) - from))
    rm "$dir/copy"
    : >"$dir/stats"
    from=$(now)
    WOQ_STATS=$dir/stats bash -c 'set -o pipefail
        woq-extract "$1/in" | woq-pack --quiet --format gguf --type q8_0 -o "$1/out.gguf"' - "$dir"
    better ours_ns $(($(now) - from))
    rm "$dir/out.gguf"
done
row() { # NS OF
    awk -v b="$bytes" -v ours="$ours_ns" -v theirs="$1" -v of="$2" 'BEGIN {
        printf "safetensors to GGUF Q8_0, %.1f GB\t%.0f\tMB/s\t%s %.0f MB/s, want >= 0.6\t%.2f\n",
            b / 1e9, 1000 * b / ours, of, 1000 * b / theirs, theirs / ours }'
}
row "$cp_ns" cp
row "$synced_ns" 'cp and sync'
sed 's/.*"program":"\([^"]*\)".*"peak_bytes":\([0-9]*\).*/\1 \2/' "$dir/stats" | sort |
    awk -v bound=$((2 * largest + (64 << 20))) '{
        printf "peak memory of %s\t%.0f\tMiB\twant <= %.0f MiB\t%.2f\n", $1, $2 / 1048576, bound / 1048576, $2 / bound }'
