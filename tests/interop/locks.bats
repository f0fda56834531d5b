#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Image locks, both ways, against the reference tool's qemu-io.

load ../helper

images() {
    need_peer
    img 0 create -q -f qcow2 a.qcow2 1M
    truncate -s 1M a.raw
    img 0 create -q -f qcow2 -b a.qcow2 -F qcow2 over.qcow2
}

@test "locks: an image that another has open for writing" {
    images
    hold qcow2 a.qcow2
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
    let_go
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
    hold qcow2 a.qcow2 -r
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
    let_go
    img 0 convert -n -O qcow2 -f raw a.raw a.qcow2
    silent
}

@test "locks: a backing file of an open image" {
    images
    hold qcow2 over.qcow2
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
    let_go
}

@test "locks: what we write, the reference tool may not open" {
    images
    img 0 create -q -f qcow2 t.qcow2 8M
    pattern big.raw 11 0 8M
    copying t.qcow2 -f raw -n -O qcow2 big.raw t.qcow2
    cmd 1 "$PEER" info t.qcow2
    err "qemu-img: Could not open 't.qcow2': Failed to get shared \"write\" lock" \
        'Is another process using the image [t.qcow2]?'
    cmd 1 "$PEER" check -r all t.qcow2
    cmd 0 "$PEER" info -U t.qcow2
    stop
    cmd 0 "$PEER" info t.qcow2
}

@test "locks: what we read, the reference tool may read and not write" {
    images
    pattern big.raw 11 0 8M
    copying t.qcow2 -f raw -O qcow2 big.raw t.qcow2
    cmd 0 "$PEER" info big.raw
    cmd 1 "$PEER_IO" -f raw -c 'write 0 512' big.raw
    has "$ERR" 'Failed to get "write" lock'
    cmd 1 "$PEER" resize -f raw big.raw 16M
    stop
    cmd 0 "$PEER_IO" -f raw -c 'write 0 512' big.raw
}

@test "locks: -U lets others write" {
    images
    pattern big.raw 11 0 8M
    copying t.qcow2 -f raw -U -O qcow2 big.raw t.qcow2
    cmd 0 "$PEER_IO" -f raw -c 'write 0 512' big.raw
    stop
}

@test "locks: a locked target is not changed" {
    images
    beyond
    hold qcow2 a.qcow2
    before=$(sum a.qcow2)
    img 1 convert -O qcow2 -f raw a.raw a.qcow2
    img 1 create -f qcow2 a.qcow2 1M
    [ "$(sum a.qcow2)" = "$before" ]
    let_go
}

# ---- every command against the reference tool, each on a copy of its own ----

# @ is the image that is held; copies are made anew before each command.
COMMANDS='create -q -f qcow2 @ 1M
create -q -f raw @ 1M
check @
check -U @
check -r leaks @
compare @ other.raw
compare -U @ other.raw
convert -O raw @ x
convert -U -O raw @ x
convert -l s -O raw @ x
convert -f raw -O qcow2 other.raw @
convert -n -f raw -O qcow2 other.raw @
dd -f qcow2 if=@ of=x bs=64k
dd -U -f qcow2 if=@ of=x bs=64k
dd -f raw -O qcow2 if=other.raw of=@ bs=64k
map @
measure -O qcow2 @
measure -U -O qcow2 @
measure -l s -O raw @
resize @ 2M
resize --shrink @ 512k
amend -o compat=0.10 @
amend -o lazy_refcounts=on @
snapshot -l @
snapshot -l -U @
snapshot -c new @
snapshot -U -c new @
snapshot -a s @
snapshot -d s @
rebase -b new.qcow2 -F qcow2 @
rebase -U -b new.qcow2 -F qcow2 @
rebase -u -b new.qcow2 -F qcow2 @
rebase -b @ -F qcow2 new.qcow2
rebase -U -b @ -F qcow2 new.qcow2
rebase -b new.qcow2 -F qcow2 over.qcow2
rebase -U -b new.qcow2 -F qcow2 over.qcow2
rebase -u -b new.qcow2 -F qcow2 over.qcow2
commit @
commit over.qcow2
commit -d over.qcow2
commit -b a.qcow2 over.qcow2
bitmap --add @ c
bitmap --remove @ b
bitmap --clear @ b
bitmap --disable @ b
bitmap --add --merge b -b @ -F qcow2 new.qcow2 n
bitmap --add over.qcow2 n
bench -c 2 @
bench -c 2 -U @
bench -c 2 -w @
bench -c 2 -w -U @'

