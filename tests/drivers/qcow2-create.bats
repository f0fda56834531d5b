#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qcow2: where a new image puts its structures, and what guest writes make of them.
# tests/interop/create-random.py compares whole files with the reference tool's.

load ../helper

create() {
    img 0 create -q -f qcow2 "$@"
}

be32() {  # FILE OFFSET
    echo $((16#$(peek "$1" "$2" 4)))
}

be64() {
    echo $((16#$(peek "$1" "$2" 8)))
}

length() {
    stat -c %s "$1"
}

is() {  # GOT WANTED
    [ "$1" = "$2" ] || { echo "$1 instead of $2"; return 1; }
}

sound() {
    img 0 check "$1"
    has "$OUT" '^No errors were found on the image'
}

@test "qcow2 create: header, refcount table, refcount block and L1 table follow each other" {
    create a 1G
    is "$(peek a 0 8)" 514649fb00000003
    is "$(be32 a 20)" 16
    is "$(be64 a 24)" 1073741824
    is "$(be32 a 36)/$(be64 a 40)" 2/$((0x30000))
    is "$(be64 a 48)/$(be32 a 56)" $((0x10000))/1
    is "$(be64 a 0x10000)" $((0x20000))
    is "$(peek a 0x20000 10)" 00010001000100010000
    is "$(length a)" 196624
}

@test "qcow2 create: sizes are rounded up to sectors" {
    create a 1
    is "$(be64 a 24)" 512
    create a 1000
    is "$(be64 a 24)" 1024
    create a 0
    is "$(be32 a 36)/$(be64 a 40)/$(length a)" 0/0/196608
}

@test "qcow2 create: version 2 has a short header without extensions" {
    create -o compat=0.10 a 1M
    is "$(peek a 4 4)" 00000002
    is "$(peek a 72 16)" 00000000000000000000000000000000
}

@test "qcow2 create: the feature name table only if there is space for it" {
    create -o cluster_size=4k a 1M
    is "$(peek a 112 4)" 00000000
    create -o cluster_size=8k a 1M
    is "$(peek a 112 8)" 6803f85700000180
}

@test "qcow2 create: all refcount widths" {
    local bits
    for bits in 1 2 4 8 16 32 64; do
        create -o "refcount_bits=$bits,cluster_size=512,preallocation=metadata" a 200k
        sound a
    done
}

@test "qcow2 create: new refcount blocks count themselves, behind what needed them" {
    create -o cluster_size=512,preallocation=metadata a 1M
    is "$(be64 a 0x208)" $((264 * 512))
    is "$(be64 a 0x210)" $((525 * 512))
    is "$(length a)" $((2092 * 512))
    sound a
}

@test "qcow2 create: a refcount table that grows moves to a new area" {
    create -o cluster_size=512,preallocation=metadata,refcount_bits=64 a 8M
    is "$(be64 a 48)/$(be32 a 56)" $((0x808a00))/7
    is "$(length a)" 8695296
    sound a
}

@test "qcow2 create: falloc and full put the refcounts first, then all data in one run" {
    local mode
    for mode in falloc full; do
        create -o "cluster_size=512,preallocation=$mode" a 1M
        is "$(be64 a 48)" $((0x1800))
        is "$(length a)" $((2092 * 512))
        img 0 map --output=json a
        has "$OUT" '"offset": 6656'
        sound a
    done
}

@test "qcow2 create: preallocated subclusters are not allocated yet" {
    truncate -s 1M base
    create -b base -F raw -o extended_l2=on,preallocation=metadata a 1M
    is "$(peek a 0x40000 16)" 80000000000500000000000000000000
    img 0 map --output=json a
    has "$OUT" '"depth": 1'
}

@test "qcow2 create: a raw data file is mapped as a whole" {
    create -o data_file=d,data_file_raw=on a 1M
    is "$(length d)" 1048576
    is "$(peek a 0x40000 16)" 80000000000000008000000000010000
    sound a
}

@test "qcow2 create: keep_data_file takes a data file over" {
    beyond
    pattern d 5a 0 1M
    cp d before
    create -o data_file=d,data_file_raw=on,keep_data_file=on a 1M
    raw_is d before
    img 0 compare -f qcow2 -F raw a before
    rm d a
    img 1 create -q -f qcow2 -o data_file=d,keep_data_file=on a 1M
    [ ! -e a ] && [ ! -e d ]
    img 1 create -q -f qcow2 -o keep_data_file=on a 1M
    err 'qemu-img: a: keep-data-file requires data-file'
}

@test "qcow2 create: if creation fails the old files stay" {
    beyond
    local options
    echo old > a
    echo data > d
    for options in cluster_size=100 compat=2 preallocation=some refcount_bits=3 data_file_raw=on \
        compat=0.10,data_file=d encrypt.format=luks compression_type=lzma; do
        img 1 create -q -f qcow2 -o "$options" a 1M
        is "$(cat a)$(cat d)" olddata
    done
    img 1 create -q -f qcow2 -o data_file=d a 1E
    is "$(cat a)$(cat d)" olddata
    img 1 create -q -u -f qcow2 -o cluster_size=512 -b "$(printf '%0600d' 0)" -F raw a 1M
    is "$(cat a)" old
}

@test "qcow2 create: an incomplete image is removed" {
    need_root
    mkdir full
    mount -t tmpfs -o size=64k none full 2> /dev/null || skip 'no mount'
    img 1 create -q -f qcow2 full/a 1M
    ls full > left
    umount full
    [ ! -s left ]
}

@test "qcow2 write: data over zero clusters and back" {
    sample raw
    truncate -s 8M zero
    create -o cluster_size=4k a 8M
    img 0 convert -n -f raw -O qcow2 raw a
    img 0 compare -f raw -F qcow2 raw a
    img 0 convert -n -f raw -O qcow2 -S 0 zero a
    img 0 compare -f raw -F qcow2 zero a
    img 0 convert -n -f raw -O qcow2 raw a
    img 0 compare -f raw -F qcow2 raw a
    sound a
}

@test "qcow2 write: compressed clusters take the place of others, and others theirs" {
    beyond
    sample raw
    tr '\021\042' 'AB' < raw > other
    create -o cluster_size=4k a 8M
    img 0 convert -n -f raw -O qcow2 raw a
    img 0 convert -n -c -f raw -O qcow2 other a
    img 0 compare -f raw -F qcow2 other a
    sound a
    img 0 convert -n -f raw -O qcow2 raw a
    img 0 compare -f raw -F qcow2 raw a
    sound a
}

@test "qcow2 write: a write that would hit metadata is refused" {
    local cluster name
    for cluster in 0:qcow2_header 1:'refcount table' 2:'refcount block' 3:'active L1 table'; do
        name=${cluster#*:}
        cluster=${cluster%%:*}
        create a 1M
        rm -f raw
        pattern raw 11 0 64k
        truncate -s 1M raw
        img 0 convert -n -f raw -O qcow2 raw a
        poke a $((0x20000 + 2 * cluster)) 0000
        pattern raw 22 512k 64k
        img 1 convert -n -f raw -O qcow2 raw a
        has "$ERR" "^qcow2: Marking image as corrupt: Preventing invalid write on metadata \\(overlaps with $name\\); further corruption events will be suppressed$"
        is "$(peek a 72 8)" 0000000000000002
    done
}
