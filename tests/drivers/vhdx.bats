#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# vhdx: creation, headers, regions, metadata, the BAT, the log; in qemu-img's words.

load ../helper
load ../differencing

# Places in an image with the usual log and a small disk.
HEADER_1=0x10000 HEADER_2=0x20000 REGIONS_1=0x30000 REGIONS_2=0x40000
LOG=0x100000 BAT=0x200000 METADATA=0x300000 ITEMS=0x310000

# fresh [OPTION,...] [SIZE]: an empty image of 4 MiB in blocks of 1 MiB, which begin at 8 MiB
fresh() {
    rm -f x
    img 0 create -q -f vhdx -o "block_size=1M${1:+,$1}" x "${2:-4M}"
}

# data BYTE OFFSET LENGTH: write through the tool, with convert -n
data() {
    truncate -s 4M raw
    pattern raw "$1" "$2" "$3"
    img 0 convert -n -f raw -O vhdx raw x
}

# refused TEXT: info and map say this one thing, and so does a check
refused() {
    local command
    for command in info map check; do
        img 1 $command -f vhdx x
        err "qemu-img: Could not open 'x': $1"
        out ''
    done
}

GENERIC="Could not open 'x': Invalid argument" UNKNOWN="Could not open 'x': Operation not supported"

# metadata OFFSET HEX: change a sound image, whose metadata table has no checksum
metadata() {
    cp sound x
    poke x $((METADATA + $1)) "$2"
}

# entry BLOCK HEX: of the BAT, eight bytes as they are stored
entry() {
    poke x $((BAT + 8 * $1)) "$2"
}

# ---- creation

@test "vhdx: options on creation" {
    img 0 create -f vhdx x 10M
    out "Formatting 'x', fmt=vhdx size=10485760 log_size=1048576 block_size=0"
    img 0 create -f vhdx -o block_state_zero=off,subformat=fixed,block_size=2M,log_size=3M x 10M
    out "Formatting 'x', fmt=vhdx size=10485760 log_size=3145728 block_size=2097152 subformat=fixed block_state_zero=off"
    img 0 info x
    has "$OUT" '^cluster_size: 2097152$'
    has "$OUT" '^    file length: 20 MiB \(20971520 bytes\)$'
    try() {
        img 1 create -q -f vhdx -o "$1" x "${3:-10M}"
        err "qemu-img: x: $2"
    }
    try block_size=3M 'Block size must be a power of two'
    try log_size=0 'Log size must be a multiple of 1 MB'
    try log_size=4G 'Log size must be smaller than 4 GB'
    try subformat=Fixed "Parameter 'subformat' does not accept value 'Fixed'"
    try block_size=1M 'Image size too large; max of 64TB' 70368744177665
}

@test "vhdx: the default block size" {
    while read -r size block; do
        img 0 create -q -f vhdx x "$size"
        img 0 info x
        has "$OUT" "^cluster_size: $block$"
    done <<'END'
1G 8388608
1073742336 16777216
107374182400 16777216
107374182912 33554432
35184372089344 67108864
END
    img 0 create -q -f vhdx -o block_size=1 x 1000
    img 0 info x
    has "$OUT" '^virtual size: 1 KiB \(1024 bytes\)$'
    has "$OUT" '^cluster_size: 1048576$'
}

@test "vhdx: the blocks of a new image" {
    fresh
    [ "$(peek x $BAT 40)" = 02000000000000000200000000000000020000000000000002000000000000000000000000000000 ]
    fresh block_state_zero=off
    [ "$(peek x $BAT 16)" = 00000000000000000000000000000000 ]
    fresh subformat=fixed,block_state_zero=off
    [ "$(peek x $BAT 16)" = 06008000000000000600900000000000 ]
    # a sector bitmap block has its entry behind each chunk
    img 0 create -q -f vhdx -o block_size=256M x 5G
    [ "$(peek x $((BAT + 15 * 8)) 24)" = 020000000000000000000000000000000200000000000000 ]
}

@test "vhdx: the length of a new image" {
    fresh
    [ "$(stat -c %s x)" -eq $((8 << 20)) ]
    fresh subformat=fixed
    [ "$(stat -c %s x)" -eq $((12 << 20)) ]
    fresh log_size=2M
    [ "$(stat -c %s x)" -eq $((9 << 20)) ]
}

# ---- reading, writing

