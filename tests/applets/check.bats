#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-check: what it finds, counts and repairs, and its exit codes.

load ../helper

fixtures() {
    local name
    for name; do
        fixture "$name"
    done
}

@test "check: clean images" {
    img 0 create -q -f qcow2 a.qcow2 64M
    img 0 check a.qcow2
    out 'No errors were found on the image.' \
        'Image end offset: 262144'
    err ''
    img 0 check --output=json a.qcow2
    out <<'EOF'
{
    "image-end-offset": 262144,
    "total-clusters": 1024,
    "check-errors": 0,
    "filename": "a.qcow2",
    "format": "qcow2"
}
EOF
    err ''
    img 0 check -q a.qcow2
    silent
    fixtures v2.qcow2 v3.qcow2 zstd.qcow2 subclusters.qcow2 snapshots.qcow2 bitmaps.qcow2
    img 0 check v2.qcow2
    out 'No errors were found on the image.' \
        '4/256 = 1.56% allocated, 75.00% fragmented, 25.00% compressed clusters' \
        'Image end offset: 36864'
    err ''
    img 0 check v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
    img 0 check --output=json v3.qcow2
    out <<'EOF'
{
    "image-end-offset": 45056,
    "compressed-clusters": 1,
    "total-clusters": 256,
    "check-errors": 0,
    "allocated-clusters": 6,
    "filename": "v3.qcow2",
    "format": "qcow2",
    "fragmented-clusters": 2
}
EOF
    err ''
    img 0 check zstd.qcow2
    out 'No errors were found on the image.' \
        '3/256 = 1.17% allocated, 66.67% fragmented, 66.67% compressed clusters' \
        'Image end offset: 28672'
    err ''
    img 0 check subclusters.qcow2
    out 'No errors were found on the image.' \
        '2/64 = 3.12% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 114688'
    err ''
    img 0 check snapshots.qcow2
    out 'No errors were found on the image.' \
        '10/128 = 7.81% allocated, 20.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 13824'
    err ''
    img 0 check bitmaps.qcow2
    out 'No errors were found on the image.' \
        '2/256 = 0.78% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 61440'
    err ''
}

@test "check: raw has no check" {
    truncate -s 1M a.raw
    img 63 check a.raw
    out ''
    err 'qemu-img: This image format does not support checks'
    img 63 check --output=json a.raw
    out ''
    err 'qemu-img: This image format does not support checks'
    img 63 check -f raw -q a.raw
    out ''
    err 'qemu-img: This image format does not support checks'
}

@test "check: leaks, and their repair" {
    fixtures v3.qcow2
    truncate -s 100k v3.qcow2
    at=$((0x$(peek v3.qcow2 48 8)))
    block=$((0x$(peek v3.qcow2 $at 8)))
    poke v3.qcow2 $((block + 40)) 0001
    poke v3.qcow2 $((block + 42)) 0002
    img 3 check v3.qcow2
    out <<'EOF'

2 leaked clusters were found on the image.
This means waste of disk space, but no harm to data.
6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters
Image end offset: 90112
EOF
    err 'Leaked cluster 20 refcount=1 reference=0' \
        'Leaked cluster 21 refcount=2 reference=0'
    img 3 check --output=json v3.qcow2
    out <<'EOF'
{
    "image-end-offset": 90112,
    "compressed-clusters": 1,
    "total-clusters": 256,
    "check-errors": 0,
    "leaks": 2,
    "allocated-clusters": 6,
    "filename": "v3.qcow2",
    "format": "qcow2",
    "fragmented-clusters": 2
}
EOF
    err 'Leaked cluster 20 refcount=1 reference=0' \
        'Leaked cluster 21 refcount=2 reference=0'
    img 0 check -r leaks v3.qcow2
    out <<'EOF'
The following inconsistencies were found and repaired:

    2 leaked clusters
    0 corruptions

Double checking the fixed image now...
No errors were found on the image.
6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
Leaked cluster 20 refcount=1 reference=0
Leaked cluster 21 refcount=2 reference=0
Repairing cluster 20 refcount=1 reference=0
Repairing cluster 21 refcount=2 reference=0
EOF
    img 0 check v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
}

