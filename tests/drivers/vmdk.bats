#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# vmdk: descriptors, extents of each kind, content ids, streams; in qemu-img's words.

load ../helper

# craft FILE EXPRESSION: bytes made by tests/interop/lib/vmdk.py
craft() {
    crafting -c '
import sys
from vmdk import *
with open(sys.argv[1], "wb") as file:
    file.write(eval(sys.argv[2]))' "$1" "$2"
}

# text CREATE-TYPE LINE...: a descriptor x
text() {
    local type=$1
    shift
    printf '%s\n' '# Disk DescriptorFile' version=1 CID=12345678 parentCID=ffffffff "createType=\"$type\"" "$@" > x
}

info_has() {
    img 0 info "${2:-x}"
    has "$OUT" "$1"
}

# number FILE OFFSET BYTES: little-endian
number() {
    python3 -c 'import sys; f = open(sys.argv[1], "rb"); f.seek(int(sys.argv[2]))
print(int.from_bytes(f.read(int(sys.argv[3])), "little"))' "$@"
}

# ---- creating

@test "vmdk: -c leaves grains plain where the subformat has no compressed ones" {
    dd if=/dev/urandom of=raw bs=512 count=300 status=none
    img 0 convert -c -f raw -O vmdk raw x.vmdk
    img 0 compare -f raw -F vmdk raw x.vmdk
    img 0 map --output=json x.vmdk
    ! grep -q '"compressed": true' "$OUT" || return 1
    img 1 convert -c -f raw -O vmdk -o subformat=monolithicFlat raw x.vmdk
    err 'qemu-img: invalid cluster size'
}

@test "vmdk: options of creation" {
    img 0 create -f vmdk -o help
    out 'Supported vmdk options:' \
        '  adapter_type=<str>     - Virtual adapter type, can be one of ide (default), lsilogic, buslogic or legacyESX' \
        '  backing_file=<str>     - File name of a base image' '  backing_fmt=<str>      - Must be '"'vmdk'"' if present' \
        '  compat6=<bool (on/off)> - VMDK version 6 image' '  hwversion=<str>        - VMDK hardware version' \
        '  size=<size>            - Virtual disk size' \
        '  subformat=<str>        - VMDK flat extent format, can be one of {monolithicSparse (default) | monolithicFlat | twoGbMaxExtentSparse | twoGbMaxExtentFlat | streamOptimized} ' \
        '  toolsversion=<str>     - VMware guest tools version' \
        '  zeroed_grain=<bool (on/off)> - Enable efficient zero writes using the zeroed-grain GTE feature' '' \
        'The protocol level may support further options.' \
        'Specify the target filename to include those options.'
    img 0 create -f vmdk x 1000
    out "Formatting 'x', fmt=vmdk size=1000 compat6=off hwversion=undefined"
    info_has '^virtual size: 1 KiB \(1024 bytes\)$'
    img 1 create -q -f vmdk -o subformat=flat x 1M
    err 'qemu-img: x: invalid parameter value: flat'
    img 1 create -q -f vmdk -o adapter_type=IDE x 1M
    err 'qemu-img: x: invalid parameter value: IDE'
    img 1 create -q -f vmdk -o compat6,hwversion=7 x 1M
    err 'qemu-img: x: compat6 cannot be enabled with hwversion set'
    img 1 create -q -f vmdk -o subformat=monolithicFlat,zeroed_grain x 1M
    err "qemu-img: x: Flat image can't enable zeroed grain"
    img 0 create -q -f vmdk base.vmdk 1M
    img 1 create -q -f vmdk -b base.vmdk -F vmdk -o subformat=twoGbMaxExtentFlat x 1M
    err "qemu-img: x: Flat image can't have backing file"
    img 0 create -q -f raw base.raw 1M
    img 1 create -q -f vmdk -b base.raw -F raw x
    err 'qemu-img: x: backing_file must be a vmdk image'
    img 1 create -q -u -f vmdk -b base.raw -F vmdk x 1M
    err 'qemu-img: x: Invalid backing file format: raw. Must be vmdk'
}

@test "vmdk: the descriptor and the places of a new sparse image" {
    img 0 create -q -f vmdk -o adapter_type=lsilogic,toolsversion=7,compat6 x.vmdk 3G
    dd if=x.vmdk bs=512 skip=1 count=20 status=none | tr -d '\0' | sed 's/^CID=.*/CID=N/' > text
    same text '# Disk DescriptorFile' version=1 CID=N parentCID=ffffffff 'createType="monolithicSparse"' '' \
        '# Extent description' 'RW 6291456 SPARSE "x.vmdk"' '' '# The Disk Data Base' '#DDB' '' \
        'ddb.virtualHWVersion = "6"' 'ddb.geometry.cylinders = "391"' 'ddb.geometry.heads = "255"' \
        'ddb.geometry.sectors = "63"' 'ddb.adapterType = "lsilogic"' 'ddb.toolsVersion = "7"'
    [ "$(stat -c %s x.vmdk)" -eq 458752 ]
    [ "$(number x.vmdk 48 8) $(number x.vmdk 56 8) $(number x.vmdk 64 8)" = '21 406 896' ]
    [ "$(number x.vmdk $((21 * 512)) 4) $(number x.vmdk $((406 * 512 + 4 * 95)) 4)" = '22 787' ]
    img 0 create -q -f vmdk -o zeroed_grain x.vmdk 3G
    [ "$(peek x.vmdk 0 12)" = 4b444d560200000007000000 ]
}

