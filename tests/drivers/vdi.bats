#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# vdi: the header, the block map, what VirtualBox writes and what nobody should; in qemu-img's words.

load ../helper
load ../differencing

M=1048576

# craft FILE ENTRY,... [FIELD=VALUE...]: an image with this block map, "D" for discarded and "U" for unallocated; its
# blocks in the file are filled with 01, 02 ... each
craft() {
    crafting - "$@" <<'END'
import sys, vdi
names = {'U': vdi.UNALLOCATED, 'D': vdi.DISCARDED}
entries = [names[word] if word in names else int(word, 0) for word in sys.argv[2].split(',')]
given = dict(word.split('=') for word in sys.argv[3:])
given = {key: bytes.fromhex(text) if key in ('link', 'parent') else int(text, 0) for key, text in given.items()}
given.setdefault('disk', len(entries) * vdi.BLOCK)
given.setdefault('allocated', len([e for e in entries if e < vdi.DISCARDED]))
places = [e for e in entries if e < len(entries)]
data = b''.join(bytes([number + 1]) * vdi.BLOCK for number in range(max(places, default=-1) + 1))
with open(sys.argv[1], 'wb') as file:
    file.write(vdi.image(entries, data, **given))
END
}

info_has() {
    img 0 info "${2:-x}"
    has "$OUT" "$1"
}

# blocks FILE: the block map and the header's count, as hex digits
blocks() {
    echo "$(peek "$1" 512 $((4 * 0x$(peek "$1" 0x180 1)))) $(peek "$1" 0x184 4)"
}

# ---- creating

@test "vdi: options of creation" {
    img 0 create -f vdi -o help
    out 'Supported vdi options:' '  size=<size>            - Virtual disk size' \
        '  static=<bool (on/off)> - VDI static (pre-allocated) image' '' \
        'The protocol level may support further options.' \
        'Specify the target filename to include those options.'
    img 0 create -f vdi x 3000001
    out "Formatting 'x', fmt=vdi size=3000001 static=off"
    img 1 create -f vdi -o static=5 x 3M
    err "qemu-img: x: Parameter 'static' expects 'on' or 'off'"
    img 1 create -f vdi -o cluster_size=1M x 3M
    err "qemu-img: x: Invalid parameter 'cluster_size'"
    img 1 create -q -f vdi -b y -F raw x 3M
    err "qemu-img: x: Backing file not supported for file format 'vdi'"
    img 1 create -q -f vdi x 562949819203585
    err 'qemu-img: x: Unsupported VDI image size (size is 0x1fffff8000200, max supported is 0x1fffff8000000)'
    img 1 create -q -f vdi -o preallocation=metadata x 3M
    err 'qemu-img: x: Unsupported preallocation mode: metadata'
}

@test "vdi: a new image, byte by byte" {
    img 0 create -q -f vdi x 3000001
    [ "$(stat -c %s x)" -eq 1024 ]
    [ "$(peek x 0 36)" = "$(printf '<<< QEMU VM Virtual Disk Image >>>\n\0' | od -An -v -tx1 | tr -d ' \n')" ]
    [ "$(peek x 0x40 20)" = 7f10dabe01000100800100000100000000000000 ]
    [ "$(peek x 0x154 28)" = 00020000000400000000000000000000000000000002000000000000 ]
    [ "$(peek x 0x170 24)" = 00c82d0000000000000010000000000003000000"00000000" ]
    [ "$(peek x 0x18f 1 | cut -c1)" = 4 ]
    [ "$(peek x 0x1a8 32)" = "$(printf '%064d' 0)" ]
    [ "$(peek x 512 16)" = ffffffffffffffffffffffff00000000 ]
    info_has '^virtual size: 2.86 MiB \(3000320 bytes\)$'
    has "$OUT" '^cluster_size: 1048576$'
    img 0 create -q -f vdi y 3000001
    [ "$(peek x 0x188 32)" != "$(peek y 0x188 32)" ]
    for size in 0 1 1048577 129M; do
        for static in on off; do
            img 0 create -q -f vdi -o static=$static x $size
            img 0 check x
            out 'No errors were found on the image.'
            [ -z "$PEER" ] && continue
            "$PEER" create -q -f vdi -o static=$static y $size
            [ "$(stat -c %s x)" -eq "$(stat -c %s y)" ]
            cmp <(head -c 392 x; tail -c +425 x | head -c 4096) <(head -c 392 y; tail -c +425 y | head -c 4096)
        done
    done
}

