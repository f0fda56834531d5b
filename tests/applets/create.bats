#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-create: what it prints, which options it takes, what it refuses.

load ../helper

@test "create: raw by default, a size with a fraction and a suffix" {
    img 0 create a.raw 1M
    out "Formatting 'a.raw', fmt=raw size=1048576"
    err ''
    [ "$(stat -c %s a.raw)" -eq 1048576 ]
    img 0 create -f raw b.raw 1.5G
    out "Formatting 'b.raw', fmt=raw size=1610612736"
    err ''
    [ "$(stat -c %s b.raw)" -eq 1610612736 ]
    img 0 create c.raw 0x200
    out "Formatting 'c.raw', fmt=raw size=512"
    err ''
    [ "$(stat -c %s c.raw)" -eq 512 ]
    img 0 create c.raw 1000
    out "Formatting 'c.raw', fmt=raw size=1000"
    err ''
    [ "$(stat -c %s c.raw)" -eq 1024 ]
}

@test "create: qcow2 with the defaults" {
    img 0 create -f qcow2 a.qcow2 64M
    out "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=67108864 lazy_refcounts=off refcount_bits=16"
    err ''
    [ "$(stat -c %s a.qcow2)" -eq 196616 ]
    [ "$(peek a.qcow2 0 8)" = 514649fb00000003 ]
    img 0 check a.qcow2
    out 'No errors were found on the image.' \
        'Image end offset: 262144'
    err ''
}

@test "create: -q says nothing" {
    img 0 create -q -f qcow2 a.qcow2 64M
    silent
}

@test "create: options of qcow2, in one -o and in several" {
    img 0 create -f qcow2 -o cluster_size=4k,lazy_refcounts=on,refcount_bits=8 c.qcow2 10G
    out "Formatting 'c.qcow2', fmt=qcow2 cluster_size=4096 extended_l2=off compression_type=zlib size=10737418240 lazy_refcounts=on refcount_bits=8"
    err ''
    img 0 create -f qcow2 -o cluster_size=4k -o compat=0.10 a.x 1M
    out "Formatting 'a.x', fmt=qcow2 cluster_size=4096 extended_l2=off compression_type=zlib size=1048576 compat=0.10 lazy_refcounts=off refcount_bits=16"
    err ''
    [ "$(peek a.x 4 4)" = 00000002 ]
    img 0 create -f qcow2 -o extended_l2=on,cluster_size=16k,compression_type=zstd a.x 1M
    out "Formatting 'a.x', fmt=qcow2 cluster_size=16384 extended_l2=on compression_type=zstd size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 info a.x
    mask
    out <<'EOF'
image: a.x
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 16384
Format specific information:
    compat: 1.1
    compression type: zstd
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: true
Child node '/file':
    filename: a.x
    protocol type: file
    file length: 48.5 KiB (49664 bytes)
    disk size: N
EOF
    err ''
}

@test "create: options and operands in any order, attached, long" {
    img 0 create -fqcow2 -ocluster_size=4k a.x 1M
    out "Formatting 'a.x', fmt=qcow2 cluster_size=4096 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create a.x 1M -f qcow2
    out "Formatting 'a.x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create --format qcow2 --options cluster_size=8k --quiet a.x 1M
    silent
    img 0 create --format=qcow2 a.x 1M
    out "Formatting 'a.x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 -- -dash 1M
    out "Formatting '-dash', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    [ -e ./-dash ]
}

@test "create: over a backing file, its size and format" {
    img 0 create -q -f qcow2 a.qcow2 64M
    silent
    img 0 create -f qcow2 -b a.qcow2 -F qcow2 o.qcow2
    out "Formatting 'o.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=67108864 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 --backing a.qcow2 --backing-format qcow2 o.qcow2
    out "Formatting 'o.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=67108864 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 -o backing_file=a.qcow2,backing_fmt=qcow2 o.qcow2
    out "Formatting 'o.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=67108864 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 -b a.qcow2 -F qcow2 larger.qcow2 128M
    out "Formatting 'larger.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=134217728 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 -b a.qcow2 -F qcow2 smaller.qcow2 32M
    out "Formatting 'smaller.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=33554432 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
}

@test "create: a backing file without its format is refused; the error names the probed format" {
    img 0 create -q -f qcow2 a.qcow2 1M
    silent
    img 1 create -f qcow2 -b a.qcow2 o.qcow2
    out ''
    err 'qemu-img: o.qcow2: Backing file specified without backing format' \
        'Detected format of qcow2.'
    truncate -s 1M a.raw
    img 1 create -f qcow2 -b a.raw o.qcow2
    out ''
    err 'qemu-img: o.qcow2: Backing file specified without backing format' \
        'Detected format of raw.'
    [ ! -e o.qcow2 ]
}