@test "vmdk: the files of each kind of image" {
    mkdir dir
    img 0 create -q -f vmdk -o subformat=twoGbMaxExtentSparse dir/a.vmdk 3G
    img 0 create -q -f vmdk -o subformat=twoGbMaxExtentFlat dir/b.x.img 2147484672
    img 0 create -q -f vmdk -o subformat=monolithicFlat dir/c 1M
    ls dir > names
    same names a-s001.vmdk a-s002.vmdk a.vmdk b.x-f001.img b.x-f002.img b.x.img c c-flat
    has dir/a.vmdk '^RW 2097152 SPARSE "a-s002.vmdk"$'
    has dir/b.x.img '^RW 2 FLAT "b.x-f002.img" 0$'
    has dir/c '^RW 2048 FLAT "c-flat" 0$'
    img 0 info dir/b.x.img
    sed -i 's/disk size: .*/disk size: N/; s/cid: [0-9]*$/cid: N/' "$OUT"
    out 'image: dir/b.x.img' 'file format: vmdk' 'virtual size: 2 GiB (2147484672 bytes)' 'disk size: N' \
        'Format specific information:' '    cid: N' '    parent cid: N' '    create type: twoGbMaxExtentFlat' \
        '    extents:' '        [0]:' '            virtual size: 2147483648' '            filename: dir/b.x-f001.img' \
        '            format: FLAT' '        [1]:' '            virtual size: 1024' \
        '            filename: dir/b.x-f002.img' '            format: FLAT' "Child node '/extents.1':" \
        '    filename: dir/b.x-f002.img' '    protocol type: file' '    file length: 1 KiB (1024 bytes)' \
        '    disk size: N' "Child node '/extents.0':" '    filename: dir/b.x-f001.img' '    protocol type: file' \
        '    file length: 2 GiB (2147483648 bytes)' '    disk size: N' "Child node '/file':" \
        '    filename: dir/b.x.img' '    protocol type: file' '    file length: 512 B (512 bytes)' \
        '    disk size: N'
}

@test "vmdk: the files of an image count together on the storage" {
    truncate -s 1M f
    pattern f 55 0 192k
    sync f
    text vmfs 'RW 1024 VMFS "f"' 'RW 1024 FLAT "f" 1024'
    sync x
    total=$((($(stat -c %b x) + 2 * $(stat -c %b f)) * 512))
    img 0 info --output=json x
    has "$OUT" "^    \"actual-size\": $total,$"
}

@test "vmdk: files of a failed creation are removed" {
    beyond
    mkdir x-flat.vmdk
    img 1 create -q -f vmdk -o subformat=monolithicFlat x.vmdk 1M
    err "qemu-img: x.vmdk: Could not create 'x-flat.vmdk': Is a directory"
    [ ! -e x.vmdk ]
}

