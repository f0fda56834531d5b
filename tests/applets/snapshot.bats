#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-snapshot: list, create, apply and delete internal snapshots.

load ../helper

# Dates aside: those of now.
undated() {
    sed -i -E 's/20[0-9]{2}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}/DATE/' "$OUT"
}

heading='ID      TAG               VM_SIZE                DATE        VM_CLOCK     ICOUNT'

# disk FILE BYTE OFFSET LENGTH: write a pattern through convert -n of a raw file
disk() {
    rm -f part.raw
    img 0 convert -f qcow2 -O raw "$1" part.raw
    pattern part.raw "$2" "$3" "$4"
    img 0 convert -n -f raw -O qcow2 part.raw "$1"
}

# shows FILE RAW: the disk has these contents
shows() {
    img 0 compare -f qcow2 -F raw "$1" "$2"
}

sound() {
    img 0 check -q "$1"
    [ -z "$PEER" ] || cmd 0 "$PEER" check -q "$1"
}

@test "snapshot: create, list, apply, delete" {
    sample a.raw
    img 0 convert -f raw -O qcow2 a.raw a.qcow2
    img 0 snapshot a.qcow2
    silent
    img 0 snapshot -c first a.qcow2
    silent
    sound a.qcow2
    cp a.raw b.raw
    pattern b.raw 77 100k 1M
    disk a.qcow2 77 100k 1M
    shows a.qcow2 b.raw
    img 0 snapshot -q -c second a.qcow2
    img 0 snapshot -l a.qcow2
    undated
    out 'Snapshot list:' "$heading" \
        '1       first                 0 B DATE  0000:00:00.000          0' \
        '2       second                0 B DATE  0000:00:00.000          0'
    img 0 snapshot -a first a.qcow2
    silent
    shows a.qcow2 a.raw
    sound a.qcow2
    img 0 snapshot -d first a.qcow2
    silent
    sound a.qcow2
    shows a.qcow2 a.raw
    img 0 snapshot -a 2 a.qcow2
    shows a.qcow2 b.raw
    img 0 snapshot -d second a.qcow2
    sound a.qcow2
    shows a.qcow2 b.raw
    img 0 snapshot a.qcow2
    silent
}

@test "snapshot: one action a call, and one operand" {
    img 0 create -q -f qcow2 a.qcow2 1M
    for words in '-c x -c y' '-l -c x' '-c x -l' '-l -l' '-a x -d x'; do
        # shellcheck disable=SC2086
        img 1 snapshot $words a.qcow2
        out ''
        err "qemu-img: Cannot mix '-l', '-a', '-c', '-d'" "Try 'qemu-img snapshot --help' for more info"
    done
    for words in '' 'a b' '-l' '-c x'; do
        # shellcheck disable=SC2086
        img 1 snapshot $words
        err 'qemu-img: Expecting one image file name' "Try 'qemu-img snapshot --help' for more info"
    done
    img 1 snapshot -c
    has "$ERR" "^qemu-img snapshot: option requires an argument -- 'c'"
    img 1 snapshot -f qcow2 --image-opts -l driver=qcow2,file.filename=a.qcow2
    err 'qemu-img: --image-opts and --format are mutually exclusive'
}

@test "snapshot: apply looks for an id first, delete for names only" {
    img 0 create -q -f qcow2 a.qcow2 1M
    for byte in 1 2 3; do
        disk a.qcow2 0$byte 0 64k
        img 0 snapshot -c $((byte % 3 + 1)) a.qcow2
    done
    truncate -s 1M want.raw
    pattern want.raw 01 0 64k
    img 0 snapshot -a 1 a.qcow2
    shows a.qcow2 want.raw
    img 0 snapshot -d 1 a.qcow2         # has the id 3
    img 0 snapshot -l a.qcow2
    undated
    out 'Snapshot list:' "$heading" \
        '1       2                     0 B DATE  0000:00:00.000          0' \
        '2       3                     0 B DATE  0000:00:00.000          0'
    pattern want.raw 02 0 64k
    img 0 snapshot -a 3 a.qcow2         # no such id any more, but that name
    shows a.qcow2 want.raw
    img 1 snapshot -d 1 a.qcow2
    err "qemu-img: Could not delete snapshot '1': snapshot not found"
    img 1 snapshot -a nix a.qcow2
    err "qemu-img: Could not apply snapshot 'nix': Failed to load snapshot: No such file or directory"
    img 1 snapshot -q -d nix a.qcow2
    err "qemu-img: Could not delete snapshot 'nix': snapshot not found"
    sound a.qcow2
}

