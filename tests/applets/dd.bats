#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# img-dd: parts of images, streams, what stays of an old output.

load ../helper

# A file of 1,000,000 random bytes, and as the image that it is: with 448 zeroes behind.
bytes_file() {
    head -c 1000000 /dev/urandom > "$1"
    cp "$1" padded
    truncate -s 1000448 padded
}

@test "dd: all of it" {
    bytes_file a.raw
    img 0 dd if=a.raw of=b.raw
    silent
    cmp b.raw padded
    img 0 dd -O qcow2 bs=64k of=b.qcow2 if=a.raw
    silent
    img 0 dd -f qcow2 -O raw bs=1 if=b.qcow2 of=c.raw
    cmp c.raw padded
    img 0 dd -U --image-opts if=driver=qcow2,file.filename=b.qcow2 of=c.raw bs=2147483647
    cmp c.raw padded
    img 0 check b.qcow2
}

@test "dd: count and skip" {
    bytes_file a.raw
    img 0 dd if=a.raw of=b.raw bs=1000 count=3
    head -c 3000 a.raw > want
    truncate -s 3072 want
    cmp b.raw want
    # both count from the start of the input
    img 0 dd if=a.raw of=b.raw bs=1000 count=3 skip=1
    head -c 3000 a.raw | tail -c 2000 > want
    truncate -s 2048 want
    cmp b.raw want
    img 0 dd if=a.raw of=b.raw bs=1000 skip=998
    tail -c 2448 padded > want
    truncate -s 2560 want
    cmp b.raw want
    img 0 dd if=a.raw of=b.raw count=010 skip=0x1
    head -c 4096 a.raw | tail -c 3584 > want
    cmp b.raw want
    img 0 dd if=a.raw of=b.raw count=0
    [ ! -s b.raw ]
    img 0 dd if=a.raw of=b.raw bs=1M count=9223372036854775807
    cmp b.raw padded
}

@test "dd: skip= and count= that leave nothing" {
    beyond
    bytes_file a.raw
    warning='qemu-img: warning: count= counts from the start of the input, like skip=: all of it is skipped'
    img 0 dd if=a.raw of=b.raw bs=1000 skip=2 count=2
    err "$warning"
    [ -e b.raw ] && [ ! -s b.raw ]
    img 0 dd of=b.raw bs=1000 skip=2 count=2 < a.raw
    err "$warning"
    [ -e b.raw ] && [ ! -s b.raw ]
    IMGBOX_COMPAT=7.2 img 0 dd if=a.raw of=b.raw bs=1000 skip=2 count=2
    silent
    # the end of the input, a count of 0, and a count that reaches beyond the end
    img 0 dd if=a.raw of=b.raw bs=512 skip=1954 count=1954
    silent
    img 0 dd if=a.raw of=b.raw count=0
    silent
    img 0 dd if=a.raw of=b.raw bs=256k count=100
    silent
    # behind the count
    img 0 dd if=a.raw of=b.raw bs=1000 skip=3 count=2
    err 'qemu-img: a.raw: cannot skip to specified offset'
    IMGBOX_HINTS=1 img 0 dd if=a.raw of=b.raw bs=1000 skip=3 count=2
    err 'qemu-img: a.raw: cannot skip to specified offset' "${warning/qemu-img: warning/hint}"
    IMGBOX_HINTS=1 img 0 dd if=a.raw of=b.raw bs=1000 skip=3000
    err 'qemu-img: a.raw: cannot skip to specified offset'
}

@test "dd: skip behind the end" {
    bytes_file a.raw
    for operands in 'bs=1000 skip=1001' 'bs=1M skip=100000000000000' 'bs=4k skip=3 count=1'; do
        # shellcheck disable=SC2086
        img 0 dd if=a.raw of=b.raw $operands
        out ''
        err 'qemu-img: a.raw: cannot skip to specified offset'
        [ -e b.raw ] && [ ! -s b.raw ]
    done
    img 0 dd -O qcow2 if=a.raw of=b.qcow2 bs=512 skip=1954
    silent
    img 0 info b.qcow2
    has "$OUT" '^virtual size: 0 B'
}

@test "dd: everything is written, unless conv=sparse" {
    truncate -s 4M a.raw
    pattern a.raw 11 1M 64k
    img 0 dd -O qcow2 if=a.raw of=b.qcow2
    img 0 map --output=json b.qcow2
    out '[{ "start": 0, "length": 4194304, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 327680}]'
    img 0 dd if=a.raw of=b.raw bs=1M
    [ "$(stored b.raw)" -eq 4194304 ]
    beyond
    img 0 dd -O qcow2 if=a.raw of=b.qcow2 conv=sparse
    img 0 measure -O qcow2 b.qcow2
    out 'required size: 393216' 'fully allocated size: 4521984' 'bitmaps size: 0'
    img 0 dd if=a.raw of=b.raw conv=sparse
    cmp a.raw b.raw
    [ "$(stored b.raw)" -lt 500000 ]
    # over old content zeroes are zeroes
    pattern c.raw 77 0 4M
    img 0 dd if=a.raw of=c.raw conv=notrunc,sparse,fsync
    cmp a.raw c.raw
}