@test "vhdx: data is written and read back" {
    sample raw
    for options in '' block_size=1M subformat=fixed block_size=1M,block_state_zero=off \
            subformat=fixed,block_state_zero=off,block_size=2M; do
        img 0 convert -f raw -O vhdx ${options:+-o $options} raw x
        silent
        img 0 convert -O raw x back
        raw_is back raw
        img 0 check x
        out 'No errors were found on the image.'
        img 0 compare x raw
    done
}

@test "vhdx: other programs read the same" {
    zip=$(seven_zip) || skip 'no 7-Zip'
    sample raw
    for options in block_size=1M subformat=fixed; do
        img 0 convert -f raw -O vhdx -o $options raw x
        "$zip" x -so -tvhdx x 2> /dev/null | cmp - raw
    done
}

@test "vhdx: qemu-img reads our images, and we read those of qemu-img" {
    need_peer
    sample raw
    img 0 convert -f raw -O vhdx -o block_size=1M raw x
    "$PEER" check -q x
    "$PEER" compare -q x raw
    "$PEER_IO" -f vhdx -c 'write -P 9 3M 70k' -c 'write -z 0 64k' x > /dev/null
    "$PEER" convert -O raw x want
    img 0 convert -O raw x got
    cmp want got
}

@test "vhdx: info, map, measure, and unsupported operations" {
    fresh
    data 11 0 64k
    img 0 info --output=json x
    has "$OUT" '^    "cluster-size": 1048576,$'
    has "$OUT" '^    "dirty-flag": false$'
    [ "$(grep -c format-specific "$OUT")" -le 1 ]
    img 0 map --output=json x
    out '[{ "start": 0, "length": 4194304, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false}]'
    img 1 map x
    err 'qemu-img: File contains external, encrypted or compressed clusters.'
    img 0 measure -O qcow2 x
    has "$OUT" '^required size: 4521984$'
    img 1 measure -O vhdx --size 1G
    err "qemu-img: Block driver 'vhdx' does not support size measurement"
    if [ -z "$IMG_IS_PEER" ]; then
        img 1 resize --shrink x 1M
        err 'qemu-img: Shrinking images is currently not supported'
        img 1 resize x 65T
        err 'qemu-img: Image size too large; max of 64TB'
    fi
    img 1 convert -c -f raw -O vhdx raw y
    err 'qemu-img: Compression not supported for this file format'
}

@test "vhdx: an overlay over it" {
    fresh
    data 11 1M 64k
    img 0 create -q -f qcow2 -b x -F vhdx top.qcow2
    img 0 compare -q -f qcow2 top.qcow2 -F raw raw
}

@test "vhdx: writing changes the identifiers, reading does not" {
    fresh
    data 11 0 4k
    before=$(sum x)
    img 0 info x
    img 0 convert -O raw x out
    img 0 check x
    [ "$(sum x)" = "$before" ]
    ids=$(peek x $((HEADER_1 + 16)) 32)
    data 22 0 4k
    [ "$(peek x $((HEADER_1 + 32)) 16)" != "${ids:32}" ]
    # nothing to be replayed
    [ "$(peek x $((HEADER_1 + 48)) 16)" = 00000000000000000000000000000000 ]
    [ "$(peek x $((HEADER_2 + 48)) 16)" = 00000000000000000000000000000000 ]
}

@test "vhdx: zeroes over data" {
    fresh
    data 11 0 3M
    truncate -s 0 raw
    truncate -s 4M raw
    pattern raw 22 2M 512
    img 0 convert -n -f raw -O vhdx raw x
    img 0 compare -q -f vhdx x -F raw raw
    img 0 check -q x
}

@test "vhdx: zeroes take no room" {
    beyond
    fresh
    data 11 0 3M
    truncate -s 0 raw
    truncate -s 4M raw
    img 0 convert -n -f raw -O vhdx raw x
    [ "$(stored x)" -lt 1048576 ]
}

@test "vhdx: a fixed image stays as long as it is" {
    beyond
    fresh subformat=fixed
    data 11 0 4M
    [ "$(stat -c %s x)" -eq $((12 << 20)) ]
    [ "$(peek x $BAT 16)" = 06008000000000000600900000000000 ]
}

@test "vhdx: space left by a killed writer is reused, and reads as zeroes" {
    beyond
    fresh
    truncate -s 9M x
    pattern x ff 8M 1M
    data 11 1M 512
    [ "$(stat -c %s x)" -eq $((9 << 20)) ]
    img 0 compare -q -f vhdx x -F raw raw
}

