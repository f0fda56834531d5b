#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-map: extents in both forms, through chains and limits.

load ../helper

fixtures() {
    local name
    for name; do
        fixture "$name"
    done
}

chain() {
    fixtures base.qcow2 mid.qcow2 top.qcow2
}

@test "map: raw with holes" {
    truncate -s 4M a.raw
    pattern a.raw 11 1M 64k
    pattern a.raw 00 2M 64k
    img 0 map -f raw a.raw
    out 'Offset          Length          Mapped to       File' \
        '0x100000        0x10000         0x100000        a.raw' \
        '0x200000        0x10000         0x200000        a.raw'
    err ''
    img 0 map -f raw --output=json a.raw
    out <<'EOF'
[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0},
{ "start": 1048576, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 1048576},
{ "start": 1114112, "length": 983040, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 1114112},
{ "start": 2097152, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 2097152},
{ "start": 2162688, "length": 2031616, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 2162688}]
EOF
    err ''
    img 0 map --output=human a.raw
    out 'Offset          Length          Mapped to       File' \
        '0x100000        0x10000         0x100000        a.raw' \
        '0x200000        0x10000         0x200000        a.raw'
    err ''
}

@test "map: a raw file of nothing but a hole, and an empty one" {
    truncate -s 1M a.raw
    img 0 map a.raw
    out 'Offset          Length          Mapped to       File'
    err ''
    img 0 map --output=json a.raw
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 0}]'
    err ''
    : > empty
    img 0 map empty
    out 'Offset          Length          Mapped to       File'
    err ''
    img 0 map --output=json empty
    out '[{ "start": 0, "length": 0, "depth": 0, "present": false, "zero": false, "data": false, "compressed": false}]'
    err ''
}