@test "create: the whole backing chain is opened" {
    img 0 create -q -f qcow2 low.qcow2 1M
    img 0 create -q -f qcow2 -b low.qcow2 -F qcow2 mid.qcow2
    rm low.qcow2
    img 1 create -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
    err "qemu-img: top.qcow2: Could not open backing file: Could not open 'low.qcow2': No such file or directory" \
        'Could not open backing image.'
    [ ! -e top.qcow2 ]
    img 0 create -q -f raw other.raw 1M
    backing='json:{"driver":"qcow2","file":{"driver":"file","filename":"mid.qcow2"},"backing":{"driver":"raw","file":{"driver":"file","filename":"other.raw"}}}'
    img 0 create -q -f qcow2 -b "$backing" -F qcow2 top.qcow2
    silent
}

@test "create: -u does not look at the backing file" {
    img 1 create -f qcow2 -b none.qcow2 -F qcow2 o.qcow2
    out ''
    err "qemu-img: o.qcow2: Could not open 'none.qcow2': No such file or directory" \
        'Could not open backing image.'
    img 1 create -f qcow2 -u -b none.qcow2 -F qcow2 o.qcow2
    out ''
    err 'qemu-img: o.qcow2: Image creation needs a size parameter'
    img 0 create -f qcow2 -u -b none.qcow2 -F qcow2 o.qcow2 1G
    out "Formatting 'o.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1073741824 backing_file=none.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
}

@test "create: -B is another spelling of -F" {
    beyond
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 create -f qcow2 -b a.qcow2 -B qcow2 o.qcow2
    out "Formatting 'o.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
}

@test "create: without a size" {
    img 1 create -f qcow2 a.qcow2
    out ''
    err 'qemu-img: a.qcow2: Image creation needs a size parameter'
    img 1 create -f raw a.raw
    out ''
    err 'qemu-img: a.raw: Image creation needs a size parameter'
    [ ! -e a.raw ]
}

@test "create: invalid sizes" {
    img 1 create a.x 1Q
    out ''
    err "qemu-img: Invalid image size specified: '1Q'."
    img 1 create a.x ''
    out ''
    err "qemu-img: Invalid image size specified: ''."
    img 1 create a.x 1.5
    out ''
    err "qemu-img: Invalid image size specified: '1.5'."
    img 1 create a.x 1kk
    out ''
    err "qemu-img: Invalid image size specified: '1kk'."
    img 1 create a.x -- -1
    out ''
    err 'qemu-img: Invalid image size specified. Must be between 0 and 9223372036854775807.'
    img 1 create a.x 8E
    out ''
    err 'qemu-img: Invalid image size specified. Must be between 0 and 9223372036854775807.'
    img 1 create a.x 99999999999E
    out ''
    err 'qemu-img: Invalid image size specified. Must be between 0 and 9223372036854775807.'
    img 1 create a.x 0x1fffffffffffffff0
    out ''
    err 'qemu-img: Invalid image size specified. Must be between 0 and 9223372036854775807.'
    img 1 create a b c
    out ''
    err "qemu-img: Invalid image size specified: 'b'."
    [ ! -e a.x ]
}

@test "create: the size given twice" {
    img 0 create -f raw -o size=2M s.raw
    out "Formatting 's.raw', fmt=raw size=2097152"
    err ''
    img 1 create -f raw -o size=2M s.raw 1M
    out ''
    err 'qemu-img: s.raw: The image size must be specified only once'
    img 1 create -f qcow2 -o size=3M x.qcow2 1000
    out ''
    err 'qemu-img: x.qcow2: The image size must be specified only once'
}

@test "create: formats and options that do not exist" {
    img 1 create -f nosuch a.raw 1M
    out ''
    err "qemu-img: a.raw: Unknown file format 'nosuch'"
    img 1 create -f qcow2 -o nosuch=1 x.qcow2 1M
    out ''
    err "qemu-img: x.qcow2: Invalid parameter 'nosuch'"
    img 1 create -f raw -o cluster_size=4k x.raw 1M
    out ''
    err "qemu-img: x.raw: Invalid parameter 'cluster_size'"
    truncate -s 1M a.raw
    img 1 create -f qcow2 -b a.raw -F nosuch x.qcow2
    out ''
    err "qemu-img: x.qcow2: Unknown driver 'nosuch'" \
        'Could not open backing image.'
    img 1 create -f raw -b a.raw -F raw x.raw
    out ''
    err "qemu-img: x.raw: Backing file not supported for file format 'raw'"
    img 1 create --nosuch a.x 1
    out ''
    err "qemu-img create: unrecognized option '--nosuch'" \
        "Try 'qemu-img create --help' for more info"
    img 1 create -y a.x 1
    out ''
    err "qemu-img create: invalid option -- 'y'" \
        "Try 'qemu-img create --help' for more info"
    img 1 create
    out ''
    err 'qemu-img: Expecting image file name' \
        "Try 'qemu-img create --help' for more info"
    img 1 create -f
    out ''
    err "qemu-img create: option requires an argument -- 'f'" \
        "Try 'qemu-img create --help' for more info"
    [ ! -e x.qcow2 ]
}

