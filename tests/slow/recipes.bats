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
    awk '/^```sh$/ { n++; on = 1; next } /^```$/ { on = 0 } on { print >sprintf("block%02d", n) }' "$REPO/README.md"
    [ -e block11 ]
    for block in block*; do
        cat "$block"
        bash -eu -o pipefail "$block"
    done
    diff -r model-4bit model-ssh
    diff -r model-4bit model-parts
    # The one command, by hand with a state, and with GPTQ behind ssh; the open loop in one line and over hosts.
    diff -r model-gptq model-gptq-state
    diff -r model-gptq model-gptq-host
    diff -r model-gptq-4 model-gptq-hosts
    run ! diff -rq model-gptq model-gptq-4
    # Codes went into GGUF as they were: a symmetric grid with scales of 16 bits has no other rounding.
    woq-extract --list model-sym.gguf >list
    [ "$(grep -c ' Q4_0 ' list)" -eq 210 ]
    [ "$(woq-extract --list model-asym.gguf | grep -c ' Q4_1 ')" -eq 210 ]
}
