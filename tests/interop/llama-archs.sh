#!/usr/bin/env bash
# llama-archs.sh [--regen] -- every architecture that woq-pack writes as GGUF in llama.cpp's own graph: tiny
# models (tests/golden/archs, gguf.rows), f32, the same tokens, our logits beside llama.cpp's. Prints one line
# for each: what, root mean square of the difference, largest difference, allowed. Fails if one is larger.
# --regen writes gguf.rows anew, with the check sums of files that were found right.
#
# Runs only if told where llama.cpp is:
#   WOQ_LLAMA=FOLDER   its source tree, built into build/ with shared libraries
set -eu -o pipefail
# shellcheck source=tests/interop/llama.sh
. "$(dirname "$0")/llama.sh"
failed=0

grep '^#' "$archs/gguf.rows" >rows
while read -r name allowed sum edit; do
    config "$name" "$edit"
    woq-gen --no-history --config config.json >m.wts
    woq-pack -q --force --format gguf --type f32 --out m.gguf m.wts
    woq-eval -q --tokens ids.json --logits ours.npy m.wts >/dev/null
    read -r rms most <<<"$(./llama_logits m.gguf ids.json ours.npy || echo nan nan)"
    printf '%-20s %-9s %-9s %-6s %s\n' "$name" "$rms" "$most" "$allowed" "$edit"
    within "$most" "$allowed" || { failed=1; echo "  above what is allowed"; }
    now=$(cksum <m.gguf | cut -d ' ' -f 1)
    [ "$sum" = "$now" ] || [ "${1:-}" = --regen ] || { failed=1; echo "  its check sum is $now, not $sum"; }
    echo "$name $allowed $now $edit" >>rows
done < <(grep -v '^#' "$archs/gguf.rows")
[ "${1:-}" != --regen ] || [ $failed != 0 ] || cp rows "$archs/gguf.rows"
exit $failed
