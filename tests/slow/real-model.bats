#!/usr/bin/env bats
# The main job on the real model: same bytes wherever and however it runs.
bats_require_minimum_version 1.5.0
load ../helpers

QUANT='woq-rtn --bits 4 --group-size 64 --asym'

setup_file() {
    need_model
    cd "$BATS_FILE_TMPDIR"
    bash -c "set -o pipefail; woq-extract \"\$M\" | $QUANT | woq-pack --format gptq --out base"
}
setup() {
    need_model
    BASE=$BATS_FILE_TMPDIR/base
}
pipeline() { # OUT [VARIABLE=VALUE...]: the pipeline again, with an environment
    local out=$1
    shift
    env "$@" bash -c "set -o pipefail; woq-extract \"\$M\" | $QUANT | woq-pack --format gptq --out $out"
}
same() { diff -r "$BASE" "$1" && rm -r "$1"; }

# An sshd of our own: keys, configuration and log in the scratch folder, loopback only.
start_sshd() {
    command -v /usr/sbin/sshd >/dev/null && command -v ssh >/dev/null ||
        skip 'no sshd: ./bootstrap check-slow brings it'
    SSH=$BATS_TEST_TMPDIR/ssh
    mkdir -m 700 "$SSH"
    ssh-keygen -q -t ed25519 -N '' -f "$SSH/host"
    ssh-keygen -q -t ed25519 -N '' -f "$SSH/user"
    cp "$SSH/user.pub" "$SSH/authorized"
    [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    local try pam
    for try in 1 2 3 4 5 6; do
        pam=no
        [ "$try" -le 3 ] || pam=yes # a locked account is let in by PAM only
        PORT=$((20000 + RANDOM % 20000))
        cat >"$SSH/sshd_config" <<END
ListenAddress 127.0.0.1
Port $PORT
HostKey $SSH/host
AuthorizedKeysFile $SSH/authorized
PidFile $SSH/pid
StrictModes no
UsePAM $pam
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
END
        cat >"$SSH/config" <<END
Host localhost
    HostName 127.0.0.1
    Port $PORT
    IdentityFile $SSH/user
    IdentitiesOnly yes
    UserKnownHostsFile $SSH/known
    StrictHostKeyChecking no
    BatchMode yes
    LogLevel ERROR
END
        /usr/sbin/sshd -f "$SSH/sshd_config" -E "$SSH/log" || continue
        for _ in {1..100}; do
            [ -s "$SSH/pid" ] && break
            sleep 0.2
        done
        ssh -F "$SSH/config" localhost true && return 0
        stop_sshd
    done
    cat "$SSH/log"
    return 1
}
stop_sshd() {
    if [ -s "${SSH:-}/pid" ]; then
        kill "$(cat "$SSH/pid")" 2>/dev/null || true
        rm -f "$SSH/pid"
    fi
}
teardown() { stop_sshd; }

@test "the quantizer behind ssh gives the same bytes" {
    start_sshd
    WOQ_RTN=$(command -v woq-rtn)
    export SSH WOQ_RTN
    bash -c 'set -o pipefail
        woq-extract "$M" |
        ssh -F "$SSH/config" localhost "$WOQ_RTN" --bits 4 --group-size 64 --asym |
        woq-pack --format gptq --out remote'
    same remote
}
@test "a quantizer that dies behind ssh leaves no checkpoint" {
    start_sshd
    export SSH
    run ! bash -c 'set -o pipefail
        woq-extract "$M" | ssh -F "$SSH/config" localhost "head -c 5000000; kill -9 \$\$" |
        woq-pack --format gptq --out remote 2>pack.err'
    grep -q 'woq-pack: <stdin>: frame' pack.err
    [ ! -e remote ]
}
@test "one thread gives the same bytes" {
    pipeline out WOQ_THREADS=1
    same out
}
@test "the reference kernels give the same bytes" {
    pipeline out WOQ_ISA=ref
    same out
}
@test "AVX2 gives the same bytes" {
    grep -q avx2 /proc/cpuinfo || skip 'no AVX2 here'
    pipeline out WOQ_ISA=avx2
    same out
}
@test "woq quantize gives the same bytes" {
    woq quantize "$M" out --bits 4 --group-size 64 --asym --format gptq
    same out
}
@test "every stage stays within twice the largest tensor and 64 MiB" {
    WOQ_STATS=$PWD/stats pipeline out
    largest=$((49152 * 576 * 4))
    sed 's/.*"program":"\([^"]*\)".*"peak_bytes":\([0-9]*\).*/\1 \2/' stats >peaks
    [ "$(wc -l <peaks)" -eq 3 ]
    while read -r program bytes; do
        echo "$program $bytes"
        [ "$bytes" -le $((2 * largest + (64 << 20))) ]
    done <peaks
}
@test "woq-calib stays within its activations, two blocks and 200 MiB" {
    bound=$((32 * 512 * 576 * 4 + 2 * 4 * (576 * 960 + 576 * 576 + 3 * 576 * 1536 + 2 * 576) + (200 << 20)))
    woq-extract --no-history "$M" | woq-head --no-history --blocks 3 >three.wts
    for how in '--through=cat' '--emit=hess' '--emit=acts'; do
        rm -f stats
        WOQ_STATS=$PWD/stats woq-calib --no-history --quiet --samples 32 --seqlen 512 \
            --text "$REPO/pipelines/data/alice.txt" "$how" three.wts >out.wts
        [ "$how" != --through=cat ] || cmp three.wts out.wts
        bytes=$(sed -n 's/.*"woq-calib".*"peak_bytes":\([0-9]*\).*/\1/p' stats)
        echo "$how: $bytes of $bound"
        [ "$bytes" -le "$bound" ]
    done
}
@test "perplexity is that of a model that works" {
    text=$REPO/pipelines/data/alice.txt
    woq-extract "$M" | woq-eval --text "$text" --ppl gptq --ctx 512 --json >float.json
    woq-extract "$BASE" | woq-eval --text "$text" --ppl gptq --ctx 512 --json >quant.json
    cat float.json quant.json
    awk -v f="$(perplexity float.json)" -v q="$(perplexity quant.json)" \
        'BEGIN { exit !(f > 1 && f < 40 && q > 0.95 * f && q < 1.5 * f) }'
}
perplexity() { sed -n 's/.*"perplexity":[[:space:]]*\([-+.0-9eE]*\).*/\1/p' "$1"; }
