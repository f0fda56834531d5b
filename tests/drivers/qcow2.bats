#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qcow2: the header and its extensions, features, tables, snapshots, bitmaps; in qemu-img's words.

load ../helper

# fresh [OPTION,...]: an empty image of 1 MiB
fresh() {
    rm -f x
    img 0 create -q -f qcow2 -o "${1:-compat=1.1}" x 1M
}

# data IMAGE BYTE OFFSET LENGTH: write through the tool, with convert -n
data() {
    truncate -s 1M raw
    pattern raw "$2" "$3" "$4"
    img 0 convert -n -f raw -O qcow2 raw "$1"
}

info_has() {
    img 0 info x
    has "$OUT" "$1"
}

# ---- header

@test "qcow2: invalid header fields" {
    fresh; poke x 4 00000004; refused 'Unsupported qcow2 version 4'
    for bits in 08 16 3f; do
        fresh; poke x 20 000000$bits; refused "Unsupported cluster size: 2^$((0x$bits))"
    done
    fresh; poke x 100 00000067; refused 'qcow2 header too short'
    fresh; poke x 100 00010001; refused 'qcow2 header exceeds cluster size'
    fresh; poke x 8 0000000000010001; refused 'Invalid backing file offset'
    fresh; poke x 96 00000007; refused 'Reference count entry width too large; may not exceed 64 bits'
    fresh; poke x 32 00000003; refused 'Unsupported encryption method 3'
    fresh; poke x 104 02; refused 'qcow2: unknown compression type: 2'
    fresh; poke x 104 01; refused 'qcow2: Compression type incompatible feature bit must be set'
    fresh; poke x 79 08; refused 'qcow2: Compression type incompatible feature bit must not be set'
    fresh cluster_size=512; poke x 79 10; refused 'Unsupported subcluster size: 16'
}

@test "qcow2: tables that the header places" {
    fresh; poke x 36 00000000; refused 'L1 table is too small'
    fresh; poke x 36 00400001; refused 'Active L1 table too large'
    fresh; poke x 40 0000000000030001; refused 'Active L1 table offset invalid'
    fresh; poke x 40 7fffffffffff0000; refused 'Could not read L1 table: Input/output error'
    fresh; poke x 48 0000000000010200; refused 'Reference count table offset invalid'
    fresh; poke x 56 00000000; refused 'Image does not contain a reference count table'
    fresh; poke x 56 00000081; refused 'Reference count table too large'
    fresh; poke x 60 00010001; refused 'Snapshot table too large'
    fresh; poke x 60 00000001; poke x 64 0000000000000001; refused 'Snapshot table offset invalid'
    fresh; poke x 24 ffffffffffffffff; refused 'Could not refresh total sector count: File too large'
}

@test "qcow2: a size counts in sectors" {
    fresh
    poke x 24 00000000000fffff
    info_has '\(1048064 bytes\)'
}

@test "qcow2: a truncated header reads as zeroes beyond its end" {
    fresh
    for length in 0 3 71 104 200 65536; do
        fresh
        truncate -s $length x
        case $length in
            0 | 3) refused 'Image is not in qcow2 format' ;;
            71) refused 'qcow2 header too short' ;;
            *) img 0 info x ;;
        esac
    done
}

# ---- header extensions, features

# extension OFFSET TYPE LENGTH DATA
extension() {
    poke x "$1" "$2$(printf %08x "$3")$4"
}

@test "qcow2: extensions that run out of the header" {
    fresh
    for length in 7fffffff fffffff8 ffffffff 0000ffff; do
        poke x 112 12345678$length
        refused 'Header extension too large'
    done
}

