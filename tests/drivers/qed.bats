#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qed: the header, tables, the need-check flag, check and repair, zero clusters, backing files; in qemu-img's words.

load ../helper

# fresh: an empty image with clusters of 4 KiB and tables of 8 KiB
fresh() {
    rm -f x
    img 0 create -q -f qed -o cluster_size=4k,table_size=2 x 16M
}

# crafted ENTRY...: its L2 table at cluster 3 has these entries, in clusters, and the file has 9 clusters
crafted() {
    fresh
    poke x 4096 "$(le 8 $((3 * 4096)))"
    local at=$((3 * 4096)) entry
    for entry; do
        poke x $at "$(le 8 $((entry * 4096)))"
        at=$((at + 8))
    done
    truncate -s 36k x
}

# features: the three fields of the header, as hex digits
features() {
    for at in 16 24 32; do peek x $at 8; echo; done
}

# checked RC LINE...: what check says
checked() {
    img "$1" check -f qed x
    out "${@:2}"
    err ''
}

LEAK='This means waste of disk space, but no harm to data.'
DATA='Data may be corrupted, or further writes to the image may corrupt it.'

# ---- creating

@test "qed: options of creation" {
    img 0 create -f qed -o help
    out 'Supported qed options:' '  backing_file=<str>     - File name of a base image' \
        '  backing_fmt=<str>      - Image format of the base image' \
        '  cluster_size=<size>    - Cluster size (in bytes)' '  size=<size>            - Virtual disk size' \
        '  table_size=<size>      - L1/L2 table size (in clusters)' '' \
        'The protocol level may support further options.' \
        'Specify the target filename to include those options.'
    img 0 create -f qed -o table_size=2 x 3000001
    out "Formatting 'x', fmt=qed size=3000001 cluster_size=65536 table_size=2"
    [ "$(peek x 0 16) $(peek x 40 16)" = "51454400000001000200000001000000 $(le 8 65536)$(le 8 3000320)" ]
    [ "$(stat -c %s x)" -eq 196608 ]
    for size in 2k 5000 128M; do
        img 1 create -q -f qed -o cluster_size=$size x 1M
        err 'qemu-img: x: QED cluster size must be within range [4096, 67108864] and power of 2'
    done
    for size in 0 3 32; do
        img 1 create -q -f qed -o table_size=$size x 1M
        err 'qemu-img: x: QED table size must be within range [1, 16] and power of 2'
    done
    img 1 create -q -f qed x 65T
    err 'qemu-img: x: QED image size must be a non-zero multiple of cluster size and less than 70368744177664 bytes'
    img 1 create -q -f qed -o backing_fmt=none x 1M
    err "qemu-img: x: Parameter 'backing-fmt' does not accept value 'none'"
}

@test "qed: a name that does not fit into the header" {
    beyond
    img 1 create -u -q -f qed -o cluster_size=4k -F raw -b "$(printf '%04033d' 0)" x 1M
    err 'qemu-img: x: QED backing filename offset is invalid'
    [ ! -e x ]
    img 0 create -u -q -f qed -o cluster_size=4k -F raw -b "$(printf '%04032d' 0)" x 1M
    img 0 info x
}

@test "qed: a raw backing file is never probed" {
    img 0 create -q -f qcow2 inner 1M
    img 0 create -q -f qed -b inner -F raw x
    [ "$(peek x 16 1)" = 05 ]
    img 0 info x
    has "$OUT" '^backing file format: raw$'
    img 0 create -q -f qed -b inner -F qcow2 x
    [ "$(peek x 16 1)" = 01 ]
    img 0 info x
    has "$OUT" '^backing file: inner$'
    [ "$(grep -c 'backing file format' "$OUT")" -eq 0 ]
}

# ---- the header

