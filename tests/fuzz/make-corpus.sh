#!/bin/sh
# SPDX-License-Identifier: MIT
# Make the seed images of fuzz-qcow2 anew: tiny, most with clusters of 512 bytes.
#
# usage: make-corpus.sh QEMU-IMG QEMU-IO [DIRECTORY]
# (the real tools: they also write snapshots and bitmaps)
set -eu
img=$1
io=$2
to=${3:-$(cd "$(dirname "$0")" && pwd)/corpus/qcow2}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$to"
cd "$work"

# seed NAME OPTIONS SIZE [qemu-io command...]
seed() {
    name=$1 options=$2 size=$3
    shift 3
    "$img" create -q -f qcow2 -o "$options" "$name" "$size"
    for command; do
        "$io" -c "$command" "$name" > /dev/null
    done
}

# flag NAME OFFSET OCTAL: one byte of the header
flag() {
    printf '%b' "\\0$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

seed empty cluster_size=512 64k
seed v2 cluster_size=512,compat=0.10 64k 'write -P 1 0 1k' 'write -P 2 40k 512'
seed v3 cluster_size=512 64k 'write -P 1 0 1k' 'write -z 8k 2k' 'write -P 3 40k 512' 'write -z -u 40k 512'
seed zlib cluster_size=512 64k 'write -c -P 1 0 512' 'write -c -P 2 512 512' 'write -c -P 3 60k 512'
seed zstd cluster_size=512,compression_type=zstd 64k 'write -c -P 1 0 512' 'write -c -P 2 512 512'
seed wide cluster_size=512,refcount_bits=64 64k 'write -P 1 0 1k'
seed narrow cluster_size=512,refcount_bits=1 64k 'write -P 1 0 1k'
seed lazy cluster_size=512,lazy_refcounts=on 64k 'write -P 1 0 1k'
seed metadata cluster_size=512,preallocation=metadata 16k
seed large cluster_size=512 512k 'write -P 1 0 512' 'write -P 2 300k 512'
seed subclusters extended_l2=on,cluster_size=16k 512k 'write -P 1 0 512' 'write -z 1k 1k' 'write -P 2 500k 1k'
seed dirty cluster_size=512,lazy_refcounts=on 64k 'write -P 1 0 1k'
flag dirty 79 1
seed corrupt cluster_size=512 64k 'write -P 1 0 1k'
flag corrupt 79 2
seed unknown cluster_size=512 64k
flag unknown 78 1
seed autoclear cluster_size=512 64k
flag autoclear 95 200

seed snapshots cluster_size=512 64k 'write -P 1 0 1k'
"$img" snapshot -c one snapshots
"$io" -c 'write -P 2 512 1k' snapshots > /dev/null
"$img" snapshot -c two snapshots

seed bitmaps cluster_size=512 64k
"$img" bitmap --add -g 512 bitmaps b0
"$io" -c 'write -P 2 512 1k' bitmaps > /dev/null
"$img" bitmap --add -g 64k bitmaps b1
"$img" bitmap --disable bitmaps b1

"$img" create -q -f raw base 64k
"$img" create -q -f qcow2 -o cluster_size=512 -b base -F raw backing
"$img" create -q -f qcow2 -o cluster_size=512,data_file=data,data_file_raw=on datafile 64k
rm base data

for seed in *; do
    cp "$seed" "$to/$seed"
done