@test "check: references without a count are corruption" {
    fixtures v3.qcow2
    at=$((0x$(peek v3.qcow2 48 8)))
    block=$((0x$(peek v3.qcow2 $at 8)))
    poke v3.qcow2 $((block + 10)) 0000
    cp v3.qcow2 leaks.qcow2
    img 2 check v3.qcow2
    out <<'EOF'

2 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.
6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0'
    img 2 check --output=json v3.qcow2
    out <<'EOF'
{
    "image-end-offset": 45056,
    "compressed-clusters": 1,
    "total-clusters": 256,
    "corruptions": 2,
    "check-errors": 0,
    "allocated-clusters": 6,
    "filename": "v3.qcow2",
    "format": "qcow2",
    "fragmented-clusters": 2
}
EOF
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0'
    img 2 check -q v3.qcow2
    out ''
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0'
    img 1 check -r leaks leaks.qcow2
    out ''
    err 'ERROR cluster 5 refcount=0 reference=1' \
        'ERROR need to rebuild refcount structures' \
        'qemu-img: Check failed: Input/output error'
    img 0 check -r all v3.qcow2
    out <<'EOF'
The following inconsistencies were found and repaired:

    0 leaked clusters
    1 corruptions

Double checking the fixed image now...
No errors were found on the image.
6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters
Image end offset: 53248
EOF
    err <<'EOF'
ERROR cluster 5 refcount=0 reference=1
Rebuilding refcount structure
Repairing cluster 1 refcount=1 reference=0
Repairing cluster 2 refcount=1 reference=0
EOF
    img 0 check v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 53248'
    err ''
}

@test "check: an image that was not closed" {
    fixtures dirty.qcow2
    img 2 check dirty.qcow2
    out <<'EOF'

8 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.
4/256 = 1.56% allocated, 0.00% fragmented, 0.00% compressed clusters
Image end offset: 36864
EOF
    err <<'EOF'
ERROR cluster 5 refcount=0 reference=1
ERROR cluster 6 refcount=0 reference=1
ERROR cluster 7 refcount=0 reference=1
ERROR cluster 8 refcount=0 reference=1
ERROR OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=0
ERROR OFLAG_COPIED data cluster: l2_entry=8000000000006000 refcount=0
ERROR OFLAG_COPIED data cluster: l2_entry=8000000000007000 refcount=0
ERROR OFLAG_COPIED data cluster: l2_entry=8000000000008000 refcount=0
EOF
    img 0 check -r all dirty.qcow2
    out <<'EOF'
The following inconsistencies were found and repaired:

    0 leaked clusters
    4 corruptions

Double checking the fixed image now...
No errors were found on the image.
4/256 = 1.56% allocated, 0.00% fragmented, 0.00% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
ERROR cluster 5 refcount=0 reference=1
ERROR cluster 6 refcount=0 reference=1
ERROR cluster 7 refcount=0 reference=1
ERROR cluster 8 refcount=0 reference=1
Rebuilding refcount structure
Repairing cluster 1 refcount=1 reference=0
Repairing cluster 2 refcount=1 reference=0
EOF
    img 0 check dirty.qcow2
    out 'No errors were found on the image.' \
        '4/256 = 1.56% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 45056'
    err ''
    [ "$(peek dirty.qcow2 72 8)" = 0000000000000000 ]
}

@test "check: the corrupt bit is cleared by a repair" {
    fixtures v3.qcow2
    poke v3.qcow2 72 0000000000000002
    img 0 check v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
    img 0 check -r all v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
    [ "$(peek v3.qcow2 72 8)" = 0000000000000000 ]
}