@test "qed: invalid header fields" {
    fresh; poke x 0 51454401; img 1 info -f qed x; err "qemu-img: Could not open 'x': Image not in QED format"
    fresh; poke x 16 08; refused 'Unsupported QED features: 8'
    fresh; poke x 23 80; refused 'Unsupported QED features: 8000000000000000'
    fresh; poke x 4 00080000; refused 'QED cluster size is invalid'
    fresh; poke x 4 b80b0000; refused 'QED cluster size is invalid'
    fresh; poke x 8 03; refused 'QED table size is invalid'
    fresh; poke x 8 20; refused 'QED table size is invalid'
    fresh; poke x 48 01; refused 'QED image size is invalid'
    fresh; poke x 48 "$(le 8 $(((4 << 30) + 512)))"; refused 'QED image size is invalid'
    for at in 0 512 $((2 * 4096)) $((1 << 62)); do
        fresh; poke x 40 "$(le 8 "$at")"; refused 'QED table offset is invalid'
    done
    fresh; poke x 12 02; refused 'QED table offset is invalid'
    fresh; poke x 8 01; refused 'QED table offset is invalid'
    fresh; poke x 16 01; poke x 56 "ff0f0000 02000000"; refused 'QED backing filename offset is invalid'
    fresh; truncate -s 8191 x; refused 'QED table offset is invalid'
    fresh; truncate -s 11777 x; img 0 info x
}

@test "qed: a writer clears autoclear features and keeps compatible ones" {
    fresh; poke x 24 05; poke x 32 07
    img 0 map x
    [ "$(features | tr '\n' ' ')" = '0000000000000000 0500000000000000 0700000000000000 ' ]
    img 1 rebase -u -F raw -b other x
    err "qemu-img: Could not change the backing file to 'other': Operation not supported"
    [ "$(features | tr '\n' ' ')" = '0000000000000000 0500000000000000 0000000000000000 ' ]
}

@test "qed: info has no format-specific information" {
    fresh
    img 0 info --output=json x
    has "$OUT" '^    "cluster-size": 4096,$'
    has "$OUT" '^    "dirty-flag": false$'
    poke x 16 02
    img 0 info --output=json x
    has "$OUT" '^    "dirty-flag": false$'
}

# ---- the need-check flag

@test "qed: the flag stands while clusters are allocated, and goes when the image is closed" {
    beyond
    fresh
    cat > rules <<'END'
[inject-error]
event = "l2_update"
errno = "28"
END
    truncate -s 1M raw; pattern raw 11 0 64k
    img 1 convert -n -f raw --target-image-opts raw driver=qed,file.driver=blkdebug,file.config=rules,file.image.filename=x
    [ "$(peek x 16 1)" = 02 ]
    img 0 convert -n -f raw -O qed raw x
    [ "$(peek x 16 1)" = 00 ]
    img 0 compare -f raw -F qed raw x
}

@test "qed: an image that needs a check is repaired by the next writer, not by a reader" {
    crafted 5 60
    poke x 16 02
    img 1 map x
    err 'qemu-img: Could not read file metadata: image is truncated: needs 249856 bytes, has 36864'
    [ "$(peek x 16 1)" = 02 ]
    img 0 resize -q x +1M
    [ "$(peek x 16 1)" = 00 ]
    [ "$(peek x $((3 * 4096)) 16)" = "$(le 8 $((5 * 4096)))$(le 8 0)" ]
    img 0 map x
}

# ---- check

@test "qed: check of a sound image" {
    fresh
    checked 0 'No errors were found on the image.'
    crafted 5 6 7 8
    checked 0 'No errors were found on the image.' \
        '4/4096 = 0.10% allocated, 0.00% fragmented, 0.00% compressed clusters'
    img 0 check --output=json x
    out <<'END'
{
    "total-clusters": 4096,
    "check-errors": 0,
    "allocated-clusters": 4,
    "filename": "x",
    "format": "qed"
}
END
    crafted 5 7 6 8
    checked 0 'No errors were found on the image.' \
        '4/4096 = 0.10% allocated, 75.00% fragmented, 0.00% compressed clusters'
}

