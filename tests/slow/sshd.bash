# shellcheck shell=bash
# sshd.bash -- servers of a test's own: keys, configuration and log in the scratch folder, loopback only.
#
# `start_sshd NAME` starts one, `ssh -F "$SSH/config" NAME` gets there. It has the PATH of the test, or SSHD_PATH, and its
# woq programs tell in $SSH/NAME.stats what they did.

start_sshd() { # NAME
    if [ ! -x /usr/sbin/sshd ] || ! command -v ssh >/dev/null; then
        skip 'no sshd: ./bootstrap check-slow brings it'
    fi
    export SSH=$BATS_TEST_TMPDIR/ssh
    if [ ! -d "$SSH" ]; then
        mkdir -m 700 "$SSH"
        ssh-keygen -q -t ed25519 -N '' -f "$SSH/host"
        ssh-keygen -q -t ed25519 -N '' -f "$SSH/user"
        cp "$SSH/user.pub" "$SSH/authorized"
        [ "$(id -u)" -ne 0 ] || mkdir -p /run/sshd
    fi
    : >"$SSH/$1.stats"
    touch "$SSH/config"
    cp "$SSH/config" "$SSH/others"
    local try pam port blas
    # A Hessian by other kernels of OpenBLAS differs in its last digits: what chooses them here counts there.
    blas=$(env | sed -n 's/^\(OPENBLAS_[A-Z0-9_]*\)=\(.*\)$/\1="\2"/p' | tr '\n' ' ')
    for try in 1 2 3 4 5 6; do
        pam=no
        [ "$try" -le 3 ] || pam=yes # a locked account is let in by PAM only
        port=$((20000 + RANDOM % 20000))
        cat >"$SSH/$1.sshd" <<END
ListenAddress 127.0.0.1
Port $port
HostKey $SSH/host
AuthorizedKeysFile $SSH/authorized
PidFile $SSH/$1.pid
SetEnv PATH="${SSHD_PATH:-$PATH}" WOQ_STATS="$SSH/$1.stats" $blas
StrictModes no
UsePAM $pam
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
END
        cp "$SSH/others" "$SSH/config"
        cat >>"$SSH/config" <<END
Host $1
    HostName 127.0.0.1
    Port $port
    IdentityFile $SSH/user
    IdentitiesOnly yes
    UserKnownHostsFile $SSH/known
    StrictHostKeyChecking no
    BatchMode yes
    LogLevel ERROR
END
        restart_sshd "$1" && ssh -F "$SSH/config" "$1" true && return 0
        stop_sshd "$1"
    done
    cat "$SSH/$1.log"
    return 1
}
restart_sshd() { # NAME: the same server again
    /usr/sbin/sshd -f "$SSH/$1.sshd" -E "$SSH/$1.log" 3>&- || return 1
    for _ in {1..100}; do
        [ -s "$SSH/$1.pid" ] && return 0
        sleep 0.2
    done
    return 1
}
stop_sshd() { # NAME: it takes no new connections
    if [ -s "$SSH/$1.pid" ]; then
        kill "$(cat "$SSH/$1.pid")" 2>/dev/null || true
        rm -f "$SSH/$1.pid"
    fi
}
cut_sshd() { # NAME: the host is gone, with all its connections
    local pid
    pid=$(cat "$SSH/$1.pid")
    pkill -9 -P "$pid" || true # the connections are its children
    kill -9 "$pid"
    rm -f "$SSH/$1.pid"
}
stop_all_sshd() {
    local pid
    for pid in "$BATS_TEST_TMPDIR"/ssh/*.pid; do
        [ ! -e "$pid" ] || stop_sshd "$(basename "$pid" .pid)"
    done
}
