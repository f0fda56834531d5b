#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# `make install` and `make uninstall`.

load ../helper

# Whatever make finds out of date, it does not touch the tool that other tests run now.
copy_of_build() {
    mkdir build
    cp -a "$BUILD"/{config.choice,config.drivers,config.mk,gen,obj,libimg.a,imgbox,bin,modules} build/
}

@test "install: DESTDIR and PREFIX, and uninstall leaves nothing" {
    beyond
    no_asan
    copy_of_build
    make -s -C "$ROOT" BUILD="$PWD/build" install DESTDIR="$PWD/root" PREFIX=/usr > "$OUT" 2> "$ERR" || { show; false; }
    cmp build/installed/imgbox root/usr/bin/imgbox
    [ -x root/usr/bin/imgbox ]
    [ -x root/usr/bin/img-convert ]
    cmd 0 root/usr/bin/img-create -q a.raw 1M
    if [ -e "$BUILD/modules/img-blkdebug.so" ]; then
        # Where it was told to look, from the root of the system that this is to be, and nowhere else.
        cmd 1 root/usr/bin/img-info blkdebug::a.raw
        has "$ERR" "there is no '/usr/lib/imgbox/img-blkdebug.so'\$" || [ -e /usr/lib/imgbox ]
        IMGBOX_MODULES=root/usr/lib/imgbox cmd 0 root/usr/bin/img-info blkdebug::a.raw
    fi
    make -s -C "$ROOT" BUILD="$PWD/build" uninstall DESTDIR="$PWD/root" PREFIX=/usr > "$OUT" 2> "$ERR" || { show; false; }
    [ -z "$(find root -type f -o -type l)" ]
}

@test "install: modules are found in LIBDIR, from the root of the staged system" {
    beyond
    no_asan
    need_root
    [ -e "$BUILD/modules/img-blkdebug.so" ] || skip 'blkdebug is built in'
    copy_of_build
    make -s -C "$ROOT" BUILD="$PWD/build" install DESTDIR="$PWD/root" PREFIX=/opt/box LIBDIR=/opt/lib64 > "$OUT" 2> "$ERR" ||
        { show; false; }
    [ -e root/opt/lib64/imgbox/img-blkdebug.so ]
    ldd "$BUILD/imgbox" | grep -o '/[^ ]*' | while read -r library; do
        install -D "$library" "root/$library"
    done
    truncate -s 1M root/x
    cmd 0 chroot root /opt/box/bin/img-info blkdebug::x
    has "$OUT" '^    file format: blkdebug$'
    rm -r root/opt/lib64/imgbox
    cmd 1 chroot root /opt/box/bin/img-info blkdebug::x
    has "$ERR" "there is no '/opt/lib64/imgbox/img-blkdebug.so'\$"
}