@test "vmdk: names without the prefix of a protocol are stored" {
    sample raw
    for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do
        for name in file:d.vmdk file:a:b.vmdk ./a:b.vmdk "file:$PWD/d.vmdk"; do
            rm -f ./*.vmdk
            img 0 convert -f raw -O vmdk -o subformat=$kind raw "$name"
            silent
            img 0 compare -f raw raw "$name"
            [ "$(strings ./"${name##*[:/]}" ./a:b.vmdk 2> /dev/null | grep -c 'file:')" -eq 0 ]
        done
    done
}

@test "vmdk: files of a failed creation are removed with a prefix, too" {
    beyond
    mkdir x-flat.vmdk
    img 1 create -q -f vmdk -o subformat=monolithicFlat file:x.vmdk 1M
    err "qemu-img: file:x.vmdk: Could not create 'x-flat.vmdk': Is a directory"
    [ ! -e x.vmdk ]
}

# ---- data

@test "vmdk: contents go there and back in each kind of image" {
    sample raw
    for kind in monolithicSparse monolithicFlat twoGbMaxExtentSparse twoGbMaxExtentFlat streamOptimized; do
        img 0 convert -f raw -O vmdk -o subformat=$kind raw x.vmdk
        silent
        img 0 check x.vmdk
        img 0 convert -f vmdk -O raw x.vmdk back
        raw_is raw back
    done
}

@test "vmdk: compression only has an effect for streams" {
    sample raw
    img 0 convert -c -f raw -O vmdk raw x
    silent
    img 0 map --output=json x
    [ "$(grep -c '"compressed": true' "$OUT")" -eq 0 ]
    img 0 convert -O raw x back
    raw_is raw back
    img 1 convert -c -f raw -O vmdk -o subformat=monolithicFlat raw x
    err 'qemu-img: invalid cluster size'
    img 0 convert -c -W -f raw -O vmdk -o subformat=streamOptimized,compat6,adapter_type=lsilogic raw x
    silent
    img 0 map --output=json x
    has "$OUT" '"compressed": true'
}

@test "vmdk: writes allocate grains, zeroes become zeroed grains if supported" {
    truncate -s 1M raw
    img 0 create -q -f vmdk -o zeroed_grain x 1M
    pattern raw 11 64k 64k
    img 0 convert -n -f raw -O vmdk raw x
    [ "$(stat -c %s x)" -eq 131072 ]
    img 0 convert -n -f raw -O vmdk -S 0 raw x
    img 0 map --output=json x
    [ "$(number x 13824 4) $(number x 13828 4)" = '256 128' ]
    # the redundant table in step
    [ "$(peek x $((22 * 512)) 2048)" = "$(peek x $((27 * 512)) 2048)" ]
    craft y 'hosted([1, 8], b"g" * 4096, version=2, flags=5)'
    img 0 map --output=json y
    out '[{ "start": 0, "length": 4096, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 4096, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 4096}]'
}

@test "vmdk: a missing table is created" {
    beyond
    craft x 'hosted([0] * 16, b"", grain=128, flags=1)'
    poke x $((3 * 512)) 00000000
    truncate -s 1M raw
    pattern raw 22 192k 64k
    img 0 convert -n -f raw -O vmdk raw x
    img 0 compare -f raw -F vmdk raw x
    img 0 check x
}

# ---- backing files and content ids

@test "vmdk: a child knows the content of its parent" {
    img 0 create -q -f vmdk base.vmdk 1M
    truncate -s 1M raw
    pattern raw 11 0 1M
    img 0 convert -n -f raw -O vmdk raw base.vmdk
    img 0 create -q -f vmdk -b base.vmdk -F vmdk top.vmdk
    [ "$(strings top.vmdk | sed -n 's/^parentCID=//p')" = "$(strings base.vmdk | sed -n 's/^CID=//p')" ]
    has <(strings top.vmdk) '^parentFileNameHint="base.vmdk"$'
    info_has '^backing file format: vmdk$' top.vmdk
    img 0 convert -O raw top.vmdk back
    raw_is raw back
    # the parent is written to, and has another content from then on
    pattern raw 22 0 64k
    img 0 convert -n -f raw -O vmdk raw base.vmdk
    [ "$(strings top.vmdk | sed -n 's/^parentCID=//p')" != "$(strings base.vmdk | sed -n 's/^CID=//p')" ]
    img 0 map --output=json top.vmdk
    for offload in '' -C; do
        # shellcheck disable=SC2086
        img 1 convert $offload -O raw top.vmdk back
        has "$ERR" '^qemu-img: error while reading at byte 0: Invalid argument$'
    done
    # but what the child has of its own
    img 1 rebase -u -f vmdk -b '' top.vmdk
    err "qemu-img: Could not change the backing file to '': Operation not supported"
}

# chain HINT [PARENT-CID]: an overlay x of nothing, made on base.vmdk
chain() {
    craft delta 'cowd([0, 0, 0])'
    text vmfsSparse 'RW 24 VMFSSPARSE "delta"' "parentFileNameHint=\"$1\""
    sed -i "s/parentCID=.*/parentCID=${2:-aabbccdd}/" x
}

@test "vmdk: a parent from another machine is found beside the image, by its content id" {
    beyond
    truncate -s 12k base-flat
    pattern base-flat 7 0 12k
    text vmfs 'RW 24 VMFS "base-flat"'
    sed -i s/12345678/aabbccdd/ x
    mv x base.vmdk
    mkdir sub
    for hint in /vmfs/volumes/4f/vm/base.vmdk 'C:\vms\base.vmdk' '\\server\share\base.vmdk' gone/base.vmdk \
            '..\base.vmdk'; do
        chain "$hint"
        img 0 convert -O raw x raw
        silent
        cmp raw base-flat
        img 0 info --backing-chain x
        has "$OUT" '^image: base.vmdk$'
        img 0 info x
        grep -qF "backing file: $hint" "$OUT"
        chain "$hint" 11111111
        img 1 convert -O raw x raw
        has "$ERR" "^qemu-img: Could not open 'x': Could not open backing file: "
        [ "$(wc -l < "$ERR")" -eq 1 ]
    done
    chain '..\base.vmdk'
    mv x delta sub
    img 0 convert -O raw sub/x raw
    cmp raw base-flat
    chain /vmfs/base.vmdk
    mv x delta sub
    img 1 map sub/x
    cp base.vmdk base-flat sub
    img 0 convert -O raw sub/x raw
    cmp raw base-flat
    # where the name leads to a file, that is it
    cp base.vmdk other.vmdk
    sed -i s/aabbccdd/11111111/ other.vmdk
    chain "$PWD/other.vmdk"
    img 1 convert -O raw x raw
    changed='was changed after that image was made: its content ID is 11111111, not aabbccdd'
    err "qemu-img: The parent '$PWD/other.vmdk' of 'x' $changed" \
        'qemu-img: error while reading at byte 0: Invalid argument'
    # not by itself
    chain /vmfs/x
    img 1 map x
    has "$ERR" "'/vmfs/x': No such file or directory$"
    chain /vmfs/base.vmdk
    IMGBOX_HINTS=1 img 0 map x
    err "hint: the backing file '/vmfs/base.vmdk' is not there, but 'base.vmdk' is the same image"
}

@test "vmdk: an id is renewed once each time that an image is opened and written" {
    text monolithicFlat 'RW 2048 FLAT "f" 0'
    truncate -s 1M f raw
    pattern raw 33 4k 8k
    img 0 check x
    has x '^CID=12345678$'
    img 0 convert -n -f raw -O vmdk raw x
    [ "$(grep -c '^CID=12345678' x)" -eq 0 ]
    has x '^parentCID=ffffffff$'
    has x '^RW 2048 FLAT "f" 0$'
    raw_is raw f
}

