#!/usr/bin/env bats
# Every block of shell in the README's recipes, in order, on the real model.
bats_require_minimum_version 1.5.0
load ../helpers

@test "the README's recipes run" {
    need_model
    ln -s "$M" model.gguf
    ln -s "$REPO/pipelines/data/alice.txt" book.txt
    ln -s "$REPO/pipelines" pipelines
    # `ssh host COMMAND` runs here: real ssh is the matter of real-model.bats.
    mkdir stub
    printf '#!/bin/sh\nshift\nexec sh -c "$*"\n' >stub/ssh
    chmod +x stub/ssh
    PATH=$PWD/stub:$PATH
    awk '/^```sh$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print >("block" n) }' "$REPO/README.md"
    [ -e block6 ]
    for block in block*; do
        cat "$block"
        bash -eu -o pipefail "$block"
    done
    diff -r model-4bit model-ssh
    diff -r model-4bit model-parts
}
