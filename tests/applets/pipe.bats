#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-convert with `-` and pipes: raw from standard input, raw to standard output.

load ../helper

# a pipeline, failing when a part of it fails
in_shell() {
    (set -o pipefail; eval "$1")
}

@test "pipe: raw from standard input" {
    beyond
    sample a.raw
    cmd 0 in_shell 'cat a.raw | qemu-img convert -f raw -O qcow2 - a.qcow2'
    silent
    img 0 check -q a.qcow2
    img 0 compare -q -f raw -F qcow2 a.raw a.qcow2
    cmd 0 in_shell 'qemu-img convert -c -O qcow2 -f raw - a.qcow2 < a.raw'
    img 0 compare -q -f raw -F qcow2 a.raw a.qcow2
}

@test "pipe: raw to standard output" {
    beyond
    sample a.raw
    img 0 convert -c -f raw -O qcow2 a.raw a.qcow2
    cmd 0 in_shell 'qemu-img convert -O raw a.qcow2 - | cat > b.raw'
    err ''
    cmp a.raw b.raw
    cmd 0 in_shell 'qemu-img convert -O raw a.qcow2 - > c.raw'
    cmp a.raw c.raw
}

@test "pipe: both ends" {
    beyond
    sample a.raw
    cmd 0 in_shell 'cat a.raw | qemu-img convert -f raw -O raw - - | cat > b.raw'
    silent
    cmp a.raw b.raw
}

@test "pipe: a stream that is no multiple of 512, an empty one" {
    beyond
    head -c 100001 /dev/urandom > a.raw
    cmd 0 in_shell 'cat a.raw | qemu-img convert -f raw -O qcow2 - a.qcow2'
    img 0 convert -O raw a.qcow2 b.raw
    cmp -n 100001 a.raw b.raw
    cmd 0 in_shell 'cat a.raw | qemu-img convert -f raw -O raw - - | cat > b.raw'
    cmp -n 100001 a.raw b.raw
    cmd 0 in_shell ': | qemu-img convert -f raw -O qcow2 - a.qcow2'
    img 0 check -q a.qcow2
}

@test "pipe: a reader that exits is an error" {
    beyond
    truncate -s 64M a.raw
    pattern a.raw 11 0 16M
    cmd 0 in_shell '{ qemu-img convert -f raw -O raw a.raw -; echo $? > rc; } | head -c 1000 > /dev/null'
    [ "$(cat rc)" -ne 0 ]
}

@test "pipe: progress never gets into the data" {
    beyond
    sample a.raw
    cmd 1 in_shell 'qemu-img convert -p -f raw -O raw a.raw - > b.raw'
    [ ! -s b.raw ]
    has "$ERR" '^qemu-img: .*-p'
}

@test "pipe: formats that cannot be streamed are refused" {
    beyond
    sample a.raw
    img 1 convert -f raw -O vdi a.raw -
    out ''
    has "$ERR" '^qemu-img: '
    cmd 1 in_shell 'qemu-img convert -f qcow2 -O raw - b.raw < a.raw'
    has "$ERR" '^qemu-img: '
}

@test "pipe: a file of the name -" {
    sample a.raw
    cp a.raw ./-
    img 0 convert -f raw -O raw ./- b.raw
    cmp a.raw b.raw
}

@test "pipe: a target only grows while no write is in flight" {
    beyond
    head -c 24M /dev/urandom > big
    for _ in 1 2 3 4 5 6; do
        "$IMG" -T img_reserve -T img_publish -T img_resize convert -f raw -O qcow2 -m 4 - x < <(cat big) 2> log
        awk '/^img_reserve qcow2/ { open++ } /^img_publish qcow2/ { open-- }
             /^img_resize qcow2/ { grown++; if (open) exit 1 } END { if (!grown) exit 1 }' log || return 1
    done
    img 0 compare -f raw -F qcow2 big x
}

@test "pipe: a target that fails is told while standard input is idle" {
    [ "$(id -u)" -eq 0 ] || skip 'needs root'
    mkdir small
    mount -t tmpfs -o size=1m none small || skip 'needs mount'
    mkfifo idle
    # it gives 4 MiB and then nothing, until it is ended
    (head -c 4M /dev/zero | tr '\0' x || true; exec sleep 600) > idle &
    writer=$!
    rc=0
    timeout 60 "$IMG" convert -f raw -O raw - small/x < idle 2> err || rc=$?
    kill "$writer"
    umount small
    [ "$rc" -eq 1 ]
    grep -F 'No space left on device' err
}
