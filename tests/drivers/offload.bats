#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# Data that the storages copy among themselves: blocks that are shared (a btrfs of our own), copies by the kernel;
# and when what was written leaves the page cache.

load ../helper

teardown() {
    umount -l "$BATS_TEST_TMPDIR/shared" 2> /dev/null || true
}

# A file system that shares blocks, in ./shared
mount_shared() {
    need_root
    command -v mkfs.btrfs > /dev/null || skip 'no mkfs.btrfs'
    truncate -s 300M disk
    mkdir shared
    mkfs.btrfs -q disk
    mount -o loop disk shared 2> /dev/null || skip 'a btrfs cannot be mounted here'
}

# traced SYSCALLS ARGUMENT...: the calls of a run of the tool that end well, in ./calls
traced() {
    beyond
    need_strace
    strace -f -o log -e "trace=$1" "$IMG" "${@:2}"
    grep -v -E 'resumed|TCGETS|exited' log | grep -v ' = -1 ' > calls || :
}

# Data with holes between them, not on the bounds of clusters
make_source() {
    truncate -s 20M "$1"
    dd if=/dev/urandom of="$1" bs=4k seek=3 count=700 conv=notrunc status=none
    dd if=/dev/urandom of="$1" bs=4k seek=2000 count=1500 conv=notrunc status=none
}

@test "offload: -C has the kernel copy, into raw and into qcow2" {
    make_source a.raw
    for format in raw qcow2; do
        traced copy_file_range convert -C -f raw -O $format a.raw b.$format
        [ "$(grep -c copy_file_range calls)" -gt 0 ]
        img 0 compare -f raw -F $format a.raw b.$format
    done
    img 0 check -q b.qcow2
    traced copy_file_range convert -f raw -O raw a.raw b.raw
    [ ! -s calls ]
}

@test "offload: blocks are shared with -C, and without where all data are to be copied" {
    mount_shared
    make_source shared/a.raw
    for how in '-C -O raw' '-S 0 -O raw' '-C -O qcow2' '-S 0 -O qcow2' '-C -O qcow2 -o cluster_size=4k'; do
        # shellcheck disable=SC2086
        traced ioctl convert $how -f raw shared/a.raw shared/b
        [ "$(grep -c FICLONERANGE calls)" -gt 0 ]
        img 0 compare -f raw shared/a.raw shared/b
        rm shared/b
    done
    traced ioctl dd if=shared/a.raw of=shared/b bs=64k
    [ "$(grep -c FICLONERANGE calls)" -gt 0 ]
    cmp shared/a.raw shared/b
    # zero detection looks at the bytes
    traced ioctl convert -f raw -O raw shared/a.raw shared/b
    [ "$(grep -c FICLONERANGE calls)" -eq 0 ]
}

@test "offload: commit shares blocks with its base" {
    mount_shared
    make_source shared/a.raw
    qemu-img convert -f raw -O qcow2 shared/a.raw shared/top.qcow2
    qemu-img create -q -f qcow2 shared/base.qcow2 20M
    qemu-img rebase -u -b base.qcow2 -F qcow2 shared/top.qcow2
    traced ioctl commit -q shared/top.qcow2
    [ "$(grep -c FICLONERANGE calls)" -gt 0 ]
    img 0 compare -f raw shared/a.raw shared/base.qcow2
    img 0 check -q shared/base.qcow2
    # from one file system into another they are copied
    qemu-img convert -f raw -O qcow2 shared/a.raw shared/top.qcow2
    qemu-img create -q -f qcow2 base.qcow2 20M
    qemu-img rebase -u -b "$PWD/base.qcow2" -F qcow2 shared/top.qcow2
    img 0 commit -q shared/top.qcow2
    img 0 compare -f raw shared/a.raw base.qcow2
}

@test "writeback: starts early only if a flush will follow" {
    head -c 40M /dev/urandom > a.raw
    traced sync_file_range convert -t writeback -f raw -O raw a.raw b.raw
    [ "$(grep -c sync_file_range calls)" -ge 2 ]
    cmp a.raw b.raw
    traced sync_file_range convert -f raw -O raw a.raw b.raw
    [ ! -s calls ]
}

# Of 256 MiB the least may wait that ever does, 64 MiB.
@test "writeback: dirty data is bounded by the memory of the control group" {
    need_root
    beyond
    need_strace
    local root=/sys/fs/cgroup group
    if [ -e $root/memory/memory.limit_in_bytes ]; then
        group=$root/memory/imgbox-test-$$
        mkdir "$group" 2> /dev/null || skip 'no control group'
        echo 256M > "$group/memory.limit_in_bytes" || { rmdir "$group"; skip 'no limit'; }
    else
        group=$root/imgbox-test-$$
        mkdir "$group" 2> /dev/null || skip 'no control group'
        echo 256M > "$group/memory.max" 2> /dev/null || { rmdir "$group"; skip 'no limit'; }
    fi
    head -c 160M /dev/urandom > a.raw
    # shellcheck disable=SC2016
    strace -f -o log -e trace=sync_file_range \
        sh -c 'echo $$ > "$0/cgroup.procs" && exec "$@"' "$group" "$IMG" convert -f raw -O raw a.raw b.raw
    rmdir "$group" || :
    [ "$(grep -c WAIT_AFTER log)" -ge 3 ]
    cmp a.raw b.raw
}
