#!/usr/bin/env bats
# SPDX-License-Identifier: MIT
# `make install` and `make uninstall`.

load ../helper

@test "install: DESTDIR and PREFIX, and uninstall leaves nothing" {
    beyond
    no_asan
    # From a copy: whatever make finds out of date, it does not touch the tool that other tests run now.
    mkdir build
    cp -a "$BUILD"/{config.choice,config.mk,gen,obj,libimg.a,imgbox,bin} build/
    make -s -C "$ROOT" BUILD="$PWD/build" install DESTDIR="$PWD/root" PREFIX=/usr > "$OUT" 2> "$ERR" || { show; false; }
    cmp build/imgbox root/usr/bin/imgbox
    [ -x root/usr/bin/imgbox ]
    [ -x root/usr/bin/img-convert ]
    cmd 0 root/usr/bin/img-create -q a.raw 1M
    make -s -C "$ROOT" BUILD="$PWD/build" uninstall DESTDIR="$PWD/root" PREFIX=/usr > "$OUT" 2> "$ERR" || { show; false; }
    [ -z "$(find root -type f -o -type l)" ]
}