# ---- descriptors

@test "vmdk: what a descriptor must have" {
    : > x; refused 'File is too small, not a valid image'
    echo nothing > x; refused 'invalid VMDK image descriptor'
    text custom; refused "Unsupported image type 'custom'"
    text monolithicSparse; refused "Unsupported image type 'monolithicSparse'"
    truncate -s 1M f
    text vmfs 'RW 2048 VMFS "f"'; info_has '^create type: vmfs|    create type: vmfs$'
    sed -i s/parentCID=ffffffff// x; refused "Could not open 'x': Invalid argument"
    text vmfs 'RW 2048 VMFS "f"'; sed -i s/^CID/cid/ x; info_has '^    cid: 4294967295$'
    text vmfs 'RW 2048 VMFS "f"'; sed -i 's/$/\r/' x; info_has '1 MiB \(1048576 bytes\)$'
    text vmfs 'RW 2048 VMFS "f"'; printf '\0' >> x; info_has '1 MiB \(1048576 bytes\)$'
    text vmfs 'RW 2048 VMFS "f"' 'parentFileNameHint="gone.vmdk"'; img 0 info x; has "$OUT" '^backing file: gone.vmdk'
    img 1 map x
    err "qemu-img: Could not open 'x': Could not open backing file: Could not open 'gone.vmdk': No such file or directory"
    text vmfs 'RW 2048 VMFS "f"' "parentFileNameHint=\"$(printf 'x%.0s' {1..4096})\""
    refused "Could not open 'x': Invalid argument"
}

@test "vmdk: lines of extents" {
    truncate -s 1M f
    for line in 'RW 2048 FLAT "f"' 'RW 2048 FLAT "f" -1'; do
        text vmfs "$line"; refused "Invalid extent line: $line"
    done
    text vmfs 'RW 2048 SPARSE "f"'; refused 'Image not in VMDK format'
    text vmfs 'RW 2048 SESPARSE "f"'; refused 'Bad const header magic: 0x0000000000000000'
    text vmfs 'RW 2048 FLAT "gone" 0'; refused "Could not open 'gone': No such file or directory"
    text vmfs 'RW 2048 FLAT "file:f" 0'; refused "Could not open 'file:f': No such file or directory"
    text vmfs 'RW 99999999999999999999 VMFS "f"'; refused 'Could not refresh total sector count: File too large'
    text vmfs '	RW  1024   FLAT "f"  8 "a" "b"' '# RW 9 VMFS "f"' 'RW 16 VMFS "f"'
    img 0 map --output=json x
    has "$OUT" '"start": 524288, "length": 8192, .*"offset": 0'
    has "$OUT" '"start": 0, "length": 524288, .*"offset": 4096'
}

@test "vmdk: extent lines that qemu-img skips" {
    beyond
    truncate -s 1M f
    pattern f 77 0 1M
    text vmfs 'RW 8 VMFS "f"' 'RW 16 ZERO' 'RDONLY 8 FLAT "f" 0'
    img 0 map --output=json x
    has "$OUT" '"start": 4096, "length": 8192, .*"zero": true'
    has "$OUT" '"start": 12288, "length": 4096, .*"data": true'
    img 0 convert -O raw x raw
    cmp -n 4096 raw f
    cmp -n 4096 -i 12288:0 raw f
    img 1 convert -n -O vmdk -f raw raw x
    err "qemu-img: Could not open 'x': Extent 'f' is read-only"
    text vmfs 'RW 8 VMFSRDM "f"'; refused "Unsupported extent type 'VMFSRDM'"
    text vmfs 'RW 8 FLAT f 0'; refused 'Invalid extent line: RW 8 FLAT f 0'
    text vmfs 'RW 8'; refused 'Invalid extent line: RW 8'
    text vmfs 'RW 2048 VMFS "f"' '' 'RW 2048 VMFS "f"'; info_has '2 MiB \(2097152 bytes\)$'
}

@test "vmdk: values that are not needed are passed over" {
    beyond
    truncate -s 64k f
    pattern f 66 0 64k
    craft s 'hosted([8, 9], b"s" * 8192)'
    text vmfs 'RW 16 VMFS "f" 8' 'RW 16 VMFS "f" partitionUUID x' 'RW 16 FLAT "f" 16 partitionUUID "dev" 1-2-3' \
        'RW 16 SPARSE "s" 0 a b' 'RW 8 ZERO "f" 3'
    img 0 convert -O raw x raw
    silent
    cmp -n 8192 raw f
    cmp -n 8192 -i 8192:0 raw f
    cmp -n 8192 -i 16384:8192 raw f
    [ "$(stat -c %s raw)" -eq 36864 ]
    text vmfs 'RW 16 SPARSE "s" 8'; refused 'Invalid extent line: RW 16 SPARSE "s" 8'
    text vmfs 'RW 16 VMFS "f" -8'; refused 'Invalid extent line: RW 16 VMFS "f" -8'
}

