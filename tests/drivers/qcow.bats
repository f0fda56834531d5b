#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qcow, version 1: the header, tables, compressed clusters, backing files; in qemu-img's words.

load ../helper

fresh() {
    rm -f x
    img 0 create -q -f qcow x 8M
}

# crafted CLUSTER-BITS L2-BITS ENTRY...: the entries of an L2 table at 64k; data at 256k, a compressed cluster at 100001
crafted() {
    fresh
    poke x 32 "$(printf '%02x%02x' "$1" "$2")"
    poke x 48 0000000000010000
    local at=65536 entry
    for entry in "${@:3}"; do
        poke x $at "$entry"
        at=$((at + 8))
    done
    truncate -s 512k x
    pattern x 77 256k 128k
}

# coded BITS: the entry of 20 coded bytes at 100001
coded() {
    printf '%016x' $(((1 << 63) | (20 << (63 - $1)) | 100001))
}

# ---- creating

@test "qcow: options of creation" {
    img 0 create -f qcow -o help
    out 'Supported qcow options:' '  backing_file=<str>     - File name of a base image' \
        '  backing_fmt=<str>      - Format of the backing image' \
        "  encrypt.format=<str>   - Encrypt the image, format choices: 'aes'" \
        '  encrypt.key-secret=<str> - ID of the secret that provides the AES encryption key' \
        "  encryption=<bool (on/off)> - Encrypt the image with format 'aes'. (Deprecated in favor of encrypt.format=aes)" \
        '  size=<size>            - Virtual disk size' '' \
        'The protocol level may support further options.' \
        'Specify the target filename to include those options.'
    img 0 create -f qcow x 1000
    out "Formatting 'x', fmt=qcow size=1000"
    [ "$(peek x 0 48)" = 514649fb000000010000000000000000000000000000000000000000000004000c090000000000000000000000000030 ]
    [ "$(stat -c %s x)" -eq 560 ]
    img 1 create -q -f qcow x 0
    err 'qemu-img: x: Image size is too small, cannot be zero length'
    img 1 create -q -f qcow -o cluster_size=4k x 1M
    err "qemu-img: x: Invalid parameter 'cluster_size'"
    img 1 create -q -f qcow -o backing_fmt=none x 1M
    err "qemu-img: x: unrecognized backing format 'none'"
}

@test "qcow: over a backing file, clusters are sectors" {
    truncate -s 1M base
    img 0 create -q -f qcow -b base -F raw x
    [ "$(peek x 8 12) $(peek x 32 2) $(peek x 40 12)" = '000000000000003000000004 090c 000000000000003862617365' ]
    img 0 info x
    has "$OUT" '^backing file: base$'
    [ "$(grep -c 'backing file format' "$OUT")" -eq 0 ]
}

@test "qcow: create refuses images that could not be opened" {
    beyond
    img 1 create -q -f qcow x 512T
    err 'qemu-img: x: Image too large'
    img 1 create -u -q -f qcow -F raw -b "$(printf '%01024d' 0)" x 1M
    err 'qemu-img: x: Backing file name too long'
    [ ! -e x ]
}

@test "qcow: encryption is recognised" {
    img 1 create -q -f qcow -o encryption=on x 1M
    err "qemu-img: x: Parameter 'encrypt.key-secret' is required for cipher"
    img 1 create -q -f qcow -o encrypt.format=luks x 1M
    err 'qemu-img: x: Unsupported encryption format'
    img 1 create -q -f qcow -o encrypt.key-secret=k x 1M
    err "qemu-img: x: Parameter 'encrypt.format' is missing"
    img 1 create -q -f qcow -o encrypt.key-secret=k,encrypt.format=aes x 1M
    err "qemu-img: x: No secret with id 'k'"
    img 1 create -q -f qcow -o encryption=on,encrypt.format=aes x 1M
    err "qemu-img: x: 'encrypt.format' and its alias 'encryption' can't be used at the same time"
    fresh; poke x 36 00000001
    img 0 info x
    has "$OUT" '^encrypted: yes$'
    img 1 map x
    err "qemu-img: Could not open 'x': Parameter 'encrypt.key-secret' is required for cipher"
}

