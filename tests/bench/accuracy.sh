#!/usr/bin/env bash
# accuracy.sh -- what each way to quantize costs in perplexity, and how much of the gap between rounding
# to nearest and the float model it closes. Group 64, asymmetric; 128 x 512 tokens of calibration;
# perplexity in the gptq convention at ctx 2048 over 8 windows.
#
#   WOQ_BENCH_ACCURACY='4 3 2'   these widths (unset: nothing; about 20 minutes a width on two cores)
#   WOQ_BENCH_WAYS=REGEX         only the ways whose name matches
#   WOQ_BENCH_SAMPLES=N          128
set -eu -o pipefail
[ -n "${WOQ_BENCH_ACCURACY:-}" ] || { echo 'accuracy: skipped, give WOQ_BENCH_ACCURACY="4 3 2"'; exit 0; }
model=${WOQ_BENCH_MODEL:-$(pipelines/get-model.sh)}
calib=${WOQ_BENCH_TEXT:-../shared/data/calib.groups_merged.txt}
text=${WOQ_BENCH_EVAL:-../shared/data/wiki.test.raw}
samples=${WOQ_BENCH_SAMPLES:-128}
dir=$(mktemp -d "${TMPDIR:-/var/tmp}/woq-accuracy.XXXXXX")
trap 'rm -rf "$dir"' EXIT

# ppl STREAM: its perplexity
ppl() {
    woq-eval -q --text "$text" --ppl gptq --ctx 2048 --windows 8 --json "$1" |
        sed -n 's/.*"perplexity":[[:space:]]*\([-+.0-9eE]*\).*/\1/p'
}
loop() { # CALIB-OPTIONS GPTQ-OPTIONS
    # shellcheck disable=SC2086
    woq-extract -q "$model" | woq-calib -q --text "$calib" --samples "$samples" --seqlen 512 $1 \
        --through "woq-hessian | woq-gptq --bits $bits --group-size 64 --asym --act-order --static-groups $2"
}
way() { # NAME COMMAND...: one row
    [[ $1 =~ ${WOQ_BENCH_WAYS:-.} ]] || return 0
    local name=$1 start=$SECONDS seconds p
    shift
    "$@" >"$dir/q.wts"
    seconds=$((SECONDS - start))
    p=$(ppl "$dir/q.wts")
    [ "$name" != rtn ] || rtn=$p
    awk -v b="$bits" -v n="$name" -v p="$p" -v f="$float" -v r="${rtn:-0}" -v s="$seconds" 'BEGIN {
        closed = r > f ? sprintf("%.1f %%", 100 * (r - p) / (r - f)) : "-"
        printf "%-5s %-31s %12.4f %14s %8d s\n", b, n, p, closed, s }'
}

woq-extract -q "$model" >"$dir/float.wts"
float=$(ppl "$dir/float.wts")
printf '%-5s %-31s %12s %14s %10s\n' bits way perplexity 'of the gap' time
printf '%-5s %-31s %12.4f\n' - float "$float"
woq-calib -q --text "$calib" --samples "$samples" --seqlen 512 --emit stat "$dir/float.wts" >"$dir/stat.wts"
for bits in $WOQ_BENCH_ACCURACY; do
    rtn=
    way rtn woq-rtn -q --bits "$bits" --group-size 64 --asym "$dir/float.wts"
    way 'rtn, weighted search' woq-rtn -q --bits "$bits" --group-size 64 --asym --search mse "$dir/stat.wts"
    way gptq loop '' ''
    way 'gptq, refit' loop '' '--refit 2'
    way 'gptq, targets both' loop '--targets both' ''
    way 'gptq, targets both, refit' loop '--targets both' '--refit 2'
    way 'gptq, targets both, float zero' loop '--targets both' '--float-zero'
done