@test "vmdk: disks made of devices and of their partitions" {
    beyond
    truncate -s 64k f part
    pattern f 1 0 64k
    pattern part 2 0 64k
    for type in fullDevice partitionedDevice; do
        text $type 'RW 63 FLAT "f" 0' 'RW 16 ZERO' "RW 64 FLAT \"$PWD/part\" 0 partitionUUID \"dev\" 11"
        info_has "^    create type: $type\$"
        img 0 convert -O raw x raw
        silent
        { head -c 32256 f; head -c 8192 /dev/zero; head -c 32768 part; } | cmp - raw
    done
    text fullDevice 'RW 63 FLAT "\\.\PhysicalDrive3" 0'
    IMGBOX_HINTS=1 img 1 info x
    has "$ERR" '^hint: this extent is a device of a Windows machine, and can only be read there$'
}

@test "vmdk: a disk that its descriptor does not describe is an error" {
    beyond
    truncate -s 1M f
    text vmfs ''; refused 'The descriptor lists no extent'
    text vmfs 'RW 0 VMFS "f"'; refused 'The descriptor lists no extent'
    for line in 'rw 8 VMFS "f"' '"RW" 8 VMFS "f"' $'RW\u00a08 VMFS "f"' 'RWX 8 VMFS "f"' 'RW' 'parent'; do
        text vmfs 'RW 8 VMFS "f"' "$line"
        refused "Line 7 of the descriptor is not understood: $line"
    done
    text vmfs 'RW 8 VMFS "f"' $'a\033[2J'
    refused 'Line 7 of the descriptor is not understood: a?[2J'
    craft s1 'hosted([8, 9], b"s" * 8192)'
    # the last one may have another length, as in qemu-img
    text vmfs 'RW 16 VMFS "f"' 'RW 9 SPARSE "s1"'; info_has '16 KiB \(16384 bytes\)$'
    text vmfs 'RW 9 SPARSE "s1"' 'RW 16 VMFS "f"'
    refused "Extent 's1' has 16 sectors, and 9 in the descriptor"
    cp f a-f001.vmdk; cp f a-f002.vmdk; cp f a-f003.vmdk
    text twoGbMaxExtentFlat 'RW 8 FLAT "a-f001.vmdk" 0' 'RW 8 FLAT "a-f003.vmdk" 0'
    refused "The descriptor has 'a-f003.vmdk' after 'a-f001.vmdk': an extent is missing, or they are in the wrong order"
    text twoGbMaxExtentFlat 'RW 8 FLAT "a-f002.vmdk" 0' 'RW 8 FLAT "a-f003.vmdk" 0'
    refused "The first extent of the descriptor is 'a-f002.vmdk': those before it are missing"
    text twoGbMaxExtentFlat 'RW 8 FLAT "a-f001.vmdk" 0' 'RW 8 FLAT "a-f002.vmdk" 0'
    info_has '8 KiB \(8192 bytes\)$'
    # A parent that has no name; info does not need it.
    text vmfs 'RW 8 VMFS "f"'
    sed -i s/parentCID=.*/parentCID=aabbccdd/ x
    img 0 info x
    img 1 map x
    has "$ERR" 'a parent with the content ID aabbccdd \(parentCID\), but does not name it \(parentFileNameHint\)$'
    img 0 create -q -f vmdk base.vmdk 1M
    given=driver=vmdk,file.filename=x,backing.driver=vmdk,backing.file.filename=base.vmdk
    img 0 convert -O raw --image-opts "$given" raw
    sed -i s/parentCID=.*/parentCID=0/ x
    img 0 map x
}

@test "vmdk: what may not be accessed is not read" {
    beyond
    truncate -s 1M f
    text vmfs 'RW 8 VMFS "f"' 'NOACCESS 8 FLAT "gone" 0' 'RW 8 VMFS "f"'
    info_has '12 KiB \(12288 bytes\)$'
    img 1 convert -O raw x raw
    err "qemu-img: The extent at byte 4096 of 'x' may not be accessed (NOACCESS)" \
        'qemu-img: error while reading block status at offset 4096: Permission denied'
    img 0 dd if=x of=raw bs=4096 count=1
    truncate -s 12288 raw2
    img 1 convert -n -f raw -O vmdk raw2 x
    err "qemu-img: Could not open 'x': Extent 'gone' may not be accessed"
}

@test "vmdk: descriptors as other programs write them" {
    beyond
    truncate -s 1M f
    pattern f 9 0 1M
    text monolithicFlat 'RW 2048 FLAT "f" 0'
    mv x plain
    python3 - <<'END'
text = open('plain').read()
forms = dict(bom='\ufeff' + text, spaces=text.replace('=', ' = '), blank='\n \t\n' + text, end=text + '\x1a',
             trailing=text.replace('\n', ' \t\r\n'), comment=text.replace('\n', '\n#' + 600 * 'x' + '\n', 1),
             words='#disk descriptor file' + text[text.index('\n'):],
             nothing=text[text.index('\n') + 1:].replace('n=1', 'n\t= 1 '))
for name, form in forms.items():
    open(name, 'w', newline='').write(form)
for name in 'utf-16-le', 'utf-16-be':
    open(name, 'wb').write(('\ufeff' + text).encode(name))
END
    for form in bom spaces blank end trailing comment words nothing utf-16-le utf-16-be; do
        img 0 convert -O raw $form raw
        silent
        cmp raw f
        img 0 info $form
        has "$OUT" '^    cid: 305419896$'
    done
    # A write changes the content ID, and nothing else.
    head -c 1M /dev/zero > raw
    for form in bom spaces nothing; do
        cp $form x
        img 0 convert -n -f raw -O vmdk raw x
        [ "$(grep -c 12345678 x)" -eq 0 ]
        diff <(grep -v '^CID' x) <(grep -v '^CID' $form)
    done
    img 1 convert -n -f raw -O vmdk raw utf-16-be
    err "qemu-img: Could not open 'utf-16-be': An image whose descriptor is in UTF-16 can only be read"
}