# ---- the header

@test "qcow: invalid header fields" {
    fresh; poke x 0 00; img 1 info -f qcow x; err "qemu-img: Could not open 'x': Image not in qcow format"
    fresh; poke x 7 00; img 1 info -f qcow x
    err "qemu-img: Could not open 'x': qcow (v1) does not support qcow version 0"
    fresh; poke x 7 02; img 1 info -f qcow x
    err "qemu-img: Could not open 'x': qcow (v1) does not support qcow version 2" "Try the 'qcow2' driver instead."
    for bits in 08 11 ff; do
        fresh; poke x 32 $bits; refused 'Cluster size must be between 512 and 64k'
    done
    for bits in 05 0e ff; do
        fresh; poke x 33 $bits; refused 'L2 table size must be between 512 and 64k'
    done
    fresh; poke x 36 00000002; refused 'invalid encryption method in qcow header'
    fresh; poke x 24 0000000000000001; refused 'Image size is too small (must be at least 2 bytes)'
    fresh; poke x 24 0002000000000000; refused 'Image too large'
    fresh; poke x 24 ffffffffffffffff; refused 'Image too large'
    fresh; poke x 8 0000000000000030 ; poke x 16 00000400; refused 'Backing file name too long'
    fresh; poke x 40 8000000000000000; refused "Could not open 'x': Input/output error"
}

@test "qcow: a size inside a sector is rounded down" {
    fresh; poke x 24 00000000000003e8
    img 0 info x
    has "$OUT" '\(512 bytes\)'
    fresh; poke x 24 0000000000000002
    img 0 info x
    has "$OUT" '\(0 bytes\)'
}

@test "qcow: what is behind the end of a truncated image is missing" {
    beyond
    fresh; truncate -s 47 x
    img 0 info x
    has "$OUT" '^file format: qcow$'
    img 1 map x
    has "$ERR" '^qemu-img: Could not read file metadata: image is truncated: needs [0-9]+ bytes, has 47$'
    truncate -s 7 x
    img 0 info x
    has "$OUT" '^file format: raw$'
}

# ---- tables

@test "qcow: plain and compressed clusters of all sizes" {
    for bits in 9 10 12 15 16; do
        for l2 in 6 9 13; do
            crafted $bits $l2 0000000000040000 0000000000000000 "$(coded $bits)"
            img 0 map --output=json x
            size=$((1 << bits))
            has "$OUT" "\"start\": 0, \"length\": $size, .*\"offset\": 262144"
            has "$OUT" "\"start\": $((2 * size)), \"length\": $size, .*\"compressed\": true"
        done
    done
}

@test "qcow: a stream that is damaged, or shorter than a cluster" {
    crafted 12 9 0000000000040000 "$(coded 12)"
    img 1 convert -O raw x out
    err 'qemu-img: error while reading at byte 4096: Input/output error'
    crafted 12 9 0000000000040000 8000000000000000
    img 1 convert -O raw x out
    err 'qemu-img: error while reading at byte 4096: Input/output error'
    img 0 dd -f qcow -O raw bs=4k count=1 if=x of=out
}

@test "qcow: tables and data behind the end of the file are missing" {
    beyond
    crafted 12 9 0000010000000000
    img 1 convert -O raw x out
    err 'qemu-img: error while reading at byte 0: image is truncated: needs 1099511631872 bytes, has 524288'
    poke x 56 0000020000000000
    img 1 convert -O raw x out
    err "qemu-img: Could not open 'x': image is truncated: needs 2199023259648 bytes, has 524288"
}

# ---- reading and writing

