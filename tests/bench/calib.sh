#!/usr/bin/env bash
# calib.sh -- the calibrated loop: its share of the sgemm peak, what the pipes cost, peak memory beside the
# formula of woq-calib(1). All in one run; the peak is measured before and after each loop, the best counts.
#
# The work that counts is that of one forward and of the Hessians (T * n * (n + 1) for n inputs), whatever
# else was computed. Without a model of one's own a model of SmolLM2-135M's shapes with random weights and
# 6 of its 30 blocks: a block costs the same.
#
#   WOQ_BENCH_MODEL=FILE    calibrate this checkpoint instead, all its blocks, on $WOQ_BENCH_TEXT
#   WOQ_BENCH_TURNS=N       turns of the two loops that are compared (2)
#   WOQ_BENCH_BIG=1         also two blocks of the shapes of a 7B llama, f16 (a quarter of an hour, 5 GB)
set -eu -o pipefail
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
gptq='woq-gptq --bits 4 --group-size 64 --asym --act-order'

# samples N VOCAB: TOKN frames of 512 random ids
samples() {
    local frames
    mapfile -t frames < <(awk -v n="$1" -v vocab="$2" 'BEGIN {
        srand(1)
        for (i = 0; i < n; i++) {
            s = ""
            for (k = 0; k < 512; k++) s = s (k ? "," : "") int(rand() * vocab)
            print "@TOKN{\"sample\":" i "};ids:u32:" s
        }
    }')
    woq-gen "${frames[@]}"
}

# shapes STREAM N_SAMPLES: sets flops (forward and Hessians), bound (bytes of woq-calib), n_blocks
shapes() {
    read -r flops bound n_blocks < <(woq-ls --json "$1" | awk -v tokens="$(($2 * 512))" '
        /"type":"BLKB"/ { blocks++ }
        blocks == 1 && match($0, /"role":"[a-z.]*"/) {
            role = substr($0, RSTART + 8, RLENGTH - 9)
            if (!match($0, /"shape":\[[0-9]+,[0-9]+\]/)) next
            split(substr($0, RSTART + 9, RLENGTH - 10), s, ",")
            weights += s[1] * s[2]
            if (role == "attn.q" || role == "attn.o" || role == "mlp.gate" || role == "mlp.down")
                hessian += s[2] * (s[2] + 1)
            if (role == "attn.q") { heads = s[1]; hidden = s[2] }
        }
        END {
            work = tokens * (2 * weights + 2 * heads * 513 + hessian)
            printf "%.0f %.0f %d\n", blocks * work, tokens * hidden * 4 + 8 * weights + 200 * 1048576, blocks
        }')
}

best_peak=0
peak() {
    local p
    p=$("$WOQ_BUILD/bench/eval" peak 2>/dev/null)
    best_peak=$(awk -v a="$best_peak" -v b="$p" 'BEGIN { print (a > b ? a : b) }')
}
# loop OPTION...: sets ns and bytes (peak memory of woq-calib)
loop() {
    local from
    rm -f "$dir/stats"
    from=$(date +%s%N)
    WOQ_STATS=$dir/stats woq-calib --quiet "$@" >/dev/null
    ns=$(($(date +%s%N) - from))
    bytes=$(sed -n 's/.*"woq-calib".*"peak_bytes":\([0-9]*\).*/\1/p' "$dir/stats")
}
share() { # share WHAT FLOPS NS WANT
    awk -v what="$1" -v f="$2" -v ns="$3" -v p="$best_peak" -v want="$4" 'BEGIN {
        printf "%s\t%.1f\tGFLOP/s\tsgemm peak %.1f GFLOP/s, want >= %s\t%.2f\n", what, f / ns, p, want, f / ns / p }'
}
memory() { # memory WHAT BYTES BOUND
    awk -v what="$1" -v b="$2" -v bound="$3" 'BEGIN {
        printf "%s\t%.0f\tMiB\twant <= %.0f MiB\t%.2f\n", what, b / 1048576, bound / 1048576, b / bound }'
}

small() {
    local text=() piped='' direct='' size name=SmolLM2-135M
    if [ -n "${WOQ_BENCH_MODEL:-}" ]; then
        woq-extract "$WOQ_BENCH_MODEL" >"$dir/m.wts"
        text=(--text "${WOQ_BENCH_TEXT:?a text to calibrate on}" --samples 128 --seqlen 512)
        name=$(basename "$WOQ_BENCH_MODEL")
    else
        woq-gen --llama hidden=576,inter=1536,layers=6,heads=9,kv=3,vocab=49152 >"$dir/m.wts"
        samples 128 49152 >"$dir/t.wts"
        text=(--tokens "$dir/t.wts")
    fi
    shapes "$dir/m.wts" 128
    peak
    for _ in $(seq "${WOQ_BENCH_TURNS:-2}"); do
        loop "${text[@]}" --through "woq-hessian | $gptq" "$dir/m.wts"
        [ -n "$piped" ] && [ "$piped" -le "$ns" ] || piped=$ns
        size=$bytes
        peak
        loop "${text[@]}" --emit hess --through "$gptq" "$dir/m.wts"
        [ -n "$direct" ] && [ "$direct" -le "$ns" ] || direct=$ns
        peak
    done
    share "closed-loop GPTQ, $name, $n_blocks blocks, 128 x 512 tokens" "$flops" "$piped" 0.60
    awk -v a="$piped" -v b="$direct" 'BEGIN {
        printf "the same, acts through the pipe\t%.1f\ts\t--emit hess %.1f s, want <= 1.10\t%.2f\n", a / 1e9, b / 1e9, a / b }'
    memory 'the same, memory of woq-calib' "$size" "$bound"
}

# What counts for the loop with GPTQ is the same work, so its share is that of calibration in the whole.
big() {
    woq-gen --llama hidden=4096,inter=11008,layers=2,heads=32,kv=32,vocab=32000,dtype=f16 |
        woq-pack --quiet --format safetensors --dtype f16 -o "$dir/big"
    woq-extract "$dir/big" >"$dir/m.wts"
    rm -r "$dir/big"
    samples 16 32000 >"$dir/t.wts"
    shapes "$dir/m.wts" 16
    peak
    loop --tokens "$dir/t.wts" --emit hess "$dir/m.wts"
    peak
    share '7B llama, 2 blocks, 16 x 512 tokens, --emit hess' "$flops" "$ns" 0.70
    memory 'the same, memory of woq-calib' "$bytes" $((bound + 4 * 11008 * 11008))
    loop --tokens "$dir/t.wts" --emit hess --through "$gptq" "$dir/m.wts"
    peak
    share 'the same, closed-loop GPTQ' "$flops" "$ns" 0.70
    awk -v ns="$ns" 'BEGIN { printf "the same, 32 blocks\t%.0f\tmin\textrapolated from 2\t-\n", ns * 16 / 60e9 }'
}

small
[ -z "${WOQ_BENCH_BIG:-}" ] || big
