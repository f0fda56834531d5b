#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# asif: sparse images of macOS 26, read only.  (qemu-img does not read them.)

load ../helper

setup() {
    fresh_folder
    beyond
}

# craft EXPRESSION [FIELD=VALUE...]: x is an image of 1000 sectors in chunks of 32 KiB, raw its disk; in the expression
#   put(CHUNK, LETTER)                all of a chunk of the disk
#   partly(CHUNK, LETTER, SECTORS)    these sectors of it
#   set(CHUNK, ENTRY)                 any entry
craft() {
    crafting - "$@" <<'END'
import sys, apple
fields = dict((word.split('=')[0], eval(word.split('=')[1])) for word in sys.argv[2:])
chunk, sectors = 32768, fields.get('sectors', 1000)
image = apple.Asif(1000, chunk, fields.pop('of', 512), fields.pop('reach', 1 << 20))
disk = bytearray(1 << 21)

def put(number, letter):
    image.put(number, letter.encode() * chunk)
    disk[number * chunk:(number + 1) * chunk] = letter.encode() * chunk

def partly(number, letter, there):
    image.put_partly(number, letter.encode() * chunk, there)
    for sector in there:
        at = number * chunk + sector * image.sector
        disk[at:at + image.sector] = letter.encode() * image.sector

set = image.set
eval(sys.argv[1])
with open('x', 'wb') as file:
    file.write(image.image(**fields))
with open('raw', 'wb') as file:
    file.write(disk[:sectors * image.sector])
END
}

BASE="put(0, 'a'), put(3, 'b'), put(2, 'c'), partly(5, 'd', [0, 1, 7, 63]), put(15, 'e')"

holds() {
    img 0 convert -O raw x out
    raw_is out raw
    img 0 compare x raw
}

@test "asif: chunks of all kinds" {
    craft "$BASE"
    img 0 info x
    has "$OUT" '^file format: asif$'
    has "$OUT" '^virtual size: 500 KiB \(512000 bytes\)$'
    has "$OUT" '^cluster_size: 32768$'
    holds
    img 0 map x
    # Chunk 0 of the file is the header, 2 the table, 5 the bitmap.
    out 'Offset          Length          Mapped to       File' \
        '0               0x8000          0x8000          x' \
        '0x10000         0x8000          0x20000         x' \
        '0x18000         0x8000          0x18000         x' \
        '0x28000         0x400           0x30000         x' \
        '0x28e00         0x200           0x30e00         x' \
        '0x2fe00         0x200           0x37e00         x' \
        '0x78000         0x5000          0x38000         x'
    img 0 measure --output=json -O raw x
    img 0 dd bs=700 skip=230 if=x of=part
    cmp -n 351000 part <(tail -c +161001 raw)
    img 0 create -q -f qcow2 -F asif -b x over.qcow2
    img 0 compare over.qcow2 raw
    for workers in 1 8; do
        img 0 convert -m $workers -W -O qcow2 x out.qcow2
        img 0 compare out.qcow2 raw
    done
}

@test "asif: an image of macOS" {
    local sample="$ROOT/../shared/samples/real/asif-basic.asif.xz"
    [ -e "$sample" ] || skip 'no sample'
    xz -dc "$sample" > x
    img 0 info --output=json x
    has "$OUT" '"virtual-size": 512000000,$'
    img 0 convert -O raw x out
    python3 - <<'END'
with open('out', 'rb') as file:
    for i in range(100):
        assert file.read(1 << 20) == bytes([i]) * (1 << 20), i
END
    [ "$(stat -c %s out)" = 512000000 ]
    img 0 compare x out
    img 0 check x
    out 'No errors were found on the image.' '255/489 = 52.15% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 273678336'
}

@test "asif: sectors of 4096 bytes, and several groups and tables" {
    # (a group of these is for 512 MiB, a table for as much)
    crafting - <<'END'
import apple
image = apple.Asif(300 << 10, 262144, 4096)
image.put(0, b'a' * 262144)
image.put_partly(4799, b'b' * 262144, [0, 63])
with open('x', 'wb') as file:
    file.write(image.image())
with open('raw', 'wb') as file:
    file.write(b'a' * 262144)
    file.seek(4799 * 262144)
    file.write(b'b' * 4096)
    file.seek(4799 * 262144 + 63 * 4096)
    file.write(b'b' * 4096)
    file.truncate(300 << 22)
END
    img 0 compare x raw
    # 2048 chunks of 64 KiB in a group, three groups in a table
    crafting - <<'END'
import apple
image = apple.Asif(3 << 20, 65536)
for number in 5, 2047, 2048, 4100, 6143, 6144, 24575:
    image.put(number, bytes([number % 255 + 1]) * 65536)
with open('x', 'wb') as file:
    file.write(image.image())
with open('raw', 'wb') as file:
    for number in 5, 2047, 2048, 4100, 6143, 6144, 24575:
        file.seek(number * 65536)
        file.write(bytes([number % 255 + 1]) * 65536)
    file.truncate(3 << 29)
END
    img 0 compare x raw
    img 0 check x
    has "$OUT" '^No errors were found on the image.$'
}

@test "asif: the directory with the higher sequence number counts" {
    craft "$BASE" 'sequences=(7, 6)'
    holds
    craft "$BASE" 'sequences=(6, 7)'
    holds
    craft "$BASE" 'directories=(2**50, 2**62)'
    refused 'The ASIF image has no directory'
    craft "$BASE" 'sequences=(0, 0)'
    refused 'The ASIF image has no directory'
    # one that is not in the file does not count
    craft "$BASE" 'sequences=(7, 6)'
    poke x 24 7fffffffffffffff
    holds
}