@test "vmdk: names in another encoding" {
    beyond
    python3 - <<'END'
text = '# Disk DescriptorFile\nversion=1\nencoding="%s"\nCID=12345678\nparentCID=%s\ncreateType="%s"\n%s%s\n'
for encoding, name in ('windows-1252', 'Größe'), ('GBK', '联通'), ('Shift_JIS', '表示'), ('EUC-KR', '한글'):
    open(name + '-flat.vmdk', 'wb').write(encoding.encode().ljust(512, b'.'))
    line = 'RW 1 FLAT "%s-flat.vmdk" 0' % name
    open(encoding, 'wb').write((text % (encoding, 'ffffffff', 'monolithicFlat', '', line)).encode(encoding))
    open(name + '.vmdk', 'w').write(text % ('UTF-8', 'ffffffff', 'monolithicFlat', '', line))
    hint = 'parentFileNameHint="%s.vmdk"\n' % name
    child = text % (encoding, '12345678', 'vmfsSparse', hint, 'RW 24 VMFSSPARSE "delta"')
    open('child-' + encoding, 'wb').write(child.encode(encoding))
for name in 'klingon', '../../UTF-16//', '':
    open('unknown' + name[:1], 'wb').write((text % (name, 'ffffffff', 'vmfs', '', 'RW 1 VMFS "é"')).encode('latin-1'))
open('ascii', 'w').write(text % ('klingon', 'ffffffff', 'vmfs', '', 'RW 1 VMFS "f"'))
open('not', 'wb').write((text % ('Shift_JIS', 'ffffffff', 'vmfs', '', 'RW 1 VMFS "@"')).encode().replace(b'@', b'\x81'))
END
    craft delta 'cowd([0, 0, 0])'
    for encoding in windows-1252 GBK Shift_JIS EUC-KR; do
        img 0 convert -O raw "$encoding" raw
        silent
        [ "$(head -c ${#encoding} raw)" = "$encoding" ]
        img 0 convert -O raw "child-$encoding" raw
        [ "$(head -c ${#encoding} raw)" = "$encoding" ]
    done
    # The bytes as they are come first: some programs write UTF-8, and say something else.
    text vmfs 'encoding="windows-1252"' 'RW 1 VMFS "Größe-flat.vmdk"'
    img 0 info x
    : > f
    img 0 info ascii
    img 1 info unknownk
    has "$ERR" "was not found, and its name is in an unknown encoding, 'klingon'$"
    img 1 info unknown.
    has "$ERR" "was not found, and its name is in an unknown encoding, '../../UTF-16//'$"
    img 1 info unknown
    has "$ERR" 'No such file or directory$'
    img 1 info not
    has "$ERR" "was not found, and its name is not in the encoding of the descriptor, 'Shift_JIS'$"
}

# ---- headers

@test "vmdk: invalid header fields" {
    craft x 'hosted([0], version=4)'; refused 'Unsupported VMDK version 4'
    craft x 'hosted([0], entries=513)'; refused 'L2 table size too big'
    craft x 'hosted([0], entries=0)'; refused 'L1 entry size is invalid'
    craft x 'hosted([0], grain=1 << 22, capacity=8)'; refused 'Invalid granularity, image may be corrupt'
    craft x 'hosted([0], capacity=1 << 40)'; refused 'L1 size too big'
    craft x 'hosted([0], overhead=999)'; refused 'File truncated, expecting at least 511488 bytes'
    craft x 'hosted([0], directory=AT_END)'; refused 'Invalid footer'
    craft x 'hosted([0], directory=1 << 54)'
    refused "Could not read l1 table from extent 'x': Input/output error"
    craft x 'hosted([0], capacity=0, text=descriptor("vmfsThin", []))'; refused "Unsupported image type 'vmfsThin'"
    craft x 'hosted([0], text=b"")'; refused "Could not open 'x': Invalid argument"
    craft x 'hosted([0, 0, 9999], b"")'
    img 1 check x
    err 'ERROR: cluster offset for sector 16 points after EOF' 'qemu-img: Check failed: Invalid argument'
}

@test "vmdk: version 3 is read, and written only where it is compressed" {
    craft x 'hosted([8], b"3" * 4096, version=3)'
    img 0 check x
    head -c 4096 /dev/zero > raw
    img 1 convert -n -f raw -O vmdk raw x
    err "qemu-img: Could not open 'x': VMDK version 3 must be read only"
    craft x 'stream({}, 1, grain=128)'
    truncate -s 64k raw
    pattern raw 44 0 64k
    img 0 convert -n -f raw -O vmdk raw x
}