@test "qed: check finds clusters that are outside, inside the header, used twice, lost" {
    crafted 5 90 7
    checked 2 '' '1 errors were found on the image.' "$DATA" '' '2 leaked clusters were found on the image.' "$LEAK" \
        '3/4096 = 0.07% allocated, 66.67% fragmented, 0.00% compressed clusters'
    crafted 5 5 7 8
    checked 2 '' '1 errors were found on the image.' "$DATA" '' '1 leaked clusters were found on the image.' "$LEAK" \
        '4/4096 = 0.10% allocated, 50.00% fragmented, 0.00% compressed clusters'
    crafted 1 6 7 8
    checked 2 '' '1 errors were found on the image.' "$DATA" '' '1 leaked clusters were found on the image.' "$LEAK" \
        '4/4096 = 0.10% allocated, 25.00% fragmented, 0.00% compressed clusters'
    crafted 5 6 7 8; poke x 4104 "$(le 8 $((8 * 4096)))"
    checked 2 '' '1 errors were found on the image.' "$DATA" \
        '4/4096 = 0.10% allocated, 0.00% fragmented, 0.00% compressed clusters'
    crafted 5 6 7 8; poke x 4104 "$(le 8 $((3 * 4096)))"
    checked 2 '' '2 errors were found on the image.' "$DATA" \
        '4/4096 = 0.10% allocated, 0.00% fragmented, 0.00% compressed clusters'
    crafted 5 6; poke x $((3 * 4096 + 16)) "$(le 8 $((7 * 4096 + 512)))"
    checked 2 '' '1 errors were found on the image.' "$DATA" '' '2 leaked clusters were found on the image.' "$LEAK" \
        '3/4096 = 0.07% allocated, 33.33% fragmented, 0.00% compressed clusters'
}

@test "qed: repair clears invalid entries" {
    for kind in leaks all; do
        crafted 5 90 7
        img 3 check -r $kind x
        out 'The following inconsistencies were found and repaired:' '' '    0 leaked clusters' '    1 corruptions' '' \
            'Double checking the fixed image now...' '' '2 leaked clusters were found on the image.' "$LEAK" \
            '2/4096 = 0.05% allocated, 50.00% fragmented, 0.00% compressed clusters'
        [ "$(peek x $((3 * 4096 + 8)) 8)" = "$(le 8 0)" ]
    done
    crafted 5; poke x 4096 "$(le 8 $((80 * 4096)))"
    img 3 check -q -r all x
    [ "$(peek x 4096 8)" = "$(le 8 0)" ]
}

@test "qed: an invalid entry fails a read, data before it can be read" {
    crafted 5 90
    img 1 convert -O raw x out
    err 'qemu-img: error while reading block status at offset 4096: image is truncated: needs 372736 bytes, has 36864'
    poke x 4104 "$(le 8 512)"
    crafted 5; poke x 4104 "$(le 8 $((80 * 4096)))"
    img 0 dd -f qed -O raw bs=4M count=1 if=x of=out
}

@test "qed: a sparse image of many small clusters has no leaks" {
    beyond
    truncate -s 20M raw
    pattern raw 11 0 20M
    img 0 convert -f raw -O qed -o cluster_size=4k raw x
    img 0 check x
    has "$OUT" '^No errors'
}

# ---- reading and writing

@test "qed: there and back" {
    sample raw
    for options in cluster_size=4k,table_size=2 cluster_size=64k cluster_size=1M,table_size=16; do
        for how in '' -W '-S 0' '-m 1' '-t none'; do
            # shellcheck disable=SC2086
            img 0 convert $how -f raw -O qed -o $options raw x
            img 0 convert -f qed -O raw x back
            raw_is raw back
        done
        img 0 check x
    done
}