@test "vhdx: a block may be partly beyond the end of the file" {
    fresh
    data 11 0 4M
    poke x $((ITEMS + 8)) 0002300000000000
    truncate -s $(((11 << 20) + 512)) x
    img 0 info x
    has "$OUT" '^virtual size: 3 MiB \(3146240 bytes\)$'
    img 0 convert -O raw x out
    head -c 3146240 raw | cmp - out
}

# ---- headers, regions, metadata

@test "vhdx: one of the headers is enough" {
    fresh
    cp x sound
    poke x $HEADER_1 00
    img 0 info x
    img 0 check x
    cp sound x
    poke x $HEADER_2 00
    img 0 info x
    poke x $HEADER_1 00
    refused 'No valid VHDX header found'
    cp sound x
    poke x 0 00
    refused "$GENERIC"
}

@test "vhdx: the region table has a second copy" {
    beyond
    fresh
    data 11 0 64k
    poke x $((REGIONS_1 + 1000)) 01
    img 0 compare -q -f vhdx x -F raw raw
}

@test "vhdx: an empty region hides no other one" {
    beyond
    fresh
    crafting - x <<'END'
import struct, sys, vhdx
def change(table):
    struct.pack_into('<I', table, 8, 3)
    struct.pack_into('<16sQII', table, 16 + 64, b'anybody\0anybody\0', 2 << 20, 0, 0)
with vhdx.File(sys.argv[1]) as image:
    image.change_regions(change)
END
    img 0 info x
    entry 0 0600200000000000
    img 1 info x
    has "$ERR" '^qemu-img: VHDX region 2097152-3145728 overlaps with region 2097152-3145728$'
}

@test "vhdx: no region table at all" {
    fresh
    poke x $((REGIONS_1 + 1000)) 01
    poke x $((REGIONS_2 + 1000)) 01
    refused "$GENERIC"
}

@test "vhdx: invalid metadata" {
    fresh
    mv x sound
    metadata 0 00;                      refused "$GENERIC"
    metadata 10 0008;                   refused "$GENERIC"
    metadata 10 0400;                   refused "$UNKNOWN"
    metadata 32 00;                     refused "$UNKNOWN"
    metadata $((32 * 2)) "$(peek sound $((METADATA + 32)) 16)"; refused "$GENERIC"
    metadata 65536 00000000;            refused "$GENERIC"
    metadata 65536 00003000;            refused "$GENERIC"
    metadata 65536 00000020;            refused "$GENERIC"
    metadata 65544 0000000000010000;    refused "$GENERIC"
    metadata 65544 0000000000000001;    refused "$GENERIC"
    metadata 65568 00040000;            refused "$UNKNOWN"
}

@test "vhdx: unknown items" {
    fresh
    mv x sound
    # a sixth one, optional and then required
    metadata 10 0600
    poke x $((METADATA + 192)) 11111111111111111111111111111111000101000800000000000000
    img 0 info x
    poke x $((METADATA + 216)) 04
    refused "$UNKNOWN"
}

@test "vhdx: sectors of 4096 bytes" {
    beyond
    fresh
    poke x $((ITEMS + 32)) 00100000
    data 11 1M 64k
    img 0 compare -q -f vhdx x -F raw raw
    img 0 check x
    # 32768 blocks to a chunk, not 4096
    fresh '' 5G
    cp x y
    poke x $((ITEMS + 32)) 00100000
    pattern raw 22 8M 1M
    truncate -s 5G raw
    pattern raw 22 4097M 4k
    img 0 convert -n -f raw -O vhdx raw x
    [ "$(peek x $((BAT + 4097 * 8)) 1)" = 06 ]
    img 0 convert -n -f raw -O vhdx raw y
    [ "$(peek y $((BAT + 4098 * 8)) 1)" = 06 ]
}

@test "vhdx: two headers of the same number" {
    beyond
    for number in 0 1 77; do
        crafting - $number <<- 'end'
	import random, struct, sys
	import differencing, vhdx
	differencing.make_vhdx(random.Random(7), 'x', 4 << 20, [(0, b'\x11' * 4096)])
	with vhdx.File('x') as file:
	    for which in 0, 1:
	        file.change_header(which, 8, int(sys.argv[1]))
	end
        img 0 convert -O raw x back.raw
        truncate -s 0 want.raw
        truncate -s 4M want.raw
        pattern want.raw 11 0 4k
        raw_is back.raw want.raw
        # writing makes them different, and different ones with one number stay refused
        pattern want.raw 22 1M 4k
        img 0 convert -n -f raw -O vhdx want.raw x
        img 0 compare -f vhdx -F raw x want.raw
    done
    crafting - <<- 'end'
	import vhdx
	with vhdx.File('x') as file:
	    for which in 0, 1:
	        file.change_header(which, 8, 5)
	    file.change_header(1, 32, b'x' * 16, '16s')
	end
    refused 'No valid VHDX header found'
}