@test "create: values out of range" {
    img 1 create -f qcow2 -o cluster_size=1000 x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=1000 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Cluster size must be a power of two between 512 and 2048k'
    img 1 create -f qcow2 -o cluster_size=4M x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=4194304 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Cluster size must be a power of two between 512 and 2048k'
    img 1 create -f qcow2 -o cluster_size=256 x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=256 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Cluster size must be a power of two between 512 and 2048k'
    img 1 create -f qcow2 -o compat=0.11 x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 compat=0.11 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: x.qcow2: Parameter 'version' does not accept value '0.11'"
    img 1 create -f qcow2 -o refcount_bits=3 x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=3"
    err 'qemu-img: x.qcow2: Refcount width must be a power of two and may not exceed 64 bits'
    img 1 create -f qcow2 -o refcount_bits=128 x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=128"
    err 'qemu-img: x.qcow2: Refcount width must be a power of two and may not exceed 64 bits'
    img 1 create -f qcow2 -o preallocation=wrong x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=wrong compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: x.qcow2: Parameter 'preallocation' does not accept value 'wrong'"
    img 1 create -f qcow2 -o compression_type=lzma x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=lzma size=1048576 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: x.qcow2: Parameter 'compression-type' does not accept value 'lzma'"
    img 1 create -f qcow2 -o lazy_refcounts=maybe x.qcow2 1M
    out ''
    err "qemu-img: x.qcow2: Parameter 'lazy_refcounts' expects 'on' or 'off'"
    img 1 create -f qcow2 -o cluster_size=many x.qcow2 1M
    out ''
    err "qemu-img: x.qcow2: Parameter 'cluster_size' expects a non-negative number below 2^64" \
        'Optional suffix k, M, G, T, P or E means kilo-, mega-, giga-, tera-, peta-' \
        'and exabytes, respectively.'
    img 1 create -f qcow2 x.qcow2 7E
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=8070450532247928832 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: x.qcow2: The image size is too large for file format 'qcow2' (try using a larger cluster size)"
}

@test "create: options that do not go together" {
    img 1 create -f qcow2 -o compat=0.10,lazy_refcounts=on x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 compat=0.10 lazy_refcounts=on refcount_bits=16"
    err 'qemu-img: x.qcow2: Lazy refcounts only supported with compatibility level 1.1 and above (use version=v3 or greater)'
    img 1 create -f qcow2 -o compat=0.10,refcount_bits=8 x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 compat=0.10 lazy_refcounts=off refcount_bits=8"
    err 'qemu-img: x.qcow2: Different refcount widths than 16 bits require compatibility level 1.1 or above (use version=v3 or greater)'
    img 1 create -f qcow2 -o compat=0.10,compression_type=zstd x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zstd size=1048576 compat=0.10 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Non-zlib compression type is only supported with compatibility level 1.1 and above (use version=v3 or greater)'
    img 1 create -f qcow2 -o compat=0.10,extended_l2=on x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=on compression_type=zlib size=1048576 compat=0.10 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Extended L2 entries are only supported with compatibility level 1.1 and above (use version=v3 or greater)'
    img 1 create -f qcow2 -o extended_l2=on,cluster_size=8k x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=8192 extended_l2=on compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Extended L2 entries are only supported with cluster sizes of at least 16384 bytes'
    img 1 create -f qcow2 -o data_file_raw=on x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 data_file_raw=on lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: data-file-raw requires data-file'
    truncate -s 1M a.raw
    img 1 create -f qcow2 -o data_file=d.raw,data_file_raw=on,backing_file=a.raw,backing_fmt=raw x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 backing_file=a.raw backing_fmt=raw data_file=d.raw data_file_raw=on lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Backing file and data-file-raw cannot be used at the same time'
    img 1 create -f qcow2 -o preallocation=full,backing_file=a.raw,backing_fmt=raw x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=full compression_type=zlib size=1048576 backing_file=a.raw backing_fmt=raw lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Backing file and preallocation can only be used at the same time if extended_l2 is on'
    img 1 create -f qcow2 -o preallocation=metadata,backing_file=a.raw,backing_fmt=raw x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata compression_type=zlib size=1048576 backing_file=a.raw backing_fmt=raw lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: x.qcow2: Backing file and preallocation can only be used at the same time if extended_l2 is on'
}