@test "check: invalid L1 and L2 entries" {
    fixtures v3.qcow2
    cp v3.qcow2 l1.qcow2
    cp v3.qcow2 l2.qcow2
    l1=$((0x$(peek v3.qcow2 40 8)))
    l2=$((0x$(peek v3.qcow2 $l1 8) & 0x00fffffffffffe00))
    poke l1.qcow2 $l1 8000000000000200
    img 2 check l1.qcow2
    out <<'EOF'

6 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.

7 leaked clusters were found on the image.
This means waste of disk space, but no harm to data.
1/256 = 0.39% allocated, 0.00% fragmented, 0.00% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
ERROR l2_offset=200: Table is not cluster aligned; L1 entry corrupted
ERROR refcount block 0 refcount=2
ERROR cluster 0 refcount=1 reference=2
ERROR cluster 1 refcount=1 reference=2
ERROR cluster 2 refcount=1 reference=2
Leaked cluster 4 refcount=1 reference=0
Leaked cluster 5 refcount=1 reference=0
Leaked cluster 6 refcount=1 reference=0
Leaked cluster 7 refcount=1 reference=0
Leaked cluster 8 refcount=1 reference=0
Leaked cluster 9 refcount=1 reference=0
Leaked cluster 10 refcount=1 reference=0
ERROR OFLAG_COPIED data cluster: l2_entry=2000 refcount=1
EOF
    poke l2.qcow2 $l2 8000000000000200
    img 2 check l2.qcow2
    out <<'EOF'

3 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.

1 leaked clusters were found on the image.
This means waste of disk space, but no harm to data.
6/256 = 2.34% allocated, 50.00% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
ERROR offset=200: Data cluster is not properly aligned; L2 entry corrupted.
ERROR cluster 0 refcount=1 reference=2
ERROR cluster 1 refcount=1 reference=2
Leaked cluster 5 refcount=1 reference=0
EOF
    poke l2.qcow2 $l2 800000ffff000000
    img 2 check l2.qcow2
    out <<'EOF'

2 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.

1 leaked clusters were found on the image.
This means waste of disk space, but no harm to data.
6/256 = 2.34% allocated, 50.00% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0xffff000000 size 0x1000
Leaked cluster 5 refcount=1 reference=0
ERROR OFLAG_COPIED data cluster: l2_entry=800000ffff000000 refcount=0
EOF
    img 2 check -r all l2.qcow2
    out <<'EOF'
The following inconsistencies were found and repaired:

    1 leaked clusters
    1 corruptions

Double checking the fixed image now...

1 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.
6/256 = 2.34% allocated, 50.00% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0xffff000000 size 0x1000
Leaked cluster 5 refcount=1 reference=0
Repairing cluster 5 refcount=1 reference=0
Repairing OFLAG_COPIED data cluster: l2_entry=800000ffff000000 refcount=0
ERROR: counting reference for region exceeding the end of the file by one cluster or more: offset 0xffff000000 size 0x1000
EOF
}

@test "check: two entries for one cluster" {
    fixtures v3.qcow2
    l1=$((0x$(peek v3.qcow2 40 8)))
    l2=$((0x$(peek v3.qcow2 $l1 8) & 0x00fffffffffffe00))
    poke v3.qcow2 $((l2 + 8)) "$(peek v3.qcow2 $l2 8)"
    img 2 check v3.qcow2
    out <<'EOF'

1 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.

1 leaked clusters were found on the image.
This means waste of disk space, but no harm to data.
6/256 = 2.34% allocated, 66.67% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err 'ERROR cluster 5 refcount=1 reference=2' \
        'Leaked cluster 6 refcount=1 reference=0'
    img 0 check -r all v3.qcow2
    out <<'EOF'
The following inconsistencies were found and repaired:

    1 leaked clusters
    3 corruptions

Double checking the fixed image now...
No errors were found on the image.
6/256 = 2.34% allocated, 66.67% fragmented, 16.67% compressed clusters
Image end offset: 45056
EOF
    err <<'EOF'
ERROR cluster 5 refcount=1 reference=2
Leaked cluster 6 refcount=1 reference=0
Repairing cluster 5 refcount=1 reference=2
Repairing cluster 6 refcount=1 reference=0
Repairing OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=2
Repairing OFLAG_COPIED data cluster: l2_entry=8000000000005000 refcount=2
EOF
    img 0 check v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 66.67% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
}