@test "qcow2: extensions with a wrong content" {
    fresh; extension 112 e2792aca 16 00
    refused 'ERROR: ext_backing_format: len=16 too large (>=16)'
    fresh; extension 112 0537be77 16 00
    refused 'CRYPTO header extension only expected with LUKS encryption method'
    fresh; poke x 95 01; extension 112 23852875 16 00
    refused 'bitmaps_ext: Invalid extension length'
    fresh; poke x 95 01; extension 112 23852875 24 000000010000000100000000000000200000000000050000
    refused 'bitmaps_ext: Reserved field is not zero'
    fresh; poke x 95 01; extension 112 23852875 24 000000000000000000000000000000200000000000050000
    refused 'found bitmaps extension with zero bitmaps'
    fresh; poke x 95 01; extension 112 23852875 24 000000010000000000000000000000200000000000050001
    refused 'bitmaps_ext: invalid bitmap directory offset'
    fresh; poke x 95 01; extension 112 23852875 24 0000000100000000000000000fffffff0000000000050000
    refused 'bitmaps_ext: bitmap directory size (268435455) exceeds the maximum supported size (67107840)'
}

@test "qcow2: unknown extensions are kept, and written in reverse order" {
    fresh
    poke x 112 "11111111 00000003 6f6e6500 00000000 22222222 00000002 74770000 00000000 00000000 00000000"
    poke x 88 8000000000000000
    data x 11 0 4k
    [ "$(peek x 88 8)" = 0000000000000000 ]
    [ "$(peek x $((112 + 392)) 40)" = "$(printf '%s' 22222222 00000002 7477000000000000 \
        11111111 00000003 6f6e650000000000 0000000000000000)" ]
}

@test "qcow2: unknown header fields are kept" {
    fresh
    poke x 100 00000080
    poke x 112 0102030405060708090a0b0c0d0e0f1000000000
    poke x 88 4000000000000000
    data x 11 0 4k
    [ "$(peek x 100 4)" = 00000080 ]
    [ "$(peek x 112 16)" = 0102030405060708090a0b0c0d0e0f10 ]
    [ "$(peek x 128 8)" = 6803f85700000180 ]
}

@test "qcow2: unknown features by the names that the image gives them" {
    fresh
    poke x 72 8000000000000060
    poke x 112 "6803f857 00000060 0005 $(printf five | od -An -tx1 | tr -d ' ') 00"
    poke x 168 "013f 6e6f00"
    refused 'Unsupported qcow2 feature(s): five, Unknown incompatible feature: 8000000000000040'
}

@test "qcow2: unknown autoclear bits are cleared by writers only" {
    fresh
    poke x 88 00000000000000f0
    before=$(sum x)
    img 0 info x
    img 0 map x
    [ "$(sum x)" = "$before" ]
    data x 11 0 4k
    [ "$(peek x 88 8)" = 0000000000000000 ]
    fresh
    poke x 80 00000000000000fe
    data x 11 0 4k
    [ "$(peek x 80 8)" = 00000000000000fe ]
}

# ---- bits of state

@test "qcow2: a corrupt image is read, not written" {
    fresh
    data x 11 0 4k
    poke x 79 02
    info_has '^    corrupt: true$'
    img 0 convert -O raw x out
    raw_is out raw
    img 1 convert -n -f raw -O qcow2 raw x
    err "qemu-img: Could not open 'x': qcow2: Image is corrupt; cannot be opened read/write"
}

@test "qcow2: a dirty image is repaired before it is written" {
    fresh lazy_refcounts=on
    data x 11 0 4k
    [ "$(peek x 72 8)" = 0000000000000000 ]
    poke x 79 01
    poke x 0x2000a 0000
    data x 22 64k 4k
    [ "$(peek x 72 8)" = 0000000000000000 ]
    img 0 check x
}

@test "qcow2: damage met while writing marks the image, once" {
    fresh
    data x 11 0 4k
    poke x 0x40000 8000000000050200
    img 1 convert -O raw x out
    has "$ERR" '^qcow2: Image is corrupt: Cluster allocation offset 0x50200 unaligned \(L2 offset: 0x40000, L2 index: 0\); further non-fatal corruption events will be suppressed$'
    [ "$(peek x 72 8)" = 0000000000000000 ]
}

