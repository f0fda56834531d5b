#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# -T: events of ours, in the words of the real tool.

load ../helper

@test "trace: the list" {
    beyond
    img 0 -T help
    for event in open close probe map read write zero discard reserve publish flush lock resize; do
        has "$OUT" "^img_$event\$"
    done
    cp "$OUT" first
    img 0 --trace '?'
    cmp first "$OUT"
    err ''
}

@test "trace: patterns" {
    beyond
    truncate -s 1M f
    pattern f 11 0 4k
    img 0 -T img_probe info f
    err 'img_probe file "f" offset 0 length 512'
    img 0 -T 'img_*' -T '-img_[a-o]*' -T -img_lock -T -img_open -T -img_close info f
    has "$ERR" '^img_read file "f" offset 0 length 512$'
    [ "$(grep -c -E '^img_(lock|open|close)' "$ERR")" -eq 0 ]
    img 0 -T 'enable=img_re*' convert -f raw -O qcow2 f x
    has "$ERR" '^img_reserve qcow2 "x" offset 0 length [0-9]+$'
    has "$ERR" '^img_read file "f" offset 0 length 4096$'
    img 0 -T 'nothing*' info f
    err ''
}

@test "trace: into a file, and patterns from one" {
    beyond
    truncate -s 1M f
    printf '# these\nimg_op*\n\n-img_close\nimg_none\n' > events
    img 0 -T events=events,file=log info f
    err "qemu-img:events:5: warning: trace event 'img_none' does not exist"
    has log '^img_open raw "f" size 1048576 flags'
    [ "$(grep -c -v '^img_open' log)" -eq 0 ]
    img 0 -T 'img_map,file=log' map f
    err ''
    has log '^img_map raw "f" offset 0 length 1048576$'
}

@test "trace: invalid arguments" {
    truncate -s 1M f
    img 0 -T foo info f
    err "qemu-img: warning: trace event 'foo' does not exist"
    img 0 -T -foo info f
    err "qemu-img: warning: trace event 'foo' does not exist"
    img 1 -T bogus=3 info f
    err "qemu-img: Invalid parameter 'bogus'"
    img 1 -T events=/nonexist info f
    err 'qemu-img:/nonexist: No such file or directory'
    img 1 -T file=/nonexist/x info f
    err 'qemu-img: Error opening logfile /nonexist/x: No such file or directory'
    img 0 -T '' info f
    err ''
}