@test "map: qcow2, data, zeroes, compressed and holes" {
    fixtures v3.qcow2 v2.qcow2 zstd.qcow2
    img 0 map --output=json v3.qcow2
    out <<'EOF'
[{ "start": 0, "length": 12288, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20480},
{ "start": 12288, "length": 53248, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 65536, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},
{ "start": 69632, "length": 61440, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 131072, "length": 8192, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 139264, "length": 122880, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 262144, "length": 4096, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 36864},
{ "start": 266240, "length": 4096, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 270336, "length": 774144, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 1044480, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 40960}]
EOF
    err ''
    img 0 map --output=json v2.qcow2
    out <<'EOF'
[{ "start": 0, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20480},
{ "start": 4096, "length": 4096, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 8192, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 28672},
{ "start": 12288, "length": 53248, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 65536, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},
{ "start": 69632, "length": 974848, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 1044480, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 24576}]
EOF
    err ''
    img 1 map v2.qcow2
    out 'Offset          Length          Mapped to       File' \
        '0               0x1000          0x5000          v2.qcow2' \
        '0x2000          0x1000          0x7000          v2.qcow2'
    err 'qemu-img: File contains external, encrypted or compressed clusters.'
    img 0 map --output=json zstd.qcow2
    out <<'EOF'
[{ "start": 0, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},
{ "start": 4096, "length": 4096, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 8192, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": true},
{ "start": 12288, "length": 4096, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 16384, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 24576},
{ "start": 20480, "length": 1028096, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]
EOF
    err ''
}

@test "map: human output refuses compressed clusters" {
    fixtures v3.qcow2
    img 1 map v3.qcow2
    out 'Offset          Length          Mapped to       File' \
        '0               0x3000          0x5000          v3.qcow2'
    err 'qemu-img: File contains external, encrypted or compressed clusters.'
}

@test "map: subclusters" {
    fixtures subclusters.qcow2
    img 0 map subclusters.qcow2
    out 'Offset          Length          Mapped to       File' \
        '0x200           0x400           0x14200         subclusters.qcow2' \
        '0x10000         0x4000          0x18000         subclusters.qcow2'
    err ''
    img 0 map --output=json subclusters.qcow2
    out <<'EOF'
[{ "start": 0, "length": 512, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false, "offset": 81920},
{ "start": 512, "length": 1024, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 82432},
{ "start": 1536, "length": 2560, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false, "offset": 83456},
{ "start": 4096, "length": 2048, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 86016},
{ "start": 6144, "length": 10240, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false, "offset": 88064},
{ "start": 16384, "length": 49152, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 65536, "length": 16384, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 98304},
{ "start": 81920, "length": 49152, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 131072, "length": 16384, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 147456, "length": 901120, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]
EOF
    err ''
}

@test "map: a chain of three with different sizes" {
    chain
    img 0 map top.qcow2
    out <<'EOF'
Offset          Length          Mapped to       File
0               0x10000         0x5000          base.qcow2
0x10000         0x9000          0x50000         mid.qcow2
0x19000         0x200           0xa00           top.qcow2
0x19200         0x6e00          0x59200         mid.qcow2
0x70000         0x10000         0x35000         base.qcow2
0xb0000         0x1800          0x60000         mid.qcow2
0xb1c00         0xe400          0x61c00         mid.qcow2
0xc8000         0x1000          0x1000          top.qcow2
EOF
    err ''
    img 0 map --output=json top.qcow2
    out <<'EOF'
[{ "start": 0, "length": 65536, "depth": 2, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20480},
{ "start": 65536, "length": 36864, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 102400, "length": 512, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 2560},
{ "start": 102912, "length": 28160, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 365056},
{ "start": 131072, "length": 262144, "depth": 2, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 393216, "length": 65536, "depth": 1, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 458752, "length": 65536, "depth": 2, "present": true, "zero": false, "data": true, "compressed": false, "offset": 217088},
{ "start": 524288, "length": 196608, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 720896, "length": 6144, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 393216},
{ "start": 727040, "length": 1024, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 728064, "length": 58368, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 400384},
{ "start": 786432, "length": 32768, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 819200, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 4096},
{ "start": 823296, "length": 94208, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false}]
EOF
    err ''
    img 0 map --output=json mid.qcow2
    out <<'EOF'
[{ "start": 0, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20480},
{ "start": 65536, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 131072, "length": 262144, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 393216, "length": 65536, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},
{ "start": 458752, "length": 65536, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 217088},
{ "start": 524288, "length": 196608, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 720896, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 393216},
{ "start": 786432, "length": 262144, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]
EOF
    err ''
    img 0 map --output=json base.qcow2
    out <<'EOF'
[{ "start": 0, "length": 131072, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20480},
{ "start": 131072, "length": 262144, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false},
{ "start": 393216, "length": 131072, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 151552}]
EOF
    err ''
}

@test "map: a part" {
    chain
    img 0 map --output=json -s 64k -l 128k top.qcow2
    out <<'EOF'
[{ "start": 65536, "length": 36864, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680},
{ "start": 102400, "length": 512, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 2560},
{ "start": 102912, "length": 28160, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 365056},
{ "start": 131072, "length": 65536, "depth": 2, "present": false, "zero": true, "data": false, "compressed": false}]
EOF
    err ''
    img 0 map --output=json --start-offset 100k --max-length=1k top.qcow2
    out <<'EOF'
[{ "start": 102400, "length": 512, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 2560},
{ "start": 102912, "length": 512, "depth": 1, "present": true, "zero": false, "data": true, "compressed": false, "offset": 365056}]
EOF
    err ''
    img 0 map --output=json --start-offset=880k --max-length 1M top.qcow2
    out '[{ "start": 901120, "length": 16384, "depth": 1, "present": false, "zero": true, "data": false, "compressed": false}]'
    err ''
    img 0 map --output=json -s 1M top.qcow2
    out '[{ "start": 1048576, "length": 0, "depth": 0, "present": false, "zero": false, "data": false, "compressed": false}]'
    err ''
    img 0 map --output=json -s 100 -l 100 top.qcow2
    out '[{ "start": 100, "length": 100, "depth": 2, "present": true, "zero": false, "data": true, "compressed": false, "offset": 20580}]'
    err ''
    img 0 map -s 64k -l 128k top.qcow2
    out <<'EOF'
Offset          Length          Mapped to       File
0x10000         0x9000          0x50000         mid.qcow2
0x19000         0x200           0xa00           top.qcow2
0x19200         0x6e00          0x59200         mid.qcow2
EOF
    err ''
    img 1 map -s nothing top.qcow2
    out ''
    err "qemu-img: Invalid start offset specified: 'nothing'."
    img 1 map -l -5 top.qcow2
    out ''
    err 'qemu-img: Invalid max length specified. Must be between 0 and 9223372036854775807.'
    img 1 map -s 9E top.qcow2
    out ''
    err 'qemu-img: Invalid start offset specified. Must be between 0 and 9223372036854775807.'
}

@test "map: an external data file" {
    img 0 create -q -f qcow2 -o data_file=d.raw,data_file_raw=on x.qcow2 1M
    img 0 map --output=json x.qcow2
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0}]'
    err ''
    img 0 create -q -f qcow2 -o data_file=e.raw y.qcow2 1M
    img 0 map --output=json y.qcow2
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
    err ''
}

@test "map: preallocated metadata" {
    img 0 create -q -f qcow2 -o preallocation=metadata,cluster_size=4k m.qcow2 64k
    img 0 map --output=json m.qcow2
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": true, "data": true, "compressed": false, "offset": 20480}]'
    err ''
    img 0 map m.qcow2
    out 'Offset          Length          Mapped to       File'
    err ''
}

@test "map: a size that is no multiple of 512" {
    head -c 1000 /dev/zero | tr '\0' x > a.raw
    img 0 map --output=json a.raw
    out <<'EOF'
[{ "start": 0, "length": 1000, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 0},
{ "start": 1000, "length": 24, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 1000}]
EOF
    err ''
    img 0 map a.raw
    out 'Offset          Length          Mapped to       File' \
        '0               0x3e8           0               a.raw'
    err ''
}

@test "map: image options and json names" {
    truncate -s 1M a.raw
    pattern a.raw 11 64k 64k
    img 0 map --output=json --image-opts driver=raw,offset=64k,size=128k,file.filename=a.raw
    out <<'EOF'
[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 65536},
{ "start": 65536, "length": 65536, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 131072}]
EOF
    err ''
    img 0 map --output=json 'json:{"driver":"raw","offset":65536,"file":{"driver":"file","filename":"a.raw"}}'
    out <<'EOF'
[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 65536},
{ "start": 65536, "length": 917504, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false, "offset": 131072}]
EOF
    err ''
}