@test "qcow2: info shows encrypted images without their key" {
    fresh
    poke x 32 00000001
    info_has '^encrypted: yes$'
    has "$OUT" '^        format: aes$'
    fresh
    poke x 32 00000002
    refused 'Missing CRYPTO header for crypt method 2'
}

@test "qcow2: encrypted images are opened with a key only" {
    fresh
    poke x 32 00000001
    img 1 map x
    err "qemu-img: Could not open 'x': Parameter 'encrypt.key-secret' is required for cipher"
}

# ---- tables

# damaged TEXT: map fails, and says what it met
damaged() {
    img 1 map x
    err "qcow2: Image is corrupt: $1; further non-fatal corruption events will be suppressed" \
        'qemu-img: Could not read file metadata: Input/output error'
}

@test "qcow2: invalid entries" {
    fresh; data x 11 0 4k
    cp x sound
    poke x 0x30000 8000000000040200; damaged 'L2 table offset 0x40200 unaligned (L1 index: 0)'
    cp sound x; poke x 0x40000 8000000000050201
    damaged 'Cluster allocation offset 0x50200 unaligned (L2 offset: 0x40000, L2 index: 0)'
    fresh compat=0.10; data x 11 0 4k; poke x 0x40000 8000000000050001
    damaged 'Zero cluster entry found in pre-v3 image (L2 offset: 0x40000, L2 index: 0)'
    fresh extended_l2=on; data x 11 0 64k
    cp x sound
    poke x 0x40008 0000000300000003
    damaged 'Invalid cluster entry found  (L2 offset: 0x40000, L2 index: 0)'
    cp sound x; poke x 0x40000 0000000000000000
    damaged 'Invalid cluster entry found  (L2 offset: 0x40000, L2 index: 0)'
    fresh data_file=df; data x 11 0 4k
    cp x sound
    poke x 0x40000 c000000000050000
    damaged 'Compressed cluster entry found in image with external data file (L2 offset: 0x40000, L2 index: 0)'
    cp sound x; poke x 0x40000 8000000000020000
    damaged 'External data file host cluster offset 0x20000 does not match guest cluster offset: 0, L2 index: 0)'
}

@test "qcow2: check finds and mends zero clusters in version 2" {
    beyond
    fresh compat=0.10; data x 11 0 4k; poke x 0x40000 8000000000050001; poke x 0x40008 0000000000000001
    img 2 check -q x
    err 'ERROR zero cluster in an image of version 2: L2 offset: 0x40000, L2 index: '{'0, entry=0x8000000000050001','1, entry=0x1'}
    IMGBOX_HINTS=1 img 2 check -q x
    has "$ERR" '^hint: amend -o compat=1.1 makes these entries valid$'
    cp x y
    img 0 amend -o compat=1.1 y
    img 0 check y
    img 1 convert -O raw x out
    img 0 check -q -r all x
    img 0 check x
    img 0 convert -O raw x out
    truncate -s 1M zero
    raw_is out zero
    # a backing file would show, so the entry stays
    cp y base
    fresh compat=0.10,backing_file=base,backing_fmt=qcow2; data x 11 0 4k; poke x 0x40000 8000000000050001
    img 2 check -q -r all x
}

@test "qcow2: reserved bits, offsets beyond the end" {
    fresh; data x 11 0 4k
    poke x 0x40000 bf000000000501fe
    img 0 convert -O raw x out
    raw_is out raw
    [ -z "$IMG_IS_PEER" ] || return 0
    poke x 0x40000 8000001000000000
    img 1 convert -O raw x out
    err 'qemu-img: error while reading at byte 0: image is truncated: needs 68719542272 bytes, has 393216'
    img 4 compare -f qcow2 x -F raw raw
    has "$ERR" ' x: image is truncated: needs 68719542272 bytes, has 393216$'
    img 0 convert --salvage -O raw x out
    truncate -s 1M zero
    raw_is out zero
    poke x 0x30000 8000001000000000
    img 1 map --output=json x
    err 'qemu-img: Could not read file metadata: image is truncated: needs 68719542272 bytes, has 393216'
    img 1 convert -O raw x out
    err "qemu-img: Could not open 'x': image is truncated: needs 68719542272 bytes, has 393216"
}

