#!/usr/bin/env bash
# stream.sh -- how fast frames go through: 1 GiB in frames of 64 MiB, read, verified and rewritten, beside
# the same bytes copied by cat, in the same run. Best of three, page cache warm.
set -eu -o pipefail
dir=$(mktemp -d "$( [ -w /dev/shm ] && echo /dev/shm || echo "${TMPDIR:-/tmp}")/woq-bench.XXXXXX")
trap 'rm -rf "$dir"' EXIT
woq-gen --frames 16 --bytes 64M >"$dir/in.wts"
export IN=$dir/in.wts
bytes=$(stat -c %s "$IN")

# rate COMMAND: GB/s of the best of three
rate() {
    local best=0 from to ns
    for _ in 1 2 3; do
        from=$(date +%s%N)
        bash -c "set -o pipefail; $1"
        to=$(date +%s%N)
        ns=$((to - from))
        [ "$best" -ne 0 ] && [ "$best" -le "$ns" ] || best=$ns
    done
    awk -v b="$bytes" -v ns="$best" 'BEGIN { printf "%.2f", b / ns }'
}
row() { # row WHAT FIGURE BESIDE-TEXT BESIDE
    printf '%s\t%s\tGB/s\t%s %s GB/s\t%s\n' "$1" "$2" "$3" "$4" "$(awk -v a="$2" -v b="$4" 'BEGIN { printf "%.2f", a / b }')"
}
# shellcheck disable=SC2016 # IN is expanded by the shell that rate starts
{
    pipe=$(rate 'cat "$IN" | cat >/dev/null')
    pipes=$(rate 'cat "$IN" | cat | cat >/dev/null')
    row 'frames read, verified, rewritten' "$(rate 'woq-head <"$IN" >/dev/null')" 'want >=' 2
    row 'frames: file | filter' "$(rate 'woq-head <"$IN" | woq-head >/dev/null')" 'cat | cat' "$pipe"
    row 'frames: file | filter | filter' "$(rate 'woq-head <"$IN" | woq-head | woq-head >/dev/null')" \
        'cat | cat | cat' "$pipes"
    row 'frames verified only' "$(rate 'woq-fsck "$IN"')" 'want >=' 2
}
