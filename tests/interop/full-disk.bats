#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# A disk that is full, in each command that writes: what is said, and that the images are sound afterwards.
# The images lie on a small tmpfs of their own; `full N` makes it so small that N KiB are left.

load ../helper

setup() {
    fresh_folder
    need_peer
    need_root
    mkdir disk
    mount -t tmpfs -o size=64m tmpfs disk 2> /dev/null || skip 'no tmpfs'
    cd disk || return 1
}

teardown() {
    cd /
    umount -l "$BATS_TEST_TMPDIR/disk" 2> /dev/null || true
}

# io FILE COMMAND...: qemu-io, silent
io() {
    local file=$1 command
    shift
    for command; do set -- "$@" -c "$command"; shift; done
    "$PEER_IO" -f qcow2 "$@" "$file" > /dev/null
}

# image NAME [OPTION...]: with 3 MiB of data and 1 MiB of zeroes
image() {
    qemu-img create -q -f qcow2 "${@:2}" "$1" 16M
    io "$1" 'write -P 4 0 3M' 'write -z 5M 1M'
}

full() {
    local used
    used=$(df -k --output=used . | tail -n 1)
    mount -o "remount,size=$((used + $1))k" .
}

# content FILE: digest of what a guest reads: its size, and the blocks that are not zero
content() {
    "$PEER" convert -f qcow2 -O raw "$1" ../guest.raw
    python3 - ../guest.raw << 'EOF'
import hashlib, os, sys
fd, digest, at = os.open(sys.argv[1], os.O_RDONLY), hashlib.sha256(), 0
size, zeroes = os.fstat(fd).st_size, bytes(4096)
while at < size:
    try:
        at = os.lseek(fd, at, os.SEEK_DATA) // 4096 * 4096
    except OSError:
        break
    block = os.pread(fd, 4096, at)
    if block != zeroes[:len(block)]:
        digest.update(b'%d:' % at + block)
    at += 4096
print(size, digest.hexdigest())
EOF
}

# fails MESSAGE ARGUMENT...: exit code 1, that one line
fails() {
    local message=$1
    shift
    img 1 "$@"
    err "qemu-img: $message: No space left on device"
}

# clean FILE: no errors and no leaked clusters (qemu-img itself leaks some here and there)
clean() {
    local got=0
    "$PEER" check "$1" > "$OUT" 2>&1 || got=$?
    [ "$got" -eq 0 ] || [ -n "$IMG_IS_PEER" ] || { echo "check of $1: $got"; show; return 1; }
}

# sound FILE DIGEST: the same, and the content is that
sound() {
    clean "$1"
    [ "$(content "$1")" = "$2" ] || { echo "$1: another content"; return 1; }
}

# gone FILE: what is not complete is removed (qemu-img keeps some)
gone() {
    [ -z "$IMG_IS_PEER" ] || rm -f "$1"
    [ ! -e "$1" ]
}

@test "full disk: create" {
    image a.qcow2
    full 300
    fails 'n.raw: Could not preallocate new data' create -f raw -o preallocation=falloc n.raw 4M
    [ ! -s n.raw ]
    fails 'n.raw: Could not write zeros for preallocation' create -f raw -o preallocation=full n.raw 4M
    [ ! -s n.raw ]
    gone n.raw
    fails 'n.qcow2: Could not resize image: Failed to resize underlying file: Could not preallocate new data' \
        create -f qcow2 -o preallocation=falloc n.qcow2 4M
    fails 'n.qcow2: Could not resize image: Failed to resize underlying file: Could not write zeros for preallocation' \
        create -f qcow2 -o preallocation=full n.qcow2 4M
    fails 'n.qcow2: Could not resize image: Allocating clusters failed' create -f qcow2 -o preallocation=metadata n.qcow2 64G
    [ ! -e n.qcow2 ]
    full 72
    fails 'n.qcow2: Could not write refcount table' create -f qcow2 n.qcow2 4M
    full 0
    fails 'n.qcow2: Could not write qcow2 header' create -f qcow2 n.qcow2 4M
    [ ! -e n.qcow2 ]
}

@test "full disk: convert and dd" {
    image a.qcow2
    qemu-img create -q -f qcow2 t.qcow2 16M
    a=$(content a.qcow2)
    before=$(sum a.qcow2)
    full 300
    fails 'error while writing at byte 0' convert -O raw a.qcow2 n.raw
    gone n.raw
    fails 'n.raw: error while converting raw: Could not preallocate new data' \
        convert -O raw -o preallocation=falloc a.qcow2 n.raw
    fails 'error while writing to output image file' dd if=a.qcow2 of=n.raw bs=64k
    gone n.raw
    img 1 convert -n -O qcow2 a.qcow2 t.qcow2
    has "$ERR" '^qemu-img: error while writing at byte [0-9]+: No space left on device$'
    full 0
    fails 'n.qcow2: error while converting qcow2: Could not write qcow2 header' convert -O qcow2 a.qcow2 n.qcow2
    fails 'n.qcow2: error while creating output image: Could not write qcow2 header' dd -O qcow2 if=a.qcow2 of=n.qcow2
    [ ! -e n.qcow2 ]
    [ "$(sum a.qcow2)" = "$before" ]
    sound a.qcow2 "$a"
}

