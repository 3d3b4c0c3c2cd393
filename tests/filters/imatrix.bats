#!/usr/bin/env bats
# Importance matrices: statistics of a stream to a file and back, and what they do to GGUF files.
bats_require_minimum_version 1.5.0
load ../helpers

setup() {
    woq-gen --llama hidden=256,inter=256,layers=2,heads=4,kv=2,vocab=40,seed=3 >m.wts
    for i in 0 1 2; do echo "@TOKN{\"sample\":$i};ids:u32:$(seq -s, $((i + 1)) $((i + 30)))"; done |
        xargs -d '\n' woq-gen >t.wts
    woq-calib -q --tokens t.wts --emit stat m.wts >stat.wts
}

@test "stat frames to a file and back, in both forms" {
    for f in imatrix imatrix-dat; do
        run -0 --separate-stderr woq-pack -f $f -o m.$f stat.wts
        [[ $stderr == *"m.$f: importance of 14 matrices"* ]]
        run -0 --separate-stderr woq-stats --imatrix m.$f m.wts
        [[ $stderr == *"14 weights have an entry of m.$f, which has 14"* ]]
        woq-stats -q --imatrix m.$f m.wts >back.wts
        woq-pack -q -f $f -o again.$f back.wts
        cmp m.$f again.$f
    done
    # the same numbers give the same codes
    woq-rtn --bits 3 --search mse back.wts >a.wts
    woq-rtn --bits 3 --search mse stat.wts >b.wts
    run -0 woq-diff --codes a.wts b.wts
    run -1 woq-diff --codes a.wts <(woq-rtn --bits 3 --search mse m.wts)
}
@test "a Hessian's diagonal is an importance too" {
    woq-calib -q --tokens t.wts --emit hess m.wts >hess.wts
    woq-pack -q -f imatrix -o h.gguf hess.wts
    woq-pack -q -f imatrix -o s.gguf stat.wts
    for x in h s; do woq-pack -q -f gguf --pure -t q4_k --imatrix $x.gguf -o $x.q4_k.gguf m.wts; done
    run -0 woq-diff --tol 2e-2 <(woq-extract h.q4_k.gguf 2>/dev/null) <(woq-extract s.q4_k.gguf 2>/dev/null)
}
@test "GGUF: the stream's statistics and the file's weight the errors alike" {
    woq-pack -q -f imatrix -o m.imatrix stat.wts
    woq-stats -q --imatrix m.imatrix m.wts >again.wts
    for t in q4_k q2_k q4_0 iq4_nl mxfp4; do
        woq-pack -q -f gguf --pure -t $t -o blind.gguf --force m.wts
        woq-pack -q -f gguf --pure -t $t -o stream.gguf --force again.wts
        woq-pack -q -f gguf --pure -t $t --imatrix m.imatrix -o file.gguf --force m.wts
        cmp <(tail -c 150000 stream.gguf) <(tail -c 150000 file.gguf)
        run ! cmp -s <(tail -c 150000 blind.gguf) <(tail -c 150000 file.gguf)
    done
    grep -qa 'quantize.imatrix.entries_count' file.gguf
    run ! grep -qa 'quantize.imatrix' blind.gguf
}
@test "what does not fit is said" {
    woq-gen --llama hidden=64,inter=64,layers=2,heads=4,kv=2,vocab=40 >small.wts
    woq-pack -q -f imatrix -o m.imatrix stat.wts
    run -1 --separate-stderr woq-pack -f gguf -t q4_0 --imatrix m.imatrix -o out small.wts
    [[ $stderr == *"q_proj.weight': m.imatrix has 256 values for it, the matrix 64 columns"*"was it measured on this model"* ]]
    run -1 --separate-stderr woq-pack -f imatrix -o out m.wts
    [[ $stderr == *"the stream has no statistics of any weight"*"--emit stat"* ]]
    echo nonsense >bad
    run -1 --separate-stderr woq-pack -f gguf --imatrix bad -o out m.wts
    [[ $stderr == *"bad: imatrix: entry 0 is cut short or has an impossible count"* ]]
    run -1 --separate-stderr woq-stats --imatrix bad m.wts
    [[ $stderr == *"bad: imatrix: "* ]]
    run -1 --separate-stderr woq-stats --imatrix none m.wts
    woq-rtn --bits 4 --group-size 32 m.wts >q.wts
    run -1 --separate-stderr woq-pack -f gguf --imatrix m.imatrix -o out q.wts
    [[ $stderr == *"m.imatrix: no entry names a float matrix of the stream"* ]]
    [ ! -e out ]
}
@test "experts: one entry for all of a block, a part of it for each" {
    sed -E 's/("hidden_size": )[0-9]+/\164/; s/("intermediate_size": )[0-9]+/\164/' "$GOLDEN/archs/mixtral/config.json" >c.json
    woq-gen --config c.json >m.wts
    woq-gen "@TOKN{\"sample\":0};ids:u32[24]:$(seq -s, 1 24)" >t.wts
    woq-calib -q --tokens t.wts --calibrate-all-experts --emit stat m.wts >stat.wts
    for f in imatrix imatrix-dat; do
        woq-pack -q -f $f -o m.$f stat.wts
        woq-pack -q -f gguf -t q4_0 --imatrix m.$f -o $f.gguf m.wts
    done
    # 2 blocks of q, k, v, o and 3 times 5 experts, in 14 entries
    run -0 --separate-stderr bash -c 'woq-stats --imatrix m.imatrix m.wts >back.wts'
    [[ $stderr == *"38 weights have an entry of m.imatrix, which has 14"* ]]
    # by the file as by the stream, but for the rounding of sums in the file; and otherwise than blind
    woq-pack -q -f gguf -t q4_0 -o stream.gguf stat.wts
    woq-pack -q -f gguf -t q4_0 -o blind.gguf m.wts
    for f in imatrix imatrix-dat blind; do
        cmp -l <(tail -c 70000 $f.gguf) <(tail -c 70000 stream.gguf) | wc -l >$f.n || true
    done
    [ "$(cat imatrix.n)" -lt 700 ] && [ "$(cat imatrix-dat.n)" -lt 700 ] && [ "$(cat blind.n)" -gt 7000 ]
}
