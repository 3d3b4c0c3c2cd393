#!/usr/bin/env bash
# demo.sh -- the main job on a real model, with every pipeline that it runs printed first.
#
# SmolLM2-135M-Instruct is quantized at 8, 4 and 3 bits into GPTQ checkpoints, by rounding to nearest
# and, at 4 and 3 bits, by GPTQ calibrated on another text; and at 4 bits into a GGUF file. Each
# result is read back and its perplexity measured on a chapter of public-domain prose, beside that of
# the original. Ends with a table and a sentence continued by both models.
# The checkpoints stay in build/demo (or $WOQ_DEMO_DIR), to be looked at and taken apart.
set -eu -o pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."

model=$(pipelines/get-model.sh)
prompt='In the middle of the forest there stood an old house, and'
words=24

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
out=${WOQ_DEMO_DIR:-build/demo}
mkdir -p "$out"
rm -rf "$out"/w{8,4,3}.gptq "$out"/g{4,3}.gptq "$out/w4.gguf"

M=$model OUT=$out TEXT=pipelines/data/alice.txt CALIB=pipelines/data/calib.txt
export M OUT TEXT CALIB

run() { # PIPELINE: prints it, runs it; the seconds it took in $took, peak memory in $work/stats
    printf '\n$ %s\n' "$1"
    : >"$work/stats"
    local start=$EPOCHREALTIME
    WOQ_STATS=$work/stats bash -c "set -eu -o pipefail; $1"
    took=$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
}
peak() { # of the largest stage of the last run, with its name
    sed 's/.*"program":"\([^"]*\)".*"peak_bytes":\([0-9]*\).*/\2 \1/' "$work/stats" | sort -rn |
        awk 'NR == 1 { printf "%.0f MB (%s)", $1 / 1e6, $2 }'
}
measure() { # CHECKPOINT: perplexity in $ppl
    run "woq-extract $1 |
    woq-eval --text \$TEXT --ppl gptq --ctx 512" >"$work/result"
    cat "$work/result"
    ppl=$(awk '$1 == "perplexity" { print $2 }' "$work/result")
}
bits() { # CHECKPOINT: true bits per weight, all tensors and the linear layers alone
    woq-extract --list "$1" | awk '
        { n = split($3, d, "x"); e = 1; for (i = 1; i <= n; i++) e *= d[i]; all += e; bytes += $4 }
        $5 ~ /^(attn\.[qkvo]|mlp\.(gate|up|down))$/ && n == 2 { linear += e; linear_bytes += $4 }
        END { printf "%.2f|%.2f", 8 * bytes / all, 8 * linear_bytes / linear }'
}
row() { # SCHEME CHECKPOINT SECONDS PEAK PERPLEXITY
    printf '%s|%s|%s|%s|%s|%s|%s\n' "$1" "$(bits "$2")" \
        "$(du -sb "$2" | awk '{ printf "%.1f MB", $1 / 1e6 }')" "$before" "$5" "$3" "$4" \
        >>"$work/table"
}
quantize() { # SCHEME NAME PIPELINE
    run "$3"
    local seconds=$took high
    high=$(peak)
    measure "\$OUT/$2"
    row "$1" "$out/$2" "$seconds" "$high" "$ppl"
}

printf 'M=%s\nOUT=%s\nTEXT=%s (%d bytes)\nCALIB=%s (%d bytes)\n' "${M/#$HOME/\~}" "$OUT" \
    "$TEXT" "$(wc -c <"$TEXT")" "$CALIB" "$(wc -c <"$CALIB")"
start=$SECONDS

measure "\$M"
before=$ppl
row 'original (Q4_1, Q8_0)' "$M" - - "$before"

# $M and $OUT are for the shell that runs the pipeline: they stay readable when it is printed.
# shellcheck disable=SC2016
{
    quantize '8 bits, group 64, asym' w8.gptq 'woq-extract $M |
    woq-rtn --bits 8 --group-size 64 --asym |
    woq-pack --format gptq --out $OUT/w8.gptq'
    quantize '4 bits, group 64, asym' w4.gptq 'woq-extract $M |
    woq-rtn --bits 4 --group-size 64 --asym |
    woq-pack --format gptq --out $OUT/w4.gptq'
    quantize '4 bits, the same by GPTQ' g4.gptq 'woq-extract $M |
    woq-calib --text $CALIB --samples 16 --seqlen 256 --through "woq-hessian |
        woq-gptq --bits 4 --group-size 64 --asym --act-order --static-groups" |
    woq-pack --format gptq --out $OUT/g4.gptq'
    quantize '3 bits, group 64, asym' w3.gptq 'woq-extract $M |
    woq-rtn --bits 3 --group-size 64 --asym |
    woq-pack --format gptq --out $OUT/w3.gptq'
    quantize '3 bits, the same by GPTQ' g3.gptq 'woq-extract $M |
    woq-calib --text $CALIB --samples 16 --seqlen 256 --through "woq-hessian |
        woq-gptq --bits 3 --group-size 64 --asym --act-order --static-groups" |
    woq-pack --format gptq --out $OUT/g3.gptq'
    quantize '4 bits, group 32, GGUF' w4.gguf 'woq-extract $M |
    woq-rtn --bits 4 --group-size 32 --asym |
    woq-pack --format gguf --out $OUT/w4.gguf'
}

printf '\n'
awk -F '|' '
    BEGIN { head = "scheme|bits/weight|in linear layers|size|perplexity before|after|seconds|peak memory of a stage"; n = split(head, w, "|"); for (i = 1; i <= n; i++) { cell[0, i] = w[i]; width[i] = length(w[i]) } }
    { rows++; for (i = 1; i <= n; i++) { cell[rows, i] = $i; if (length($i) > width[i]) width[i] = length($i) } }
    END { for (r = 0; r <= rows; r++) { line = ""; for (i = 1; i <= n; i++) line = line sprintf("%-" width[i] + 2 "s", cell[r, i]); sub(/ +$/, "", line); print line } }
' "$work/table"

printf '\nThe same words, continued by the original and by the model of 4 bits (GPTQ):\n'
for checkpoint in "\$M" "\$OUT/g4.gptq"; do
    run "woq-extract $checkpoint |
    woq-eval --generate $words --prompt '$prompt'"
done
printf '\n%d seconds in all\n' $((SECONDS - start))
