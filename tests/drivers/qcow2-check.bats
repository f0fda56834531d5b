#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qcow2: damage that a check finds, its words and counts, and what repair makes of it.

load ../helper

# base NAME [OPTION,...]: 64 KiB in clusters of 512 bytes, the first eight of them data:
# header 0, refcount table 200, refcount block 400, L1 600, L2 800, data a00 c00 ... 1800
base() {
    truncate -s 64k raw
    pattern raw 11 0 4k
    img 0 convert -f raw -O qcow2 -o "cluster_size=512${2:+,$2}" raw "$1"
    cp "$1" sound
}

# What a check says after its counts: the last lines are the same for all of these.
tail_of() {
    echo "$1/128 = $2 allocated, $3 fragmented, 0.00% compressed clusters"
    echo "Image end offset: $4"
}

errors() {  # COUNT
    printf '\n%s errors were found on the image.\n' "$1"
    echo 'Data may be corrupted, or further writes to the image may corrupt it.'
}

leaks() {  # COUNT
    printf '\n%s leaked clusters were found on the image.\n' "$1"
    echo 'This means waste of disk space, but no harm to data.'
}

repaired() {  # LEAKS CORRUPTIONS
    printf 'The following inconsistencies were found and repaired:\n\n'
    printf '    %s leaked clusters\n    %s corruptions\n\n' "$1" "$2"
    echo 'Double checking the fixed image now...'
}

sound() {
    echo 'No errors were found on the image.'
}

same_as_raw() {
    img 0 compare -f raw -F qcow2 raw "$1"
}

@test "qcow2 check: a reference without a refcount; refcount structures are rebuilt" {
    base a
    poke a 0x40a 0000
    img 2 check a
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000000a00 refcount=0'
    { errors 2; tail_of 8 6.25% 0.00% 6656; } | out
    img 1 check -r leaks a
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'ERROR need to rebuild refcount structures' \
        'qemu-img: Check failed: Input/output error'
    img 0 check -r all a
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'Rebuilding refcount structure' \
        'Repairing cluster 1 refcount=1 reference=0' \
        'Repairing cluster 2 refcount=1 reference=0'
    { repaired 0 1; sound; tail_of 8 6.25% 0.00% 7680; } | out
    # the table is behind the block, both behind what was there
    [ "$(peek a 48 12)" = 0000000000001c0000000001 ]
    [ "$(peek a 0x1c00 8)" = 0000000000001a00 ]
    [ "$(peek a 0x1a00 30)" = 000100000000000100010001000100010001000100010001000100010001 ]
    same_as_raw a
    img 0 check a
    err ''
}

@test "qcow2 check: refcounts that are too high" {
    base a
    poke a 0x40a 0002
    poke a 0x41a 0001       # behind the end of the file: of no interest
    img 2 check a
    err 'Leaked cluster 5 refcount=2 reference=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000000a00 refcount=2'
    { errors 1; leaks 1; tail_of 8 6.25% 0.00% 6656; } | out
    img 0 check -r leaks a
    err 'Leaked cluster 5 refcount=2 reference=1' \
        'Repairing cluster 5 refcount=2 reference=1'
    { repaired 1 0; sound; tail_of 8 6.25% 0.00% 6656; } | out
    poke a 0x41a 0000
    cmp a sound
}

@test "qcow2 check: a leaked cluster becomes free" {
    base a
    poke a 0x800 0000000000000000
    img 3 check a
    err 'Leaked cluster 5 refcount=1 reference=0'
    { leaks 1; tail_of 7 5.47% 0.00% 6656; } | out
    img 0 check -r leaks --output=json a
    err 'Leaked cluster 5 refcount=1 reference=0' 'Repairing cluster 5 refcount=1 reference=0'
    out <<'EOF'
{
    "image-end-offset": 6656,
    "total-clusters": 128,
    "check-errors": 0,
    "leaks-fixed": 1,
    "allocated-clusters": 7,
    "filename": "a",
    "format": "qcow2"
}
EOF
    [ "$(peek a 0x40a 2)" = 0000 ]
}