@test "map: what it refuses" {
    img 1 map
    out ''
    err 'qemu-img: Expecting one image file name' \
        "Try 'qemu-img map --help' for more info"
    img 1 map a b
    out ''
    err 'qemu-img: Expecting one image file name' \
        "Try 'qemu-img map --help' for more info"
    img 1 map none
    out ''
    err "qemu-img: Could not open 'none': Could not open 'none': No such file or directory"
    img 1 map --output=xml none
    out ''
    err "qemu-img: --output expects 'human' or 'json' not 'xml'" \
        "Try 'qemu-img map --help' for more info"
    img 1 map --nosuch none
    out ''
    err "qemu-img map: unrecognized option '--nosuch'" \
        "Try 'qemu-img map --help' for more info"
    truncate -s 1M a.raw
    img 1 map -f qcow2 a.raw
    out ''
    err "qemu-img: Could not open 'a.raw': Image is not in qcow2 format"
    fixtures top.qcow2
    img 1 map top.qcow2
    out ''
    err "qemu-img: Could not open 'top.qcow2': Could not open backing file: Could not open 'mid.qcow2': No such file or directory"
}

@test "map: the output of version 7.2" {
    beyond
    fixtures zstd.qcow2
    export IMGBOX_COMPAT=7.2
    img 0 map --output=json zstd.qcow2
    out <<'END'
[{ "start": 0, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true},
{ "start": 4096, "length": 4096, "depth": 0, "present": false, "zero": true, "data": false},
{ "start": 8192, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true},
{ "start": 12288, "length": 4096, "depth": 0, "present": false, "zero": true, "data": false},
{ "start": 16384, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "offset": 24576},
{ "start": 20480, "length": 1028096, "depth": 0, "present": false, "zero": true, "data": false}]
END
    err ''
}

@test "map: --help names every option" {
    img 0 map --help
    for option in --format --image-opts --start-offset --max-length --force-share --output --object; do
        has "$OUT" "$option"
    done
    err ''
}
