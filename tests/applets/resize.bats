#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-resize: sizes, what it says, what is new, what goes.

load ../helper

shrink_refused() {
    out ''
    err "qemu-img: Use the --shrink option to perform a shrink operation." \
        "qemu-img: warning: Shrinking an image will delete all data beyond the shrunken image's end. Before performing such an operation, make sure there is no important data there."
}

size_is() {  # FILE BYTES
    img 0 info --output=json "$1"
    has "$OUT" "^    \"virtual-size\": $2,"
}

clean() {
    img 0 check "$1"
    has "$OUT" '^No errors were found on the image.'
}

@test "resize: raw, absolute and relative" {
    img 0 create -q -f raw a.raw 1M
    img 0 resize -f raw a.raw 2M
    out 'Image resized.'
    err ''
    [ "$(stat -c %s a.raw)" = 2097152 ]
    img 0 resize -q -f raw a.raw +512
    silent
    [ "$(stat -c %s a.raw)" = 2097664 ]
    img 0 resize -f raw --shrink a.raw -1M
    [ "$(stat -c %s a.raw)" = 1049088 ]
    img 0 resize --shrink a.raw -f raw 1M
    [ "$(stat -c %s a.raw)" = 1048576 ]
    img 0 resize a.raw 3M
    out 'Image resized.'
    has "$ERR" "^WARNING: Image format was not specified for 'a.raw' and probing guessed raw."
    img 0 resize -f raw a.raw +0
    img 1 resize -f raw a.raw 1M
    shrink_refused
    img 1 resize -f raw a.raw -q -- -512
    shrink_refused
    [ "$(stat -c %s a.raw)" = 3145728 ]
}

@test "resize: the command line" {
    img 0 create -q -f raw a.raw 1M
    for words in '' 'a.raw' '-f raw a.raw'; do
        # shellcheck disable=SC2086
        img 1 resize $words
        err 'qemu-img: Expecting image file name and size' "Try 'qemu-img resize --help' for more info"
    done
    img 1 resize a.raw 1M 2M
    err 'qemu-img: Extra argument(s) in command line' "Try 'qemu-img resize --help' for more info"
    img 1 resize -512 a.raw
    err "qemu-img resize: invalid option -- '5'" "Try 'qemu-img resize --help' for more info"
    img 1 resize a.raw --shrink -512
    err "qemu-img resize: invalid option -- '5'" "Try 'qemu-img resize --help' for more info"
    for size in x + - '' 1Z; do
        img 1 resize -f raw a.raw "./$size"
        has "$ERR" "^qemu-img: Parameter 'size' expects a non-negative number below 2\^64$"
    done
    img 1 resize -f raw a.raw +-1
    err "qemu-img: Value '-1' is out of range for parameter 'size'"
    for size in 0 -1M -2M 8E; do
        img 1 resize -f raw a.raw "$size"
        err 'qemu-img: New image size must be positive'
    done
    img 1 resize --preallocation x -f raw a.raw 2M
    err "qemu-img: Invalid preallocation mode 'x'"
    img 1 resize -f raw --image-opts a.raw 2M
    err 'qemu-img: --image-opts and --format are mutually exclusive'
    img 1 resize -f raw none.raw 2M
    err "qemu-img: Could not open 'none.raw': Could not open 'none.raw': No such file or directory"
    img 1 resize --image-opts driver=raw,size=512k,file.filename=a.raw 2M
    err 'qemu-img: Cannot resize fixed-size raw disks'
    img 1 resize --image-opts driver=raw,read-only=on,file.filename=a.raw 2M
    err "qemu-img: Could not open 'driver=raw,read-only=on,file.filename=a.raw': Block node is read-only"
    img 0 resize --image-opts driver=raw,offset=512k,file.filename=a.raw 2M
    [ "$(stat -c %s a.raw)" = 2621440 ]
    img 1 resize -f raw a.raw 9223372036854775807
    err 'qemu-img: offset(9223372036854775807) exceeds maximum(9223372035781033984)'
    img 1 resize -f raw a.raw 1E
    err 'qemu-img: Could not resize file: File too large'
    [ "$(stat -c %s a.raw)" = 2621440 ]
}

