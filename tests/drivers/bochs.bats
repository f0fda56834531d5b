#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# bochs: growing images, read only; in qemu-img's words.

load ../helper

# craft FILE ENTRY,... [FIELD=VALUE...]: an image with this catalog, "U" for unallocated, and extents of 4 KiB; of each
# the even sectors are there, filled with 11, 12 ...
craft() {
    crafting - "$@" <<'END'
import sys, bochs
catalog = [bochs.UNALLOCATED if word == 'U' else int(word, 0) for word in sys.argv[2].split(',')]
given = dict(word.split('=') for word in sys.argv[3:])
given = {key: int(text, 0) for key, text in given.items()}
given.setdefault('disk', 4096 * len(catalog))
count = len([entry for entry in catalog if entry < len(catalog)])
extents = [(b'\x55', bytes([0x11 + number]) * 4096) for number in range(count)]
with open(sys.argv[1], 'wb') as file:
    file.write(bochs.image(catalog, extents, **given))
END
}

@test "bochs: an image by bximage" {
    fixture bochs-empty
    img 0 info bochs-empty
    has "$OUT" '^file format: bochs$'
    has "$OUT" '^virtual size: 0.984 MiB \(1032192 bytes\)$'
    img 0 info --output=json bochs-empty
    [ "$(grep -c dirty-flag "$OUT")" -eq 1 ]
    img 0 map --output=json bochs-empty
    out '[{ "start": 0, "length": 1032192, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false}]'
    img 63 check bochs-empty
    err 'qemu-img: This image format does not support checks'
    img 0 convert -O raw bochs-empty out
    truncate -s 1032192 raw
    raw_is out raw
}

@test "bochs: extents in any order, sectors that are not there" {
    for version in 1 2; do
        craft x 1,U,0 version=$version header_size=1024
        img 0 convert -O raw x out
        truncate -s 0 raw
        truncate -s 12k raw
        for sector in 0 2 4 6; do
            pattern raw 12 $((512 * sector)) 512
            pattern raw 11 $((8192 + 512 * sector)) 512
        done
        raw_is out raw
        img 0 compare -f bochs -F raw x raw
    done
}

@test "bochs: it is read in any pieces" {
    craft x 1,U,0,2
    img 0 convert -O raw x raw
    img 0 dd if=x of=out bs=700 skip=1 count=15
    cmp -n 9800 <(tail -c +701 raw) out
    img 0 convert -O qcow2 -m 8 -W x y
    img 0 compare x y
}

@test "bochs: invalid header fields" {
    craft x U catalog=0x100001; refused 'Catalog size is too large'
    craft x U extent=256; refused 'Extent size must be at least 512'
    craft x U extent=1000; refused 'Extent size 1000 is not a power of two'
    craft x U extent=0x1000000; refused 'Extent size 16777216 is too large'
    craft x U disk=4608; refused 'Catalog size is too small for this disk size'
    craft x U disk=0xffffffffffffffff; refused 'Catalog size is too small for this disk size'
    craft x U version=3; refused 'Image not in Bochs format'
    info_is_raw
    craft x U; poke x 48 566f6c6174696c6500; refused 'Image not in Bochs format'
    info_is_raw
    truncate -s 20 x; refused 'Image not in Bochs format'
}

info_is_raw() {
    img 0 info x
    has "$OUT" '^file format: raw$'
}

@test "bochs: invalid offsets" {
    craft x 0x7fffffff
    img 1 convert -O raw x out
    err 'qemu-img: error while reading at byte 0: image is truncated: needs 9895604645893 bytes, has 516'
    craft x 0 bitmap=0
    img 1 convert -O raw x out
    has "$ERR" 'image is truncated: needs 4294968324 bytes, has 5124$'
    craft x 0; truncate -s 600 x
    img 0 info x
    img 1 convert -O raw x out
    has "$ERR" 'image is truncated: needs [0-9]+ bytes, has 600$'
}

@test "bochs: it is never written" {
    craft x 0
    truncate -s 4k raw
    img 1 convert -n -f raw -O bochs raw x
    err "qemu-img: Could not open 'x': Image is read-only"
    img 1 resize x 1M
    err "qemu-img: Could not open 'x': Image is read-only"
    img 1 create -f bochs y 1M
    err 'qemu-img: y: Format driver '\''bochs'\'' does not support image creation'
    img 1 convert -O bochs x y
    err "qemu-img: Format driver 'bochs' does not support image creation"
}
