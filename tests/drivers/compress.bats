#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The filter compress: what is written through it is compressed.

load ../helper

TARGET=driver=compress,file.driver=qcow2,file.file.filename=x

compressed() {
    img 0 check --output=json x
    sed -n 's/.*"compressed-clusters": \([0-9]*\).*/\1/p' "$OUT"
}

@test "compress: convert into it" {
    yes abcdefgh | head -c 3M > raw
    head -c 1M /dev/urandom >> raw
    img 0 create -q -f qcow2 x 4M
    img 0 convert -n -f raw --target-image-opts raw "$TARGET"
    silent
    [ "$(compressed)" -eq 48 ]
    img 0 compare -f raw -F qcow2 raw x
    # A second time over what is there, which the real tool cannot.
    [ -n "$IMG_IS_PEER" ] || img 0 convert -n -f raw --target-image-opts raw "$TARGET"
    img 0 compare -f raw -F qcow2 raw x
}

@test "compress: pieces of a cluster are completed" {
    beyond
    img 0 create -q -f qcow2 x 1M
    img 0 bench -w -c 40 -d 1 -s 1000 -S 3000 -o 500 --pattern=7 --image-opts "$TARGET"
    [ "$(compressed)" -eq 2 ]
    truncate -s 1M want
    for i in $(seq 0 39); do
        pattern want 07 $((500 + 3000 * i)) 1000
    done
    img 0 convert -O raw x got
    cmp want got
}

@test "compress: only in front of a format with compression" {
    truncate -s 1M f
    img 1 info --image-opts driver=compress,file.filename=f
    err "qemu-img: Could not open 'driver=compress,file.filename=f': Compression is not supported for underlying format: file"
    img 1 info -f compress f
    err "qemu-img: Could not open 'f': Compression is not supported for underlying format: file"
    img 1 info --image-opts driver=compress
    err "qemu-img: Could not open 'driver=compress': A block device must be specified for \"file\""
}

@test "compress: it shows what lies below" {
    img 0 create -q -f qcow2 x 1M
    img 0 snapshot -c one x
    img 0 info --image-opts "$TARGET"
    has "$OUT" '^image: json:\{"driver": "compress", "file": \{"driver": "qcow2", "file": \{"driver": "file", "filename": "x"\}\}\}$'
    has "$OUT" '^file format: compress$'
    has "$OUT" '^cluster_size: 65536$'
    has "$OUT" '^Snapshot list:$'
    has "$OUT" "^    Child node '/file/file':\$"
    img 63 check --image-opts "$TARGET"
    err 'qemu-img: This image format does not support checks'
    img 0 resize --image-opts "$TARGET" +1M
    img 0 info x
    has "$OUT" '^virtual size: 2 MiB'
}