@test "create: an external data file" {
    img 0 create -f qcow2 -o data_file=d.raw,data_file_raw=on x.qcow2 1M
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 data_file=d.raw data_file_raw=on lazy_refcounts=off refcount_bits=16"
    err ''
    [ "$(stat -c %s d.raw)" -eq 1048576 ]
    img 0 info x.qcow2
    mask
    out <<'EOF'
image: x.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    data file: d.raw
    data file raw: true
    corrupt: false
    extended l2: false
Child node '/file':
    filename: x.qcow2
    protocol type: file
    file length: 320 KiB (327680 bytes)
    disk size: N
EOF
    err ''
    img 0 check x.qcow2
    out 'No errors were found on the image.' \
        '16/16 = 100.00% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 327680'
    err ''
}

@test "create: preallocation" {
    img 0 create -f qcow2 -o preallocation=metadata m.qcow2 8M
    out "Formatting 'm.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=metadata compression_type=zlib size=8388608 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 -o preallocation=falloc f.qcow2 8M
    out "Formatting 'f.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=falloc compression_type=zlib size=8388608 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 -o preallocation=full w.qcow2 8M
    out "Formatting 'w.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off preallocation=full compression_type=zlib size=8388608 lazy_refcounts=off refcount_bits=16"
    err ''
    [ "$(stat -c %s m.qcow2)" -eq 8716288 ]
    [ "$(stored w.qcow2)" -ge 8388608 ]
    [ "$(stat -c %b f.qcow2)" -ge 16384 ]
    [ "$(stored m.qcow2)" -lt 524288 ]
    img 0 check m.qcow2
    out 'No errors were found on the image.' \
        '128/128 = 100.00% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 8716288'
    err ''
    img 0 check w.qcow2
    out 'No errors were found on the image.' \
        '128/128 = 100.00% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 8716288'
    err ''
    img 0 create -f raw -o preallocation=falloc x.raw 1M
    out "Formatting 'x.raw', fmt=raw size=1048576 preallocation=falloc"
    err ''
    [ "$(stat -c %b x.raw)" -ge 2048 ]
    img 0 create -f raw -o preallocation=full x.raw 1M
    out "Formatting 'x.raw', fmt=raw size=1048576 preallocation=full"
    err ''
    img 1 create -f raw -o preallocation=metadata x.raw 1M
    out "Formatting 'x.raw', fmt=raw size=1048576 preallocation=metadata"
    err 'qemu-img: x.raw: Unsupported preallocation mode: metadata'
    img 1 create -f raw -o preallocation=wrong x.raw 1M
    out "Formatting 'x.raw', fmt=raw size=1048576 preallocation=wrong"
    err 'qemu-img: x.raw: invalid parameter value: wrong'
}

@test "create: -o help lists the options" {
    img 0 create -f raw -o help
    out <<'END'
Supported raw options:
  size=<size>            - Virtual disk size

The protocol level may support further options.
Specify the target filename to include those options.
END
    img 0 create -f qcow2 -o help a.qcow2
    grep -v -e '  encrypt' -e '  keep_data_file' "$OUT" > opts || true
    same opts <<'END'
Supported options:
  backing_file=<str>     - File name of a base image
  backing_fmt=<str>      - Image format of the base image
  cluster_size=<size>    - qcow2 cluster size
  compat=<str>           - Compatibility level (v2 [0.10] or v3 [1.1])
  compression_type=<str> - Compression method used for image cluster compression
  data_file=<str>        - File name of an external data file
  data_file_raw=<bool (on/off)> - The external data file must stay valid as a raw image
  extended_l2=<bool (on/off)> - Extended L2 tables
  extent_size_hint=<size> - Extent size hint for the image file, 0 to disable
  lazy_refcounts=<bool (on/off)> - Postpone refcount updates
  nocow=<bool (on/off)>  - Turn off copy-on-write (valid only on btrfs)
  preallocation=<str>    - Preallocation mode (allowed values: off, metadata, falloc, full)
  refcount_bits=<num>    - Width of a reference count entry in bits
  size=<size>            - Virtual disk size
END
}

