#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# parallels: the header, the table, check and repair, the format extension; in qemu-img's words. Bundles are ours alone.

load ../helper

C=65536

# field FILE NAME NUMBER
field() {
    case $2 in
        version) poke "$1" 16 "$(le 4 "$3")" ;;
        tracks) poke "$1" 28 "$(le 4 "$3")" ;;
        entries) poke "$1" 32 "$(le 4 "$3")" ;;
        sectors) poke "$1" 36 "$(le 8 "$3")" ;;
        in_use) poke "$1" 44 "$(le 4 "$3")" ;;
        data_off) poke "$1" 48 "$(le 4 "$3")" ;;
        flags) poke "$1" 52 "$(le 4 "$3")" ;;
        ext_off) poke "$1" 56 "$(le 8 "$3")" ;;
        *) poke "$1" $((64 + 4 * $2)) "$(le 4 "$3")" ;;
    esac
}

# craft FILE ENTRY...: 640 KiB in clusters of 64 KiB; cluster N of the file is full of the byte N
craft() {
    local file=$1 n=0 entry
    shift
    rm -f "$file"
    img 0 create -q -f parallels -o cluster_size=64k "$file" 640k
    truncate -s $(((1 + $#) * C)) "$file"
    for entry; do
        field "$file" $n "$entry"
        n=$((n + 1))
        pattern "$file" "0$n" $((n * C)) $C
    done
}

# The table as numbers.
table() {
    od -An -v -w40 -tu4 -j 64 -N 40 "$1" | tr -s ' ' | sed 's/^ //; s/\( 0\)*$//'
}

# ---- creating

@test "parallels: options of creation" {
    img 0 create -f parallels -o help
    out 'Supported parallels options:' '  cluster_size=<size>    - Parallels image cluster size' \
        '  size=<size>            - Virtual disk size' '' \
        'The protocol level may support further options.' \
        'Specify the target filename to include those options.'
    img 0 create -f parallels x 3000001
    out "Formatting 'x', fmt=parallels size=3000001 cluster_size=1048576"
    cp x before
    img 1 create -f parallels -o cluster_size=2G x 3M
    err 'qemu-img: x: Cluster size is too large'
    [ -n "$IMG_IS_PEER" ] || cmp x before
    img 1 create -f parallels -o cluster_size=0 x 3M
    err 'qemu-img: x: Image size is too large for this cluster size'
    img 1 create -f parallels -o cluster_size=512 x 2T
    err 'qemu-img: x: Image size is too large for this cluster size'
    img 1 create -q -f parallels -b y -F raw x 3M
    err "qemu-img: x: Backing file not supported for file format 'parallels'"
}

@test "parallels: a new image, with a cluster of any number of sectors" {
    img 0 create -q -f parallels x 3000001
    [ "$(peek x 0 64)" = "576974686f7546726553706163457874$(le 4 2)$(le 4 16)$(le 4 11)$(le 4 2048)$(le 4 3)$(
        le 8 5860)$(le 4 0)$(le 4 2048)$(le 4 0)$(le 8 0)" ]
    [ "$(stat -c %s x)" -eq 1048576 ]
    img 0 create -q -f parallels -o cluster_size=64000 y 300M
    [ "$(peek y 28 8)" = "$(le 4 125)$(le 4 4916)" ]
    [ "$(stat -c %s y)" -eq 64000 ]
    img 0 info y
    has "$OUT" '^virtual size: 300 MiB \(314572800 bytes\)$'
}

# ---- the header

@test "parallels: invalid header fields" {
    craft x; poke x 15 54; refused 'Image not in Parallels format'
    craft x; field x version 3; refused 'Image not in Parallels format'
    craft x; field x tracks 0; refused 'Invalid image: Zero sectors per track'
    craft x; field x tracks 4186128; refused 'Invalid image: Too big cluster'
    craft x; field x entries 536870912; refused 'Catalog too large'
    craft x; field x ext_off $((1 << 54)); refused 'Invalid image: Too big offset'
    craft x; field x sectors $((1 << 54)); refused 'Could not refresh total sector count: File too large'
    truncate -s 10 x; refused 'Image not in Parallels format'
}

@test "parallels: is recognised by what it begins with" {
    craft x 1
    img 0 info x
    has "$OUT" '^file format: parallels$'
    poke x 0 576974686f7574467265655370616365
    img 0 info x
    has "$OUT" '^file format: parallels$'
    field x version 1
    img 0 info x
    has "$OUT" '^file format: raw$'
}

@test "parallels: the earlier kind counts in sectors" {
    craft x 2 1
    head -c 196608 x > y
    poke y 0 576974686f7574467265655370616365
    field y data_off 0
    field y 0 256
    field y 1 128
    img 0 convert -f parallels -O raw x a
    img 0 convert -f parallels -O raw y b
    cmp a b
    img 0 map --output=json y
    out '[{ "start": 0, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 131072},' \
        '{ "start": 65536, "length": 65536, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 65536},' \
        '{ "start": 131072, "length": 524288, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
}

@test "parallels: sizes above 32 bits of sectors, of the later kind only" {
    craft x
    field x sectors $(((1 << 32) + 5))
    img 0 info x
    has "$OUT" '\(2199023258112 bytes\)$'
    poke x 0 576974686f7574467265655370616365
    img 0 info x
    has "$OUT" '\(2560 bytes\)$'
}

@test "parallels: a table that is shorter than the disk or the file" {
    craft x 1 2
    field x entries 1
    img 0 map x
    out 'Offset          Length          Mapped to       File' \
        '0               0x10000         0x10000         x'
    craft x
    truncate -s 64 x
    img 0 map --output=json x
    out '[{ "start": 0, "length": 655360, "depth": 0, "present": false, "zero": true, "data": false, "compressed": false}]'
}

# ---- check and repair

@test "parallels: check of a sound image" {
    craft x 1 3 2
    img 0 check x
    out 'No errors were found on the image.' \
        '3/10 = 30.00% allocated, 66.67% fragmented, 0.00% compressed clusters' 'Image end offset: 262144'
    img 0 check --output=json x
    has "$OUT" '"fragmented-clusters": 2'
}

@test "parallels: two clusters in one place" {
    craft x 1 1 2
    truncate -s $((3 * C)) x
    img 2 check x
    err 'ERROR duplicate offset in BAT entry 1'
    has "$OUT" '^1 errors were found on the image\.$'
    img 0 check -r all x
    err 'Repairing duplicate offset in BAT entry 1'
    [ "$(table x)" = '1 3 2' ]
    img 0 convert -O raw x raw
    [ "$(peek raw 65536 2)$(peek raw 131072 2)" = 01010202 ]
}

@test "parallels: more than one of them" {
    beyond
    craft x 1 1 1 2 2
    truncate -s $((3 * C)) x
    img 2 check x
    err 'ERROR duplicate offset in BAT entry 1' 'ERROR duplicate offset in BAT entry 2' \
        'ERROR duplicate offset in BAT entry 4'
    has "$OUT" '^3 errors were found on the image\.$'
    img 0 check -r all x
    img 0 convert -O raw x raw
    [ "$(peek raw 131072 2)$(peek raw 262144 2)" = 01010202 ]
}

@test "parallels: a cluster outside of the image" {
    craft x 1 20 2
    img 0 check -r all x
    has "$ERR" '^Repairing cluster 1 is outside image$'
    [ "$(table x)" = '1 0 2' ]
    img 0 check x
}

@test "parallels: clusters outside are told without a repair" {
    beyond
    craft x 1 20 2
    truncate -s $((3 * C)) x
    before=$(sum x)
    img 2 check x
    err 'ERROR cluster 1 is outside image'
    field x 2 20
    img 2 check x
    err 'ERROR cluster 1 is outside image' 'ERROR cluster 2 is outside image' \
        'ERROR space leaked at the end of the image 65536'
    field x 2 2
    [ "$(sum x)" = "$before" ]
}

@test "parallels: bytes behind the last cluster" {
    craft x 1 0 3
    truncate -s $((8 * C + 100)) x
    img 3 check x
    err 'ERROR space leaked at the end of the image 262656'
    has "$OUT" '^5 leaked clusters were found on the image\.$'
    img 0 check -r leaks x
    err 'Repairing space leaked at the end of the image 262656'
    [ "$(stat -c %s x)" -eq $((4 * C)) ]
}

@test "parallels: an image that was not closed, an invalid data offset" {
    craft x 1 2
    field x in_use 0x746f6e59
    field x data_off 7
    img 2 check x
    err 'ERROR image was not closed correctly' 'ERROR data_off field has incorrect value'
    img 2 check -r leaks x
    [ "$(peek x 48 4)" = "$(le 4 7)" ]
    field x in_use 0x746f6e59
    img 0 check -r all x
    err 'Repairing image was not closed correctly' 'Repairing data_off field has incorrect value'
    [ "$(peek x 44 8)" = "$(le 4 0)$(le 4 128)" ]
    img 0 check x
}

@test "parallels: is repaired before it is written" {
    craft x 1 1 30
    field x in_use 0x746f6e59
    truncate -s 640k raw
    pattern raw 55 512k 64k
    img 0 convert -n -f raw -O parallels raw x
    err 'Repairing image was not closed correctly' 'Repairing cluster 2 is outside image' \
        'Repairing space leaked at the end of the image 131072' 'Repairing duplicate offset in BAT entry 1'
    img 0 check -r leaks x
    img 0 compare -f parallels -F raw x raw
}

# ---- writing

@test "parallels: writes, into both kinds and into clusters of odd size" {
    sample raw
    for options in cluster_size=64k cluster_size=1M cluster_size=512; do
        img 0 convert -f raw -O parallels -o $options raw x
        img 0 check x
        img 0 compare x raw
        [ "$(peek x 44 4)" = 00000000 ]
    done
}

@test "parallels: clusters of odd size" {
    beyond
    sample raw
    for size in 1536 63k 100000 1025k; do
        img 0 convert -f raw -O parallels -o cluster_size=$size raw x
        img 0 check x
        img 0 compare x raw
        pattern raw 77 777777 12345
        img 0 convert -n -f raw -O parallels raw x
        img 0 check x
        img 0 compare x raw
    done
}

@test "parallels: zeroes give clusters back, and those are used again" {
    craft x 1 2 3
    truncate -s 640k raw
    pattern raw 01 0 64k
    pattern raw 03 128k 64k
    img 0 convert -n -f raw -O parallels raw x
    [ "$(table x)" = '1 0 3' ]
    pattern raw 44 320k 64k
    img 0 convert -n -f raw -O parallels raw x
    [ "$(table x)" = '1 0 3 0 0 2' ]
    img 0 compare x raw
}

@test "parallels: the end of the file follows the last cluster" {
    beyond
    craft x 1 2 3
    truncate -s 640k raw
    pattern raw 01 0 64k
    img 0 convert -n -f raw -O parallels raw x
    [ "$(stat -c %s x)" -eq $((2 * C)) ]
    img 0 check x
}

@test "parallels: an image that is only read, or not changed, stays as it is" {
    beyond
    craft x 1 0 3
    field x in_use 0x312e3276
    truncate -s $((8 * C)) x
    before=$(sum x)
    img 0 convert -f parallels -O raw x raw
    img 0 convert -n -f raw -O parallels --image-opts driver=raw,file.driver=null-co,size=0 x || true
    img 3 check x
    [ "$(sum x)" = "$before" ]
}

@test "parallels: the first write clears the empty flag" {
    beyond
    craft x
    field x flags 1
    sample raw
    truncate -s 640k raw
    img 0 convert -n -f raw -O parallels raw x
    [ "$(peek x 52 4)" = 00000000 ]
}

@test "parallels: a cluster before the start of the grid is not cut off" {
    craft x 1
    field x data_off 192
    img 0 bench -q -w -c 1 -s 512 --pattern 5 -f parallels x
    [ "$(stat -c %s x)" -eq $((2 * C)) ]
    [ "$(peek x $((2 * C - 4)) 4)" = 01010101 ]
}

@test "parallels: growing ahead of the data" {
    beyond
    truncate -s 640k raw
    pattern raw 11 0 512
    for options in prealloc-size=0 prealloc-mode=truncate prealloc-mode=falloc,prealloc-size=1M; do
        craft x
        img 0 convert -n --image-opts --target-image-opts driver=raw,file.filename=raw \
            "driver=parallels,file.filename=x,$options"
        [ "$(stat -c %s x)" -eq $((2 * C)) ]
        img 0 check x
    done
}

@test "parallels: options of opening" {
    craft x
    img 0 info --image-opts driver=parallels,file.filename=x,prealloc-mode=truncate,prealloc-size=4G
    img 1 info --image-opts driver=parallels,file.filename=x,prealloc-mode=off
    err "qemu-img: Could not open 'driver=parallels,file.filename=x,prealloc-mode=off': invalid parameter value: off"
    img 1 info --image-opts driver=parallels,file.filename=x,prealloc-size=foo
    has "$ERR" "Parameter 'prealloc-size' expects a non-negative number below 2\^64"
}

@test "parallels: what it does not do" {
    craft x
    img 1 resize -f parallels x 1M
    err 'qemu-img: Image format driver does not support resize'
    img 1 amend -f parallels -o size=1M x
    err "qemu-img: Format driver 'parallels' does not support option amendment"
    img 1 measure -O parallels --size 1M
    err "qemu-img: Block driver 'parallels' does not support size measurement"
    img 1 convert -c -f raw -O parallels x y
    err 'qemu-img: Compression not supported for this file format'
}

# ---- the format extension

# sum_up FILE: the checksum of the extension at the third cluster
sum_up() {
    poke "$1" $((2 * C + 8)) "$(tail -c +$((2 * C + 25)) "$1" | head -c $((C - 24)) | md5sum | cut -c 1-32)"
}

# extended [FLAGS [SECTORS [MAGIC]]]: one cluster of data, then an extension with one feature
extended() {
    craft x 1
    field x in_use 0x312e3276
    field x ext_off 256
    truncate -s $((3 * C)) x
    poke x $((2 * C)) "$(le 8 0xab234cef23dcea87)"
    poke x $((2 * C + 24)) "${3:-$(le 8 0x20385fae252cb34a)}$(le 8 "${1:-0}")$(le 8 40)$(le 8 "${2:-1280}")"
    poke x $((2 * C + 56)) 01020304050607080910111213141516"$(le 4 128)$(le 4 1)$(le 8 1)"
    sum_up x
}

@test "parallels: an extension with a dirty bitmap is looked at" {
    extended
    img 0 info x
    extended 0 1281
    refused 'Bitmap size (in sectors) 1281 differs from disk size in sectors 1280'
    extended 1
    refused 'Flags for extension feature are unsupported'
    extended 0 1280 "$(le 8 0x1234)"
    refused 'Unknown feature: 0x1234'
    extended; poke x $((2 * C)) 00
    refused 'Wrong parallels Format Extension magic: 0xab234cef23dcea00, expected: 0xab234cef23dcea87'
    extended; poke x $((2 * C + 40)) "$(le 4 65536)"; sum_up x
    refused 'Feature data_size exceedes Format Extension cluster'
    extended; poke x $((2 * C + 76)) 09; sum_up x
    refused 'Bitmaps feature corrupted: l1 table exceeds extension data_size'
    extended; poke x $((2 * C + 40)) 10; sum_up x
    refused 'Too small Bitmap Feature area in Parallels Format Extension: 16 bytes, expected at least 32 bytes'
}

@test "parallels: too many bitmaps" {
    beyond
    extended
    python3 - <<'END'
import hashlib, struct
unit = 2 << 20
head = bytearray(open('x', 'rb').read(64))
struct.pack_into('<I', head, 28, unit // 512)
struct.pack_into('<I', head, 48, unit // 512)
struct.pack_into('<Q', head, 56, unit // 512)
one = [struct.pack('<QQIIQQQIIQ', 0x20385fae252cb34a, 0, 40, 0, 1280, n, 0, 128, 1, 1) for n in range(16385)]
body = b''.join(one).ljust(unit - 24, b'\0')
with open('x', 'wb') as file:
    file.write(bytes(head).ljust(unit, b'\0') + struct.pack('<Q', 0xab234cef23dcea87) + hashlib.md5(body).digest() + body)
END
    refused 'More than 16384 bitmaps in Parallels Format Extension'
}

@test "parallels: the checksum of an extension" {
    [ -n "$IMG_IS_PEER" ] || "$BUILD/bin/img-digest" --help | grep -q md5 || skip 'MD5 is not built in'
    extended
    poke x $((2 * C + 1000)) 01
    refused 'Wrong checksum in Format Extension header. Format extension is corrupted.'
}

@test "parallels: a writer drops the extension" {
    beyond
    extended
    truncate -s 640k raw
    pattern raw 66 256k 64k
    img 0 convert -n -f raw -O parallels raw x
    err 'qemu-img: warning: Format Extension ignored in RW mode'
    [ "$(peek x 44 4)$(peek x 56 8)" = 000000000000000000000000 ]
    img 0 compare x raw
    img 0 check x
    # unless it says that nobody may write without it
    extended 1
    before=$(sum x)
    img 1 convert -n -f raw -O parallels raw x
    has "$ERR" 'Flags for extension feature are unsupported$'
    [ "$(sum x)" = "$before" ]
}

@test "parallels: what other programs wrote" {
    for name in v2 with-bitmap; do
        fixture parallels-$name
        cp parallels-$name x
        img 0 info x
        mask
        case $name in
            v2)
                out 'image: x' 'file format: parallels' 'virtual size: 2 MiB (2097152 bytes)' 'disk size: N' \
                    "Child node '/file':" '    filename: x' '    protocol type: file' \
                    '    file length: 320 KiB (327680 bytes)' '    disk size: N'
                img 0 check x
                img 0 convert -O raw x raw
                [ "$(sum raw)" = 15faf41ebc93b5f734341cb7a2d909001e3f7306960f9d8bc63894f2a8e5bc45 ] ;;
            *)
                has "$OUT" '^virtual size: 64 GiB \(68719476736 bytes\)$'
                img 3 check x
                err 'ERROR space leaked at the end of the image 2097152' ;;
        esac
    done
}

# ---- bundles

# part START END BLOCK TYPE FILE
part() {
    echo "<Storage><Start>$1</Start><End>$2</End><Blocksize>$3</Blocksize><Image><GUID>{1}</GUID><Type>$4</Type>" \
        "<File>$5</File></Image></Storage>"
}

# bundle SECTORS PARTS [MORE]: vm.hdd/DiskDescriptor.xml
bundle() {
    mkdir -p vm.hdd
    cat > vm.hdd/DiskDescriptor.xml <<END
<?xml version='1.0' encoding='UTF-8'?>
<!-- as Parallels Desktop writes it -->
<Parallels_disk_image Version="1.0">
    <Disk_Parameters>
        <Disk_size>$1</Disk_size><Cylinders>80</Cylinders><Heads>16</Heads><Sectors>1</Sectors><Padding>0</Padding>
        <Name>vm &amp; more</Name>${3:-}
    </Disk_Parameters>
    <StorageData>$2</StorageData>
</Parallels_disk_image>
END
}

no_bundle() {
    img 1 info vm.hdd
    err "qemu-img: Could not open 'vm.hdd': $1"
}

@test "parallels: a bundle, by its folder and by its descriptor" {
    beyond
    bundle 1280 "$(part 0 1280 128 Compressed 'vm.hdd.0.{5fba}.hds')"
    craft 'vm.hdd/vm.hdd.0.{5fba}.hds' 2 1
    img 0 convert -O raw 'vm.hdd/vm.hdd.0.{5fba}.hds' raw
    img 0 info vm.hdd
    has "$OUT" '^file format: parallels$'
    has "$OUT" '^virtual size: 640 KiB \(655360 bytes\)$'
    img 0 map vm.hdd
    out 'Offset          Length          Mapped to       File' \
        '0               0x10000         0x20000         vm.hdd/vm.hdd.0.{5fba}.hds' \
        '0x10000         0x10000         0x10000         vm.hdd/vm.hdd.0.{5fba}.hds'
    img 0 compare vm.hdd raw
    img 0 compare vm.hdd/DiskDescriptor.xml raw
    (cd vm.hdd && img 0 compare DiskDescriptor.xml ../raw)
    img 0 convert -O qcow2 vm.hdd y
    img 0 compare y raw
    img 1 convert -n -f raw -O parallels raw vm.hdd
    err "qemu-img: Could not open 'vm.hdd': A bundle can only be read"
    img 63 check vm.hdd
}

@test "parallels: a bundle in several parts" {
    beyond
    bundle 1536 "$(part 0 128 128 Plain a.raw)$(part 128 1408 128 Compressed b.hds)$(part 1408 1536 128 Plain c.raw)"
    craft vm.hdd/b.hds 1
    truncate -s 64k vm.hdd/a.raw
    pattern vm.hdd/a.raw 77 0 64k
    truncate -s 1k vm.hdd/c.raw
    pattern vm.hdd/c.raw 88 512 512
    img 1 convert -O raw vm.hdd raw
    err "qemu-img: Could not open 'vm.hdd': image is truncated: 'vm.hdd/c.raw' needs 65536 bytes, has 1024"
    truncate -s 64k vm.hdd/c.raw
    img 0 convert -O raw vm.hdd raw
    cp vm.hdd/a.raw want
    img 0 convert -O raw vm.hdd/b.hds b
    cat b vm.hdd/c.raw >> want
    truncate -s 768k want
    cmp raw want
}

@test "parallels: bundles that are refused" {
    beyond
    truncate -s 64k vm.raw
    for name in ../vm.raw "$PWD/vm.raw" .. ''; do
        bundle 128 "$(part 0 128 128 Plain "$name")"
        no_bundle "DiskDescriptor.xml: '$name' is no file of the bundle, and is not opened"
    done
    bundle 128 "$(part 0 128 128 Plain a | sed 's,</Image>,&<Image><Type>Compressed</Type></Image>,')"
    no_bundle 'DiskDescriptor.xml: disks with snapshots are not supported'
    bundle 128 "$(part 0 128 128 Weird a)"
    no_bundle "DiskDescriptor.xml: images of the type 'Weird' are not supported"
    bundle 256 "$(part 0 128 128 Plain a)$(part 129 256 128 Plain b)"
    no_bundle 'DiskDescriptor.xml: the storages do not cover the disk one after the other'
    bundle 128 "$(part 0 128 128 Plain a)" '<Padding>1</Padding>'
    no_bundle 'DiskDescriptor.xml: disks with padding are not supported'
    bundle 128 "$(part 0 128 128 Plain a)" '<Encryption><Engine>{1234}</Engine></Encryption>'
    no_bundle 'DiskDescriptor.xml: encrypted disks are not supported'
    bundle 128 "$(part 0 128 128 Compressed DiskDescriptor.xml)"
    no_bundle 'DiskDescriptor.xml: Image not in Parallels format'
    bundle 128 "$(part 0 128 256 Compressed a.hds)"
    craft vm.hdd/a.hds
    no_bundle 'a.hds: is not what DiskDescriptor.xml says of it'
    bundle x "$(part 0 128 128 Plain a)"
    no_bundle "DiskDescriptor.xml: 'Disk_size' is no number of sectors"
}

@test "parallels: descriptors as hostile text" {
    beyond
    mkdir vm.hdd
    write() { printf '%s' "$1" > vm.hdd/DiskDescriptor.xml; }
    write '<Parallels_disk_image Version="1.0">'
    no_bundle 'DiskDescriptor.xml: elements are not balanced'
    write '<Parallels_disk_image Version="1.0"></Parallels_disk>'
    no_bundle 'DiskDescriptor.xml: elements are not balanced'
    write '<Parallels_disk_image Version="2.0"/>'
    no_bundle 'DiskDescriptor.xml: not of version 1.0'
    write '<!DOCTYPE x [<!ENTITY a "b">]><Parallels_disk_image Version="1.0"/>'
    no_bundle 'DiskDescriptor.xml: document types and the like are not supported'
    write '<Parallels_disk_image Version="1.0">&bomb;</Parallels_disk_image>'
    no_bundle 'DiskDescriptor.xml: unknown entity'
    write "<Parallels_disk_image>$(printf '<a>%.0s' {1..20})"
    no_bundle 'DiskDescriptor.xml: elements are nested too deep'
    write "<Parallels_disk_image><$(printf 'a%.0s' {1..200})>"
    no_bundle 'DiskDescriptor.xml: an element without a sound name'
    write "<Parallels_disk_image>$(printf 'a%.0s' {1..5000})"
    no_bundle 'DiskDescriptor.xml: text is too long'
    write "<Parallels_disk_image Version='1.0'/>"
    truncate -s 2M vm.hdd/DiskDescriptor.xml
    no_bundle 'DiskDescriptor.xml is longer than 1 MiB'
}

@test "parallels: a raw disk that holds a descriptor is a raw disk" {
    bundle 128 "$(part 0 128 128 Plain a)"
    cp vm.hdd/DiskDescriptor.xml disk.img
    img 0 info disk.img
    has "$OUT" '^file format: raw$'
}

outside() {
    no_bundle "'vm.hdd/${1:-a}' leads out of the folder 'vm.hdd', and is not opened"
}

@test "parallels: links lead out of no bundle" {
    beyond
    truncate -s 64k vm.raw
    bundle 128 "$(part 0 128 128 Plain a)"
    for target in ../vm.raw "$PWD/vm.raw" ../vm.hdd/../vm.raw "$PWD/vm.hdd/../vm.raw" ../vm.hdd.copy/a up/vm.raw; do
        mkdir -p vm.hdd.copy
        cp vm.raw vm.hdd.copy/a
        ln -sfn .. vm.hdd/up
        ln -sf "$target" vm.hdd/a
        outside
        (cd vm.hdd && img 1 info DiskDescriptor.xml &&
            err "qemu-img: Could not open 'DiskDescriptor.xml': 'a' leads out of the folder '.', and is not opened")
    done
    # by way of links inside, and outside back into the folder of another bundle
    ln -sf b vm.hdd/a
    ln -sf c vm.hdd/b
    ln -sf ../vm.raw vm.hdd/c
    outside
    # a device, a folder, and a bundle elsewhere
    ln -sf /dev/null vm.hdd/a
    outside
    mv vm.hdd other.hdd
    rm other.hdd/a
    truncate -s 64k other.hdd/a
    bundle 128 "$(part 0 128 128 Plain a)"
    ln -sfn ../other.hdd vm.hdd/a
    outside
    # the descriptor itself
    rm -r vm.hdd
    mkdir vm.hdd
    ln -s ../other.hdd/DiskDescriptor.xml vm.hdd/DiskDescriptor.xml
    truncate -s 64k vm.hdd/a
    outside DiskDescriptor.xml
}

@test "parallels: links within a bundle are fine" {
    beyond
    bundle 128 "$(part 0 128 128 Plain a)"
    mkdir vm.hdd/sub
    truncate -s 64k vm.hdd/sub/x
    pattern vm.hdd/sub/x 55 0 64k
    for target in sub/x "$PWD/vm.hdd/sub/x" ../vm.hdd/sub/x sub/../sub/x sub/back/sub/x; do
        ln -sfn .. vm.hdd/sub/back
        ln -sf "$target" vm.hdd/a
        img 0 convert -O raw vm.hdd y
        cmp y vm.hdd/sub/x
    done
    # the folder itself may be a link
    ln -s vm.hdd link.hdd
    img 0 convert -O raw link.hdd y
    cmp y vm.hdd/sub/x
    # so may a link to a link, but not a circle of them
    ln -sf b vm.hdd/a
    ln -sf sub/x vm.hdd/b
    img 0 convert -O raw vm.hdd y
    ln -sf a vm.hdd/b
    no_bundle "Could not open 'vm.hdd/a': Too many levels of symbolic links"
    ln -sf nowhere vm.hdd/a
    no_bundle "Could not open 'vm.hdd/a': No such file or directory"
    ln -sf sub vm.hdd/a
    no_bundle "'file' driver requires 'vm.hdd/a' to be a regular file"
    rm vm.hdd/a
    mkfifo vm.hdd/fifo
    ln -s fifo vm.hdd/a
    no_bundle "'file' driver requires 'vm.hdd/a' to be a regular file"
}

@test "parallels: a bundle whose file is not there" {
    beyond
    bundle 128 "$(part 0 128 128 Plain a.raw)"
    no_bundle "Could not open 'vm.hdd/a.raw': No such file or directory"
}
