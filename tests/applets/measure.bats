#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-measure: the numbers, what it refuses, and that convert keeps to them.

load ../helper

@test "measure: an empty disk" {
    img 0 measure --size 1G
    out 'required size: 1073741824' \
        'fully allocated size: 1073741824'
    err ''
    img 0 measure --size 513 -O raw -o preallocation=full
    out 'required size: 1024' \
        'fully allocated size: 1024'
    img 0 measure --size 1G -O qcow2
    out 'required size: 393216' \
        'fully allocated size: 1074135040'
    err ''
    img 0 measure --size 1G --out=json
    out <<'EOF'
{
    "required": 1073741824,
    "fully-allocated": 1073741824
}
EOF
    img 0 measure --size=1G --output=json -O qcow2
    out <<'EOF'
{
    "required": 393216,
    "fully-allocated": 1074135040
}
EOF
    img 0 measure --size 0 -O qcow2
    out 'required size: 196608' \
        'fully allocated size: 196608'
    img 0 measure --size 2305843009213693952 -O qcow2 -o cluster_size=2M
    out 'required size: 10995174998016' \
        'fully allocated size: 2305854004388691968'
}

# qcow2 OPTIONS REQUIRED FULL: of 1 GiB
qcow2() {
    img 0 measure --size 1G -O qcow2 -o "$1"
    out "required size: $2" \
        "fully allocated size: $3"
    err ''
}

@test "measure: every creation option has the right effect" {
    qcow2 compat=0.10 393216 1074135040
    qcow2 cluster_size=512 21385216 1095127040
    qcow2 cluster_size=4k 2637824 1076379648
    qcow2 cluster_size=2M 10485760 1084227584
    qcow2 extended_l2=on 524288 1074266112
    qcow2 extended_l2=on,cluster_size=16k 1245184 1074987008
    qcow2 refcount_bits=64 524288 1074266112
    qcow2 preallocation=metadata 393216 1074135040
    qcow2 preallocation=falloc 1074135040 1074135040
    qcow2 preallocation=full 1074135040 1074135040
    qcow2 lazy_refcounts=on,compression_type=zstd,nocow=on,size=3G 393216 1074135040
    qcow2 data_file=x,data_file_raw=on 393216 1074135040
    qcow2 backing_file=nope,backing_fmt=foo 393216 1074135040
    qcow2 encrypt.format=aes 393216 1074135040
    img 0 measure --size 1G -O qcow2 -o encrypt.format=luks,encrypt.key-secret=s --object secret,id=s,data=abc
    out 'required size: 2490368' \
        'fully allocated size: 1076232192'
    img 0 measure --size 0 -O qcow2 --object secret,id=s,data=abc \
        -o cluster_size=512,encrypt.format=luks,encrypt.key-secret=s,encrypt.cipher-alg=aes-192
    out 'required size: 1545728' \
        'fully allocated size: 1545728'
}

@test "measure: options that are refused" {
    while IFS='|' read -r options message; do
        img 1 measure --size 1M -O qcow2 -o "$options"
        out ''
        err "qemu-img: $message"
    done <<'EOF'
cluster_size=513|Cluster size must be a power of two between 512 and 2048k
extended_l2=on,cluster_size=8k|Extended L2 entries are only supported with cluster sizes of at least 16384 bytes
compat=v3|Invalid compatibility level: 'v3'
refcount_bits=3|Refcount width must be a power of two and may not exceed 64 bits
refcount_bits=8,compat=0.10|Different refcount widths than 16 bits require compatibility level 1.1 or above (use compat=1.1 or greater)
preallocation=foo|invalid parameter value: foo
encrypt.format=luks|Parameter 'encrypt.key-secret' is required for cipher
cluster_size=4k,|Invalid option list: cluster_size=4k,
EOF
    img 1 measure --size 1M -o foo=1
    out ''
    err "qemu-img: Invalid parameter 'foo'" \
        "qemu-img: Invalid options for file format 'raw'"
    img 1 measure --size 129G -O qcow2 -o cluster_size=512
    err 'qemu-img: The image size is too large (try using a larger cluster size)'
}