@test "snapshot: names" {
    img 0 create -q -f qcow2 a.qcow2 1M
    long=$(printf '%0300d' 7)
    for name in '' x x 'Größe 名前' "$long"; do
        img 0 snapshot -c "$name" a.qcow2
    done
    img 0 snapshot -l a.qcow2
    undated
    out 'Snapshot list:' "$heading" \
        '1                             0 B DATE  0000:00:00.000          0' \
        '2       x                     0 B DATE  0000:00:00.000          0' \
        '3       x                     0 B DATE  0000:00:00.000          0' \
        '4       Größe 名前        0 B DATE  0000:00:00.000          0' \
        "5       ${long:0:255}      0 B DATE  0000:00:00.000          0"
    img 1 snapshot -d "$long" a.qcow2
    img 0 snapshot -d "${long:0:255}" a.qcow2
    img 0 snapshot -d x a.qcow2         # the first of two
    img 0 snapshot -d '' a.qcow2
    img 0 snapshot -cattached a.qcow2
    img 0 snapshot -l a.qcow2
    undated
    out 'Snapshot list:' "$heading" \
        '3       x                     0 B DATE  0000:00:00.000          0' \
        '4       Größe 名前        0 B DATE  0000:00:00.000          0' \
        '5       attached              0 B DATE  0000:00:00.000          0'
    sound a.qcow2
}

@test "snapshot: apply restores the disk size" {
    img 0 create -q -f qcow2 a.qcow2 1M
    disk a.qcow2 11 0 1M
    img 0 snapshot -c small a.qcow2
    img 0 resize -q a.qcow2 40M
    disk a.qcow2 22 0 3M
    img 0 snapshot -c large a.qcow2
    truncate -s 40M large.raw
    pattern large.raw 22 0 3M
    truncate -s 1M small.raw
    pattern small.raw 11 0 1M
    for name in small large small; do
        img 0 snapshot -a $name a.qcow2
        shows a.qcow2 $name.raw
        img 0 info a.qcow2
        case $name in
            small) has "$OUT" '^virtual size: 1 MiB' ;;
            large) has "$OUT" '^virtual size: 40 MiB' ;;
        esac
        sound a.qcow2
    done
    img 0 snapshot -d large a.qcow2
    img 0 snapshot -d small a.qcow2
    shows a.qcow2 small.raw
    sound a.qcow2
}

@test "snapshot: layouts" {
    sample a.raw
    cp a.raw b.raw
    pattern b.raw 66 1000k 2M
    for options in compat=0.10 cluster_size=512 cluster_size=2M extended_l2=on lazy_refcounts=on \
        refcount_bits=2 refcount_bits=64,cluster_size=1k preallocation=metadata; do
        img 0 convert -f raw -O qcow2 -o $options a.raw a.qcow2
        img 0 snapshot -c s a.qcow2
        sound a.qcow2
        disk a.qcow2 66 1000k 2M
        shows a.qcow2 b.raw
        img 0 snapshot -a s a.qcow2
        sound a.qcow2
        shows a.qcow2 a.raw
        img 0 snapshot -d s a.qcow2
        sound a.qcow2
        shows a.qcow2 a.raw
    done
    img 0 convert -c -f raw -O qcow2 a.raw a.qcow2
    img 0 snapshot -c s a.qcow2
    sound a.qcow2
    disk a.qcow2 66 1000k 2M
    img 0 snapshot -a s a.qcow2
    img 0 snapshot -d s a.qcow2
    sound a.qcow2
    shows a.qcow2 a.raw
}

