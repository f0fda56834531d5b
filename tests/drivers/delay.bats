#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# delay: a storage far away, and what the copy engine makes of one.

load ../helper

setup() {
    fresh_folder
    beyond
}

# The clusters of the disk in an order of their own in the file.
fragmented() {  # name
    local i
    img 0 create -q -f qcow2 "$1" 8M
    for i in $(seq 0 37 $((37 * 127))); do
        img 0 bench -q -w -c 1 -s 64k -o $((i % 128 * 65536)) --pattern=$((i % 250 + 1)) -f qcow2 "$1"
    done
}

@test "delay: what is read and written is what is below" {
    truncate -s 2M old.raw
    pattern old.raw 11 0 64k
    pattern old.raw 12 1M 300k
    img 0 convert -f raw -O qcow2 old.raw a.qcow2
    img 0 convert -O raw --image-opts driver=qcow2,file.driver=delay,file.latency-ns=1000,file.file.filename=a.qcow2 b.raw
    cmp old.raw b.raw
    img 0 create -q -f qcow2 b.qcow2 2M
    img 0 convert -n -f raw old.raw --target-image-opts \
        driver=qcow2,file.driver=delay,file.latency-ns=1000,file.file.filename=b.qcow2
    img 0 compare -f raw -F qcow2 old.raw b.qcow2
    img 0 check -q b.qcow2
}

@test "delay: options, its name, and a number that is none" {
    truncate -s 1M a.raw
    img 0 info --output=json --image-opts driver=raw,file.driver=delay,file.latency-ns=5,file.file.filename=a.raw
    grep -F '\"driver\": \"delay\"' "$OUT"
    img 1 info --image-opts driver=raw,file.driver=delay,file.latency-ns=x,file.file.filename=a.raw
    has "$ERR" "Parameter 'latency-ns' expects a number"
    img 1 info --image-opts driver=raw,file.driver=delay,file.latency-ns=5
    has "$ERR" 'A block device must be specified for "file"'
}

# How often the tool waited for the storage.
waits() {  # words...
    strace -f -qq -e trace=ppoll -o trace "$IMG" "$@" > /dev/null
    grep -c 'ppoll(' trace
}

@test "delay: holes of a far image are stepped over, not asked for one by one" {
    need_strace
    truncate -s 64G empty.raw
    [ "$(waits convert -O raw --image-opts driver=raw,file.driver=delay,file.latency-ns=1000,file.file.filename=empty.raw \
        b.raw)" -lt 200 ]
    [ "$(stat -c %s b.raw)" = $((64 << 30)) ]
}

@test "delay: what is where is asked once" {
    need_strace
    head -c 16M /dev/urandom > a.raw
    # 32 windows to read; a question for each worker at the start, which they may ask at once
    [ "$(waits convert -m 16 -O raw --image-opts driver=raw,file.driver=delay,file.latency-ns=1000,file.file.filename=a.raw \
        b.raw)" -le 50 ]
    cmp a.raw b.raw
}

@test "delay: one answer tells of many extents" {
    need_strace
    truncate -s 16M a.raw
    for i in $(seq 0 2 62); do
        dd if=/dev/urandom of=a.raw bs=128k count=1 seek="$i" conv=notrunc status=none
    done
    img 0 map --output=json a.raw
    cp "$OUT" wanted
    # 64 extents
    [ "$(waits map --output=json --image-opts driver=raw,file.driver=delay,file.latency-ns=1000,file.file.filename=a.raw)" -le 4 ]
    img 0 map --output=json --image-opts driver=raw,file.driver=delay,file.latency-ns=1000,file.file.filename=a.raw
    cmp "$OUT" wanted
}

# The most waits that the trace shows on the way at a time.
side_by_side() {
    awk '/ppoll\(.*unfinished/ { n++; if (n > most) most = n } /ppoll resumed/ { n-- } END { print most + 0 }' trace
}

@test "delay: the fragments of a window are read side by side" {
    need_strace
    fragmented a.qcow2
    # one worker, so all that is side by side is of one window
    waits convert -m 1 -O raw --image-opts driver=qcow2,file.driver=delay,file.latency-ns=100000000,file.file.filename=a.qcow2 b.raw
    [ "$(side_by_side)" -ge 4 ]
    img 0 compare -f raw -F qcow2 b.raw a.qcow2
}

@test "delay: more workers than processors where nobody said how many" {
    need_strace
    head -c 16M /dev/urandom > a.raw
    waits convert -O raw --image-opts driver=raw,file.driver=delay,file.latency-ns=100000000,file.file.filename=a.raw b.raw
    [ "$(side_by_side)" -ge 16 ]
}

@test "delay: a failed copy does not wait for what is on the way" {
    head -c 4M /dev/urandom > a.raw
    # the first image fails at once, the second one would answer in an hour
    rc=0
    timeout 60 "$IMG" convert -m 4 -O raw --image-opts \
        driver=raw,file.driver=blkdebug,file.inject-error.0.event=none,file.inject-error.0.sector=0,file.image.filename=a.raw \
        driver=raw,file.driver=delay,file.latency-ns=3600000000000,file.file.filename=a.raw b.raw 2> err || rc=$?
    [ "$rc" -eq 1 ]
    grep -F 'Input/output error' err
}