# Each line of standard input: operands and, behind a bar, the message.
refuses() {
    while IFS='|' read -r operands message; do
        # shellcheck disable=SC2086
        img 1 dd if=a.raw of=b.raw $operands
        out ''
        err "qemu-img: $message"
    done
}

@test "dd: bad operands leave an old output alone" {
    bytes_file a.raw
    echo old > b.raw
    refuses <<'EOF'
foo=1|unrecognized operand foo
foo|unrecognized operand foo
bs|unrecognized operand bs
=x|unrecognized operand 
-- -x|unrecognized operand -x
bs=|Invalid bs specified: ''.
bs=1kB|Invalid bs specified: '1kB'.
bs=0|Invalid bs specified. Must be between 1 and 2147483647.
bs=2G|Invalid bs specified. Must be between 1 and 2147483647.
bs=1M bs=1x|Invalid bs specified: '1x'.
count=1k|Invalid count specified: '1k'.
count=-1|Invalid count specified. Must be between 0 and 9223372036854775807.
skip=x|Invalid skip specified: 'x'.
-O foo|Unknown file format
-f qcow2|Could not open 'a.raw': Image is not in qcow2 format
-f raw --image-opts|--image-opts and --format are mutually exclusive
if=none|Could not open 'none': Could not open 'none': No such file or directory
if=|Could not open '': The 'file' block driver requires a file name
EOF
    same b.raw old
    img 1 dd if=a.raw of=nodir/b.raw
    err "qemu-img: nodir/b.raw: error while creating output image: Could not create 'nodir/b.raw': No such file or directory"
    img 1 dd
    err 'qemu-img: Must specify both input and output files'
    IMGBOX_COMPAT=7.2 img 0 dd if=a.raw of=c.raw count=2k
}

@test "dd: bad operands of our own" {
    beyond
    bytes_file a.raw
    echo old > b.raw
    refuses <<'EOF'
seek=1k|Invalid seek specified: '1k'.
conv=ascii|Invalid conv specified: 'ascii'.
conv=sparse,|Invalid conv specified: ''.
iflag=append|Invalid iflag specified: 'append'.
oflag=dir|Invalid oflag specified: 'dir'.
status=loud|Invalid status specified: 'loud'.
seek=9223372036854775807|The output would be too large
osize=1M conv=notrunc|osize= is for an output that is created
osize=10k|output file is smaller than input file
-n|output file is smaller than input file
EOF
    same b.raw old
}

@test "dd: the input stays as it is" {
    beyond
    bytes_file a.raw
    sum a.raw > before
    ln a.raw b.raw
    for target in a.raw b.raw; do
        img 1 dd if=a.raw of=$target
        has "$ERR" "^qemu-img: $target: error while creating output image: '$target' is also read from"
    done
    img 0 create -q -f qcow2 -b a.raw -F raw top.qcow2
    img 1 dd if=top.qcow2 of=a.raw seek=3
    [ "$(sum a.raw)" = "$(cat before)" ]
}

@test "dd: seek and conv=notrunc" {
    beyond
    bytes_file a.raw
    pattern old 77 0 64k
    # a new output starts with zeroes
    img 0 dd if=a.raw of=b.raw bs=1000 count=2 seek=3
    head -c 3000 /dev/zero > want
    head -c 2000 a.raw >> want
    truncate -s 5120 want
    cmp b.raw want
    # of an old one what lies before stays, with notrunc also what lies behind
    for format in raw qcow2; do
        img 0 convert -O $format old b
        img 0 dd -O $format if=a.raw of=b bs=1000 count=2 seek=3
        img 0 convert -f $format -O raw b c
        head -c 3000 old > want
        head -c 2000 a.raw >> want
        truncate -s 5120 want
        cmp c want
        img 0 convert -O $format old b
        img 0 dd -O $format if=a.raw of=b bs=1000 count=2 seek=3 conv=notrunc
        img 0 convert -f $format -O raw b c
        head -c 3000 old > want
        head -c 2000 a.raw >> want
        tail -c +5001 old >> want
        cmp c want
        # it grows where it has to
        img 0 dd -O $format if=a.raw of=b bs=1000 count=2 seek=65 conv=notrunc
        img 0 convert -f $format -O raw b c
        [ "$(stat -c %s c)" -eq 67072 ]
    done
    img 0 check b
}

