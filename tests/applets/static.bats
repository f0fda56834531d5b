#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# The static file (`make static`): small, and it runs where there is nothing else.

load ../helper

static=$BUILD/static/imgbox

built() {
    beyond
    no_asan
    [ -x "$static" ] || skip 'no static build'
}

@test "static: needs no library" {
    built
    if ldd "$static" > "$OUT" 2>&1; then
        has "$OUT" 'statically linked'
    fi
}

@test "static: at most 1.5 MB stripped" {
    built
    cp "$static" s
    strip s
    [ "$(stat -c %s s)" -le 1500000 ]
}

@test "static: converts in an empty chroot" {
    built
    need_root
    mkdir empty
    cp "$static" empty/qemu-img
    sample empty/a.raw
    cmd 0 chroot empty /qemu-img convert -c -f raw -O qcow2 a.raw a.qcow2
    silent
    cmd 0 chroot empty /qemu-img check a.qcow2
    cmd 0 chroot empty /qemu-img info a.qcow2
    has "$OUT" '^file format: qcow2'
    cmd 0 chroot empty /qemu-img convert -O raw a.qcow2 b.raw
    cmp empty/a.raw empty/b.raw
    fixture zstd.qcow2
    mv zstd.qcow2 empty/
    cmd 0 chroot empty /qemu-img convert -O raw zstd.qcow2 z.raw
    [ "$(peek empty/z.raw 0 1)" = 55 ]
}