@test "qcow2: map of subclusters" {
    fixture subclusters.qcow2
    img 0 map --output=json subclusters.qcow2
    [ -z "$PEER" ] || "$PEER" map --output=json subclusters.qcow2 | cmp - "$OUT"
}

@test "qcow2: the last compressed cluster may end with the file" {
    truncate -s 64k raw
    pattern raw 41 0 64k
    for type in zlib zstd; do
        img 0 convert -c -f raw -O qcow2 -o compression_type=$type raw x
        truncate -s "$(($(stat -c %s x) / 512 * 512 - 300))" x
        img 0 convert -O raw x out || img 1 convert -O raw x out
    done
}

# ---- options of open

@test "qcow2: options of open" {
    fresh
    try() {
        img 1 map --image-opts "driver=qcow2,file.filename=x,$1"
        err "qemu-img: Could not open 'driver=qcow2,file.filename=x,$1': $2"
    }
    img 0 map --image-opts driver=qcow2,file.filename=x,cache-size=1M,overlap-check=all,overlap-check.main-header=off,pass-discard-other=on
    try cache-size=1M,l2-cache-size=2M 'l2-cache-size may not exceed cache-size'
    try cache-size=1M,refcount-cache-size=2M 'refcount-cache-size may not exceed cache-size'
    try l2-cache-entry-size=100 'L2 cache entry size must be a power of two between 512 and the cluster size (65536)'
    try overlap-check=x "Unsupported value 'x' for qcow2 option 'overlap-check'. Allowed are any of the following: none, constant, cached, all"
    try overlap-check=all,overlap-check.template=none "Conflicting values for qcow2 options 'overlap-check' ('all') and 'overlap-check.template' ('none')"
    try cache-clean-interval=99999999999 'Cache clean interval too big'
    try data-file.filename=x "'data-file' can only be set for images with an external data file"
    fresh compat=0.10
    try lazy-refcounts=on 'Lazy refcounts require a qcow2 image with at least qemu 1.1 compatibility level'
    try discard-no-unref=on 'discard-no-unref is only supported since qcow2 version 3'
}

@test "qcow2: discard-no-unref keeps zeroed clusters allocated" {
    fresh
    data x 5 0 1M
    truncate -s 1M zeroes
    cp x y
    img 0 convert -n -f raw --target-image-opts zeroes driver=qcow2,file.filename=x
    img 0 map --output json x
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false}]'
    img 0 convert -n -f raw --target-image-opts zeroes driver=qcow2,discard-no-unref=on,file.filename=y
    img 0 map --output json y
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 327680}]'
    img 0 check -q y
    img 0 compare -q -f qcow2 -F raw y zeroes
}

# ---- external data file

@test "qcow2: a missing external data file is an error only if data is needed" {
    fresh data_file=df
    rm df
    info_has '^    data file: df$'
    img 1 map x
    err "qemu-img: Could not open 'x': Could not open 'df': No such file or directory"
}

# ---- snapshots

@test "qcow2: snapshots are shown, by id and by name" {
    fixture snapshots.qcow2
    img 0 convert -l first -O raw snapshots.qcow2 out
    truncate -s 64k want
    pattern want 11 0 4k
    raw_is out want
    img 0 convert -l 2 -O raw snapshots.qcow2 out
    pattern want 22 0 2k
    pattern want 22 32k 1k
    raw_is out want
    img 1 convert -l third -O raw snapshots.qcow2 out
    err "qemu-img: Failed to load snapshot: Can't find snapshot"
}