# ---- differencing disks

# child [KEY=VALUE,...]: x of 4 MiB over base, which is full of 11; of its first block, sectors 1, 2 and 9 are its own, full
# of 22, and all of the third.  Keys: relative, absolute (names of the parent), path, sector
child() {
    crafting - "$@" <<- 'end'
	import random, sys
	import differencing
	given = dict(part.split('=') for part in (sys.argv[1:] or ['relative=base'])[0].split(','))
	rng, sector = random.Random(7), int(given.pop('sector', 512))
	base = differencing.make_vhdx(rng, given.pop('path', 'base'), 4 << 20, [(0, b'\x11' * (4 << 20))], sector=sector)
	own = [(sector, b'\x22' * 2 * sector), (9 * sector, b'\x22' * sector), (2 << 20, b'\x22' * (1 << 20))]
	differencing.make_vhdx(rng, 'x', 4 << 20, own, base, given, sector=sector, block=1 << 20)
	end
    pattern want.raw 11 0 4M
    pattern want.raw 22 512 1024
    pattern want.raw 22 4608 512
    pattern want.raw 22 2M 1M
}

reads_right() {
    img 0 convert -O raw x back.raw
    raw_is back.raw want.raw
}

@test "vhdx: a differencing disk shows its parent where it has no sectors" {
    beyond
    child
    reads_right
    img 0 map x
    has "$OUT" '^0 +0x200 .* base$'
    has "$OUT" '^0x200 +0x400 .* x$'
    has "$OUT" '^0x600 +0xc00 .* base$'
    has "$OUT" '^0x200000 +0x100000 .* x$'
    img 0 info x
    has "$OUT" '^backing file: base$'
    has "$OUT" '^backing file format: vhdx$'
    img 0 info --backing-chain x
    has "$OUT" '^image: base$'
    img 0 check x
    img 0 compare x want.raw
    img 0 measure -O raw x
    child sector=4096,relative=base
    pattern want.raw 11 0 1M
    pattern want.raw 22 4k 8k
    pattern want.raw 22 36k 4k
    reads_right
}

@test "vhdx: names of a parent" {
    beyond
    mkdir sub
    for names in relative=sub/base 'relative=.\sub\base' "absolute=$PWD/sub/base"; do
        child "$names,path=sub/base"
        reads_right
    done
    for names in 'absolute=C:\old\base' 'absolute=\\?\Volume{1}\base' 'relative=..\gone\base'; do
        child "$names"
        reads_right
    done
}

@test "vhdx: a parent that is not there, or not the parent" {
    beyond
    child
    cp base kept
    img 0 bench -w -c 1 -s 512 base
    img 1 convert -O raw x y
    has "$ERR" "Could not open backing file: 'base' is not its parent: its data identifier is "
    rm base
    img 1 convert -O raw x y
    err "qemu-img: Could not open 'x': Could not open backing file: Could not find the parent 'base' of this differencing disk"
    cp kept base
    reads_right
    # the parent locator must be one
    place=$(crafting -c "import vhdx; print(vhdx.File('x').metadata()[vhdx.LOCATOR][1])")
    poke x "$place" 00
    refused 'VHDX parent locator is not valid'
    fresh
    poke x $((ITEMS + 4)) 02
    refused 'VHDX image has a parent, but no parent locator'
}

@test "vhdx: a partially present block needs its bitmap" {
    beyond
    child
    crafting - <<- 'end'
	import vhdx
	with vhdx.File('x') as file:
	    file.put(file.regions()[vhdx.BAT][0] + 8 * file.chunk_ratio(), 0)
	end
    img 1 convert -O raw x y
    img 2 check x
    has "$OUT$ERR" 'VHDX BAT entry 0 is partially present, but has no sector bitmap' || has "$ERR" 'no sector bitmap'
}

@test "vhdx: a loop of disks" {
    beyond
    loop_of vhdx .vhdx
}

