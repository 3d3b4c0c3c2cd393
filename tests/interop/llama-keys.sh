#!/usr/bin/env bash
# llama-keys.sh -- what a GGUF file means where a key is missing, as older converters left some out: each key of
# each architecture is taken away, one at a time, from the tiny models of llama-archs.sh, and our logits are
# compared with llama.cpp's. One that only we refuse is no failure. Prints what differs and how many were tried.
#
# Runs only if told where llama.cpp is:
#   WOQ_LLAMA=FOLDER   its source tree, built into build/ with shared libraries
set -eu -o pipefail
# shellcheck source=tests/interop/llama.sh
. "$(dirname "$0")/llama.sh"
export GGML_NO_BACKTRACE=1 LC_ALL=C
# Its context of 256 is above the positions of the model: long factors there, short ones here. Borders of yarn
# that gpt-oss does not round, and llama.cpp does.
known=' phi3.rope.scaling.original_context_length gpt-oss.rope.scaling.original_context_length '
failed=0 tried=0

while read -r name allowed _ edit; do
    config "$name" "$edit"
    woq-gen --config config.json | woq-pack -q --force --format gguf --type f32 --out m.gguf
    arch=$(grep -aoE '[a-z0-9-]+\.context_length' m.gguf | cut -d . -f 1)
    grep -aoE "$arch\.[a-z0-9_.]+" m.gguf | sort -u >keys
    while read -r key; do
        # behind a key comes the type of its value
        sed -E "s/${key//./\\.}([\x04-\x09])/${key%?}X\1/" m.gguf >x.gguf
        tried=$((tried + 1))
        woq-extract -q x.gguf >x.wts 2>err || continue
        woq-eval -q --tokens ids.json --logits ours.npy x.wts >/dev/null
        read -r _ most <<<"$(./llama_logits x.gguf ids.json ours.npy 2>/dev/null || echo none none)"
        if [ "$most" = none ] || [[ $known = *" $key "* ]]; then continue; fi
        within "$most" "$allowed" ||
            { failed=1; echo "$name without $key: logits differ by $most"; }
    done <keys
done < <(grep -v '^#' "$archs/gguf.rows")
echo "$tried keys taken away"
exit $failed