@test "full disk: a copy that ends early leaves an image without errors" {
    [ -n "$IMG_IS_PEER" ] || keep=--keep-partial
    image a.qcow2
    for options in '' '-W' '-c -S0 -o cluster_size=512'; do
        case $options in
            -c*) full 72 ;;
            *) full 500 ;;
        esac
        # shellcheck disable=SC2086
        img 1 convert -O qcow2 $keep $options a.qcow2 n.qcow2
        has "$ERR" '^qemu-img: error while writing at byte [0-9]+: No space left on device$'
        clean n.qcow2
        rm n.qcow2
    done
}

@test "full disk: resize" {
    qemu-img create -q -f raw r.raw 1M
    image a.qcow2
    a=$(content a.qcow2)
    full 300
    fails 'Could not preallocate new data' resize -f raw --preallocation=falloc r.raw 8M
    fails 'Could not write zeros for preallocation' resize -f raw --preallocation=full r.raw 8M
    [ "$(stat -c %s r.raw)" -eq 1048576 ]
    fails 'Failed to resize underlying file: Could not preallocate new data' resize --preallocation=falloc a.qcow2 20M
    fails 'Failed to resize underlying file: Could not write zeros for preallocation' \
        resize --preallocation=full a.qcow2 20M
    fails 'Failed to grow the L1 table' resize a.qcow2 100T
    sound a.qcow2 "$a"
    img 1 resize --preallocation=metadata a.qcow2 8G
    has "$ERR" '^qemu-img: Allocating clusters failed: No space left on device$'
    sound a.qcow2 "$a"
    full 0
    fails 'Failed to resize refcount structures' resize --preallocation=full a.qcow2 20M
    sound a.qcow2 "$a"
}

@test "full disk: amend" {
    image a.qcow2
    a=$(content a.qcow2)
    full 0
    fails 'Failed to write refblock' amend -o refcount_bits=64 a.qcow2
    sound a.qcow2 "$a"
    full 72
    fails 'Failed to write the new reftable' amend -o refcount_bits=64 a.qcow2
    fails 'Failed to grow the L1 table' amend -o size=100T a.qcow2
    sound a.qcow2 "$a"
}

@test "full disk: snapshots can be deleted and applied; what does not fit is not created" {
    image a.qcow2
    "$PEER" snapshot -c one a.qcow2
    before=$(content a.qcow2)
    io a.qcow2 'write -P 5 512k 256k'
    after=$(content a.qcow2)
    cp a.qcow2 b.qcow2
    full 0
    fails "Could not create snapshot 'two'" snapshot -c two a.qcow2
    sound a.qcow2 "$after"
    [ "$(qemu-img snapshot -l a.qcow2 | wc -l)" -eq 3 ]
    full 72
    img 0 snapshot -d one a.qcow2
    silent
    sound a.qcow2 "$after"
    img 0 snapshot -a one b.qcow2
    silent
    sound b.qcow2 "$before"
}

# Holes are dug where tables are zero, so that also what is changed in place needs room.
@test "full disk: snapshots in tables with holes" {
    qemu-img create -q -f qcow2 a.qcow2 2G
    io a.qcow2 'write -P 4 0 3M'
    "$PEER" snapshot -c one a.qcow2
    before=$(content a.qcow2)
    io a.qcow2 'write -P 5 512k 256k' 'write -P 6 1200M 64k' 'write -P 7 1800M 64k'
    after=$(content a.qcow2)
    fallocate -d a.qcow2
    for room in 4 40 80 160 220 280; do
        cp --sparse=always a.qcow2 applied.qcow2
        cp --sparse=always a.qcow2 deleted.qcow2
        full "$room"
        got=0
        qemu-img snapshot -a one applied.qcow2 2> "$ERR" || got=$?
        sound applied.qcow2 "$([ "$got" -eq 0 ] && echo "$before" || echo "$after")"
        rm applied.qcow2
        full "$room"
        got=0
        qemu-img snapshot -d one deleted.qcow2 2> "$ERR" || got=$?
        sound deleted.qcow2 "$after"
        # what could not be deleted is still there
        [ -n "$IMG_IS_PEER" ] || [ "$(qemu-img snapshot -l deleted.qcow2 | grep -c one)" -eq "$got" ]
        rm deleted.qcow2
        mount -o remount,size=64m .
    done
}