@test "qcow: there and back" {
    sample raw
    # (the real tool writes compressed clusters and ends with exit code 1)
    for how in '' -W '-S 0' '-m 1' '-t none' -c '-c -W' '-c -m 1'; do
        [[ -z $IMG_IS_PEER || $how != -c* ]] || continue
        # shellcheck disable=SC2086
        img 0 convert $how -f raw -O qcow raw x
        img 0 convert -f qcow -O raw x back
        raw_is raw back
    done
}

@test "qcow: compressed clusters come out the same whatever the number of workers" {
    beyond
    sample raw
    img 0 convert -c -f raw -O qcow raw x
    img 0 convert -c -m 1 -f raw -O qcow raw y
    cmp x y
}

@test "qcow: other readers see the same" {
    beyond
    sample raw
    img 0 convert -f raw -O qcow raw x
    ! zip=$(seven_zip) || "$zip" x -so -tQCOW x | raw_is raw -
    /usr/bin/python3 -c 'import pyqcow' 2> /dev/null || skip 'no python3-libqcow'
    for how in '' -c; do
        # shellcheck disable=SC2086
        img 0 convert $how -f raw -O qcow raw x
        /usr/bin/python3 - x <<'END' | raw_is raw -
import sys, pyqcow
image = pyqcow.file()
image.open(sys.argv[1])
sys.stdout.buffer.write(image.read_buffer(image.get_media_size()))
END
    done
}

@test "qcow: writing over a compressed cluster" {
    beyond
    truncate -s 64k raw
    pattern raw 11 0 64k
    img 0 convert -c -f raw -O qcow raw x
    img 0 bench -q -w -c 1 -s 512 -o 4608 --pattern=34 -f qcow x
    pattern raw 22 4608 512
    img 0 compare -f raw -F qcow raw x
    img 0 map --output=json x
    has "$OUT" '"start": 4096, "length": 4096, .*"compressed": false'
}

@test "qcow: zeroes need no space without a backing file" {
    beyond
    truncate -s 1M raw
    pattern raw 11 0 64k
    img 0 convert -f raw -O qcow raw x
    before=$(stat -c %s x)
    truncate -s 0 raw; truncate -s 1M raw
    img 0 convert -n -f raw -O qcow raw x
    [ "$(stat -c %s x)" -eq "$before" ]
    img 0 compare -f raw -F qcow raw x
}

@test "qcow: zeroes over a backing file" {
    truncate -s 64k zero
    pattern base 22 0 64k
    img 0 create -q -f qcow -b base -F raw x
    img 0 convert -n -f raw -O qcow zero x
    img 0 compare -f raw -F qcow zero x
}

@test "qcow: commit empties the image" {
    pattern base 22 0 64k
    img 0 create -q -f qcow -b base -F raw x
    before=$(stat -c %s x)
    img 0 bench -q -w -c 1 -s 4096 -o 8192 --pattern=17 -f qcow x
    img 0 commit -f qcow x
    out 'Image committed.'
    [ "$(stat -c %s x)" -lt "$before" ]
    [ "$(peek base 8192 1) $(peek base 12287 2)" = '11 1122' ]
    img 0 map --output=json -f qcow x
    has "$OUT" '"start": 0, "length": 65536, "depth": 1'
}

@test "qcow: unsupported operations" {
    fresh
    img 1 resize x +1M
    err 'qemu-img: Image format driver does not support resize'
    img 63 check x
    err 'qemu-img: This image format does not support checks'
    img 1 rebase -u -F raw -b y x
    err "qemu-img: Could not change the backing file to 'y': Operation not supported"
    img 1 measure -O qcow x
    err "qemu-img: Block driver 'qcow' does not support size measurement"
    img 1 snapshot -c s x
    err "qemu-img: Could not create snapshot 's': Operation not supported"
    img 1 amend -o size=1M x
    err "qemu-img: Format driver 'qcow' does not support option amendment"
}
