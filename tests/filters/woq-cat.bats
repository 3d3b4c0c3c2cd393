#!/usr/bin/env bats
bats_require_minimum_version 1.5.0
load ../helpers
setup() { woq-gen w:f32:1,2,3,4 b:f32:5,6 x:raw:ab >in.wts; }

@test "prints HEAD and a line per array" {
    run -0 woq-cat <in.wts
    [[ ${lines[0]} == 'HEAD {"wts":"1.0"'* ]]
    [ "${lines[*]:1:3}" = 'w f32 1 2 3 4 b f32 5 6 xtra 2' ]
    run -0 woq-cat --values --no-head in.wts
    [ "${#lines[@]}" = 3 ]
}
@test "--match, --limit" {
    run -0 woq-cat --no-head -m w -n 2 in.wts
    [ "$output" = "w f32 1 2 ..." ]
    run -0 woq-cat --no-head -m w -n 4 in.wts
    [ "$output" = "w f32 1 2 3 4" ]
}
@test "--stats: over finite values, with NaN and Inf counted" {
    woq-gen 'a:f32[2,2]:1,2,3,4' n:f32:nan,inf,-inf,-3 'e:f32[0]:' 'q:u8:1,3' >s.wts
    run -0 woq-cat --no-head --stats s.wts
    [ "${lines[0]}" = "a f32 2x2 min=1 max=4 mean=2.5 std=1.11803399 absmax=4 nan=0 inf=0" ]
    [ "${lines[1]}" = "n f32 4 min=-3 max=-3 mean=-3 std=0 absmax=3 nan=1 inf=2" ]
    [ "${lines[2]}" = "e f32 0 min=0 max=0 mean=0 std=0 absmax=0 nan=0 inf=0" ]
    [ "${lines[3]}" = "q u8 2 min=1 max=3 mean=2 std=1 absmax=3 nan=0 inf=0" ]
}
@test "--stats: the same for any number of threads, no cancellation" {
    woq-gen 'a:f32[500,1001]:rand=5' 'c:f32[200000]:fill=16777215' >s.wts
    woq-cat --threads 1 --stats s.wts >1
    woq-cat --threads 7 --stats s.wts >7
    cmp 1 7
    grep -q '^c .* std=0 ' 1
}
@test "--file prints a side file byte for byte" {
    printf 'a\0b\n' >side.bin
    woq-gen --modl side.bin >m.wts
    woq-cat --file side.bin m.wts | cmp - side.bin
    run -1 woq-cat --file nosuch m.wts
    [[ $output == *"no side file 'nosuch' in this stream"* ]]
}
@test "usage" {
    run -2 woq-cat --stats --values in.wts
    run -2 woq-cat --stats --file x in.wts
    run -2 woq-cat a b
    run -2 woq-cat -n -1 in.wts
}
@test "a full disk is an error" {
    run -1 bash -c 'woq-cat in.wts >/dev/full'
    [[ $output == *"can't write: No space left on device"* ]]
}