@test "vhdx: writing to a differencing disk" {
    beyond
    child
    before=$(sum base)
    img 0 bench -w -c 1 -s 100 -o 700 --pattern=51 x
    img 0 bench -w -c 1 -s 3000 -o 3500000 --pattern=52 x
    pattern want.raw 33 700 100
    pattern want.raw 34 3500000 3000
    reads_right
    img 0 check x
    truncate -s 0 want.raw
    truncate -s 4M want.raw
    pattern want.raw 44 1M 5k
    img 0 convert -n -f raw -O vhdx want.raw x
    reads_right
    [ "$(sum base)" = "$before" ]
    # its parent would get another identifier
    img 1 commit -d x
    has "$ERR" 'The parent of a vhdx image cannot be written to'
    [ "$(sum base)" = "$before" ]
    reads_right
}

@test "vhdx: new differencing disks" {
    beyond
    pattern want.raw 11 0 4M
    img 0 convert -f raw -O vhdx want.raw base
    img 0 create -f vhdx -b base -F vhdx x
    out "Formatting 'x', fmt=vhdx size=4194304 log_size=1048576 block_size=0 backing_file=base backing_fmt=vhdx"
    reads_right
    img 0 bench -w -c 1 -s 512 -o 3000320 --pattern=51 x
    pattern want.raw 33 3000320 512
    reads_right
    img 0 check x
    mkdir sub
    img 0 create -q -f vhdx -b "$PWD/x" -F vhdx sub/y
    img 0 compare sub/y want.raw
    # larger than its parent
    img 0 create -q -f vhdx -b x -F vhdx z 6M
    truncate -s 6M want.raw
    img 0 compare z want.raw
    for refused in "-b want.raw -F raw y|The backing file of a vhdx image must be a vhdx image, not raw" \
        "-o subformat=fixed -b base -F vhdx y|An image with a backing file is dynamic, with block_state_zero=off"; do
        # shellcheck disable=SC2086
        img 1 create -q -f vhdx ${refused%|*}
        err "qemu-img: y: ${refused#*|}"
        [ ! -e y ]
    done
    if zip=$(seven_zip); then
        truncate -s 4M want.raw
        "$zip" x -so -tVHDX x > other.raw
        raw_is other.raw want.raw
    fi
}

# ---- the BAT

@test "vhdx: blocks at invalid offsets" {
    fresh
    truncate -s 9M x
    entry 0 0600800000000000
    cp x sound
    says() {
        cp sound x
        entry 1 "$1"
        img 1 info x
        err "qemu-img: $2" "qemu-img: Could not open 'x': $GENERIC"
        img 2 check x
        grep -q -x -F "qemu-img: $2" "$ERR"
        has "$OUT" '^[12] errors were found on the image\.$'
    }
    says 0600400600000000 'VHDX BAT entry 1 start offset 104857600 points after end of file (9437184). Image has probably been truncated.'
    says 0600f0ffffffff7f 'VHDX BAT entry 1 offset overflow.'
    says 0600200000000000 'VHDX region 2097152-3145728 overlaps with region 2097152-3145728'
    says 0600100000000000 'VHDX region 1048576-2097152 overlaps with region 1048576-2097152'
    cp sound x
    truncate -s 8396800 x
    img 1 convert -O raw x out
    err 'qemu-img: VHDX BAT entry 0 end offset 9437183 points after end of file (8396800). Image has probably been truncated.' \
        "qemu-img: Could not open 'x': $GENERIC"
}

@test "vhdx: blocks without data read as zeroes" {
    fresh
    data 11 0 64k
    for state in 00 01 02 03 05; do
        entry 0 "${state}00800000000000"
        img 0 convert -O raw x out
        truncate -s 0 zero
        truncate -s 4M zero
        raw_is out zero
    done
    for state in 04 07; do
        entry 0 "${state}00800000000000"
        img 1 convert -O raw x out
        has "$ERR" 'Input/output error$'
    done
}

@test "vhdx: two blocks in one place, or in the headers" {
    beyond
    fresh
    data 11 0 64k
    entry 1 0600800000000000
    img 2 check x
    err 'qemu-img: VHDX BAT entry 1 offset 8388608 overlaps with another block.'
    entry 1 0600000000000000
    img 2 check --output=json x
    has "$OUT" '^    "corruptions": 1,$'
    img 1 convert -O raw x out
    has "$ERR" 'Input/output error$'
}

