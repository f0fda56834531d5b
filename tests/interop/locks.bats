#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Image locks, both ways, against the reference tool's qemu-io.

load ../helper

# hold FILE [OPTION...]: qemu-io has FILE open until `release`
hold() {
    mkfifo to from
    "$PEER_IO" "${@:2}" -f qcow2 "$1" < to > from 2>&1 3>&- &
    HOLDER=$!
    exec 8> to 9< from
    echo length >&8
    read -r -N 9 _ <&9
}

release() {
    exec 8>&- 9<&-
    wait "$HOLDER" || true
    rm to from
}

images() {
    need_peer
    img 0 create -q -f qcow2 a.qcow2 1M
    truncate -s 1M a.raw
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
}

@test "locks: an image that another has open for writing" {
    images
    hold a.qcow2
    img 1 info a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get shared "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 info -U a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 1 check a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get shared "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 check -U a.qcow2
    out 'No errors were found on the image.' \
        'Image end offset: 262144'
    err ''
    img 1 check -r all a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 map a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get shared "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 map -U --output=json a.qcow2
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
    err ''
    img 2 compare a.qcow2 a.raw
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get shared "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 compare -U a.qcow2 a.raw
    out 'Images are identical.'
    err ''
    img 1 convert -O raw a.qcow2 b.raw
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get shared "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 convert -U -O raw a.qcow2 b.raw
    silent
    img 1 convert -n -O qcow2 a.raw a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 convert -O qcow2 a.raw a.qcow2
    out ''
    err 'qemu-img: a.qcow2: error while converting qcow2: Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 create -f qcow2 a.qcow2 1M
    out "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: a.qcow2: Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 create -f raw a.qcow2 1M
    out "Formatting 'a.qcow2', fmt=raw size=1048576"
    err 'qemu-img: a.qcow2: Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 create -f qcow2 -b a.qcow2 -F qcow2 x.qcow2
    out "Formatting 'x.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 backing_file=a.qcow2 backing_fmt=qcow2 lazy_refcounts=off refcount_bits=16"
    err ''
    img 0 info over.qcow2
    mask
    out <<'EOF'
image: over.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
backing file: a.qcow2
backing file format: qcow2
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: over.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 1 info --backing-chain over.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get shared "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 convert -O raw over.qcow2 b.raw
    out ''
    err <<'EOF'
qemu-img: Could not open 'over.qcow2': Could not open backing file: Failed to get shared "write" lock
Is another process using the image [a.qcow2]?
EOF
    img 0 info --image-opts driver=qcow2,file.filename=a.qcow2,file.locking=off
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    release
    img 0 info a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
}

@test "locks: an image that another has open for reading" {
    images
    hold a.qcow2 -r
    img 0 info a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 0 check a.qcow2
    out 'No errors were found on the image.' \
        'Image end offset: 262144'
    err ''
    img 1 check -r all a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 convert -O raw a.qcow2 b.raw
    silent
    img 1 convert -n -O qcow2 -f raw a.raw a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 convert -O qcow2 -f raw a.raw a.qcow2
    out ''
    err 'qemu-img: a.qcow2: error while converting qcow2: Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 create -f qcow2 a.qcow2 1M
    out "Formatting 'a.qcow2', fmt=qcow2 cluster_size=65536 extended_l2=off compression_type=zlib size=1048576 lazy_refcounts=off refcount_bits=16"
    err 'qemu-img: a.qcow2: Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    release
    img 0 convert -n -O qcow2 -f raw a.raw a.qcow2
    silent
}

@test "locks: a backing file of an open image" {
    images
    hold over.qcow2
    img 0 info a.qcow2
    mask
    out <<'EOF'
image: a.qcow2
file format: qcow2
virtual size: 1 MiB (1048576 bytes)
disk size: N
cluster_size: 65536
Format specific information:
    compat: 1.1
    compression type: zlib
    lazy refcounts: false
    refcount bits: 16
    corrupt: false
    extended l2: false
Child node '/file':
    filename: a.qcow2
    protocol type: file
    file length: 192 KiB (197120 bytes)
    disk size: N
EOF
    err ''
    img 1 check -r all a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 1 convert -n -O qcow2 -f raw a.raw a.qcow2
    out ''
    err 'qemu-img: Could not open '\''a.qcow2'\'': Failed to get "write" lock' \
        'Is another process using the image [a.qcow2]?'
    img 0 convert -O raw -f qcow2 a.qcow2 b.raw
    silent
    release
}

# ours FILE...: our convert with a rate limit has them open, for some seconds
ours() {
    pattern big.raw 11 0 8M
    "$IMG" convert -r 2M -f raw "$@" > /dev/null 2>&1 3>&- &
    HOLDER=$!
    sleep 0.7
}

finish() {
    kill -9 "$HOLDER"
    wait "$HOLDER" || true
}

@test "locks: what we write, the reference tool may not open" {
    images
    img 0 create -q -f qcow2 t.qcow2 8M
    ours -n -O qcow2 big.raw t.qcow2
    cmd 1 "$PEER" info t.qcow2
    err "qemu-img: Could not open 't.qcow2': Failed to get shared \"write\" lock" \
        'Is another process using the image [t.qcow2]?'
    cmd 1 "$PEER" check -r all t.qcow2
    cmd 0 "$PEER" info -U t.qcow2
    finish
    cmd 0 "$PEER" info t.qcow2
}

@test "locks: what we read, the reference tool may read and not write" {
    images
    ours -O qcow2 big.raw t.qcow2
    cmd 0 "$PEER" info big.raw
    cmd 1 "$PEER_IO" -f raw -c 'write 0 512' big.raw
    has "$ERR" 'Failed to get "write" lock'
    cmd 1 "$PEER" resize -f raw big.raw 16M
    finish
    cmd 0 "$PEER_IO" -f raw -c 'write 0 512' big.raw
}

@test "locks: -U lets others write" {
    images
    ours -U -O qcow2 big.raw t.qcow2
    cmd 0 "$PEER_IO" -f raw -c 'write 0 512' big.raw
    finish
}

@test "locks: a locked target is not changed" {
    images
    beyond
    hold a.qcow2
    before=$(sum a.qcow2)
    img 1 convert -O qcow2 -f raw a.raw a.qcow2
    img 1 create -f qcow2 a.qcow2 1M
    [ "$(sum a.qcow2)" = "$before" ]
    release
}