@test "qcow2 check: a cluster that two entries share" {
    base a
    poke a 0x808 8000000000000e00
    img 2 check a
    err 'Leaked cluster 6 refcount=1 reference=0' 'ERROR cluster 7 refcount=1 reference=2'
    { errors 1; leaks 1; tail_of 8 6.25% 25.00% 6656; } | out
    img 0 check -r all a
    err 'Leaked cluster 6 refcount=1 reference=0' \
        'ERROR cluster 7 refcount=1 reference=2' \
        'Repairing cluster 6 refcount=1 reference=0' \
        'Repairing cluster 7 refcount=1 reference=2' \
        'Repairing OFLAG_COPIED data cluster: l2_entry=8000000000000e00 refcount=2' \
        'Repairing OFLAG_COPIED data cluster: l2_entry=8000000000000e00 refcount=2'
    { repaired 1 3; sound; tail_of 8 6.25% 25.00% 6656; } | out
    [ "$(peek a 0x808 16)" = 0000000000000e000000000000000e00 ]
}

@test "qcow2 check: COPIED bits are fixed with the leaks if nothing else is wrong" {
    base a
    poke a 0x808 0000000000000c00
    poke a 0x600 0000000000000800
    img 2 check a
    err 'ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=800 refcount=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=c00 refcount=1'
    cp a b
    img 0 check -r leaks a
    err 'Repairing OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=800 refcount=1' \
        'Repairing OFLAG_COPIED data cluster: l2_entry=c00 refcount=1'
    { repaired 0 2; sound; tail_of 8 6.25% 0.00% 6656; } | out
    cmp a sound
    # with a reserved bit elsewhere they stay
    poke b 0x8a0 0000000000000002
    img 2 check -r leaks b
    err 'ERROR found l2 entry with reserved bits set: 2' \
        'ERROR OFLAG_COPIED L2 cluster: l1_index=0 l1_entry=800 refcount=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=c00 refcount=1'
}

@test "qcow2 check: entries that point outside the file" {
    base a
    poke a 0x808 8000000010000000
    poke a 0x608 8000000020000000
    img 2 check a
    err 'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x10000000 size 0x200' \
        'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x20000000 size 0x200' \
        'Leaked cluster 6 refcount=1 reference=0' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000010000000 refcount=0' \
        'ERROR OFLAG_COPIED L2 cluster: l1_index=1 l1_entry=8000000020000000 refcount=0'
    { errors 4; leaks 1; tail_of 8 6.25% 25.00% 6656; } | out
    img 2 check -r all a
    { repaired 1 2; errors 2; tail_of 8 6.25% 25.00% 6656; } | out
}

@test "qcow2 check: dirty and corrupt marks are cleared when all is repaired" {
    base a
    poke a 72 0000000000000003
    img 0 check a
    [ "$(peek a 72 8)" = 0000000000000003 ]
    img 0 check -r all a
    { sound; tail_of 8 6.25% 0.00% 6656; } | out
    cmp a sound
    poke a 72 0000000000000002
    poke a 0x8a0 0000000000000002
    img 2 check -r all a
    [ "$(peek a 72 8)" = 0000000000000002 ]
}

@test "qcow2 check: damaged refcount structures" {
    base a
    poke a 0x208 0000000000000400
    img 2 check a
    err 'ERROR refcount block 1 refcount=2' 'ERROR cluster 2 refcount=1 reference=2'
    img 0 check -r all a
    same_as_raw a
    base a
    poke a 0x208 0000000000100000
    img 2 check -r leaks a
    err 'ERROR refcount block 1 is outside image'
    img 0 check -r all a
    err 'Repairing refcount block 1 is outside image' \
        'ERROR cluster 2048 refcount=0 reference=1' \
        'Rebuilding refcount structure' \
        'Repairing cluster 1 refcount=1 reference=0' \
        'Repairing cluster 2 refcount=1 reference=0' \
        'Repairing cluster 2048 refcount=1 reference=0'
    same_as_raw a
    base a
    poke a 0x208 4000000000000000
    img 0 check -r all a
    has "$ERR" '^ERROR could not resize image: File too large'
    same_as_raw a
}