@test "qed: zero clusters, and zeroes over data" {
    beyond
    truncate -s 1M raw
    pattern raw 11 0 64k
    img 0 convert -f raw -O qed -o cluster_size=4k,table_size=2 raw x
    before=$(stat -c %s x)
    truncate -s 0 raw; truncate -s 1M raw
    img 0 convert -n -f raw -O qed raw x
    img 0 map --output=json x
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20480},' \
        '{ "start": 65536, "length": 983040, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false}]'
    [ "$(stat -c %s x)" -eq "$before" ]
    img 0 compare -f raw -F qed raw x
    img 0 check x
}

@test "qed: small writes bring the backing file along" {
    truncate -s 300k base
    pattern base 22 0 300k
    img 0 create -q -f qed -o cluster_size=64k -b base -F raw x 512k
    img 0 bench -q -w -c 1 -s 512 -o 70000 --pattern=17 -f qed x
    cp base raw; truncate -s 512k raw
    pattern raw 11 70000 512
    img 0 compare -f raw -F qed raw x
    img 0 map --output=json x
    has "$OUT" '"start": 65536, "length": 65536, "depth": 0, .*"data": true'
    img 0 rebase -f qed -b '' x
    img 0 compare -f raw -F qed raw x
    [ "$(peek x 16 1)" = 00 ]
    img 0 check x
}

@test "qed: commit keeps what the image has" {
    truncate -s 1M base
    img 0 create -q -f qed -b base -F raw x
    img 0 bench -q -w -c 1 -s 512 -o 70000 --pattern=17 -f qed x
    img 0 commit x
    out 'Image committed.'
    img 0 map --output=json x
    has "$OUT" '"start": 65536, "length": 65536, "depth": 0, "present": true'
    [ "$(peek base 70000 1)" = 11 ]
}

@test "qed: resize, and what cannot be changed" {
    fresh
    img 0 resize x 32M
    out 'Image resized.'
    for size in +1 5G; do
        img 1 resize x $size
        err 'qemu-img: Invalid image size specified'
    done
    img 1 resize --shrink x 1M
    err 'qemu-img: Shrinking images is currently not supported'
    img 1 resize --preallocation=full x +1M
    err "qemu-img: Unsupported preallocation mode 'full'"
    img 0 create -q -f raw base 2M
    img 0 create -q -f qed -b base -F raw x 1M
    img 1 resize x +1M
    err 'qemu-img: Block driver does not support requested flags'
    img 1 amend -o size=3M x
    err "qemu-img: Format driver 'qed' does not support option amendment"
    img 1 measure -O qed x
    err "qemu-img: Block driver 'qed' does not support size measurement"
    img 1 convert -c -f qed -O qed x y
    err "qemu-img: Compression not supported for this file format"
}

@test "qed: another backing file" {
    fresh
    img 0 rebase -u -F raw -b one x
    [ "$(peek x 16 1) $(peek x 56 11)" = '05 40000000030000006f6e65' ]
    img 0 rebase -u -F qcow2 -b three x
    [ "$(peek x 16 1) $(peek x 56 13)" = '01 40000000050000007468726565' ]
    img 0 rebase -u -b '' x
    [ "$(peek x 16 1) $(peek x 56 8)" = '00 4000000000000000' ]
    name=$(printf '%04033d' 0)
    img 1 rebase -u -F raw -b "$name" x
    has "$ERR" 'No space left|space'
    [ "$(peek x 16 1)" = 00 ]
    # room enough, but nobody reads a name that long
    [ -z "$IMG_IS_PEER" ] || return 0
    img 0 create -q -f qed x 1M
    img 1 rebase -u -F raw -b "$name$name" x
    img 0 info x
}

@test "qed: tables that would not fit into memory" {
    beyond
    # 1 GiB of L1 table in a file of that many holes
    img 0 create -q -f qed -o cluster_size=1M,table_size=16 x 1T
    no_asan
    (ulimit -v 400000; img 0 info x && img 0 map x && img 0 check x)
}