@test "asif: headers that are refused" {
    while read -r offset bytes; do
        craft "$BASE"
        poke x "$offset" "$bytes"
        refused 'The header of the ASIF image is not as it has to be'
    done <<'END'
48 0000000000100001
56 4000000000000000
64 00000000
64 00008001
64 00004000
64 80000000
68 0000
68 0300
68 2000
END
    craft "$BASE"
    poke x 4 00000002
    img 1 info -f asif x
    err "qemu-img: Could not open 'x': Image not in ASIF format, version 1"
    img 1 info -f asif raw
    err "qemu-img: Could not open 'raw': Image not in ASIF format, version 1"
    : > x
    img 1 info -f asif x
}

# Chunk 3 of the disk cannot be read; what is in front of it can.
unreadable() {  # MESSAGE
    img 1 convert -O raw x out
    err "qemu-img: error while reading block status at offset 98304: $1"
    img 0 dd bs=32k count=3 if=x of=part
    cmp -n 98304 part raw
}

@test "asif: entries that are not as they have to be" {
    craft "$BASE, set(3, 2 << 62 | 2)"; unreadable 'Operation not supported'
    craft "$BASE, set(3, 2)"; unreadable 'Operation not supported'
    craft "$BASE, set(3, 1 << 62 | 99)"; unreadable 'Input/output error'
    craft "$BASE, set(3, 1 << 62)"; unreadable 'Input/output error'
    craft "$BASE, set(3, (1 << 62) + (1 << 55) - 1)"; unreadable 'Input/output error'
    # without a bitmap, and with states of sectors that nobody has seen
    craft "put(0, 'a'), put(2, 'c'), set(3, 3 << 62 | 3)"; unreadable 'Input/output error'
    craft "put(0, 'a'), put(2, 'c'), partly(3, 'd', [0])"
    holds
    [ "$(peek x $((4 * 32768 + 3 * 16)) 1)" = 01 ]
    poke x $((4 * 32768 + 3 * 16)) 02; unreadable 'Operation not supported'
    poke x $((4 * 32768 + 3 * 16)) 03; unreadable 'Operation not supported'
    # the table is nowhere
    craft "$BASE"
    [ "$(peek x $((512 + 72 + 8)) 8)" = 0000000000000002 ]
    poke x $((512 + 72 + 8)) 00000000000000ff
    img 1 convert -O raw x out
    err "qemu-img: error while reading block status at offset 0: Input/output error"
}

@test "asif: a file that is cut off" {
    craft "$BASE"
    truncate -s $((7 * 32768)) x
    img 1 convert -O raw x out
    has "$ERR" 'Input/output error$'
    img 2 check x
    err 'ERROR chunk 15: chunk 7 is not in the image'
    # the disk ends inside its last chunk: only what is behind it may be cut off
    craft "$BASE"
    truncate -s $((7 * 32768 + 40 * 512)) x
    holds
    img 0 check x
    truncate -s $((7 * 32768 + 39 * 512)) x
    img 1 convert -O raw x out
    has "$ERR" 'Input/output error$'
    img 2 check x
    err 'ERROR chunk 15: the end of the image cuts it off'
}

@test "asif: check" {
    craft "$BASE"
    img 0 check x
    out 'No errors were found on the image.' '5/16 = 31.25% allocated, 0.00% fragmented, 0.00% compressed clusters' \
        'Image end offset: 262144'
    truncate -s $((11 * 32768)) x
    img 3 check x
    has "$ERR" '^Leaked chunks 8 to 10$'
    craft "$BASE, set(4, 1 << 62 | 3), set(9, 1 << 62 | 50), set(10, 2 << 62 | 8)"
    img 2 check x
    err 'ERROR chunk 4: chunk 3 is used twice' 'ERROR chunk 9: chunk 50 is not in the image' \
        'ERROR chunk 10: the state 2 is not known' 'ERROR chunk 10: chunk 8 is not in the image'
    img 1 check -r all x
    err "qemu-img: Could not open 'x': Image is read-only"
}

@test "asif: tables that are there twice, and too many" {
    craft "$BASE" reach='1 << 28'
    # (two directories of 2048 tables take two chunks)
    local directory=$((512 + 8 * 2049))
    [ "$(peek x $((directory + 8)) 8)" = 0000000000000003 ]
    poke x $((directory + 16)) 0000000000000003
    img 1 info x
    err "qemu-img: Could not open 'x': Two parts of the ASIF image have the same table"
    img 2 check x
    has "$ERR" '^ERROR table 1: chunk 3 is used twice$'
    craft "$BASE"
    poke x 56 0000001000000000
    truncate -s 20M x
    img 1 info x
    err "qemu-img: Could not open 'x': An ASIF image with more than 262144 tables is not supported"
}

@test "asif: nothing can be created or changed" {
    craft "$BASE"
    img 1 resize -f asif x 1M
    err "qemu-img: Could not open 'x': Image is read-only"
    img 1 create -f asif y 1M
    err "qemu-img: y: Format driver 'asif' does not support image creation"
}

@test "asif: an empty disk of many terabytes takes no time" {
    crafting - <<'END'
import apple
image = apple.Asif(1 << 43, 1 << 20)
image.put(5, b'a' * (1 << 20))
with open('x', 'wb') as file:
    file.write(image.image())
END
    img 0 info x
    has "$OUT" '^virtual size: 4 PiB'
    img 0 map x
    out 'Offset          Length          Mapped to       File' '0x500000        0x100000        0x100000        x'
    img 0 check x
}