@test "vmdk: COWD and seSparse extents" {
    craft delta 'cowd([8, 0, 16], b"a" * 4096 + b"b" * 4096)'
    text vmfsSparse 'RW 24 VMFSSPARSE "delta"'
    img 0 map --output=json x
    has "$OUT" '"start": 0, "length": 4096, .*"offset": 4096'
    has "$OUT" '"start": 4096, "length": 4096, .*"present": false'
    has "$OUT" '"start": 8192, "length": 4096, .*"offset": 8192'
    craft delta 'sesparse([3 << 60, 0, 1 << 60, 3 << 60 | 1 << 48], b"a" * 4096 + b"b" * 4096)'
    text seSparse 'RW 32 SESPARSE "delta"'
    img 0 map --output=json x
    has "$OUT" '"start": 8192, "length": 4096, .*"present": true, "zero": true'
    has "$OUT" '"start": 12288, "length": 4096, .*"offset": 8192'
    img 0 convert -O raw x raw
    [ "$(tr -d '\0' < raw | sha256sum)" = "$({ printf 'a%.0s' {1..4096}; printf 'b%.0s' {1..4096}; } | sha256sum)" ]
    img 1 convert -n -f raw -O vmdk raw x
    err "qemu-img: Could not open 'x': No write support for seSparse images available"
    craft delta 'sesparse([0], replay=1)'; refused 'Image is dirty, Replaying journal not supported'
    craft delta 'sesparse([0], _3=16)'; refused 'Unsupported grain size: 16'
    craft delta 'sesparse([0], _30=1)'; refused 'Unsupported non-zero const header padding'
}

@test "vmdk: an extent of ESX on its own" {
    beyond
    craft x 'cowd([8], b"v" * 4096, geometry=(1, 16, 63))'
    img 0 convert -O raw x raw
    [ "$(stat -c %s raw)" -eq 4096 ]
    # it may be a delta: what its holes show is not known
    craft x 'cowd([8], b"v" * 4096)'
    refused 'The file is an extent of a disk: open the descriptor that names it'
}

@test "vmdk: an extent on its own: which descriptor to open" {
    beyond
    sample raw
    img 0 convert -f raw -O vmdk -o subformat=twoGbMaxExtentSparse raw a.b.vmdk
    img 1 info a.b-s001.vmdk
    err "qemu-img: Could not open 'a.b-s001.vmdk': The file is an extent of a disk: open its descriptor, 'a.b.vmdk'"
    craft c-sesparse.vmdk 'sesparse([3 << 60], b"a" * 4096)'
    img 1 convert -O raw c-sesparse.vmdk back
    err "qemu-img: Could not open 'c-sesparse.vmdk': The file is an extent of a disk: open its descriptor, 'c.vmdk'"
    craft d-delta.vmdk 'cowd([8], b"v" * 4096)'
    img 1 check ./d-delta.vmdk
    err "qemu-img: Could not open './d-delta.vmdk': The file is an extent of a disk: open its descriptor, './d.vmdk'"
    # Such a file may well be the whole disk.
    img 0 convert -f raw -O vmdk -o subformat=monolithicFlat raw e.vmdk
    img 0 convert -O raw e-flat.vmdk back
    silent
    raw_is raw back
    IMGBOX_HINTS=1 img 0 info e-flat.vmdk
    err "hint: 'e-flat.vmdk' may be a part of an image of format vmdk: then open 'e.vmdk'"
    IMGBOX_HINTS=1 img 1 info -f vmdk e-flat.vmdk
    err "qemu-img: Could not open 'e-flat.vmdk': invalid VMDK image descriptor" \
        "hint: by its name it is a part of a disk: open the descriptor, 'e.vmdk'"
}

@test "vmdk: the gate decides which extents are opened" {
    beyond
    truncate -s 1M f
    text vmfs 'RW 2048 VMFS "f"'
    img 0 info --image-opts driver=vmdk,file.filename=x,extents.0.driver=file,extents.0.filename=f
    img 1 info --image-opts driver=vmdk,file.filename=x,extents.0=node
    has "$ERR" "Cannot find device='node' nor node-name='node'"
}

# ---- streams