@test "vdi: a static image is a hole as large as the disk" {
    img 0 create -q -f vdi -o static=on x 3M
    [ "$(stat -c %s x)" -eq $((1024 + 3 * M)) ]
    [ "$(blocks x)" = '000000000100000002000000 03000000' ]
    [ "$(stored x)" -lt 50000 ]
    img 0 map --output=json x
    has "$OUT" '"zero": true, "data": true, "compressed": false, "offset": [0-9]+}]$'
    truncate -s 3M raw
    pattern raw 11 1M 4k
    img 0 convert -n -f raw -O vdi raw x
    img 0 compare -f vdi -F raw x raw
    [ "$(blocks x)" = '000000000100000002000000 03000000' ]
}

# ---- the header

@test "vdi: recognised by the mark at byte 64" {
    craft x U
    img 0 info x
    has "$OUT" '^file format: vdi$'
    poke x 0 00000000
    img 0 info x
    has "$OUT" '^file format: vdi$'
    poke x 0x40 00
    info_has '^file format: raw$'
    refused 'Image not in VDI format (bad signature beda1000)'
    truncate -s 10 x
    refused 'Image not in VDI format (bad signature 00000000)'
}

@test "vdi: invalid header fields" {
    craft x U version=0x10000; refused 'unsupported VDI image (version 1.0)'
    craft x U version=0x20007; refused 'unsupported VDI image (version 2.7)'
    craft x U map_offset=0x201; refused 'unsupported VDI image (unaligned block map offset 0x201)'
    craft x U data_offset=0x481; refused 'unsupported VDI image (unaligned data offset 0x481)'
    craft x U sector_size=4096; refused 'unsupported VDI image (sector size 4096 is not 512)'
    craft x U block_size=524288; refused 'unsupported VDI image (block size 524288 is not 1048576)'
    craft x U,U disk=3145728
    refused 'unsupported VDI image (disk size 3145728, image bitmap has room for 2097152)'
    craft x U disk=0xffffffffffffffff
    refused 'Unsupported VDI image size (size is 0xffffffffffffffff, max supported is 0x1fffff8000000)'
    craft x U; poke x 0x180 81ffff1f
    refused 'unsupported VDI image (too many blocks 536870785, max is 536870784)'
}

@test "vdi: images that name a parent and are not differencing ones" {
    craft x U link=00000000000000000000000000000001
    refused 'unsupported VDI image (non-NULL link UUID)'
    craft x U kind=4 parent=01000000000000000000000000000000
    refused 'unsupported VDI image (non-NULL parent UUID)'
}

# child PARENT CHILD: of 4 MiB; the parent is full of 11, the second block of the child is full of 22, and its third zeroes
child() {
    crafting - "$@" <<- 'end'
	import random, sys
	import differencing
	rng, base, name = random.Random(7), *sys.argv[1:]
	parent = differencing.make_vdi(rng, base, 4 << 20, [(0, b'\x11' * (4 << 20))])
	rng.random = lambda: 0
	differencing.make_vdi(rng, name, 4 << 20, [(1 << 20, b'\x22' * (1 << 20)), (2 << 20, bytes(1 << 20))], parent)
	print(differencing.vdi_name(parent))
	end
    pattern want.raw 11 0 4M
    pattern want.raw 22 1M 1M
    pattern want.raw 00 2M 1M
}

reads_right() {
    img 0 convert -O raw "$1" back.raw
    raw_is back.raw want.raw
}