@test "snapshot: over a backing file" {
    sample base.raw
    img 0 create -q -f qcow2 -b base.raw -F raw a.qcow2
    img 0 snapshot -c empty a.qcow2
    cp base.raw b.raw
    pattern b.raw 55 3M 256k
    disk a.qcow2 55 3M 256k
    shows a.qcow2 b.raw
    img 0 snapshot -a empty a.qcow2
    shows a.qcow2 base.raw
    sound a.qcow2
}

@test "snapshot: a refcount overflow changes nothing" {
    img 0 create -q -f qcow2 -o refcount_bits=1 a.qcow2 1M
    img 0 snapshot -c empty a.qcow2     # nothing to count
    disk a.qcow2 12 0 64k
    before=$(sum a.qcow2)
    img 1 snapshot -c x a.qcow2
    err "qemu-img: Could not create snapshot 'x': Invalid argument"
    [ -n "$IMG_IS_PEER" ] || sound a.qcow2      # (the real tool leaks)
    truncate -s 1M want.raw
    pattern want.raw 12 0 64k
    shows a.qcow2 want.raw
    img 0 snapshot -a empty a.qcow2
    [ -n "$IMG_IS_PEER" ] || sound a.qcow2
    [ "$before" != "$(sum a.qcow2)" ]
}

@test "snapshot: data of virtual machines and other programs is kept" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 snapshot -c vm a.qcow2
    at=$((0x$(peek a.qcow2 64 8)))
    # date, clock, size of the VM state, 32 bytes of extra data of which the last 8 are unknown
    poke a.qcow2 $((at + 12)) "0001 0002 00000005 00000000 0000035571a29001 075bcd15 00000020"
    poke a.qcow2 $((at + 40)) "0000000200000000 0000000000100000 0000000000000055 1122334455667788 31 766d"
    truncate -s %512 a.qcow2
    img 0 snapshot -c new a.qcow2
    img 0 snapshot -l a.qcow2
    sed -i 's/ 20.* 0000/ DATE 0000/' "$OUT"
    out 'Snapshot list:' "$heading" \
        '1       vm                  8 GiB 1970-01-01 00:00:05  0001:01:05.513         85' \
        '2       new                   0 B DATE 0000:00:00.000          0'
    at=$((0x$(peek a.qcow2 64 8)))
    [ "$(peek a.qcow2 $((at + 64)) 8)" = 1122334455667788 ]
    [ "$(peek a.qcow2 $((at + 32)) 4)" = 00000000 ]     # more than fits there
    # an icount of -1 is none
    poke a.qcow2 $((at + 56)) ffffffffffffffff
    TZ=Europe/Berlin img 0 snapshot -l a.qcow2
    sed -n 3p "$OUT" > "$OUT.line"
    same "$OUT.line" '1       vm                  8 GiB 1970-01-01 01:00:05  0001:01:05.513         --'
    img 0 snapshot -a vm a.qcow2
    img 0 snapshot -d vm a.qcow2
    sound a.qcow2
}

@test "snapshot: images without snapshots" {
    truncate -s 1M a.raw
    img 0 snapshot -l a.raw
    silent
    img 1 snapshot -f raw -c x a.raw
    err "qemu-img: Could not create snapshot 'x': Operation not supported"
    img 1 snapshot -f raw -a x a.raw
    err "qemu-img: Could not apply snapshot 'x': Block driver does not support snapshots"
    img 1 snapshot -f raw -d x a.raw
    err "qemu-img: Could not delete snapshot 'x': snapshot not found"
    img 0 create -q -f qcow2 -o data_file=d.raw d.qcow2 1M
    img 1 snapshot -c x d.qcow2
    err "qemu-img: Could not create snapshot 'x': Operation not supported"
    img 1 snapshot -a x d.qcow2
    err "qemu-img: Could not apply snapshot 'x': Failed to load snapshot: Operation not supported"
    img 1 snapshot -d x d.qcow2
    err "qemu-img: Could not delete snapshot 'x': snapshot not found"
    # through raw it is the format below that has them
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 snapshot -c x --image-opts driver=raw,file.driver=qcow2,file.file.filename=a.qcow2
    img 0 snapshot -a x --image-opts driver=raw,file.driver=qcow2,file.file.filename=a.qcow2
    img 0 snapshot -d x --image-opts driver=raw,file.driver=qcow2,file.file.filename=a.qcow2
    sound a.qcow2
}