@test "resize: preallocation" {
    img 0 create -q -f raw a.raw 64k
    img 0 resize -f raw --preallocation falloc a.raw 1M
    [ "$(stat -c %b a.raw)" -ge 1920 ]
    img 0 resize -f raw --preallocation full a.raw 2M
    [ "$(stat -c %b a.raw)" -ge 3968 ]
    img 1 resize -f raw --preallocation metadata a.raw 3M
    err 'qemu-img: Unsupported preallocation mode: metadata'
    img 1 resize -f raw --shrink --preallocation full a.raw 1M
    err 'qemu-img: Preallocation can only be used for growing images'
    for mode in metadata falloc full; do
        img 0 create -q -f qcow2 a.qcow2 1M
        img 0 resize --preallocation $mode a.qcow2 4M
        img 0 map --output=json a.qcow2
        has "$OUT" '"start": 1048576, "length": 3145728, .* "data": true, '
        clean a.qcow2
    done
    [ "$(stat -c %b a.qcow2)" -ge 6144 ]
}

@test "resize: qcow2, what is refused" {
    img 0 create -q -f qcow2 a.qcow2 1M
    img 1 resize a.qcow2 1049000
    err 'qemu-img: The new size must be a multiple of 512'
    img 1 resize a.qcow2 7E
    err 'qemu-img: Failed to grow the L1 table: File too large'
    img 0 resize a.qcow2 2P
    size_is a.qcow2 2251799813685248
    need_peer
    img 0 create -q -f qcow2 -o compat=0.10 v2.qcow2 1M
    "$PEER" snapshot -c s v2.qcow2
    img 1 resize v2.qcow2 2M
    err "qemu-img: Can't resize a v2 image which has snapshots"
    img 0 create -q -f qcow2 v3.qcow2 1M
    "$PEER" snapshot -c s v3.qcow2
    img 0 resize v3.qcow2 2M
    clean v3.qcow2
}

@test "resize: the new area reads as zeroes" {
    pattern base.raw 11 0 4M
    img 0 create -q -f qcow2 -b base.raw -F raw top.qcow2 1M
    img 0 resize top.qcow2 3M
    clean top.qcow2
    img 0 convert -O raw top.qcow2 guest
    pattern want 11 0 1M
    truncate -s 3M want
    raw_is want guest
    # version 2 cannot say zero in front of a backing file
    img 0 create -q -f qcow2 -o compat=0.10 -b base.raw -F raw v2.qcow2 1M
    img 1 resize v2.qcow2 3M
    err 'qemu-img: Failed to zero out new clusters: Operation not supported'
    size_is v2.qcow2 1048576
    clean v2.qcow2
}

@test "resize: data beyond a smaller end does not reappear" {
    beyond
    pattern data 22 0 100k
    img 0 convert -f raw -O qcow2 data a.qcow2
    img 0 resize --shrink a.qcow2 70k
    img 0 resize a.qcow2 1M
    img 0 convert -O raw a.qcow2 guest
    pattern want2 22 0 70k
    truncate -s 1M want2
    raw_is want2 guest
}

@test "resize: from a huge disk to a small one" {
    beyond      # the real tool takes minutes
    img 0 create -q -f qcow2 a.qcow2 1M
    img 0 resize a.qcow2 2P
    img 0 resize --shrink a.qcow2 1M
    clean a.qcow2
}

@test "resize: the old profile" {
    beyond
    img 0 create -q -f raw a.raw 1M
    IMGBOX_COMPAT=7.2 img 1 resize -f raw a.raw +-1
    has "$ERR" "expects a non-negative number"
    IMGBOX_COMPAT=7.2 img 1 resize a.raw 1M 2M
    err 'qemu-img: Expecting image file name and size' "Try 'qemu-img --help' for more information"
}

@test "resize: shrinking frees everything beyond the end" {
    pattern data 33 0 6M
    img 0 convert -f raw -O qcow2 -o cluster_size=512 data a.qcow2
    big=$(stat -c %s a.qcow2)
    img 0 resize --shrink a.qcow2 4k
    clean a.qcow2
    [ "$(stat -c %s a.qcow2)" -lt $((big / 20)) ]
    img 0 convert -O raw a.qcow2 guest
    head -c 4096 data > want
    raw_is want guest
    # and nothing of it comes back
    img 0 resize a.qcow2 6M
    img 0 convert -O raw a.qcow2 guest
    truncate -s 6M want
    raw_is want guest
}

