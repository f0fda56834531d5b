#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Which format an image is taken for, by its first bytes; and what is said of an image that is not what -f says.
# tests/interop/probe-random.py does the same with random bytes.

load ../helper

# head NAME [OFFSET HEX]...: a file of zeroes with bytes at these places
head_of() {
    local name=$1
    shift
    rm -f "$name"
    truncate -s 64k "$name"
    while [ $# -gt 0 ]; do
        poke "$name" "$1" "$2"
        shift 2
    done
}

# text NAME FORMAT: a file of that text, as printf takes it
text() {
    # shellcheck disable=SC2059
    printf "$2" > "$1"
}

# What the first look at an image of nothing but that mark says.
QCOW2='Unsupported cluster size: 2^0'
QCOW='Image size is too small (must be at least 2 bytes)'
QED='QED cluster size is invalid'
VDI='unsupported VDI image (version 0.0)'
VMDK='L1 entry size is invalid'
DESCRIPTOR='invalid VMDK image descriptor'
VPC='Incorrect header checksum'
VHDX='No valid VHDX header found'
PARALLELS='Invalid image: Zero sectors per track'
BOCHS='Extent size must be at least 512'
CLOOP='block_size cannot be zero'
DMG='Could not locate UDIF trailer in dmg file'

# taken_for WORDS [NAME]: this is what opening it without a format says; "raw": it is raw
taken_for() {
    local name=${2:-x}
    if [ "$1" = raw ]; then
        img 0 info "$name"
        has "$OUT" '^file format: raw$'
    else
        img 1 info "$name"
        err "qemu-img: Could not open '$name': $1"
    fi
}

hex_text() {
    printf '%s' "$1" | od -An -v -tx1 | tr -d ' \n'
}

bochs_head() {
    head_of x 0 "$(hex_text 'Bochs Virtual HD Image')" 32 "$(hex_text Redolog)" 48 "$(hex_text Growing)" 64 00000200 "$@"
}

# shellcheck disable=SC2016
CLOOP_SCRIPT='#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n'

cloop_head() {
    # shellcheck disable=SC2059
    head_of "$1" 0 "$(printf "$CLOOP_SCRIPT" | od -An -v -tx1 | tr -d ' \n')"
}

@test "probe: new images of each format are recognised" {
    for format in raw qcow2 qcow qed vdi vmdk vpc vhdx parallels; do
        img 0 create -q -f "$format" "$format.img" 4M
        img 0 info "$format.img"
        has "$OUT" "^file format: $format\$"
    done
    # these two have their mark at the end, or in another file
    img 0 create -q -f vpc -o subformat=fixed x.vhd 4M
    taken_for raw x.vhd
    img 0 create -q -f vmdk -o subformat=monolithicFlat flat.vmdk 4M
    img 0 info flat.vmdk
    has "$OUT" '^file format: vmdk$'
    taken_for raw flat-flat.vmdk
}

@test "probe: the marks" {
    head_of x 0 514649fb00000002; taken_for "$QCOW2"
    head_of x 0 514649fb00000003; taken_for "$QCOW2"
    head_of x 0 514649fb80000000; taken_for 'Unsupported qcow2 version 2147483648'
    head_of x 0 514649fb00000001; taken_for "$QCOW"
    head_of x 0 51454400; taken_for "$QED"
    head_of x 64 7f10dabe; taken_for "$VDI"
    head_of x 0 4b444d56; taken_for "$VMDK"
    head_of x 0 636f6e6563746978; taken_for "$VPC"
    head_of x 0 7668647866696c65; taken_for "$VHDX"
    head_of x 0 "$(hex_text WithoutFreeSpace)02000000"; taken_for "$PARALLELS"
    head_of x 0 "$(hex_text WithouFreSpacExt)02000000"; taken_for "$PARALLELS"
    bochs_head; taken_for "$BOCHS"
    bochs_head 64 00000100; taken_for "$BOCHS"
    cloop_head x; taken_for "$CLOOP"
    text x 'version=1\n'; taken_for "$DESCRIPTOR"
}

@test "probe: near misses of marks" {
    head_of x 0 514649fb00000000; taken_for raw
    head_of x 0 51454401; taken_for raw
    head_of x 60 7f10dabe; taken_for raw
    head_of x 512 636f6e6563746978; taken_for raw
    head_of x 0 "$(hex_text WithoutFreeSpace)01000000"; taken_for raw
    head_of x 0 "$(hex_text WithoutFreeSpace)03000000"; taken_for raw
    head_of x 0 4c554b53babe0003; taken_for raw       # LUKS, version 3
    bochs_head 64 00000300; taken_for raw
    bochs_head 48 "$(hex_text Undoable)"; taken_for raw
    bochs_head 22 41; taken_for raw
    cloop_head x; poke x 13 33; taken_for raw
    : > x; taken_for raw
}

@test "probe: LUKS is no raw disk" {
    head_of x 0 4c554b53babe0001
    img 1 info x
    has "$ERR" "^qemu-img: Could not open 'x': (LUKS payload|luks support)"
}

@test "probe: descriptors of VMDK" {
    for good in 'version=1\n' 'version=2\n' 'version=3\r\n' '# Disk DescriptorFile\nversion=1\n' '  \nversion=1\n' \
            '# x\r\n#y\n   \r\nversion=1\r\n' "#$(printf '%0500d' 0)\nversion=1\n"; do
        text x "$good"
        taken_for "$DESCRIPTOR"
    done
    for bad in 'version=0\n' 'version=4\n' 'version=10\n' 'version=1' 'version=1\r' 'version=1 \n' ' version=1\n' \
            'Version=1\n' '\nversion=1\n' '\t\nversion=1\n' '#' '#\n' "#$(printf '%0501d' 0)\nversion=1\n"; do
        text x "$bad"
        taken_for raw
    done
}

@test "probe: descriptors of VMDK that qemu-img takes for raw" {
    beyond
    for good in '# Disk DescriptorFile' '\357\273\277# Disk DescriptorFile\n' '\n \t\r\n#disk descriptor file' \
            '\377\376#\0D\0i\0s\0k\0D\0e\0s\0c\0r\0i\0p\0t\0o\0r\0F\0i\0l\0e\0' \
            '\376\377\0#\0D\0i\0s\0k\0D\0e\0s\0c\0r\0i\0p\0t\0o\0r\0F\0i\0l\0e' \
            '\n version\t= 9 \n#\ncreateType = ' 'createType=\nversion='; do
        text x "$good"
        img 1 info x
        has "$ERR" "^qemu-img: Could not open 'x': (Unsupported|invalid VMDK|The descriptor)"
    done
    for bad in '# Disk DescriptorFil' 'Disk DescriptorFile' '#\nDisk DescriptorFile' '\0# Disk DescriptorFile' \
            'version =\n' 'version\n=1\ncreateType=' 'xversion=1\ncreateType=' \
            "#$(printf '%0520d' 0)\nversion =\ncreateType="; do
        text x "$bad"
        taken_for raw
    done
    img 1 create -q -f vmdk x
    head_of y 0 beebafecacafebabe
    taken_for raw y
    head_of y 0 bebafeca000000000100000002000000
    taken_for 'The file is an extent of a disk: open the descriptor that names it' y
}

@test "probe: a short file counts as filled with zeroes" {
    text x 'QED'; taken_for "$QED"
    text x 'QE'; taken_for raw
    text x 'QFI\373\0\0\0\2'; taken_for "$QCOW2"
    text x 'WithoutFreeSpace\2'; taken_for "$PARALLELS"
    text x 'conectix'; taken_for "$VPC"
    bochs_head; truncate -s 67 x; taken_for "$BOCHS"
    cloop_head x; truncate -s 84 x; taken_for "$CLOOP"
    truncate -s 60 x; taken_for raw
}

@test "probe: two marks in one file" {
    # That of vdi lies behind the others.
    head_of x 0 514649fb00000003 64 7f10dabe; taken_for "$VDI"
    head_of x 0 514649fb00000001 64 7f10dabe; taken_for "$VDI"
    head_of x 0 4c554b53babe0001 64 7f10dabe; taken_for "$VDI"
    head_of x 0 51454400 64 7f10dabe; taken_for "$QED"
    head_of x 0 4b444d56 64 7f10dabe; taken_for "$VMDK"
    head_of x 0 636f6e6563746978 64 7f10dabe; taken_for "$VPC"
    head_of x 0 7668647866696c65 64 7f10dabe; taken_for "$VHDX"
    head_of x 0 "$(hex_text WithoutFreeSpace)02000000" 64 7f10dabe; taken_for "$PARALLELS"
    cloop_head x; poke x 64 7f10dabe; taken_for 'unsupported VDI image (version 25956.12064)'
    text x "#$(printf '%090d' 0)\nversion=1\n"; poke x 64 7f10dabe; taken_for "$DESCRIPTOR"
    # So a sound image of one may be taken for the other, which is what -f is for.
    img 0 create -q -f qcow2 x 1M
    poke x 64 7f10dabe
    img 1 info x
    has "$ERR" VDI
    img 0 info -f qcow2 x
}

@test "probe: dmg by its name, if nothing else matches" {
    # (the beginning of a chunk: without that it is a raw disk, for all that its name says)
    head_of a.dmg 0 789c; taken_for "$DMG" a.dmg
    head_of ./.dmg 0 789c; taken_for "$DMG" ./.dmg
    taken_for raw .dmg
    for name in a.DMG dmg a.dmg.x adm; do
        head_of $name 0 789c; taken_for raw $name
    done
    head_of b.dmg 0 514649fb00000003; taken_for "$QCOW2" b.dmg
    cloop_head c.dmg
    truncate -s $((0x10000 - 512)) c.dmg
    printf koly >> c.dmg
    truncate -s 64k c.dmg
    taken_for "Could not open 'c.dmg': Invalid argument" c.dmg
    if [ -z "$IMG_IS_PEER" ]; then
        head_of e.dmg; taken_for raw e.dmg
        cloop_head e.dmg; taken_for "$CLOOP" e.dmg
    fi
    : > d.dmg; taken_for raw d.dmg
    # The name counts where it is given as such.
    img 0 info --image-opts file.filename=a.dmg
    has "$OUT" '^file format: raw$'
    img 0 info 'json:{"file":{"driver":"file","filename":"a.dmg"}}'
    has "$OUT" '^file format: raw$'
    mkdir sub
    mv a.dmg sub
    taken_for "$DMG" sub/a.dmg
    img 1 info file:sub/a.dmg
    err "qemu-img: Could not open 'file:sub/a.dmg': $DMG"
}

# is_not FORMAT WORDS FILE...: opened as that format, each of them says that it is not
is_not() {
    local format=$1 words=$2 file
    shift 2
    for file; do
        img 1 info -f "$format" "$file"
        err "qemu-img: Could not open '$file': ${words//FILE/$file}"
    done
}

@test "probe: an image that is not what -f says" {
    for format in qcow2 qcow qed vdi vmdk vpc vhdx parallels; do
        img 0 create -q -f "$format" "$format" 4M
    done
    head_of zero
    : > empty
    local rest=(vdi vmdk vpc vhdx parallels zero)
    is_not qcow2 'Image is not in qcow2 format' qed "${rest[@]}" empty
    is_not qcow2 'Unsupported qcow2 version 1' qcow
    is_not qcow 'Image not in qcow format' qed "${rest[@]}" empty
    is_not qcow $'qcow (v1) does not support qcow version 3\nTry the \'qcow2\' driver instead.' qcow2
    is_not qed 'Image not in QED format' qcow qcow2 "${rest[@]}" empty
    is_not vdi 'Image not in VDI format (bad signature 00000000)' qcow qed vhdx parallels zero empty
    is_not vmdk 'invalid VMDK image descriptor' qcow qcow2 qed vdi vpc vhdx parallels zero
    is_not vmdk 'File is too small, not a valid image' empty
    is_not vpc 'invalid VPC image' qcow qcow2 qed vdi vmdk vhdx parallels zero
    is_not vpc 'File too small for a VHD header' empty
    is_not vhdx "Could not open 'FILE': Invalid argument" qcow qcow2 qed vdi vmdk vpc parallels zero empty
    is_not parallels 'Image not in Parallels format' qcow qcow2 qed vdi vmdk vpc vhdx zero empty
    is_not bochs 'Image not in Bochs format' qcow qcow2 qed "${rest[@]}" empty
    is_not cloop "$CLOOP" qed "${rest[@]}" empty
    is_not dmg "$DMG" qcow qcow2 qed "${rest[@]}"
    is_not dmg 'dmg file must be at least 512 bytes long' empty
    # and everything can be raw
    for format in qcow2 qcow qed vdi vmdk vpc vhdx parallels; do
        img 0 info -f raw "$format"
    done
    img 1 info -f nonesuch zero
    err "qemu-img: Could not open 'zero': Unknown driver 'nonesuch'"
}

# ---- what no format claims (beyond the real tool)

# looks_like NAME [FILE]: the file is raw, and said to be that
looks_like() {
    local file=${2:-x}
    img 0 info --output=json "$file"
    err ''
    has "$OUT" '^    "format": "raw",$'
    has "$OUT" "^    \"content-hint\": \"$1\"\$"
    IMGBOX_HINTS=1 img 0 info "$file"
    has "$ERR" "^hint: '$file' looks like .*, and is read as a raw disk\$"
    has "$ERR" '^hint: .*; -f raw says that it is a disk$'
    [ "$(wc -l < "$ERR")" -eq 2 ]
    img 1 info --strict-format "$file"
    has "$ERR" "^qemu-img: Could not open '$file': The image looks like .*, and its format is not given\$"
    [ "$(wc -l < "$ERR")" -eq 1 ]
}

# looks_plain FILE: nothing is said of it
looks_plain() {
    IMGBOX_HINTS=1 img 0 info --strict-format --output=json "$1"
    err ''
    ! grep -q content-hint "$OUT"
}

@test "probe: what looks raw and is something else, by its beginning" {
    beyond
    while read -r name offset bytes; do
        echo "$name"
        head_of x "$offset" "$bytes"
        looks_like "$name"
    done <<END
lz4 0 04224d18
lz4 0 02214c18
lzip 0 4c5a495001
lzop 0 894c5a4f000d0a1a0a
zip 0 504b0304
7z 0 377abcaf271c
rar 0 526172211a07
wim 0 4d5357494d000000
ewf 0 455646090d0aff00
ewf2 0 455646320d0a8100
aff 0 41464631300d0a00
vma 0 564d4100
vbk 4 01000000030000006d643500
partclone 0 $(hex_text partclone-image)
ntfsclone 1 $(hex_text ntfsclone-image)
android-sparse 0 3aff26ed
sparseimage 0 7370727300000004
asif 0 7368647700000002
luks 0 4c554b53babe0003
vmx 0 $(hex_text '.encoding = "UTF-8"')
parallels 0 $(hex_text '<?xml?><Parallels_disk_image>')
ovf 0 $(hex_text '<?xml?><ovf:Envelope xmlns>')
vbox 0 $(hex_text '<?xml?><VirtualBox xmlns>')
html 0 $(hex_text '<!DOCTYPE html>')
git-lfs 0 $(hex_text 'version https://git-lfs.github.com/spec/v1')
END
}

@test "probe: what looks raw and is something else, as others write it" {
    beyond
    head -c 100k "$IMGBOX" > disk
    if command -v lz4 > /dev/null; then
        lz4 -c < disk > x
        looks_like lz4
    fi
    # (compressed files are looked into; an archive without an image is a disk, and said to be an archive)
    tar cf x disk
    looks_like tar
    python3 -m zipfile -c x disk
    looks_like zip
}

@test "probe: what looks raw and is something else, by its end" {
    beyond
    img 0 create -q -f vpc -o subformat=fixed x 4M
    looks_like vpc
    IMGBOX_HINTS=1 img 0 info x
    has "$ERR" '^hint: if it is one, use -f vpc; -f raw says that it is a disk$'
    fixture simple.dmg
    cp simple.dmg x
    looks_like dmg
    head -c 9000 /dev/zero > x
    printf cdsaencr >> x
    looks_like dmg
    # not where it lies a little before the end
    img 0 create -q -f vpc -o subformat=fixed x 4M
    head -c 1024 /dev/zero >> x
    looks_plain x
}

@test "probe: disks look like disks" {
    beyond
    head_of x; looks_plain x
    : > x; looks_plain x
    head_of x 510 55aa; looks_plain x
    head_of x 0 68737173; looks_plain x             # squashfs
    head_of x 0x8001 4344303031; looks_plain x      # ISO 9660
    head_of x 1 1f8b08; looks_plain x
    img 0 create -q -f qcow2 x 4M; looks_plain x
}

@test "probe: nothing is said of a format that is given, or to programs with a version" {
    beyond
    head_of x 0 04224d18
    IMGBOX_HINTS=1 img 0 info --strict-format --output=json -f raw x
    err ''
    ! grep -q content-hint "$OUT" || false
    IMGBOX_COMPAT=10.0 img 0 info --output=json x
    err ''
    ! grep -q content-hint "$OUT" || false
    IMGBOX_HINTS=1 img 0 info --strict-format --image-opts driver=raw,file.filename=x
    err ''
}

@test "probe: --strict-format of all tools that open images" {
    beyond
    head_of x 0 04224d18
    head_of disk
    local why='The image looks like data compressed with lz4, and its format is not given'
    for call in 'convert -O qcow2 x y' 'map x' 'check x' 'dd if=x of=y' 'measure -O raw x' 'resize x 1M' 'snapshot -l x' \
            'digest x' 'bench -c 1 x' 'rebase -u -b disk -F raw x' 'amend -o compat=0.10 x' 'bitmap --add x b'; do
        # shellcheck disable=SC2086
        img 1 ${call%% *} --strict-format ${call#* }
        has "$ERR" "^qemu-img: Could not open 'x': $why"
        [ ! -e y ]
    done
    img 2 compare --strict-format disk x
    has "$ERR" "$why"
    img 0 compare --strict-format disk disk
    # the backing file counts, if its format is probed
    img 0 create -q -f qcow2 -b x -F raw -u over.qcow2 64k
    [ "$(peek over.qcow2 112 4)" = e2792aca ]
    poke over.qcow2 112 12345678
    img 1 convert --strict-format -O raw over.qcow2 y
    has "$ERR" "$why"
    img 0 convert -O raw over.qcow2 y
    img 0 create -q -f qcow2 -b x -F raw -u over.qcow2 64k
    img 0 convert --strict-format -O raw over.qcow2 y
    cmd 1 timeout 20 "$IMGBOX" serve --strict-format -r -k "$PWD/socket" x
    has "$ERR" "$why"
    # it has no abbreviation: those of others are as they were
    img 0 compare --s disk disk
    img 1 compare --strict-f disk disk
    img 0 map --st=0 disk
}
