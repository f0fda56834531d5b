#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Images that lie: one clear line and exit code 1, within the limits that callers set, and never a write.

load ../helper

# hostile COMMAND...: ends with exit code 1 to 3 within the limits, a message
# on standard error; the image, x.qcow2, stays as it is
hostile() {
    local got=0 before
    before=$(sum x.qcow2)
    case $IMG in
        */asan/*) set -- "$IMG" "$@" ;;
        *) set -- prlimit --as=1073741824 --cpu=2 "$IMG" "$@" ;;
    esac
    "$@" > "$OUT" 2> "$ERR" || got=$?
    if [ "$got" -lt 1 ] || [ "$got" -gt 63 ] || ! grep -q . "$ERR"; then
        echo "exit code $got: $*"
        show
        return 1
    fi
    [ "$(sum x.qcow2)" = "$before" ]
}

# bounded COMMAND...: any exit code, but in time, without a crash and without a write
bounded() {
    local got=0 before
    before=$(sum x.qcow2)
    case $IMG in
        */asan/*) set -- "$IMG" "$@" ;;
        *) set -- prlimit --as=1073741824 --cpu=10 "$IMG" "$@" ;;
    esac
    "$@" > "$OUT" 2> "$ERR" || got=$?
    [ "$got" -lt 64 ] || { echo "exit code $got: $*"; show; return 1; }
    [ "$(sum x.qcow2)" = "$before" ]
}

prlimit_repair() {
    case $IMG in
        */asan/*) "$IMG" check -r all "$1" ;;
        *) prlimit --as=1073741824 --cpu=10 "$IMG" check -r all "$1" ;;
    esac
}

sound() {
    fixture v3.qcow2
    cp v3.qcow2 x.qcow2
}

@test "hostile: cluster_bits" {
    for bits in 00000000 00000008 00000016 0000001f 0000003f 7fffffff ffffffff; do
    sound
    poke x.qcow2 20 $bits
    hostile info -f qcow2 x.qcow2
    hostile map -f qcow2 x.qcow2
    done
}

@test "hostile: an L1 table of 2^60 entries" {
    for size in 01000000 10000000 7fffffff ffffffff; do
    sound
    poke x.qcow2 36 $size
    hostile info x.qcow2
    hostile check x.qcow2
    done
    sound
    poke x.qcow2 24 1000000000000000
    poke x.qcow2 36 ffffffff
    hostile info x.qcow2
}

@test "hostile: virtual sizes" {
    for size in ffffffffffffffff 8000000000000000 7fffffffffffffff 0100000000000000; do
    sound
    poke x.qcow2 24 $size
    hostile info x.qcow2
    hostile convert -O raw x.qcow2 out.raw
    done
}

@test "hostile: L1 table behind the end, unaligned, over 2^63" {
    for at in 8000000000000000 ffffffffffff0000 0000000000000201; do
    sound
    poke x.qcow2 40 $at
    hostile info x.qcow2
    done
    sound
    poke x.qcow2 40 0000100000000000
    bounded info x.qcow2
    bounded check x.qcow2
}

@test "hostile: the refcount table" {
    for size in 00000000 00100000 7fffffff ffffffff; do
    sound
    poke x.qcow2 56 $size
    hostile info x.qcow2
    done
    for at in 8000000000000000 ffffffffffff0000 0000000000000201; do
    sound
    poke x.qcow2 48 $at
    hostile info x.qcow2
    done
    sound
    poke x.qcow2 48 0000000000000000
    bounded check x.qcow2
    sound
    table=$((0x$(peek x.qcow2 48 8)))
    for entry in 0000000000000001 ffffffffffffffff 0000000000001000 7ffffffffffff000; do
    sound
    poke x.qcow2 $table $entry
    bounded check x.qcow2
    bounded check --output=json x.qcow2
    done
}

@test "hostile: versions, header lengths, refcount orders" {
    for version in 00000000 00000001 00000004 ffffffff; do
    sound
    poke x.qcow2 4 $version
    hostile info -f qcow2 x.qcow2
    done
    for length in 00000000 00000010 00000067 0000ffff ffffffff; do
    sound
    poke x.qcow2 100 $length
    hostile info x.qcow2
    done
    for order in 00000007 0000003f ffffffff; do
    sound
    poke x.qcow2 96 $order
    hostile info x.qcow2
    done
}

@test "hostile: unknown incompatible features are refused by name" {
    fixture v3.qcow2
    poke v3.qcow2 72 0000000000000020
    img 1 info v3.qcow2
    out ''
    err "qemu-img: Could not open 'v3.qcow2': Unsupported qcow2 feature(s): Unknown incompatible feature: 20"
    img 1 check v3.qcow2
    out ''
    err "qemu-img: Could not open 'v3.qcow2': Unsupported qcow2 feature(s): Unknown incompatible feature: 20"
    img 1 convert -O raw v3.qcow2 x.raw
    out ''
    err "qemu-img: Could not open 'v3.qcow2': Unsupported qcow2 feature(s): Unknown incompatible feature: 20"
}

@test "hostile: header extensions that run out of the header" {
    sound
    poke x.qcow2 112 e2792aca
    poke x.qcow2 116 ffffffff
    hostile info x.qcow2
    sound
    poke x.qcow2 112 e2792aca
    poke x.qcow2 116 7fffffff
    hostile info x.qcow2
}

@test "hostile: backing file names" {
    sound
    poke x.qcow2 8 0000000000000070
    poke x.qcow2 16 ffffffff
    hostile info x.qcow2
    sound
    poke x.qcow2 8 ffffffffffffffff
    poke x.qcow2 16 00000010
    hostile info x.qcow2
    sound
    poke x.qcow2 8 0000000000000200
    poke x.qcow2 16 00000400
    hostile info x.qcow2
}

@test "hostile: snapshots" {
    for count in 00010001 ffffffff; do
    sound
    poke x.qcow2 60 $count
    hostile info x.qcow2
    done
    fixture snapshots.qcow2
    cp snapshots.qcow2 x.qcow2
    poke x.qcow2 64 ffffffffffffff00
    hostile info x.qcow2
    cp snapshots.qcow2 x.qcow2
    table=$((0x$(peek x.qcow2 64 8)))
    poke x.qcow2 $table ffffffffffffffff
    bounded info x.qcow2
    poke x.qcow2 $((table + 8)) 7fffffff
    bounded info x.qcow2
    bounded convert -l first -O raw x.qcow2 out.raw
    bounded check x.qcow2
    cp snapshots.qcow2 x.qcow2
    poke x.qcow2 $((table + 36)) 7fffffff
    bounded info x.qcow2
}

@test "hostile: bitmaps" {
    fixture bitmaps.qcow2
    for at in 0 4 8 12 16 20 24 28 32 40; do
    for value in ffffffff 7fffffff 00000000; do
    cp bitmaps.qcow2 x.qcow2
    extension=$(grep -a -o -b -P '\x23\x85\x28\x75' x.qcow2 | head -n 1 | cut -d: -f1)
    poke x.qcow2 $((extension + at)) $value
    bounded info -f qcow2 x.qcow2
    bounded check -f qcow2 x.qcow2
    done
    done
}

@test "hostile: L2 entries" {
    for entry in ffffffffffffffff 80ffffffffffff00 4000000000000000 7fffffffffffffff 00fffffffffff000 8000000000000001; do
    sound
    l1=$((0x$(peek x.qcow2 40 8)))
    l2=$((0x$(peek x.qcow2 $l1 8) & 0x00fffffffffffe00))
    poke x.qcow2 $l2 $entry
    bounded info x.qcow2
    bounded map --output=json x.qcow2
    bounded check x.qcow2
    bounded compare x.qcow2 x.qcow2
    bounded convert -O raw x.qcow2 out.raw
    done
}

@test "hostile: an L2 table that is the L1 table, the header, the refcounts" {
    sound
    l1=$(peek x.qcow2 40 8)
    counts=$(peek x.qcow2 48 8)
    for at in "$l1" "$counts" 0000000000000000; do
    sound
    poke x.qcow2 "$((0x$l1))" "80${at#??}"
    bounded map --output=json x.qcow2
    bounded check x.qcow2
    bounded convert -O raw x.qcow2 out.raw
    bounded convert -O qcow2 x.qcow2 out.qcow2
    done
}

@test "hostile: repairs finish" {
    sound
    l1=$((0x$(peek x.qcow2 40 8)))
    counts=$((0x$(peek x.qcow2 48 8)))
    for at in "$l1" "$counts" $((counts + 8)) 4096 8192 12288 16384; do
    for entry in ffffffffffffffff 0000000000001000 8000000000002000 0000010000000000; do
    sound
    poke x.qcow2 "$at" $entry
    r=0
    prlimit_repair x.qcow2 > "$OUT" 2> "$ERR" || r=$?
    [ $r -lt 64 ] || { echo "$at $entry: $r"; show; false; }
    done
    done
}

@test "hostile: truncated anywhere" {
    fixture v3.qcow2
    for length in 0 4 8 71 72 103 104 111 112 200 511 512 1024 4095 4096 5000 8192 12288 16384 20480; do
    head -c $length v3.qcow2 > x.qcow2
    bounded info -f qcow2 x.qcow2
    bounded check -f qcow2 x.qcow2
    bounded map -f qcow2 --output=json x.qcow2
    bounded convert -f qcow2 -O raw x.qcow2 out.raw
    done
}

@test "hostile: random bytes in the metadata" {
    fixture v3.qcow2
    RANDOM=12345
    for _ in {1..30}; do
    cp v3.qcow2 x.qcow2
    for _ in 1 2 3 4 5 6; do
    poke x.qcow2 $((8 + RANDOM % 17000)) "$(printf '%02x' $((RANDOM % 256)))"
    done
    bounded info -f qcow2 x.qcow2
    bounded check -f qcow2 x.qcow2
    bounded convert -f qcow2 -O qcow2 x.qcow2 out.qcow2
    done
}

@test "hostile: a loop of backing files" {
    beyond
    img 0 create -q -f qcow2 -u -b b.qcow2 -F qcow2 a.qcow2 1M
    img 0 create -q -f qcow2 -u -b a.qcow2 -F qcow2 b.qcow2 1M
    cp a.qcow2 x.qcow2
    hostile convert -O raw x.qcow2 out.raw
    hostile map a.qcow2
    hostile compare a.qcow2 a.qcow2
    hostile info --backing-chain a.qcow2
    img 0 info a.qcow2
}

@test "hostile: a long chain of backing files" {
    no_asan
    img 0 create -q -f qcow2 1.qcow2 1M
    for n in $(seq 2 200); do
    qemu-img create -q -f qcow2 -u -b $((n - 1)).qcow2 -F qcow2 "$n.qcow2" 1M
    done
    img 0 convert -O raw 200.qcow2 x.raw
    img 0 info --backing-chain 200.qcow2
}

@test "hostile: deep json names" {
    beyond
    name=$(head -c 100000 /dev/zero | tr '\0' '[')
    cmd 1 "$IMG" info "json:$name"
    has "$ERR" '^qemu-img: '
    name=$(head -c 100000 /dev/zero | tr '\0' '{')
    cmd 1 "$IMG" info "json:$name"
    opts=$(head -c 50000 /dev/zero | sed 's/\x0/a./g')
    cmd 1 "$IMG" info --image-opts "driver=raw,${opts}b=1"
}

# survives COMMAND...: any exit code of its own, within the limits
survives() {
    local got=0
    case $IMG in
        */asan/*) set -- "$IMG" "$@" ;;
        *) set -- prlimit --as=1073741824 --cpu=10 "$IMG" "$@" ;;
    esac
    "$@" > "$OUT" 2> "$ERR" || got=$?
    [ "$got" -lt 64 ] || { echo "exit code $got: $*"; show; return 1; }
}

@test "hostile: wrong snapshot tables and bitmaps, for the commands that use them" {
    beyond
    fixture snapshots.qcow2
    table=$((0x$(peek snapshots.qcow2 64 8)))
    for at in 0 8 12 14 36; do
    for value in ffffffff 7fffffff 00000000; do
    cp snapshots.qcow2 x.qcow2
    poke x.qcow2 $((table + at)) $value
    bounded snapshot -l x.qcow2
    bounded digest -l first x.qcow2
    survives snapshot -c new x.qcow2
    survives snapshot -a 1 x.qcow2
    survives snapshot -d 1 x.qcow2
    done
    done
    fixture bitmaps.qcow2
    extension=$(grep -a -o -b -P '\x23\x85\x28\x75' bitmaps.qcow2 | head -n 1 | cut -d: -f1)
    directory=$((0x$(peek bitmaps.qcow2 $((extension + 24)) 8)))
    for at in $((extension + 8)) $((extension + 16)) $((extension + 24)) $directory $((directory + 8)) \
        $((directory + 16)) $((directory + 20)); do
    cp bitmaps.qcow2 x.qcow2
    poke x.qcow2 "$at" 7fffffff
    bounded measure -O qcow2 x.qcow2
    bounded convert --bitmaps -O qcow2 x.qcow2 out.qcow2
    survives bitmap --add x.qcow2 new
    survives bitmap --remove-all x.qcow2
    survives resize x.qcow2 +1M
    done
}

@test "hostile: wrong tables, for the commands that change an image" {
    beyond
    fixture v3.qcow2
    pattern base.raw 55 0 1M
    l1=$((0x$(peek v3.qcow2 40 8)))
    counts=$((0x$(peek v3.qcow2 48 8)))
    for at in $l1 $counts $(((0x$(peek v3.qcow2 $l1 8)) & 0x00fffffffffffe00)); do
    for entry in ffffffffffffffff 8000000000000000 0000000000000200 8000000000001000 4000000000000000; do
    cp v3.qcow2 x.qcow2
    poke x.qcow2 "$at" $entry
    for command in 'resize --shrink x.qcow2 64k' 'amend -o compat=0.10 x.qcow2' 'amend -o refcount_bits=64 x.qcow2' \
        'rebase -b base.raw -F raw x.qcow2' 'snapshot -c new x.qcow2' 'bench -w -c 20 x.qcow2'; do
    # shellcheck disable=SC2086
    survives $command
    done
    done
    done
}

# repeated WHAT [BYTES]: an image of 8 MiB whose refcount table names one block, or two, all over; WHAT is counted there
repeated() {
    python3 - "$1" "${2:-0}" << 'END'
import struct, sys
what, length = sys.argv[1], int(sys.argv[2])
cluster, table = 65536, 128
header = bytearray(cluster)
struct.pack_into(">IIQIIQIIQQIIQ", header, 0, 0x514649fb, 3, 0, 0, 16, 1 << 30, 0, 2, cluster, 3 * cluster, table, 0, 0)
struct.pack_into(">QQQII", header, 72, 0, 0, 0, 4, 104)
counts = {"all": b"\0\1\0\1", "half": b"\0\1\0\0", "both": b"\0\1\0\1", "none": b"\0\0\0\0"}[what] * (cluster // 4)
counts = b"\0\1" * 512 + counts[1024:]
second = 3 + table if what == "both" else 2
with open("x", "wb") as file:
    file.write(header + bytes(cluster) + counts)
    file.write(struct.pack(">QQ", 2 * cluster, second * cluster) * (table * cluster // 16))
    if what == "both":
        file.write(counts)
    file.truncate(max(length, (4 + table) * cluster))
END
}

@test "hostile: a refcount block that is named a million times is damage, and found at once" {
    beyond
    for what in all both half; do
        for command in 'snapshot -c a' 'bench -w -c 1 -s 2M' 'resize --preallocation=falloc' 'amend -o refcount_bits=64'; do
            # (every other cluster is free: only what needs a run of them searches)
            [ "$what" != half ] || [ "${command%% *}" = bench ] || continue
            repeated $what
            # shellcheck disable=SC2086
            case $command in
                resize*) img 1 $command x 2G ;;
                *) img 1 $command x ;;
            esac
            has "$ERR" '^qcow2: Marking image as corrupt: Refblock at offset 0x[0-9a-f]+ is named more than once; '
            has "$ERR" '^qemu-img: .*: Input/output error$'
        done
    done
    # counts of nothing, in a file that is long
    repeated none 8000000000000 || skip 'no such long files'
    img 0 map x
}

# A write makes the full refcount table grow, which frees the old one: the guest's L2 table.
@test "hostile: an L2 table in the refcount table, which moves" {
    beyond
    python3 - << 'END'
import struct
CLUSTER, BLOCKS, L1 = 512, 64, 66           # table in cluster 1, its blocks from cluster 2 on, all full of ones
def be(form, *values): return struct.pack('>' + form, *values)
with open('x.qcow2', 'wb') as file:
    file.write(be('4sIQIIQIIQQIIQQQQII', b'QFI\xfb', 3, 0, 0, 9, 32768, 0, 1, L1 * CLUSTER, CLUSTER, 1,
                  0, 0, 0, 0, 0, 4, 104))
    file.seek(CLUSTER)
    file.write(b''.join(be('Q', (2 + i) * CLUSTER) for i in range(BLOCKS)))
    file.write(be('H', 1) * 256 * BLOCKS)
    file.write(be('Q', CLUSTER | 1 << 63))
    file.truncate(BLOCKS * 256 * CLUSTER)
END
    cmd 0 qemu-img bench -w -f qcow2 -c 1 -s 512 --pattern=7 x.qcow2
}