@test "check: -r with valid and invalid arguments" {
    fixtures v3.qcow2
    img 1 check -r some v3.qcow2
    out ''
    err "qemu-img: --repair (-r) expects 'leaks' or 'all' not 'some'" \
        "Try 'qemu-img check --help' for more info"
    img 0 check -r leaks v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
    img 0 check -r all v3.qcow2
    out 'No errors were found on the image.' \
        '6/256 = 2.34% allocated, 33.33% fragmented, 16.67% compressed clusters' \
        'Image end offset: 45056'
    err ''
    img 1 check -r all -U v3.qcow2
    out ''
    err "qemu-img: Could not open 'v3.qcow2': force-share=on can only be used with read-only images"
    # What is wrong below comes first.
    img 1 check -r all -U --image-opts v3.qcow2
    err "qemu-img: Could not open 'v3.qcow2': Cannot find device='v3.qcow2' nor node-name='v3.qcow2'"
    img 1 check -r
    out ''
    err "qemu-img check: option requires an argument -- 'r'" \
        "Try 'qemu-img check --help' for more info"
}

@test "check: counts that cannot be read are errors of the check itself" {
    img 0 create -q -f qcow2 a.qcow2 64k
    poke a.qcow2 65542 02
    cp a.qcow2 b.qcow2
    img 1 check a.qcow2
    out <<'EOF'

1 errors were found on the image.
Data may be corrupted, or further writes to the image may corrupt it.

4 internal errors have occurred during the check.
Image end offset: 65536
EOF
    err <<'EOF'
ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted
qcow2: Image is corrupt: Refblock offset 0x20200 unaligned (reftable index: 0); further non-fatal corruption events will be suppressed
Can't get refcount for cluster 0: Input/output error
Can't get refcount for cluster 1: Input/output error
Can't get refcount for cluster 2: Input/output error
Can't get refcount for cluster 3: Input/output error
qemu-img: Check failed
EOF
    img 1 check -r leaks b.qcow2
    out ''
    err <<'EOF'
ERROR refcount block 0 is not cluster aligned; refcount table entry corrupted
qcow2: Marking image as corrupt: Refblock offset 0x20200 unaligned (reftable index: 0); further corruption events will be suppressed
Can't get refcount for cluster 0: Input/output error
Can't get refcount for cluster 1: Input/output error
Can't get refcount for cluster 2: Input/output error
Can't get refcount for cluster 3: Input/output error
ERROR need to rebuild refcount structures
qemu-img: Check failed: Input/output error
EOF
    [ "$(peek b.qcow2 72 8)" = 0000000000000002 ]
}

@test "check: a repair clears unknown autoclear bits" {
    fixtures bitmaps.qcow2
    cp bitmaps.qcow2 stale.qcow2
    poke bitmaps.qcow2 88 0000010000000005
    img 0 check -q -r leaks bitmaps.qcow2
    silent
    [ "$(peek bitmaps.qcow2 88 8)" = 0000000000000001 ]
    poke stale.qcow2 95 00
    img 0 check -q -r leaks stale.qcow2
    has "$ERR" 'modified this file, so all bitmaps are now considered inconsistent'
    img 0 check -q stale.qcow2
    silent
}

@test "check: a repair with an unknown autoclear bit keeps the snapshots" {
    beyond
    fixtures snapshots.qcow2
    count=$(peek snapshots.qcow2 60 4)
    [ "$count" != 00000000 ]
    poke snapshots.qcow2 94 80
    img 0 check -q -r all snapshots.qcow2
    silent
    [ "$(peek snapshots.qcow2 60 4)" = "$count" ]
    [ "$(peek snapshots.qcow2 88 8)" = 0000000000000000 ]
}

# Where the table of the first bitmap of bitmaps.qcow2 lies: the first field of the directory.
bitmap_table() {
    echo $((0x$(peek bitmaps.qcow2 $((0x$(peek bitmaps.qcow2 136 8))) 8)))
}

@test "check: bits of a bitmap that are lost count as set" {
    beyond
    fixtures bitmaps.qcow2
    table=$(bitmap_table)
    poke bitmaps.qcow2 "$table" 0000000000800000
    img 2 check -q bitmaps.qcow2
    has "$ERR" 'beyond|exceeding the end of the file by one cluster or more: offset 0x800000 size 0x1000'
    img 0 check -q -r all bitmaps.qcow2
    has "$ERR" "Repairing bitmap 'changes' table entry 0: its bits are lost, all of them are set"
    [ "$(peek bitmaps.qcow2 "$table" 8)" = 0000000000000001 ]
    img 0 check -q bitmaps.qcow2
    silent
    [ -z "$PEER" ] || cmd 0 "$PEER" check -q bitmaps.qcow2
}