@test "create: -o ? also with a file name, as libvirt asks" {
    img 0 create -f qcow2 -o '?' /dev/null
    has "$OUT" '^  compat=<str> '
    err ''
}

@test "create: places that cannot be written" {
    img 1 create /nonexistent/a.raw 1M
    out "Formatting '/nonexistent/a.raw', fmt=raw size=1048576"
    err "qemu-img: /nonexistent/a.raw: Could not create '/nonexistent/a.raw': No such file or directory"
    img 1 create -f qcow2 /nonexistent/a.qcow2 1M
    out "Formatting '/nonexistent/a.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: /nonexistent/a.qcow2: Could not create '/nonexistent/a.qcow2': No such file or directory"
    mkdir dir
    img 1 create dir 1M
    out "Formatting 'dir', fmt=raw size=1048576"
    err "qemu-img: dir: Could not create 'dir': Is a directory"
    img 1 create -f qcow2 dir 1M
    out "Formatting 'dir', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: dir: Could not create 'dir': Is a directory"
    img 1 create -f qcow2 '' 1M
    out "Formatting '', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err "qemu-img: : Could not create '': No such file or directory"
}

@test "create: a place where nothing can be is named before options that are wrong, too" {
    mkdir dir
    for format in qcow qcow2 qed vdi vhdx vpc parallels; do
        img 1 create -q -f $format dir 9223372036854775807
        err "qemu-img: dir: Could not create 'dir': Is a directory"
        img 1 create -q -f $format none/a 9223372036854775807
        err "qemu-img: none/a: Could not create 'none/a': No such file or directory"
    done
    for case in qcow2:cluster_size=3 qcow2:compat=7 qed:table_size=3 vhdx:subformat=x vpc:subformat=x luks:key-secret=x \
        raw:preallocation=metadata; do
        img 1 create -q -f "${case%%:*}" -o "${case#*:}" none/a 1M
        err "qemu-img: none/a: Could not create 'none/a': No such file or directory"
    done
    # What is refused without a look at the place.
    img 1 create -q -f vdi -o preallocation=x none/a 1M
    err "qemu-img: none/a: invalid parameter value: x"
    img 1 create -q -f qcow2 -o encryption=on,encrypt.format=luks none/a 1M
    err "qemu-img: none/a: 'encrypt.format' and its alias 'encryption' can't be used at the same time"
    # A good place: the options are wrong, and what is there stays.
    echo old >a
    img 1 create -q -f qcow2 -o cluster_size=3 a 1M
    err "qemu-img: a: Cluster size must be a power of two between 512 and 2048k"
    [ "$(cat a)" = old ]
}

@test "create: names with a colon and a comma" {
    img 0 create -f qcow2 'a,b.x' 1M
    out "Formatting 'a,b.x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    [ -e a,b.x ]
    img 1 create -f qcow2 'a:b.x' 1M
    out ''
    err "qemu-img: a:b.x: Unknown protocol 'a'"
    img 0 create -f qcow2 'file:a:b.x' 1M
    out "Formatting 'file:a:b.x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    [ -e a:b.x ]
    img 0 create -f qcow2 './c:d.x' 1M
    out "Formatting './c:d.x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 create -f qcow2 $'with space\nand newline' 1M
    out <<'EOF'
Formatting 'with space
and newline', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16
EOF
    err ''
    [ -e $'with space\nand newline' ]
}

@test "create: an existing target of another type is written over" {
    sample a.x
    img 0 create -f qcow2 a.x 1M
    out "Formatting 'a.x', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 check a.x
    out 'No errors were found on the image.' \
        'Image end offset: 262144'
    err ''
    [ "$(stat -c %s a.x)" -eq 196616 ]
}

@test "create: invalid options leave the old target alone" {
    sample a.x
    before=$(sum a.x)
    img 1 create -f qcow2 -o nosuch=1 a.x 1M
    out ''
    err "qemu-img: a.x: Invalid parameter 'nosuch'"
    img 1 create -f nosuch a.x 1M
    out ''
    err "qemu-img: a.x: Unknown file format 'nosuch'"
    img 1 create -f qcow2 -b none -F raw a.x 1M
    out ''
    err "qemu-img: a.x: Could not open 'none': No such file or directory" \
        'Could not open backing image.'
    [ "$(sum a.x)" = "$before" ]
}

@test "create: over a file that is not regular" {
    img 1 create -f qcow2 /dev/null 1M
    out "Formatting '/dev/null', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: /dev/null: Image is not in qcow2 format'
}

@test "create: --help" {
    img 0 create --help
    has "$OUT" 'create '
    err ''
}
