#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# qcow2: how clusters are compressed now (compression_level, compression_window).

load ../helper

# Words, so that there is something to find: 1 MiB.
words() {
    awk 'BEGIN { srand(1); for (i = 0; i < 210000; i++) printf "%s ", substr("alphabetagammadeltaepsilon", rand() * 20, 2 + rand() * 5) }' |
        head -c 1M > "$1"
}

coded() {  # OPTIONS: the size of the file that they make; it holds what was put in
    img 0 convert -c -f raw -O qcow2 ${1:+-o "$1"} a.raw c.qcow2
    silent
    img 0 compare -f raw -F qcow2 a.raw c.qcow2
    img 0 check -q c.qcow2
    # Not by stat: the last sector is filled up.
    wc -c < c.qcow2
}

@test "qcow2 compression: levels of zlib, with and without a window" {
    beyond
    words a.raw
    standard=$(coded '')
    [ "$(coded compression_level=2)" -eq "$standard" ]
    [ "$(coded compression_level=9)" -lt "$(coded compression_level=1)" ]
    [ "$(coded compression_window=512)" -gt "$(coded compression_window=4k)" ]
    [ "$(coded compression_window=4k,compression_level=9)" -lt "$(coded compression_window=4k,compression_level=1)" ]
    [ "$(coded compression_window=32k)" -eq "$standard" ]
}

# The static file has only the first levels (packaging/slim.sh), and says so.
zstd_is_slim() {
    img 0 create -q -f qcow2 -o compression_type=zstd,compression_level=3 level.qcow2 1M
    ! qemu-img create -q -f qcow2 -o compression_type=zstd,compression_level=4 level.qcow2 1M 2> /dev/null
}

@test "qcow2 compression: levels of zstd" {
    beyond
    words a.raw
    [ "$(coded compression_type=zstd,compression_level=3)" -eq "$(coded compression_type=zstd)" ]
    ! zstd_is_slim || return 0
    [ "$(coded compression_type=zstd,compression_level=19)" -lt "$(coded compression_type=zstd,compression_level=1)" ]
}

@test "qcow2 compression: invalid values" {
    beyond
    truncate -s 1M a.raw
    for o in compression_level=0 compression_level=13 compression_level=-1 compression_window=4k,compression_level=10 \
            compression_type=zstd,compression_level=23; do
        img 1 create -q -f qcow2 -o "$o" a.qcow2 1M
        has "$ERR" "^qemu-img: a.qcow2: 'compression_level' of '(zlib|zstd)' must be from 1 to (9|12|22|3) in this build"
        img 1 convert -c -f raw -O qcow2 -o "$o" a.raw a.qcow2
        has "$ERR" "^qemu-img: a.qcow2: error while converting qcow2: 'compression_level' of "
        [ ! -e a.qcow2 ]
    done
    for o in 256 64k 3k 0; do
        img 1 create -q -f qcow2 -o "compression_window=$o" a.qcow2 1M
        err "qemu-img: a.qcow2: 'compression_window' must be a power of two from 512 to 32k"
    done
    img 1 create -q -f qcow2 -o compression_type=zstd,compression_window=4k a.qcow2 1M
    err "qemu-img: a.qcow2: 'compression_window' is for compression type 'zlib'"
    img 1 create -q -f qcow2 -o compression_level=fast a.qcow2 1M
    err "qemu-img: a.qcow2: Parameter 'compression_level' expects a number"
    [ ! -e a.qcow2 ]
}

@test "qcow2 compression: printed when given, and not stored" {
    beyond
    img 0 create -f qcow2 -o compression_level=9,compression_window=4k a.qcow2 1M
    out "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib compression_level=9 compression_window=4096 size=1048576 lazy_refcounts=off refcount_bits=16"
    img 0 create -q -f qcow2 b.qcow2 1M
    cmp a.qcow2 b.qcow2
    img 0 create -f qcow2 -o help
    [ "$(grep -c 'compression_[lw]' "$OUT")" -eq 0 ]
    cmd 0 "$IMGBOX" img-create -f qcow2 -o help
    has "$OUT" '^  compression_level=<num> - '
    has "$OUT" '^  compression_window=<size> - '
}

@test "qcow2 compression: for an existing image, as open options" {
    beyond
    words a.raw
    for level in 1 9; do
        img 0 create -q -f qcow2 $level.qcow2 1M
        img 0 convert -c -n -f raw --target-image-opts a.raw \
            driver=qcow2,file.filename=$level.qcow2,compression_level=$level
        img 0 compare -f raw -F qcow2 a.raw $level.qcow2
    done
    [ "$(wc -c < 9.qcow2)" -lt "$(wc -c < 1.qcow2)" ]
    img 1 convert -c -n -f raw --target-image-opts a.raw driver=qcow2,file.filename=1.qcow2,compression_level=99
    has "$ERR" "'compression_level' of 'zlib' must be from 1 to 12 in this build\$"
}