# Whatever it is that has no room.
@test "full disk: a bit of room more each time" {
    qemu-img create -q -f qcow2 -o cluster_size=512 small.qcow2 16M
    image large.qcow2
    for image in small large; do
        for room in 8 72 136 200 264 328 500 800; do
            cp --sparse=never $image.qcow2 a.qcow2
            full "$room"
            qemu-img resize -q --preallocation=metadata a.qcow2 8G 2> "$ERR" && false
            clean a.qcow2
            mount -o remount,size=64m .
            cp --sparse=never $image.qcow2 a.qcow2
            full "$room"
            qemu-img resize -q --preallocation=falloc a.qcow2 24M 2> "$ERR" && false
            clean a.qcow2
            mount -o remount,size=64m .
        done
    done
}

@test "full disk: what a commit, a rebase or a convert has done counts" {
    image src.qcow2
    for command in commit rebase convert; do
        case $command in
            commit)
                qemu-img create -q -f qcow2 a.qcow2 16M
                qemu-img create -q -f qcow2 -b "$PWD/a.qcow2" -F qcow2 ../top.qcow2
                qemu-img convert -n -O qcow2 src.qcow2 ../top.qcow2
                set -- commit ../top.qcow2 ;;
            rebase)
                qemu-img create -q -f qcow2 -b src.qcow2 -F qcow2 a.qcow2
                set -- rebase -b '' a.qcow2 ;;
            convert)
                qemu-img create -q -f qcow2 a.qcow2 16M
                set -- convert -n -O qcow2 src.qcow2 a.qcow2 ;;
        esac
        full 1200
        for _ in 1 2 3; do
            img 1 "$@"
            clean a.qcow2
            [ "$(qemu-img map --output=json a.qcow2 | grep -c '"depth": 0, "present": true, "zero": false')" -gt 0 ]
        done
        mount -o remount,size=64m .
        img 0 "$@"
        clean a.qcow2
        [ "$(content a.qcow2)" = "$(content src.qcow2)" ]
        rm a.qcow2
    done
}

@test "full disk: rebase" {
    image old.qcow2
    image new.qcow2
    io new.qcow2 'write -P 9 0 3M'
    qemu-img create -q -f qcow2 -b old.qcow2 -F qcow2 over.qcow2
    io over.qcow2 'write -P 7 1M 1M'
    over=$(content over.qcow2)
    sums=$(sum old.qcow2)$(sum new.qcow2)
    full 300
    fails 'Error while writing to COW image' rebase -b new.qcow2 -F qcow2 over.qcow2
    sound over.qcow2 "$over"
    fails 'Error while writing to COW image' rebase -b '' over.qcow2
    sound over.qcow2 "$over"
    full 0
    fails 'Error while writing to COW image' rebase -b new.qcow2 -F qcow2 over.qcow2
    sound over.qcow2 "$over"
    [ "$(sum old.qcow2)$(sum new.qcow2)" = "$sums" ]
}

@test "full disk: commit" {
    image base.qcow2
    qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 over.qcow2
    io over.qcow2 'write -P 7 2M 3M' 'write -P 8 10M 1M'
    over=$(content over.qcow2)
    before=$(sum over.qcow2)
    full 300
    for drop in '' -d; do
        # shellcheck disable=SC2086
        fails 'Block job failed' commit $drop over.qcow2
        [ "$(sum over.qcow2)" = "$before" ]
        sound over.qcow2 "$over"
        cmd 0 "$PEER" check base.qcow2
    done
    mount -o remount,size=64m .
    img 0 commit over.qcow2
    sound base.qcow2 "$over"
}

@test "full disk: commit to a raw file" {
    qemu-img create -q -f raw base.raw 16M
    qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2
    io over.qcow2 'write -P 7 2M 3M'
    over=$(content over.qcow2)
    full 300
    fails 'Block job failed' commit over.qcow2
    sound over.qcow2 "$over"
}

@test "full disk: bitmap, bench" {
    image a.qcow2
    a=$(content a.qcow2)
    full 0
    img 1 bitmap --add -g 512 a.qcow2 b0
    has "$ERR" '^qemu-img: .*: No space left on device$'
    sound a.qcow2 "$a"
    img 1 bench -w -c 2000 -s 64k -o 8M -S 64k a.qcow2
    has "$ERR" '^qemu-img: Failed request: No space left on device$'
    clean a.qcow2
}

@test "full disk: a file size limit is an error, not a crash" {
    image a.qcow2
    for command in 'convert -O raw a.qcow2 n.raw' 'convert -O qcow2 a.qcow2 n.qcow2' 'dd if=a.qcow2 of=n.raw bs=64k'; do
        # shellcheck disable=SC2086
        (trap '' XFSZ; ulimit -f 2048; exec -a qemu-img "$IMG" $command) > "$OUT" 2> "$ERR" && false
        has "$ERR" '^qemu-img: .*: File too large$'
        rm -f n.*
    done
}

@test 'create luks: the header does not fit, and no file is left' {
    full 100
    img 1 create -q --object secret,id=s,data=pass -f luks -o key-secret=s,iter-time=10 x 1M
    grep -q '^qemu-img: x: Could not write encryption header: No space left on device$' "$ERR"
    [ ! -e x ]
}