@test "dd: from standard input" {
    beyond
    bytes_file a.raw
    for format in raw qcow2; do
        img 0 dd -O $format of=b bs=4k < <(cat a.raw)
        silent
        img 0 convert -f $format -O raw b c.raw
        cmp c.raw padded
        img 0 dd -O $format bs=1000 skip=10 count=15 of=b < a.raw
        img 0 convert -f $format -O raw b c.raw
        head -c 15000 a.raw | tail -c 5000 > want
        truncate -s 5120 want
        cmp c.raw want
        img 0 dd -O $format osize=3M of=b < <(cat a.raw)
        img 0 convert -f $format -O raw b c.raw
        cp a.raw want
        truncate -s 3M want
        cmp c.raw want
        img 1 dd -O $format osize=100k of=b < a.raw
        err 'qemu-img: error while writing to output image file: No space left on device'
    done
    # bytes, not sectors
    pattern old 77 0 1M
    printf 'abc' > three
    img 0 dd -n bs=1 seek=10 of=old < three
    [ "$(peek old 9 6)" = 776162637777 ]
    img 0 dd of=b.raw bs=1M skip=3 < <(cat a.raw)
    err 'qemu-img: standard input: cannot skip to specified offset'
    img 1 dd -f qcow2 of=b.raw < a.raw
    err "qemu-img: Could not open '-': Image is not in qcow2 format"
}

@test "dd: a place in a stream that no number can hold" {
    beyond
    echo data > data
    cmd 0 qemu-img dd bs=2 skip=9223372036854775807 of=b.raw < data
    err 'qemu-img: standard input: cannot skip to specified offset'
    [ -e b.raw ] && [ ! -s b.raw ]
}

@test "dd: to standard output, as Proxmox calls it" {
    beyond
    sample a.raw
    img 0 convert -O qcow2 a.raw a.qcow2
    qemu-img dd bs=64k if=a.qcow2 -f qcow2 -O raw > b.raw
    cmp a.raw b.raw
    qemu-img dd bs=64k if=a.raw -f raw -O raw | cmp - a.raw
    qemu-img dd if=a.raw skip=3 count=1000 | cmp - <(head -c 512000 a.raw | tail -c +1537)
    qemu-img dd bs=4k conv=fsync iflag=direct if=a.raw | qemu-img dd bs=4k of=c.raw
    cmp a.raw c.raw
    img 1 dd if=a.raw seek=1
    err 'qemu-img: Standard output takes no seek=, osize= or -n'
    # a reader that goes away
    mkfifo pipe
    head -c 100 < pipe > /dev/null &
    img 1 dd if=a.raw of=pipe
    err 'qemu-img: error while writing to output image file: Broken pipe'
}

@test "dd: direct I/O and odd places" {
    beyond
    bytes_file a.raw
    img 0 dd if=a.raw of=b.raw iflag=direct oflag=direct
    cmp b.raw padded
    img 0 dd if=a.raw of=b.raw bs=777 skip=5 count=300 seek=2 iflag=direct oflag=direct conv=notrunc
    { head -c 1554 padded; head -c 233100 a.raw | tail -c +3886; tail -c +230770 padded; } > want
    cmp b.raw want
}

@test "dd: status=progress" {
    beyond
    bytes_file a.raw
    img 0 dd if=a.raw of=b.raw status=progress
    out ''
    has "$ERR" '^1000448 bytes \(977 KiB\) copied, [0-9.]+ s, [0-9.]+ [KMG]iB/s$'
    img 0 dd if=a.raw of=b.raw status=none
    silent
}

@test "dd: a full disk" {
    need_root
    mkdir full
    mount -t tmpfs -o size=200k none full || skip 'no mount'
    bytes_file a.raw
    local rc=0
    img 1 dd if=a.raw of=full/b.raw && err 'qemu-img: error while writing to output image file: No space left on device' ||
        rc=1
    umount full
    [ "$rc" -eq 0 ]
}

@test "dd: blocks of 512 bytes cost nothing" {
    beyond
    need_strace
    pattern a.raw 11 0 16M
    strace -f -e trace=pread64,pwrite64 -o trace "$IMG" dd bs=512 if=a.raw of=b.raw
    [ "$(grep -c pwrite64 trace)" -lt 100 ]
    cmp a.raw b.raw
}

@test "dd: --help names every option and operand" {
    img 0 dd --help
    for word in --format --image-opts --output-format --force-share 'if=' 'of=' 'bs=' 'count='; do
        has "$OUT" "$word"
    done
    err ''
}