@test "vdi: a differencing image finds its parent by the identifier" {
    beyond
    name=$(child base.vdi x.vdi)
    pattern want.raw 11 0 4M; pattern want.raw 22 1M 1M; pattern want.raw 00 2M 1M
    reads_right x.vdi
    img 0 map x.vdi
    has "$OUT" '^0 +0x100000 .* base.vdi$'
    has "$OUT" '^0x100000 +0x100000 .* x.vdi$'
    has "$OUT" '^0x300000 +0x100000 .* base.vdi$'
    img 0 info x.vdi
    has "$OUT" '^backing file: base.vdi$'
    img 0 info --backing-chain x.vdi
    has "$OUT" '^image: base.vdi$'
    img 0 check x.vdi
    img 0 compare x.vdi want.raw
    # VirtualBox's folders and names
    mkdir -p machine/Snapshots
    mv x.vdi machine/Snapshots/x.vdi
    mv base.vdi machine/disk.vdi
    reads_right machine/Snapshots/x.vdi
    cd machine/Snapshots
    cp ../../want.raw .
    reads_right x.vdi
    mv ../disk.vdi "$name"
    reads_right x.vdi
    # other folders are not searched
    mkdir elsewhere
    mv "$name" elsewhere/
    img 1 convert -O raw x.vdi y
    err "qemu-img: Could not open 'x.vdi': Could not open backing file: Could not find the parent '$name' of this differencing disk"
    img 0 info x.vdi
    has "$OUT" "^backing file: \\{[-0-9a-f]*\\}.vdi"
    # a file without a known name in a folder that is not for snapshots
    mkdir ../other
    mv x.vdi ../other
    mv "elsewhere/$name" ../disk.vdi
    cd ../other
    img 1 convert -O raw x.vdi y
    has "$ERR" 'Could not find the parent'
}

@test "vdi: a parent that was written to by another program" {
    beyond
    name=$(child base.vdi x.vdi)
    mv base.vdi "$name"
    poke "$name" 0x198 ffffffff
    crafting - <<- 'end'
	with open('x.vdi', 'r+b') as file:
	    file.seek(0x1b8)
	    file.write(b'\1' * 16)
	end
    img 1 convert -O raw x.vdi y
    has "$ERR" 'is not its parent: it was written to since'
    # a disk that says nothing of that
    poke x.vdi 0x1b8 00000000000000000000000000000000
    img 0 convert -O raw x.vdi y
}

@test "vdi: a loop of disks" {
    beyond
    loop_of vdi .vdi
}

@test "vdi: writing to a differencing image" {
    beyond
    child base.vdi x.vdi > "$OUT"
    before=$(sum base.vdi)
    img 0 bench -w -c 1 -s 100 -o 700 --pattern=51 x.vdi
    img 0 bench -w -c 1 -s 3000 -o 2500000 --pattern=52 x.vdi
    pattern want.raw 33 700 100
    pattern want.raw 34 2500000 3000
    reads_right x.vdi
    img 0 check x.vdi
    truncate -s 0 want.raw
    truncate -s 4M want.raw
    pattern want.raw 44 1M 5k
    img 0 convert -n -f raw -O vdi want.raw x.vdi
    reads_right x.vdi
    img 0 check x.vdi
    [ "$(sum base.vdi)" = "$before" ]
    img 0 commit x.vdi
    reads_right x.vdi
    img 0 compare base.vdi want.raw
    img 1 create -q -f vdi -b base.vdi -F vdi y.vdi
    err "qemu-img: y.vdi: Backing file not supported for file format 'vdi'"
}

@test "vdi: what differs between programs that write version 1.1" {
    for given in header_size=0x180 header_size=0x190 header_size=0x200 flags=1 cylinders=1024 kind=3 unused=1; do
        craft x 0 "$given"
        img 0 check x
        img 0 convert -O raw x out
        [ "$(peek out 1048575 1)" = 01 ]
    done
    # map and blocks at whole megabytes
    craft x U,0 map_offset=0x1000 data_offset=0x10000
    img 0 map x
    out 'Offset          Length          Mapped to       File' '0x100000        0x100000        0x10000         x'
}

@test "vdi: a disk that ends inside a sector has all of it" {
    craft x 0 disk=1000001
    info_has '\(1000448 bytes\)'
    img 0 convert -O raw x out
    [ "$(stat -c %s out)" -eq 1000448 ]
}

# ---- the block map

@test "vdi: blocks in any order, discarded ones, those that were never written" {
    craft x 2,3,U,D,0,1
    img 0 check x
    out 'No errors were found on the image.'
    img 0 map --output=json x
    out '[{ "start": 0, "length": 2097152, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 2098176},' \
        '{ "start": 2097152, "length": 2097152, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 4194304, "length": 2097152, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 1024}]'
    img 0 convert -O raw x out
    for want in 03 04 00 00 01 02; do
        [ "$(peek out $((at * M)) 1)" = $want ]
        at=$((at + 1))
    done
}

