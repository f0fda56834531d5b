#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# vpc (VHD): fixed and dynamic disks, footers, creators and geometry, the BAT; in qemu-img's words.

load ../helper
load ../differencing

# seal FILE OFFSET LENGTH FIELD: the checksum of a footer or header anew
seal() {
    local sum
    poke "$1" $(($2 + $4)) 00000000
    sum=$(od -An -v -tu1 -j "$(($2))" -N "$3" "$1" |
        awk '{ for (i = 1; i <= NF; i++) sum += $i } END { printf "%08x", 4294967295 - sum }')
    poke "$1" $(($2 + $4)) "$sum"
}

# footer FILE OFFSET [FIELD HEX]...: change the footer there and seal it
footer() {
    local file=$1 at=$2
    shift 2
    while [ $# -gt 0 ]; do
        poke "$file" $((at + $1)) "$2"
        shift 2
    done
    seal "$file" "$at" 512 64
}

TYPE=60 SIZE=48 CREATOR=28 GEOMETRY=56 DATA=16

# dynamic [OPTION,...] [SIZE]: a fresh x.vhd; of 4 MiB its BAT is at 1536 and what follows at 2048
dynamic() {
    rm -f x.vhd
    img 0 create -q -f vpc -o "${1:-force_size=on}" x.vhd "${2:-4M}"
}

fixed() {
    rm -f x.vhd
    img 0 create -q -f vpc -o subformat=fixed,force_size=on x.vhd "${1:-1M}"
}

refused() {
    img 1 info -f vpc x.vhd
    err "qemu-img: Could not open 'x.vhd': $1"
    out ''
}

size_is() {
    img 0 info -f vpc "${2:-x.vhd}"
    has "$OUT" "^virtual size: .*\($1 bytes\)"
}

# ---- creating

@test "vpc: options and their messages" {
    img 0 create -f vpc -o help
    out 'Supported vpc options:' \
        '  force_size=<bool (on/off)> - Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation' \
        '  size=<size>            - Virtual disk size' \
        '  subformat=<str>        - Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} ' \
        '' 'The protocol level may support further options.' 'Specify the target filename to include those options.'
    img 0 create -f vpc -o subformat=fixed,force_size=on x.vhd 1M
    out "Formatting 'x.vhd', fmt=vpc size=1048576 subformat=fixed force_size=on"
    img 1 create -q -f vpc -o subformat=Fixed y.vhd 1M
    err "qemu-img: y.vhd: Parameter 'subformat' does not accept value 'Fixed'"
    img 1 create -q -f vpc y.vhd 2190433320961
    err "qemu-img: y.vhd: The image size is too large for file format 'vpc'"
    img 1 convert -c -f vpc -O vpc x.vhd y.vhd
    err 'qemu-img: Compression not supported for this file format'
}

@test "vpc: the bytes of an empty dynamic disk" {
    before=$(($(date +%s) - 946684800))
    dynamic force_size=off 100M
    [ "$(stat -c %s x.vhd)" -eq 2560 ]
    [ "$(peek x.vhd 0 24)" = "636f6e65637469780000000200010000$(be 8 512)" ]
    made=$((0x$(peek x.vhd 24 4)))
    [ "$made" -ge "$before" ] && [ "$made" -le $((before + 60)) ]
    [ "$(peek x.vhd 28 36)" = "71656d75000500035769326b$(be 8 104865792)$(be 8 104865792)03ec0c1100000003" ]
    [ "$(peek x.vhd 74 1 | cut -c 1)" = 4 ]
    # the sum of all bytes but itself
    sum=$(peek x.vhd 64 4)
    seal x.vhd 0 512 64
    [ "$(peek x.vhd 64 4)" = "$sum" ]
    [ "$(peek x.vhd 512 36)" = "6378737061727365ffffffffffffffff$(be 8 1536)0001000000000033$(be 4 2097152)" ]
    sum=$(peek x.vhd 548 4)
    seal x.vhd 512 1024 36
    [ "$(peek x.vhd 548 4)" = "$sum" ]
    [ -z "$(peek x.vhd 1536 512 | tr -d f)" ]
    [ "$(peek x.vhd 0 512)" = "$(peek x.vhd 2048 512)" ]
}

@test "vpc: the size is that of a geometry" {
    while read -r asked got geometry; do
        dynamic force_size=off "$asked"
        size_is "$got"
        [ "$(peek x.vhd $GEOMETRY 4)" = "$geometry" ]
    done <<- 'EOF'
	0 0 00000000
	1 34816 00010411
	1M 1079296 001f0411
	100M 104865792 03ec0c11
	504M 528482304 0400103f
	1G 1073995776 0821103f
	8G 8590417920 4105103f
	33821834752 33821835264 fffe103f
	33822350848 33822351360 3f3f10ff
	33822351360 33822351360 3f3f10ff
	33822351361 33824440320 3f4010ff
	127G 136365219840 feff10ff
	136897904640 136897904640 fffe10ff
	136897904641 136897905152 ffff10ff
	136899993600 136899993600 ffff10ff
	136899993601 136899994112 ffff10ff
	2040G 2190433320960 ffff10ff
	EOF
}

@test "vpc: or exactly the given size" {
    dynamic force_size=on 1048577
    size_is 1049088
    [ "$(peek x.vhd $CREATOR 4)$(peek x.vhd $GEOMETRY 4)" = 71656d32ffff10ff ]
}

@test "vpc: a fixed disk, which looks raw from the front" {
    fixed 1M
    [ "$(stat -c %s x.vhd)" -eq $((1048576 + 512)) ]
    [ "$(peek x.vhd 1048576 24)" = 636f6e65637469780000000200010000ffffffffffffffff ]
    [ "$(peek x.vhd $((1048576 + TYPE)) 4)" = 00000002 ]
    size_is 1048576
    [ "$(grep -c cluster_size "$OUT")" -eq 0 ]
    img 0 info x.vhd
    has "$OUT" '^file format: raw$'
    pattern x.vhd 55 64k 4k
    img 0 map --output=json -f vpc x.vhd
    # The file system may keep the footer's block whole.
    has "$OUT" '"start": 65536, "length": 4096, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 65536'
    has "$OUT" '"start": 0, "length": 65536, "depth": 0, "present": true, "zero": true, "data": true,|"start": 0, "length": 4096,'
    truncate -s 1M want.raw
    pattern want.raw 55 64k 4k
    img 0 convert -f vpc -O raw x.vhd back.raw
    raw_is back.raw want.raw
}

@test "vpc: images for Azure" {
    beyond
    img 0 create -q -f vpc -o azure=on x.vhd 1049089
    [ "$(stat -c %s x.vhd)" -eq $((2097152 + 512)) ]
    size_is 2097152
    sample raw
    truncate -s +512 raw
    img 0 convert -f raw -O vpc -o azure=on raw x.vhd
    silent
    [ "$(stat -c %s x.vhd)" -eq $((9 * 1048576 + 512)) ]
    img 0 compare -f raw -F vpc raw x.vhd
    for other in subformat=dynamic force_size=off; do
        img 1 create -q -f vpc -o "azure=on,$other" y.vhd 1M
        err 'qemu-img: y.vhd: azure=on is for disks with subformat=fixed and force_size=on'
        [ ! -e y.vhd ]
    done
    (exec -a img-create "$IMG" -f vpc -o help) | grep -q '^  azure=<bool'
    img 1 create -q -f vpc -o azure=on y.vhd 2090000000000000
    err "qemu-img: y.vhd: The image size is too large for file format 'vpc'"
}

# ---- footers

@test "vpc: a creator counts by geometry or by bytes" {
    # qemu, Virtual PC; qemu with force_size, Virtual Server, Hyper-V, disk2vhd, XenServer, and anybody else
    for creator in 71656d75:139264 76706320:139264 71656d32:4194304 76732020:4194304 77696e20:4194304 \
            64327620:4194304 74617000:4194304 636f6e76:4194304 00000000:4194304; do
        dynamic
        footer x.vhd 0 $CREATOR "${creator%:*}" $GEOMETRY 00040411
        size_is "${creator#*:}"
        fixed 4M
        footer x.vhd 4194304 $CREATOR "${creator%:*}" $GEOMETRY 00040411
        size_is "${creator#*:}"
    done
    dynamic
    # the largest geometry means that there is more
    footer x.vhd 0 $CREATOR 76706320
    size_is 4194304
}

@test "vpc: or as the user chooses" {
    dynamic
    footer x.vhd 0 $GEOMETRY 00040411
    for calc in chs:139264 current_size:4194304; do
        img 0 info --image-opts "driver=vpc,file.filename=x.vhd,force_size_calc=${calc%:*}"
        has "$OUT" "\(${calc#*:} bytes\)"
        has "$OUT" "^image: json:\{\"force_size_calc\": \"${calc%:*}\", \"driver\": \"vpc\", \"file\": "
    done
    img 1 info --image-opts driver=vpc,file.filename=x.vhd,force_size_calc=CHS
    err "qemu-img: Could not open 'driver=vpc,file.filename=x.vhd,force_size_calc=CHS': Invalid size calculation mode: 'CHS'"
}

@test "vpc: a dynamic disk uses the footer copy in front" {
    dynamic
    pattern x.vhd 00 2048 512
    size_is 4194304
    dynamic
    footer x.vhd 2048 $SIZE 0000000000300000
    size_is 4194304
    dynamic
    poke x.vhd 7 00
    refused 'invalid VPC image'
    dynamic
    poke x.vhd 80 ff
    poke x.vhd 2128 ff
    refused 'Incorrect header checksum'
}

@test "vpc: a fixed disk has only the footer at the end" {
    fixed
    truncate -s -1 x.vhd        # 511 bytes, as very old versions wrote it
    size_is 1048576
    truncate -s -1 x.vhd
    size_is 1048576
    fixed
    truncate -s +1 x.vhd
    refused 'invalid VPC image'
    fixed
    poke x.vhd $((1048576 + 100)) 01
    refused 'Incorrect header checksum'
    fixed
    footer x.vhd 1048576 $TYPE 00000003
    refused 'invalid VPC image'
    : > x.vhd
    refused 'File too small for a VHD header'
    echo > x.vhd
    refused 'invalid VPC image'
}

@test "vpc: invalid sizes" {
    for size in 2190433321472 9223372036854775808 18446744073709551615; do
        fixed
        footer x.vhd 1048576 $SIZE "$(printf %016x "$size")"
        refused "Could not open 'x.vhd': File too large"
    done
    fixed
    footer x.vhd 1048576 $SIZE 00000000000fffff
    size_is 1048064
}

@test "vpc: a geometry of 0 says nothing of the size" {
    beyond
    for creator in 76706320 71656d75; do
        dynamic
        footer x.vhd 0 $CREATOR $creator $GEOMETRY 00000000
        size_is 4194304
        img 0 info --image-opts driver=vpc,file.filename=x.vhd,force_size_calc=chs
        has "$OUT" '4194304 bytes'
    done
    # nor do the bytes, if they are 0
    dynamic
    footer x.vhd 0 $CREATOR 77696e20 $GEOMETRY 00781004 $SIZE 0000000000000000
    size_is $((0x78 * 16 * 4 * 512))
    footer x.vhd 0 $GEOMETRY 00000000
    refused 'VHD footer does not say the size of the disk'
    fixed
    footer x.vhd 1048576 $GEOMETRY 00000000 $SIZE 0000000000000000
    refused 'VHD footer does not say the size of the disk'
    # a disk without any room has no size
    dynamic '' 0
    size_is 0
}

@test "vpc: a dynamic disk with a damaged copy of its footer in front" {
    beyond
    dynamic
    pattern want.raw 11 0 4M
    img 0 convert -n -f raw -O vpc want.raw x.vhd
    poke x.vhd 100 ff
    size_is 4194304
    img 0 compare -f vpc -F raw x.vhd want.raw
    # (the last one is damaged as well, or says something else)
    cp x.vhd y.vhd
    poke x.vhd $(($(stat -c %s x.vhd) - 500)) ff
    refused 'Incorrect header checksum'
    mv y.vhd x.vhd
    footer x.vhd $(($(stat -c %s x.vhd) - 512)) $TYPE 00000002
    refused 'Incorrect header checksum'
}

# ---- differencing disks

# child [KEY=VALUE,...]: x.vhd of 4 MiB over base.vhd, which is full of 11; of its first block, sectors 1, 2 and 9 are its
# own, full of 22.  Keys: relative, absolute, header (names of the parent), path, kind (of the parent)
child() {
    crafting - "$@" <<- 'end'
	import random, sys
	import differencing
	given = dict(part.split('=') for part in (sys.argv[1:] or ['relative=base.vhd'])[0].split(','))
	rng = random.Random(7)
	base = differencing.make_vpc(rng, given.pop('path', 'base.vhd'), 4 << 20, [(0, b'\x11' * (4 << 20))],
	                             fixed=given.pop('kind', '') == 'fixed')
	differencing.make_vpc(rng, 'x.vhd', 4 << 20, [(512, b'\x22' * 1024), (4608, b'\x22' * 512)], base, given)
	end
    pattern want.raw 11 0 4M
    pattern want.raw 22 512 1024
    pattern want.raw 22 4608 512
}

reads_right() {
    img 0 convert -O raw x.vhd back.raw
    raw_is back.raw want.raw
}

@test "vpc: a differencing disk shows its parent where it has no sectors" {
    beyond
    child
    reads_right
    img 0 map x.vhd
    has "$OUT" '^0 .* base.vhd$'
    has "$OUT" '^0x200 +0x400 .* x.vhd$'
    has "$OUT" '^0x600 .* base.vhd$'
    has "$OUT" '^0x1200 +0x200 .* x.vhd$'
    img 0 info x.vhd
    has "$OUT" '^backing file: base.vhd$'
    has "$OUT" '^backing file format: vpc$'
    img 0 info --backing-chain x.vhd
    has "$OUT" '^image: base.vhd$'
    img 0 compare x.vhd want.raw
    img 0 measure -O raw x.vhd
    child relative=base.vhd,kind=fixed
    reads_right
}

@test "vpc: names of a parent" {
    beyond
    mkdir sub
    for names in relative=sub/base.vhd 'relative=.\sub\base.vhd' "absolute=$PWD/sub/base.vhd"; do
        child "$names,path=sub/base.vhd"
        reads_right
    done
    for names in 'absolute=C:\old\base.vhd' 'absolute=\\host\share\base.vhd' 'relative=..\gone\base.vhd' \
        header=base.vhd 'header=D:\x\base.vhd' 'relative=none.vhd,header=base.vhd'; do
        child "$names"
        reads_right
    done
    # the name in a URL, absolute or as XenServer writes it
    for url in "file://localhost$PWD/sub/base.vhd" "file://./sub/base.vhd" 'file://./sub/%62ase.vhd'; do
        child "url=$url,path=sub/base.vhd"
        reads_right
    done
    child relative=größe.vhd,path=größe.vhd
    reads_right
    # the name of a file, never a protocol
    child 'relative=json:{},path=./json:{}'
    reads_right
    img 0 info x.vhd
    has "$OUT" '^backing file: \./json:\{\}'
    child relative=nbd:0,path=./nbd:0
    reads_right
}

@test "vpc: a parent that is not there, or not the parent" {
    beyond
    child
    mv base.vhd kept
    img 1 convert -O raw x.vhd y
    err "qemu-img: Could not open 'x.vhd': Could not open backing file: Could not find the parent 'base.vhd' of this differencing disk"
    IMGBOX_HINTS=1 img 1 map x.vhd
    has "$ERR" '^hint: put the parent beside the image'
    img 0 info x.vhd
    has "$OUT" '^backing file: base.vhd$'
    # (a pipe is not looked into)
    mkfifo base.vhd
    img 1 convert -O raw x.vhd y
    has "$ERR" 'Could not find the parent'
    rm base.vhd
    cp kept base.vhd
    footer base.vhd 0 68 ffffffffffffffffffffffffffffffff
    img 1 convert -O raw x.vhd y
    has "$ERR" "Could not open backing file: 'base.vhd' is not its parent: its identifier is ffffffff-"
    img 0 info x.vhd
    has "$ERR" "^qemu-img: warning: 'base.vhd' is not its parent"
    # who names the parent knows what he does
    img 0 convert -O raw --image-opts driver=vpc,file.filename=x.vhd,backing.driver=vpc,backing.file.filename=base.vhd back.raw
    raw_is back.raw want.raw
    # the right one under a later name
    child 'relative=wrong.vhd,absolute=C:\\base.vhd'
    cp base.vhd wrong.vhd
    footer wrong.vhd 0 68 ffffffffffffffffffffffffffffffff
    reads_right
}

@test "vpc: a disk that is its own parent" {
    beyond
    child
    poke x.vhd 552 "$(peek x.vhd 68 16)"
    cp x.vhd base.vhd
    img 1 convert -O raw base.vhd y
    has "$ERR" "'base.vhd' is not its parent: it is the disk itself"
    img 1 convert -O raw x.vhd y
    has "$ERR" 'it is the disk itself'
}

@test "vpc: a loop of disks" {
    beyond
    loop_of vpc .vhd
}

@test "vpc: writing to a differencing disk" {
    beyond
    child
    before=$(sum base.vhd)
    img 0 bench -w -c 1 -s 100 -o 700 --pattern=51 x.vhd
    img 0 bench -w -c 1 -s 3000 -o 3000000 --pattern=52 x.vhd
    pattern want.raw 33 700 100
    pattern want.raw 34 3000000 3000
    reads_right
    truncate -s 0 want.raw
    truncate -s 4M want.raw
    pattern want.raw 44 1M 5k
    img 0 convert -n -f raw -O vpc want.raw x.vhd
    reads_right
    [ "$(sum base.vhd)" = "$before" ]
    img 0 commit x.vhd
    reads_right
    img 0 compare base.vhd want.raw
}

@test "vpc: new differencing disks" {
    beyond
    pattern want.raw 11 0 4M
    img 0 convert -f raw -O vpc -o force_size=on want.raw base.vhd
    img 0 create -f vpc -b base.vhd -F vpc x.vhd
    out "Formatting 'x.vhd', fmt=vpc size=4194304 backing_file=base.vhd backing_fmt=vpc"
    reads_right
    img 0 bench -w -c 1 -s 512 -o 3000320 --pattern=51 x.vhd
    pattern want.raw 33 3000320 512
    reads_right
    mkdir sub
    img 0 create -q -f vpc -b "$PWD/x.vhd" -F vpc sub/y.vhd
    img 0 compare sub/y.vhd want.raw
    # a whole image over it
    img 0 convert -f raw -O vpc -B x.vhd -F vpc want.raw z.vhd
    img 0 compare z.vhd want.raw
    for refused in "-b base.vhd -F vpc y.vhd 5M|A vpc image has the size of its backing file, which is 4194304 bytes" \
        "-b want.raw -F raw y.vhd|The backing file of a vpc image must be a vpc image, not raw" \
        "-o subformat=fixed -b base.vhd -F vpc y.vhd|A fixed disk cannot have a backing file"; do
        # shellcheck disable=SC2086
        img 1 create -q -f vpc ${refused%|*}
        err "qemu-img: y.vhd: ${refused#*|}"
        [ ! -e y.vhd ]
    done
    if command -v 7zz > "$OUT"; then
        7zz x -so -tVHD x.vhd > other.raw
        raw_is other.raw want.raw
    fi
    if command -v vhdiinfo > "$OUT"; then
        cmd 0 vhdiinfo x.vhd
        has "$OUT" 'Parent filename.*base.vhd'
    fi
}

# ---- header and BAT

@test "vpc: invalid headers" {
    dynamic; footer x.vhd 0 $DATA ffffffffffffffff; refused 'Error reading dynamic VHD header'
    dynamic; footer x.vhd 0 $DATA 0000000000000400; refused 'Invalid header magic'
    dynamic; poke x.vhd 512 00; refused 'Invalid header magic'
    for size in 0 1 256 513 3145728 4294967295; do
        dynamic; poke x.vhd 544 "$(be 4 $size)"; refused "Invalid block size $size"
    done
    dynamic; poke x.vhd 540 00000001; refused 'Page table too small'
    dynamic; poke x.vhd 540 20000000; refused 'Max Table Entries too large (536870912)'
    dynamic; poke x.vhd 540 ffffffff; refused 'Max Table Entries too large (-1)'
    dynamic; poke x.vhd 540 1fffff81; refused 'Error reading pagetable'
    dynamic; poke x.vhd 528 8000000000000000; refused 'Error reading pagetable'
    # its checksum and version are not looked at
    dynamic; poke x.vhd 536 00000000; poke x.vhd 548 00000000; size_is 4194304
}

@test "vpc: blocks behind the end of the file" {
    truncated='block-vpc: free_data_block_offset points after the end of file. The image has been truncated.'
    dynamic; poke x.vhd 1540 00000004; refused "$truncated"
    dynamic; poke x.vhd 1540 fffffffe; refused "$truncated"
    dynamic; poke x.vhd 540 00000081; refused "$truncated"
    dynamic; truncate -s 1539 x.vhd; refused "$truncated"
    dynamic; poke x.vhd 1544 00000004; size_is 4194304       # behind the last entry
    dynamic; truncate -s $((2560 + 2097152)) x.vhd; poke x.vhd 1540 00000004; size_is 4194304
}

# ---- reading

@test "vpc: a disk made by Virtual PC" {
    fixture vpc-virtualpc.vhd
    img 0 info vpc-virtualpc.vhd
    mask
    out 'image: vpc-virtualpc.vhd' 'file format: vpc' 'virtual size: 127 GiB (136363130880 bytes)' 'disk size: N' \
        'cluster_size: 2097152' "Child node '/file':" '    filename: vpc-virtualpc.vhd' '    protocol type: file' \
        '    file length: 256 KiB (262656 bytes)' '    disk size: N'
    img 0 map --output=json vpc-virtualpc.vhd
    out '[{ "start": 0, "length": 136363130880, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false}]'
}

# one_block: 4 MiB of which the second half is there, with the bits of some sectors only
one_block() {
    dynamic
    poke x.vhd 1540 00000004
    poke x.vhd 2048 0f
    pattern x.vhd 00 2049 511
    pattern x.vhd aa 2560 2M
    poke x.vhd $((2560 + 2097152)) "$(peek x.vhd 0 512)"
}

@test "vpc: map; the sector bitmap is not used" {
    one_block
    img 0 map --output=json x.vhd
    out '[{ "start": 0, "length": 2097152, "depth": 0, "present": true, "zero": true, "data": false, "compressed": false},' \
        '{ "start": 2097152, "length": 2097152, "depth": 0, "present": true, "zero": false, "data": true, "compressed": false, "offset": 2560}]'
    img 0 map x.vhd
    out 'Offset          Length          Mapped to       File' '0x200000        0x200000        0xa00           x.vhd'
    truncate -s 2M want.raw
    pattern want.raw aa 2M 2M
    img 0 convert -O raw x.vhd back.raw
    raw_is back.raw want.raw
}

@test "vpc: small blocks have no bits" {
    dynamic
    poke x.vhd 540 00000002
    poke x.vhd 544 00000400
    footer x.vhd 0 $SIZE 0000000000000800
    poke x.vhd 1536 0000000500000004
    pattern x.vhd 11 2048 1k
    pattern x.vhd 22 3072 1k
    img 0 map --output=json x.vhd
    has "$OUT" '"start": 0, "length": 1024,.* "offset": 2560'
    img 0 convert -O raw x.vhd back.raw
    [ "$(peek x.vhd 2560 2)$(peek back.raw 0 2)$(peek back.raw 1024 2)" = 111111111111 ]
}

# ---- writing

# put BYTE OFFSET LENGTH: through the tool
put() {
    img 0 bench -w -f vpc -c 1 -d 1 --pattern=$((0x$1)) -o "$2" -s "$3" x.vhd
}

@test "vpc: a block that is new comes before the footer" {
    dynamic
    footer=$(peek x.vhd 2048 512)
    put 55 3145728 512
    [ "$(stat -c %s x.vhd)" -eq $((2048 + 512 + 2097152 + 512)) ]
    [ "$(peek x.vhd 1536 8)" = ffffffff00000004 ]
    [ -z "$(peek x.vhd 2048 512 | tr -d f)" ]
    [ "$(peek x.vhd $((2560 + 2097152)) 512)" = "$footer" ]
    put 66 0 512
    [ "$(peek x.vhd 1536 8)" = 0000100500000004 ]
    [ "$(peek x.vhd $((2560 + 2 * 2097664 - 512)) 512)" = "$footer" ]
    truncate -s 4M want.raw
    pattern want.raw 55 3M 512
    pattern want.raw 66 0 512
    img 0 convert -f vpc -O raw x.vhd back.raw
    raw_is back.raw want.raw
}

@test "vpc: all bits of a block are set when it is written to" {
    one_block
    put 55 2101248 512
    [ -z "$(peek x.vhd 2048 512 | tr -d f)" ]
    [ "$(peek x.vhd $((2560 + 4096)) 2)$(peek x.vhd $((2560 + 4608)) 2)" = 5555aaaa ]
}

@test "vpc: data left by a killed process does not show in a new block" {
    beyond      # qemu-img shows it
    dynamic
    truncate -s 2560 x.vhd
    pattern x.vhd 77 2560 3M
    put 55 1048576 512
    truncate -s 4M want.raw
    pattern want.raw 55 1M 512
    img 0 convert -f vpc -O raw x.vhd back.raw
    raw_is back.raw want.raw
}

@test "vpc: zeroes allocate no block" {
    beyond
    one_block
    size=$(stat -c %s x.vhd)
    truncate -s 4M zero.raw
    img 0 convert -n -f raw -O vpc zero.raw x.vhd
    [ "$(stat -c %s x.vhd)" -eq "$size" ]
    img 0 compare -f raw -F vpc zero.raw x.vhd
}

@test "vpc: a block over the BAT is not written to" {
    beyond      # qemu-img writes over its own header
    dynamic
    truncate -s 3M x.vhd
    poke x.vhd 1536 00000001
    img 0 info x.vhd
    before=$(sum x.vhd)
    img 1 bench -w -f vpc -c 1 -d 1 -s 512 x.vhd
    has "$ERR" 'Input/output error'
    [ "$(sum x.vhd)" = "$before" ]
}

@test "vpc: to and from" {
    sample raw
    for options in subformat=dynamic subformat=fixed force_size=on subformat=fixed,force_size=on; do
        for how in '' '-W -m 4' '-S 0'; do
            # shellcheck disable=SC2086
            img 0 convert -f raw -O vpc -o "$options" $how raw x.vhd
            silent
            img 0 compare -f raw -F vpc raw x.vhd
            img 0 convert -f vpc -O raw x.vhd back.raw
            truncate -s 8M back.raw
            raw_is back.raw raw
            if [ -z "$IMG_IS_PEER" ] && [ -n "$PEER" ]; then
                "$PEER" compare -q -f raw -F vpc raw x.vhd
            fi
        done
    done
}

@test "vpc: a fixed disk goes into a pipe" {
    beyond
    sample raw
    for options in subformat=fixed subformat=fixed,force_size=on azure=on; do
        img 0 convert -f raw -O vpc -o "$options" raw x.vhd
        qemu-img convert -f raw -O vpc -o "$options" raw - > piped.vhd
        # but for time, checksum and UUID
        for file in x.vhd piped.vhd; do
            size=$(stat -c %s $file)
            pattern $file 00 $((size - 512 + 24)) 4
            pattern $file 00 $((size - 512 + 64)) 20
        done
        cmp x.vhd piped.vhd
    done
    img 1 convert -f raw -O vpc raw -
    err 'qemu-img: -: error while converting vpc: Only subformat=fixed can be written in order'
}

@test "vpc: other programs read it" {
    command -v 7zz > /dev/null || command -v vhdiinfo > /dev/null || skip 'no other program'
    sample raw
    for options in subformat=dynamic subformat=fixed,force_size=on; do
        img 0 convert -f raw -O vpc -o "$options" raw x.vhd
        if command -v 7zz > /dev/null; then
            7zz x -so -tVHD x.vhd > back.raw
            truncate -s 8M back.raw
            raw_is back.raw raw
        fi
        if command -v vhdiinfo > /dev/null; then
            cmd 0 vhdiinfo x.vhd
            has "$OUT" 'Media size.*: 8\.'
        fi
    done
}

@test "vpc: unsupported operations" {
    for kind in dynamic fixed; do
        $kind
        if [ -z "$IMG_IS_PEER" ]; then
            img 1 resize -f vpc --shrink x.vhd 512
            err 'qemu-img: Shrinking images is currently not supported'
            img 1 resize -f vpc x.vhd 2041G
            err "qemu-img: The image size is too large for file format 'vpc'"
        fi
        img 63 check -f vpc x.vhd
        err 'qemu-img: This image format does not support checks'
        img 1 measure -f vpc -O vpc x.vhd
        err "qemu-img: Block driver 'vpc' does not support size measurement"
        img 1 amend -f vpc -o force_size=on x.vhd
        err "qemu-img: Format driver 'vpc' does not support option amendment"
        img 1 rebase -f vpc -u -b y -F raw x.vhd
        err "qemu-img: Could not change the backing file to 'y': Operation not supported"
        img 1 commit -f vpc x.vhd
        err 'qemu-img: Image does not have a backing file'
        img 0 snapshot -l x.vhd
        silent
    done
}

@test "vpc: nothing is written over the footer of a fixed disk that claims more than there is" {
    beyond
    fixed 1M
    footer x.vhd $((1 << 20)) $SIZE "$(be 8 $((2 << 20)))"
    truncate -s 2M raw
    tail -c 512 x.vhd > before
    head -c 2M /dev/urandom > raw
    img 1 convert -n -f raw -O vpc raw x.vhd
    err 'qemu-img: error while writing at byte 1048576: Input/output error'
    tail -c 512 x.vhd | cmp - before
    img 1 convert -n -S 0 -f raw -O vpc raw x.vhd
    tail -c 512 x.vhd | cmp - before
    img 0 info -f vpc x.vhd
}