@test "snapshot: bitmaps prevent apply" {
    fixture bitmaps.qcow2
    img 0 snapshot -c x bitmaps.qcow2
    img 1 snapshot -a x bitmaps.qcow2
    err "qemu-img: Could not apply snapshot 'x': Device has active dirty bitmaps"
    img 1 snapshot -a nix bitmaps.qcow2
    err "qemu-img: Could not apply snapshot 'nix': Device has active dirty bitmaps"
    img 0 snapshot -d x bitmaps.qcow2
    sound bitmaps.qcow2
}

@test "snapshot: who may open it" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 snapshot -U -l a.qcow2
    img 1 snapshot -U -c x a.qcow2
    err "qemu-img: Could not open 'a.qcow2': force-share=on can only be used with read-only images"
    for action in c a d; do
        img 1 snapshot --image-opts -$action x driver=qcow2,read-only=on,file.filename=a.qcow2
        err "qemu-img: Could not open 'driver=qcow2,read-only=on,file.filename=a.qcow2': Block node is read-only"
    done
    img 1 snapshot -l nix.qcow2
    err "qemu-img: Could not open 'nix.qcow2': Could not open 'nix.qcow2': No such file or directory"
}

@test "snapshot: invalid entries" {
    img 0 create -q -f qcow2 a.qcow2 1M
    disk a.qcow2 12 0 64k
    img 0 snapshot -c x a.qcow2
    at=$((0x$(peek a.qcow2 64 8)))
    cp a.qcow2 good.qcow2
    poke a.qcow2 "$at" 0000000000012345
    before=$(sum a.qcow2)
    img 1 snapshot -a x a.qcow2
    err 'qemu-img: Snapshot L1 table offset invalid' \
        "qemu-img: Could not apply snapshot 'x': Failed to load snapshot: Invalid argument"
    img 1 snapshot -d x a.qcow2
    err "qemu-img: Could not delete snapshot 'x': Snapshot L1 table offset invalid"
    [ "$before" = "$(sum a.qcow2)" ]
    cp good.qcow2 a.qcow2
    poke a.qcow2 $((at + 8)) 00500000
    img 1 snapshot -a x a.qcow2
    err 'qemu-img: Snapshot L1 table too large' \
        "qemu-img: Could not apply snapshot 'x': Failed to load snapshot: File too large"
    for row in '7fffffffffffffff offset(9223372036854775807) exceeds maximum(9223372035781033984);Input/output error' \
        '0000000000200123 The new size must be a multiple of 512;Invalid argument' \
        'ffff000000200000 Image size cannot be negative;Invalid argument' \
        '4000000000000000 Failed to grow the L1 table: File too large;File too large'; do
        cp good.qcow2 a.qcow2
        poke a.qcow2 $((at + 48)) "${row%% *}"
        row=${row#* }
        img 1 snapshot -a x a.qcow2
        err "qemu-img: ${row%;*}" "qemu-img: Could not apply snapshot 'x': Failed to load snapshot: ${row#*;}"
        sound a.qcow2
    done
    # A cluster further out than any table could count.
    img 0 create -q -f qcow2 far.qcow2 1M
    disk far.qcow2 12 0 64k
    l1=$((0x$(peek far.qcow2 40 8)))
    poke far.qcow2 $((0x$(peek far.qcow2 $((l1 + 1)) 7))) 80ffffffffff0000
    img 1 snapshot -c far far.qcow2
    err "qemu-img: Could not create snapshot 'far': File too large"
    # An L2 table out of place: the snapshot is gone all the same, what it used is leaked.
    cp good.qcow2 a.qcow2
    l1=$((0x$(peek a.qcow2 "$at" 8)))
    poke a.qcow2 $l1 8000000070000000
    img 1 snapshot -d x a.qcow2
    err "qemu-img: Could not delete snapshot 'x': Failed to free the cluster and L1 table: Invalid argument"
    img 0 snapshot -l a.qcow2
    silent
    img 3 check a.qcow2
}

@test "snapshot: the old profile" {
    beyond
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 snapshot -c x a.qcow2
    IMGBOX_COMPAT=7.2 img 0 snapshot -l a.qcow2
    undated
    out 'Snapshot list:' \
        'ID        TAG               VM SIZE                DATE     VM CLOCK     ICOUNT' \
        '1         x                     0 B DATE 00:00:00.000          0'
    truncate -s 1M a.raw
    IMGBOX_COMPAT=7.2 img 1 snapshot -f raw -c x a.raw
    err "qemu-img: Could not create snapshot 'x': -95 (Operation not supported)"
}

@test "snapshot: freed clusters are returned to the storage" {
    img 0 create -q -f qcow2 a.qcow2 64M
    img 0 snapshot -c empty a.qcow2
    disk a.qcow2 12 0 32M
    used=$(stored a.qcow2)
    img 0 snapshot -a empty a.qcow2
    [ $((used - $(stored a.qcow2))) -ge $((32 << 20)) ]
}

# within BLOCKS ARGUMENT...: files may not become longer than that many KiB
within() {
    (trap '' XFSZ; ulimit -f "$1"; exec -a qemu-img "$IMG" "${@:2}")
}

@test "snapshot: no space for a copy of the tables, or for anything" {
    sample a.raw
    for version in 0.10 1.1; do
        img 0 convert -f raw -O qcow2 -o cluster_size=4k,compat=$version a.raw a.qcow2
        truncate -s %4096 a.qcow2
        size=$(($(stat -c %s a.qcow2) / 1024))
        cmd 0 within $((size + 12)) snapshot -c s a.qcow2
        sound a.qcow2
        disk a.qcow2 66 1000k 2M
        truncate -s %4096 a.qcow2
        size=$(($(stat -c %s a.qcow2) / 1024))
        cmd 0 within $((size + 4)) snapshot -a s a.qcow2
        sound a.qcow2
        shows a.qcow2 a.raw
        cmd 0 within $((size + 4)) snapshot -d s a.qcow2
        sound a.qcow2
        shows a.qcow2 a.raw
    done
    rm -f a.qcow2
    img 0 convert -f raw -O qcow2 -o cluster_size=4k a.raw a.qcow2
    truncate -s %4096 a.qcow2
    cmd 1 within $(($(stat -c %s a.qcow2) / 1024)) snapshot -c s a.qcow2
    err "qemu-img: Could not create snapshot 's': File too large"
    img 0 snapshot -l a.qcow2
    silent
    shows a.qcow2 a.raw
    [ -n "$IMG_IS_PEER" ] || sound a.qcow2
}

@test "snapshot: a table that grows over the end of its cluster" {
    img 0 create -q -f qcow2 -o cluster_size=512 a.qcow2 4M
    for n in 1 2 3 4 5 6 7 8; do
        disk a.qcow2 0$n "$n"00k 30k
        img 0 snapshot -c "$(printf '%0200d' $n)" a.qcow2
        silent
        sound a.qcow2
    done
    for n in 3 8 1 6; do
        img 0 snapshot -d "$(printf '%0200d' $n)" a.qcow2
        silent
        disk a.qcow2 5$n 0 100k
        sound a.qcow2
    done
}