# hold_two FILE [OPTION]: FILE is open in both folders
hold_two() {
    local dir
    HOLDERS=()
    for dir in peer ours; do
        mkdir -p "$dir"
        cp master/* "$dir/"
        mkfifo "to.$dir" "from.$dir"
        (cd "$dir" && exec "$PEER_IO" "${@:2}" -f qcow2 "$1") < "to.$dir" > "from.$dir" 2>&1 3>&- &
        HOLDERS+=($!)
        if [ "$dir" = peer ]; then exec 5> to.peer 6< from.peer; else exec 8> to.ours 9< from.ours; fi
    done
    echo length >&5
    echo length >&8
    read -r -N 9 _ <&6
    read -r -N 9 _ <&9
}

release_two() {
    exec 5>&- 6<&- 8>&- 9<&-
    wait "${HOLDERS[@]}" || true
    rm -r to.* from.* peer ours
}

# one DIR TOOL HELD WORD...: run it there; what it said and did to the held file is in got.DIR
one() {
    local dir=$1 tool=$2 held=$3 got=0 before file
    shift 3
    for file in master/*; do
        [ "${file##*/}" = "$held" ] || cp "$file" "$dir/"
    done
    before=$(sum "$dir/$held")
    (cd "$dir" && exec -a qemu-img "$tool" "$@") > "out.$dir" 2> "err.$dir" || got=$?
    sed -i -E -e 's/completed in [0-9.]+/completed in N/' -e 's/[0-9-]{10} [0-9:]{8}/DATE/' "out.$dir"
    { echo "exit code $got"; cat "out.$dir" "err.$dir"; } > "got.$dir"
    if [ "$(sum "$dir/$held")" != "$before" ]; then
        echo changed >> "got.$dir"
        cp "master/$held" "$dir/"     # in place: it stays the file that is held
    fi
}

# as_peer FILE [OPTION]: all commands while FILE is held
as_peer() {
    local bad=0 words word list
    need_peer
    beyond
    mkdir master
    cd master || return 1
    "$PEER" create -q -f qcow2 a.qcow2 1M
    "$PEER_IO" -f qcow2 -c 'write -P 1 0 300k' a.qcow2 > /dev/null
    "$PEER" bitmap --add a.qcow2 b
    "$PEER" snapshot -c s a.qcow2
    "$PEER" create -q -f qcow2 -b a.qcow2 -F qcow2 mid.qcow2
    "$PEER" create -q -f qcow2 -b mid.qcow2 -F qcow2 over.qcow2
    "$PEER_IO" -f qcow2 -c 'write -P 3 200k 300k' over.qcow2 > /dev/null
    "$PEER" create -q -f qcow2 new.qcow2 1M
    truncate -s 1M other.raw
    cd "$BATS_TEST_TMPDIR" || return 1
    hold_two "$@"
    while read -r words; do
        list=()
        for word in $words; do
            if [ "$word" = @ ]; then list+=("$1"); else list+=("$word"); fi
        done
        one peer "$PEER" "$1" "${list[@]}" < /dev/null
        one ours "$IMG" "$1" "${list[@]}" < /dev/null
        diff -u got.peer got.ours || { echo "^ $1 held $2: $words"; bad=1; }
    done <<< "$COMMANDS"
    release_two
    [ "$bad" -eq 0 ]
}

@test "locks: every command on an image that another has open for writing" {
    as_peer a.qcow2
}

@test "locks: every command on an image that another has open for reading" {
    as_peer a.qcow2 -r
}

@test "locks: every command on the overlay of a chain that another has open" {
    as_peer over.qcow2
}

@test "locks: a raw file in use is refused as a target before it is cut" {
    need_peer
    beyond
    pattern a.raw 11 0 1M
    truncate -s 64k b.raw
    before=$(sum a.raw)
    hold raw a.raw
    img 1 create -q -f qcow2 a.raw 1M
    err 'qemu-img: a.raw: Failed to get shared "write" lock' \
        'Is another process using the image [a.raw]?'
    img 1 convert -f raw -O qcow2 b.raw a.raw
    err 'qemu-img: a.raw: error while converting qcow2: Failed to get shared "write" lock' \
        'Is another process using the image [a.raw]?'
    img 1 dd -f raw -O qcow2 if=b.raw of=a.raw
    err 'qemu-img: a.raw: error while creating output image: Failed to get shared "write" lock' \
        'Is another process using the image [a.raw]?'
    [ "$(sum a.raw)" = "$before" ]
    let_go
}
