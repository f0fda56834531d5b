#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the fixtures of this folder again with the reference tools of
# packaging/peers.sh: small qcow2 images with what our own tools cannot write yet.
set -eu
cd "$(dirname "$0")"
bin=${PEERS:-/opt/peers}/10.0/usr/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

img() {
    "$bin/qemu-img" "$@" > /dev/null
}

# io FILE COMMAND...
io() {
    file=$work/$1
    shift
    for command; do
        set -- "$@" -c "$command"
        shift
    done
    "$bin/qemu-io" -f qcow2 "$@" "$file" > /dev/null
}

keep() {
    for name; do
        gzip -9 -n -c "$work/$name" > "$name.gz"
    done
}

# two internal snapshots, contents 11, then 22, now 33
img create -f qcow2 -o cluster_size=512 "$work/snapshots.qcow2" 64k
io snapshots.qcow2 'write -P 0x11 0 4k'
img snapshot -c first "$work/snapshots.qcow2"
io snapshots.qcow2 'write -P 0x22 0 2k' 'write -P 0x22 32k 1k'
img snapshot -c 'second one' "$work/snapshots.qcow2"
io snapshots.qcow2 'write -P 0x33 0 1k'

# bitmaps: enabled, disabled, and one that was left in use
img create -f qcow2 -o cluster_size=4k "$work/bitmaps.qcow2" 1M
img bitmap --add -g 4k "$work/bitmaps.qcow2" changes
img bitmap --add --disable "$work/bitmaps.qcow2" old
io bitmaps.qcow2 'write -P 0x44 64k 8k'

# data, zero clusters, discarded, partly written, compressed, in version 2 and 3
img create -f qcow2 -o cluster_size=4k,compat=0.10 "$work/v2.qcow2" 1M
io v2.qcow2 'write -P 0x11 0 10k' 'write -c -P 0x22 64k 4k' 'discard 4k 4k' 'write -P 0x33 1023k 1k'
img create -f qcow2 -o cluster_size=4k "$work/v3.qcow2" 1M
io v3.qcow2 'write -P 0x11 0 10k' 'write -c -P 0x22 64k 4k' 'write -z 128k 8k' \
    'write -P 0x44 256k 8k' 'write -z 256k 4k' 'discard 260k 4k' 'write -P 0x33 1023k 1k'
img create -f qcow2 -o cluster_size=4k,compression_type=zstd "$work/zstd.qcow2" 1M
io zstd.qcow2 'write -c -P 0x55 0 4k' 'write -c -P 0x66 8k 4k' 'write -P 0x77 16k 4k'
img create -f qcow2 -o cluster_size=16k,extended_l2=on "$work/subclusters.qcow2" 1M
io subclusters.qcow2 'write -P 0x11 512 1k' 'write -z 4k 2k' 'write -P 0x22 64k 16k' 'write -z 128k 16k'

# three layers with different sizes and clusters
img create -f qcow2 -o cluster_size=4k "$work/base.qcow2" 512k
io base.qcow2 'write -P 0x11 0 128k' 'write -P 0x12 384k 128k'
(cd "$work" && img create -f qcow2 -o cluster_size=64k -b base.qcow2 -F qcow2 mid.qcow2 1M)
io mid.qcow2 'write -P 0x21 64k 64k' 'write -z 384k 64k' 'write -P 0x22 704k 64k'
(cd "$work" && img create -f qcow2 -o cluster_size=512 -b mid.qcow2 -F qcow2 top.qcow2 896k)
io top.qcow2 'write -P 0x31 100k 512' 'write -z 710k 1k' 'write -P 0x32 800k 4k'

# lazy refcounts, killed while dirty
img create -f qcow2 -o cluster_size=4k,lazy_refcounts=on "$work/dirty.qcow2" 1M
"$bin/qemu-io" -f qcow2 -c 'write -P 0x11 0 16k' -c 'sigraise 9' "$work/dirty.qcow2" > /dev/null 2>&1 || true

keep snapshots.qcow2 bitmaps.qcow2 v2.qcow2 v3.qcow2 zstd.qcow2 subclusters.qcow2 \
    base.qcow2 mid.qcow2 top.qcow2 dirty.qcow2
