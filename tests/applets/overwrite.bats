#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# An output that is an input too is refused before anything is touched, whatever its name is.
#
# (a file named twice in a command is the point)
# shellcheck disable=SC2094

load ../helper

setup() {
    fresh_folder
    sample a.raw
    sum a.raw > before
}

teardown() {
    for device in $LOOPS; do
        losetup -d "$device"
    done
}

# kept: the only copy is what it was
kept() {
    [ "$(sum a.raw)" = "$(cat before)" ]
}

# loop ARGUMENT...: a loop device over a.raw, in $loop
loop() {
    need_root
    loop=$(losetup --find --show "$@") || skip 'no loop device'
    LOOPS="$LOOPS $loop"
}

locked() {  # TARGET FORMAT [FILE]
    err "qemu-img: $1: error while converting $2: Failed to get \"write\" lock" \
        "Is another process using the image [${3:-$1}]?"
}

also_read() {  # TARGET [AS]
    local as=${2:+, as \'$2\'}
    has "$ERR" "^qemu-img: .*'$1' is also read from$as: it cannot be overwritten\$"
    [ "$(wc -l < "$ERR")" -eq 1 ]
}

@test "overwrite: locks say what they said" {
    ln a.raw hard
    ln -s a.raw soft
    for name in a.raw hard soft; do
        img 1 convert -f raw -O qcow2 a.raw $name
        locked $name qcow2
        kept
    done
}

@test "overwrite: without locks, and by another name" {
    beyond
    ln a.raw hard
    ln -s a.raw soft
    for format in raw qcow2 vmdk vdi vhdx vpc parallels qed qcow; do
        img 1 convert -U -f raw -O $format a.raw a.raw
        also_read a.raw
        kept
    done
    for name in hard soft ./a.raw; do
        img 1 convert -U -f raw a.raw $name
        also_read $name a.raw
        img 1 convert -U -n -f raw a.raw $name
        also_read $name a.raw
        img 1 dd -U -f raw if=a.raw of=$name
        also_read $name a.raw
        img 1 dd -f raw if=a.raw of=$name conv=notrunc seek=1
        also_read $name a.raw
        kept
    done
    img 1 convert -U -f raw a.raw file:a.raw
    also_read a.raw
    kept
}

@test "overwrite: standard input" {
    beyond
    for format in raw qcow2 vpc; do
        # (a file on standard input is locked like one that is named)
        qemu-img convert -f raw -O $format - a.raw < a.raw 2> "$ERR" && return 1
        has "$ERR" 'Failed to get "write" lock'
        qemu-img convert -U -f raw -O $format - a.raw < a.raw 2> "$ERR" && return 1
        also_read a.raw -
        kept
    done
    qemu-img convert -U -n -f raw -O raw - a.raw < a.raw 2> "$ERR" && return 1
    also_read a.raw -
    qemu-img dd of=a.raw < a.raw 2> "$ERR" && return 1
    also_read a.raw 'standard input'
    kept
}

@test "overwrite: standard output" {
    beyond
    # (opened for reading and writing: not truncated)
    qemu-img convert -f raw a.raw - 1<> a.raw 2> "$ERR" && return 1
    also_read 'standard output' a.raw
    kept
    qemu-img dd -f raw if=a.raw bs=1M skip=1 1<> a.raw 2> "$ERR" && return 1
    also_read 'standard output' a.raw
    kept
    img 0 convert -O qcow2 a.raw a.qcow2
    cp a.qcow2 b.qcow2
    qemu-img convert -O qcow2 a.qcow2 - >> a.qcow2 2> "$ERR" && return 1
    also_read 'standard output' a.qcow2
    cmp a.qcow2 b.qcow2
}

@test "overwrite: a file of the chain, a data file, an extent" {
    beyond
    img 0 create -q -f qcow2 -b a.raw -F raw mid.qcow2
    img 0 create -q -f qcow2 -b mid.qcow2 -F qcow2 top.qcow2
    img 1 convert -U -O qcow2 top.qcow2 a.raw
    also_read a.raw
    cp mid.qcow2 copy
    img 1 dd -U if=top.qcow2 of=mid.qcow2
    also_read mid.qcow2
    cmp mid.qcow2 copy
    kept
    img 0 convert -O qcow2 -o data_file=data.raw,data_file_raw=on a.raw outer.qcow2
    img 1 convert -U outer.qcow2 data.raw
    also_read data.raw
    cmp data.raw a.raw
    # and the other way round: a new data file
    img 1 convert -U -f raw -O qcow2 -o data_file=a.raw a.raw new.qcow2
    also_read a.raw
    [ ! -e new.qcow2 ]
    echo old > new.qcow2
    img 1 convert -U -f raw -O qcow2 -o data_file=a.raw a.raw new.qcow2
    same new.qcow2 old
    echo old > new.raw
    img 1 convert -U -f raw -O qcow2 -o data_file=new.raw a.raw a.raw
    also_read a.raw
    same new.raw old
    kept
    img 0 convert -O vmdk -o subformat=monolithicFlat a.raw disk.vmdk
    cp disk.vmdk descriptor
    img 1 convert -U disk.vmdk disk-flat.vmdk
    also_read disk-flat.vmdk
    cmp disk-flat.vmdk a.raw
    # an extent of the target
    img 1 convert -U -f raw -O vmdk -o subformat=monolithicFlat disk-flat.vmdk disk.vmdk
    also_read disk-flat.vmdk
    cmp disk-flat.vmdk a.raw
    cmp disk.vmdk descriptor
}

@test "overwrite: files of a target that others use are found before the first is touched" {
    beyond
    img 0 convert -f raw -O vmdk -o subformat=monolithicFlat a.raw disk.vmdk
    cp disk.vmdk descriptor
    img 1 convert -f raw -O vmdk -o subformat=monolithicFlat disk-flat.vmdk disk.vmdk
    locked disk.vmdk vmdk disk-flat.vmdk
    cmp disk-flat.vmdk a.raw
    cmp disk.vmdk descriptor
}

@test "overwrite: a new overlay over its own backing file" {
    beyond
    ln a.raw hard
    img 1 create -q -f qcow2 -b a.raw -F raw hard
    also_read hard a.raw
    img 1 convert -O qcow2 -B a.raw -F raw null-co:// hard
    also_read hard a.raw
    kept
    img 0 create -q -f qcow2 -b a.raw -F raw mid.qcow2
    img 1 create -q -f qcow2 -b mid.qcow2 -F qcow2 a.raw
    also_read a.raw
    kept
}

@test "overwrite: an image that becomes its own backing file" {
    beyond
    img 0 create -q -f qcow2 a.qcow2 1M
    ln a.qcow2 hard
    img 1 rebase -U -b hard -F qcow2 a.qcow2
    err "qemu-img: Could not open new backing file 'hard': Backing file 'a.qcow2' creates an infinite loop."
}

@test "overwrite: what is no overlap is no error" {
    # an overlay is written to, its backing file read
    img 0 create -q -f qcow2 -b a.raw -F raw top.qcow2
    img 0 convert -n -f raw -O qcow2 a.raw top.qcow2
    # windows of one file
    img 0 convert -U -n --image-opts --target-image-opts driver=raw,size=1M,file.filename=a.raw \
        driver=raw,offset=4M,size=1M,file.filename=a.raw
    cmp -n 1048576 -i 0:4194304 a.raw a.raw
}

@test "overwrite: windows of one file that overlap" {
    beyond
    img 1 convert -U -n --image-opts --target-image-opts driver=raw,size=1M,file.filename=a.raw \
        driver=raw,offset=512k,size=1M,file.filename=a.raw
    also_read a.raw
    kept
}

@test "overwrite: loop devices" {
    beyond
    loop a.raw
    img 1 convert -f raw -O qcow2 a.raw "$loop"
    also_read "$loop" a.raw
    img 1 convert -n -f raw a.raw "$loop"
    also_read "$loop" a.raw
    img 1 dd -f raw if="$loop" of=a.raw
    also_read a.raw "$loop"
    first=$loop
    # two over one file, and one over another
    loop a.raw
    img 1 convert -n -f raw "$first" "$loop"
    also_read "$loop" "$first"
    loop "$first"
    img 1 convert -n -f raw a.raw "$loop"
    also_read "$loop" a.raw
    kept
}

@test "overwrite: loop devices over different parts of a file" {
    truncate -s 8M b.raw
    loop -o 4M b.raw
    upper=$loop
    loop --sizelimit 4M b.raw
    img 0 dd -f raw -n if=a.raw of="$loop" bs=1M count=4
    img 0 convert -n -f raw "$loop" "$upper"
    cmp -n 4194304 a.raw "$upper"
}

@test "overwrite: the plain case needs neither /proc nor /sys" {
    beyond
    no_asan
    need_strace
    cmd 1 strace -f -qq -e trace=open,openat,readlink,readlinkat -o calls "$IMG" convert -U -f raw a.raw a.raw
    ! grep -E '"/(proc|sys)/' calls || false
}