@test "qcow2 check: a rebuild where qemu-img gives up" {
    beyond
    base a
    poke a 0x200 0000000000000401
    img 0 check -r all a
    err 'ERROR refcount table entry 0 has reserved bits set' \
        'Leaked cluster 2 refcount=1 reference=0' \
        'Rebuilding refcount structure' \
        'Repairing cluster 1 refcount=1 reference=0'
    { repaired 1 1; sound; tail_of 8 6.25% 0.00% 7680; } | out
    same_as_raw a
}

@test "qcow2 check: a width that cannot count the references" {
    base a refcount_bits=1
    poke a 0x808 8000000000000e00
    img 2 check a
    err 'ERROR: overflow cluster offset=0xe00' \
        'Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy if the image cannot be opened for writing' \
        'Leaked cluster 6 refcount=1 reference=0'
}

@test "qcow2 check: a snapshot table that is incomplete, too long, or has too much in it" {
    fixture snapshots.qcow2
    img 0 check snapshots.qcow2
    offset=0x$(peek snapshots.qcow2 64 8)
    cp snapshots.qcow2 a
    count=$((0x$(peek a 60 4)))
    poke a 60 "$(printf '%08x' $((count + 1)))"     # one that is all zeroes
    img 2 check a
    err "ERROR snapshot table entry $count is incomplete"
    img 2 check -r leaks a
    err "ERROR snapshot table entry $count is incomplete"
    img 0 check -r all a
    err "Repairing snapshot table entry $count is incomplete"
    img 0 check a
    err ''
    cp snapshots.qcow2 a
    poke a 60 00011170
    img 1 check a
    err 'qemu-img: ERROR snapshot table too large' \
        'You can force-remove all 4464 overhanging snapshots with qemu-img check -r all' \
        'qemu-img: Check failed: File too large'
    cp snapshots.qcow2 a
    poke a $((offset + 36)) 00000500
    img 1 check -r leaks a
    err 'qemu-img: ERROR failed to read the snapshot table: Too much extra metadata in snapshot table entry 0' \
        'You can force-remove this extra metadata with qemu-img check -r all' \
        'qemu-img: Check failed: File too large'
}

@test "qcow2 check: killed at any write of a repair, an image is no worse" {
    beyond
    need_strace
    base a
    poke a 0x40a 0000
    poke a 0x808 8000000000000e00
    poke a 0x600 0000000000000800
    cp a damaged
    local number=1
    while [ "$number" -lt 50 ]; do
        cp damaged a
        if strace -f -o /dev/null -e trace=pwrite64,fallocate,ftruncate \
            -e inject=pwrite64,fallocate,ftruncate:signal=KILL:when="$number" \
            "$IMG" check -r all a > "$OUT" 2> "$ERR"; then
            break
        fi
        same_sectors
        number=$((number + 1))
    done
    [ "$number" -gt 4 ]
    img 0 check a
}

# The guest sees in `a` what it sees in `damaged`, and no cluster of `a` is missing.
same_sectors() {
    img 0 compare a damaged
    qemu-img check a > "$OUT" 2> "$ERR" || [ $? -ne 1 ]
}

@test "qcow2 check: reserved bits and misaligned entries" {
    base a cluster_size=4k
    # header 0, table 1000, block 2000, L1 3000, L2 4000, data 5000
    poke a 0x4000 8200000000005200
    poke a 0x4008 0000000000006201
    poke a 0x4010 0000000000000100
    img 2 check a
    err 'ERROR found l2 entry with reserved bits set: 8200000000005200' \
        'ERROR offset=5200: Data cluster is not properly aligned; L2 entry corrupted.' \
        'ERROR offset=6200: Preallocated cluster is not properly aligned; L2 entry corrupted.' \
        'ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0x6200 size 0x1000' \
        'ERROR found l2 entry with reserved bits set: 100' \
        'ERROR cluster 6 refcount=0 reference=1'
    # what is only preallocated is dropped, the cluster still reads as zeroes
    img 2 check -r all a
    has "$ERR" '^Repairing offset=6200: Preallocated cluster is not properly aligned'
    [ "$(peek a 0x4008 8)" = 0000000000000001 ]
}