@test "vdi: check reports places used twice, invalid places and a wrong count" {
    craft x 5,5,0,0,U,D allocated=3
    img 2 check x
    err 'ERROR: block index 5 also used by 5' 'ERROR: block index 0 also used by 0' \
        'ERROR: allocated blocks mismatch, is 4, should be 3'
    out '' '3 errors were found on the image.' \
        'Data may be corrupted, or further writes to the image may corrupt it.'
    craft x 6,7,0xfffffffd,U allocated=0
    img 2 check --output=json x
    has "$OUT" '"corruptions": 3'
    has "$ERR" '^ERROR: block index 2 too large, is 4294967293$'
    craft x 0,U allocated=2
    img 2 check x
    err 'ERROR: allocated blocks mismatch, is 1, should be 2'
}

@test "vdi: nothing is repaired" {
    craft x 0,0
    for what in leaks all; do
        img 63 check -r $what x
        err 'qemu-img: This image format does not support checks'
    done
}

@test "vdi: blocks beyond the end of the file are missing" {
    beyond
    craft x 0,1,2
    truncate -s 1049700 x
    img 1 convert -O raw x out
    err "qemu-img: Could not open 'x': image is truncated: needs 3146752 bytes, has 1049700"
    [ ! -e out ]
    img 2 check x
    has "$ERR" '^ERROR: 2 blocks lie behind the end of the file: image is truncated: needs 3146752 bytes, has 1049700$'
    img 0 dd if=x of=out count=2047
    img 1 dd if=x of=out count=2052
    img 0 info x
    img 0 map x
    img 0 convert -m 1 --salvage -O raw x out
    err 'qemu-img: warning: error while reading offset '{1048676,1572864,2097152,2621440}': Image is truncated'
    [ "$(peek out 1048675 3)" = 020000 ]
    [ "$(peek out 1048575 2)" = 0102 ]
    [ "$(peek out 1048675 2)" = 0200 ]
    [ "$(stat -c %s out)" -eq 3145728 ]
}

@test "vdi: only a header, with the maximum number of blocks" {
    beyond
    no_asan
    craft x U disk=0x1fffff8000000
    poke x 0x180 80ffff1f
    truncate -s 512 x
    limited() {
        (ulimit -v 1000000; img "$@")
    }
    limited 0 info x
    limited 1 map -l 10M --output=json x
    err 'qemu-img: Could not read file metadata: image is truncated: needs 513 bytes, has 512'
    limited 2 check -q x
    has "$ERR" '^ERROR: allocated blocks mismatch, is 536870784, should be 0$'
}

# ---- writing

@test "vdi: converted both ways" {
    sample raw
    for options in static=off static=on; do
        for how in '' '-m 16 -W' '-S 0' '-t none'; do
            # shellcheck disable=SC2086
            img 0 convert -f raw -O vdi -o $options $how raw x
            silent
            img 0 check x
            img 0 compare -f raw -F vdi raw x
            img 0 convert -O raw x out
            raw_is out raw
        done
        img 0 convert -O qcow2 x y
        img 0 compare x y
        img 0 convert -O vdi y z
        img 0 compare y z
    done
    img 1 convert -c -f raw -O vdi raw x
    err 'qemu-img: Compression not supported for this file format'
}

@test "vdi: another program reads it" {
    zip=$(seven_zip) || skip 'no 7-Zip'
    sample raw
    for options in static=off static=on; do
        img 0 convert -f raw -O vdi -o $options raw x
        "$zip" x -so x > out 2> /dev/null
        raw_is out raw
    done
}

@test "vdi: a block goes behind the others, and is as long as they are" {
    img 0 create -q -f vdi x 3500k
    truncate -s 3500k raw
    pattern raw 11 3M 4k
    img 0 convert -n --target-is-zero -f raw -O vdi raw x
    [ "$(blocks x)" = 'ffffffffffffffffffffffff00000000 01000000' ]
    [ "$(stat -c %s x)" -eq $((1024 + M)) ]
    pattern raw 22 0 4k
    img 0 convert -n --target-is-zero -f raw -O vdi raw x
    [ "$(blocks x)" = '01000000ffffffffffffffff00000000 02000000' ]
    img 0 check x
    img 0 compare -f vdi -F raw x raw
}

