# Loaded by every bats file: bin/ on PATH, a fresh scratch folder, skips with their reason.
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
WOQ_BUILD=${WOQ_BUILD:-$REPO/build}
case $(basename "$WOQ_BUILD") in
build) PATH="$REPO/bin:$PATH" ;;
*) PATH="$WOQ_BUILD/bin:$PATH" ;;
esac
export PATH REPO WOQ_BUILD
GOLDEN=$REPO/tests/golden
DATA=$REPO/../shared/data
# What a user's environment would change: sorting, numbers, and lines that come after ten seconds.
export LC_ALL=C WOQ_PROGRESS=none
unset WOQ_TRACE WOQ_STATS
# Golden values are recorded with one BLAS core type and thread count.
export OPENBLAS_NUM_THREADS=1
cd "$BATS_TEST_TMPDIR" || exit 1

# need_model: sets M to the real model (SmolLM2-135M-Instruct, Q4_1 GGUF), or skips.
need_model() {
    M=${WOQ_MODEL_GGUF:-${XDG_CACHE_HOME:-$HOME/.cache}/woq/SmolLM2-135M-Instruct.Q4_1.gguf}
    [ -r "$M" ] || skip "no model: run 'make model' first ($M)"
    export M
}

# need_data FILE: sets F to a file of the shared data folder, or skips.
need_data() {
    F=$DATA/$1
    [ -r "$F" ] || skip "no data file $1 (it lives beside the project, in ../shared/data)"
    export F
}
