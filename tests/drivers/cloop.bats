#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# cloop: compressed loop device images, read only; in qemu-img's words.

load ../helper

# craft FILE [BLOCK_SIZE [COUNT [OFFSETS]]]: three blocks of 1 KiB, each of two sectors: ab cd ef; OFFSETS is the
# table as an expression over `o`, the true one
craft() {
    crafting - "$@" <<'END'
import sys, zlib, cloop
size, count, table = (sys.argv[2:] + ['1024', 'None', 'o'][len(sys.argv) - 2:])[:3]
blocks = [zlib.compress(b''.join(bytes([letter]) * 512 for letter in pair)) for pair in (b'ab', b'cd', b'ef')]
with open(sys.argv[1], 'wb') as file:
    file.write(cloop.image(blocks, int(size), eval(count), lambda o: eval(table)))
END
}

@test "cloop: an image by create_compressed_fs" {
    fixture simple.cloop
    img 0 info simple.cloop
    mask
    out <<'END'
image: simple.cloop
file format: cloop
virtual size: 1 MiB (1048576 bytes)
disk size: N
Child node '/file':
    filename: simple.cloop
    protocol type: file
    file length: 2 KiB (2048 bytes)
    disk size: N
END
    img 0 info --output=json simple.cloop
    [ "$(grep -c dirty-flag "$OUT")" -eq 1 ]
    img 0 map --output=json simple.cloop
    out '[{ "start": 0, "length": 1048576, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false}]'
    img 1 map simple.cloop
    err 'qemu-img: File contains external, encrypted or compressed clusters.'
    img 63 check simple.cloop
    err 'qemu-img: This image format does not support checks'
    img 0 convert -O raw simple.cloop out
    pattern raw 01 0 1M
    pattern raw 0a 64k 64k
    [ "$(stat -c %s out)" -eq 1048576 ]
    img 0 compare -f cloop -F raw simple.cloop out
}

@test "cloop: it is read in any pieces, by any number of workers" {
    craft x
    letters a b c d e f > raw
    for workers in 1 2 8; do
        img 0 convert -f cloop -m $workers -W -O raw x out
        raw_is out raw
    done
    img 0 dd -f cloop -O raw bs=512 skip=1 if=x of=out
    letters b c d e f > raw
    cmp -n 2560 out raw
    img 0 create -q -f qcow2 -F cloop -b x over.qcow2
    img 0 convert -O raw over.qcow2 out
    letters a b c d e f > raw
    raw_is out raw
}

@test "cloop: nothing can be created or changed" {
    craft x
    img 1 resize -f cloop x 1M
    err "qemu-img: Could not open 'x': Image is read-only"
    cp x y
    img 1 convert -n -f raw -O cloop y x
    err "qemu-img: Could not open 'x': Image is read-only"
    img 1 convert -f raw -O cloop x z
    err "qemu-img: Format driver 'cloop' does not support image creation"
}

@test "cloop: invalid headers" {
    craft x 0; refused 'block_size cannot be zero'
    craft x 1000; refused 'block_size 1000 must be a multiple of 512'
    craft x 67109376; refused 'block_size 67109376 must be 64 MB or less'
    craft x 1024 2**29; refused 'n_blocks 536870912 must be 536870911 or less'
    craft x 1024 2**26; refused 'image requires too many offsets, try increasing block size'
    : > x; refused 'block_size cannot be zero'
}

@test "cloop: invalid tables" {
    craft x 1024 None '[o[0], o[2], o[1], o[3]]'
    refused 'offsets not monotonically increasing at index 2, image file is corrupt'
    craft x 1024 None 'o[:3] + [o[2] + 2**27 + 1]'
    refused 'invalid compressed block size at index 3, image file is corrupt'
    craft x 1024 2**26-1
    refused 'invalid compressed block size at index 4, image file is corrupt'
    craft x
    truncate -s 160 x
    refused 'offsets not monotonically increasing at index 3, image file is corrupt'
}

@test "cloop: a damaged block spoils no other" {
    craft x 1024 None '[o[0] + 1] + o[1:]'
    img 1 convert -f cloop -O raw x out
    has "$ERR" '^qemu-img: error while reading at byte 0: Input/output error$'
    # the block behind it is whole, and the last one may be said to go on behind the end of the file
    craft x 1024 None '[o[0], o[0], o[2], o[3] + 100000]'
    img 0 dd -f cloop -O raw bs=1024 skip=2 if=x of=out
    letters e f > raw
    cmp -n 1024 out raw
}

@test "cloop: a huge table costs no memory" {
    beyond
    no_asan
    craft x 512 2**26-1
    truncate -s 136 x
    truncate -s 600M x
    (ulimit -v 300000; img 0 info -f cloop x)
    has "$OUT" '^virtual size: 32 GiB '
}