@test "vdi: small writes" {
    img 0 create -q -f vdi x 3M
    truncate -s 3M raw
    while read -r byte offset length; do
        img 0 bench -w -f vdi -c 1 -d 1 -s "$length" -o "$offset" --pattern=$((0x$byte)) x
        pattern raw "$byte" "$offset" "$length"
        img 0 compare -f vdi -F raw x raw
        img 0 check x
    done <<'END'
11 1536 512
22 1000448 200192
33 3145216 512
44 2621440 65536
55 0 3145728
END
}

@test "vdi: zeroes allocate no block, and keep an allocated one" {
    beyond
    craft x 0,U,1
    truncate -s 3M raw
    img 0 convert -n -f raw -O vdi raw x
    [ "$(blocks x)" = '00000000ffffffff01000000 02000000' ]
    img 0 convert -O raw x out
    raw_is out raw
}

@test "vdi: an old block of the file that nobody uses is no part of the disk" {
    craft x 0,1,U allocated=2
    poke x 516 ffffffff
    poke x 0x184 01
    img 0 bench -w -f vdi -c 1 -d 1 -s 512 -o 1049600 --pattern=170 x
    truncate -s 3M raw
    pattern raw 01 0 1M
    pattern raw aa 1049600 512
    img 0 check x
    img 0 compare -f vdi -F raw x raw
}

@test "vdi: a count that is too low overwrites nothing" {
    beyond
    craft x 1,0,U,3 allocated=1
    img 0 bench -w -f vdi -c 1 -d 1 -s 512 -o $((2 * M)) --pattern=170 x
    [ "$(blocks x)" = '01000000000000000200000003000000 04000000' ]
    img 0 convert -O raw x out
    [ "$(peek out 0 1)$(peek out $M 1)$(peek out $((2 * M)) 1)$(peek out $((3 * M)) 1)" = 0201aa04 ]
    img 0 check x
}

@test "vdi: a block that a crash has lost is found again" {
    beyond
    craft x 0,U,U allocated=3
    img 0 bench -w -f vdi -c 1 -d 1 -s 512 -o $M --pattern=170 x
    [ "$(blocks x)" = '0000000001000000ffffffff 02000000' ]
    img 0 check x
}

@test "vdi: unsupported operations" {
    craft x 0,U
    if [ -z "$IMG_IS_PEER" ]; then
        img 1 resize --shrink x 1M
        err 'qemu-img: Shrinking images is currently not supported'
        img 1 resize --preallocation=full x 3M
        err "qemu-img: Unsupported preallocation mode 'full'"
        img 1 resize x 512T
        err 'qemu-img: Unsupported VDI image size (size is 0x2000000000000, max supported is 0x1fffff8000000)'
    fi
    img 1 amend -o static=on x
    err "qemu-img: Format driver 'vdi' does not support option amendment"
    img 1 snapshot -c a x
    err "qemu-img: Could not create snapshot 'a': Operation not supported"
    img 1 measure -O vdi --size 1M
    err "qemu-img: Block driver 'vdi' does not support size measurement"
    img 1 rebase -u -b y -F raw x
}

# ---- resizing

@test "vdi: a map that is one block short, as old versions of qemu-img leave it" {
    beyond
    craft x U,U disk=2621440
    img 0 convert -O raw x out
    [ "$(stat -c %s out)" -eq 2621440 ]
    img 0 resize -q x 4M
    img 0 check x
    [ "$(peek x 0x180 4)" = 04000000 ]
}

@test "vdi: a larger map where there is room for it, and in place of the first blocks" {
    beyond
    img 0 create -q -f vdi x 100M
    img 0 create -q -f raw raw 100M
    pattern raw 17 0 1M; pattern raw 34 5M 1M; pattern raw 51 99M 1M
    img 0 convert -n -f raw -O vdi raw x
    img 0 resize x 128M
    out 'Image resized.'
    [ "$(peek x 0x154 8)" = 0002000000040000 ]
    img 0 compare -f vdi -F raw x raw
    img 0 resize -q x 1T
    # the map is 4 MiB long
    [ "$(peek x 0x154 8)" = 0004000000044000 ]
    img 0 check x
    img 0 compare -f vdi -F raw x raw
}