@test "measure: an image" {
    truncate -s 10M a.raw
    pattern a.raw 11 0 4k
    pattern a.raw 22 100k 60k
    pattern a.raw 33 5M 1M
    img 0 measure -O raw a.raw
    out 'required size: 10485760' \
        'fully allocated size: 10485760'
    img 0 measure -f raw -O qcow2 a.raw
    out 'required size: 1572864' \
        'fully allocated size: 10813440'
    err ''
    img 0 convert -O qcow2 a.raw a.qcow2
    img 0 measure -O qcow2 --output json a.qcow2
    out <<'EOF'
{
    "bitmaps": 0,
    "required": 1572864,
    "fully-allocated": 10813440
}
EOF
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 top.qcow2 12M
    img 0 measure -U -O qcow2 top.qcow2
    out 'required size: 1572864' \
        'fully allocated size: 12910592' \
        'bitmaps size: 0'
    img 0 measure -O qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 top.qcow2
    out 'required size: 12910592' \
        'fully allocated size: 12910592' \
        'bitmaps size: 0'
    img 0 measure -O qcow2 --image-opts driver=raw,file.filename=a.raw
    has "$OUT" '^required size: 1572864$'
}

@test "measure: bitmaps and snapshots" {
    fixture bitmaps.qcow2
    fixture snapshots.qcow2
    img 0 measure -O qcow2 -o cluster_size=512 bitmaps.qcow2
    out 'required size: 30720' \
        'fully allocated size: 1071104' \
        'bitmaps size: 2560'
    img 0 measure -O qcow2 -o compat=0.10 bitmaps.qcow2
    out 'required size: 393216' \
        'fully allocated size: 1376256'
    img 0 measure -O raw bitmaps.qcow2
    out 'required size: 1048576' \
        'fully allocated size: 1048576'
    img 0 measure -O qcow2 -o cluster_size=512 snapshots.qcow2
    cp "$OUT" now
    img 0 measure -O qcow2 -o cluster_size=512 -l 1 snapshots.qcow2
    cmd 1 cmp -s "$OUT" now
    img 1 measure -O qcow2 -l none snapshots.qcow2
    err "qemu-img: Failed to load snapshot: Can't find snapshot"
}

@test "measure: convert needs no more than the required size" {
    sample a.raw
    for options in cluster_size=512 cluster_size=64k cluster_size=2M,refcount_bits=64 \
        extended_l2=on preallocation=full,cluster_size=4k; do
        img 0 measure -O qcow2 -o "$options" a.raw
        required=$(sed -n 's/^required size: //p' "$OUT")
        img 0 convert -O qcow2 -o "$options" a.raw a.qcow2
        [ "$(stat -c %s a.qcow2)" -le "$required" ]
    done
}

@test "measure: no data are read" {
    need_strace
    truncate -s 64M a.raw
    pattern a.raw 11 0 8M
    strace -f -e trace=pread64,preadv,read -o trace "$IMG" measure -O qcow2 -f raw a.raw > /dev/null
    [ "$(grep -c -E 'pread.*= [0-9]{4,}' trace)" -eq 0 ]
}

@test "measure: the command line" {
    truncate -s 1M a.raw
    while IFS='|' read -r arguments message; do
        # shellcheck disable=SC2086
        img 1 measure $arguments
        out ''
        err "qemu-img: $message"
    done <<'EOF'
|Either --size N or one filename must be specified.
--size 1G a.raw|--size N cannot be used together with a filename.
a.raw b.raw|At most one filename argument is allowed.
--size 1G -f raw|--image-opts, -f, and -l require a filename argument.
--size 1Gx|Invalid image size specified: '1Gx'.
--size -1|Invalid image size specified. Must be between 0 and 9223372036854775807.
-f raw --image-opts a.raw|--image-opts and --format are mutually exclusive
--size 1G -O foo|Unknown file format 'foo'
--size 1G -O vmdk|Block driver 'vmdk' does not support size measurement
--size 1G -O file|Block driver 'file' does not support size measurement
nofile -O foo|Could not open 'nofile': Could not open 'nofile': No such file or directory
-f qcow2 a.raw|Could not open 'a.raw': Image is not in qcow2 format
EOF
    img 1 measure --size 1 --output foo
    err "qemu-img: --output expects 'human' or 'json' not 'foo'" \
        "Try 'qemu-img measure --help' for more info"
}

@test "measure: --help names every option" {
    img 0 measure --help
    for option in --target-format --size --image-opts --snapshot --output --force-share; do
        has "$OUT" "$option"
    done
    err ''
}