# ---- the log

# dirty: block 1 gets its data when the log is replayed, and only then
dirty() {
    fresh block_state_zero=off
    truncate -s 9M x
    pattern x 33 8M 1M
    poke x $HEADER_2 686561642718f4260000000000010000aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0102030405060708090a0b0c0d0e0f1000000100000010000000100000000000
    poke x $LOG 6c6f6765ecb9d5720020000000000000090000000000000001000000000000000102030405060708090a0b0c0d0e0f10000090000000000000009000000000006465736300000000000000000000000000002000000000000900000000000000
    poke x $((LOG + 4096)) 64617461000000000600800000000000
    poke x $((LOG + 8188)) 09000000
    truncate -s 4M want
    pattern want 33 1M 1M
}

@test "vhdx: check reports a log, and replays it" {
    dirty
    img 1 check x
    err "qemu-img: Could not open 'x': VHDX image file 'x' opened read-only, but contains a log that needs to be replayed" \
        'To replay the log, run:' "qemu-img check -r all 'x'"
    img 0 check -r all x
    out 'The following inconsistencies were found and repaired:' '' '    0 leaked clusters' '    1 corruptions' '' \
        'Double checking the fixed image now...' 'No errors were found on the image.'
    img 0 check x
    img 0 convert -O raw x out
    raw_is out want
    dirty
    img 0 check -r leaks --output=json x
    out '{' '    "corruptions-fixed": 1,' '    "check-errors": 0,' '    "filename": "x",' '    "format": "vhdx"' '}'
    [ "$(peek x $((BAT + 8)) 8)" = 0600800000000000 ]
}

@test "vhdx: a writer replays the log" {
    dirty
    truncate -s 4M raw
    pattern raw 44 3M 64k
    img 0 convert -n --target-is-zero -f raw -O vhdx raw x
    pattern want 44 3M 64k
    img 0 convert -O raw x out
    raw_is out want
}

@test "vhdx: a reader replays the log in memory" {
    beyond
    dirty
    before=$(sum x)
    img 0 convert -O raw x out
    raw_is out want
    img 0 info x
    has "$OUT" '^cleanly shut down: no$'
    img 0 compare -q -f vhdx x -F raw want
    [ "$(sum x)" = "$before" ]
}

@test "vhdx: a log whose entries are not sound is not replayed" {
    dirty
    poke x $((LOG + 4200)) 01
    img 0 check x
    img 0 convert -O raw x out
    truncate -s 0 zero
    truncate -s 4M zero
    raw_is out zero
}

@test "vhdx: a log of nothing but zeroes takes no room" {
    beyond
    fresh
    truncate -s 200M x
    crafting - x <<'END'
import sys, vhdx
with vhdx.File(sys.argv[1]) as image:
    image.change_header(image.current(), 48, b'0123456789abcdef', '16s')
    image.write(1 << 20, vhdx.log_entry(b'0123456789abcdef', 1, 0, [(8 << 20, 192 << 20)], 200 << 20, 200 << 20))
END
    img 0 check -r all x
    [ "$(stored x)" -lt 20000000 ]
}

@test "vhdx: a log of a longer file" {
    dirty
    truncate -s 8M x
    img 1 check -r all x
    err "qemu-img: Could not open 'x': $GENERIC"
}

@test "vhdx: changes of the BAT go through the log" {
    beyond
    fresh
    img 0 bench -q -w -f vhdx --pattern=65 --flush-interval=1 -d 1 -c 4 -s 4k -S 1M x
    # an empty entry, then one for each flush with something to tell
    [ "$(peek x $LOG 4)" = 6c6f6765 ]
    [ "$(peek x $((LOG + 4096)) 4)" = 6c6f6765 ]
    [ "$(peek x $((LOG + 12288)) 4)" = 6c6f6765 ]
    img 0 check x
    [ -z "$PEER" ] || "$PEER" check -q x
}

@test "vhdx: an error while the log is written leaves an image that can be read" {
    beyond
    fresh
    data 11 0 64k
    pattern raw 22 1M 64k
    cat > rules <<'END'
[inject-error]
event = "l2_update"
errno = "5"
END
    img 1 convert -n -f raw --target-image-opts raw "driver=vhdx,file.driver=blkdebug,file.config=rules,file.image.filename=x"
    has "$ERR" 'Input/output error$'
    img 0 check -r all x
    img 0 compare -q -f vhdx x -F raw raw
}