@test "qcow2: invalid entries of the snapshot table" {
    fixture snapshots.qcow2
    at=$((0x$(peek snapshots.qcow2 64 8)))
    cp snapshots.qcow2 x
    poke x $((at + 36)) 00000401
    img 1 info x
    err "qemu-img: Could not open 'x': Too much extra metadata in snapshot table entry 0" \
        'You can force-remove this extra metadata with qemu-img check -r all'
    cp snapshots.qcow2 x
    poke x "$at" 0000000000000001
    img 1 convert -l first -O raw x out
    err 'qemu-img: Failed to load snapshot: Snapshot L1 table offset invalid'
    cp snapshots.qcow2 x
    poke x $((at + 8)) 7fffffff
    img 1 convert -l first -O raw x out
    err 'qemu-img: Failed to load snapshot: Snapshot L1 table too large'
}

# ---- bitmaps

directory() {
    local at=112
    while [ "$(peek x $at 4)" != 23852875 ]; do
        at=$((at + 8 + (0x$(peek x $((at + 4)) 4) + 7) / 8 * 8))
    done
    echo $((0x$(peek x $((at + 24)) 8)))
}

@test "qcow2: invalid bitmaps" {
    fixture bitmaps.qcow2
    while read -r offset bytes text; do
        cp bitmaps.qcow2 x
        poke x $(($(directory) + offset)) "$bytes"
        refused "$text"
    done <<'END'
0 0000000000000001 Bitmap 'changes' doesn't satisfy the constraints
8 00000002 Could not read bitmap 'changes' from image: Invalid argument
12 00000008 Bitmap 'changes' doesn't satisfy the constraints
16 02 Bitmap 'changes' doesn't satisfy the constraints
17 08 Bitmap 'changes' doesn't satisfy the constraints
18 0400 Broken bitmap directory
20 00000008 Bitmap extra data is not supported
END
}

@test "qcow2: stale bitmaps are dropped by the next writer" {
    fixture bitmaps.qcow2
    cp bitmaps.qcow2 x
    poke x 95 00
    img 0 info x
    has "$ERR" '^qemu-img: warning: a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent$'
    [ "$(grep -c bitmaps: "$OUT")" -eq 0 ]
    cp x y
    truncate -s 1M raw
    pattern raw 11 0 4k
    img 0 convert -n -f raw -O qcow2 raw x
    img 0 info x
    err ''
}

@test "qcow2: bitmaps follow what is written, as qemu-img's do" {
    need_peer
    "$PEER" create -q -f qcow2 -o cluster_size=4k base 4M
    "$PEER" bitmap --add -g 512 base on
    "$PEER" bitmap --add -g 4k base off
    "$PEER" bitmap --disable base off
    "$PEER_IO" -c 'write -P 1 3M 10k' base > /dev/null
    truncate -s 4M raw
    pattern raw 11 70k 3k
    pattern raw 22 1M 100k
    cp base theirs
    cp base x
    "$PEER" convert -n --target-is-zero -f raw -O qcow2 raw theirs
    img 0 convert -n --target-is-zero -f raw -O qcow2 raw x
    "$PEER" check -q x
    for name in on off; do
        bits "$name" theirs > want
        bits "$name" x > got
        cmp want got
    done
}

# bits NAME IMAGE: what the real tool finds in a bitmap
bits() {
    rm -f all
    "$PEER" create -q -f qcow2 all 4M
    "$PEER" bitmap --add -g 512 all copy
    "$PEER" bitmap --merge "$1" -b "$2" -F qcow2 all copy
    local at
    cp all x.all
    at=$(cd "$BATS_TEST_TMPDIR" && grep -abo copy x.all | tail -1 | cut -d: -f1)
    tail -c "+$((0x$(peek all $((at - 24)) 8) + 1))" all | head -c 65536 | table_of all
}

# table_of IMAGE: the bits behind a bitmap table on standard input
table_of() {
    local entry
    entry=$(head -c 8 | od -An -v -tx1 | tr -d ' \n')
    [ $((0x$entry)) -eq 0 ] || tail -c "+$((0x$entry + 1))" "$1" | head -c 1024
}