@test "resize: where space is set aside, writing there does not make the file longer" {
    truncate -s 40M long.raw
    pattern short.raw 77 0 400k
    for options in cluster_size=64k cluster_size=512 cluster_size=2M extended_l2=on compat=0.10; do
        for backing in '' short.raw long.raw; do
            # (qemu-img: version 2 has no zeroes in front of a backing file)
            [ "$options$backing" != compat=0.10long.raw ] || continue
            for mode in metadata falloc full; do
                rm -f a.qcow2
                if [ -z "$backing" ]; then
                    img 0 create -q -f qcow2 -o $options a.qcow2 1000k
                else
                    img 0 create -q -f qcow2 -o $options -b "$backing" -F raw a.qcow2 1000k
                fi
                img 0 convert -O raw a.qcow2 before.raw
                truncate -s 3M before.raw
                img 0 resize -q --preallocation=$mode a.qcow2 3M
                img 0 convert -O raw a.qcow2 after.raw
                raw_is after.raw before.raw
                length=$(stat -c %s a.qcow2)
                img 0 bench -w -d 1 -c 1 -s 512 -o 1000k a.qcow2
                img 0 bench -w -d 1 -c 16 -s 64k -o 2M a.qcow2
                [ "$(stat -c %s a.qcow2)" -eq "$length" ] || { echo "$options $backing $mode"; return 1; }
                clean a.qcow2
            done
        done
    done
}

# The second half of the disk lies in front of the first.
@test "resize: shrinking gives clusters back to the storage, wherever they lie in the file" {
    for options in cluster_size=1M cluster_size=64k cluster_size=512 extended_l2=on compat=0.10; do
        img 0 create -q -f qcow2 -o $options a.qcow2 20M
        img 0 bench -w -d 1 -c 10 -s 1M -S 1M -o 10M --pattern=17 a.qcow2
        img 0 bench -w -d 1 -c 10 -s 1M -S 1M --pattern=34 a.qcow2
        [ "$(data_bytes a.qcow2)" -gt 20971520 ] || skip 'no holes on this file system'
        img 0 resize --shrink a.qcow2 5M
        [ "$(data_bytes a.qcow2)" -lt 10485760 ]
        img 0 convert -O raw a.qcow2 a.raw
        pattern wanted 22 0 5M
        raw_is a.raw wanted
        clean a.qcow2
    done
}

@test "resize: nothing is given back where the file is to keep it" {
    img 0 create -q -f qcow2 a.qcow2 20M
    img 0 bench -w -d 1 -c 10 -s 1M -S 1M -o 10M --pattern=17 a.qcow2
    img 0 bench -w -d 1 -c 10 -s 1M -S 1M --pattern=34 a.qcow2
    img 0 resize --shrink --image-opts driver=qcow2,file.discard=ignore,file.filename=a.qcow2 5M
    [ "$(data_bytes a.qcow2)" -gt 15728640 ]
}

@test "resize: an external data file" {
    img 0 create -q -f qcow2 -o data_file=d.raw a.qcow2 1M
    img 0 resize a.qcow2 3M
    [ "$(stat -c %s d.raw)" = 3145728 ]
    img 0 resize --shrink a.qcow2 2M
    [ "$(stat -c %s d.raw)" = 2097152 ]
    clean a.qcow2
}

@test "resize: bitmaps are resized, an inconsistent one is refused" {
    need_peer
    img 0 create -q -f qcow2 a.qcow2 1M
    "$PEER" bitmap --add -g 512 a.qcow2 b0
    "$PEER_IO" -f qcow2 -c 'write 0 64k' a.qcow2 > log
    img 0 resize a.qcow2 64M
    img 0 resize --shrink a.qcow2 512k
    clean a.qcow2
    img 0 info a.qcow2
    has "$OUT" 'name: b0'
    img 0 create -q -f qcow2 b.qcow2 1M
    "$PEER" bitmap --add b.qcow2 b0
    # its flags: in use, in the directory that the header extension names
    at=$(grep -obUaP 'b0\x00\x00\x00\x00\x00\x00' b.qcow2 | head -n 1 | cut -d : -f 1)
    poke b.qcow2 $((at - 12)) 00000001
    img 1 resize b.qcow2 2M
    err "qemu-img: Bitmap 'b0' is inconsistent and cannot be used" \
        'Try block-dirty-bitmap-remove to delete this bitmap from disk'
    size_is b.qcow2 1048576
}

@test "resize: a full disk leaves the image as it was" {
    img 0 create -q -f qcow2 a.qcow2 1M

    (ulimit -f 3000; img 1 resize --preallocation full a.qcow2 40M
     err 'qemu-img: Failed to resize underlying file: Could not resize file: File too large')
    size_is a.qcow2 1048576
    clean a.qcow2

}