@test "vmdk: streamOptimized has its directory at the end and nothing behind" {
    beyond
    sample raw
    img 0 convert -f raw -O vmdk -o subformat=streamOptimized raw x.vmdk
    size=$(stat -c %s x.vmdk)
    [ $((size % 512)) -eq 0 ]
    [ "$(peek x.vmdk 0 12)" = 4b444d560300000001000300 ]
    [ "$(peek x.vmdk 56 8)" = ffffffffffffffff ]
    # marker of the footer, the footer, the end marker
    [ "$(peek x.vmdk $((size - 1536)) 16)" = 01000000000000000000000003000000 ]
    [ "$(peek x.vmdk $((size - 1024)) 4)" = 4b444d56 ]
    [ "$(peek x.vmdk $((size - 512)) 512 | tr -d 0)" = '' ]
    # the first grain: its place on the disk, then zlib
    [ "$(peek x.vmdk 65536 8)$(peek x.vmdk 65548 1)" = 000000000000000078 ]
    python3 - x.vmdk <<'END'
import struct, sys
data = open(sys.argv[1], 'rb').read()
at, seen, last = 65536, [], -1
while True:
    lba, size, kind = struct.unpack_from('<QII', data, at)
    if size:
        assert lba > last
        last = lba
        at += -(-(size + 12) // 512) * 512
        continue
    seen.append(kind)
    at += 512 * (1 + lba)
    if kind == 0:
        break
assert at == len(data) and seen[-3:] == [2, 3, 0] and set(seen[:-3]) == {1}, (at, len(data), seen)
END
}

@test "vmdk: streams are read by others" {
    beyond
    sample raw
    head -c 65536 /dev/urandom | dd of=raw bs=64k conv=notrunc status=none
    img 0 convert -f raw -O vmdk -o subformat=streamOptimized raw x.vmdk
    img 0 convert -f raw -O vmdk raw y.vmdk
    if zip=$(seven_zip); then
        "$zip" x -so x.vmdk 2> /dev/null | cmp - raw
        "$zip" x -so y.vmdk 2> /dev/null | cmp - raw
    fi
    if type vmdkinfo > /dev/null 2>&1; then
        vmdkinfo x.vmdk > info
        has info 'Disk type[[:space:]]*:.*Stream optimized'
    fi
    if [ -n "$PEER" ]; then
        "$PEER" compare -f raw -F vmdk raw x.vmdk
        "$PEER" check x.vmdk
    fi
}

@test "vmdk: a disk of zeroes is a stream, too" {
    beyond
    truncate -s 5M raw
    img 0 convert -f raw -O vmdk -o subformat=streamOptimized raw x.vmdk
    [ "$(peek x.vmdk 56 8)$(peek x.vmdk $(($(stat -c %s x.vmdk) - 1024)) 4)" = ffffffffffffffff4b444d56 ]
    img 0 compare raw x.vmdk
    ! type 7zz > /dev/null 2>&1 || 7zz x -so x.vmdk 2> /dev/null | cmp - raw
}

@test "vmdk: the order of the writers changes nothing that is read" {
    sample raw
    img 0 convert -W -m 8 -f raw -O vmdk -o subformat=streamOptimized raw x.vmdk
    img 0 convert -O raw x.vmdk back
    raw_is raw back
    img 0 check x.vmdk
}

@test "vmdk: a stream gets more grains, but not one twice" {
    img 0 create -q -f vmdk -o subformat=streamOptimized x.vmdk 1M
    truncate -s 1M raw
    pattern raw 11 0 64k
    img 0 convert -n -f raw -O vmdk raw x.vmdk
    img 0 convert -O raw x.vmdk back
    raw_is raw back
    img 1 convert -n -f raw -O vmdk raw x.vmdk
    has "$ERR" '^qemu-img: Could not write to allocated cluster for streamOptimized$'
    has "$ERR" '^qemu-img: error while writing at byte 0: Input/output error$'
    [ -z "$IMG_IS_PEER" ] || return 0
    truncate -s 0 raw
    truncate -s 1M raw
    pattern raw 22 512k 128k
    img 0 convert -n --target-is-zero -f raw -O vmdk raw x.vmdk
    pattern raw 11 0 64k
    img 0 convert -O raw x.vmdk back
    raw_is raw back
}

@test "vmdk: a stream without its end is refused, damaged grains are reported" {
    craft x 'stream({0: b"x" * 4096}, 2, footer=False)'
    # the directory is left, or not even that
    [ -n "$IMG_IS_PEER" ] || img 0 check x
    truncate -s -1k x
    refused 'Invalid footer'
    craft x 'stream({0: b"x" * 4096, 1: b"y" * 4096}, 2, grain=8)'
    img 0 check x
    poke x $((3 * 512 + 16)) ffff
    img 1 convert -f vmdk -O raw x raw
    err 'qemu-img: error while reading at byte 0: Invalid argument'
    # a length that cannot be
    poke x $((3 * 512 + 8)) ffffff7f
    img 0 map --output=json x
    img 1 convert -f vmdk -O raw x raw
    err 'qemu-img: error while reading at byte 0: Invalid argument'
}

@test "vmdk: a grain that would be longer than the file takes no memory" {
    beyond; no_asan
    craft x 'stream({0: b"x" * 4096}, 1, grain=1 << 21)'
    poke x $((3 * 512 + 8)) 0000f07f
    (ulimit -v 2500000; img 1 convert -f vmdk -O raw x raw)
    err 'qemu-img: error while reading at byte 0: image is truncated: needs 2146436620 bytes, has 7168'
}

# ---- what there is not

@test "vmdk: no measure, no other size, no snapshots, no amend" {
    img 0 create -q -f vmdk x 1M
    img 1 measure -O vmdk --size 1M
    err "qemu-img: Block driver 'vmdk' does not support size measurement"
    img 1 resize x 2M
    err 'qemu-img: Image format driver does not support resize'
    if [ -z "$IMG_IS_PEER" ]; then
        IMGBOX_HINTS=1 img 1 resize x 2M
        err 'qemu-img: Image format driver does not support resize' \
            'hint: a vmdk image keeps its size: convert it to raw or qcow2, resize that, and convert it back'
    fi
    img 1 amend -o compat6 x
    err "qemu-img: Format driver 'vmdk' does not support option amendment"
    img 1 snapshot -c s x
    err "qemu-img: Could not create snapshot 's': Operation not supported"
    img 63 check -r all x
    err 'qemu-img: This image format does not support checks'
}