@test "check: a bitmap whose table is lost gets a new one" {
    beyond
    fixtures bitmaps.qcow2
    poke bitmaps.qcow2 $((0x$(peek bitmaps.qcow2 136 8))) 0000000000800000
    img 2 check -q bitmaps.qcow2
    img 0 check -q -r all bitmaps.qcow2
    has "$ERR" "Repairing bitmap 'changes': its table is lost, all its bits are set"
    [ "$(peek bitmaps.qcow2 "$(bitmap_table)" 8)" = 0000000000000001 ]
    img 0 check -q bitmaps.qcow2
    silent
    [ -z "$PEER" ] || cmd 0 "$PEER" check -q bitmaps.qcow2
}

@test "check: a snapshot table beyond the limits is truncated" {
    img 0 create -q -f qcow2 a.qcow2 1M
    truncate -s 327680 a.qcow2
    # one entry at 256 KiB, with 2 GiB of extra data
    poke a.qcow2 60 000000010000000000040000
    poke a.qcow2 $((262144 + 36)) 80000000
    img 0 check -q -r all a.qcow2
    err 'Discarding too much extra metadata in snapshot table entry 0 (2147483648 > 1024)' \
        'Discarding 1 overhanging snapshots (snapshot table is too big)'
    [ "$(peek a.qcow2 60 4)" = 00000000 ]
}

@test "check: a snapshot table that would grow beyond the limits is not rewritten" {
    # 512 entries of 128 KiB without extra data: 64 MiB, to which the repair would have to add.
    img 0 create -q -f qcow2 a.qcow2 1M
    head -c 131072 /dev/zero | tr '\0' x > table
    poke table 0 "00000000001000000000 0000 ffff ffd9 $(printf '%048d' 0)"
    for _ in 1 2 3 4 5 6 7 8 9; do
        cat table table > twice
        mv twice table
    done
    dd if=table of=a.qcow2 bs=1M seek=1 conv=notrunc status=none
    poke a.qcow2 60 "00000200 0000000000100000"
    img 1 check -r all a.qcow2
    tail -n 2 "$ERR" > last
    same last 'ERROR failed to update snapshot table: File too large' 'qemu-img: Check failed: File too large'
    [ "$(peek a.qcow2 60 12)" = 000002000000000000100000 ]
}

@test "check: a repair under a file size limit" {
    img 0 create -q -f qcow2 a.qcow2 64k
    poke a.qcow2 65544 0000000040000000
    cmd 0 bash -c 'ulimit -f 4096; exec -a qemu-img "$@"' - "$IMG" check -q -r all a.qcow2
    has "$ERR" 'ERROR could not resize image: File too large'
    img 0 check -q a.qcow2
    silent
}

@test "check: what it refuses" {
    img 1 check
    out ''
    err 'qemu-img: Expecting one image file name' \
        "Try 'qemu-img check --help' for more info"
    img 1 check a b
    out ''
    err 'qemu-img: Expecting one image file name' \
        "Try 'qemu-img check --help' for more info"
    img 1 check none
    out ''
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    img 1 check --output=xml none
    out ''
    err "qemu-img: --output expects 'human' or 'json' not 'xml'" \
        "Try 'qemu-img check --help' for more info"
    img 1 check --nosuch none
    out ''
    err "qemu-img check: unrecognized option '--nosuch'" \
        "Try 'qemu-img check --help' for more info"
    img 1 check -T sometimes none
    out ''
    err 'qemu-img: Invalid source cache option: sometimes'
    truncate -s 1M a.raw
    img 1 check -f qcow2 a.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    mkdir dir
    img 1 check dir
    out ''
    err "qemu-img: Could not open 'dir': 'file' driver requires 'dir' to be a regular file"
}

@test "check: a missing backing file is an error" {
    fixtures top.qcow2
    img 1 check top.qcow2
    out ''
    err "qemu-img: Could not open 'top.qcow2': Could not open backing file: Could not open 'mid.qcow2': No such file or directory"
}

@test "check: --help names every option" {
    img 0 check --help
    for option in --format --image-opts --repair --cache --quiet --force-share --output --object; do
        has "$OUT" "$option"
    done
    err ''
}
